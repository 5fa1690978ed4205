"""What follows a meeting: to whom, when, and when not."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from scheduler.domain.policy import Kind, Policy
from scheduler.service.amending import Change, amend
from scheduler.service.forecasting import forecast
from scheduler.service.preferring import choices
from scheduler.store import members, mutes
from tests.house import POLICIES, House, address_of, open_house

KEY = "conversation-for-kindness/2026-11-19"
AFTER = Policy(slug="after", kind=Kind.FOLLOW_UP, days_after=1, at=time(9))


@pytest.fixture
async def house(tmp_path: Path, database_url: str) -> AsyncIterator[House]:
    """Adopted on the tenth of November, with follow-ups on the morning after."""
    async with open_house(tmp_path, at(10, 12), url=database_url, policies=(AFTER,)) as house:
        await house.tick()
        await house.join(("Ann", "Europe/London"), ("Bo", "Pacific/Auckland"), ("Cy", "America/New_York"))
        yield house


def at(day: int, hour: int, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


async def give(house: House, materials: str) -> None:
    await amend(house.database, house.by_slug, KEY, Change(materials=materials), now=house.clock.now())


async def times(house: House) -> dict[str, datetime | None]:
    return {row.name: row.sent_at for row in await house.reports(kind="follow-up", state="sent")}


async def test_each_member_is_followed_up_once_on_the_morning_after_by_their_own_clock(house: House) -> None:
    await give(house, "https://example.org/recording")
    await house.answer("Cy", KEY, "declined")
    await house.live(at(30, 12))
    assert await times(house) == {"Ann": at(20, 9), "Bo": at(20, 20), "Cy": at(20, 14)}
    (first, *_) = house.mails()
    assert "https://example.org/recording" in first.get_body(("plain",)).get_content()  # type: ignore[union-attr]


async def test_materials_that_come_later_go_out_at_once_to_who_was_a_member_when_it_was_due(
    house: House,
) -> None:
    await house.live(at(23, 12))
    await house.join(("Di", "Europe/London"))
    await house.change("Cy", status="left", active_since=None)
    await house.tick()
    assert await house.reports() == []
    await give(house, "Notes")
    rows = await forecast(
        house.database, series=house.series, policies=house.policies, since=at(1, 0), until=at(30, 0),
        now=house.clock.now(),
    )  # fmt: skip
    assert sum(row.recipients for row in rows) == 2
    await house.tick()
    assert await times(house) == {"Ann": at(23, 12), "Bo": at(23, 12)}
    await give(house, "Notes, mended")
    await house.join(("Ed", "Pacific/Auckland"))
    await house.live(at(10, 12, 12))
    assert set(await times(house)) == {"Ann", "Bo"}


async def test_materials_that_come_when_it_is_of_no_more_use_are_told_to_nobody(house: House) -> None:
    await house.live(at(5, 12, 12))
    await give(house, "Notes")
    await house.live(at(6, 12, 12))
    assert await house.reports() == []


async def test_what_could_not_go_for_fourteen_days_is_expired(house: House) -> None:
    await give(house, "Notes")
    await house.tick()
    house.clock.pass_until(at(20, 12, 12))
    await house.tick()
    assert await house.states(kind="follow-up") == dict.fromkeys(("Ann", "Bo", "Cy"), "expired: late")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_nothing_follows_a_meeting_that_was_cancelled_or_lost_its_materials(
    house: House, when: str
) -> None:
    await give(house, "Notes")
    await house.live(at(18, 12) if when == "before" else at(20, 8) + timedelta(minutes=30))
    await amend(
        house.database, house.by_slug, KEY, Change(cancel=True) if when == "before" else Change(materials=""),
        now=house.clock.now(),
    )  # fmt: skip
    await house.live(at(30, 12))
    assert await times(house) == {}
    if when == "after":
        await give(house, "Notes after all")
        await house.tick()
        assert set(await times(house)) == {"Ann", "Bo", "Cy"}


async def test_a_follow_up_policy_adopted_later_tells_nobody_of_the_past(tmp_path: Path) -> None:
    async with open_house(tmp_path, at(10, 12)) as house:
        await house.join(("Ann", "Europe/London"))
        await give(house, "Notes")
        await house.live(at(21, 12))
        house.policies = (*POLICIES, AFTER)
        house.restart()
        await house.live(at(30, 12))
        assert await times(house) == {}


async def test_members_may_do_without_it_where_there_is_one(house: House) -> None:
    assert [one.mute for one in choices(POLICIES, ())][-1:] == [(Kind.NOTICE, "")]
    assert (Kind.FOLLOW_UP, "") in [one.mute for one in choices((*POLICIES, AFTER), ())]
    async with house.database.write() as connection:
        ann = await members.by_key(connection, address_of("Ann"))
        assert ann
        await mutes.set_mutes(connection, ann.id, [(Kind.FOLLOW_UP, "")])
    await give(house, "Notes")
    await house.live(at(30, 12))
    assert set(await times(house)) == {"Bo", "Cy"}
