"""The `ingest` command: process one incoming mail."""

import sys
from typing import Annotated

import typer

from scheduler.bootstrap.inbound import handle_message
from scheduler.bootstrap.wiring import Parts
from scheduler.cli.command import command_context, make_app
from scheduler.domain.inbound import LARGEST

app = make_app()

_PIECE = 64 * 1024


@app.command()
def ingest(
    context: typer.Context,
    recipient: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="The envelope's recipient; otherwise the headers name it."),
    ] = "",
) -> None:
    """Process one incoming mail from standard input.

    It is a bounce, a complaint, a calendar program's answer or a request to leave. Exit 0 when the mail has been dealt
    with: acted on, discarded, kept for review (`returns list`), or only counted because too many wait for review.
    Otherwise nothing was done, and the mail server should deliver the mail again later.
    """
    message = sys.stdin.buffer.read(LARGEST)
    # Read the rest too: a mail server treats a closed pipe as a failed delivery.
    while sys.stdin.buffer.read(_PIECE):
        pass

    async def process(parts: Parts) -> str:
        return (await handle_message(parts, message, recipient=recipient)).words

    typer.echo(command_context(context).run(process), err=True)
