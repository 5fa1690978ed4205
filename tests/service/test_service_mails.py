"""Service mails: one person, whatever their status, at the address that it is about, for as long as it is of use."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from scheduler.domain.contact import ContactMessage
from scheduler.domain.policy import PERSONAL, REPLIES, SERVICE_MAIL_USEFUL_FOR, Kind
from scheduler.domain.token import Purpose
from scheduler.service.notices import mail_one, mailed_since, resend_missed
from scheduler.service.personal_links import LinkStatus, resolve_link
from scheduler.store import contact_messages, erasures, members
from scheduler.store.members import Member
from scheduler.store.schema import deliveries, notices
from tests.conftest import CopyDatabase
from tests.installation import Installation, address_of, open_installation

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)

MESSAGE = ContactMessage(name="Vi", address="vi@example.org", words="May I visit?")


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, NOW, url=url) as installation:
        await installation.tick()


@pytest.fixture
async def installation(tmp_path: Path, copy_database: CopyDatabase) -> AsyncIterator[Installation]:
    async with open_installation(tmp_path, NOW, url=await copy_database(fill)) as installation:
        yield installation


async def person(installation: Installation, name: str) -> Member:
    async with installation.database.read() as connection:
        found = await members.by_key(connection, address_of(name))
        assert found
        return found


async def mail(installation: Installation, name: str, *kinds: Kind, **options: str) -> None:
    member = await person(installation, name)
    async with installation.database.write() as connection:
        for kind in kinds:
            number = await mail_one(connection, member, kind, now=installation.clock.now(), **options)
            if kind is Kind.CONTACT:
                await contact_messages.add(
                    connection, number, MESSAGE, address_key=MESSAGE.address, now=installation.clock.now()
                )


@pytest.mark.both_databases
async def test_each_kind_reaches_its_one_person_and_is_then_done_with(installation: Installation) -> None:
    await installation.join(("Ann", "Pacific/Auckland"), ("Bo", "Europe/London"))
    await mail(installation, "Ann", *PERSONAL)
    await installation.tick()
    sent = installation.mails()
    assert {mail["To"] for mail in sent} == {"Ann <ann@example.org>", "ann@example.org"}
    assert len(sent) == len(PERSONAL)
    welcome = next(one for one in sent if "Welcome" in str(one["Subject"]))
    assert "Friday 18 December, 07:00 Auckland" in str(welcome["Subject"])
    assert welcome["List-Unsubscribe-Post"]
    assert sum(one["List-Unsubscribe"] is not None for one in sent) == len(set(PERSONAL) - set(REPLIES))
    await installation.tick()
    assert len(installation.mails()) == len(PERSONAL)
    async with installation.database.read() as connection:
        open_ones = await connection.scalars(
            select(notices.c.kind).where(notices.c.kind.in_(PERSONAL), notices.c.closed_at.is_(None))
        )
        assert not open_ones.all()


async def test_only_the_first_mail_to_a_member_introduces_us_and_a_welcome_needs_no_introduction(
    installation: Installation,
) -> None:
    await installation.join(("Ann", "Europe/London"), ("Bo", "Europe/London"))
    await mail(installation, "Bo", Kind.WELCOME)
    await installation.live(datetime(2026, 12, 18, tzinfo=UTC))
    introduced: dict[str, list[bool]] = {"Ann": [], "Bo": []}
    for one in installation.mails():
        body = one.get_body(("plain",))
        assert body
        introduced[str(one["To"]).split()[0]].append("our first email to you" in body.get_content())
    assert introduced == {"Ann": [True, False, False], "Bo": [False] * 4}


async def test_who_joins_between_two_reminders_is_introduced_to_us_by_the_first_mail_alone(
    installation: Installation,
) -> None:
    """The reminders' rows are made before the invitation's: the latest due first."""
    installation.clock.pass_until(datetime(2026, 12, 17, 16, 30, tzinfo=UTC))
    await installation.join(*((f"Member {number}", "Europe/London") for number in range(25)))
    await installation.live(datetime(2027, 1, 9, tzinfo=UTC))
    found: dict[str, list[bool]] = {}
    for one in installation.mails():
        body = one.get_body(("plain",))
        assert body
        found.setdefault(str(one["To"]), []).append("our first email to you" in body.get_content())
    assert len(found) == 25
    assert all(sum(said) == 1 and len(said) > 1 for said in found.values())


@pytest.mark.both_databases
async def test_an_archived_mail_was_a_mail(installation: Installation) -> None:
    await installation.join(("Ann", "Europe/London"))
    await installation.live(datetime(2026, 12, 18, tzinfo=UTC))
    await installation.change("Ann", status="paused", active_since=None)
    await installation.live(datetime(2027, 3, 1, tzinfo=UTC), idle=timedelta(days=4))
    async with installation.database.read() as connection:
        assert not (await connection.scalars(select(deliveries.c.id))).all()
    await installation.change("Ann", status="active", active_since=installation.clock.now())
    before = len(installation.mails())
    await installation.live(datetime(2027, 3, 19, tzinfo=UTC))
    later = installation.mails()[before:]
    assert later
    for one in later:
        body = one.get_body(("plain",))
        assert body and "our first email to you" not in body.get_content()


@pytest.mark.parametrize("status", ["pending", "paused", "left"])
async def test_who_is_not_active_gets_replies_and_no_welcome(installation: Installation, status: str) -> None:
    await installation.join(("Ann", "Europe/London"), status=status, active_since=None)
    await mail(installation, "Ann", *PERSONAL)
    await installation.tick()
    await installation.tick()
    assert len(installation.mails()) == len(REPLIES)


async def test_a_mail_about_another_address_goes_there_and_its_link_is_bound_to_it(
    installation: Installation,
) -> None:
    await installation.join(("Ann", "Europe/London"))
    await mail(installation, "Ann", Kind.ADDRESS_CHANGE, address="new@example.org")
    await installation.tick()
    (sent,) = installation.mails()
    assert sent["To"] == "new@example.org"
    body = sent.get_body(("plain",))
    assert body
    token = body.get_content().partition("/address/")[2].split()[0]
    member = await person(installation, "Ann")
    assert installation.keys.matches(
        token, Purpose.ADDRESS, generation=member.generation, about="new@example.org"
    )
    assert not installation.keys.matches(token, Purpose.ADDRESS, generation=member.generation)


async def test_what_was_not_sent_in_time_is_not_sent_at_all(installation: Installation) -> None:
    await installation.join(("Ann", "Europe/London"))
    await mail(installation, "Ann", Kind.SIGN_IN)
    installation.clock.pass_until(NOW + SERVICE_MAIL_USEFUL_FOR[Kind.SIGN_IN])
    await installation.tick()
    assert installation.mails() == []
    assert await installation.states(kind="sign-in") == {"Ann": "expired: late"}


async def test_a_link_that_has_expired_says_so_and_nothing_else_opens_with_it(
    installation: Installation,
) -> None:
    await installation.join(("Ann", "Europe/London"))
    member = await person(installation, "Ann")
    token = installation.keys.token(
        Purpose.CONFIRM, member.id, generation=member.generation, expires=NOW + timedelta(hours=1)
    )
    async with installation.database.read() as connection:
        for purpose, moment, expected in (
            (Purpose.CONFIRM, NOW, LinkStatus.GOOD),
            (Purpose.CONFIRM, NOW + timedelta(hours=1), LinkStatus.EXPIRED),
            (Purpose.SIGN_IN, NOW, LinkStatus.UNKNOWN),
        ):
            assert (await resolve_link(connection, token, purpose, keys=installation.keys, now=moment))[
                0
            ] is expected
        with pytest.raises(ValueError, match="expires"):
            await resolve_link(connection, token, Purpose.CONFIRM, keys=installation.keys)


async def test_nobody_can_be_mailed_without_end(installation: Installation) -> None:
    await installation.join(("Ann", "Europe/London"))
    await mail(installation, "Ann", Kind.SIGN_IN, Kind.CONFIRMATION)
    member = await person(installation, "Ann")
    async with installation.database.read() as connection:
        for kinds, since, count in (
            ((Kind.SIGN_IN,), NOW - timedelta(days=1), 1),
            ((Kind.SIGN_IN, Kind.CONFIRMATION), NOW - timedelta(days=1), 2),
            ((Kind.SIGN_IN,), NOW, 0),
        ):
            assert await mailed_since(connection, member, *kinds, since=since) == count


@pytest.mark.both_databases
async def test_with_an_erased_member_go_the_mails_to_them(installation: Installation) -> None:
    await installation.join(("Ann", "Europe/London"))
    await mail(installation, "Ann", Kind.ADDRESS_CHANGE, address="new@example.org")
    member = await person(installation, "Ann")
    async with installation.database.write() as connection:
        await erasures.erase(connection, member, "hash", NOW)
        assert not (await connection.scalars(select(notices.c.id).where(notices.c.kind.in_(PERSONAL)))).all()


async def test_a_failed_one_that_is_tried_again_and_stays_unsent_ends_with_its_use(
    installation: Installation,
) -> None:
    await installation.join(("Ann", "Europe/London"))
    await mail(installation, "Ann", Kind.SIGN_IN)
    await installation.planner.tick()
    async with installation.database.write() as connection:
        await connection.execute(update(deliveries).values(state="failed", reason="550 5.1.1 unknown"))
    await installation.planner.tick()
    (row,) = await installation.reports()
    assert await resend_missed(installation.database, row.notice, installation.clock.now(), by_choice=()) == 1
    installation.clock.pass_(SERVICE_MAIL_USEFUL_FOR[Kind.SIGN_IN])
    await installation.planner.tick()
    assert await installation.states() == {"Ann": "expired: late"}
