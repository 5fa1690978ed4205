"""The personal links in emails."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from scheduler.domain.token import Purpose
from scheduler.service.occurrences import Change, amend
from scheduler.store import members, schema
from tests.installation import Installation, address_of

KEY = "conversation-for-kindness/2026-11-19"


async def token(installation: Installation, name: str, purpose: Purpose) -> str:
    async with installation.database.read() as connection:
        member = await members.by_key(connection, address_of(name))
        assert member
        return installation.keys.token(purpose, member.id, generation=member.generation)


async def status(installation: Installation, name: str) -> str:
    async with installation.database.read() as connection:
        member = await members.by_key(connection, address_of(name))
        assert member
        return member.status


async def everything(installation: Installation) -> dict[str, list[Any]]:
    async with installation.database.read() as connection:
        return {
            table.name: list((await connection.execute(select(table))).all())
            for table in schema.metadata.sorted_tables
        }


async def test_looking_at_the_link_to_leave_asks_and_changes_nothing(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    link = f"/u/{await token(installation, 'Bo', Purpose.LEAVE)}"
    before = await everything(installation)
    for _ in range(2):
        assert "Leave the list" in (await visitor.get(link)).text
        assert (await visitor.head(link)).status_code == 200
    assert await everything(installation) == before


@pytest.mark.parametrize(
    "sent",
    [
        {"data": {"List-Unsubscribe": "One-Click"}},
        {"files": {"List-Unsubscribe": (None, "One-Click")}},
        {"content": b""},
        {"content": b"\xff\xfe not a form", "headers": {"Content-Type": "multipart/form-data"}},
    ],
    ids=["urlencoded", "multipart", "empty", "garbage"],
)
async def test_one_press_leaves_without_cookie_or_redirect_however_it_is_sent(
    installation: Installation, visitor: httpx.AsyncClient, sent: dict[str, Any]
) -> None:
    """RFC 8058 section 3.2: the receiver of the POST needs no context of a browser, and must not redirect."""
    link = f"/u/{await token(installation, 'Bo', Purpose.LEAVE)}"
    for _ in range(2):
        answer = await visitor.post(link, **sent)
        assert answer.status_code == 200
        assert "You have left" in answer.text
        assert "Set-Cookie" not in answer.headers
        assert await status(installation, "Bo") == "left"
    assert await status(installation, "Ann") == "active"
    assert "You have left" in (await visitor.get(link)).text


async def test_members_who_left_get_nothing_more_not_even_queued_mail(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    installation.clock.pass_until(datetime(2026, 11, 5, 13, tzinfo=UTC))
    await installation.planner.tick()
    assert (await installation.states(kind="invitation"))["Cy"] == "queued"
    await visitor.post(f"/u/{await token(installation, 'Cy', Purpose.LEAVE)}")
    await installation.live(datetime(2026, 11, 20, tzinfo=UTC))
    assert not [mail for mail in installation.mails() if address_of("Cy") in str(mail["To"])]


async def test_a_link_that_is_nobodys_is_a_page_that_helps(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    good = await token(installation, "Bo", Purpose.LEAVE)
    wrong = ["x", good[:-1], good[:-1] + ("a" if good[-1] != "a" else "b"), good + "a", "ä" * 34, "7" * 34]
    wrong.append(await token(installation, "Bo", Purpose.JOIN))
    for one in wrong:
        for answer in (await visitor.get(f"/u/{one}"), await visitor.post(f"/u/{one}")):
            assert answer.status_code == 404
            assert "convenors@conversation.example.org" in answer.text
    assert await status(installation, "Bo") == "active"


async def test_a_link_in_capitals_works(installation: Installation, visitor: httpx.AsyncClient) -> None:
    await visitor.post(f"/u/{(await token(installation, 'Bo', Purpose.LEAVE)).upper()}")
    assert await status(installation, "Bo") == "left"


async def test_a_replaced_link_says_so_and_changes_nothing(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    link = f"/u/{await token(installation, 'Bo', Purpose.LEAVE)}"
    await installation.change("Bo", generation=1)
    for answer in (await visitor.get(link), await visitor.post(link)):
        assert answer.status_code == 410
        assert "has been replaced" in answer.text
    assert await status(installation, "Bo") == "active"


async def test_a_body_without_end_is_cut_off(installation: Installation, visitor: httpx.AsyncClient) -> None:
    link = f"/u/{await token(installation, 'Bo', Purpose.LEAVE)}"

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 1000

    assert (await visitor.post(link, content=endless())).status_code == 413
    assert (await visitor.post(link, content=b"x" * 100_000)).status_code == 413
    assert await status(installation, "Bo") == "active"


async def test_other_methods_do_nothing(installation: Installation, visitor: httpx.AsyncClient) -> None:
    link = f"/u/{await token(installation, 'Bo', Purpose.LEAVE)}"
    for method in ["PUT", "PATCH", "DELETE", "OPTIONS"]:
        answer = await visitor.request(method, link)
        assert answer.status_code == 405
        assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))
    assert await status(installation, "Bo") == "active"


async def test_the_way_in_is_shut_until_a_quarter_of_an_hour_before_and_then_leads_to_the_room(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    link = f"/go/{await token(installation, 'Bo', Purpose.JOIN)}/{KEY}"
    early = await visitor.get(link)
    assert early.status_code == 200
    assert "06:45" in early.text and "Friday 20 November 2026" in early.text
    assert "room.example.org" not in early.text
    installation.clock.pass_until(datetime(2026, 11, 19, 17, 45, tzinfo=UTC))
    opened = await visitor.get(link)
    assert opened.status_code == 302
    assert opened.headers["Location"] == "https://room.example.org/kindness"


async def test_no_personal_page_is_cached_or_sends_a_referrer(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    leave, join = (
        await token(installation, "Bo", Purpose.LEAVE),
        await token(installation, "Bo", Purpose.JOIN),
    )
    installation.clock.pass_until(datetime(2026, 11, 19, 18, tzinfo=UTC))
    for path in (
        f"/u/{leave}",
        f"/go/{join}/{KEY}",
        f"/go/{join}/conversation-for-kindness/2026-12-17",
        "/u/x",
    ):
        answer = await visitor.get(path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["X-Robots-Tag"] == "noindex"
        assert leave not in answer.text and join not in answer.text


@pytest.mark.parametrize(
    ("key", "name", "words", "code"),
    [
        ("conversation-for-kindness/2026-11-18", "Bo", "There is no such meeting", 404),
        ("conversation-for-kindness/nonsense", "Bo", "There is no such meeting", 404),
        ("conversation-for-kindness/2026-10-15", "Bo", "This meeting is over", 200),
        ("conversation-for-kindness/2026-12-17", "Bo", "This meeting is cancelled", 200),
        (KEY, "Cy", "You have left the list", 410),
    ],
)
async def test_a_shut_door_says_why(
    installation: Installation, visitor: httpx.AsyncClient, key: str, name: str, words: str, code: int
) -> None:
    now = installation.clock.now()
    await amend(
        installation.database,
        installation.by_slug,
        "conversation-for-kindness/2026-12-17",
        Change(cancel=True),
        now=now,
    )
    await installation.change("Cy", status="left", active_since=None)
    answer = await visitor.get(f"/go/{await token(installation, name, Purpose.JOIN)}/{key}")
    assert answer.status_code == code
    assert words in answer.text


async def test_the_log_names_routes_and_never_tokens(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    leave, join = (
        await token(installation, "Bo", Purpose.LEAVE),
        await token(installation, "Bo", Purpose.JOIN),
    )
    with capture_logs(processors=[merge_contextvars]) as lines:
        await visitor.get(f"/u/{leave}")
        await visitor.post(f"/u/{leave}")
        await visitor.get(f"/go/{join}/{KEY}")
        await visitor.get(f"/nothing/{join}")
        await visitor.get("/healthz")
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["route"] for line in requests] == ["/u/{token}"] * 2 + [
        "/go/{token}/{series}/{date}",
        "none",
    ]
    assert [line["status"] for line in requests] == [200, 200, 410, 404]
    assert len({line["request_id"] for line in requests}) == len(requests)
    assert leave not in repr(lines) and join not in repr(lines) and "Bo" not in repr(lines)


async def test_the_page_shows_a_member_their_own_hour_cycle(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await installation.change("Cy", locale="en-US")
    page = await visitor.get(f"/go/{await token(installation, 'Cy', Purpose.JOIN)}/{KEY}")
    assert "1:00 pm" in page.text and "12:45 pm" in page.text
