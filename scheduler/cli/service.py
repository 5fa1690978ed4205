"""Commands that run the service and look after it."""

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.cli.app import app
from scheduler.cli.command import command_context, fail, faults_told, run_to_end, show_json
from scheduler.cli.command import counted as say_count

if TYPE_CHECKING:
    from scheduler.bootstrap.wiring import Parts
    from scheduler.service.health import ServiceHealth

ROOM_WANTED = timedelta(days=7)
"""How long before a meeting `status` begins to warn that it has no room."""


@app.command()
def serve(context: typer.Context) -> None:
    """Run the service: tick, send, serve the web. SIGTERM drains and stops it."""
    import uvloop

    from scheduler.bootstrap.logs import set_up_logs
    from scheduler.bootstrap.serve import serve as run

    settings = command_context(context).settings
    set_up_logs()
    with faults_told():
        uvloop.run(run(settings, say=typer.echo))


@app.command()
def worker(context: typer.Context) -> None:
    """Send what `serve` plans, on this machine too (PostgreSQL only). SIGTERM drains and stops it."""
    from scheduler.bootstrap.logs import set_up_logs
    from scheduler.bootstrap.worker import work

    settings = command_context(context).settings
    set_up_logs()
    run_to_end(work(settings, say=typer.echo))


@app.command()
def demo(context: typer.Context) -> None:
    """See the main job done: made-up members, and the next meeting's invitation under /outbox."""
    from scheduler.bootstrap.demo import demonstrate
    from scheduler.bootstrap.logs import set_up_logs

    set_up_logs()
    run_to_end(demonstrate(command_context(context).config, os.environ, say=typer.echo))


@app.command()
def migrate(
    context: typer.Context,
    new_key: Annotated[
        bool,
        typer.Option(
            "--new-key", help="The key is lost: go on with a new one. All links sent so far stop working."
        ),
    ] = False,
) -> None:
    """Bring the database to this version's shape."""

    async def shown(parts: "Parts") -> str:
        return parts.database.shown

    typer.echo(
        f"{command_context(context).run(shown, upgrade=True, new_key=new_key)} has this version's shape"
    )


@app.command()
def status(context: typer.Context, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Say how the service is. Exit 1 where something is wrong."""
    from scheduler.service.health import health, try_writing
    from scheduler.service.schedule import without_room

    async def look(parts: "Parts") -> "tuple[ServiceHealth, list[str], float, list[str]]":
        now = parts.clock.now()
        unwritable = await try_writing(parts.database, now)
        found = await health(parts.database, now, unwritable=unwritable)
        rate = 0.0
        if found.deliveries.get("sending"):
            await parts.clock.sleep(1)
            later = await health(parts.database, moment := parts.clock.now(), unwritable=unwritable)
            more = later.deliveries.get("sent", 0) - found.deliveries.get("sent", 0)
            found, rate, now = later, more / (moment - now).total_seconds(), moment
        roomless = await without_room(parts.database, parts.series, now=now, within=ROOM_WANTED)
        warnings = [
            f"no room is set for {one.key}, which begins on {one.starts:%Y-%m-%d at %H:%M} UTC; "
            f"`occurrence amend {one.key} --link URL` sets it"
            for one in roomless
        ]
        return found, found.troubles(now, late=parts.settings.watch.late), rate, warnings

    found, troubles, rate, warnings = command_context(context).run(look)
    if as_json:
        show_json(_document(found, troubles, rate) | {"warnings": warnings})
    else:
        _print(found, troubles, rate, warnings)
    if troubles:
        raise typer.Exit(1)


def _document(found: "ServiceHealth", troubles: list[str], rate: float) -> dict[str, object]:
    instants = {
        f"{name}_utc": value.isoformat() if value else None
        for name, value in (
            ("last_tick", found.last_tick),
            ("next_due", found.next_due),
            ("oldest_waiting", found.oldest_waiting),
            ("ready_since", found.ready_since),
        )
    }
    return {
        "healthy": not troubles,
        "troubles": troubles,
        "held": found.hold.reason if found.hold else None,
        "members": found.members,
        "deliveries": found.deliveries,
        "failures": found.failures,
        "suppressed": found.suppressed,
        "to_review": found.to_review,
        "rate": round(rate, 1),
        **instants,
    }


def _print(found: "ServiceHealth", troubles: list[str], rate: float, warnings: list[str]) -> None:
    def counted(counts: dict[str, int]) -> str:
        return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"

    typer.echo(f"members:     {counted(found.members)}")
    typer.echo(f"deliveries:  {counted(found.deliveries)} (of notices still open)")
    if found.failures:
        typer.echo(f"failed for:  {counted(found.failures)}")
    if found.suppressed:
        typer.echo(f"suppressed:  {say_count(found.suppressed, 'member')}, whose address sends mail back")
    if found.to_review:
        typer.echo(
            f"came back:   {say_count(found.to_review, 'message')} to be looked at; see `returns list`"
        )
    if rate:
        left = found.deliveries.get("queued", 0) + found.deliveries.get("sending", 0)
        typer.echo(
            f"sending:     {rate:.0f} a second; {left} left, {left / rate / 60:.1f} minutes at this rate"
        )
    if found.next_due:
        typer.echo(f"next due:    {found.next_due:%Y-%m-%d %H:%M} UTC")
    if found.oldest_waiting:
        typer.echo(f"waiting:     since {found.oldest_waiting:%Y-%m-%d %H:%M} UTC")
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
        str, typer.Option(metavar="IP[:PORT]", help="The DNS server to ask, in place of this machine's.")
    ] = "",
) -> None:
    """Check the installation, and say what to mend. Exit 1 where something is wrong."""
    from scheduler.bootstrap.dns_check import Finding
    from scheduler.bootstrap.doctor import examine

    def show(finding: Finding) -> None:
        typer.echo(f"{finding.level.value:<5}  {finding.text}")

    if run_to_end(examine(command_context(context).settings, show, resolver=resolver)):
        fail("something needs mending; see above")
