"""Commands that upgrade, back up and restore the database, try a backup, and start sending again afterwards."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from scheduler.bootstrap.serve import make_planner
from scheduler.bootstrap.upgrading import upgrade_database
from scheduler.bootstrap.wiring import Parts, rehearse_restore, restore_backup, set_up_logs
from scheduler.cli.command import command_context, confirm, confirm_mailing, is_terminal, make_app, run_async
from scheduler.domain.clock import format_duration
from scheduler.domain.text import counted
from scheduler.service.rehearsal import Rehearsal
from scheduler.service.restore import MissedMail, back_up, missed, resume_without_missed
from scheduler.service.sending_pause import CLOCK_AHEAD, RESTORED, SendingPaused, current_pause
from scheduler.service.sending_pause import resume as resume_sending

app = make_app()


@app.command()
def migrate(
    context: typer.Context,
    new_key: Annotated[
        bool,
        typer.Option(
            "--new-key", help="The key is lost: make a new one. Links in mails sent so far stop working."
        ),
    ] = False,
    no_backup: Annotated[
        bool, typer.Option("--no-backup", help="Make no backup first: you have one of your own.")
    ] = False,
) -> None:
    """Upgrade the database to this version.

    If that changes it, a backup is made first. Killed at any moment, it leaves the database as it was.
    """
    set_up_logs()
    settings = command_context(context).settings
    database, backup = run_async(upgrade_database(settings, new_key=new_key, back_up=not no_backup))
    if backup:
        typer.echo(f"{backup} is a backup from before the upgrade")
    typer.echo(f"{database} is up to date with this version")


@app.command()
def backup(context: typer.Context, file: Path) -> None:
    """Back up the database and the key into one file.

    The service may be running.
    """

    async def copy(parts: Parts) -> None:
        await back_up(parts.database, file, keys=parts.keys, now=parts.clock.now())

    command_context(context).run(copy)
    typer.echo(f"{file} holds all data and the key; keep it where only you can read it")


Identity = Annotated[
    Path | None,
    typer.Option(
        "--identity",
        metavar="KEYFILE",
        help="The file with the secret key of age, for an encrypted backup.",
        show_default=False,
    ),
]


@app.command()
def restore(context: typer.Context, file: Path, identity: Identity = None) -> None:
    """Replace the database with a backup; sending is then held.

    `resume` starts sending again.
    """
    set_up_logs()
    previous = run_async(restore_backup(command_context(context).settings, file, identity=identity))
    if previous:
        typer.echo(f"the previous database is kept as {previous}")
    typer.echo(
        "restored; sending is held. `third-thursday resume` shows which mails were due before the restore, "
        "and starts sending again without them"
    )


@app.command()
def rehearse(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", help="The backup to try, instead of the newest in [backup] folder.", show_default=False
        ),
    ] = None,
    identity: Identity = None,
) -> None:
    """Restore a backup into a scratch place, and check it.

    Sends nothing, and leaves the database as it is. Exit 1 if something is wrong.
    """

    async def try_restore(parts: Parts) -> tuple[Rehearsal, timedelta | None]:
        done = await rehearse_restore(parts, file, identity=identity)
        return done, parts.clock.now() - done.made_at if done.made_at else None

    done, age = command_context(context).run(try_restore)
    typer.echo(f"backup:      {done.file}")
    if done.made_at is not None and age is not None:
        typer.echo(
            f"made:        {done.made_at:%Y-%m-%d %H:%M} UTC, {format_duration(max(age, timedelta()))} ago"
        )
    typer.echo(f"restored in: {done.took.total_seconds():.1f} s, into a scratch place that is deleted again")
    typer.echo(f"schema:      {done.revision}")
    for name, count in sorted(done.counts.items()):
        typer.echo(f"{count:>11}  {name}")
    if not done.compared:
        typer.echo(
            "warning:     the counts could not be compared: the backup does not say how many it should have"
        )
    typer.echo("all is well: the backup is intact and complete, and it fits the key in use")


@app.command()
def resume(
    context: typer.Context,
    send_missed: Annotated[
        bool, typer.Option("--send-missed", help="After a restore, also send mails that were due before it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Start sending again after it was held."""

    async def look(parts: Parts) -> tuple[SendingPaused | None, MissedMail]:
        async with parts.database.read() as connection:
            pause = await current_pause(connection)
        if pause and pause.reason == RESTORED:
            # A tick creates the deliveries that are missing from the backup.
            await make_planner(parts).tick()
        return pause, await missed(parts.database)

    async def start_again(parts: Parts) -> int | None:
        """Return the number of mails that expired because of a restore, or None if sending was held otherwise."""
        if not send_missed and pause and pause.reason == RESTORED:
            return await resume_without_missed(parts.database)
        async with parts.database.write() as connection:
            requeued = await resume_sending(connection, parts.clock.now())
        if requeued:
            why = "that expired because the clock was wrong"
            typer.echo(counted(requeued, f"mail {why} is", f"mails {why} are") + " queued again")
        return None

    pause, waiting = command_context(context).run(look)
    if not pause:
        typer.echo("sending was not held")
        return
    no_question = yes or not is_terminal()
    if pause.reason == CLOCK_AHEAD:
        typer.echo(f"sending is held ({pause.reason}): {pause.advice}")
        confirm("Is the clock right, and should sending start again?", yes=no_question, otherwise="")
    for row in waiting.notices:
        typer.echo(f"{row.count:>7}  {row.kind} {row.notice}: {row.about}")
    if pause.reason == RESTORED:
        count = sum(row.count for row in waiting.notices)
        due = f"{counted(count, 'mail')} due before the restore"
        if send_missed:
            typer.echo(f"{due} will be sent now")
            confirm_mailing(
                f"Send {counted(count, 'mail')} to {counted(waiting.members, 'member')}?",
                waiting.members,
                yes=yes,
                instead="leave out --send-missed to start again without them",
            )
        else:
            typer.echo(f"{due} may have been sent after the backup, and will not be sent")
            confirm("Start sending again?", yes=no_question or not count, otherwise="")
    expired = command_context(context).run(start_again)
    typer.echo(f"sending continues; it was held ({pause.reason}) since {pause.since:%Y-%m-%d %H:%M} UTC")
    if expired is not None:
        typer.echo(f"{counted(expired, 'mail')} expired (restored)")
