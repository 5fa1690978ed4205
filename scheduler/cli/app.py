"""The `third-thursday` command: its global option, its table of commands, and its exit codes."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import Abort, TyperException
from typer.main import get_group

from scheduler import __version__
from scheduler.domain.errors import Problem, SettingsProblem

EXIT_FAILED = 1
EXIT_USAGE = 2


class LazyCommand(NamedTuple):
    """A command whose module is imported only when the command is run."""

    module: str
    """Its name in `scheduler.cli`. It has an `app` that holds this command, or that is this group of commands."""

    help: str
    """The first line of the command's own help. A test checks that they are equal."""


COMMANDS = {
    "setup": LazyCommand("setup", "Ask a few questions and write the settings file."),
    "demo": LazyCommand("serve", "Try the service with made-up members."),
    "serve": LazyCommand("serve", "Run the service: plan, send mail and serve the web pages."),
    "worker": LazyCommand("worker", "Send mail that `serve` has planned (PostgreSQL only)."),
    "schedule": LazyCommand("schedule", "Show when the meetings are."),
    "plan": LazyCommand("reports", "Show what will be sent, to how many and when; send nothing."),
    "members": LazyCommand("members", "Manage the list of members."),
    "convenors": LazyCommand("convenors", "Manage who runs the community."),
    "wall": LazyCommand("wall", "Show members who want to be shown on the page of people."),
    "about": LazyCommand("about", "Write the page about the community."),
    "notice": LazyCommand("notices", "Send notices, and see or stop what is being sent."),
    "occurrence": LazyCommand("occurrences", "Change or add a meeting, and tell the members."),
    "themes": LazyCommand("themes", "Manage the themes of meetings."),
    "speakers": LazyCommand("speakers", "Manage the speakers of meetings."),
    "requests": LazyCommand("requests", "Answer requests to join."),
    "returns": LazyCommand("returns", "Review mail that came back."),
    "deliveries": LazyCommand("reports", "Show what became of each mail."),
    "numbers": LazyCommand("numbers", "Count members, answers and emails over time."),
    "audit": LazyCommand("audit", "Show who did what, the latest first."),
    "feed": LazyCommand("schedule", "Print the public calendar feed, or a member's own."),
    "ingest": LazyCommand("ingest", "Process one incoming mail from standard input."),
    "status": LazyCommand("health", "Show how the service is doing."),
    "doctor": LazyCommand("health", "Check the installation and say what to fix."),
    "migrate": LazyCommand("backups", "Upgrade the database to this version."),
    "backup": LazyCommand("backups", "Back up the database and the key into one file."),
    "restore": LazyCommand("backups", "Replace the database with a backup; sending is then held."),
    "rehearse": LazyCommand("backups", "Restore a backup into a scratch place, and check it."),
    "resume": LazyCommand("backups", "Start sending again after it was held."),
}  # in the order of `--help`


def load_command(name: str) -> Any:
    """Import the module of a command in COMMANDS and return its Click command or group."""
    module = import_module(f"scheduler.cli.{COMMANDS[name].module}")
    group = get_group(module.app)
    return group.commands.get(name, group)


class _LazyGroup(TyperGroup):
    """Holds a placeholder for each command, enough for `--help`, and loads the command that is invoked."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        assert name is not None
        return name, load_command(name), rest


app = typer.Typer(
    cls=_LazyGroup,
    name="third-thursday",
    help="Run a recurring online meeting, and tell every member about it in their own local time.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"third-thursday {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="THIRD_THURSDAY_CONFIG",
            help="A settings file; its values override the defaults.",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    context.obj = config


def _placeholder() -> None:
    """Stand for a command that has not been loaded."""


for _name, _command in COMMANDS.items():
    app.command(_name, help=_command.help)(_placeholder)


def main() -> None:
    """Run the command. Exit 0 if it succeeded, 1 if it failed, 2 for wrong usage or settings.

    A problem is printed in one line on standard error.
    """
    try:
        # With `standalone_mode`, Typer would print a wrong usage itself, in four lines.
        sys.exit(app(standalone_mode=False))
    except TyperException as error:
        _report_usage(error)
    except Abort:
        _exit("interrupted; nothing more was done", EXIT_FAILED)
    except SettingsProblem as problem:
        _exit(str(problem), EXIT_USAGE)
    except Problem as problem:
        _exit(str(problem), EXIT_FAILED)
    except OverflowError:
        _exit("a date, duration or number is too large; give a smaller one", EXIT_USAGE)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(EXIT_FAILED)


def _report_usage(error: TyperException) -> NoReturn:
    """Report a wrong usage in one line, with the command whose help explains the right one.

    A group of commands that is called without one of them shows its help.
    """
    message, context = error.format_message().rstrip("."), getattr(error, "ctx", None)
    if message.startswith("Usage:"):
        typer.echo(message, err=True)
        sys.exit(error.exit_code)
    hint = f" (see `{context.command_path} --help`)" if context else ""
    _exit(f"{message[:1].lower()}{message[1:]}{hint}", error.exit_code)


def _exit(message: str, code: int) -> NoReturn:
    typer.echo(f"third-thursday: {message}", err=True)
    sys.exit(code)
