"""The `occurrence` commands: change one meeting, add one, and tell people or not."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.cli.command import (
    EXIT_USAGE,
    LONGEST_HOLD,
    command_context,
    confirm,
    confirm_mailing,
    counted,
    fail,
    is_terminal,
    require_near,
    say_answers,
    show_json,
    usage,
)
from scheduler.domain.errors import Refused, SettingsProblem

if TYPE_CHECKING:
    from scheduler.bootstrap.wiring import Parts
    from scheduler.domain.occurrence import Series
    from scheduler.service.occurrences import Amended, Extra

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
    message: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Your own words at the top of the mail (Markdown).")
    ] = None,
    hold: Annotated[
        int,
        typer.Option(
            metavar="SECONDS", min=0, max=LONGEST_HOLD, help="Wait before the first mail, to stop it."
        ),
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Change one meeting. Telling the members is asked about first."""
    from scheduler.domain.occurrence import OccurrenceKey
    from scheduler.service import occurrences

    with usage():
        OccurrenceKey.parse(key)
        change = occurrences.Change(
            topic=topic,
            speakers=speakers,
            link=link,
            cancel=cancel,
            restore=restore,
            move_to=read_wall(move_to, "--move-to") if move_to else None,
        )
        words = "" if message is None else occurrences.require_message(message)

    if change == occurrences.Change():
        raise SettingsProblem(
            "give what to change: --topic, --speakers, --link, --move-to, --cancel or --restore"
        )
    if tell is False and (words or hold):
        raise SettingsProblem("--message and --hold are for a mail; give --tell, not --no-tell")
    if tell is None and not is_terminal():
        fail("give --tell to mail the members, or --no-tell", code=EXIT_USAGE)
    wait = timedelta(seconds=hold)

    async def look(parts: "Parts") -> "tuple[Amended, int]":
        series, now = {one.slug: one for one in parts.series}, parts.clock.now()
        to_tell = now + wait if tell else None
        foreseen = await occurrences.preview(parts.database, series, key, change, now=now, to_tell=to_tell)
        return foreseen, await occurrences.count_told(parts.database, foreseen.after)

    async def act(parts: "Parts") -> None:
        now, series = parts.clock.now(), {one.slug: one for one in parts.series}
        amended = await occurrences.amend(parts.database, series, key, change, now=now)
        if tell and amended.changed:
            pressed = await occurrences.tell(parts.database, amended, now=now, words=words, hold=wait)
            typer.echo(f"notice {pressed.notice} tells {counted(pressed.recipients, 'member')}")
            if hold:
                typer.echo(
                    f"the first mail leaves in {hold} seconds; `notice stop {pressed.notice}` stops it"
                )

    amended, number = command_context(context).run(look)
    if not amended.changed:
        typer.echo(f"{key}: that is how it is already; nothing was changed and nobody is told")
        return
    after = amended.after
    outcome = f"{after.status}, {occurrences.home_wall(after)} {after.zone}"
    if dry_run:
        mailed = f" and {counted(number, 'member')} would be told" if tell is not False else ""
        typer.echo(f"{key}: would be {outcome}{mailed}; nothing was changed and nobody was told")
        return
    if tell is None:
        tell = typer.confirm(f"Tell {counted(number, 'member')}?", err=True)
        if tell:
            # It may be too late for that, which is to be said before anything is changed.
            command_context(context).run(look)
    elif tell:
        question = f"{key}: {outcome}. Tell {counted(number, 'member')}?"
        confirm_mailing(question, number, yes=yes, instead="--no-tell to change it without telling anybody")
    command_context(context).run(act)
    typer.echo(f"{key}: {outcome}")
    if not tell:
        typer.echo("nobody was told")


@app.command()
def add(
    context: typer.Context,
    at: Annotated[str, typer.Option(metavar='"YYYY-MM-DD HH:MM"', help="When, by the home clock.")],
    series: Annotated[str | None, typer.Option(help="Which series; needed where there are several.")] = None,
    no_invite: Annotated[bool, typer.Option("--no-invite", help="Nobody is invited to it.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Add a meeting that the rule does not give. Asks before anybody is invited to it at once."""
    from scheduler.service import occurrences

    wall = read_wall(at, "--at")

    async def look(parts: "Parts") -> "Extra":
        return await occurrences.foresee_extra(
            parts.database, choose_series(parts.series, series), parts.policies, wall, now=parts.clock.now()
        )

    async def act(parts: "Parts") -> None:
        await occurrences.add_extra(
            parts.database,
            choose_series(parts.series, series),
            wall,
            now=parts.clock.now(),
            policies=parts.policies,
            invite=not no_invite,
        )

    foreseen = command_context(context).run(look)
    extra, number = foreseen.occurrence, 0 if no_invite else foreseen.recipients
    if dry_run:
        typer.echo(
            f"{extra.key}: would be added, and {counted(number, 'member')} invited now; nothing was changed"
        )
        return
    question = (
        f"Add {extra.key}, and invite {counted(number, 'member')} to it now? (--no-invite adds it without)"
    )
    confirm_mailing(question, number, yes=yes, instead="--no-invite to add it without an invitation")
    command_context(context).run(act)
    if no_invite:
        typer.echo(f"{extra.key}: added; nobody is invited to it")
    elif number:
        typer.echo(f"{extra.key}: added; {counted(number, 'member')} invited now")
    else:
        typer.echo(f"{extra.key}: added; its notices go out as the policies say, see `plan`")


@app.command()
def remove(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="SERIES/YYYY-MM-DDTHHMM, as `schedule` shows it.")],
) -> None:
    """Take back a meeting that was added by mistake, as long as nobody was told of it."""
    from scheduler.domain.occurrence import OccurrenceKey
    from scheduler.service import occurrences

    with usage():
        OccurrenceKey.parse(key)

    async def act(parts: "Parts") -> None:
        series = {one.slug: one for one in parts.series}
        await occurrences.remove_extra(parts.database, series, key, now=parts.clock.now())

    command_context(context).run(act)
    typer.echo(f"{key}: removed; nobody was told of it")


@app.command()
def tell(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="SERIES/YYYY-MM-DD, as `schedule` shows it.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say to how many it would go; send nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Tell members how a meeting is now, where they were last told something else."""
    from scheduler.domain.occurrence import OccurrenceKey
    from scheduler.service import occurrences

    with usage():
        OccurrenceKey.parse(key)

    async def count(parts: "Parts") -> int:
        series = {one.slug: one for one in parts.series}
        found = await occurrences.untold(parts.database, series, key, now=parts.clock.now())
        return found.recipients

    async def act(parts: "Parts") -> None:
        series = {one.slug: one for one in parts.series}
        pressed = await occurrences.tell_again(parts.database, series, key, now=parts.clock.now())
        typer.echo(f"notice {pressed.notice} tells {counted(pressed.recipients, 'member')}")

    number = command_context(context).run(count)
    if dry_run:
        typer.echo(f"would go to {counted(number, 'member')}; nothing was sent")
        return
    confirm(
        f"Tell {counted(number, 'member')} about {key}?",
        yes=yes,
        otherwise=f"this mails {counted(number, 'member')}; give --yes to send without being asked",
    )
    command_context(context).run(act)


@app.command()
def answers(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="SERIES/YYYY-MM-DD, as `schedule` shows it.")],
    names: Annotated[bool, typer.Option("--names", help="Who, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Show how many come, may come and do not."""
    from scheduler.domain.occurrence import ANSWERS, OccurrenceKey
    from scheduler.service.occurrences import find_occurrence
    from scheduler.store import answers

    with usage():
        OccurrenceKey.parse(key)

    async def count(parts: "Parts") -> tuple[dict[str, int], list[tuple[str, str, str]]]:
        series = {one.slug: one for one in parts.series}
        async with parts.database.read() as connection:
            await require_occurrence(connection, series, key, parts.clock.now())
            people = await answers.who_answered(connection, key) if names else []
            return await answers.count_answers(connection, key), people

    found, people = command_context(context).run(count)
    if as_json:
        document: dict[str, object] = {one: found.get(one, 0) for one in ANSWERS}
        if names:
            document["names"] = {
                one: [{"name": name, "email": email} for answer, name, email in people if answer == one]
                for one in ANSWERS
            }
        show_json(document)
        return
    typer.echo(f"{key}: {say_answers(found)}")
    for one in ANSWERS if names else ():
        for answer, name, email in people:
            if answer == one:
                typer.echo(f"  {answer:<9} {name} <{email}>" if name else f"  {answer:<9} {email}")


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
    from scheduler.service.occurrence_import import read_programme, take_programme

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

    changed, same, problems = command_context(context).run(act)
    for problem in problems:
        typer.echo(f"{file}: {problem}", err=True)
    typer.echo(f"{counted(changed, 'meeting')} changed, {same} as they were; nobody was told")
    if problems:
        fail(f"{len(problems)} rows of {file} were not taken; mend them and import the file again")
