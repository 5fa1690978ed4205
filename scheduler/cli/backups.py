"""Commands that keep a copy of everything, go back to it, and let sending go on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.cli.app import app
from scheduler.cli.command import command_context, confirm, confirm_mailing, counted, is_terminal, run_to_end

if TYPE_CHECKING:
    from scheduler.bootstrap.wiring import Parts
    from scheduler.service.restore import MissedMail
    from scheduler.service.sending_pause import SendingPaused


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
        bool,
        typer.Option("--send-missed", help="After a restore, send what was due before it too. Asks first."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Resume sending after it was paused."""
    from scheduler.bootstrap.serve import make_planner
    from scheduler.service.restore import missed, resume_without_missed
    from scheduler.service.sending_pause import CLOCK_AHEAD, RESTORED, current_pause
    from scheduler.service.sending_pause import resume as resume_sending

    async def look(parts: "Parts") -> "tuple[SendingPaused | None, MissedMail]":
        async with parts.database.read() as connection:
            pause = await current_pause(connection)
        if pause and pause.reason == RESTORED:
            # A tick creates the deliveries that the backup does not contain.
            await make_planner(parts).tick()
        return pause, await missed(parts.database)

    async def go_on(parts: "Parts") -> int | None:
        if not send_missed and pause and pause.reason == RESTORED:
            return await resume_without_missed(parts.database)
        async with parts.database.write() as connection:
            came_back = await resume_sending(connection, parts.clock.now())
        if came_back:
            typer.echo(f"{came_back} mails that a wrong clock had given up as too late are queued again")
        return None

    pause, waiting = command_context(context).run(look)
    if not pause:
        typer.echo("sending was not held")
        return
    no_question = yes or not is_terminal()
    if pause.reason == CLOCK_AHEAD:
        typer.echo(f"sending is held ({pause.reason}): {pause.advice}")
        confirm("Is the clock right, and should sending go on?", yes=no_question, otherwise="")
    for row in waiting.notices:
        typer.echo(f"{row.count:>7}  {row.kind} {row.notice}: {row.about}")
    if pause.reason == RESTORED:
        count = sum(row.count for row in waiting.notices)
        due = f"{count} mails were due before the restore"
        if send_missed:
            typer.echo(f"{due}; they will be sent now")
            confirm_mailing(
                f"Send {counted(count, 'mail')} to {counted(waiting.members, 'member')}?",
                waiting.members,
                yes=yes,
                instead="leave out --send-missed to go on without them",
            )
        else:
            typer.echo(f"{due}; they may have been sent after the backup, and will not be sent")
            confirm("Go on?", yes=no_question or not count, otherwise="")
    ended = command_context(context).run(go_on)
    typer.echo(f"sending goes on; it was held ({pause.reason}) since {pause.since:%Y-%m-%d %H:%M} UTC")
    if ended is not None:
        typer.echo(f"{ended} mails ended as expired (restored)")
