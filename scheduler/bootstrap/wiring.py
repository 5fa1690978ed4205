"""The one place where parts are built and put together."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from scheduler.bootstrap.clock import SystemClock
from scheduler.bootstrap.settings import Settings
from scheduler.delivery.message import ascii_domain
from scheduler.delivery.signing import Signer
from scheduler.domain.clock import Clock
from scheduler.domain.community import Community
from scheduler.domain.occurrence import Series
from scheduler.domain.policy import Policy
from scheduler.domain.problem import Problem, Refused, SettingsProblem
from scheduler.domain.token import Keys
from scheduler.service.restoring import restore
from scheduler.store.database import Database
from scheduler.store.upgrades import open_database


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What every door of the house works with: an open database and what the settings say."""

    settings: Settings
    database: Database
    clock: Clock
    keys: Keys
    community: Community
    series: tuple[Series, ...]
    policies: tuple[Policy, ...]


@asynccontextmanager
async def open_parts(
    settings: Settings, *, clock: Clock | None = None, upgrade: bool = False
) -> AsyncIterator[Parts]:
    """Open the database (made when empty, upgraded only with `upgrade`) and yield the parts; closes it behind.

    Raises Problem, in one line, where something cannot be opened.
    """
    database = Database(settings.database.url)
    try:
        await open_database(database, upgrade=upgrade)
        yield Parts(
            settings=settings, database=database, clock=clock or SystemClock(), keys=load_keys(settings, database),
            community=settings.community, series=settings.series, policies=settings.policies,
        )  # fmt: skip
    finally:
        await database.close()


def load_signer(settings: Settings) -> Signer | None:
    """Who signs mails, where a key is set. Raises SettingsProblem where it cannot be used."""
    key = settings.dkim.key
    if not key:
        return None
    try:
        pem = key.encode() if "-----BEGIN" in key else Path(key).read_bytes()
        return Signer(
            domain=settings.dkim.domain or ascii_domain(settings.community.address).rpartition("@")[2].lower(),
            selector=settings.dkim.selector, pem=pem,
        )  # fmt: skip
    except OSError as error:
        raise SettingsProblem(f"[dkim] key: {key} cannot be read: {error.strerror}") from None
    except Refused as refused:
        raise SettingsProblem(
            f"[dkim] key: {refused}; `openssl genpkey -algorithm ed25519 -out dkim.pem` makes one"
        ) from None


def load_keys(settings: Settings, database: Database) -> Keys:
    """The installation's key: from the settings, else from the file `secret` beside the database, made once."""
    if settings.security.key:
        return Keys(settings.security.key)
    if database.path is None:
        raise SettingsProblem(
            "[security] key is needed with PostgreSQL: every host must have the same; "
            "set THIRD_THURSDAY_SECURITY__KEY to 64 random hexadecimal digits"
        )
    return Keys(_secret_file(database.path.parent / "secret"))


def _secret_file(path: Path) -> bytes:
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600, exist_ok=False)
            path.write_text(secrets.token_hex(32) + "\n")
        return bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it does not hold hexadecimal digits"
        raise Problem(f"the key file {path} cannot be used: {reason}; restore it from a backup") from None


async def put_back(settings: Settings, file: Path) -> Path | None:
    """Put a backup in the place of the database; see `service.restoring`."""
    database = Database(settings.database.url)
    try:
        return await restore(
            database, file, secret=(database.path or file).parent / "secret", given=settings.security.key,
            now=SystemClock().now(),
        )  # fmt: skip
    finally:
        await database.close()
