"""`members import` and `members export`: read many members from a table, and write them to one."""

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scheduler.bootstrap.wiring import Parts
from scheduler.cli.command import (
    DryRun,
    Encoding,
    Yes,
    command_context,
    command_line_user,
    confirm,
    fail,
    is_terminal,
    read_file,
    usage,
)
from scheduler.domain.code_page import require_encoding
from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import Series
from scheduler.domain.text import counted
from scheduler.domain.zone import find_zone, require_zone
from scheduler.service.follows import require_series
from scheduler.service.invitations import invitations as find_invitations
from scheduler.service.invitations import with_mails
from scheduler.service.member_csv import MemberTable, read_members
from scheduler.service.member_files import Imported, describe_import, export_members, import_members


def import_(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Columns: email, timezone or country, name, locale, series.",
        ),
    ],
    dry_run: DryRun = False,
    no_invite: Annotated[
        bool, typer.Option("--no-invite", help="Do not send invitations that are already open.")
    ] = False,
    yes: Yes = False,
    zone: Annotated[
        str | None,
        typer.Option("--zone", metavar="ZONE", help="The zone of rows with neither a zone nor a country."),
    ] = None,
    follow: Annotated[
        list[str] | None,
        typer.Option(
            "--follow", metavar="SLUG", help="A series that all new members follow; repeat it for several."
        ),
    ] = None,
    encoding: Encoding = None,
) -> None:
    """Add members from a table, and list the rows that are wrong.

    What members have set themselves is never changed.
    """
    all_series = command_context(context).settings.series
    with usage():
        require_series(follow or [], all_series, "--follow")
    table = _read(file, encoding=encoding, zone=zone, all_series=all_series)
    for problem in table.problems:
        column = f', column "{problem.column}"' if problem.column else ""
        typer.echo(f"{file}: line {problem.line}{column}: {problem.reason}", err=True)
    if table.guess:
        typer.echo(f"{file}: read as {table.guess}; use --encoding if that is wrong", err=True)
        if is_terminal() and not (dry_run or yes):
            confirm("Do the names look right?", yes=False, otherwise="")

    async def import_rows(parts: Parts, *, writes: bool) -> Imported:
        now = parts.clock.now()
        invitations = await find_invitations(
            parts.database, series=parts.series, policies=parts.policies, now=now
        )
        with _progress("importing" if writes else "checking", len(table.rows)) as advance:
            return await import_members(
                parts.database,
                table.rows,
                keys=parts.keys,
                locale=parts.community.locale,
                now=now,
                invitations=invitations,
                all_series=parts.series,
                follow=follow or [],
                invite=not no_invite,
                dry_run=not writes,
                encoding_known=table.guess is None,
                advance=advance,
                by=command_line_user(),
            )

    if not (dry_run or no_invite or yes):
        preview = command_context(context).run(partial(import_rows, writes=False))
        if invited := preview.invited + preview.invited_known:
            whom = f"{invited} of them now"
            if preview.invited_known:
                whom = f"{counted(invited, 'member')} now, {preview.invited_known} of whom are already on the list"
            mails = with_mails(preview.invitations, invited)
            confirm(
                f"Import {counted(preview.added, 'member')}, and invite {whom}{mails}? "
                "(--no-invite does not invite them)",
                yes=False,
                otherwise=f"{counted(invited, 'member')} would be invited now{mails}; give --yes to do so, or "
                "--no-invite to import without inviting",
            )
    imported = command_context(context).run(partial(import_rows, writes=not dry_run))
    for line in describe_import(imported, table, invite=not no_invite):
        typer.echo(line)
    if dry_run:
        typer.echo("this is what would happen; nothing was changed")
    if table.problems:
        bad = len({problem.line for problem in table.problems})
        fail(f"{file}: {counted(bad, 'row was', 'rows were')} not imported; correct and import again")


def _read(file: Path, *, encoding: str | None, zone: str | None, all_series: Sequence[Series]) -> MemberTable:
    with usage():
        codec = require_encoding(encoding, "--encoding") if encoding else None
        default = (find_zone(zone) or require_zone(zone, "--zone")) if zone else None
    data = read_file(file)
    try:
        return read_members(data, encoding=codec, zone=default, all_series=all_series)
    except Refused as refusal:
        raise Refused(f"{file}: {refusal}") from None


@contextmanager
def _progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error if it is a terminal; yield the function that advances it by some rows."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not is_terminal()) as bar:
        task = bar.add_task(description, total=total)
        yield lambda rows: bar.advance(task, rows)


def export(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="- writes to standard output.")],
) -> None:
    """Write all members to a CSV file that is safe to open in a spreadsheet and that `members import` can read."""
    try:
        with _open(file) as output:

            async def act(parts: Parts) -> int:
                return await export_members(
                    parts.database,
                    output,
                    all_series=parts.series,
                    by=command_line_user(),
                    now=parts.clock.now(),
                )

            number = command_context(context).run(act)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Refused(f"{file} cannot be written: {error.strerror}") from None
    typer.echo(
        f"{counted(number, 'member')} written to {'standard output' if file == '-' else file}", err=True
    )


def _open(file: str) -> AbstractContextManager[TextIO]:
    if file != "-":
        # The file holds addresses, so only its owner may read it. Excel needs the byte order mark.
        return open(file, "w", encoding="utf-8-sig", newline="", opener=_open_private)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="")
    return nullcontext(sys.stdout)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
