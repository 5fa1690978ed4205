"""A scratch folder for copies of people's data: even what a killed process left is deleted by the next one."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Yield a new folder among the temporary files, and delete it at the end.

    First delete the folders with that prefix whose process was killed: a running one holds a lock on its folder.
    Raises OSError.
    """
    with suppress(OSError):
        for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
            _delete_abandoned(left)
    while True:
        with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
            folder = Path(name)
            handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                with suppress(OSError):  # not every file system can lock
                    fcntl.flock(handle, fcntl.LOCK_EX)
                if not folder.exists():
                    continue  # another process deleted it before it was locked
                yield folder
                return
            finally:
                os.close(handle)


def _delete_abandoned(folder: Path) -> None:
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(handle).st_uid == os.geteuid():
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
        finally:
            os.close(handle)
