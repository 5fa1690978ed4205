"""What members chose holds on both databases: in what is foreseen, made, waiting and claimed."""

from datetime import UTC, datetime, timedelta

from scheduler.domain.retention import Retention
from scheduler.domain.token import Purpose
from scheduler.service import asking
from scheduler.service.forecasting import forecast
from scheduler.service.preferring import choose_notices, pause
from scheduler.service.retaining import forget_old
from scheduler.store import members
from scheduler.store.mutes import Mute
from tests.house import DAY_BEFORE, POLICIES, House, address_of

NOW = datetime(2026, 11, 18, 8, 30, tzinfo=UTC)
NINE = datetime(2026, 11, 18, 9, tzinfo=UTC)


async def mute(house: House, name: str, *mutes: Mute) -> None:
    async with house.database.read() as connection:
        member = await members.by_key(connection, address_of(name))
        assert member
    token = house.keys.token(Purpose.PREFERENCES, member.id, generation=member.generation)
    await choose_notices(
        house.database, token, invitation_by="mail", muted=mutes, policies=POLICIES, keys=house.keys
    )


async def foreseen(house: House, policy: str) -> int:
    rows = await forecast(
        house.database, series=house.series, policies=house.policies, since=NOW, until=NOW + timedelta(days=2),
        now=house.clock.now(),
    )  # fmt: skip
    return sum(row.recipients for row in rows if row.policy == policy)


async def test_what_a_member_does_without_is_not_foreseen_made_or_sent(house: House) -> None:
    assert await foreseen(house, "hour-before") == 2
    await mute(house, "Bo", ("reminder", DAY_BEFORE.slug), ("reminder", "hour-before"))
    house.clock.pass_until(NINE)
    await house.dispatcher.send_due()
    assert await house.states(policy="day-before") == {"Ann": "sent", "Bo": "queued"}
    await house.tick()
    assert await house.states(policy="day-before") == {"Ann": "sent", "Bo": "skipped: unwanted"}
    assert await foreseen(house, "hour-before") == 1
    await mute(house, "Bo", ("reminder", "hour-before"))
    await house.tick()
    assert await house.states(policy="day-before") == {"Ann": "sent", "Bo": "sent"}
    house.clock.pass_until(datetime(2026, 11, 19, 17, 30, tzinfo=UTC))
    await house.tick()
    assert await house.states(policy="hour-before") == {"Ann": "sent"}


async def test_a_pause_takes_along_what_waits_already(house: House) -> None:
    async with house.database.read() as connection:
        bo = await members.by_key(connection, address_of("Bo"))
        assert bo
    token = house.keys.token(Purpose.PREFERENCES, bo.id, generation=0)
    await pause(
        house.database, token, until=datetime(2026, 12, 1).date(), keys=house.keys, now=house.clock.now()
    )
    house.clock.pass_until(NINE)
    await house.tick()
    assert await house.states(policy="day-before") == {"Ann": "sent", "Bo": "withdrawn: paused"}
    number = await asking.ask_for_link(house.database, address_of("Bo"), now=house.clock.now())
    await asking.carry_out(house.database, number, now=house.clock.now())
    await house.tick()
    assert (await house.states(kind="sign-in")) == {"Bo": "sent"}


async def test_what_is_old_is_forgotten_on_both_databases(house: House) -> None:
    house.clock.pass_until(datetime(2026, 11, 20, tzinfo=UTC))
    await house.tick()
    left_at = house.clock.now()
    await house.change("Bo", status="left", active_since=None, feed_changed_at=left_at)
    soon = Retention(
        declined_requests=timedelta(days=1),
        left_members=timedelta(days=1),
        deliveries=timedelta(days=1),
        archive=timedelta(days=1),
    )
    for later, rest in ((timedelta(hours=12), {"Ann", "Bo"}), (timedelta(days=3), set[str]())):
        now = left_at + later
        await forget_old(house.database, soon, keys=house.keys, outbox=house.mail, now=now)
        assert set(await house.states()) == rest
    async with house.database.read() as connection:
        assert [member.name async for member in members.every(connection)] == ["Ann"]
