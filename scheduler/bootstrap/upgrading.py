"""Upgrade the database of an earlier version: with a backup first, and not while an earlier version uses it."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import structlog

from scheduler.bootstrap.settings import Settings
from scheduler.bootstrap.wiring import SystemClock, load_keys, open_parts, secret_key
from scheduler.domain.clock import Clock
from scheduler.domain.errors import Problem
from scheduler.domain.token import Keys
from scheduler.service.scheduled_backups import BackupPlan, ScheduledBackups
from scheduler.store.backup_folder import BackupFolder
from scheduler.store.database import OUTAGES, Database
from scheduler.store.outage import outage_of
from scheduler.store.upgrades import schema_change

log = structlog.get_logger()

_FAILURES: tuple[type[Exception], ...] = (Problem, *OUTAGES)

CHECK_SECONDS = 5

FOLDER = "before-upgrade"
"""The folder, in that of the backups or beside the database, with the backup made before the last upgrade."""


async def upgrade_database(settings: Settings, *, new_key: bool, back_up: bool) -> tuple[str, Path | None]:
    """Create or upgrade the database; return how to show its address, and the backup that was made first, if any.

    On SQLite, no `serve` may be running if it has to be upgraded. `new_key` accepts another key; `back_up` says whether
    to make a backup first. Raises Problem.
    """

    backup: Path | None = None

    async def prepare(database: Database) -> None:
        nonlocal backup
        if await asyncio.to_thread(lambda: database.is_served):
            raise Problem(f"a `serve` of an earlier version uses {database.shown}; stop it first")
        if back_up:
            backup = await back_up_before_upgrade(settings, database, new_key=new_key)

    async with open_parts(settings, upgrade=True, new_key=new_key, before_upgrade=prepare) as parts:
        return parts.database.shown, backup


async def until_upgraded(database: Database, clock: Clock) -> str:
    """Wait until another version has changed the schema, and return what to do then. Never ends on SQLite, where no
    other process may upgrade the database of a running `serve`."""
    problem = ""
    while not problem:
        await clock.sleep(CHECK_SECONDS)
        with suppress(*OUTAGES):
            problem = "" if database.is_sqlite else await schema_change(database)
    log.error("database-upgraded", problem=problem)
    return problem


async def back_up_before_upgrade(settings: Settings, database: Database, *, new_key: bool = False) -> Path:
    """Make a backup in place of the one before the last upgrade, and return it.

    Raises Problem if that fails; then nothing is upgraded.
    """
    if new_key:
        keys = Keys(secret_key(settings, database, may_create=True))
    else:
        keys = await load_keys(settings, database)
    near = database.path.parent if database.path else Path("var")
    plan = BackupPlan(
        folder=Path(settings.backup.folder or near) / FOLDER,
        domain=settings.community.domain,
        every=timedelta(days=1),
        keep=1,
        recipient=settings.backup.recipient,
    )
    try:
        if settings.backup.folder:
            # Other backups will be made in it, too.
            BackupFolder(plan.folder.parent, domain=plan.domain).prepare()
        file = await ScheduledBackups(database, SystemClock(), plan, keys=keys).make_now()
    except _FAILURES as error:
        reason = str(error) if isinstance(error, Problem) else outage_of(error)
        raise Problem(
            f"{database.shown} was not upgraded, because it could not be backed up first: {reason}. If you have a "
            "backup of your own, `third-thursday migrate --no-backup` upgrades it without"
        ) from None
    log.info("backup-before-upgrade", file=str(file))
    return file
