"""How long sending takes, as the shell tells it."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scheduler.bootstrap.wiring import Parts
    from scheduler.service.pacing import Foreseen, Paced


def show_plan(rows: "Sequence[Paced]", *, rate: float) -> None:
    """Print what will be sent, a due instant a line; with a rate, when the first and the last mail of each leave."""
    from scheduler.service.pacing import about

    for paced in rows:
        row, span = paced.forecast, paced.span
        pace = f"starts {_minute(span.start)}  ends {_minute(span.finish)}  " if rate else ""
        note = "  TOO LATE FOR SOME" if span.misses else "  LATE" if span.late else ""
        when = f"{_minute(row.due)} UTC  {pace}{row.recipients:>7}"
        typer.echo(f"{when}  {about(row)}  {row.zone or 'all zones'}{note}")
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


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
