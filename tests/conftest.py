"""Fixtures for all tests: a real PostgreSQL, a real browser, golden files; and skips that can be forbidden."""

import asyncio
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from scheduler.store import service_state
from scheduler.store.database import Database
from tests import process_caches
from tests.installation import empty_database, make_tables
from tests.postgres import Cluster, execute, free_loopback_port, postgres_programs

if TYPE_CHECKING:
    from playwright.async_api import Browser

FORBIDDEN = "the kernel does not allow"
"""How the reason of a skip begins if the machine's kernel or container forbids what the test needs."""

# Without bytecode, each process that a test starts compiles the program again, and Alembic each migration.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

_MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a folder in it that only this user can read

process_caches.install()

_NOTHING_SKIPPED = os.environ.get("THIRD_THURSDAY_TEST_REQUIRE") == "all"

# The time that an example takes says nothing on a shared machine.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", _PATIENT, max_examples=30)
settings.register_profile("ci", _PATIENT, max_examples=30, derandomize=True, database=None, print_blob=True)
settings.register_profile("proof", _PATIENT, max_examples=300)
settings.load_profile(os.environ.get("THIRD_THURSDAY_TEST_PROFILE", "dev"))


def pytest_configure(config: pytest.Config) -> None:
    """Keep the files of all tests but the proofs in memory, if there is room: no commit waits for the disk."""
    proofs = config.getoption("markexpr") != "not proof"
    if not proofs and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 4 * 1024**3:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave tests on PostgreSQL to `make proof`, but for those of the store and those marked with `both_databases`."""
    for item in items:
        parameters = (
            item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        )
        store = item.path.parent.name == "store"
        if parameters.get("copy_database") == "postgresql" and not (
            store or item.get_closest_marker("both_databases")
        ):
            item.add_marker(pytest.mark.proof)


def pytest_collection_finish() -> None:
    """Collect garbage less often, and without looking at the 300,000 objects that exist before the first test."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """With THIRD_THURSDAY_TEST_REQUIRE=all, fail tests that would be skipped, unless no package could prevent it."""
    report = yield
    forbidden = call.excinfo is not None and str(call.excinfo.value).startswith(FORBIDDEN)
    if _NOTHING_SKIPPED and report.skipped and not forbidden and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {call.excinfo.value if call.excinfo else ''}"
    return report


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Yield the URL of a server on which tests may create databases, without the name of a database.

    It is THIRD_THURSDAY_TEST_POSTGRES_URL, or that of a temporary cluster, which is stopped after the tests.
    """
    if url := os.environ.get("THIRD_THURSDAY_TEST_POSTGRES_URL"):
        yield url.rstrip("/")
        return
    programs = postgres_programs()
    if not programs:
        pytest.skip("needs PostgreSQL (Debian's package postgresql)")
    with tempfile.TemporaryDirectory(prefix="third-thursday-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(programs, Path(folder))
        yield f"postgresql://postgres@127.0.0.1:{cluster.start()}"
        cluster.stop()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database for one test."""
    name = f"third_thursday_test_{uuid4().hex}"
    asyncio.run(execute(postgres_server, f"CREATE DATABASE {name}"))
    yield f"{postgres_server}/{name}"
    asyncio.run(execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """The name of a PostgreSQL database that has this version's tables, to be copied."""
    name = f"third_thursday_test_{uuid4().hex}"
    asyncio.run(execute(postgres_server, f"CREATE DATABASE {name}"))
    asyncio.run(make_tables(f"{postgres_server}/{name}"))
    yield name
    asyncio.run(execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database that has this version's tables, to be copied."""
    path = tmp_path_factory.mktemp("template") / "test.sqlite"
    path.write_bytes(asyncio.run(empty_database()))
    return path


Fill = Callable[[str, Path], Awaitable[None]]
"""Fills a database that has this version's tables, given its URL and a folder for what else an installation keeps."""

CopyDatabase = Callable[..., Awaitable[str]]
"""Makes this test's own database, and returns its URL. Given a Fill, the database and the test's folder are copies of
what that made, which happens once for all tests."""


@pytest.fixture(scope="session")
def filled_on_sqlite() -> dict[Fill, Path]:
    """The folder that each Fill filled, with its database."""
    return {}


@pytest.fixture
def copy_sqlite(
    sqlite_template: Path,
    filled_on_sqlite: dict[Fill, Path],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> CopyDatabase:
    """Makes a SQLite database in the test's folder."""

    async def copy(fill: Fill | None = None) -> str:
        if fill is None:
            return f"sqlite:///{shutil.copy(sqlite_template, tmp_path)}"
        if fill not in filled_on_sqlite:
            folder = tmp_path_factory.mktemp("filled")
            await fill(f"sqlite:///{shutil.copy(sqlite_template, folder)}", folder)
            filled_on_sqlite[fill] = folder
        shutil.copytree(filled_on_sqlite[fill], tmp_path, dirs_exist_ok=True)
        return f"sqlite:///{tmp_path / sqlite_template.name}"

    return copy


@pytest.fixture(scope="session")
def filled_on_postgres(postgres_server: str) -> Iterator[dict[Fill, tuple[str, Path]]]:
    """The database, and the folder, that each Fill filled."""
    filled: dict[Fill, tuple[str, Path]] = {}
    yield filled
    for name, _ in filled.values():
        asyncio.run(execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def copy_postgres(
    postgres_server: str,
    postgres_template: str,
    filled_on_postgres: dict[Fill, tuple[str, Path]],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[CopyDatabase]:
    """Makes a PostgreSQL database, which is dropped at the end."""
    made: list[str] = []

    async def copy_of(template: str) -> str:
        name = f"third_thursday_test_{uuid4().hex}"
        await execute(postgres_server, f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    async def copy(fill: Fill | None = None) -> str:
        template = postgres_template
        if fill:
            if fill not in filled_on_postgres:
                template, folder = await copy_of(postgres_template), tmp_path_factory.mktemp("filled")
                await fill(f"{postgres_server}/{template}", folder)
                await _forget_where_it_is(f"{postgres_server}/{template}")
                filled_on_postgres[fill] = template, folder
            template, folder = filled_on_postgres[fill]
            shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        made.append(await copy_of(template))
        return f"{postgres_server}/{made[-1]}"

    yield copy
    for name in made:
        asyncio.run(execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)"))


async def _forget_where_it_is(url: str) -> None:
    """Let a copy of this database pass for the original: the planner sends nothing from a copy until it is told to."""
    database = Database(url)
    async with database.write() as connection:
        await service_state.write(connection, service_state.DATABASE_IDENTITY, None)
    await database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def copy_database(request: pytest.FixtureRequest) -> CopyDatabase:
    """Makes databases: once SQLite's, once PostgreSQL's. `pytest_collection_modifyitems` says which are proofs."""
    copy: CopyDatabase = request.getfixturevalue(
        "copy_sqlite" if request.param == "sqlite" else "copy_postgres"
    )
    return copy


@pytest.fixture
def database_url(copy_database: CopyDatabase) -> str:
    """The URL of a database with this version's tables that is this test's own: once SQLite's, once PostgreSQL's."""

    async def made() -> str:
        return await copy_database()

    return asyncio.run(made())


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database with this version's tables: first SQLite, then PostgreSQL."""
    database = Database(database_url)
    yield database
    await database.close()


@pytest.fixture
def free_port() -> int:
    """A loopback port on which nothing listens."""
    return free_loopback_port()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Debian's Chromium, or of another on the PATH."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("needs Chromium (Debian's package chromium)")


@pytest.fixture(scope="session")
def browser_endpoint(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address at which Playwright reaches the headless browser that this process's tests share."""
    # Root and containers have no sandbox, and a small /dev/shm.
    options = ["--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"]
    # The same as Playwright's own, where a test could notice: the browser asks nobody, and hides no page.
    options += [
        # A page that comes back from this cache loads nothing, so `go_back` would wait for ever.
        "--disable-back-forward-cache",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-renderer-backgrounding",
        "--hide-scrollbars",
    ]
    profile = tmp_path_factory.mktemp("chromium")
    with subprocess.Popen(
        [chromium, *options, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("DevTools listening on "):
                break
        else:
            pytest.fail("".join(said))
        # A full pipe would stop it.
        rest = threading.Thread(target=process.stderr.read)
        rest.start()
        yield line.split()[-1]
        process.terminate()
        rest.join()


@pytest.fixture
async def browser(browser_endpoint: str) -> AsyncIterator["Browser"]:
    """A browser through Playwright's asynchronous interface. What a test does in it is gone after the test."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(browser_endpoint)
        yield browser
        await browser.close()  # with its contexts; the process goes on


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Return a function that finds a program by its name, and skips the test if it is not installed."""

    def find(name: str) -> str:
        return shutil.which(name) or pytest.skip(f"needs the program {name}")

    return find


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, bytes], None]:
    """Return a function that compares bytes with a golden file beside the test, or writes it with UPDATE_GOLDENS."""

    def compare(name: str, found: bytes) -> None:
        path = request.path.parent / "golden" / name
        if os.environ.get("UPDATE_GOLDENS"):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(found)
        if not path.exists():
            pytest.fail(
                f"{path.name} is missing: run this test with UPDATE_GOLDENS=1, and read what it wrote"
            )
        assert found.decode().splitlines() == path.read_bytes().decode().splitlines()
        assert found == path.read_bytes()

    return compare
