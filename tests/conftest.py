"""What every test may lean on: a real PostgreSQL, a real browser, and a skip that can be forbidden."""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from scheduler.store.database import Database
from scheduler.store.upgrades import open_database

if TYPE_CHECKING:
    from playwright.async_api import Browser

_NOTHING_SKIPPED = os.environ.get("THIRD_THURSDAY_TEST_REQUIRE") == "all"

# The time that an example takes says nothing on a shared machine.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", _PATIENT)
settings.register_profile("ci", _PATIENT, derandomize=True, database=None, print_blob=True)
settings.load_profile(os.environ.get("THIRD_THURSDAY_TEST_PROFILE", "dev"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """THIRD_THURSDAY_TEST_REQUIRE=all: what would be skipped has failed."""
    report = yield
    if _NOTHING_SKIPPED and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {call.excinfo.value if call.excinfo else ''}"
    return report


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server on which databases may be made; its path names none.

    THIRD_THURSDAY_TEST_POSTGRES_URL, or a cluster of our own that ends with the tests.
    """
    if given := os.environ.get("THIRD_THURSDAY_TEST_POSTGRES_URL"):
        yield given.rstrip("/")
        return
    programs = _postgres_programs()
    if not programs:
        pytest.skip("needs PostgreSQL (Debian's package postgresql)")
    with tempfile.TemporaryDirectory(prefix="third-thursday-", ignore_cleanup_errors=True) as folder:
        cluster = _Cluster(programs, Path(folder))
        yield f"postgresql://postgres@127.0.0.1:{cluster.start()}"
        cluster.stop()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database that is this test's own."""
    name = f"third_thursday_test_{uuid4().hex}"
    asyncio.run(_execute(postgres_server, f"CREATE DATABASE {name}"))
    yield f"{postgres_server}/{name}"
    asyncio.run(_execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """The name of a PostgreSQL database that has this version's tables, to be copied."""
    name = f"third_thursday_test_{uuid4().hex}"
    asyncio.run(_execute(postgres_server, f"CREATE DATABASE {name}"))
    asyncio.run(_make_tables(f"{postgres_server}/{name}"))
    yield name
    asyncio.run(_execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database that has this version's tables, to be copied."""
    path = tmp_path_factory.mktemp("template") / "test.sqlite"
    asyncio.run(_make_tables(f"sqlite:///{path}"))
    return path


async def _make_tables(url: str) -> None:
    database = Database(url)
    await open_database(database, upgrade=True)
    await database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with this version's tables that is this test's own: once SQLite's, once PostgreSQL's."""
    if request.param == "sqlite":
        yield f"sqlite:///{shutil.copy(request.getfixturevalue('sqlite_template'), tmp_path)}"
        return
    server, template = (request.getfixturevalue(name) for name in ("postgres_server", "postgres_template"))
    name = f"third_thursday_test_{uuid4().hex}"
    asyncio.run(_execute(server, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield f"{server}/{name}"
    asyncio.run(_execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database with this version's tables, once SQLite's, once PostgreSQL's."""
    database = Database(database_url)
    yield database
    await database.close()


async def _execute(server: str, statement: str) -> None:
    connection = await asyncpg.connect(f"{server}/postgres")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _postgres_programs() -> Path | None:
    """The folder of the newest PostgreSQL server on this machine."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    initdb = str(found[-1]) if found else shutil.which("initdb")
    return Path(initdb).parent if initdb else None


class _Cluster:
    """A throwaway PostgreSQL cluster on a loopback port. The server refuses root, so root lends it a user."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._data, self._log = programs, folder / "data", folder / "log"
        self._user: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:
            self._user |= {"user": "postgres", "group": "postgres", "extra_groups": ()}
            shutil.chown(folder, "postgres", "postgres")

    def start(self) -> int:
        """Start it and return its port."""
        self._run(
            "initdb",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
        # Lost with the machine, which is no loss: it is as quick as it can be.
        swift = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c shared_buffers=64MB"
        for attempt in range(3):
            port = _free_port()
            where = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories= -p {port}"
            try:
                self._run("pg_ctl", "start", "--wait", f"--log={self._log}", f"--options={swift} {where}")
            except RuntimeError:
                if attempt == 2:
                    raise
            else:
                return port
        raise AssertionError

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate")

    def _run(self, program: str, *arguments: str) -> None:
        # To a file, not a pipe: the server would hold the pipe open.
        with tempfile.TemporaryFile() as output:
            command = [str(self._programs / program), f"--pgdata={self._data}", *arguments]
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False, **self._user
            )
            if done.returncode:
                output.seek(0)
                log = self._log.read_text() if self._log.exists() else ""
                raise RuntimeError(f"{program} failed: {output.read().decode()}{log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def free_port() -> int:
    """A loopback port on which nothing listens."""
    return _free_port()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Debian's Chromium, or of another on the PATH."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("needs Chromium (Debian's package chromium)")


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator["Browser"]:
    """A headless browser of this test's own, by Playwright's asynchronous interface."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        # Root and containers have no sandbox, and a small /dev/shm.
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Finds a program by its name; a machine that lacks it skips the test."""

    def find(name: str) -> str:
        return shutil.which(name) or pytest.skip(f"needs the program {name}")

    return find
