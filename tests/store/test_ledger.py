"""The ledger on both databases: how deliveries are created, claimed, settled and requeued."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from scheduler.domain.audience import Audience
from scheduler.domain.policy import EVERY_ZONE, Kind, Wanted, identity
from scheduler.store import answers, members, notices, occurrences, service_state
from scheduler.store.database import Database
from scheduler.store.ledger import claims, lifecycle, reports
from scheduler.store.ledger import fan_out as ledger_fan_out
from scheduler.store.ledger.claims import Claim, Settlement
from scheduler.store.ledger.fan_out import Reach
from scheduler.store.notices import Notice
from scheduler.store.schema import deliveries
from tests.installation import SERIES
from tests.store.test_members import row

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
START = datetime(2026, 11, 19, 18, tzinfo=UTC)
MEETING = SERIES.occurrence(date(2026, 11, 19), NOW)


@dataclass
class Ledger:
    """One notice of the meeting with its deliveries, and a short method for each step."""

    database: Database
    notice: Notice

    async def change(self, **values: Any) -> None:
        async with self.database.write() as connection:
            await notices.change(connection, self.notice.id, **values)

    async def fan_out(self, *, due: datetime = NOW, now: datetime = NOW, **options: Any) -> None:
        async with self.database.write() as connection:
            reach: dict[str, Any] = {} if "audience" in options else {"reach": Reach(by_choice=())}
            await ledger_fan_out.fan_out(
                connection, self.notice, zone="Europe/London", due=due, now=now, **reach, **options
            )
            await notices.mark_fanned(connection, self.notice.id, EVERY_ZONE, now)

    async def claim(self, *, run: str = "run", now: datetime = NOW, limit: int = 50) -> list[Claim]:
        async with self.database.write() as connection:
            return [
                delivery
                for chunk in await claims.open_chunks(connection, now)
                for delivery in await connection.run_sync(claims.claim, chunk, run=run, now=now, limit=limit)
            ]

    async def settle(self, *settlements: Settlement, run: str = "run") -> None:
        await self.database.run_writes([claims.settle_work(settlements, run=run)])

    async def states(self) -> list[str]:
        async with self.database.read() as connection:
            return [
                f"{report.state}: {report.reason}" if report.reason else report.state
                async for report in reports.reports(connection)
            ]

    async def set(self, **values: Any) -> None:
        async with self.database.write() as connection:
            await connection.execute(update(deliveries).values(**values))


async def make(database: Database, kind: Kind = Kind.REMINDER, *people: str) -> Ledger:
    async with database.write() as connection:
        if not await occurrences.adopted_series(connection):
            await occurrences.adopt_series(connection, SERIES, NOW)
            await occurrences.add(connection, MEETING)
        await members.add(connection, [row(f"{name}@example.org", active_since=NOW) for name in people])
        policy = "day-before" if kind is Kind.REMINDER else "invitation"
        number = await notices.add(
            connection,
            identity=identity(kind, MEETING, policy),
            kind=kind,
            policy=policy,
            occurrence=MEETING.key,
            starts=START,
            expires=START,
            created_at=NOW,
            ready=True,
        )
        await notices.set_dues(connection, number, {EVERY_ZONE: NOW})
        notice = await notices.by_id(connection, number)
    assert notice
    return Ledger(database, notice)


def want(kind: Kind) -> Wanted:
    return Wanted(
        identity="",
        kind=kind,
        policy="day-before" if kind is Kind.REMINDER else "invitation",
        occurrence=MEETING.key,
        starts=START,
        expires=START,
        dues={},
    )


@pytest.fixture
async def ledger(database: Database) -> Ledger:
    """A reminder with a queued delivery to each of two members."""
    ledger = await make(database, Kind.REMINDER, "ann", "bo")
    await ledger.fan_out()
    return ledger


async def test_what_is_on_hold_is_claimed_by_nobody_even_if_its_chunk_was_handed_out_before(
    ledger: Ledger,
) -> None:
    await ledger.fan_out()
    async with ledger.database.write() as connection:
        (chunk,) = await claims.open_chunks(connection, NOW)
        await notices.change(connection, ledger.notice.id, held_at=NOW)
        assert await claims.open_chunks(connection, NOW) == []
        assert not await connection.run_sync(claims.claim, chunk, run="run", now=NOW, limit=50)
    await ledger.change(held_at=None)
    assert await ledger.claim()


async def test_fanning_out_again_creates_no_second_delivery(ledger: Ledger) -> None:
    await ledger.fan_out()
    assert await ledger.states() == ["queued", "queued"]
    async with ledger.database.write() as connection:
        (taken,) = (await connection.execute(select(deliveries).limit(1))).all()
        values = {**taken._mapping, "id": 99}
        with pytest.raises(IntegrityError):
            await connection.execute(deliveries.insert().values(**values))


async def test_a_chunk_has_at_most_five_hundred_deliveries(database: Database) -> None:
    ledger = await make(database, Kind.INVITATION, *(f"m{number}" for number in range(1_203)))
    await ledger.fan_out()
    async with database.read() as connection:
        assert len(await claims.open_chunks(connection, NOW)) == 3
    sizes = [len(await ledger.claim(limit=10_000, run=str(number))) for number in range(2)]
    assert sizes == [1_203, 0]


@pytest.mark.parametrize(
    ("kind", "person", "due", "gets"),
    [
        (Kind.REMINDER, {}, NOW, True),
        (Kind.REMINDER, {}, NOW - timedelta(seconds=1), False),
        (Kind.INVITATION, {}, NOW - timedelta(days=9), True),
        (Kind.INVITATION, {"uninvited_at": NOW}, NOW, False),
        (Kind.INVITATION, {"uninvited_at": NOW}, NOW + timedelta(seconds=1), True),
        (Kind.INVITATION, {"active_since": START}, NOW, False),
        (Kind.INVITATION, {"status": "paused", "active_since": None}, NOW, False),
    ],
)
async def test_an_invitation_is_for_members_active_before_the_start_a_reminder_for_those_active_when_due(
    database: Database, kind: Kind, person: Mapping[str, Any], due: datetime, *, gets: bool
) -> None:
    ledger = await make(database, kind)
    async with database.write() as connection:
        await members.add(connection, [row("ann@example.org", **{"active_since": NOW, **person})])
    await ledger.fan_out(due=due)
    assert await ledger.states() == (["queued"] if gets else [])
    async with database.read() as connection:
        foreseen = await reports.missing_by_zone(
            connection, want(kind), notice=None, due=due, reach=Reach(by_choice=())
        )
        assert foreseen == ({"Europe/London": 1} if gets else {})
        if due > NOW:
            people = await reports.active_followers(connection, {want(kind).series}, frozenset())
            later = await reports.missing_later(
                connection, want(kind), people[want(kind).series], notice=None, by_choice=()
            )
            assert later == foreseen


@pytest.mark.parametrize("kind", [Kind.INVITATION, Kind.REMINDER])
async def test_future_recipients_are_counted_without_reading_every_member(
    database: Database, kind: Kind
) -> None:
    ledger = await make(database, kind, "has", "declines", "mutes", "has-and-mutes", "wants")
    people: dict[str, dict[str, Any]] = {
        "feed": {"invitation_by": "feed"},
        "away": {"status": "paused", "active_since": None},
        "gone": {"suppressed_at": NOW, "suppressed_for": "5.1.1"},
    }
    async with database.write() as connection:
        for name, values in people.items():
            await members.add(connection, [row(f"{name}@example.org", **{"active_since": NOW, **values})])
        number = {member.address.partition("@")[0]: member.id async for member in members.every(connection)}
        await answers.set_answer(connection, number["declines"], MEETING.key, answer="declined", now=NOW)
        muted = {("invitation", ""), ("reminder", "day-before")}
    await ledger.fan_out(
        audience=Audience(terms={"address": ["has@example.org", "has-and-mutes@example.org"]})
    )
    async with database.write() as connection:
        for name in ("mutes", "has-and-mutes"):
            await members.set_mutes(connection, number[name], muted)
        await members.set_mutes(connection, number["wants"], {("reminder", "hour-before")})
    async with database.read() as connection:
        later = await reports.missing_later(
            connection,
            want(kind),
            (await reports.active_followers(connection, {want(kind).series}, frozenset()))[want(kind).series],
            notice=ledger.notice.id,
            by_choice=(),
        )
        exact = await reports.missing_by_zone(
            connection,
            want(kind),
            notice=ledger.notice.id,
            due=NOW + timedelta(seconds=1),
            reach=Reach(by_choice=()),
        )
    assert later == exact == {"Europe/London": 2}


async def test_deliveries_of_an_expired_notice_are_created_as_expired(database: Database) -> None:
    ledger = await make(database, Kind.REMINDER, "ann")
    await ledger.fan_out(now=START)
    assert await ledger.states() == ["expired: late"]


async def test_a_claim_takes_at_most_its_limit_and_nothing_twice(ledger: Ledger) -> None:
    (first,) = await ledger.claim(limit=1, run="one")
    (second,) = await ledger.claim(limit=1, run="two")
    assert {first.address, second.address} == {"ann@example.org", "bo@example.org"}
    assert await ledger.claim() == []
    assert (first.attempts, first.uncertain, first.requested) == (1, False, False)


@pytest.mark.parametrize(
    "change",
    [
        {"stopped_at": NOW},
        {"unwanted": "policy"},
        {"ready": False},
        {"expires": NOW},
        {"starts": START + timedelta(days=7)},
    ],
)
async def test_a_claim_checks_the_notice_last(ledger: Ledger, change: dict[str, Any]) -> None:
    await ledger.change(**change)
    assert await ledger.claim() == []


@pytest.mark.parametrize("status", ["left", "paused"])
async def test_a_claim_checks_the_member_last(ledger: Ledger, status: str) -> None:
    async with ledger.database.write() as connection:
        ann = await members.by_key(connection, "ann@example.org")
        bo = await members.by_key(connection, "bo@example.org")
        assert ann
        assert bo
        await members.change(connection, ann.id, status=status, active_since=None)
        await answers.set_answer(connection, bo.id, MEETING.key, answer="declined", now=NOW)
    assert await ledger.claim() == []


async def test_nothing_is_claimed_while_sending_is_paused(ledger: Ledger) -> None:
    async with ledger.database.write() as connection:
        await service_state.write(
            connection, service_state.PAUSE, {"reason": "restored", "since": NOW.isoformat()}
        )
    assert await ledger.claim() == []


async def test_a_claim_leaves_out_a_reminder_if_a_later_one_is_due(ledger: Ledger) -> None:
    """Also before a tick has marked it as superseded: workers do not wait for ticks."""
    async with ledger.database.write() as connection:
        number = await notices.add(
            connection,
            identity="later",
            kind=Kind.REMINDER,
            policy="hour-before",
            occurrence=MEETING.key,
            starts=START,
            expires=START,
            created_at=NOW,
            ready=True,
        )
        await notices.set_dues(connection, number, {EVERY_ZONE: NOW + timedelta(hours=1)})
        notice = await notices.by_id(connection, number)
    assert notice
    later = Ledger(ledger.database, notice)
    await later.fan_out(due=NOW + timedelta(hours=1))
    assert [delivery.notice for delivery in await ledger.claim(limit=1)] == [ledger.notice.id]
    claimed = await ledger.claim(now=NOW + timedelta(hours=1))
    assert [delivery.notice for delivery in claimed] == [number, number]
    async with ledger.database.write() as connection:
        both = [ledger.notice.id, number]
        assert await lifecycle.supersede(connection, NOW + timedelta(hours=1), among=both) == 1
    assert sorted(await ledger.states()) == ["sending", "sending", "sending", "skipped: superseded"]


async def test_only_the_run_that_claimed_a_delivery_settles_it(ledger: Ledger) -> None:
    delivery, other = await ledger.claim(run="mine")
    await ledger.settle(Settlement(id=delivery.id, state="sent", sent_at=NOW), run="another")
    assert await ledger.states() == ["sending", "sending"]
    await ledger.settle(
        Settlement(id=delivery.id, state="sent", sent_at=NOW),
        Settlement(id=other.id, state="failed", reason="550 no such user"),
        run="mine",
    )
    assert await ledger.states() == ["sent", "failed: 550 no such user"]


async def test_a_temporary_failure_waits_for_its_next_try(ledger: Ledger) -> None:
    later = NOW + timedelta(seconds=30)
    for delivery in await ledger.claim():
        await ledger.settle(Settlement(id=delivery.id, state="queued", reason="450 later", next_try=later))
    assert await ledger.claim() == []
    async with ledger.database.read() as connection:
        assert await claims.next_try(connection, NOW) == later
    assert [delivery.attempts for delivery in await ledger.claim(now=later)] == [2, 2]


async def test_a_delivery_taken_over_is_uncertain_and_its_former_run_cannot_settle_it(ledger: Ledger) -> None:
    delivery, other = await ledger.claim(run="killed")
    async with ledger.database.write() as connection:
        assert await claims.take_over(connection, now=NOW) == 2
    await ledger.settle(Settlement(id=delivery.id, state="sent", sent_at=NOW), run="killed")
    again = await ledger.claim(run="next")
    assert [(claim.id, claim.uncertain, claim.attempts, claim.revision) for claim in again] == [
        (delivery.id, True, 2, delivery.revision),
        (other.id, True, 2, other.revision),
    ]


async def test_only_untried_withdrawn_deliveries_of_active_members_are_requeued(ledger: Ledger) -> None:
    async with ledger.database.write() as connection:
        assert await lifecycle.withdraw(connection, ledger.notice.id, reason="cancelled") == 2
        ann = await members.by_key(connection, "ann@example.org")
        assert ann
        await members.change(connection, ann.id, status="left", active_since=None)
        assert await lifecycle.requeue(connection, ledger.notice.id, by_choice=()) == 1
    assert await ledger.states() == ["withdrawn: cancelled", "queued"]
    await ledger.set(state="withdrawn", reason="cancelled", attempts=1)
    async with ledger.database.write() as connection:
        assert await lifecycle.requeue(connection, ledger.notice.id, by_choice=()) == 0


async def test_a_member_who_left_during_a_cancellation_and_returned_is_reminded(ledger: Ledger) -> None:
    await ledger.set(state="withdrawn", reason="cancelled")
    async with ledger.database.write() as connection:
        await lifecycle.follow_members(connection, NOW, changed_since=None, by_choice=())
    assert await ledger.states() == ["queued", "queued"]


async def test_nothing_is_requeued_for_a_member_who_declined_until_they_undo_it(ledger: Ledger) -> None:
    async with ledger.database.write() as connection:
        await lifecycle.withdraw(connection, ledger.notice.id, reason="cancelled")
        bo = await members.by_key(connection, "bo@example.org")
        assert bo
        await answers.set_answer(connection, bo.id, MEETING.key, answer="declined", now=NOW)
        assert await lifecycle.requeue(connection, ledger.notice.id, by_choice=()) == 1
        await answers.set_answer(connection, bo.id, MEETING.key, answer="coming", now=NOW)
        await lifecycle.follow_members(connection, NOW, changed_since=0, by_choice=())
    assert await ledger.states() == ["queued", "queued"]


async def test_a_requeued_delivery_has_its_members_current_zone(ledger: Ledger) -> None:
    async with ledger.database.write() as connection:
        await lifecycle.withdraw(connection, ledger.notice.id, reason="cancelled")
        ann = await members.by_key(connection, "ann@example.org")
        assert ann
        await members.change(connection, ann.id, zone="Asia/Tokyo", locale="ja-JP")
        await lifecycle.requeue(connection, ledger.notice.id, by_choice=())
    assert [(delivery.zone, delivery.locale) for delivery in await ledger.claim()] == [
        ("Asia/Tokyo", "ja-JP"),
        ("Europe/London", "en-GB"),
    ]


async def test_when_a_notice_expires_queued_deliveries_expire_and_uncertain_ones_count_as_sent(
    ledger: Ledger,
) -> None:
    delivery, other = await ledger.claim()
    again = {"state": "queued", "next_try": NOW}
    await ledger.settle(
        Settlement(id=delivery.id, reason="450 later", **again),  # type: ignore[arg-type]
        Settlement(id=other.id, reason="no answer", uncertain=True, **again),  # type: ignore[arg-type]
    )
    async with ledger.database.write() as connection:
        assert await lifecycle.expire(connection, START - timedelta(seconds=1)) == 0
        assert await lifecycle.expire(connection, START) == 1
        await lifecycle.close_finished(connection, START)
        assert await notices.open_notices(connection) == []
    assert await ledger.states() == ["expired: late: 450 later", "sent: uncertain"]


@pytest.mark.parametrize("state", ["sent", "expired"])
async def test_sent_and_expired_are_final(ledger: Ledger, state: str) -> None:
    await ledger.set(state=state, reason="late", sent_at=NOW if state == "sent" else None)
    async with ledger.database.write() as connection:
        await lifecycle.withdraw(connection, ledger.notice.id, reason="stopped")
        await lifecycle.requeue(connection, ledger.notice.id, by_choice=())
        await lifecycle.retry_failed(connection, ledger.notice.id, NOW)
        await lifecycle.follow_members(connection, NOW, changed_since=None, by_choice=())
        await claims.take_over(connection, now=NOW)
    assert await ledger.states() == [f"{state}: late"] * 2


async def test_a_failed_delivery_is_only_requeued_by_a_convenor(ledger: Ledger) -> None:
    await ledger.set(state="failed", reason="550", attempts=1)
    async with ledger.database.write() as connection:
        await lifecycle.requeue(connection, ledger.notice.id, by_choice=())
        await lifecycle.follow_members(connection, NOW, changed_since=None, by_choice=())
    assert await ledger.states() == ["failed: 550"] * 2
    async with ledger.database.write() as connection:
        assert await lifecycle.retry_failed(connection, ledger.notice.id, NOW) == 2
    assert await ledger.states() == ["queued", "queued"]


@pytest.mark.parametrize(
    "wrong", [{"state": "sent"}, {"state": "expired"}, {"state": "sending"}, {"run": "r"}, {"state": "lost"}]
)
async def test_an_inconsistent_row_cannot_be_stored(ledger: Ledger, wrong: dict[str, str]) -> None:
    with pytest.raises(IntegrityError):
        await ledger.set(**wrong)


async def test_reports_filter_by_notice_member_and_state_and_are_read_in_batches(ledger: Ledger) -> None:
    (delivery, _) = await ledger.claim()
    await ledger.settle(Settlement(id=delivery.id, state="sent", sent_at=NOW))
    async with ledger.database.read() as connection:

        async def numbers(**narrowed: Any) -> list[int]:
            return [row.member async for row in reports.reports(connection, batch=1, **narrowed)]

        assert len(await numbers()) == 2
        assert await numbers(state="sent") == [delivery.member]
        assert await numbers(member=delivery.member) == [delivery.member]
        assert await numbers(notice=ledger.notice.id + 1) == []
        assert await reports.states(connection) == {"sent": 1, "sending": 1}
        assert await reports.last_told_revision(connection, MEETING.key) == MEETING.revision


async def test_the_first_mail_is_decided_by_what_was_sent_and_not_by_row_numbers(
    database: Database,
) -> None:
    reminder = await make(database, Kind.REMINDER, "ann", "bo")
    await reminder.fan_out()
    await reminder.change(ready=False)
    invitation = await make(database, Kind.INVITATION)
    await invitation.fan_out()
    claimed = await invitation.claim()
    assert [delivery.first for delivery in claimed] == [True, True]
    arrived, refused = claimed
    await invitation.settle(
        Settlement(arrived.id, "sent", sent_at=NOW),
        Settlement(refused.id, "failed", reason="550 5.1.1 unknown"),
    )
    await reminder.change(ready=True)
    assert {delivery.member: delivery.first for delivery in await reminder.claim()} == {
        arrived.member: False,
        refused.member: True,
    }


async def test_an_unsent_first_mail_still_introduces_us_later_unless_another_mail_did(
    database: Database,
) -> None:
    reminder = await make(database, Kind.REMINDER, "ann")
    await reminder.fan_out()
    (delivery,) = await reminder.claim()
    assert delivery.first
    await reminder.settle(Settlement(delivery.id, "queued", reason="450 later", next_try=NOW))
    (again,) = await reminder.claim()
    assert again.first
    await reminder.settle(
        Settlement(delivery.id, "queued", reason="450 later", next_try=NOW + timedelta(minutes=5))
    )
    invitation = await make(database, Kind.INVITATION)
    await invitation.fan_out()
    (other,) = await invitation.claim()
    assert other.first
    await invitation.settle(Settlement(other.id, "sent", sent_at=NOW))
    (last,) = await reminder.claim(now=NOW + timedelta(minutes=5))
    assert not last.first


async def test_an_uncertain_mail_is_repeated_with_the_same_words_whatever_was_sent_since(
    database: Database,
) -> None:
    reminder = await make(database, Kind.REMINDER, "ann")
    await reminder.fan_out()
    (tried,) = await reminder.claim(run="lost")
    assert tried.first
    async with database.write() as connection:
        await claims.take_over(connection, now=NOW, run="lost")
    await reminder.change(ready=False)
    invitation = await make(database, Kind.INVITATION)
    await invitation.fan_out()
    (other,) = await invitation.claim()
    assert not other.first
    await invitation.settle(Settlement(other.id, "sent", sent_at=NOW))
    await reminder.change(ready=True)
    (again,) = await reminder.claim(run="next")
    assert again.uncertain and again.first


async def test_an_uncertain_mail_that_did_not_introduce_us_does_not_when_it_is_repeated(
    database: Database,
) -> None:
    invitation = await make(database, Kind.INVITATION, "ann")
    await invitation.fan_out()
    (sent,) = await invitation.claim()
    await invitation.settle(Settlement(sent.id, "sent", sent_at=NOW))
    reminder = await make(database, Kind.REMINDER)
    await reminder.fan_out()
    (tried,) = await reminder.claim(run="lost")
    async with database.write() as connection:
        await claims.take_over(connection, now=NOW, run="lost")
        await connection.execute(deliveries.delete().where(deliveries.c.id == sent.id))
    (again,) = await reminder.claim(run="next")
    assert again.uncertain and not tried.first and not again.first


async def test_two_senders_at_once_do_not_both_send_a_member_their_first_mail(database: Database) -> None:
    reminder = await make(database, Kind.REMINDER, "ann", "bo", "cy")
    await reminder.fan_out()
    invitation = await make(database, Kind.INVITATION)
    await invitation.fan_out()

    async def claim(chunk: int, run: str) -> list[Claim]:
        async with database.write() as connection:
            return await connection.run_sync(claims.claim, chunk, run=run, now=NOW, limit=50)

    async with database.read() as connection:
        chunks = await claims.open_chunks(connection, NOW)
    claims_by_run = await asyncio.gather(*(claim(chunk, f"run-{chunk}") for chunk in chunks))
    first = [delivery.member for claimed in claims_by_run for delivery in claimed if delivery.first]
    assert len(chunks) == 2 and len(first) == len(set(first)) == 3
