"""Commands that run the service with its web pages: `serve` and `demo`."""

import os

import typer
import uvloop

from scheduler.bootstrap.demo import run_demo
from scheduler.bootstrap.serve import serve as run_service
from scheduler.bootstrap.wiring import set_up_logs
from scheduler.cli.command import command_context, make_app, outages_reported, run_async

app = make_app()


@app.command()
def demo(context: typer.Context) -> None:
    """Try the service with made-up members.

    /outbox shows the mails that the members were sent.
    """
    set_up_logs()
    run_async(run_demo(command_context(context).config, os.environ, say=typer.echo))


@app.command()
def serve(context: typer.Context) -> None:
    """Run the service: plan, send mail and serve the web pages.

    SIGTERM stops it, after the mails that are being sent.
    """
    settings = command_context(context).settings
    set_up_logs()
    with outages_reported():
        uvloop.run(run_service(settings, say=typer.echo))
