"""What every command shares: settings read late, an event loop, and problems told in one line."""

import json
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

from scheduler.domain.errors import Problem, Refused, SettingsProblem

if TYPE_CHECKING:
    from datetime import date

    from scheduler.bootstrap.settings import Settings
    from scheduler.bootstrap.wiring import Parts

Result = TypeVar("Result")

LAST_YEAR = 2199
"""As far as dates of commands may lie ahead: rules are followed that far in no time."""

LONGEST_NUMBER = 18
"""Digits of a notice's number that every database can hold."""

LONGEST_HOLD = 7 * 24 * 3600
"""Seconds for which a mail may wait to be stopped."""

READING = frozenset(
    {"schedule", "plan", "feed", "deliveries", "status", "doctor", "list", "show", "answers", "export"}
)
"""The commands that change nothing, by the last of their words."""

EXIT_FAILED = 1
EXIT_USAGE = 2


class CommandContext:
    """Carried by typer's context from the main command to the others."""

    def __init__(self, config: Path | None) -> None:
        self.config = config
        self.only_reads = False
        self._pointed_out = False

    @property
    def settings(self) -> "Settings":
        """The settings; raises SettingsProblem."""
        from scheduler.bootstrap.settings import load_settings

        self._point_out_unnamed()
        return load_settings(self.config, os.environ)

    def _point_out_unnamed(self) -> None:
        """Say, once, that a settings file lies here which a command that writes does not read."""
        from scheduler.bootstrap.settings import unnamed_settings

        if self.config is None and not self.only_reads and not self._pointed_out:
            self._pointed_out = True
            if found := unnamed_settings(Path()):
                names = ", ".join(one.name for one in found)
                typer.echo(
                    f"third-thursday: {names}: a settings file that is not read, since --config does not name it; "
                    f"the defaults are used. To use it: third-thursday --config {found[0].name} COMMAND",
                    err=True,
                )

    def run(
        self, action: "Callable[[Parts], Awaitable[Result]]", *, upgrade: bool = False, new_key: bool = False
    ) -> Result:
        """Open the parts, run `action` on them in an event loop, and close them. Raises Problem."""
        from scheduler.bootstrap.logs import set_up_logs
        from scheduler.bootstrap.wiring import open_parts

        set_up_logs()

        async def within() -> Result:
            async with open_parts(self.settings, upgrade=upgrade, new_key=new_key) as parts:
                return await action(parts)

        return run_to_end(within())


def run_to_end(doing: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in an event loop of its own; asyncio is loaded no sooner, so that `--help` is quick.

    Raises Problem where the database or a file fails.
    """
    import asyncio

    with faults_told():
        return asyncio.run(doing)


@contextmanager
def faults_told() -> Iterator[None]:
    """A database or file that fails within is told in one line: raises Problem."""
    from scheduler.store.database import OUTAGES
    from scheduler.store.outage import outage_of

    try:
        yield
    except BrokenPipeError:
        raise
    except OUTAGES as error:
        raise Problem(f"{outage_of(error)}; then try again") from None


def command_context(context: typer.Context) -> CommandContext:
    found = context.find_object(CommandContext)
    assert found is not None
    found.only_reads = context.info_name in READING
    return found


@contextmanager
def usage() -> Iterator[None]:
    """What is refused within is an option's value: wrong usage."""
    try:
        yield
    except Refused as refusal:
        raise SettingsProblem(str(refusal)) from None


def show_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def fail(message: str, *, code: int = EXIT_FAILED) -> NoReturn:
    """Say what went wrong, in one line on standard error, and exit."""
    typer.echo(f"third-thursday: {message}", err=True)
    raise typer.Exit(code)


def require_near(day: "date", option: str) -> None:
    """Raises SettingsProblem where `day` lies further ahead than the rules are followed."""
    if day.year > LAST_YEAR:
        raise SettingsProblem(f"{option} {day} lies too far ahead; give a date up to {LAST_YEAR}-12-31")


def is_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def confirm(question: str, *, yes: bool, otherwise: str) -> None:
    """Ask on a terminal unless `yes`; without a terminal refuse, saying `otherwise` what option to give."""
    if yes:
        return
    if not is_terminal():
        fail(otherwise, code=EXIT_USAGE)
    if not typer.confirm(question, err=True):
        fail("nothing was done")


def confirm_mailing(question: str, number: int, *, yes: bool, instead: str) -> None:
    """Ask before `number` people are mailed; without a terminal exit 2 unless `yes`. Nobody to mail: nothing to ask.

    `instead` is the option that does the same without mail, for the message.
    """
    if number:
        mailed = f"this mails {counted(number, 'member')} now"
        confirm(
            question, yes=yes, otherwise=f"{mailed}; give --yes to do it without being asked, or {instead}"
        )


def counted(number: int, noun: str) -> str:
    """`1 member`, `2 members`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def say_answers(answers: dict[str, int]) -> str:
    """How many answered what."""
    from scheduler.domain.occurrence import ANSWERS

    return ", ".join(f"{answers.get(answer, 0)} {answer}" for answer in ANSWERS)
