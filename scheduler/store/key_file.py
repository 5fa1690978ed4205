"""The file that holds the installation's key: written whole or not at all, and readable by its owner alone."""

import os
from pathlib import Path

from scheduler.domain.errors import Problem

SHORTEST = 32
"""The fewest octets that a key may have."""


def read_key(path: Path) -> bytes | None:
    """Return the key, or None where there is no such file. Raises Problem where it holds no usable key."""
    try:
        text = path.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, error.strerror or type(error).__name__) from None
    except ValueError:
        raise _unusable(path, "it does not hold hexadecimal digits") from None
    if not text:
        raise _unusable(path, "it is empty")
    if len(key) < SHORTEST:
        raise _unusable(path, f"its key has {len(key)} octets, and {SHORTEST} are needed")
    return key


def write_key(path: Path, key: bytes) -> None:
    """Put `key` into a file that is not there yet. After a crash or on a full disk the file is whole or absent.

    Raises Problem where it cannot be written, FileExistsError where another process was first.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            text = key.hex().encode() + b"\n"
            if os.write(handle, text) != len(text):
                raise OSError(0, "it could not be written whole")
            os.fsync(handle)
        finally:
            os.close(handle)
        os.link(draft, path)  # unlike a rename, it replaces nothing
        _sync(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise Problem(
            f"the key file {path} cannot be written: {error.strerror}; make space or let the folder be written"
        ) from None
    finally:
        draft.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unusable(path: Path, reason: str) -> Problem:
    return Problem(f"the key file {path} cannot be used: {reason}; restore it from a backup")
