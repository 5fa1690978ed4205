"""Commands that show how the service is doing: `status` and `doctor`."""

from datetime import timedelta
from typing import Annotated

import typer

from scheduler.bootstrap.dns_check import Finding
from scheduler.bootstrap.doctor import examine
from scheduler.bootstrap.wiring import Parts
from scheduler.cli.command import AsJson, command_context, fail, make_app, run_async, show_json
from scheduler.domain.text import counted
from scheduler.service.health import ServiceHealth, health, try_writing
from scheduler.service.schedule import without_room
from scheduler.service.scheduled_backups import backup_warnings

app = make_app()

ROOM_WANTED = timedelta(days=7)
"""How long before a meeting `status` starts to warn that it has no room link."""


@app.command()
def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show how the service is doing.

    Exit 1 if something is wrong.
    """

    async def look(parts: Parts) -> tuple[ServiceHealth, list[str], float, list[str]]:
        now = parts.clock.now()
        unwritable = await try_writing(parts.database, now)
        state = await health(parts.database, now, unwritable=unwritable)
        rate = 0.0
        if state.deliveries.get("sending"):
            await parts.clock.sleep(1)
            later = await health(parts.database, moment := parts.clock.now(), unwritable=unwritable)
            more = later.deliveries.get("sent", 0) - state.deliveries.get("sent", 0)
            state, rate, now = later, more / (moment - now).total_seconds(), moment
        roomless = await without_room(parts.database, parts.series, now=now, within=ROOM_WANTED)
        warnings = [
            f"no room is set for {occurrence.key}, which starts on {occurrence.starts:%Y-%m-%d at %H:%M} UTC; "
            f"`occurrence amend {occurrence.key} --link URL` sets it"
            for occurrence in roomless
        ]
        if parts.settings.backup.folder:
            async with parts.database.read() as connection:
                warnings += await backup_warnings(connection, now)
        return state, state.troubles(now, late=parts.settings.watch.late), rate, warnings

    state, troubles, rate, warnings = command_context(context).run(look)
    if as_json:
        show_json(_document(state, troubles, rate) | {"warnings": warnings})
    else:
        _print_state(state, troubles, rate, warnings)
    if troubles:
        raise typer.Exit(1)


def _document(state: ServiceHealth, troubles: list[str], rate: float) -> dict[str, object]:
    instants = {
        f"{name}_utc": value.isoformat() if value else None
        for name, value in (
            ("last_tick", state.last_tick),
            ("next_due", state.next_due),
            ("oldest_waiting", state.oldest_waiting),
            ("ready_since", state.ready_since),
            ("last_backup", state.last_backup),
            ("rehearsed", state.rehearsed),
        )
    }
    return {
        "healthy": not troubles,
        "troubles": troubles,
        "held": state.pause.reason if state.pause else None,
        "members": state.members,
        "deliveries": state.deliveries,
        "failures": state.failures,
        "suppressed": state.suppressed,
        "on_hold": [notice.id for notice in state.on_hold],
        "to_review": state.to_review,
        "rate": round(rate, 1),
        **instants,
    }


def _print_state(state: ServiceHealth, troubles: list[str], rate: float, warnings: list[str]) -> None:
    def list_counts(counts: dict[str, int]) -> str:
        return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"

    typer.echo(f"members:     {list_counts(state.members)}")
    typer.echo(f"deliveries:  {list_counts(state.deliveries)} (of notices still open)")
    if state.failures:
        typer.echo(f"failed for:  {list_counts(state.failures)}")
    if state.suppressed:
        typer.echo(f"suppressed:  {counted(state.suppressed, 'member')}, whose address returns mail")
    if state.to_review:
        typer.echo(f"came back:   {counted(state.to_review, 'message')} to review; see `returns list`")
    if rate:
        left = state.deliveries.get("queued", 0) + state.deliveries.get("sending", 0)
        typer.echo(
            f"sending:     {rate:.0f} a second; {left} left, {left / rate / 60:.1f} minutes at this rate"
        )
    if state.next_due:
        typer.echo(f"next due:    {state.next_due:%Y-%m-%d %H:%M} UTC")
    if state.oldest_waiting:
        typer.echo(f"waiting:     since {state.oldest_waiting:%Y-%m-%d %H:%M} UTC")
    if state.mailbox_read:
        typer.echo(f"mailbox:     read at {state.mailbox_read:%Y-%m-%d %H:%M} UTC")
    if state.last_backup:
        typer.echo(f"last backup: {state.last_backup:%Y-%m-%d %H:%M} UTC")
    for notice in state.on_hold:
        typer.echo(
            f"on hold:     notice {notice.id}, {notice.policy or notice.kind} of {notice.occurrence}; "
            f"`notice release {notice.id}` sends it, `notice drop {notice.id}` drops it"
        )
    for warning in warnings:
        typer.echo(f"warning:     {warning}")
    for trouble in troubles:
        typer.echo(f"trouble:     {trouble}")
    if not troubles:
        typer.echo("all is well")


@app.command()
def doctor(
    context: typer.Context,
    resolver: Annotated[
        str, typer.Option(metavar="IP[:PORT]", help="The DNS server to ask, instead of this machine's own.")
    ] = "",
) -> None:
    """Check the installation and say what to fix.

    Exit 1 if something is wrong.
    """

    def show(finding: Finding) -> None:
        typer.echo(f"{finding.level.value:<5}  {finding.text}")

    if run_async(examine(command_context(context).settings, show, resolver=resolver)):
        fail("something is wrong; see above")
