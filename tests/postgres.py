"""A temporary PostgreSQL server for tests, if PostgreSQL is installed."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import asyncpg


def postgres_programs() -> Path | None:
    """Return the folder of the newest PostgreSQL server on this machine, or None."""
    candidates = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3])
    )
    initdb = str(candidates[-1]) if candidates else shutil.which("initdb")
    return Path(initdb).parent if initdb else None


class Cluster:
    """A temporary PostgreSQL cluster on a loopback port. The server refuses to run as root, so root gives it a user."""

    def __init__(self, programs: Path, folder: Path, *, durable: bool = False) -> None:
        self._programs, self._data, self._log = programs, folder / "data", folder / "log"
        self._durable = durable
        self._user: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:
            self._user |= {"user": "postgres", "group": "postgres", "extra_groups": ()}
            shutil.chown(folder, "postgres", "postgres")

    def own(self, *files: Path) -> None:
        """Make the server's user the owner of files, and nobody else able to read them."""
        for file in files:
            file.chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(file, "postgres", "postgres")

    def start(self, options: str = "") -> int:
        """Start it, with further `options`, and return its port."""
        self._run(
            "initdb",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
        # Without durability it is as fast as possible; with it, it has the usual settings.
        swift = "-c shared_buffers=64MB"
        if not self._durable:
            swift += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c autovacuum=off"
        for attempt in range(3):
            port = free_loopback_port()
            where = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories= -p {port}"
            try:
                self._run(
                    "pg_ctl", "start", "--wait", f"--log={self._log}", f"--options={swift} {where} {options}"
                )
            except RuntimeError:
                if attempt == 2:
                    raise
            else:
                return port
        raise AssertionError

    def restart(self, mode: str) -> None:
        """Stop it in `mode` (fast, immediate), and start it again on the same port."""
        self._run("pg_ctl", "restart", "--wait", f"--mode={mode}", f"--log={self._log}")

    def stop(self) -> None:
        # An immediate stop would leave shared memory behind.
        self._run("pg_ctl", "stop", "--wait", "--mode=fast")

    def _run(self, program: str, *arguments: str) -> None:
        # A file, because the server would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            command = [str(self._programs / program), f"--pgdata={self._data}", *arguments]
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False, **self._user
            )
            if done.returncode:
                output.seek(0)
                log = self._log.read_text() if self._log.exists() else ""
                raise RuntimeError(f"{program} failed: {output.read().decode()}{log}")


def free_loopback_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def execute(server: str, statement: str) -> None:
    connection = await asyncpg.connect(f"{server}/postgres")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
