"""The `worker` command. It is apart from `serve` because it imports no web pages."""

import typer

from scheduler.bootstrap.wiring import set_up_logs
from scheduler.bootstrap.worker import work
from scheduler.cli.command import command_context, make_app, run_async

app = make_app()


@app.command()
def worker(context: typer.Context) -> None:
    """Send mail that `serve` has planned (PostgreSQL only).

    SIGTERM stops it, after the mails that are being sent.
    """
    settings = command_context(context).settings
    set_up_logs()
    run_async(work(settings, say=typer.echo))
