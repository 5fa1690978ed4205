"""The option to see a mail as one member would get it, instead of sending it."""

from typing import Annotated

import typer

from scheduler.service.preview import Preview

PreviewFor = Annotated[
    str,
    typer.Option(
        "--preview-for", metavar="EMAIL", help="Only show the mail as this member would get it; send nothing."
    ),
]


def show_preview(preview: Preview) -> None:
    """Print a mail as a member would get it."""
    typer.echo(f"From: {preview.sender}\nTo: {preview.member.address}\nSubject: {preview.subject}\n")
    typer.echo(preview.text)
    typer.echo("This is a preview: nothing was sent, and its links open nothing.", err=True)
