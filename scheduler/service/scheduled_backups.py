"""Backups that a running service makes by itself, and what is wrong with them. `BackupFolder` deletes old ones."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.clock import Clock
from scheduler.domain.errors import Problem
from scheduler.domain.token import Keys
from scheduler.service.sending_pause import BY_CLOCK, current_pause
from scheduler.store import age_files, backups, postgres_backups, service_state
from scheduler.store.backup_folder import BackupFolder, StoredBackup, counts_file, require_space
from scheduler.store.database import OUTAGES, Database
from scheduler.store.outage import outage_of

log = structlog.get_logger()

LONGEST_WITHOUT = timedelta(days=2)
"""After how long without a backup something is wrong."""
LONGEST_UNREHEARSED = timedelta(days=90)
LOOK_EVERY = timedelta(seconds=30)
RETRY_AFTER = timedelta(minutes=10)
_FAILURES: tuple[type[Exception], ...] = (*OUTAGES, Problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPlan:
    """Where, how often and how the service makes backups, and how many it keeps; `recipient` is a public key of age, or
    empty."""

    folder: Path
    domain: str
    every: timedelta
    keep: int
    recipient: str

    @property
    def place(self) -> BackupFolder:
        return BackupFolder(self.folder, domain=self.domain)


class ScheduledBackups:
    """Makes a backup whenever the newest one in the folder is old enough. A failure is logged and tried again."""

    def __init__(self, database: Database, clock: Clock, plan: BackupPlan, *, keys: Keys) -> None:
        self._database = database
        self._clock = clock
        self._plan = plan
        self._folder = plan.place
        self._keys = keys
        self._failure = ""
        self._retry_at: float | None = None

    async def run(self) -> None:
        """Make backups until cancelled."""
        if problem := setup_problem(self._database, self._plan):
            log.error("backups-impossible", problem=problem)
        while True:
            await self.look()
            await self._clock.sleep(min(self._plan.every, LOOK_EVERY).total_seconds())

    async def look(self) -> Path | None:
        """Make a backup if one is due, delete those that are too old, and return the new one."""
        if self._retry_at is not None and self._clock.monotonic() < self._retry_at:
            return None
        try:
            file = await self._make_if_due()
        except _FAILURES as error:
            failure = str(error) if isinstance(error, Problem) else str(outage_of(error))
            retry = min(self._plan.every, RETRY_AFTER)
            self._retry_at = self._clock.monotonic() + retry.total_seconds()
            if failure != self._failure:
                log.error("backup-failed", problem=failure)
            self._failure = failure
            with suppress(*OUTAGES):
                await self._record(error=failure)
            return None
        self._retry_at = None
        if file:
            log.info("backup-made", file=file.name)
            self._failure = ""
        return file

    async def _make_if_due(self) -> Path | None:
        async with self._database.read() as connection:
            pause = await current_pause(connection)
            known = await service_state.read(connection, service_state.BACKUPS)
        if known is None:
            await self._record()
        if pause and pause.reason in BY_CLOCK:
            # The name says when a backup was made, and the oldest are deleted by it.
            return None
        if problem := setup_problem(self._database, self._plan):
            raise Problem(problem)
        await asyncio.to_thread(self._folder.prepare)
        with self._folder.locked() as alone:
            now = self._clock.now()
            newest = await asyncio.to_thread(self._folder.newest, now)
            if not alone:
                return None
            if newest and not self._is_due(newest, now):
                if newest.made_at > (_last_success(known) or newest.made_at):
                    # The database was restored from an earlier backup.
                    await self._record(succeeded=newest.made_at)
                return None
            file = await self._make(now)
            await self._record(succeeded=now)
            since = service_state.as_instant((known or {}).get("since")) or now
            await asyncio.to_thread(self._folder.delete_old, keep=self._plan.keep, now=now, since=since)
            return file

    async def make_now(self) -> Path:
        """Make a backup whatever is due, and delete those that are too old. Writes nothing to the database.

        Raises Problem or OSError.
        """
        if problem := setup_problem(self._database, self._plan):
            raise Problem(problem)
        await asyncio.to_thread(self._folder.prepare)
        with self._folder.locked() as alone:
            if not alone:
                raise Problem(
                    f"another process makes a backup in {self._plan.folder}; try again when it has ended"
                )
            now = self._clock.now()
            file = await self._make(now)
            await asyncio.to_thread(self._folder.delete_old, keep=self._plan.keep, now=now)
            return file

    def _is_due(self, newest: StoredBackup, now: datetime) -> bool:
        # Names have whole seconds.
        age = now.replace(microsecond=0) - newest.made_at
        return age >= self._plan.every or newest.made_at > now

    async def _make(self, now: datetime) -> Path:
        near = [self._database.path.parent] if self._database.path else []
        await asyncio.to_thread(self._folder.delete_leftovers, *near)
        recipient = age_files.parse_recipient(self._plan.recipient) if self._plan.recipient else None
        kind = ("sqlite" if self._database.path else "dump") + (".age" if recipient else "")
        file = self._folder.name(now, kind)
        if self._database.path:
            await asyncio.to_thread(self._copy_sqlite, self._database.path, file, recipient, now)
        else:
            await self._dump_postgres(file, recipient, now)
        return file

    def _copy_sqlite(self, source: Path, file: Path, recipient: Any, now: datetime) -> None:
        size = source.stat().st_size
        require_space(file.parent, size, remedy="keep fewer backups")
        if recipient is None:
            with backups.explain_failures(file), backups.draft_of(file) as draft:
                backups.write_backup(source, draft, key=self._keys.secret, now=now)
                backups.require_backup(draft)
                backups.replace_file(draft, file)
            return
        # The copy that is not encrypted stays beside the database: the other folder may be anywhere.
        plain_name = source.with_name(file.name)
        require_space(source.parent, size, remedy="make no encrypted backups")
        with backups.explain_failures(file), backups.draft_of(plain_name) as plain:
            backups.write_backup(source, plain, key=self._keys.secret, now=now)
            backups.require_backup(plain)
            with backups.draft_of(file) as draft:
                with plain.open("rb") as reader, draft.open("wb") as writer:
                    age_files.encrypt(reader, writer, recipient)
                backups.replace_file(draft, file)

    async def _dump_postgres(self, file: Path, recipient: Any, now: datetime) -> None:
        beside = counts_file(file)
        with backups.explain_failures(file), backups.draft_of(file) as draft:
            counts = await postgres_backups.dump_database(self._database, draft, recipient=recipient)
            if recipient is None:
                await postgres_backups.check_dump(draft)
            digest = await asyncio.to_thread(backups.sha256_of, draft)
            record = {"made_at": now.isoformat(), "counts": counts, "sha256": digest}
            with backups.draft_of(beside) as counts_draft:
                counts_draft.write_text(json.dumps(record))
                await asyncio.to_thread(backups.replace_file, counts_draft, beside)
            await asyncio.to_thread(backups.replace_file, draft, file)

    async def _record(self, *, succeeded: datetime | None = None, error: str = "") -> None:
        """Store how the last attempt ended, for `status`, `doctor` and the alerts."""
        async with self._database.write() as connection:
            known = await service_state.read(connection, service_state.BACKUPS) or {
                "since": self._clock.now().isoformat()
            }
            if succeeded:
                known["succeeded"] = succeeded.isoformat()
            await service_state.write(connection, service_state.BACKUPS, known | {"error": error})


async def forget_backups(database: Database) -> None:
    """Store that no backups are made, so that nobody is told that they are missing."""
    async with database.read() as connection:
        known = await service_state.read(connection, service_state.BACKUPS)
    if known is not None:
        async with database.write() as connection:
            await service_state.write(connection, service_state.BACKUPS, None)


def setup_problem(database: Database, plan: BackupPlan) -> str:
    """Return why no backup can be made as things are, or an empty string."""
    try:
        problem = plan.place.problem()
    except OSError as error:
        problem = f"{plan.folder}: {error.strerror}; make it readable, or choose another folder"
    if problem:
        return f"[backup] folder: {problem}"
    return "" if database.is_sqlite else postgres_backups.missing_program("pg_dump")


def backup_trouble(known: Mapping[str, str] | None, now: datetime) -> str:
    """Return that no backup has succeeded for too long, given the stored state; empty if all is well."""
    if not known:
        return ""
    last = datetime.fromisoformat(known.get("succeeded") or known["since"])
    if now - last < LONGEST_WITHOUT:
        return ""
    reason = f": {known['error']}" if known.get("error") else "; see the log of `serve`"
    return f"no backup has succeeded for {(now - last).days} days{reason}"


def _last_success(known: Mapping[str, str] | None) -> datetime | None:
    return service_state.as_instant((known or {}).get("succeeded"))


async def backup_warnings(connection: AsyncConnection, now: datetime) -> list[str]:
    """Return that the last backup failed and that none was rehearsed for too long, a line each, where that is so."""
    known = await service_state.read(connection, service_state.BACKUPS) or {}
    failed = known.get("error") if not backup_trouble(known, now) else ""
    warnings = [f"the last backup failed: {failed}"] if failed else []
    rehearsed = await service_state.read_instant(connection, service_state.REHEARSED)
    if words := _rehearsal_warning(rehearsed, now, backed_up=_last_success(known) is not None):
        warnings.append(words)
    return warnings


def _rehearsal_warning(rehearsed: datetime | None, now: datetime, *, backed_up: bool) -> str:
    if rehearsed is None:
        if not backed_up:
            return ""
        return "no backup has been rehearsed yet; `third-thursday rehearse` restores the newest one to try it"
    if now - rehearsed < LONGEST_UNREHEARSED:
        return ""
    return (
        f"no backup has been rehearsed for {(now - rehearsed).days} days; `third-thursday rehearse` restores the "
        "newest one to try it"
    )
