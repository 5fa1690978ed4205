"""Build the parts that every command needs: database, clock, keys and logs."""

import asyncio
import contextlib
import logging
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TextIO, cast

import structlog

from scheduler.bootstrap.settings import Settings
from scheduler.delivery.compose.dkim import DkimSigner
from scheduler.domain.address import ascii_domain
from scheduler.domain.clock import Clock
from scheduler.domain.community import Community
from scheduler.domain.errors import Problem, Refused, SettingsProblem
from scheduler.domain.occurrence import Series
from scheduler.domain.policy import Policy
from scheduler.domain.token import Keys
from scheduler.service.rehearsal import Rehearsal, newest_backup, rehearse
from scheduler.service.restore import restore
from scheduler.service.scheduled_backups import BackupPlan
from scheduler.store import service_state
from scheduler.store.database import Database
from scheduler.store.key_file import read_key, write_key
from scheduler.store.ledger import reports
from scheduler.store.upgrades import open_database


class SystemClock:
    """The real clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def boottime(self) -> float:
        """Return CLOCK_BOOTTIME in seconds, which includes suspended time.

        Without it, waking from suspension looks like a jump of the clock.
        """
        return (
            time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
        )

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """An open database and the settings, as every command and page needs them."""

    settings: Settings
    database: Database
    clock: Clock
    keys: Keys
    community: Community
    series: tuple[Series, ...]
    policies: tuple[Policy, ...]


@asynccontextmanager
async def open_parts(
    settings: Settings,
    *,
    clock: Clock | None = None,
    upgrade: bool = False,
    new_key: bool = False,
    before_upgrade: Callable[[Database], Awaitable[object]] | None = None,
) -> AsyncIterator[Parts]:
    """Open the database, yield the parts, and close it.

    An empty database is set up, but an older one is upgraded only with `upgrade`, after `before_upgrade`. `new_key`
    accepts a key other than the one the database was created with. Raises Problem if something cannot be opened.
    """
    database = Database(settings.database.url)
    try:
        changed = await open_database(
            database,
            upgrade=upgrade,
            before_upgrade=partial(before_upgrade, database) if before_upgrade else None,
        )
        keys = await load_keys(settings, database, fresh=changed or upgrade, new_key=new_key)
        yield Parts(
            settings=settings,
            database=database,
            clock=clock or SystemClock(),
            keys=keys,
            community=settings.community,
            series=settings.series,
            policies=settings.policies,
        )
    finally:
        await database.close()


def load_signer(settings: Settings) -> DkimSigner | None:
    """Return the DKIM signer, or None without a key. Raises SettingsProblem if the key cannot be used."""
    key = settings.dkim.key
    if not key:
        return None
    try:
        pem = key.encode() if "-----BEGIN" in key else Path(key).read_bytes()
        return DkimSigner(
            domain=settings.dkim.domain
            or ascii_domain(settings.community.address).rpartition("@")[2].lower(),
            selector=settings.dkim.selector,
            pem=pem,
        )
    except OSError as error:
        raise SettingsProblem(f"[dkim] key: {key} cannot be read: {error.strerror}") from None
    except Refused as refused:
        raise SettingsProblem(
            f"[dkim] key: {refused}; `openssl genpkey -algorithm ed25519 -out dkim.pem` makes one"
        ) from None


async def load_keys(
    settings: Settings, database: Database, *, fresh: bool = False, new_key: bool = False
) -> Keys:
    """Return the installation's keys, from the settings or from the file `secret` beside the database.

    The file is created once. The database stores the key's fingerprint, so that another key, with which no link sent so
    far would work, is refused; `new_key` accepts it. `fresh`: the database was just created or upgraded, or is about
    to be served. Raises Problem.
    """
    async with database.read() as connection:
        known = await service_state.read(connection, service_state.KEY_FINGERPRINT)
        in_use = known is not None or await reports.has_any(connection)
    keys = Keys(secret_key(settings, database, may_create=new_key or not in_use))
    fingerprint = keys.fingerprint
    if known is not None and known != fingerprint and not new_key:
        where = "[security] key" if settings.security.key else f"the key file {_secret_of(database)}"
        raise Problem(
            f"{where} is not the key with which {database.shown} was made: no link sent so far would work; "
            f"set the right one, or restore a backup. {_KEY_LOST}"
        )
    if known != fingerprint and (fresh or new_key):
        async with database.write() as connection:
            await service_state.write(connection, service_state.KEY_FINGERPRINT, fingerprint)
    return keys


def secret_key(settings: Settings, database: Database, *, may_create: bool) -> bytes:
    """Return the key from the settings or from the file, which is created if need be and allowed. Raises Problem."""
    if settings.security.key:
        return settings.security.key
    if database.path is None:
        raise SettingsProblem(
            "[security] key is needed with PostgreSQL: every host must have the same; "
            "set THIRD_THURSDAY_SECURITY__KEY to 64 random hexadecimal digits"
        )
    return _secret_file(database.path.parent / "secret", may_create=may_create)


_KEY_LOST = (
    "If it is lost, `third-thursday migrate --new-key` makes a new one; links sent so far then stop working"
)


def _secret_of(database: Database) -> Path:
    assert database.path
    return database.path.parent / "secret"


def _secret_file(path: Path, *, may_create: bool) -> bytes:
    if (key := read_key(path)) is not None:
        return key
    if not may_create:
        raise Problem(
            f"the key file {path} is missing, and every link that was sent needs it: restore it from a backup. "
            f"{_KEY_LOST}"
        )
    with suppress(FileExistsError):
        write_key(path, secrets.token_bytes(32))
    made = read_key(path)
    assert made
    return made


async def restore_backup(settings: Settings, file: Path, *, identity: Path | None = None) -> Path | None:
    """Replace the database with a backup; see `service.restore`. Return where the previous one is kept, if any."""
    database = Database(settings.database.url)
    try:
        return await restore(
            database,
            file,
            secret=(database.path or file).parent / "secret",
            settings_key=settings.security.key,
            now=SystemClock().now(),
            identity=identity,
        )
    finally:
        await database.close()


def backup_plan(settings: Settings) -> BackupPlan | None:
    """Return where and how the service makes backups, or None if it makes none."""
    backup = settings.backup
    if not backup.folder:
        return None
    return BackupPlan(
        folder=Path(backup.folder),
        domain=settings.community.domain,
        every=backup.every,
        keep=backup.keep,
        recipient=backup.recipient,
    )


async def rehearse_restore(parts: Parts, file: Path | None, *, identity: Path | None) -> Rehearsal:
    """Rehearse restoring `file`, or the newest backup of the service; see `service.rehearsal`. Raises Problem."""
    if file is None:
        if (plan := backup_plan(parts.settings)) is None:
            raise Problem("no backups are made; set [backup] folder, or name a backup with --file")
        file = newest_backup(plan.place, parts.clock.now())
    return await rehearse(
        parts.database,
        file,
        keys=parts.keys,
        clock=parts.clock,
        identity=identity,
        scratch_url=parts.settings.backup.scratch_url,
    )


class _SafeStandardError:
    """The current standard error. An error while writing a log line is ignored, so that it breaks nothing else."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def set_up_logs() -> None:
    """Write events as `time level event key=value`, and the warnings of other libraries to the same place.

    A line that is logged while a request is handled also has its `request_id`.
    """
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    render = structlog.processors.LogfmtRenderer(
        key_order=["timestamp", "level", "event"], bool_as_flag=False
    )
    output = cast(TextIO, _SafeStandardError())
    structlog.configure(
        processors=[*processors, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Use one file object: structlog keeps a lock for each.
        logger_factory=lambda *_: structlog.PrintLogger(output),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    # It logs a stack trace for each job when the database is away; our own event is one line.
    logging.getLogger("pgqueuer").setLevel(logging.CRITICAL)
    # It logs a stack trace for each message that it cannot parse; we keep such messages for review.
    logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)
    # It warns of each try while the collector of traces is away.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    # It warns every second while a tick waits for the database.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
