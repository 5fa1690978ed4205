"""The command itself: its global option, its subcommands, and what a problem looks like from outside."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from scheduler.cli.command import EXIT_FAILED, EXIT_USAGE, CommandContext
from scheduler.domain.errors import Problem, SettingsProblem

app = typer.Typer(
    name="third-thursday",
    help="A recurring online meeting, told to every member in their own time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settings merged over the defaults.", show_default=False),
    ] = None,
) -> None:
    context.obj = CommandContext(config)


def main() -> None:
    """Run the command. Exit 0 done, 1 failed, 2 wrong usage or settings; a problem is one line on standard error."""
    try:
        app()
    except SettingsProblem as problem:
        _end(str(problem), EXIT_USAGE)
    except Problem as problem:
        _end(str(problem), EXIT_FAILED)
    except OverflowError:
        _end("a date, a length of time or a number is out of all bounds; give a nearer one", EXIT_USAGE)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(EXIT_FAILED)


def _end(message: str, code: int) -> None:
    typer.echo(f"third-thursday: {message}", err=True)
    sys.exit(code)
