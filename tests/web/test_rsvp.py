"""Answers to an invitation through the link in an email."""

from datetime import UTC, datetime

import httpx
import pytest

from scheduler.domain.token import Purpose
from scheduler.service.occurrences import Change, amend
from scheduler.store import answers, members
from tests.installation import Installation, address_of
from tests.web.test_links import everything

KEY = "conversation-for-kindness/2026-11-19"


@pytest.fixture
async def link(installation: Installation) -> str:
    """Bo's link to answer the meeting of November."""
    return f"/rsvp/{await rsvp_token(installation, 'Bo')}"


async def rsvp_token(installation: Installation, name: str, key: str = KEY) -> str:
    async with installation.database.read() as connection:
        member = await members.by_key(connection, address_of(name))
        assert member
        return installation.keys.token(Purpose.RSVP, member.id, generation=member.generation, about=key)


async def counted(installation: Installation, key: str = KEY) -> dict[str, int]:
    async with installation.database.read() as connection:
        return await answers.count_answers(connection, key)


async def test_looking_chooses_in_advance_and_changes_nothing(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    before = await everything(installation)
    for chosen in ("coming", "declined", "maybe"):
        shown = await visitor.get(f"{link}?answer={chosen}")
        assert f'value="{chosen}" required checked' in shown.text
        assert "07:00" in shown.text and "Friday 20 November 2026" in shown.text
    assert "checked" not in (await visitor.get(f"{link}?answer=x")).text
    assert await everything(installation) == before


async def test_a_member_who_declines_gets_no_reminder_and_can_undo_it(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    installation.clock.pass_until(datetime(2026, 11, 18, 19, tzinfo=UTC))
    await installation.planner.tick()
    assert (await installation.states(kind="reminder"))["Bo"] == "queued"
    declined = await visitor.post(link, data={"answer": "declined"})
    assert "You will get no more reminders of this meeting" in declined.text
    await installation.planner.tick()
    assert (await installation.states(kind="reminder"))["Bo"] == "skipped: declined"
    assert 'name="answer" value="none">Undo' in declined.text
    assert "send you reminders as usual" in (await visitor.post(link, data={"answer": "none"})).text
    installation.clock.pass_until(datetime(2026, 11, 18, 20, tzinfo=UTC))
    await installation.tick()
    assert (await installation.states(kind="reminder"))["Bo"] == "sent"


async def test_the_last_answer_before_the_start_holds_and_is_counted(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    for answer in ("maybe", "declined", "coming"):
        assert (await visitor.post(link, files={"answer": (None, answer)})).status_code == 200
    await visitor.post(f"/rsvp/{await rsvp_token(installation, 'Ann')}", data={"answer": "maybe"})
    assert await counted(installation) == {"coming": 1, "maybe": 1}
    installation.clock.pass_until(datetime(2026, 11, 19, 18, tzinfo=UTC))
    late = await visitor.post(link, data={"answer": "declined"})
    assert "This meeting has begun" in late.text and "Yours was: you are coming" in late.text
    assert await counted(installation) == {"coming": 1, "maybe": 1}


async def test_what_is_no_answer_is_asked_for_again(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    for sent in (b"answer=perhaps", b"", b"answer=declined%00", b"\xff&&=&answer"):
        again = await visitor.post(
            link, content=sent, headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert again.status_code == 422 and "You need to choose one of these answers." in again.text
    assert await counted(installation) == {}


async def test_the_link_is_bound_to_its_member_meeting_and_purpose(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    """Another meeting's link answers that one; one of another purpose, or with a changed letter, answers nothing."""
    async with installation.database.read() as connection:
        bo = await members.by_key(connection, address_of("Bo"))
        assert bo
    other = installation.keys.token(Purpose.LEAVE, bo.id, generation=0, about=KEY)
    changed = link[:-1] + ("a" if link[-1] != "a" else "b")
    for wrong in (f"/rsvp/{other}", changed, link[:-1], "/rsvp/x"):
        answer = await visitor.post(wrong, data={"answer": "coming"})
        assert answer.status_code == 404 and "This link does not work" in answer.text
    assert await counted(installation) == {}
    await installation.change("Bo", generation=1)
    replaced = await visitor.post(link, data={"answer": "coming"})
    assert replaced.status_code == 410 and "This link has been replaced" in replaced.text
    await installation.change("Bo", status="left", active_since=None)
    left = await visitor.get(f"/rsvp/{await rsvp_token(installation, 'Bo')}")
    assert left.status_code == 410 and "You have left the list" in left.text
    assert await counted(installation) == {}


async def test_a_cancelled_meeting_takes_no_answer_and_a_moved_one_asks_again(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    now = installation.clock.now()
    await visitor.post(link, data={"answer": "declined"})
    await amend(
        installation.database, installation.by_slug, KEY, Change(move_to=datetime(2026, 11, 19, 19)), now=now
    )
    assert await counted(installation) == {}
    await amend(installation.database, installation.by_slug, KEY, Change(cancel=True), now=now)
    assert "This meeting is cancelled" in (await visitor.post(link, data={"answer": "coming"})).text
    assert await counted(installation) == {}
