"""`members import` and `members export`: many people at once, from whatever table a convenor has, and to one."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from scheduler.cli.command import command_context, confirm, counted, fail, is_terminal, usage
from scheduler.cli.members import app
from scheduler.domain.errors import Refused

if TYPE_CHECKING:
    from scheduler.bootstrap.wiring import Parts
    from scheduler.service.member_csv import MemberTable
    from scheduler.service.member_import import Imported


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="With email, timezone or country, name, locale.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")
    ] = False,
    no_invite: Annotated[
        bool, typer.Option("--no-invite", help="No invitation that is open already.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    zone: Annotated[
        str | None, typer.Option("--zone", metavar="ZONE", help="For rows that say neither zone nor country.")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option("--encoding", metavar="NAME", help="As windows-1251; else recognised.")
    ] = None,
) -> None:
    """Take people from a table: the good rows go in, the bad ones are listed. What members said is never changed."""
    reading = _read(file, encoding=encoding, zone=zone)
    for problem in reading.problems:
        column = f', column "{problem.column}"' if problem.column else ""
        typer.echo(f"{file}: line {problem.line}{column}: {problem.reason}", err=True)
    if reading.guess:
        typer.echo(f"{file}: read as {reading.guess} (--encoding names another)", err=True)
        if is_terminal() and not (dry_run or yes):
            confirm("Are the names right?", yes=False, otherwise="")

    async def take(parts: "Parts", *, writes: bool) -> "Imported":
        from scheduler.service.invitations import invitations
        from scheduler.service.member_import import import_members

        now = parts.clock.now()
        standing = await invitations(parts.database, series=parts.series, policies=parts.policies, now=now)
        with _progress("importing" if writes else "looking", len(reading.rows)) as advance:
            return await import_members(
                parts.database,
                reading.rows,
                keys=parts.keys,
                locale=parts.community.locale,
                now=now,
                invitations=standing,
                invite=not no_invite,
                dry_run=not writes,
                encoding_known=reading.guess is None,
                advance=advance,
            )

    if not (dry_run or no_invite or yes):
        foreseen = command_context(context).run(partial(take, writes=False))
        if foreseen.invited:
            confirm(
                f"Import {counted(foreseen.added, 'member')}, and invite {foreseen.invited} of them now? "
                "(--no-invite imports them without)",
                yes=False,
                otherwise=f"{counted(foreseen.invited, 'member')} would be invited now; give --yes to do so, or "
                "--no-invite to import without",
            )
    imported = command_context(context).run(partial(take, writes=not dry_run))
    for line in _sentences(imported, reading, invite=not no_invite):
        typer.echo(line)
    if dry_run:
        typer.echo("nothing was changed: this says what would happen")
    if reading.problems:
        bad = len({problem.line for problem in reading.problems})
        fail(f"{file}: {bad} bad {'row was' if bad == 1 else 'rows were'} not taken; mend and import again")


def _read(file: Path, *, encoding: str | None, zone: str | None) -> "MemberTable":
    from scheduler.domain.code_page import require_encoding
    from scheduler.domain.zone import find_zone, require_zone
    from scheduler.service.member_csv import read_members

    with usage():
        codec = require_encoding(encoding, "--encoding") if encoding else None
        default = (find_zone(zone) or require_zone(zone, "--zone")) if zone else None
    try:
        return read_members(file.read_bytes(), encoding=codec, zone=default)
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from None
    except Refused as refusal:
        raise Refused(f"{file}: {refusal}") from None


@contextmanager
def _progress(doing: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where somebody sees it; yields what moves it on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not is_terminal()) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda rows: bar.advance(task, rows)


def _sentences(imported: "Imported", reading: "MemberTable", *, invite: bool) -> Iterator[str]:
    yield f"{imported.added} added, {imported.filled} filled in, {imported.unchanged} unchanged"
    if imported.repaired:
        yield f"names repaired that had been read in another encoding: {imported.repaired}"
    if imported.unmailed:
        yield f"added, but not mailed because the file says paused or unconfirmed: {imported.unmailed}"
    if imported.left or imported.erased:
        yield f"not brought back: {imported.left} who left, {imported.erased} who were erased"
    if reading.duplicates:
        yield f"duplicates: {reading.duplicates} (the first row of an address holds)"
    if reading.problems:
        yield f"bad rows: {len({problem.line for problem in reading.problems})}, listed above"
    if reading.ignored:
        yield f"columns ignored: {', '.join(reading.ignored)}"
    if imported.added:
        yield (
            f"invited now: {imported.invited}"
            if invite
            else "invited now: 0; later invitations go out as planned"
        )


@app.command()
def export(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="- writes to standard output.")],
) -> None:
    """Write all members to a CSV file that a spreadsheet opens safely and `members import` reads."""
    from scheduler.service.member_export import export_members

    try:
        with _opened(file) as out:

            async def act(parts: "Parts") -> int:
                return await export_members(parts.database, out)

            number = command_context(context).run(act)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Refused(f"{file} cannot be written: {error.strerror}") from None
    typer.echo(
        f"{counted(number, 'member')} written to {'standard output' if file == '-' else file}", err=True
    )


def _opened(file: str) -> AbstractContextManager[TextIO]:
    if file != "-":
        # Only for its owner: it is full of addresses. The mark at its head is for Excel.
        return open(file, "w", encoding="utf-8-sig", newline="", opener=_private)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="")
    return nullcontext(sys.stdout)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
