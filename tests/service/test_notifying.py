"""Telling people by the press of a button."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.delivery.smtp import SmtpTransport
from scheduler.delivery.transport import SmtpAddress
from scheduler.domain.problem import Refused
from scheduler.service.amending import Change, amend, tell
from scheduler.service.notifying import Pressed, resend_missed, send_notice, stop
from scheduler.store import members
from tests.delivery.receiver import Receiver
from tests.house import House, open_house

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
KEY = "conversation-for-kindness/2026-11-19"


@pytest.fixture
async def house(tmp_path: Path, database_url: str) -> AsyncIterator[House]:
    async with open_house(tmp_path, NOW, url=database_url, policies=()) as house:
        await house.tick()
        await house.join(("Ann", "Europe/London"), ("Bo", "Pacific/Auckland"))
        yield house


async def press(house: House, **values: object) -> Pressed:
    usual: dict[str, object] = {
        "subject": "Thank you", "body": "It was **good**.", "audience": {"all": []}, "audience_text": "all",
        "now": house.clock.now(),
    }  # fmt: skip
    return await send_notice(house.database, **{**usual, **values})  # type: ignore[arg-type]


async def test_a_notice_goes_once_to_those_who_were_in_its_audience_at_the_press(house: House) -> None:
    pressed = await press(house)
    await house.join(("Late", "Europe/London"))
    await house.tick()
    await house.tick()
    assert pressed.recipients == 2
    assert await house.states() == {"Ann": "sent", "Bo": "sent"}
    (to_ann,) = [mail for mail in house.mails() if "ann" in str(mail["To"])]
    html = to_ann.get_body(("html",))
    assert html
    assert "<strong>good</strong>" in html.get_content()


async def test_at_a_local_hour_each_zone_gets_it_by_its_own_clock(house: House) -> None:
    await press(house, at="local:2026-11-12T09:00")
    await house.live(NOW + timedelta(days=4))
    sent = {row.name: row.sent_at for row in await house.reports()}
    assert sent == {
        "Ann": datetime(2026, 11, 12, 9, tzinfo=UTC),
        "Bo": datetime(2026, 11, 11, 20, tzinfo=UTC),
    }


async def test_a_member_who_moves_gets_the_local_hour_of_the_new_zone(house: House) -> None:
    await press(house, at="local:2026-11-12T09:00")
    await house.change("Ann", zone="America/New_York")
    await house.live(NOW + timedelta(days=4))
    assert {row.name: row.sent_at for row in await house.reports()}["Ann"] == datetime(
        2026, 11, 12, 14, tzinfo=UTC
    )


async def test_a_held_notice_can_be_stopped_and_sent_to_the_missed(house: House) -> None:
    pressed = await press(house, hold=timedelta(minutes=5))
    await house.tick()
    assert await house.states() == {"Ann": "queued", "Bo": "queued"}
    await stop(house.database, pressed.notice, house.clock.now())
    await house.live(NOW + timedelta(hours=1))
    assert await house.states() == {"Ann": "withdrawn: stopped", "Bo": "withdrawn: stopped"}
    assert await resend_missed(house.database, pressed.notice, house.clock.now()) == 2
    await house.tick()
    assert await house.states() == {"Ann": "sent", "Bo": "sent"}


async def test_an_expired_notice_is_not_sent_again(house: House) -> None:
    pressed = await press(house, hold=timedelta(minutes=5), expires=timedelta(hours=1))
    house.clock.pass_(timedelta(hours=3))
    await house.tick()
    assert await house.states() == {"Ann": "expired: late", "Bo": "expired: late"}
    with pytest.raises(Refused, match="expired"):
        await resend_missed(house.database, pressed.notice, house.clock.now())


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"subject": " "}, "a subject and a body"), ({"subject": "a\r\nBcc: x@example.org"}, "subject"),
        ({"at": datetime(2026, 11, 1, tzinfo=UTC)}, "in the past"), ({"at": "local:2026-11-01T09:00"}, "in the past"),
        ({"audience": {"country": ["FR"]}, "audience_text": "country:FR"}, "no active member"),
    ],
)  # fmt: skip
async def test_what_cannot_be_sent_is_refused_and_leaves_nothing(
    house: House, values: dict[str, object], complaint: str
) -> None:
    with pytest.raises(Refused, match=complaint):
        await press(house, **values)
    assert await house.reports() == []


async def test_coming_and_unanswered_are_audiences(house: House) -> None:
    await amend(house.database, house.by_slug, KEY, Change(topic="Hope"), now=NOW)
    await house.answer("Ann", KEY, "coming")
    await press(house, audience={"coming": [KEY]})
    await press(house, audience={"unanswered": [KEY]})
    assert [row.name for row in await house.reports()] == ["Ann", "Bo"]


async def test_a_press_without_a_change_tells_nobody(house: House) -> None:
    topic = Change(topic="Hope")
    first = await amend(house.database, house.by_slug, KEY, topic, now=NOW)
    again = await amend(house.database, house.by_slug, KEY, topic, now=NOW)
    assert (first.after.revision, first.after.sequence) == (1, 0)
    assert not again.changed
    with pytest.raises(Refused, match="did not change"):
        await tell(house.database, again, now=NOW)


async def test_a_newer_update_takes_the_place_of_one_that_has_not_left(house: House) -> None:
    for topic in ("Hope", "Care"):
        amended = await amend(house.database, house.by_slug, KEY, Change(topic=topic), now=house.clock.now())
        await tell(house.database, amended, now=house.clock.now())
    await house.tick()
    states = [row.state + row.reason for row in await house.reports(name="Ann")]
    assert states == ["withdrawnsuperseded", "sent"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (Change(restore=True), "not cancelled"),
        (Change(move_to=datetime(2026, 11, 1, 18)), "in the past"),
        (Change(move_to=datetime(2027, 3, 28, 1, 30)), "skip that time"),
    ],
)
async def test_a_change_that_cannot_be_is_refused(house: House, change: Change, complaint: str) -> None:
    with pytest.raises(Refused, match=complaint):
        await amend(house.database, house.by_slug, KEY, change, now=NOW)


async def test_a_start_that_moves_resets_answers(house: House) -> None:
    await amend(house.database, house.by_slug, KEY, Change(topic="Hope"), now=NOW)
    await house.answer("Ann", KEY, "coming")
    await amend(house.database, house.by_slug, KEY, Change(topic="Care"), now=NOW)
    async with house.database.read() as connection:
        assert await members.count_audience(connection, {"coming": [KEY]}) == 1
    await amend(house.database, house.by_slug, KEY, Change(move_to=datetime(2026, 11, 20, 18)), now=NOW)
    async with house.database.read() as connection:
        assert await members.count_audience(connection, {"coming": [KEY]}) == 0


async def test_what_failed_for_good_comes_back_only_by_a_convenor(tmp_path: Path) -> None:
    gone = "550 5.1.1 no such user"
    async with Receiver({"RCPT": [gone, "250 2.1.5 ok", gone]}) as receiver:
        relay = SmtpAddress(host="127.0.0.1", port=receiver.port)
        transport = SmtpTransport(relay, hostname="meet.example.org", connections=1)
        async with open_house(tmp_path, NOW, policies=(), transport=transport) as house:
            await house.join(("Ann", "Europe/London"), ("Bo", "Europe/London"))
            pressed = await press(house)
            await house.live(NOW + timedelta(hours=2))
            states = sorted(row.state for row in await house.reports())
            assert states == ["failed", "sent"]
            assert await resend_missed(house.database, pressed.notice, house.clock.now()) == 1
            await house.tick()
            assert set((await house.states()).values()) == {"sent"}
            assert len(receiver.taken) == 2
