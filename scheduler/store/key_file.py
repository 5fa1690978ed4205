"""The file with the installation's key: written completely or not at all, and readable only by its owner."""

import os
import secrets
from pathlib import Path

from scheduler.domain.errors import Problem

SHORTEST = 32
"""The minimum length of a key in octets."""


def read_key(path: Path) -> bytes | None:
    """Return the key, or None if there is no such file. Raises Problem if the file contains no usable key."""
    try:
        text = path.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, error.strerror or type(error).__name__) from None
    except ValueError:
        raise _unusable(path, "it contains something other than hexadecimal digits") from None
    if not text:
        raise _unusable(path, "it is empty")
    if len(key) < SHORTEST:
        raise _unusable(path, f"its key has {len(key)} octets, but at least {SHORTEST} are needed")
    return key


def write_key(path: Path, key: bytes) -> None:
    """Write `key` to a new file. After a crash or on a full disk the file is complete or absent.

    Raises Problem if it cannot be written, FileExistsError if the file exists, as when another process was first.
    """
    draft = draft_name(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            text = key.hex().encode() + b"\n"
            if os.write(handle, text) != len(text):
                raise OSError(0, "only a part of it could be written")
            os.fsync(handle)
        finally:
            os.close(handle)
        os.link(draft, path)  # unlike a rename, it replaces nothing
        sync_to_disk(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise Problem(
            f"the key file {path} cannot be written: {error.strerror}; free some space or make the folder writable"
        ) from None
    finally:
        draft.unlink(missing_ok=True)


def draft_name(path: Path) -> Path:
    """Return a new name in the folder of `path`, for writing it before it gets that name.

    It is random: in a container, every process has the ID of the one that was killed before it could delete its draft.
    """
    return path.with_name(f".{path.name}.{secrets.randbelow(10**12)}")


def sync_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unusable(path: Path, reason: str) -> Problem:
    return Problem(f"the key file {path} cannot be used: {reason}; restore it from a backup")
