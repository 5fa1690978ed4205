"""A pseudo-terminal, on which a command is answered as a person does."""

import os
import pty
import select
import signal
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE_SECONDS = 60
INTERRUPT = "\x03"
"""Ctrl-C."""


class Terminal:
    """Runs `third-thursday ARGUMENTS` in `folder`. `shown` is all that it has written."""

    def __init__(self, folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.shown = ""
        self._seen = 0
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:  # pragma: no cover - the child
            os.chdir(folder)
            os.environ.update(environment or {})
            os.execv(sys.executable, [sys.executable, "-m", "scheduler", *arguments])  # noqa: S606

    def answer(self, dialogue: Sequence[tuple[str, str]]) -> None:
        """Wait for each question, in this order, and type its answer."""
        for question, answer in dialogue:
            self._wait_for(question)
            while "password" in question and self._echoes():
                pass  # what is typed before the echo is off is discarded
            if answer == INTERRUPT:
                self._interrupt()
            else:
                os.write(self._terminal, f"{answer}\n".encode())

    def end(self) -> int:
        """Wait until the command ends, and return its exit code."""
        while self._read():
            pass
        _, status = os.waitpid(self._pid, 0)
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """End the command at once."""
        os.kill(self._pid, signal.SIGKILL)

    def _wait_for(self, question: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := self.shown.find(question, self._seen)) < 0:
            assert time.monotonic() < deadline and self._read(), f"no '{question}' in: {self.shown}"
        self._seen = found + len(question)

    def _interrupt(self) -> None:
        """Press Ctrl-C until it is noticed: Python overlooks it just before it begins to wait for a line."""
        while "Aborted" not in self.shown:
            os.write(self._terminal, INTERRUPT.encode())
            noticed_by = time.monotonic() + 2
            while "Aborted" not in self.shown and time.monotonic() < noticed_by:
                if select.select([self._terminal], [], [], 0.1)[0] and not self._read():
                    return

    def _echoes(self) -> bool:
        return bool(termios.tcgetattr(self._terminal)[3] & termios.ECHO)

    def _read(self) -> bool:
        """Read more; return False when the command has ended."""
        if not select.select([self._terminal], [], [], PATIENCE_SECONDS)[0]:
            self.kill()
            raise TimeoutError(self.shown)
        try:
            data = os.read(self._terminal, 65_536)
        except OSError:  # the other side is closed
            return False
        self.shown += data.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)
