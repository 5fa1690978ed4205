"""Commands that show the meetings: the schedule by the clocks of any zones, and the calendar feed."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.cli.app import app
from scheduler.cli.command import command_context, show_json
from scheduler.cli.reports import read_date
from scheduler.domain.errors import Problem, Refused, SettingsProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scheduler.bootstrap.wiring import Parts
    from scheduler.domain.occurrence import Series
    from scheduler.service.schedule import Row

MOST = 5_000


@app.command()
def schedule(
    context: typer.Context,
    series: Annotated[str | None, typer.Option(metavar="SLUG", help="Of this series only.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="From this home date on; today.")
    ] = None,
    count: Annotated[int, typer.Option(help="How many meetings.")] = 12,
    zone: Annotated[
        list[str] | None, typer.Option(metavar="ZONE", help="By the clocks of this zone too; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show when the meetings are."""
    from scheduler.domain.zone import require_zone
    from scheduler.service import schedule as schedule_service

    if not 1 <= count <= MOST:
        raise SettingsProblem(f"--count {count} is not accepted; give a number from 1 to {MOST}")
    since = read_date(from_, "--from") if from_ is not None else None
    try:
        zones = list(dict.fromkeys(require_zone(one, "--zone") for one in zone or []))
    except Refused as refused:
        raise SettingsProblem(str(refused)) from None

    async def look(parts: "Parts") -> "list[Row]":
        return await schedule_service.schedule(
            parts.database,
            choose(parts.series, series),
            now=parts.clock.now(),
            since=since,
            count=count,
            zones=zones,
        )

    rows = command_context(context).run(look)
    if as_json:
        show_json([row.document() for row in rows])
    else:
        show_table(rows, zones)


@app.command()
def feed(
    context: typer.Context,
    series: Annotated[str | None, typer.Option(metavar="SLUG", help="Of this series only.")] = None,
    member: Annotated[str | None, typer.Option(metavar="EMAIL", help="This member's own.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there, whole or not at all.")
    ] = None,
) -> None:
    """Print the public calendar feed, or a member's own (iCalendar)."""
    from scheduler.service import schedule as schedule_service

    if member is not None and series is not None:
        raise SettingsProblem("--member and --series do not go together: a member's own feed has all series")

    async def make(parts: "Parts") -> bytes:
        if member is not None:
            return await make_own(parts, member)
        choose(parts.series, series)
        found = await schedule_service.feed(
            parts.database, parts.series, parts.community, now=parts.clock.now(), only=series
        )
        return found.content

    content = command_context(context).run(make)
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        write_whole(output, content)


async def make_own(parts: "Parts", email: str) -> bytes:
    """The feed of the member with that address, as their own link gives it. Raises Refused."""
    from scheduler.service.feeds import members_feed
    from scheduler.service.members import find_member

    found = await members_feed(
        parts.database,
        parts.series,
        parts.community,
        await find_member(parts.database, email),
        keys=parts.keys,
        now=parts.clock.now(),
    )
    return found.content


def choose(all_series: "Sequence[Series]", slug: str | None) -> "list[Series]":
    """All series, or the one named. Raises SettingsProblem where there is none of that name."""
    found = [one for one in all_series if slug in (None, one.slug)]
    if not found:
        raise SettingsProblem(
            f"--series '{slug}' is not known; there is: {', '.join(one.slug for one in all_series)}"
        )
    return found


def show_table(rows: "Sequence[Row]", zones: "Sequence[str]") -> None:
    """Print the rows for people: each meeting at home, and under it the hour of each zone with its notes."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from scheduler.domain.localtime import MONTHS, LocalTime, local_time

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, highlight=False)
    for heading in ("Day", "Time", "Place", "Meeting" + (", and what is different there" if zones else "")):
        table.add_column(heading, overflow="fold")

    def add(time: LocalTime, words: str, style: str) -> None:
        day = f"{time.weekday[:3]} {time.starts_at.day} {MONTHS[time.starts_at.month - 1][:3]} {time.starts_at.year}"
        cells = (day, time.starts, f"{time.city} ({time.offset})", words)
        table.add_row(*(Text(cell, style=style) for cell in cells))

    for number, row in enumerate(rows):
        one = row.occurrence
        if number and zones:
            table.add_section()
        status = "" if one.status == "scheduled" else one.status.upper()
        add(
            local_time(one, None, zone=one.zone),
            "\n".join(filter(None, (one.key, status, one.topic))),
            "bold",
        )
        for zone in zones:
            add(row.local[zone], row.local[zone].note, "")
    console = Console(highlight=False)
    if rows:
        console.print(table)
    else:
        console.print("there are no meetings from then on")


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` into the file at `path`, so that a reader finds the old or the new. Raises Problem."""
    try:
        if path.exists() and not path.is_file():
            # A pipe or a device is written to, never replaced.
            path.write_bytes(content)
            return
        path = path.resolve()
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            draft.write_bytes(content)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Problem(f"{path} cannot be written: {reason}") from None
