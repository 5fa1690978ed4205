"""What members chose holds on both databases: in what is foreseen, made, waiting and claimed."""

from datetime import UTC, datetime, timedelta

import pytest

from scheduler.domain.token import Purpose
from scheduler.service import form_queue
from scheduler.service.forecast import forecast
from scheduler.service.preferences import choose_notices, pause
from scheduler.service.retention import Retention, forget_old
from scheduler.store import members
from scheduler.store.members import Mute
from tests.installation import DAY_BEFORE, POLICIES, Installation, address_of

NOW = datetime(2026, 11, 18, 8, 30, tzinfo=UTC)
NINE = datetime(2026, 11, 18, 9, tzinfo=UTC)


async def mute(installation: Installation, name: str, *mutes: Mute) -> None:
    async with installation.database.read() as connection:
        member = await members.by_key(connection, address_of(name))
        assert member
    token = installation.keys.token(Purpose.PREFERENCES, member.id, generation=member.generation)
    await choose_notices(
        installation.database,
        token,
        invitation_by="mail",
        muted=mutes,
        policies=POLICIES,
        keys=installation.keys,
    )


async def foreseen(installation: Installation, policy: str) -> int:
    rows = await forecast(
        installation.database,
        series=installation.series,
        policies=installation.policies,
        since=NOW,
        until=NOW + timedelta(days=2),
        now=installation.clock.now(),
    )
    return sum(row.recipients for row in rows if row.policy == policy)


@pytest.mark.both_databases
async def test_what_a_member_does_without_is_not_foreseen_made_or_sent(installation: Installation) -> None:
    assert await foreseen(installation, "hour-before") == 2
    await mute(installation, "Bo", ("reminder", DAY_BEFORE.slug), ("reminder", "hour-before"))
    installation.clock.pass_until(NINE)
    await installation.dispatcher.send_due()
    assert await installation.states(policy="day-before") == {"Ann": "sent", "Bo": "queued"}
    await installation.tick()
    assert await installation.states(policy="day-before") == {"Ann": "sent", "Bo": "skipped: unwanted"}
    assert await foreseen(installation, "hour-before") == 1
    await mute(installation, "Bo", ("reminder", "hour-before"))
    await installation.tick()
    assert await installation.states(policy="day-before") == {"Ann": "sent", "Bo": "sent"}
    installation.clock.pass_until(datetime(2026, 11, 19, 17, 30, tzinfo=UTC))
    await installation.tick()
    assert await installation.states(policy="hour-before") == {"Ann": "sent"}


async def test_a_pause_takes_along_what_waits_already(installation: Installation) -> None:
    async with installation.database.read() as connection:
        bo = await members.by_key(connection, address_of("Bo"))
        assert bo
    token = installation.keys.token(Purpose.PREFERENCES, bo.id, generation=0)
    await pause(
        installation.database,
        token,
        until=datetime(2026, 12, 1).date(),
        keys=installation.keys,
        now=installation.clock.now(),
    )
    installation.clock.pass_until(NINE)
    await installation.tick()
    assert await installation.states(policy="day-before") == {"Ann": "sent", "Bo": "withdrawn: paused"}
    number = await form_queue.ask_for_link(
        installation.database, address_of("Bo"), now=installation.clock.now()
    )
    await form_queue.process_form(installation.database, number, now=installation.clock.now())
    await installation.tick()
    assert (await installation.states(kind="sign-in")) == {"Bo": "sent"}


async def test_what_is_old_is_forgotten_on_both_databases(installation: Installation) -> None:
    installation.clock.pass_until(datetime(2026, 11, 20, tzinfo=UTC))
    await installation.tick()
    left_at = installation.clock.now()
    await installation.change("Bo", status="left", active_since=None, feed_changed_at=left_at)
    soon = Retention(
        declined_requests=timedelta(days=1),
        left_members=timedelta(days=1),
        deliveries=timedelta(days=1),
        archive=timedelta(days=1),
        audit=timedelta(days=730),
    )
    for later, rest in ((timedelta(hours=12), {"Ann", "Bo"}), (timedelta(days=3), set[str]())):
        now = left_at + later
        await forget_old(
            installation.database, soon, keys=installation.keys, outbox=installation.mail, now=now
        )
        assert set(await installation.states()) == rest
    async with installation.database.read() as connection:
        assert [member.name async for member in members.every(connection)] == ["Ann"]
