"""Once a week each convenor gets one report, whatever happens to the service in between."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from email.message import EmailMessage
from functools import partial
from pathlib import Path

import pytest
import trustme
from sqlalchemy.exc import OperationalError

from scheduler.domain.errors import Refused
from scheduler.domain.policy import Kind
from scheduler.domain.weekly_report import Certificate, WeeklyTime
from scheduler.service import certificates
from scheduler.service.certificates import check_certificate, read_website
from scheduler.service.sending_pause import RESTORED, pause_sending
from scheduler.service.weekly_reports import WeeklyReports
from scheduler.store import members
from scheduler.store.ledger import fan_out
from tests.conftest import CopyDatabase
from tests.installation import SERIES, Installation, address_of, open_installation

MONDAY = WeeklyTime.parse("monday 08:00")


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, at(1, 12), url=url) as installation:
        await installation.tick()
        await installation.join(("Ann", "America/New_York"), ("Bo", "Europe/London"), ("Cy", "Europe/London"))
        await installation.change("Ann", role="convenor")
        await installation.change("Bo", role="convenor")


@pytest.fixture
async def on_both(tmp_path: Path, copy_database: CopyDatabase) -> AsyncIterator[Installation]:
    """Two convenors and a member, on the Sunday before the first report."""
    async with open_installation(tmp_path, at(1, 12), url=await copy_database(fill)) as installation:
        yield installation


@pytest.fixture
async def installation(tmp_path: Path, copy_sqlite: CopyDatabase) -> AsyncIterator[Installation]:
    async with open_installation(tmp_path, at(1, 12), url=await copy_sqlite(fill)) as installation:
        yield installation


def reports_of(
    installation: Installation, *, found: Sequence[Certificate] = (), weekly: WeeklyTime = MONDAY
) -> WeeklyReports:
    async def check() -> Sequence[Certificate]:
        return found

    return WeeklyReports(
        installation.database,
        installation.clock,
        series=installation.series,
        at=weekly,
        check_certificates=check,
    )


async def look_at(installation: Installation, *instants: datetime) -> None:
    """Start the service anew at each of these instants, and let it look once."""
    for instant in instants:
        installation.clock.pass_until(instant)
        await installation.tick()
        await reports_of(installation).look()
        await installation.tick()


async def told(installation: Installation) -> list[tuple[str, datetime]]:
    rows = await installation.reports(kind=Kind.WEEKLY, state="sent")
    return sorted((row.name, row.sent_at) for row in rows if row.sent_at)


def weekly_mails(installation: Installation) -> list[EmailMessage]:
    return [mail for mail in installation.mails() if "Our week to" in str(mail["Subject"])]


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body
    return str(body.get_content())


async def test_each_convenor_gets_one_report_each_week_however_often_the_service_restarts(
    on_both: Installation,
) -> None:
    await look_at(on_both, at(2, 7, 59), at(2, 8), at(2, 9), at(3, 7), at(9, 7), at(9, 8), at(9, 23))
    assert await told(on_both) == [(name, at(day, 8)) for name in ("Ann", "Bo") for day in (2, 9)]


async def test_two_services_that_publish_at_once_send_one_report(on_both: Installation) -> None:
    on_both.clock.pass_until(at(2, 8))
    await on_both.tick()
    await asyncio.gather(*(reports_of(on_both).look() for _ in range(3)))
    await on_both.tick()
    assert await told(on_both) == [("Ann", at(2, 8)), ("Bo", at(2, 8))]


async def test_a_service_that_is_killed_while_it_publishes_completes_the_report_when_it_is_back(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.clock.pass_until(at(2, 8))
    await installation.tick()
    with monkeypatch.context() as patched:

        async def die(*_: object, **__: object) -> None:
            raise OperationalError("", {}, Exception("killed"))

        patched.setattr(fan_out, "fan_out", die)
        with pytest.raises(OperationalError):
            await reports_of(installation).look()
    await installation.tick()
    assert await told(installation) == []
    assert await reports_of(installation).look()
    await installation.tick()
    assert not await reports_of(installation).look()
    assert [name for name, _ in await told(installation)] == ["Ann", "Bo"]


async def test_the_report_counts_the_week_and_says_what_failed_what_waits_and_what_comes(
    installation: Installation,
) -> None:
    installation.series = (replace(SERIES, rule=f"{SERIES.rule};UNTIL=20261231"),)
    installation.restart()
    await installation.live(at(5, 22))
    await installation.join(("Di", "Europe/London"))
    async with installation.database.write() as connection:
        leaver = await members.by_key(connection, address_of("Cy"))
        assert leaver
        await connection.exec_driver_sql(
            "UPDATE deliveries SET state = 'failed', sent_at = NULL, reason = '550 5.1.1 no such user'"
            f" WHERE member = {leaver.id} AND state = 'sent'"
        )
        await members.change(
            connection, leaver.id, status="left", active_since=None, feed_changed_at=installation.clock.now()
        )
    installation.clock.pass_until(at(9, 8))
    await installation.tick()
    found = [
        Certificate(host="meet.example.org", expires=at(30, 0)),
        Certificate(host="r", problem="is not valid: no"),
    ]
    assert await reports_of(installation, found=found).look()
    await installation.tick()
    mail = weekly_mails(installation)[-1]
    text = text_of(mail)
    assert str(mail["Subject"]) == "Our week to 9 November 2026: 3 members"
    assert mail["List-Unsubscribe"] is None and "because you're a convenor" in text
    assert "We are 3 members. 1 joined, and 1 left." in text
    assert "1 email could not be delivered:\n- 1: the address does not exist" in text
    assert "Nothing is waiting for you." in text
    assert "- Conversation for Kindness: Thursday 19 November 2026, 18:00 in London" in text
    assert "Conversation for Kindness ends soon: only 2 more meetings are planned." in text
    assert "The certificate of meet.example.org ends on 30 November 2026, in 20 days." in text
    assert "The certificate of r is not valid: no." in text
    assert "The service makes no backups by itself." in text


async def test_a_report_is_not_sent_a_day_late_nor_about_a_week_before_the_service_began(
    installation: Installation,
) -> None:
    await look_at(installation, at(2, 7), at(3, 8), at(5, 8))
    assert await told(installation) == []
    earlier = WeeklyTime.parse("sunday 08:00")
    assert not await reports_of(installation, weekly=earlier).look()


async def test_nothing_is_published_while_sending_is_paused_or_the_clock_cannot_be_trusted(
    installation: Installation,
) -> None:
    installation.clock.pass_until(at(2, 8))
    assert not await reports_of(installation).look(), "no tick has seen this clock yet"
    await installation.tick()
    async with installation.database.write() as connection:
        await pause_sending(connection, RESTORED, at(2, 8))
    assert not await reports_of(installation).look()


def test_the_time_is_a_weekday_and_a_time_by_the_home_clock() -> None:
    weekly = WeeklyTime.parse("Sunday 02:30")
    assert (weekly.weekday, weekly.at) == (6, time(2, 30))
    # The clocks of Berlin skip 02:30 on 28 March 2027; the report is due when they reach 03:00.
    now = datetime(2027, 3, 28, 1, tzinfo=UTC)
    assert weekly.latest(now, "Europe/Berlin") == now
    assert weekly.latest(now - timedelta(seconds=1), "Europe/Berlin") == datetime(
        2027, 3, 21, 1, 30, tzinfo=UTC
    )
    for wrong in ("monday", "08:00", "monday 8 o'clock", "montag 08:00", "monday 24:00"):
        with pytest.raises(Refused, match="is not a weekday and a time"):
            WeeklyTime.parse(wrong)


@contextlib.asynccontextmanager
async def website(certificate: trustme.LeafCert | None) -> AsyncIterator[int]:
    """Run a server with this certificate, or one that never answers."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)

    async def wait_for_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(wait_for_end, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_a_certificate_is_read_and_whatever_is_wrong_with_it_is_a_line_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    monkeypatch.setattr(certificates, "LONGEST_CHECK", 0.3)

    async def check(port: int) -> Certificate:
        found = await check_certificate("meet.example.org", partial(read_website, "127.0.0.1", port))
        assert found
        return found

    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)
    async with website(authority.issue_cert("127.0.0.1", not_after=soon)) as port:
        assert await check(port) == Certificate(host="meet.example.org", expires=soon)
    over = datetime.now(UTC) - timedelta(days=1)
    async with website(authority.issue_cert("127.0.0.1", not_after=over)) as port:
        assert (await check(port)).problem == "is not valid: certificate has expired"
    async with website(None) as port:
        assert (await check(port)).problem == "could not be checked: it did not answer in time"
    assert (await check(free_port)).problem == "could not be checked: it cannot be reached"
