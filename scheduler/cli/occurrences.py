"""The `occurrence` commands: change one meeting, add one, and tell people or not."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.cli.door import (
    EXIT_USAGE,
    confirm,
    counted,
    door,
    fail,
    is_terminal,
    require_near,
    say_answers,
    show_json,
    usage,
)
from scheduler.domain.problem import Refused, SettingsProblem

if TYPE_CHECKING:
    from scheduler.bootstrap.wiring import Parts
    from scheduler.domain.occurrence import Series
    from scheduler.service.amending import Amended

app = typer.Typer(help="Change one meeting, or add one.", no_args_is_help=True)


def read_wall(text: str, option: str) -> datetime:
    """A wall time `YYYY-MM-DD HH:MM`. Raises SettingsProblem."""
    try:
        wall = datetime.strptime(text.replace("T", " "), "%Y-%m-%d %H:%M")  # noqa: DTZ007 - wall time has no zone
    except ValueError:
        raise SettingsProblem(
            f"{option} '{text}' is no time; write YYYY-MM-DD HH:MM in the home zone"
        ) from None
    require_near(wall.date(), option)
    return wall


@app.command()
def amend(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="SERIES/YYYY-MM-DD, as `schedule` shows it.")],
    topic: Annotated[str | None, typer.Option(help="What it is about.")] = None,
    speakers: Annotated[str | None, typer.Option(help="Who speaks.")] = None,
    link: Annotated[str | None, typer.Option(metavar="URL", help="The room.")] = None,
    move_to: Annotated[
        str | None, typer.Option(metavar='"YYYY-MM-DD HH:MM"', help="Another time, by the home clock.")
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="It is not held.")] = False,
    restore: Annotated[bool, typer.Option("--restore", help="It is held after all.")] = False,
    tell: Annotated[
        bool | None, typer.Option("--tell/--no-tell", help="Mail the members, or not.", show_default=False)
    ] = None,
) -> None:
    """Change one meeting."""
    from scheduler.domain.occurrence import OccurrenceKey
    from scheduler.service import amending

    with usage():
        OccurrenceKey.parse(key)
        change = amending.Change(
            topic=topic, speakers=speakers, link=link, cancel=cancel, restore=restore,
            move_to=read_wall(move_to, "--move-to") if move_to else None,
        )  # fmt: skip

    if change == amending.Change():
        raise SettingsProblem(
            "give what to change: --topic, --speakers, --link, --move-to, --cancel or --restore"
        )
    if tell is None and not is_terminal():
        fail("give --tell to mail the members, or --no-tell", code=EXIT_USAGE)

    async def look(parts: "Parts") -> "tuple[Amended, int]":
        series = {one.slug: one for one in parts.series}
        return (
            await amending.preview(
                parts.database, series, key, change, now=parts.clock.now(), to_tell=bool(tell)
            ),
            await amending.count_told(parts.database),
        )

    async def act(parts: "Parts") -> None:
        now, series = parts.clock.now(), {one.slug: one for one in parts.series}
        amended = await amending.amend(parts.database, series, key, change, now=now)
        if tell and amended.changed:
            pressed = await amending.tell(parts.database, amended, now=now)
            typer.echo(f"notice {pressed.notice} tells {counted(pressed.recipients, 'member')}")

    amended, number = door(context).run(look)
    if not amended.changed:
        typer.echo(f"{key}: that is how it is already; nothing was changed and nobody is told")
        return
    if tell is None:
        tell = typer.confirm(f"Tell {counted(number, 'member')}?", err=True)
    door(context).run(act)
    after = amended.after
    typer.echo(f"{key}: {after.status}, {amending.home_wall(after)} {after.zone}")
    if not tell:
        typer.echo("nobody was told")


@app.command()
def add(
    context: typer.Context,
    at: Annotated[str, typer.Option(metavar='"YYYY-MM-DD HH:MM"', help="When, by the home clock.")],
    series: Annotated[str | None, typer.Option(help="Which series; needed where there are several.")] = None,
) -> None:
    """Add a meeting that the rule does not give."""
    from scheduler.service import amending

    wall = read_wall(at, "--at")

    async def act(parts: "Parts") -> None:
        chosen = choose_series(parts.series, series)
        extra = await amending.add_extra(parts.database, chosen, wall, now=parts.clock.now())
        typer.echo(f"{extra.key}: added; its notices go out as the policies say")

    door(context).run(act)


@app.command()
def answers(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="SERIES/YYYY-MM-DD, as `schedule` shows it.")],
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Show how many come, may come and do not."""
    from scheduler.domain.occurrence import OccurrenceKey
    from scheduler.service.amending import find_occurrence
    from scheduler.store import answers

    with usage():
        OccurrenceKey.parse(key)

    async def count(parts: "Parts") -> dict[str, int]:
        series = {one.slug: one for one in parts.series}
        async with parts.database.read() as connection:
            await find_occurrence(connection, series, key, parts.clock.now())
            return await answers.count_answers(connection, key)

    found = door(context).run(count)
    if as_json:
        show_json({one: found.get(one, 0) for one in ("coming", "maybe", "declined")})
    else:
        typer.echo(f"{key}: {say_answers(found)}")


def choose_series(all_series: "tuple[Series, ...]", slug: str | None) -> "Series":
    """The series named, or the only one. Raises SettingsProblem, naming those that there are."""
    found = [one for one in all_series if slug in (None, one.slug)]
    if len(found) != 1:
        raise SettingsProblem(f"--series: give one of {', '.join(one.slug for one in all_series)}")
    return found[0]


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.csv", help="Columns: occurrence or date; topic, speakers, link, materials."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    encoding: Annotated[
        str | None, typer.Option("--encoding", metavar="NAME", help="As windows-1251; else recognised.")
    ] = None,
) -> None:
    """Take topics, speakers, links and materials of many meetings from a table. Tells nobody."""
    from scheduler.domain.code_page import require_encoding
    from scheduler.service.programme import read_programme, take_programme

    with usage():
        codec = require_encoding(encoding, "--encoding") if encoding else None
    try:
        data = file.read_bytes()
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from None

    async def act(parts: "Parts") -> tuple[int, int, list[str]]:
        series = {one.slug: one for one in parts.series}
        read = read_programme(data, series=list(series), encoding=codec)
        if read.guess:
            typer.echo(f"{file}: read as {read.guess} (--encoding names another)", err=True)
        confirm(
            f"Take {counted(len(read.rows), 'meeting')} from {file}?",
            yes=yes or not is_terminal(),
            otherwise="",
        )
        changed, refused = await take_programme(parts.database, series, read.rows, now=parts.clock.now())
        return changed, len(read.rows) - len(refused) - changed, [*read.problems, *refused]

    changed, same, problems = door(context).run(act)
    for problem in problems:
        typer.echo(f"{file}: {problem}", err=True)
    typer.echo(f"{counted(changed, 'meeting')} changed, {same} as they were; nobody was told")
    if problems:
        fail(f"{len(problems)} rows of {file} were not taken; mend them and import the file again")
