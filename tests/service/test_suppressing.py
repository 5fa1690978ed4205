"""An address that takes no mail is sent none, wherever that is decided, until it is another or said to be well."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, update

from scheduler.domain.policy import Kind
from scheduler.domain.token import Purpose
from scheduler.service import proving
from scheduler.service.disclosing import own_data
from scheduler.service.erasing import erase_member
from scheduler.service.forecasting import forecast
from scheduler.service.mailing import mail_one
from scheduler.service.membership import Details, change_member
from scheduler.service.notifying import resend_missed, send_notice, stop
from scheduler.service.refusing import count_refusals
from scheduler.service.retaining import RETURNS_KEPT, forget_old
from scheduler.service.watching import health, troubles
from scheduler.store import members, returns
from scheduler.store.members import Member
from scheduler.store.schema import deliveries, notices
from scheduler.store.schema import returns as returns_table
from tests.house import RETENTION, House, address_of

NOW = datetime(2026, 11, 18, 8, 30, tzinfo=UTC)
NINE = datetime(2026, 11, 18, 9, tzinfo=UTC)
GONE = {"suppressed_at": NOW, "suppressed_for": "5.1.1"}


async def person(house: House, name: str) -> Member:
    async with house.database.read() as connection:
        found = await members.by_key(connection, address_of(name))
        assert found
        return found


async def keep(house: House, name: str, kind: str = "hard", *, digest: str = "d", **values: object) -> None:
    member = await person(house, name)
    async with house.database.write() as connection:
        await returns.keep(
            connection, digest=digest, kind=kind, member=member.id, words="5.1.1 gone", now=house.clock.now(),
        )  # fmt: skip


async def set_(house: House, name: str, details: Details) -> None:
    await change_member(house.database, address_of(name), details, keys=house.keys, now=house.clock.now())


async def test_what_waits_for_such_an_address_is_skipped_and_nothing_new_is_made(house: House) -> None:
    await house.change("Bo", **GONE)
    house.clock.pass_until(NINE)
    await house.tick()
    assert await house.states(policy="day-before") == {"Ann": "sent", "Bo": "skipped: suppressed"}
    house.clock.pass_until(datetime(2026, 11, 19, 17, tzinfo=UTC))
    await house.tick()
    assert await house.states(policy="hour-before") == {"Ann": "sent"}
    number = await send_notice(
        house.database, subject="News", body="News", audience={"all": []}, audience_text="all", now=house.clock.now()
    )  # fmt: skip
    await house.tick()
    assert await house.states(kind="notice") == {"Ann": "sent"}, number


async def test_the_claim_asks_once_more(house: House) -> None:
    """Between two ticks: what is queued must not go, though nothing has marked it yet."""
    house.clock.pass_until(NINE)
    await house.change("Bo", **GONE)
    await house.dispatcher.send_due()
    assert await house.states(policy="day-before") == {"Ann": "sent", "Bo": "queued"}


async def test_what_is_foreseen_does_not_count_such_addresses(house: House) -> None:
    async def foreseen() -> dict[str | None, int]:
        rows = await forecast(
            house.database, series=house.series, policies=house.policies, since=NOW, until=NOW + timedelta(days=40),
            now=NOW,
        )  # fmt: skip
        return {row.policy: row.recipients for row in rows if row.occurrence and "12-17" in row.occurrence}

    assert (await foreseen())["invitation"] == 2
    await house.change("Bo", **GONE)
    assert (await foreseen())["invitation"] == 1


@pytest.mark.parametrize("how", ["convenor", "convenor's new address", "own new address"])
async def test_another_address_or_a_convenor_lifts_it_and_what_is_still_of_use_goes_out(
    house: House, how: str
) -> None:
    await house.change("Bo", **GONE)
    await keep(house, "Bo")
    await house.tick()
    if how == "convenor":
        await set_(house, "Bo", Details(deliverable=True))
    elif how == "convenor's new address":
        await set_(house, "Bo", Details(email="new@example.org"))
    else:
        bo = await person(house, "Bo")
        until = NOW + timedelta(days=1)
        async with house.database.write() as connection:
            await mail_one(connection, bo, Kind.ADDRESS_CHANGE, now=NOW, address="new@example.org")
        token = house.keys.token(
            Purpose.ADDRESS, bo.id, generation=bo.generation, about="new@example.org", expires=until
        )
        await proving.confirm_address(house.database, token, keys=house.keys, now=NOW)
    house.clock.pass_until(NINE)
    await house.tick()
    assert await house.states(policy="day-before") == {"Ann": "sent", "Bo": "sent"}
    async with house.database.read() as connection:
        assert not await returns.every(connection)
        assert await members.suppressed(connection) == 0


async def test_the_same_address_in_another_spelling_lifts_nothing(house: House) -> None:
    await house.change("Bo", **GONE)
    await set_(house, "Bo", Details(email="Bo@example.org", name="Bob"))
    assert (await person(house, "Bo")).suppressed_at == NOW


async def test_who_asks_for_a_link_is_answered_all_the_same(house: House) -> None:
    """Only a person at the address can want it, and it is how they say that the address is well."""
    await house.change("Bo", **GONE)
    async with house.database.write() as connection:
        await proving.mail_link(connection, address_of("Bo"), house.clock.now())
    await house.tick()
    assert await house.states(kind="sign-in") == {"Bo": "sent"}


async def test_what_was_stopped_and_is_sent_to_the_missed_does_not_wait_for_such_an_address(
    house: House,
) -> None:
    (row, _) = await house.reports(policy="day-before")
    await stop(house.database, row.notice, NOW)
    await house.change("Bo", **GONE)
    await house.planner.tick()
    await resend_missed(house.database, row.notice, NOW)
    assert await house.states(policy="day-before") == {"Ann": "queued", "Bo": "withdrawn: stopped"}


DEAD = "550 5.1.1 …: Recipient address rejected: User unknown"


async def refuse(house: House, name: str, reason: str = DEAD, *, times: int = 1, days: float = 6) -> None:
    """Let the relay refuse so many notices to a member, one every so many days."""
    for _ in range(times):
        pressed = await send_notice(
            house.database, subject="News", body="News", audience={"all": []}, audience_text="all",
            now=house.clock.now(),
        )  # fmt: skip
        async with house.database.write() as connection:
            await connection.execute(
                update(deliveries)
                .where(
                    deliveries.c.notice == pressed.notice,
                    deliveries.c.member == (await person(house, name)).id,
                )
                .values(state="failed", reason=reason, tried_at=house.clock.now(), attempts=1)
            )
        await count_refusals(house.database, now=house.clock.now())
        house.clock.pass_(timedelta(days=days))


async def test_whom_relays_refuse_as_unknown_five_times_over_three_weeks_is_sent_nothing_more(
    house: House,
) -> None:
    await refuse(house, "Bo", times=4)
    assert (await person(house, "Bo")).suppressed_at is None
    await refuse(house, "Bo", "554 5.1.10 gone")
    bo = await person(house, "Bo")
    assert (bo.suppressed_at is not None, bo.suppressed_for) == (True, "554 5.1.10 gone")
    assert (await person(house, "Ann")).suppressed_at is None


async def test_a_relay_that_refuses_everybody_for_two_weeks_takes_nobody_off(house: House) -> None:
    await refuse(house, "Bo", times=8, days=2)
    assert (await person(house, "Bo")).suppressed_at is None


@pytest.mark.parametrize(
    "reason",
    ["550 5.7.1 we want none of your mail", "552 5.2.2 full", "550 no", "451 4.1.1 later", "5.1.1 odd"],
)
async def test_what_does_not_call_the_address_dead_is_not_counted(house: House, reason: str) -> None:
    await refuse(house, "Bo", reason, times=6)
    async with house.database.read() as connection:
        assert not await returns.every(connection)


async def test_a_refusal_counts_once_however_often_it_is_looked_at(house: House) -> None:
    await refuse(house, "Bo", days=0)
    for _ in range(6):
        await count_refusals(house.database, now=house.clock.now())
    async with house.database.read() as connection:
        assert [(one.kind, one.words) for one in await returns.every(connection)] == [("soft", DEAD)]


async def test_refusals_and_bounces_count_together_and_are_forgotten_when_a_convenor_lifts_it(
    house: House,
) -> None:
    for number in range(3):
        await keep(house, "Bo", "soft", digest=f"d{number}")
    house.clock.pass_(timedelta(days=21))
    await refuse(house, "Bo", times=2, days=1)
    assert (await person(house, "Bo")).suppressed_for == DEAD
    house.clock.pass_(timedelta(days=3))
    await set_(house, "Bo", Details(deliverable=True))
    await count_refusals(house.database, now=house.clock.now())
    bo = await person(house, "Bo")
    assert (bo.suppressed_at, await returned(house)) == (None, [])


async def test_a_new_address_that_is_refused_says_nothing_of_the_old_one(house: House) -> None:
    await refuse(house, "Bo", days=0)
    bo = await person(house, "Bo")
    async with house.database.write() as connection:
        await connection.execute(
            update(notices)
            .where(notices.c.kind == Kind.NOTICE)
            .values(kind=Kind.ADDRESS_CHANGE, address="bo@elsewhere.example.org", member=bo.id)
        )
        await connection.execute(delete(returns_table))
    await count_refusals(house.database, now=house.clock.now())
    assert await returned(house) == []


async def returned(house: House) -> list[str]:
    async with house.database.read() as connection:
        return [one.kind for one in await returns.every(connection)]


async def test_when_one_cause_is_gone_another_may_be_left(house: House) -> None:
    await house.change("Bo", **GONE)
    await house.tick()
    await house.answer("Bo", "conversation-for-kindness/2026-11-19", "declined")
    await set_(house, "Bo", Details(deliverable=True))
    await house.tick()
    assert (await house.states(policy="day-before"))["Bo"] == "skipped: declined"


async def test_what_came_back_is_handed_out_erased_and_forgotten_with_its_member(house: House) -> None:
    await keep(house, "Bo")
    bo = await person(house, "Bo")
    async with house.database.write() as connection:
        for digest, content in (("e", b"From: BO@example.org\r\n\r\nwords"), ("f", b"from somebody else")):
            await returns.keep(
                connection, digest=digest, kind="review", member=None, words="?", now=NOW, content=content
            )
        await returns.keep(
            connection, digest="g", kind="review", member=bo.id, words="?", now=NOW, content=b"caf\xe9 and \0"
        )
    token = house.keys.token(
        Purpose.SIGN_IN, bo.id, generation=bo.generation, expires=NOW + timedelta(hours=1)
    )
    held = await own_data(house.database, token, keys=house.keys, now=NOW)
    assert [(row["kind"], row["content"]) for row in held["returns"]] == [
        ("hard", None), ("review", "caf\N{REPLACEMENT CHARACTER} and \0"),
    ]  # fmt: skip
    await erase_member(house.database, bo.address, keys=house.keys, outbox=None, now=NOW)
    async with house.database.read() as connection:
        assert [one.words for one in await returns.every(connection)] == ["?"]
    await forget_old(house.database, RETENTION, keys=house.keys, outbox=None, now=NOW + RETURNS_KEPT)
    async with house.database.read() as connection:
        assert len(await returns.every(connection)) == 1
    later = NOW + RETURNS_KEPT + timedelta(seconds=1)
    await forget_old(house.database, RETENTION, keys=house.keys, outbox=None, now=later)
    async with house.database.read() as connection:
        assert not await returns.every(connection)


async def test_mail_that_others_do_not_want_from_us_is_a_trouble_for_a_day(house: House) -> None:
    await keep(house, "Bo", "policy")
    found = await health(house.database, house.clock.now())
    assert any("5.7" in one for one in found.troubles(house.clock.now()))
    async with house.database.read() as connection:
        assert "5.7" in (await troubles(connection, house.clock.now(), late=timedelta(days=9)))["policy"]
    house.clock.pass_(timedelta(days=1, seconds=1))
    await house.tick()
    found = await health(house.database, house.clock.now())
    assert not found.troubles(house.clock.now())
    assert (await person(house, "Bo")).suppressed_at is None
