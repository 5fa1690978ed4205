"""What all commands share: settings, an event loop, questions to the user, and errors in one line."""

import asyncio
import getpass
import json
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from scheduler.bootstrap.settings import Settings, load_settings, unnamed_settings
from scheduler.bootstrap.settings_sources import CONFIG_VARIABLE
from scheduler.bootstrap.wiring import Parts, open_parts, set_up_logs
from scheduler.cli.app import EXIT_FAILED, EXIT_USAGE
from scheduler.domain.actor import Actor
from scheduler.domain.errors import Problem, Refused, SettingsProblem
from scheduler.domain.recurrence import LAST_YEAR
from scheduler.domain.text import counted
from scheduler.store.database import OUTAGES
from scheduler.store.outage import outage_of

Result = TypeVar("Result")

LONGEST_ID = 18
"""The number of digits of an ID that every database can store."""

LONGEST_HOLD = 7 * 24 * 3600
"""The number of seconds that a notice may wait before its first mail."""

READ_ONLY_COMMANDS = frozenset(
    {
        "schedule",
        "plan",
        "feed",
        "deliveries",
        "status",
        "doctor",
        "list",
        "show",
        "answers",
        "hours",
        "numbers",
        "export",
        "audit",
        "versions",
    }
)
"""The commands that change nothing, by the last word of their name."""

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen; change nothing.")]
Encoding = Annotated[
    str | None,
    typer.Option(
        "--encoding",
        metavar="NAME",
        help="The file's code page, for example windows-1251; normally detected.",
    ),
]


def make_app(help: str = "") -> typer.Typer:  # noqa: A002 - Typer's own name for it
    """Return an empty group of commands; without `help` it only holds top-level commands."""
    return typer.Typer(help=help, no_args_is_help=True, rich_markup_mode=None)


class CommandContext:
    """What a command needs from the command line around it."""

    def __init__(self, config: Path | None, *, read_only: bool) -> None:
        self.config = config
        self._read_only = read_only
        self._has_warned = False

    @property
    def settings(self) -> Settings:
        """The settings. Raises SettingsProblem."""
        self._warn_of_unused_settings()
        return load_settings(self.config, os.environ)

    def run(self, action: Callable[[Parts], Awaitable[Result]]) -> Result:
        """Open the parts, run `action` with them in an event loop, and close them. Raises Problem."""
        set_up_logs()

        async def run_action() -> Result:
            async with open_parts(self.settings) as parts:
                return await action(parts)

        return run_async(run_action())

    def _warn_of_unused_settings(self) -> None:
        """Warn once, before anything is written, if this folder has a settings file and none is named."""
        if self.config is not None or self._read_only or self._has_warned:
            return
        self._has_warned = True
        if files := unnamed_settings(Path()):
            typer.echo(
                f"third-thursday: {', '.join(file.name for file in files)}: a settings file that is not read, because "
                f"neither --config nor {CONFIG_VARIABLE} names one; the defaults are used. To use it: "
                f"third-thursday --config {files[0].name} COMMAND",
                err=True,
            )


def command_context(context: typer.Context) -> CommandContext:
    """Return the context of the running command; every call in one process returns the same object."""
    existing = context.meta.get(__name__)
    if not isinstance(existing, CommandContext):
        existing = CommandContext(context.find_root().obj, read_only=context.info_name in READ_ONLY_COMMANDS)
        context.meta[__name__] = existing
    return existing


def command_line_user() -> Actor:
    """Return who runs this command, for the audit log: the person behind `sudo`, if there is one."""
    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        name = f"user {os.getuid()}"
    return Actor(channel="command line", name=name)


def run_async(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in a new event loop. Raises Problem if the database or a file fails."""
    with outages_reported():
        return asyncio.run(coroutine)


@contextmanager
def outages_reported() -> Iterator[None]:
    """Raise Problem, with one line of advice, if the database or a file fails inside."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OUTAGES as error:
        raise Problem(f"{outage_of(error)}; then try again") from None


@contextmanager
def usage() -> Iterator[None]:
    """Report a value that is refused inside as wrong usage: raise SettingsProblem in place of Refused."""
    try:
        yield
    except Refused as refusal:
        raise SettingsProblem(str(refusal)) from None


def read_file(path: Path, option: str = "") -> bytes:
    """Return the content of a file. Raises Refused, naming `option`, if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"{option}{path} cannot be read: {error.strerror}") from None


def read_text_file(path: Path, option: str = "") -> str:
    """Return the text of a file; `-` reads standard input. Raises Refused, naming `option`, if it cannot be read."""
    try:
        if str(path) == "-":
            return typer.get_text_stream("stdin").read()
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Refused(f"{option}{path} cannot be read: {reason}") from None


def show_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def fail(message: str, *, code: int = EXIT_FAILED) -> NoReturn:
    """Print an error in one line on standard error, and exit."""
    typer.echo(f"third-thursday: {message}", err=True)
    raise typer.Exit(code)


def parse_id(text: str, message: str) -> int:
    """Return the ID in `text`, or exit with `message`, in which `{}` stands for `text`, as wrong usage."""
    if not text.isdecimal() or len(text) > LONGEST_ID:
        fail(message.format(text), code=EXIT_USAGE)
    return int(text)


def read_date(text: str, option: str) -> date:
    """Return the date that `text` is. Raises SettingsProblem if it is not a date or is too far ahead."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise SettingsProblem(f"{option} '{text}' is not a date; write YYYY-MM-DD") from None
    require_near(day, option)
    return day


def require_near(day: date, option: str) -> None:
    """Raise SettingsProblem if `day` is later than LAST_YEAR."""
    if day.year > LAST_YEAR:
        raise SettingsProblem(f"{option} {day} is too far ahead; give a date up to {LAST_YEAR}-12-31")


def is_terminal() -> bool:
    """Return whether there is a person who can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def confirm(question: str, *, yes: bool, otherwise: str) -> None:
    """Ask on a terminal unless `yes`. Without a terminal, exit as wrong usage with `otherwise`, which names the option
    to give."""
    if yes:
        return
    if not is_terminal():
        fail(otherwise, code=EXIT_USAGE)
    if not typer.confirm(question, err=True):
        fail("nothing was done")


def confirm_mailing(question: str, number: int, *, yes: bool, instead: str) -> None:
    """Ask before `number` members are mailed; without a terminal, exit 2 unless `yes`. Does not ask if `number` is 0.

    `instead`, for the error message, is the option that does the same without sending mail.
    """
    if number:
        confirm(
            question,
            yes=yes,
            otherwise=f"this mails {counted(number, 'member')} now; give --yes to do it without being asked, "
            f"or {instead}",
        )


def describe_answers(answers: dict[str, int]) -> str:
    """Return how many members gave each answer, as `3 coming, 0 maybe, 1 declined`."""
    return ", ".join(f"{answers.get(answer, 0)} {answer}" for answer in ("coming", "maybe", "declined"))
