"""Commands that show the meetings: `schedule`, in any time zones, and `feed`, as iCalendar."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scheduler.bootstrap.wiring import Parts
from scheduler.cli.command import AsJson, command_context, make_app, read_date, show_json, usage
from scheduler.domain.errors import Problem, SettingsProblem
from scheduler.domain.localtime import MONTHS, LocalTime, local_time
from scheduler.domain.occurrence import Series
from scheduler.domain.zone import require_zone
from scheduler.service import schedule as schedule_service
from scheduler.service.feeds import members_feed
from scheduler.service.members import find_member
from scheduler.service.schedule import Row

app = make_app()

MOST_MEETINGS = 5_000


@app.command()
def schedule(
    context: typer.Context,
    series: Annotated[str | None, typer.Option(metavar="SLUG", help="Only this series.")] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="DATE", help="Start at this date in the home zone; by default today."),
    ] = None,
    count: Annotated[int, typer.Option(help="How many meetings.")] = 12,
    zone: Annotated[
        list[str] | None,
        typer.Option(metavar="ZONE", help="Also show the time in this zone; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show when the meetings are."""
    if not 1 <= count <= MOST_MEETINGS:
        raise SettingsProblem(f"--count {count} is not accepted; give a number from 1 to {MOST_MEETINGS}")
    since = read_date(from_, "--from") if from_ is not None else None
    with usage():
        zones = list(dict.fromkeys(require_zone(name, "--zone") for name in zone or []))

    async def look(parts: Parts) -> list[Row]:
        return await schedule_service.schedule(
            parts.database,
            choose_series(parts.series, series),
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
    series: Annotated[str | None, typer.Option(metavar="SLUG", help="Only this series.")] = None,
    member: Annotated[str | None, typer.Option(metavar="EMAIL", help="This member's own feed.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it to this file, completely or not at all.")
    ] = None,
) -> None:
    """Print the public calendar feed, or a member's own."""
    if member is not None and series is not None:
        raise SettingsProblem(
            "give --member or --series, not both: a member's own feed has the series they follow"
        )

    async def make(parts: Parts) -> bytes:
        if member is not None:
            return await personal_feed(parts, member)
        choose_series(parts.series, series)
        result = await schedule_service.feed(
            parts.database, parts.series, parts.community, now=parts.clock.now(), only=series
        )
        return result.content

    content = command_context(context).run(make)
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        write_whole(output, content)


async def personal_feed(parts: Parts, email: str) -> bytes:
    """Return the feed that the personal link of the member with that address opens. Raises Refused."""
    feed = await members_feed(
        parts.database,
        parts.series,
        parts.community,
        await find_member(parts.database, email),
        keys=parts.keys,
        now=parts.clock.now(),
    )
    return feed.content


def choose_series(all_series: Sequence[Series], slug: str | None) -> list[Series]:
    """Return all series, or the one with that slug. Raises SettingsProblem if there is none."""
    matches = [series for series in all_series if slug in (None, series.slug)]
    if not matches:
        raise SettingsProblem(
            f"--series '{slug}' is not known; there is: {', '.join(series.slug for series in all_series)}"
        )
    return matches


def show_table(rows: Sequence[Row], zones: Sequence[str]) -> None:
    """Print a table: each meeting in its home zone, followed by its time and note in each of `zones`."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, highlight=False)
    for heading in ("Day", "Time", "Place", "Meeting" + (", and what is different there" if zones else "")):
        table.add_column(heading, overflow="fold")

    def add(time: LocalTime, text: str, style: str) -> None:
        day = f"{time.weekday[:3]} {time.starts_at.day} {MONTHS[time.starts_at.month - 1][:3]} {time.starts_at.year}"
        cells = (day, time.starts, time.place, text)
        table.add_row(*(Text(cell, style=style) for cell in cells))

    for number, row in enumerate(rows):
        occurrence = row.occurrence
        if number and zones:
            table.add_section()
        status = "" if occurrence.status == "scheduled" else occurrence.status.upper()
        title = "\n".join(filter(None, (occurrence.key, status, occurrence.topic)))
        add(local_time(occurrence, None, zone=occurrence.zone), title, "bold")
        for zone in zones:
            add(row.local[zone], row.local[zone].note, "")
    console = Console(highlight=False)
    if rows:
        console.print(table)
    else:
        console.print("there are no meetings from that date on")


def write_whole(path: Path, content: bytes) -> None:
    """Replace the file at `path`, so that a reader sees either the old or the new content. Raises Problem."""
    try:
        if path.exists() and not path.is_file():
            # Write into a pipe or a device; replacing it would be wrong.
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
