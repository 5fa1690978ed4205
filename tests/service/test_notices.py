"""Notices that a convenor publishes."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from scheduler.delivery.send.smtp import SmtpTransport
from scheduler.delivery.send.transport import SmtpAddress
from scheduler.domain.audience import Audience
from scheduler.domain.errors import Refused
from scheduler.service.notices import PublishedNotice, progress, resend_missed, send_notice, stop
from scheduler.service.occurrences import Change, amend, find_unannounced_change, tell
from scheduler.store import members
from scheduler.store.ledger import claims
from tests.conftest import CopyDatabase
from tests.delivery.receiver import Receiver
from tests.installation import Installation, open_installation

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
KEY = "conversation-for-kindness/2026-11-19"


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, NOW, url=url, policies=()) as installation:
        await installation.tick()
        await installation.join(("Ann", "Europe/London"), ("Bo", "Pacific/Auckland"))


@pytest.fixture
async def installation(tmp_path: Path, copy_database: CopyDatabase) -> AsyncIterator[Installation]:
    url = await copy_database(fill)
    async with open_installation(tmp_path, NOW, url=url, policies=()) as installation:
        yield installation


async def publish(installation: Installation, **values: object) -> PublishedNotice:
    usual: dict[str, object] = {
        "subject": "Thank you",
        "body": "It was **good**.",
        "audience": Audience(terms={"all": []}),
        "audience_text": "all",
        "now": installation.clock.now(),
    }
    return await send_notice(installation.database, **{**usual, **values})  # type: ignore[arg-type]


async def test_a_notice_is_sent_once_to_those_in_its_audience_when_it_was_published(
    installation: Installation,
) -> None:
    published = await publish(installation)
    await installation.join(("Late", "Europe/London"))
    await installation.tick()
    await installation.tick()
    assert published.recipients == 2
    assert await installation.states() == {"Ann": "sent", "Bo": "sent"}
    (to_ann,) = [mail for mail in installation.mails() if "ann" in str(mail["To"])]
    html = to_ann.get_body(("html",))
    assert html
    assert "<strong>good</strong>" in html.get_content()


async def test_a_notice_at_a_local_time_is_sent_by_the_clock_of_each_zone(installation: Installation) -> None:
    await publish(installation, at="local:2026-11-12T09:00")
    await installation.live(NOW + timedelta(days=4))
    sent = {row.name: row.sent_at for row in await installation.reports()}
    assert sent == {
        "Ann": datetime(2026, 11, 12, 9, tzinfo=UTC),
        "Bo": datetime(2026, 11, 11, 20, tzinfo=UTC),
    }


async def test_a_member_who_moves_gets_the_notice_at_the_local_time_of_the_new_zone(
    installation: Installation,
) -> None:
    await publish(installation, at="local:2026-11-12T09:00")
    await installation.change("Ann", zone="America/New_York")
    await installation.live(NOW + timedelta(days=4))
    assert {row.name: row.sent_at for row in await installation.reports()}["Ann"] == datetime(
        2026, 11, 12, 14, tzinfo=UTC
    )


async def test_a_held_notice_can_be_stopped_and_sent_to_the_missed(installation: Installation) -> None:
    published = await publish(installation, hold=timedelta(minutes=5))
    await installation.tick()
    assert await installation.states() == {"Ann": "queued", "Bo": "queued"}
    await stop(installation.database, published.notice, installation.clock.now())
    await installation.live(NOW + timedelta(hours=1))
    assert await installation.states() == {"Ann": "withdrawn: stopped", "Bo": "withdrawn: stopped"}
    assert (
        await resend_missed(installation.database, published.notice, installation.clock.now(), by_choice=())
        == 2
    )
    await installation.tick()
    assert await installation.states() == {"Ann": "sent", "Bo": "sent"}


async def test_an_expired_notice_is_not_sent_again(installation: Installation) -> None:
    published = await publish(installation, hold=timedelta(minutes=5), expires=timedelta(hours=1))
    installation.clock.pass_(timedelta(hours=3))
    await installation.tick()
    assert await installation.states() == {"Ann": "expired: late", "Bo": "expired: late"}
    with pytest.raises(Refused, match="expired"):
        await resend_missed(installation.database, published.notice, installation.clock.now(), by_choice=())


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"subject": " "}, "a subject and a body"),
        ({"subject": "{nmae}"}, "subject: {nmae} is not a placeholder .did you mean {name}"),
        ({"subject": "{join_link}"}, "subject: {join_link} is a link"),
        ({"body": "one\n{nmae}"}, "body, line 2: {nmae} is not a placeholder .did you mean {name}"),
        ({"body": "[x]({topic})"}, "body, line 1: {topic} is not the address of a link"),
        ({"subject": "a\r\nBcc: x@example.org"}, "subject"),
        ({"at": datetime(2026, 11, 1, tzinfo=UTC)}, "in the past"),
        ({"at": "local:2026-11-01T09:00"}, "in the past"),
        (
            {"audience": Audience(terms={"country": ["FR"]}), "audience_text": "country:FR"},
            "no active member",
        ),
    ],
)
@pytest.mark.both_databases
async def test_what_cannot_be_sent_is_refused_and_leaves_nothing(
    installation: Installation, values: dict[str, object], complaint: str
) -> None:
    with pytest.raises(Refused, match=complaint):
        await publish(installation, **values)
    assert await installation.reports() == []


@pytest.mark.both_databases
async def test_coming_and_unanswered_are_audiences(installation: Installation) -> None:
    await amend(installation.database, installation.by_slug, KEY, Change(topic="Hope"), now=NOW)
    await installation.answer("Ann", KEY, "coming")
    await publish(installation, audience=Audience(terms={"coming": [KEY]}))
    await publish(installation, audience=Audience(terms={"unanswered": [KEY]}))
    assert [row.name for row in await installation.reports()] == ["Ann", "Bo"]


async def test_a_notice_shows_the_meeting_as_it_is_when_each_mail_leaves(installation: Installation) -> None:
    words = {"subject": "We meet on {day}", "body": "Until {when}: [join]({join_link})"}
    await amend(installation.database, installation.by_slug, KEY, Change(topic="Hope"), now=NOW)
    await publish(installation, **words, mentions=KEY, hold=timedelta(minutes=5))
    await installation.tick()
    move = Change(move_to=datetime(2026, 11, 20, 18))
    await amend(installation.database, installation.by_slug, KEY, move, now=installation.clock.now())
    await installation.live(NOW + timedelta(hours=1))
    subjects = {str(mail["To"]): str(mail["Subject"]) for mail in installation.mails()}
    assert subjects == {
        "Ann <ann@example.org>": "We meet on Friday 20 November 2026",
        "Bo <bo@example.org>": "We meet on Saturday 21 November 2026",
    }
    # They were told this hour, so a later change can be told them.
    back = Change(move_to=datetime(2026, 11, 19, 18))
    await amend(installation.database, installation.by_slug, KEY, back, now=installation.clock.now())
    pending = await find_unannounced_change(
        installation.database, installation.by_slug, KEY, now=installation.clock.now()
    )
    assert pending.recipients == 2


async def test_a_notice_is_withdrawn_if_the_meeting_that_it_mentions_is_cancelled(
    installation: Installation,
) -> None:
    await amend(installation.database, installation.by_slug, KEY, Change(topic="Hope"), now=NOW)
    await publish(installation, body="Until {when}", mentions=KEY, hold=timedelta(minutes=5))
    await amend(installation.database, installation.by_slug, KEY, Change(cancel=True), now=NOW)
    await installation.live(NOW + timedelta(hours=1))
    assert await installation.states() == {"Ann": "withdrawn: cancelled", "Bo": "withdrawn: cancelled"}
    assert installation.mails() == []


async def test_an_amendment_without_a_change_tells_nobody(installation: Installation) -> None:
    topic = Change(topic="Hope")
    first = await amend(installation.database, installation.by_slug, KEY, topic, now=NOW)
    again = await amend(installation.database, installation.by_slug, KEY, topic, now=NOW)
    assert (first.after.revision, first.after.sequence) == (1, 0)
    assert not again.changed
    with pytest.raises(Refused, match="did not change"):
        await tell(installation.database, again, now=NOW, by_choice=())


async def test_a_newer_update_replaces_one_that_has_not_been_sent(installation: Installation) -> None:
    for topic in ("Hope", "Care"):
        amended = await amend(
            installation.database,
            installation.by_slug,
            KEY,
            Change(topic=topic),
            now=installation.clock.now(),
        )
        await tell(installation.database, amended, now=installation.clock.now(), by_choice=())
    await installation.tick()
    states = [row.state + row.reason for row in await installation.reports(name="Ann")]
    assert states == ["withdrawnsuperseded", "sent"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (Change(restore=True), "not cancelled"),
        (Change(move_to=datetime(2026, 11, 1, 18)), "in the past"),
        (Change(move_to=datetime(2027, 3, 28, 1, 30)), "skip that time"),
    ],
)
async def test_an_impossible_change_is_refused(
    installation: Installation, change: Change, complaint: str
) -> None:
    with pytest.raises(Refused, match=complaint):
        await amend(installation.database, installation.by_slug, KEY, change, now=NOW)


@pytest.mark.both_databases
async def test_a_start_that_moves_resets_answers(installation: Installation) -> None:
    await amend(installation.database, installation.by_slug, KEY, Change(topic="Hope"), now=NOW)
    await installation.answer("Ann", KEY, "coming")
    await amend(installation.database, installation.by_slug, KEY, Change(topic="Care"), now=NOW)
    async with installation.database.read() as connection:
        assert await members.count_audience(connection, Audience(terms={"coming": [KEY]})) == 1
    await amend(
        installation.database, installation.by_slug, KEY, Change(move_to=datetime(2026, 11, 20, 18)), now=NOW
    )
    async with installation.database.read() as connection:
        assert await members.count_audience(connection, Audience(terms={"coming": [KEY]})) == 0


async def test_a_permanent_failure_is_retried_only_by_a_convenor(tmp_path: Path) -> None:
    gone = "550 5.1.1 no such user"
    async with Receiver({"RCPT": [gone, "250 2.1.5 ok", gone]}) as receiver:
        relay = SmtpAddress(host="127.0.0.1", port=receiver.port)
        transport = SmtpTransport(relay, hostname="meet.example.org", connections=1)
        async with open_installation(tmp_path, NOW, policies=(), transport=transport) as installation:
            await installation.join(("Ann", "Europe/London"), ("Bo", "Europe/London"))
            published = await publish(installation)
            await installation.live(NOW + timedelta(hours=2))
            states = sorted(row.state for row in await installation.reports())
            assert states == ["failed", "sent"]
            assert (
                await resend_missed(
                    installation.database, published.notice, installation.clock.now(), by_choice=()
                )
                == 1
            )
            await installation.tick()
            assert set((await installation.states()).values()) == {"sent"}
            assert len(receiver.taken) == 2


async def test_what_was_being_sent_when_a_stopped_notice_was_killed_is_not_counted_as_arrived(
    installation: Installation,
) -> None:
    published = await publish(installation)
    async with installation.database.read() as connection:
        (first, *_) = await claims.open_chunks(connection, installation.clock.now())
    claim = partial(claims.claim, chunk=first, run="killed", now=installation.clock.now(), limit=1)
    assert len(await installation.database.run_write(claim)) == 1
    await stop(installation.database, published.notice, installation.clock.now())
    installation.restart()
    assert await installation.dispatcher.take_over() == 1
    await installation.tick()
    found = await progress(installation.database, published.notice, by_choice=())
    assert found and found.total == found.settled == 2
    assert (found.certain, found.uncertain, found.states["withdrawn"]) == (0, 1, 1)
    assert not installation.mails()


async def test_what_was_being_sent_when_a_notice_was_stopped_and_then_failed_does_not_wait_for_its_end(
    installation: Installation,
) -> None:
    published = await publish(installation)
    now = installation.clock.now()
    async with installation.database.read() as connection:
        chunks = await claims.open_chunks(connection, now)
    for chunk in chunks:
        claim = partial(claims.claim, chunk=chunk, run="run", now=now, limit=2)
        claimed = await installation.database.run_write(claim)
        await stop(installation.database, published.notice, now)
        failed = [claims.Settlement(one.id, "queued", "421 busy", next_try=now) for one in claimed]
        await installation.database.run_write(partial(claims.settle, settlements=failed, run="run"))
    await installation.tick()
    assert set((await installation.states()).values()) == {"withdrawn: stopped"}
