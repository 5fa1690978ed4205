"""An address that takes no mail is sent none, wherever that is decided, until it is another or said to be well."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, update

from scheduler.domain.audience import Audience
from scheduler.domain.policy import Kind
from scheduler.domain.token import Purpose
from scheduler.service import account
from scheduler.service.account import own_data
from scheduler.service.erasure import erase_member
from scheduler.service.forecast import forecast
from scheduler.service.health import health, troubles
from scheduler.service.inbound import count_refusals
from scheduler.service.members import Details, change_member
from scheduler.service.notices import mail_one, resend_missed, send_notice, stop
from scheduler.service.retention import RETURNS_KEPT, forget_old
from scheduler.store import members, returns
from scheduler.store.members import Member
from scheduler.store.schema import deliveries, notices
from scheduler.store.schema import returns as returns_table
from tests.installation import RETENTION, Installation, address_of

NOW = datetime(2026, 11, 18, 8, 30, tzinfo=UTC)
NINE = datetime(2026, 11, 18, 9, tzinfo=UTC)
GONE = {"suppressed_at": NOW, "suppressed_for": "5.1.1"}


async def person(installation: Installation, name: str) -> Member:
    async with installation.database.read() as connection:
        found = await members.by_key(connection, address_of(name))
        assert found
        return found


async def keep(
    installation: Installation, name: str, kind: str = "hard", *, digest: str = "d", **values: object
) -> None:
    member = await person(installation, name)
    async with installation.database.write() as connection:
        await returns.add(
            connection,
            digest=digest,
            kind=kind,
            member=member.id,
            words="5.1.1 gone",
            now=installation.clock.now(),
        )


async def set_(installation: Installation, name: str, details: Details) -> None:
    await change_member(
        installation.database, address_of(name), details, keys=installation.keys, now=installation.clock.now()
    )


async def test_what_waits_for_such_an_address_is_skipped_and_nothing_new_is_made(
    installation: Installation,
) -> None:
    await installation.change("Bo", **GONE)
    installation.clock.pass_until(NINE)
    await installation.tick()
    assert await installation.states(policy="day-before") == {"Ann": "sent", "Bo": "skipped: suppressed"}
    installation.clock.pass_until(datetime(2026, 11, 19, 17, tzinfo=UTC))
    await installation.tick()
    assert await installation.states(policy="hour-before") == {"Ann": "sent"}
    number = await send_notice(
        installation.database,
        subject="News",
        body="News",
        audience=Audience(terms={"all": []}),
        audience_text="all",
        now=installation.clock.now(),
    )
    await installation.tick()
    assert await installation.states(kind="notice") == {"Ann": "sent"}, number


async def test_the_claim_asks_once_more(installation: Installation) -> None:
    """Between two ticks: what is queued must not go, though nothing has marked it yet."""
    installation.clock.pass_until(NINE)
    await installation.change("Bo", **GONE)
    await installation.dispatcher.send_due()
    assert await installation.states(policy="day-before") == {"Ann": "sent", "Bo": "queued"}


@pytest.mark.both_databases
async def test_what_is_foreseen_does_not_count_such_addresses(installation: Installation) -> None:
    async def foreseen() -> dict[str | None, int]:
        rows = await forecast(
            installation.database,
            series=installation.series,
            policies=installation.policies,
            since=NOW,
            until=NOW + timedelta(days=40),
            now=NOW,
        )
        return {row.policy: row.recipients for row in rows if row.occurrence and "12-17" in row.occurrence}

    assert (await foreseen())["invitation"] == 2
    await installation.change("Bo", **GONE)
    assert (await foreseen())["invitation"] == 1


@pytest.mark.parametrize("how", ["convenor", "convenor's new address", "own new address"])
@pytest.mark.both_databases
async def test_another_address_or_a_convenor_lifts_it_and_what_is_still_of_use_goes_out(
    installation: Installation, how: str
) -> None:
    await installation.change("Bo", **GONE)
    await keep(installation, "Bo")
    await installation.tick()
    if how == "convenor":
        await set_(installation, "Bo", Details(deliverable=True))
    elif how == "convenor's new address":
        await set_(installation, "Bo", Details(address="new@example.org"))
    else:
        bo = await person(installation, "Bo")
        until = NOW + timedelta(days=1)
        async with installation.database.write() as connection:
            await mail_one(connection, bo, Kind.ADDRESS_CHANGE, now=NOW, address="new@example.org")
        token = installation.keys.token(
            Purpose.ADDRESS, bo.id, generation=bo.generation, about="new@example.org", expires=until
        )
        await account.confirm_address(installation.database, token, keys=installation.keys, now=NOW)
    installation.clock.pass_until(NINE)
    await installation.tick()
    assert await installation.states(policy="day-before") == {"Ann": "sent", "Bo": "sent"}
    async with installation.database.read() as connection:
        assert not await returns.every(connection)
        assert await members.suppressed(connection) == 0


@pytest.mark.both_databases
async def test_the_same_address_in_another_spelling_lifts_nothing(installation: Installation) -> None:
    await installation.change("Bo", **GONE)
    await set_(installation, "Bo", Details(address="Bo@example.org", name="Bob"))
    assert (await person(installation, "Bo")).suppressed_at == NOW


async def test_who_asks_for_a_link_is_answered_all_the_same(installation: Installation) -> None:
    """Only a person at the address can want it, and it is how they say that the address is well."""
    await installation.change("Bo", **GONE)
    async with installation.database.write() as connection:
        await account.mail_link(connection, address_of("Bo"), installation.clock.now())
    await installation.tick()
    assert await installation.states(kind="sign-in") == {"Bo": "sent"}


@pytest.mark.both_databases
async def test_what_was_stopped_and_is_sent_to_the_missed_does_not_wait_for_such_an_address(
    installation: Installation,
) -> None:
    (row, _) = await installation.reports(policy="day-before")
    await stop(installation.database, row.notice, NOW)
    await installation.change("Bo", **GONE)
    await installation.planner.tick()
    await resend_missed(installation.database, row.notice, NOW, by_choice=())
    assert await installation.states(policy="day-before") == {"Ann": "queued", "Bo": "withdrawn: stopped"}


DEAD = "550 5.1.1 …: Recipient address rejected: User unknown"


async def refuse(
    installation: Installation, name: str, reason: str = DEAD, *, times: int = 1, days: float = 6
) -> None:
    """Let the relay refuse so many notices to a member, one every so many days."""
    for _ in range(times):
        pressed = await send_notice(
            installation.database,
            subject="News",
            body="News",
            audience=Audience(terms={"all": []}),
            audience_text="all",
            now=installation.clock.now(),
        )
        async with installation.database.write() as connection:
            await connection.execute(
                update(deliveries)
                .where(
                    deliveries.c.notice == pressed.notice,
                    deliveries.c.member == (await person(installation, name)).id,
                )
                .values(state="failed", reason=reason, tried_at=installation.clock.now(), attempts=1)
            )
        await count_refusals(installation.database, now=installation.clock.now())
        installation.clock.pass_(timedelta(days=days))


async def test_whom_relays_refuse_as_unknown_five_times_over_three_weeks_is_sent_nothing_more(
    installation: Installation,
) -> None:
    await refuse(installation, "Bo", times=4)
    assert (await person(installation, "Bo")).suppressed_at is None
    await refuse(installation, "Bo", "554 5.1.10 gone")
    bo = await person(installation, "Bo")
    assert (bo.suppressed_at is not None, bo.suppressed_for) == (True, "554 5.1.10 gone")
    assert (await person(installation, "Ann")).suppressed_at is None


async def test_a_relay_that_refuses_everybody_for_two_weeks_takes_nobody_off(
    installation: Installation,
) -> None:
    await refuse(installation, "Bo", times=8, days=2)
    assert (await person(installation, "Bo")).suppressed_at is None


@pytest.mark.parametrize(
    "reason",
    ["550 5.7.1 we want none of your mail", "552 5.2.2 full", "550 no", "451 4.1.1 later", "5.1.1 odd"],
)
async def test_what_does_not_call_the_address_dead_is_not_counted(
    installation: Installation, reason: str
) -> None:
    await refuse(installation, "Bo", reason, times=6)
    async with installation.database.read() as connection:
        assert not await returns.every(connection)


async def test_a_refusal_counts_once_however_often_it_is_looked_at(installation: Installation) -> None:
    await refuse(installation, "Bo", days=0)
    for _ in range(6):
        await count_refusals(installation.database, now=installation.clock.now())
    async with installation.database.read() as connection:
        assert [(one.kind, one.words) for one in await returns.every(connection)] == [("soft", DEAD)]


async def test_refusals_and_bounces_count_together_and_are_forgotten_when_a_convenor_lifts_it(
    installation: Installation,
) -> None:
    for number in range(3):
        await keep(installation, "Bo", "soft", digest=f"d{number}")
    installation.clock.pass_(timedelta(days=21))
    await refuse(installation, "Bo", times=2, days=1)
    assert (await person(installation, "Bo")).suppressed_for == DEAD
    installation.clock.pass_(timedelta(days=3))
    await set_(installation, "Bo", Details(deliverable=True))
    await count_refusals(installation.database, now=installation.clock.now())
    bo = await person(installation, "Bo")
    assert (bo.suppressed_at, await returned(installation)) == (None, [])


@pytest.mark.both_databases
async def test_a_new_address_that_is_refused_says_nothing_of_the_old_one(installation: Installation) -> None:
    await refuse(installation, "Bo", days=0)
    bo = await person(installation, "Bo")
    async with installation.database.write() as connection:
        await connection.execute(
            update(notices)
            .where(notices.c.kind == Kind.NOTICE)
            .values(kind=Kind.ADDRESS_CHANGE, address="bo@elsewhere.example.org", member=bo.id)
        )
        await connection.execute(delete(returns_table))
    await count_refusals(installation.database, now=installation.clock.now())
    assert await returned(installation) == []


async def returned(installation: Installation) -> list[str]:
    async with installation.database.read() as connection:
        return [one.kind for one in await returns.every(connection)]


async def test_when_one_cause_is_gone_another_may_be_left(installation: Installation) -> None:
    await installation.change("Bo", **GONE)
    await installation.tick()
    await installation.answer("Bo", "conversation-for-kindness/2026-11-19", "declined")
    await set_(installation, "Bo", Details(deliverable=True))
    await installation.tick()
    assert (await installation.states(policy="day-before"))["Bo"] == "skipped: declined"


async def test_what_came_back_is_handed_out_erased_and_forgotten_with_its_member(
    installation: Installation,
) -> None:
    await keep(installation, "Bo")
    bo = await person(installation, "Bo")
    async with installation.database.write() as connection:
        for digest, content in (("e", b"From: BO@example.org\r\n\r\nwords"), ("f", b"from somebody else")):
            await returns.add(
                connection, digest=digest, kind="review", member=None, words="?", now=NOW, content=content
            )
        await returns.add(
            connection, digest="g", kind="review", member=bo.id, words="?", now=NOW, content=b"caf\xe9 and \0"
        )
    token = installation.keys.token(
        Purpose.SIGN_IN, bo.id, generation=bo.generation, expires=NOW + timedelta(hours=1)
    )
    held = await own_data(installation.database, token, keys=installation.keys, now=NOW)
    assert [(row["kind"], row["content"]) for row in held["returns"]] == [
        ("hard", None),
        ("review", b64encode(b"caf\xe9 and \0").decode()),
    ]
    await erase_member(installation.database, bo.address, keys=installation.keys, outbox=None, now=NOW)
    async with installation.database.read() as connection:
        assert [one.words for one in await returns.every(connection)] == ["?"]
    await forget_old(
        installation.database, RETENTION, keys=installation.keys, outbox=None, now=NOW + RETURNS_KEPT
    )
    async with installation.database.read() as connection:
        assert len(await returns.every(connection)) == 1
    later = NOW + RETURNS_KEPT + timedelta(seconds=1)
    await forget_old(installation.database, RETENTION, keys=installation.keys, outbox=None, now=later)
    async with installation.database.read() as connection:
        assert not await returns.every(connection)


async def test_mail_that_others_do_not_want_from_us_is_a_trouble_for_a_day(
    installation: Installation,
) -> None:
    await keep(installation, "Bo", "policy")
    found = await health(installation.database, installation.clock.now())
    assert any("5.7" in one for one in found.troubles(installation.clock.now()))
    async with installation.database.read() as connection:
        assert (
            "5.7" in (await troubles(connection, installation.clock.now(), late=timedelta(days=9)))["policy"]
        )
    installation.clock.pass_(timedelta(days=1, seconds=1))
    await installation.tick()
    found = await health(installation.database, installation.clock.now())
    assert not found.troubles(installation.clock.now())
    assert (await person(installation, "Bo")).suppressed_at is None
