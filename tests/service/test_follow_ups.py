"""Follow-ups after a meeting: to whom they are sent, and when."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from scheduler.domain.errors import Refused
from scheduler.domain.policy import Kind, Policy
from scheduler.service.follow_ups import find_follow_up, send_follow_up
from scheduler.service.forecast import forecast
from scheduler.service.notices import PublishedNotice
from scheduler.service.occurrences import Change, amend
from scheduler.service.preferences import choices
from scheduler.store import members
from scheduler.store.ledger import fan_out
from tests.conftest import CopyDatabase
from tests.installation import POLICIES, Installation, address_of, open_installation

KEY = "conversation-for-kindness/2026-11-19"
AFTER = Policy(slug="after", kind=Kind.FOLLOW_UP, days_after=1, at=time(9))


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, at(10, 12), url=url, policies=(AFTER,)) as installation:
        await installation.tick()
        await installation.join(
            ("Ann", "Europe/London"), ("Bo", "Pacific/Auckland"), ("Cy", "America/New_York")
        )


@pytest.fixture
async def installation(tmp_path: Path, copy_database: CopyDatabase) -> AsyncIterator[Installation]:
    """Adopted on the tenth of November, with follow-ups on the morning after."""
    url = await copy_database(fill)
    async with open_installation(tmp_path, at(10, 12), url=url, policies=(AFTER,)) as installation:
        yield installation


def at(day: int, hour: int, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


async def give(installation: Installation, materials: str) -> None:
    await amend(
        installation.database,
        installation.by_slug,
        KEY,
        Change(materials=materials),
        now=installation.clock.now(),
    )


async def times(installation: Installation) -> dict[str, datetime | None]:
    return {row.name: row.sent_at for row in await installation.reports(kind="follow-up", state="sent")}


async def test_each_member_is_followed_up_once_on_the_morning_after_by_their_own_clock(
    installation: Installation,
) -> None:
    await give(installation, "https://example.org/recording")
    await installation.answer("Cy", KEY, "declined")
    await installation.live(at(30, 12))
    assert await times(installation) == {"Ann": at(20, 9), "Bo": at(20, 20), "Cy": at(20, 14)}
    (first, *_) = installation.mails()
    assert "https://example.org/recording" in first.get_body(("plain",)).get_content()  # type: ignore[union-attr]


@pytest.mark.both_databases
async def test_late_materials_are_sent_at_once_to_members_from_when_the_follow_up_was_due(
    installation: Installation,
) -> None:
    await installation.live(at(23, 12))
    await installation.join(("Di", "Europe/London"))
    await installation.change("Cy", status="left", active_since=None)
    await installation.tick()
    assert await installation.reports() == []
    await give(installation, "Notes")
    rows = await forecast(
        installation.database,
        series=installation.series,
        policies=installation.policies,
        since=at(1, 0),
        until=at(30, 0),
        now=installation.clock.now(),
    )
    assert sum(row.recipients for row in rows) == 2
    await installation.tick()
    assert await times(installation) == {"Ann": at(23, 12), "Bo": at(23, 12)}
    await give(installation, "Notes, mended")
    await installation.join(("Ed", "Pacific/Auckland"))
    await installation.live(at(10, 12, 12))
    assert set(await times(installation)) == {"Ann", "Bo"}


async def test_materials_that_come_after_the_follow_up_expired_are_sent_to_nobody(
    installation: Installation,
) -> None:
    await installation.live(at(5, 12, 12))
    await give(installation, "Notes")
    await installation.live(at(6, 12, 12))
    assert await installation.reports() == []


async def test_a_follow_up_that_could_not_be_sent_for_fourteen_days_expires(
    installation: Installation,
) -> None:
    await give(installation, "Notes")
    await installation.tick()
    installation.clock.pass_until(at(20, 12, 12))
    await installation.tick()
    assert await installation.states(kind="follow-up") == dict.fromkeys(("Ann", "Bo", "Cy"), "expired: late")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_meeting_that_was_cancelled_or_lost_its_materials_has_no_follow_up(
    installation: Installation, when: str
) -> None:
    await give(installation, "Notes")
    await installation.live(at(18, 12) if when == "before" else at(20, 8) + timedelta(minutes=30))
    await amend(
        installation.database,
        installation.by_slug,
        KEY,
        Change(cancel=True) if when == "before" else Change(materials=""),
        now=installation.clock.now(),
    )
    await installation.live(at(30, 12))
    assert await times(installation) == {}
    if when == "after":
        await give(installation, "Notes after all")
        await installation.tick()
        assert set(await times(installation)) == {"Ann", "Bo", "Cy"}


async def test_a_follow_up_policy_adopted_later_tells_nobody_of_the_past(tmp_path: Path) -> None:
    async with open_installation(tmp_path, at(10, 12)) as installation:
        await installation.join(("Ann", "Europe/London"))
        await give(installation, "Notes")
        await installation.live(at(21, 12))
        installation.policies = (*POLICIES, AFTER)
        installation.restart()
        await installation.live(at(30, 12))
        assert await times(installation) == {}


async def test_members_can_mute_the_follow_up_if_there_is_one(installation: Installation) -> None:
    assert [choice.mute for choice in choices(POLICIES, ())][-1:] == [(Kind.NOTICE, "")]
    assert (Kind.FOLLOW_UP, "") in [choice.mute for choice in choices((*POLICIES, AFTER), ())]
    async with installation.database.write() as connection:
        ann = await members.by_key(connection, address_of("Ann"))
        assert ann
        await members.set_mutes(connection, ann.id, [(Kind.FOLLOW_UP, "")])
    await give(installation, "Notes")
    await installation.live(at(30, 12))
    assert set(await times(installation)) == {"Bo", "Cy"}


@pytest.fixture
async def over(installation: Installation) -> Installation:
    """After a meeting that has materials, where no policy sends a follow-up."""
    installation.policies = ()
    installation.restart()
    await installation.live(at(20, 12))
    await give(installation, "Notes")
    await installation.tick()
    return installation


async def press(installation: Installation, recipients: int | None = None) -> PublishedNotice:
    return await send_follow_up(
        installation.database,
        installation.by_slug,
        installation.policies,
        KEY,
        now=installation.clock.now(),
        hold=timedelta(minutes=2),
        recipients=recipients,
    )


async def test_the_button_sends_the_follow_up_once_after_the_hold_whatever_happens(
    over: Installation,
) -> None:
    with pytest.raises(Refused, match="now go to 3 members, not to 2"):
        await press(over, 2)
    found = await asyncio.gather(press(over, 3), press(over, 3), return_exceptions=True)
    assert any(isinstance(one, PublishedNotice) for one in found)
    await over.join(("Di", "Europe/London"))
    await over.tick()
    assert await times(over) == {}
    with pytest.raises(Refused, match="is its follow-up"):
        await press(over, 4)
    over.policies = (replace(AFTER, days_after=5),)
    over.restart()
    await over.live(at(20, 13))
    assert await times(over) == dict.fromkeys(("Ann", "Bo", "Cy"), at(20, 12) + timedelta(minutes=2))
    await over.live(at(30, 12))
    assert set(await times(over)) == {"Ann", "Bo", "Cy"}


@pytest.mark.both_databases
async def test_a_press_that_was_interrupted_sends_nothing_until_it_is_repeated(
    over: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fan_out, "fan_out", interrupted)
        with pytest.raises(KeyboardInterrupt):
            await press(over)
    await over.live(at(20, 14))
    assert await times(over) == {}
    await press(over)
    await over.live(at(20, 15))
    assert set(await times(over)) == {"Ann", "Bo", "Cy"}


async def test_a_follow_up_by_button_waits_while_the_materials_are_gone(over: Installation) -> None:
    await press(over)
    await give(over, "")
    await over.live(at(20, 14))
    assert await over.states(kind="follow-up") == dict.fromkeys(
        ("Ann", "Bo", "Cy"), "withdrawn: no materials"
    )
    await give(over, "Better notes")
    await over.live(at(20, 15))
    assert set(await times(over)) == {"Ann", "Bo", "Cy"}


async def test_there_is_no_button_before_the_end_without_materials_or_where_a_policy_sends_it(
    installation: Installation,
) -> None:
    await give(installation, "Notes")
    with pytest.raises(Refused, match="not over yet"):
        await press(installation)
    await installation.live(at(19, 20))
    with pytest.raises(Refused, match="is its follow-up"):
        await press(installation)
    earlier = "conversation-for-kindness/2026-10-15"
    with pytest.raises(Refused, match="add them first"):
        await find_follow_up(
            installation.database, installation.by_slug, earlier, now=installation.clock.now()
        )
