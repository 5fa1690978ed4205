"""Make photos of the pictures that people send, each in a process of its own, which `photo_process` is."""

import asyncio
import contextlib
import json
import sys
from io import BytesIO
from pathlib import Path

import scheduler
from scheduler.domain.errors import Refused
from scheduler.domain.photo import Photo, require_picture

_ROOT = Path(scheduler.__file__).parent.parent
_PROCESS = "scheduler.service.photo_process"
_MOST_SECONDS = 30
_MOST_WAITING = 5
_FAILED = "the picture cannot be opened; save it smaller, as a JPEG, and send that"
BUSY = "several people are sending photos at this moment; try again in a minute"


class PhotoDecoder:
    """Decode pictures, one at a time; when several wait already, refuse more."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def decode(self, content: bytes) -> list[Photo]:
        """Return the photos of a picture. Raises Refused, in one line, for what is not one."""
        require_picture(content)
        if self._waiting >= _MOST_WAITING:
            raise Refused(BUSY)
        self._waiting += 1
        try:
            async with self._turn:
                output = await _run_process(content)
        finally:
            self._waiting -= 1
        head = json.loads(output.readline())
        if "refused" in head:
            raise Refused(head["refused"])
        return [Photo(size, format_, output.read(length)) for size, format_, length in head["photos"]]


async def _run_process(content: bytes) -> BytesIO:
    """Return what the process prints. Raises Refused if the picture crashes it or takes too long."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", _PROCESS),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        # Not ours, which may hold passwords.
        env={"PYTHONPATH": str(_ROOT)},
    )
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            output, _ = await process.communicate(content)
    except TimeoutError:
        raise Refused(_FAILED) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise Refused(_FAILED)
    return BytesIO(output)
