"""A series of short transactions: each is committed before the next one starts."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from scheduler.domain.errors import Problem, SettingsProblem
from scheduler.store import database as database_module
from scheduler.store import postgres_backups
from scheduler.store.database import Database, Work, connect_seconds, driver_address, parse_url, shown_address
from scheduler.store.ledger import jobs
from scheduler.store.ledger.jobs import JobConsumer, JobsLost
from scheduler.store.upgrades import open_database
from tests.postgres import Cluster, postgres_programs


@pytest.fixture(autouse=True)
def aiosqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect to SQLite as the service does, through threads."""
    monkeypatch.setattr(database_module, "create_async_engine", create_async_engine)


async def names(database: Database) -> list[str]:
    async with database.read() as connection:
        return list((await connection.scalars(text("SELECT name FROM counters ORDER BY name"))).all())


def insert(number: int) -> Work:
    def write(connection: Connection) -> None:
        connection.execute(
            text("INSERT INTO counters (name, value) VALUES (:name, 1)"), {"name": f"the {number}."}
        )

    return Work(write)


def fail(_connection: Connection) -> None:
    raise ValueError("the third write fails")


async def test_writes_before_a_failed_one_stay_committed_and_none_after_it_is_started(
    database: Database,
) -> None:
    started = []

    def works() -> Iterator[Work]:
        for number in range(4):
            started.append(number)
            yield Work(fail) if number == 2 else insert(number)

    with pytest.raises(ValueError, match="the third"):
        await database.run_writes(works())
    assert started == [0, 1, 2]
    assert await names(database) == ["the 0.", "the 1."]
    await database.run_writes([insert(5)])
    assert await names(database) == ["the 0.", "the 1.", "the 5."]


@pytest.mark.parametrize(
    ("address", "driver", "shown"),
    [
        ("postgresql://h/d", "postgresql://h/d", "postgresql://h/d"),
        ("postgres://u:p%40ss@h:5433/d", "postgresql://u:p%40ss@h:5433/d", "postgresql://u@h:5433/d"),
        ("postgresql://h/d?ssl=require", "postgresql://h/d?sslmode=require", "postgresql://h/d"),
        ("postgresql://h/d?ssl=true", "postgresql://h/d?sslmode=require", "postgresql://h/d"),
        (
            "postgresql://h/d?sslmode=verify-full&sslrootcert=/etc/ssl/our%20ca.pem",
            "postgresql://h/d?sslmode=verify-full&sslrootcert=/etc/ssl/our%20ca.pem",
            "postgresql://h/d",
        ),
        (
            "postgresql://h/?user=u&password=Geheim&dbname=d",
            "postgresql://u:Geheim@h/d",
            "postgresql://u@h/d",
        ),
        (
            "postgresql:///d?host=/run/postgresql&port=5433",
            "postgresql:///d?host=/run/postgresql&port=5433",
            "postgresql:///run/postgresql:5433/d",
        ),
        (
            "postgresql://u@a:5433,b/d?target_session_attrs=read-write",
            "postgresql://u@/d?target_session_attrs=read-write&host=a,b&port=5433,5432",
            "postgresql://u@a,b:5433,5432/d",
        ),
        ("postgresql://[::1]:5433/d", "postgresql://[::1]:5433/d", "postgresql://::1:5433/d"),
        (
            "postgresql://h/d?channel_binding=prefer&gssencmode=disable",
            "postgresql://h/d",
            "postgresql://h/d",
        ),
        (
            "postgresql://h/d?application_name=meetings&connect_timeout=3",
            "postgresql://h/d?application_name=meetings",
            "postgresql://h/d",
        ),
    ],
)
def test_a_url_reaches_the_driver_with_libpqs_parameters(address: str, driver: str, shown: str) -> None:
    url = parse_url(address)
    assert driver_address(url) == driver
    assert shown_address(url) == shown
    assert parse_url(url.set(drivername="postgresql").render_as_string(hide_password=False)) == url


def test_connecting_waits_as_long_as_the_url_says() -> None:
    assert connect_seconds(parse_url("postgresql://h/d?connect_timeout=3")) == 3
    assert connect_seconds(parse_url("postgresql://h/d")) == 10


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("postgresql://h/d?sslmod=require", "unknown parameter 'sslmod'"),
        ("postgresql://h/d?server_settings=x", "unknown parameter 'server_settings'"),
        ("postgresql://h/d?prepared_statement_cache_size=0", "unknown parameter"),
        ("postgresql://h/d?sslmode=yes", "sslmode=yes is not accepted"),
        ("postgresql://h/d?ssl=on", "sslmode=on is not accepted"),
        ("postgresql://h/d?sslmode=require&ssl=require", "names the parameter 'sslmode' twice"),
        ("postgresql://h/d?channel_binding=require", "channel_binding=require is not supported"),
        ("postgresql://h/d?gssencmode=require", "gssencmode=require is not supported"),
        ("postgresql://h/d?connect_timeout=soon", "connect_timeout is not accepted"),
        ("postgresql://h/d?host=other", "names the server twice"),
        ("postgresql://h:port/d", "cannot be read"),
        ("postgresql://h:70000/d", "cannot be read"),
        ("postgresql://[::1/d", "cannot be read"),
        ("postgresql://h/d?sslmode", "cannot be read"),
        ("postgresql://h/%ff", "cannot be read"),
        ("postgresql://h/d#part", "contains a #"),
        ("postgresql+psycopg://h/d", "is not a database URL"),
        ("mysql://h/d", "is not a database URL"),
        ("sqlite:///x?mode=ro", "is not a database URL"),
        ("sqlite://", "is not a database URL"),
    ],
)
def test_an_unsupported_parameter_is_refused_by_name(address: str, words: str) -> None:
    with pytest.raises(SettingsProblem, match=words):
        parse_url(address.replace("//h", "//tea:Geheim@h"))


@pytest.mark.parametrize(
    "query", ["sslmod=Geheim", "sslmode=require&sslmode=x", "connect_timeout=x", "host=x"]
)
def test_the_error_for_a_url_shows_no_password(query: str) -> None:
    with pytest.raises(SettingsProblem) as caught:
        parse_url(f"postgresql://tea:Geheim@h/d?password=Geheim&{query}")
    assert "Geheim" not in str(caught.value)


@pytest.fixture(scope="module")
def tls_server() -> Iterator[tuple[int, Path]]:
    """The port of a PostgreSQL server that takes only TLS, and a folder with the certificates `ca` and `other`."""
    programs = postgres_programs()
    if not programs:
        pytest.skip("needs PostgreSQL (Debian's package postgresql)")
    with tempfile.TemporaryDirectory(prefix="third-thursday-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        trustme.CA().cert_pem.write_to_path(folder / "other.pem")
        server = authority.issue_cert("127.0.0.1")
        for blob, file in ((server.private_key_pem, "key.pem"), (server.cert_chain_pems[0], "cert.pem")):
            blob.write_to_path(folder / file)
        cluster = Cluster(programs, folder)
        cluster.own(folder / "key.pem", folder / "cert.pem")
        folder.chmod(0o755)
        files = f"-c ssl_cert_file={folder}/cert.pem -c ssl_key_file={folder}/key.pem"
        hba = folder / "hba.conf"
        hba.write_text("hostssl all all 127.0.0.1/32 trust\n")
        yield cluster.start(f"-c ssl=on {files} -c hba_file={hba}"), folder
        cluster.stop()


@pytest.mark.parametrize(
    "query", ["?ssl=require", "?sslmode=require", "", "?sslmode=verify-full&sslrootcert={ca}"]
)
async def test_tables_jobs_and_backups_use_the_same_tls_settings(
    tls_server: tuple[int, Path], query: str, tmp_path: Path
) -> None:
    port, folder = tls_server
    server = f"postgresql://postgres:Geheim@127.0.0.1:{port}"
    name = f"tls_{abs(hash(query))}"
    options = query.format(ca=folder / "ca.pem")
    maintenance = Database(f"{server}/postgres{options}")
    driver = await maintenance.connect_driver()
    await driver.execute(f"CREATE DATABASE {name}")
    await driver.close()
    await maintenance.close()
    database = Database(f"{server}/{name}{options}")
    try:
        await open_database(database, upgrade=True)
        async with database.write() as connection:
            encrypted = await connection.scalar(
                text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            )
            await jobs.enqueue(connection, [7])
        assert encrypted is True
        taken: list[int] = []

        async def run(chunk: int) -> None:
            taken.append(chunk)
            consumer.stop()

        consumer = JobConsumer(database, run, lost=lambda: None)
        await asyncio.wait_for(consumer.work(), 30)
        assert taken == [7]
        assert "Geheim" not in database.shown
        dump = tmp_path / "dump"
        dump.touch()
        counts = await postgres_backups.dump_database(database, dump, recipient=None)
        async with postgres_backups.scratch_database(database, "") as scratch:
            await postgres_backups.restore_dump(dump, scratch)
            assert await postgres_backups.count_rows(scratch) == counts
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?sslmode=verify-full&sslrootcert={other}", "certificate"),
        ("?sslmode=verify-ca&sslrootcert={missing}", "missing.pem"),
        ("?sslmode=disable", "no encryption"),
    ],
)
async def test_an_untrusted_server_is_refused_with_one_line(
    tls_server: tuple[int, Path], query: str, words: str
) -> None:
    port, folder = tls_server
    options = query.format(other=folder / "other.pem", missing=folder / "missing.pem")
    database = Database(f"postgresql://postgres:Geheim@127.0.0.1:{port}/postgres{options}")
    try:
        with pytest.raises(Problem) as caught:
            await open_database(database, upgrade=True)
        assert words in str(caught.value)
        with pytest.raises(Problem) as of_dump:
            await postgres_backups.dump_database(database, folder / "ca.pem", recipient=None)
        assert "\n" not in str(of_dump.value) and "Geheim" not in str(of_dump.value)
        assert "\n" not in str(caught.value)
        assert "Geheim" not in str(caught.value)
    finally:
        await database.close()


async def test_failing_to_fetch_jobs_is_an_outage_until_it_works_again(postgres_url: str) -> None:
    database = Database(postgres_url)
    await open_database(database, upgrade=True)
    gone = Database(postgres_url.replace("postgres@", "nobody_there@"))

    async def run(chunk: int) -> None:
        consumer.stop()

    consumer = JobConsumer(database, run, lost=lambda: None)
    original, database.connect_driver = database.connect_driver, gone.connect_driver  # type: ignore[method-assign]
    with pytest.raises(JobsLost):
        await consumer.work()
    assert database.outages.current
    database.connect_driver = original  # type: ignore[method-assign]
    working = asyncio.create_task(consumer.work())
    async with asyncio.timeout(20):
        while database.outages.current:
            await asyncio.sleep(0.1)
    consumer.stop()
    await working
    await database.close()
    await gone.close()


async def test_a_lock_of_one_process_is_free_again_when_its_connection_ends(postgres_url: str) -> None:
    first, second = Database(postgres_url), Database(postgres_url)
    try:
        async with first.only_one(7) as ours:
            assert ours()
            async with second.only_one(7) as theirs, second.only_one(8) as other:
                assert not theirs() and other()
        async with second.only_one(7) as theirs:
            while not theirs():
                async with second.only_one(7) as theirs:
                    pass
    finally:
        await first.close()
        await second.close()
