"""Service mails: one person, whatever their status, at the address that it is about, for as long as it is of use."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from scheduler.domain.policy import PERSONAL, REPLIES, Kind
from scheduler.domain.token import Purpose
from scheduler.service.mailing import USEFUL_FOR, mail_one, mailed_since
from scheduler.service.notifying import resend_missed
from scheduler.service.recognising import Standing, recognise
from scheduler.store import erasures, members
from scheduler.store.members import Member
from scheduler.store.schema import deliveries, notices
from tests.house import House, address_of, open_house

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
async def house(tmp_path: Path, database_url: str) -> AsyncIterator[House]:
    async with open_house(tmp_path, NOW, url=database_url) as house:
        await house.tick()
        yield house


async def person(house: House, name: str) -> Member:
    async with house.database.read() as connection:
        found = await members.by_key(connection, address_of(name))
        assert found
        return found


async def mail(house: House, name: str, *kinds: Kind, **options: str) -> None:
    member = await person(house, name)
    async with house.database.write() as connection:
        for kind in kinds:
            await mail_one(connection, member, kind, now=house.clock.now(), **options)


async def test_each_kind_reaches_its_one_person_and_is_then_done_with(house: House) -> None:
    await house.join(("Ann", "Pacific/Auckland"), ("Bo", "Europe/London"))
    await mail(house, "Ann", *PERSONAL)
    await house.tick()
    sent = house.mails()
    assert {mail["To"] for mail in sent} == {"Ann <ann@example.org>", "ann@example.org"}
    assert len(sent) == len(PERSONAL)
    welcome = next(one for one in sent if "Welcome" in str(one["Subject"]))
    assert "Friday 18 December, 07:00 Auckland" in str(welcome["Subject"])
    assert welcome["List-Unsubscribe-Post"]
    assert sum(one["List-Unsubscribe"] is not None for one in sent) == len(set(PERSONAL) - set(REPLIES))
    await house.tick()
    assert len(house.mails()) == len(PERSONAL)
    async with house.database.read() as connection:
        open_ones = await connection.scalars(
            select(notices.c.kind).where(notices.c.kind.in_(PERSONAL), notices.c.closed_at.is_(None))
        )
        assert not open_ones.all()


async def test_only_the_first_mail_to_a_member_introduces_us_and_a_welcome_needs_no_introduction(
    house: House,
) -> None:
    await house.join(("Ann", "Europe/London"), ("Bo", "Europe/London"))
    await mail(house, "Bo", Kind.WELCOME)
    await house.live(datetime(2026, 12, 18, tzinfo=UTC))
    introduced: dict[str, list[bool]] = {"Ann": [], "Bo": []}
    for one in house.mails():
        body = one.get_body(("plain",))
        assert body
        introduced[str(one["To"]).split()[0]].append("our first mail to you" in body.get_content())
    assert introduced == {"Ann": [True, False, False], "Bo": [False] * 4}


async def test_who_joins_between_two_reminders_is_introduced_to_us_by_the_first_mail_alone(
    house: House,
) -> None:
    """The reminders' rows are made before the invitation's: the latest due first."""
    house.clock.pass_until(datetime(2026, 12, 17, 16, 30, tzinfo=UTC))
    await house.join(*((f"Member {number}", "Europe/London") for number in range(25)))
    await house.live(datetime(2027, 1, 9, tzinfo=UTC))
    found: dict[str, list[bool]] = {}
    for one in house.mails():
        body = one.get_body(("plain",))
        assert body
        found.setdefault(str(one["To"]), []).append("our first mail to you" in body.get_content())
    assert len(found) == 25
    assert all(sum(said) == 1 and len(said) > 1 for said in found.values())


async def test_an_archived_mail_was_a_mail(house: House) -> None:
    await house.join(("Ann", "Europe/London"))
    await house.live(datetime(2026, 12, 18, tzinfo=UTC))
    await house.change("Ann", status="paused", active_since=None)
    await house.live(datetime(2027, 3, 1, tzinfo=UTC))
    async with house.database.read() as connection:
        assert not (await connection.scalars(select(deliveries.c.id))).all()
    await house.change("Ann", status="active", active_since=house.clock.now())
    before = len(house.mails())
    await house.live(datetime(2027, 3, 19, tzinfo=UTC))
    later = house.mails()[before:]
    assert later
    for one in later:
        body = one.get_body(("plain",))
        assert body and "our first mail to you" not in body.get_content()


@pytest.mark.parametrize("status", ["pending", "paused", "left"])
async def test_who_is_not_active_gets_replies_and_no_welcome(house: House, status: str) -> None:
    await house.join(("Ann", "Europe/London"), status=status, active_since=None)
    await mail(house, "Ann", *PERSONAL)
    await house.tick()
    await house.tick()
    assert len(house.mails()) == len(REPLIES)


async def test_a_mail_about_another_address_goes_there_and_its_link_is_bound_to_it(house: House) -> None:
    await house.join(("Ann", "Europe/London"))
    await mail(house, "Ann", Kind.ADDRESS_CHANGE, address="new@example.org")
    await house.tick()
    (sent,) = house.mails()
    assert sent["To"] == "new@example.org"
    body = sent.get_body(("plain",))
    assert body
    token = body.get_content().partition("/address/")[2].split()[0]
    member = await person(house, "Ann")
    assert house.keys.matches(token, Purpose.ADDRESS, generation=member.generation, about="new@example.org")
    assert not house.keys.matches(token, Purpose.ADDRESS, generation=member.generation)


async def test_what_was_not_sent_in_time_is_not_sent_at_all(house: House) -> None:
    await house.join(("Ann", "Europe/London"))
    await mail(house, "Ann", Kind.SIGN_IN)
    house.clock.pass_until(NOW + USEFUL_FOR[Kind.SIGN_IN])
    await house.tick()
    assert house.mails() == []
    assert await house.states(kind="sign-in") == {"Ann": "expired: late"}


async def test_a_link_that_has_expired_says_so_and_nothing_else_opens_with_it(house: House) -> None:
    await house.join(("Ann", "Europe/London"))
    member = await person(house, "Ann")
    token = house.keys.token(
        Purpose.CONFIRM, member.id, generation=member.generation, expires=NOW + timedelta(hours=1)
    )
    async with house.database.read() as connection:
        for purpose, moment, standing in (
            (Purpose.CONFIRM, NOW, Standing.GOOD),
            (Purpose.CONFIRM, NOW + timedelta(hours=1), Standing.EXPIRED),
            (Purpose.SIGN_IN, NOW, Standing.UNKNOWN),
        ):
            assert (await recognise(connection, token, purpose, keys=house.keys, now=moment))[0] is standing
        with pytest.raises(ValueError, match="expires"):
            await recognise(connection, token, Purpose.CONFIRM, keys=house.keys)


async def test_nobody_can_be_mailed_without_end(house: House) -> None:
    await house.join(("Ann", "Europe/London"))
    await mail(house, "Ann", Kind.SIGN_IN, Kind.CONFIRMATION)
    member = await person(house, "Ann")
    async with house.database.read() as connection:
        for kinds, since, count in (
            ((Kind.SIGN_IN,), NOW - timedelta(days=1), 1),
            ((Kind.SIGN_IN, Kind.CONFIRMATION), NOW - timedelta(days=1), 2),
            ((Kind.SIGN_IN,), NOW, 0),
        ):
            assert await mailed_since(connection, member, *kinds, since=since) == count


async def test_with_an_erased_member_go_the_mails_to_them(house: House) -> None:
    await house.join(("Ann", "Europe/London"))
    await mail(house, "Ann", Kind.ADDRESS_CHANGE, address="new@example.org")
    member = await person(house, "Ann")
    async with house.database.write() as connection:
        await erasures.erase(connection, member, "hash", NOW)
        assert not (await connection.scalars(select(notices.c.id).where(notices.c.kind.in_(PERSONAL)))).all()


async def test_a_failed_one_that_is_tried_again_and_stays_unsent_ends_with_its_use(house: House) -> None:
    await house.join(("Ann", "Europe/London"))
    await mail(house, "Ann", Kind.SIGN_IN)
    await house.planner.tick()
    async with house.database.write() as connection:
        await connection.execute(update(deliveries).values(state="failed", reason="550 5.1.1 unknown"))
    await house.planner.tick()
    (row,) = await house.reports()
    assert await resend_missed(house.database, row.notice, house.clock.now()) == 1
    house.clock.pass_(USEFUL_FOR[Kind.SIGN_IN])
    await house.planner.tick()
    assert await house.states() == {"Ann": "expired: late"}
