"""A pseudo-terminal, on which a command is answered as a person does."""

import multiprocessing
import os
import pty
import select
import signal
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from scheduler.cli import main

PATIENCE_SECONDS = 60
INTERRUPT = "\x03"
"""Ctrl-C."""

# Processes are copies of one that has imported the program: importing it takes longer than what the commands do.
_processes = multiprocessing.get_context("forkserver")


class Terminal:
    """Runs `third-thursday ARGUMENTS` in `folder`. `shown` is all that it has written."""

    def __init__(self, folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.shown = ""
        self._seen = 0
        _processes.set_forkserver_preload(
            ["aiosqlite", "scheduler.bootstrap.serve", "scheduler.cli.members", "scheduler.cli.setup"]
        )
        self._terminal, of_command = pty.openpty()
        parent_end, child_end = _processes.Pipe()
        self._process = _processes.Process(
            target=_run,
            args=(
                os.ttyname(of_command),
                child_end,
                folder,
                arguments,
                {**os.environ, **(environment or {})},
            ),
        )
        with parent_end:
            self._process.start()
            child_end.close()  # so that `recv` fails if the process ends before it has opened the terminal
            parent_end.recv()
        os.close(of_command)

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
        self._process.join()
        os.close(self._terminal)
        assert self._process.exitcode is not None
        return self._process.exitcode

    def kill(self) -> None:
        """End the command at once."""
        self._process.kill()

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


def _run(
    terminal: str, opened: Connection, folder: Path, arguments: Sequence[str], environment: Mapping[str, str]
) -> None:
    """Run a command in this process, which has no other task, on `terminal`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    # The first terminal that the leader of a session opens is the one that Ctrl-C and getpass go by.
    number = os.open(terminal, os.O_RDWR)
    for stream in range(3):
        os.dup2(number, stream)
    os.close(number)
    opened.send("opened")
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["third-thursday", *arguments]
    main()
