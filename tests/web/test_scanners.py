"""Mail scanners open every link in a mail, often twice: nothing may come of it."""

import re
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import httpx

from scheduler.domain.policy import PERSONAL, Kind, Policy
from scheduler.service.amending import Change, amend, tell
from scheduler.service.mailing import mail_one
from scheduler.service.notifying import send_notice
from scheduler.store import members
from tests.house import COMMUNITY, House
from tests.web.test_links import everything
from tests.web.test_preferences import person

KEY = "conversation-for-kindness/2026-11-19"
AFTER = Policy(slug="after", kind=Kind.FOLLOW_UP, lag=timedelta(hours=1))
_URL = re.compile(rf"(?:{re.escape(COMMUNITY.base_url)}|webcal://meet\.example\.org)(/[^\s\"<>\\)]*)")


async def mail_every_kind(house: House) -> None:
    """Let a mail of every kind that there is go to Bo."""
    house.policies = (*house.policies, AFTER)
    house.restart()
    await house.tick()
    house.clock.pass_until(datetime(2026, 11, 18, 20, 30, tzinfo=UTC))
    await house.tick()
    for change in (Change(topic="Listening"), Change(cancel=True)):
        amended = await amend(house.database, house.by_slug, KEY, change, now=house.clock.now())
        await tell(house.database, amended, now=house.clock.now())
        await house.tick()
    for change in (Change(restore=True), Change(materials="Notes")):
        await amend(house.database, house.by_slug, KEY, change, now=house.clock.now())
    await house.live(datetime(2026, 11, 19, 20, 30, tzinfo=UTC))
    await send_notice(
        house.database, subject="News", body=f"See {COMMUNITY.base_url}/next", audience={"all": []},
        audience_text="all", now=house.clock.now(),
    )  # fmt: skip
    bo = await person(house)
    async with house.database.write() as connection:
        for kind in PERSONAL:
            address = "new@example.org" if kind is Kind.ADDRESS_CHANGE else None
            await mail_one(connection, bo, kind, now=house.clock.now(), address=address)
    await house.tick()
    sent = {row.kind for row in await house.reports(member=bo.id, state="sent")}
    assert sent == set(Kind)


def links(mail: EmailMessage) -> set[str]:
    """The paths of all links to us, wherever in a mail they stand."""
    found = set(_URL.findall(str(mail["List-Unsubscribe"] or "")))
    for part in mail.walk():
        if part.get_content_maintype() == "text":
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            # RFC 5545 section 3.1: long lines are folded.
            text = payload.decode().replace("\r\n ", "").replace("\n ", "")
            found |= {path.replace("&amp;", "&") for path in _URL.findall(text)}
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and "mail" in path.parts
    }


async def test_opening_every_link_of_every_kind_of_mail_twice_changes_nothing(
    house: House, visitor: httpx.AsyncClient
) -> None:
    await mail_every_kind(house)
    paths = sorted({path for mail in house.mails() for path in links(mail)})
    kinds = {path.split("/")[1] for path in paths}
    assert {"u", "me", "rsvp", "go", "cal", "sign-in", "address", "confirm"} <= kinds
    before, mails = await everything(house), files(house.folder)
    for _ in range(2):
        for path in paths:
            for method in ("GET", "HEAD"):
                answer = await visitor.request(method, path)
                assert answer.status_code < 500, path
                assert answer.status_code != 404 or path.startswith("/confirm"), path
                assert "Set-Cookie" not in answer.headers
    assert await everything(house) == before
    await house.tick()
    assert {row.state for row in await house.reports()} <= {"sent", "withdrawn", "skipped", "queued"}
    assert files(house.folder) == mails
    async with house.database.read() as connection:
        assert (await members.counts(connection))["active"] == 3
