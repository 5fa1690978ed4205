"""The folder in which a running service keeps its newest backups: their names, drafts, and the deletion of old ones."""

import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scheduler.domain.errors import Problem

_INSTANT = "%Y%m%dT%H%M%SZ"
_SPARE = 1.25
"""A backup needs this multiple of its size as free space, so that it never fills the disk of the database."""

KEEP_OTHERS = timedelta(days=30)
"""How long the backups of the database that was here before are kept."""


@dataclass(frozen=True, slots=True)
class StoredBackup:
    """A complete backup in the folder. `made_at` is the instant in its name."""

    file: Path
    made_at: datetime


def counts_file(backup: Path) -> Path:
    """Return where the row counts of a PostgreSQL dump are; a SQLite backup contains its own."""
    return backup.with_name(f"{backup.name}.json")


class BackupFolder:
    """A folder of backups named DOMAIN-INSTANT.KIND; only files with such names are ever deleted.

    `domain` tells the backups of several installations in one folder apart.
    """

    def __init__(self, path: Path, *, domain: str) -> None:
        self.path = path
        self._domain = domain
        self._name = re.compile(
            rf"{re.escape(domain)}-(?P<instant>\d{{8}}T\d{{6}}Z)\.(sqlite|dump)(\.age)?", re.ASCII
        )
        # Drafts, SQLite's journals of them, and the counts beside a dump.
        name = self._name.pattern.replace("?P<instant>", "?:")
        self._draft = re.compile(rf"\.{name}(\.json)?\.\d+(-wal|-shm|-journal)?|{name}\.json", re.ASCII)

    def name(self, now: datetime, kind: str) -> Path:
        """Return the name of a backup made at `now`; `kind` is sqlite, dump, sqlite.age or dump.age."""
        return self.path / f"{self._domain}-{now:{_INSTANT}}.{kind}"

    def problem(self) -> str:
        """Return why no backup can be put here, or an empty string. Changes nothing."""
        if not self.path.exists():
            parent = next(parent for parent in self.path.absolute().parents if parent.exists())
            usable = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
            return "" if usable else f"{self.path} cannot be created in {parent}; make that folder writable"
        if not self.path.is_dir():
            return f"{self.path} is not a folder; name another"
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            return f"{self.path} cannot be read and written; change its owner or its permissions"
        if self._is_open_to_others() and not self._may_close():
            return (
                f"others can read {self.path}; run `chmod 700 {self.path}`, or name a folder for backups only"
            )
        return ""

    def prepare(self) -> None:
        """Create the folder, and make sure that only its owner can read it. Raises Problem or OSError."""
        if problem := self.problem():
            raise Problem(problem)
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._is_open_to_others():
            self.path.chmod(0o700)
        if self._is_open_to_others():
            raise Problem(f"{self.path} cannot be made private; name a folder on another file system")

    def _is_open_to_others(self) -> bool:
        return bool(stat.S_IMODE(self.path.stat().st_mode) & 0o077)

    def _may_close(self) -> bool:
        """Return whether the folder is ours and contains nothing else, so that closing it harms nobody."""
        return self.path.stat().st_uid == os.geteuid() and all(
            self._is_ours(file) for file in self.path.iterdir()
        )

    def _is_ours(self, file: Path) -> bool:
        return bool(self._draft.fullmatch(file.name) or self._stored(file))

    def _stored(self, file: Path) -> StoredBackup | None:
        if not (match := self._name.fullmatch(file.name)) or file.is_symlink() or not file.is_file():
            return None
        try:
            return StoredBackup(file, datetime.strptime(match["instant"], _INSTANT).replace(tzinfo=UTC))
        except ValueError:
            return None

    def newest(self, now: datetime) -> StoredBackup | None:
        """Return the newest complete backup; one from the future only if there is no other. Raises OSError."""
        made = self.backups()
        return next((backup for backup in made if backup.made_at <= now), made[0] if made else None)

    def backups(self) -> list[StoredBackup]:
        """Return the complete backups, the newest first. Raises OSError."""
        if not self.path.is_dir():
            return []
        found = filter(None, map(self._stored, self.path.iterdir()))
        return sorted(found, key=lambda backup: (backup.made_at, backup.file.name), reverse=True)

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Yield whether nobody else is making a backup here; while this block runs, nobody else can."""
        handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield _lock(handle)
        finally:
            os.close(handle)

    def delete_leftovers(self, *folders: Path) -> None:
        """Delete what a killed process left unfinished here and in `folders`. Call it only while `locked`."""
        for folder in {self.path, *folders}:
            for file in folder.iterdir():
                if self._draft.fullmatch(file.name) and not self._belongs_to_backup(file):
                    file.unlink(missing_ok=True)

    def _belongs_to_backup(self, file: Path) -> bool:
        return file.suffix == ".json" and file.with_suffix("").exists()

    def delete_old(self, *, keep: int, now: datetime, since: datetime | None = None) -> None:
        """Delete all but the newest `keep` backups.

        Backups from the future were made with a wrong clock; they do not count and stay until their time has come.
        Those from before `since`, when the database began to make backups, are another one's: they stay for a while,
        so that an empty database in place of the right one does not push out all that is left of it.
        """
        past = [backup for backup in self.backups() if backup.made_at <= now]
        for backup in past[keep:]:
            if since and backup.made_at < since.replace(microsecond=0) and now - since < KEEP_OTHERS:
                continue
            backup.file.unlink(missing_ok=True)
            counts_file(backup.file).unlink(missing_ok=True)


def _lock(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A network file system may be unable to lock a folder. Two backups at once are then possible and harmless.
        return True
    return True


def require_space(folder: Path, size: int, *, remedy: str) -> None:
    """Raise Problem with `remedy` if writing `size` bytes would leave the disk of `folder` nearly full."""
    needed = int(size * _SPARE)
    if shutil.disk_usage(folder).free < needed:
        raise Problem(
            f"there is not enough space in {folder}: {needed // 1_000_000 + 1} MB are needed; make space on that disk, "
            f"or {remedy}"
        )
