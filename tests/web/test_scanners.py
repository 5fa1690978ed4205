"""Mail scanners open every link in an email, often twice: this must have no effect."""

import re
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import httpx

from scheduler.domain.audience import Audience
from scheduler.domain.policy import PERSONAL, TO_CONVENORS, Kind, Policy
from scheduler.service.notices import mail_one, send_notice
from scheduler.service.occurrences import Change, amend, tell
from scheduler.store import members
from tests.installation import COMMUNITY, Installation
from tests.web.test_links import everything
from tests.web.test_member_page import person

KEY = "conversation-for-kindness/2026-11-19"
AFTER = Policy(slug="after", kind=Kind.FOLLOW_UP, lag=timedelta(hours=1))
_URL = re.compile(rf"(?:{re.escape(COMMUNITY.base_url)}|webcal://meet\.example\.org)(/[^\s\"<>\\)]*)")


async def mail_every_kind(installation: Installation) -> None:
    """Let a mail of every kind that there is go to Bo."""
    installation.policies = (*installation.policies, AFTER)
    installation.restart()
    await installation.tick()
    installation.clock.pass_until(datetime(2026, 11, 18, 20, 30, tzinfo=UTC))
    await installation.tick()
    for change in (Change(topic="Listening"), Change(cancel=True)):
        amended = await amend(
            installation.database, installation.by_slug, KEY, change, now=installation.clock.now()
        )
        await tell(installation.database, amended, now=installation.clock.now(), by_choice=())
        await installation.tick()
    for change in (Change(restore=True), Change(materials="Notes")):
        await amend(installation.database, installation.by_slug, KEY, change, now=installation.clock.now())
    await installation.live(datetime(2026, 11, 19, 20, 30, tzinfo=UTC))
    await send_notice(
        installation.database,
        subject="News",
        body=f"See {COMMUNITY.base_url}/next",
        audience=Audience(terms={"all": []}),
        audience_text="all",
        now=installation.clock.now(),
    )
    bo = await person(installation)
    async with installation.database.write() as connection:
        # A message to the convenors has no link.
        for kind in (kind for kind in PERSONAL if kind is not Kind.CONTACT):
            address = "new@example.org" if kind is Kind.ADDRESS_CHANGE else None
            await mail_one(connection, bo, kind, now=installation.clock.now(), address=address)
    await installation.tick()
    sent = {row.kind for row in await installation.reports(member=bo.id, state="sent")}
    assert sent == set(Kind) - {*TO_CONVENORS, Kind.CONTACT}


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
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await mail_every_kind(installation)
    paths = sorted({path for mail in installation.mails() for path in links(mail)})
    kinds = {path.split("/")[1] for path in paths}
    assert {"u", "me", "rsvp", "go", "cal", "sign-in", "address", "confirm"} <= kinds
    before, mails = await everything(installation), files(installation.folder)
    for _ in range(2):
        for path in paths:
            for method in ("GET", "HEAD"):
                answer = await visitor.request(method, path)
                assert answer.status_code < 500, path
                assert answer.status_code != 404 or path.startswith("/confirm"), path
                assert "Set-Cookie" not in answer.headers
    assert await everything(installation) == before
    await installation.tick()
    assert {row.state for row in await installation.reports()} <= {"sent", "withdrawn", "skipped", "queued"}
    assert files(installation.folder) == mails
    async with installation.database.read() as connection:
        assert (await members.counts(connection))["active"] == 3
