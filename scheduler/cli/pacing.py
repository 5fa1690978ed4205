"""How long sending takes, as the shell tells it."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scheduler.bootstrap.wiring import Parts
    from scheduler.service.pacing import Foreseen, Paced


def show_plan(rows: "Sequence[Paced]", *, rate: float, zones: bool, now: datetime) -> None:
    """Print what will be sent, a notice a line, or with `zones` a due instant a line; with a rate, when the first and
    the last mail of each leave."""
    from scheduler.service.pacing import about

    lines: dict[object, list[Paced]] = {}
    for paced in rows:
        row = paced.forecast
        lines.setdefault((row.notice, row.zone, row.due) if zones else row.notice, []).append(paced)
    for line in lines.values():
        spans = [paced.span for paced in line]
        first, last = min(span.start for span in spans), max(span.finish for span in spans)
        pace = f"starts {_minute(first)}  ends {_minute(last)}  " if rate else ""
        late = "  LATE" if any(span.late for span in spans) else ""
        note = "  TOO LATE FOR SOME" if any(span.misses for span in spans) else late
        number = sum(paced.forecast.recipients for paced in line)
        when = _range([max(paced.forecast.due, now) for paced in line], now=now)
        names = [paced.forecast.zone for paced in line]
        where = f"{len(names)} zones" if len(names) > 1 else names[0] or "all zones"
        typer.echo(
            f"{when:<{20 if zones else 40}}  {pace}{number:>7}  {about(line[0].forecast)}  {where}{note}"
        )
    number = sum(row.forecast.recipients for row in rows)
    typer.echo(f"{number} mails in all{f', at {rate:g} a second' if rate else ''}; nothing was sent")


async def foreseen(
    parts: "Parts", *, recipients: "Mapping[str, int]", dues: "Mapping[str, datetime]", useful: timedelta
) -> "str":
    """What is to be said of how long a notice takes that goes to so many `recipients` at `dues` and is of use for
    `useful` after the last of these; empty without a rate."""
    from scheduler.service import pacing

    rate = parts.settings.mail.rate
    if not rate or not dues:
        return ""
    expires = max(dues.values()) + useful
    found = await pacing.foresee(
        parts.database, series=parts.series, policies=parts.policies, rate=rate, recipients=recipients, dues=dues,
        expires=expires, now=parts.clock.now(),
    )  # fmt: skip
    return _say(found, rate=rate, expires=expires) if found else ""


def _say(found: "Foreseen", *, rate: float, expires: datetime) -> str:
    from scheduler.domain.duration import say_duration

    text = (
        f"at {rate:g} a second that takes {say_duration(found.finish - found.start)}: "
        f"from {_minute(found.start)} to {_minute(found.finish)} UTC"
    )
    if found.misses:
        text += (
            f"\nit expires at {_minute(expires)} UTC, before the last has left: some would not get it; "
            "raise [mail] rate, or give a longer --expires"
        )
    for one in found.delays:
        text += f"\nit makes {one} late: send it at another time, or raise [mail] rate"
    return text


def _range(instants: "Sequence[datetime]", *, now: datetime) -> str:
    """`now`, an instant, or the first and the last; what was due before is sent now."""
    first, last = ("now" if one <= now else _minute(one) for one in (min(instants), max(instants)))
    return " to ".join(dict.fromkeys((first, last))) + ("" if last == "now" else " UTC")


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
