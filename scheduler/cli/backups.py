"""Commands that keep a copy of everything, go back to it, and let sending go on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.cli.app import app
from scheduler.cli.command import command_context, confirm, is_terminal, run_to_end

if TYPE_CHECKING:
    from scheduler.bootstrap.wiring import Parts
    from scheduler.service.sending_pause import SendingPaused
    from scheduler.store.ledger.reports import PastDue


@app.command()
def backup(context: typer.Context, file: Path) -> None:
    """Keep all there is, the key included, in one file, while the service runs."""
    from scheduler.service.restore import back_up

    async def act(parts: "Parts") -> None:
        await back_up(parts.database, file, keys=parts.keys, now=parts.clock.now())

    command_context(context).run(act)
    typer.echo(f"{file} holds everything, the key too: keep it where only you can read it")


@app.command()
def restore(context: typer.Context, file: Path) -> None:
    """Go back to a backup. Sending is then held until `resume`."""
    from scheduler.bootstrap.logs import set_up_logs
    from scheduler.bootstrap.wiring import put_back

    set_up_logs()
    aside = run_to_end(put_back(command_context(context).settings, file))
    if aside:
        typer.echo(f"what was there before is kept as {aside}")
    typer.echo(
        "restored; sending is held. `third-thursday resume` shows what was due before, and goes on without it"
    )


@app.command()
def resume(
    context: typer.Context,
    send_missed: Annotated[
        bool, typer.Option("--send-missed", help="After a restore, send what was due before it too.")
    ] = False,
) -> None:
    """Let sending go on after it was held."""
    from scheduler.bootstrap.serve import make_planner
    from scheduler.service.restore import let_go, missed
    from scheduler.service.sending_pause import CLOCK_AHEAD, RESTORED, held
    from scheduler.service.sending_pause import resume as resume_sending

    async def look(parts: "Parts") -> "tuple[SendingPaused | None, list[PastDue]]":
        async with parts.database.read() as connection:
            standing = await held(connection)
        if standing and standing.reason == RESTORED:
            # A tick makes the deliveries that the backup does not know of.
            await make_planner(parts).tick()
        return standing, await missed(parts.database)

    async def go_on(parts: "Parts") -> int | None:
        if not send_missed and standing and standing.reason == RESTORED:
            return await let_go(parts.database)
        async with parts.database.write() as connection:
            came_back = await resume_sending(connection, parts.clock.now())
        if came_back:
            typer.echo(f"{came_back} mails that a wrong clock had given up as too late are queued again")
        return None

    standing, waiting = command_context(context).run(look)
    if not standing:
        typer.echo("sending was not held")
        return
    if standing.reason == CLOCK_AHEAD:
        typer.echo(f"sending is held ({standing.reason}): {standing.advice}")
        confirm("Is the clock right, and should sending go on?", yes=not is_terminal(), otherwise="")
    for row in waiting:
        typer.echo(f"{row.count:>7}  {row.kind} {row.notice}: {row.about}")
    if standing.reason == RESTORED:
        count = sum(row.count for row in waiting)
        fate = (
            "will be sent now" if send_missed else "may have been sent after the backup, and will not be sent"
        )
        typer.echo(f"{count} mails were due before the restore; they {fate}")
        confirm("Go on?", yes=not is_terminal() or not count, otherwise="")
    ended = command_context(context).run(go_on)
    typer.echo(f"sending goes on; it was held ({standing.reason}) since {standing.since:%Y-%m-%d %H:%M} UTC")
    if ended is not None:
        typer.echo(f"{ended} mails ended as expired (restored)")
