"""The shell's door: translates, never decides."""

from scheduler.cli import (
    backups,
    member_files,
    members,
    notices,
    occurrences,
    reports,
    requests,
    returns,
    schedule,
    service,
)
from scheduler.cli.app import app, main

app.add_typer(members.app, name="members")
app.add_typer(notices.app, name="notice")
app.add_typer(occurrences.app, name="occurrence")
app.add_typer(requests.app, name="requests")
app.add_typer(returns.app, name="returns")

__all__ = ["backups", "main", "member_files", "reports", "schedule", "service"]
