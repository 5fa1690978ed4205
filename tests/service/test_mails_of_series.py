"""Mails where there are several series: what they say of a member's series, and the links that they hold."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from scheduler.domain.audience import parse_audience, series_of
from scheduler.domain.calendar import invitation_uid
from scheduler.domain.occurrence import slugs_by_choice
from scheduler.domain.policy import Kind
from scheduler.domain.token import Purpose
from scheduler.service import inbound
from scheduler.service.notices import mail_one, send_notice
from scheduler.service.occurrences import Change, amend, tell
from scheduler.service.personal_links import JoinStatus, resolve_join_link
from scheduler.service.rsvp import RsvpStatus, respond
from scheduler.store import answers, members, occurrences
from scheduler.store.members import Member
from tests import inbound_mail
from tests.installation import COMMUNITY, Installation, address_of, open_installation
from tests.service.test_follows import ALL, BEGIN, FORTNIGHT, HOUR, choose


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    async with open_installation(tmp_path, BEGIN, series=ALL, policies=(FORTNIGHT, HOUR)) as opened:
        yield opened


def unwrapped(installation: Installation, name: str, subject: str) -> tuple[str, str]:
    """The text and the List-Unsubscribe of the one mail to a member with these words in its subject."""
    (mail,) = (
        mail
        for mail in installation.mails()
        if address_of(name) in str(mail["To"]) and subject in str(mail["Subject"])
    )
    body = mail.get_body(("plain",))
    assert body
    return body.get_content().replace("\r\n", "\n"), str(mail["List-Unsubscribe"])


async def person(installation: Installation, name: str) -> Member:
    async with installation.database.read() as connection:
        found = await members.by_key(connection, address_of(name))
        assert found
        return found


async def welcome(installation: Installation, name: str) -> str:
    member = await person(installation, name)
    async with installation.database.write() as connection:
        await mail_one(connection, member, Kind.WELCOME, now=installation.clock.now())
    await installation.tick()
    return unwrapped(installation, name, "Welcome")[0]


@pytest.mark.parametrize(
    ("choices", "titles"),
    [
        ({}, ["Rounds", "Ethics"]),
        ({"journal": True}, ["Journal", "Rounds", "Ethics"]),
        ({"journal": True, "rounds": False}, ["Journal", "Ethics"]),
        ({"rounds": False}, ["Ethics"]),
    ],
)
async def test_a_welcome_names_the_next_meeting_of_each_followed_series_and_of_no_other(
    installation: Installation, choices: dict[str, bool], titles: list[str]
) -> None:
    await installation.join(("Ann", "Pacific/Auckland"))
    await choose(installation, "Ann", **choices)
    text = await welcome(installation, "Ann")
    days_of = {
        "Journal": "Wednesday 4 November 2026\n07:00",
        "Rounds": "Friday 6 November 2026\n07:00",
        "Ethics": "Saturday 7 November 2026\n07:00",
    }
    found = sorted((text.index(day), title) for title, day in days_of.items() if day in text)
    assert [title for _, title in found] == titles


async def test_a_member_who_follows_nothing_is_welcomed_and_told_how_to_choose(
    installation: Installation,
) -> None:
    await installation.join(("Ann", "Europe/London"))
    await choose(installation, "Ann", rounds=False, ethics=False)
    text = await welcome(installation, "Ann")
    assert "you don't follow any of them yet" in text and "November" not in text


async def test_a_mail_offers_to_stop_its_own_series_and_one_click_leaves_the_list(
    installation: Installation,
) -> None:
    await installation.join(("Ann", "Europe/London"), ("Bo", "Europe/London"))
    await installation.tick()
    text, unsubscribe = unwrapped(installation, "Ann", "Rounds")
    token = installation.keys.token(Purpose.LEAVE, (await person(installation, "Ann")).id, generation=0)
    assert f"/u/{token}?series=rounds\n" in text
    assert f"/u/{token}>" in unsubscribe and "series" not in unsubscribe


@pytest.mark.parametrize(
    ("audience", "slug"),
    [
        ("all", None),
        ("convenors", None),
        ("series:ethics", "ethics"),
        (" series:ethics , except:convenors", "ethics"),
        ("series:ethics,series:rounds", None),
        ("coming:rounds/2026-11-05", "rounds"),
        ("coming:rounds/2026-11-05,unanswered:rounds/2026-11-05", "rounds"),
        ("declined:rounds/2026-11-05,series:ethics", None),
        ("series:ethics,country:NZ", None),
        ("list:people.txt", None),
        ("one", None),
        ("", None),
    ],
)
def test_a_notice_is_about_the_one_series_that_its_audience_is_of(audience: str, slug: str | None) -> None:
    assert series_of(audience) == slug


async def test_a_notice_to_the_followers_of_a_series_offers_to_stop_it_and_one_to_all_does_not(
    installation: Installation,
) -> None:
    await installation.join(("Ann", "Europe/London"))
    for text in ("series:ethics", "all"):
        await send_notice(
            installation.database,
            subject=f"News to {text}",
            body="A word.",
            audience=parse_audience(text, all_series=ALL, read_list=lambda _: []),
            audience_text=text,
            now=installation.clock.now(),
        )
    await installation.tick()
    assert "?series=ethics\n" in unwrapped(installation, "Ann", "News to series:ethics")[0]
    assert "?series=" not in unwrapped(installation, "Ann", "News to all")[0]


@pytest.mark.parametrize(
    ("change", "kind", "method"),
    [
        (Change(move_to=datetime(2026, 11, 5, 20)), "Changed", "REQUEST"),
        (Change(cancel=True), "Cancelled", "CANCEL"),
    ],
)
async def test_who_was_invited_and_no_longer_follows_is_told_of_a_change_and_why(
    installation: Installation, change: Change, kind: str, method: str
) -> None:
    await installation.join(("Ann", "Europe/London"))
    await installation.tick()
    await choose(installation, "Ann", rounds=False)
    now = installation.clock.now()
    amended = await amend(installation.database, installation.by_slug, "rounds/2026-11-05", change, now=now)
    await tell(installation.database, amended, by_choice=slugs_by_choice(ALL), now=now)
    await installation.tick()
    text, _ = unwrapped(installation, "Ann", kind)
    assert "even if they no longer follow it" in text
    (mail,) = (mail for mail in installation.mails() if kind in str(mail["Subject"]))
    (calendar,) = (part for part in mail.walk() if part.get_content_type() == "text/calendar")
    assert calendar.get_param("method") == method


async def test_links_and_replies_of_a_meeting_work_for_who_does_not_follow_its_series(
    installation: Installation,
) -> None:
    await installation.join(("Ann", "Europe/London"))
    await installation.tick()
    await choose(installation, "Ann", rounds=False)
    ann, key, keys = await person(installation, "Ann"), "rounds/2026-11-05", installation.keys

    async def answer() -> str:
        async with installation.database.read() as connection:
            return await answers.answer_of(connection, ann.id, key)

    link = keys.token(Purpose.RSVP, ann.id, generation=0, about=key)
    result = await respond(
        installation.database,
        installation.by_slug,
        link,
        "maybe",
        keys=keys,
        locale="en-GB",
        now=installation.clock.now(),
    )
    assert result.status is RsvpStatus.OPEN and await answer() == "maybe"
    async with installation.database.read() as connection:
        occurrence = await occurrences.occurrence_by_key(connection, key)
    assert occurrence
    installation.clock.pass_(timedelta(minutes=5))
    uid = invitation_uid(occurrence, keys.name("uid", f"{key}:{ann.id}"), COMMUNITY.domain)
    reply = inbound_mail.google(uid, "ann@example.org", "DECLINED", stamp="20261102T120400Z")
    await inbound.ingest(
        installation.database,
        inbound_mail.answer(reply, identity="1"),
        recipient="",
        keys=keys,
        domain=COMMUNITY.domain,
        now=installation.clock.now(),
    )
    assert await answer() == "declined"
    installation.clock.pass_until(occurrence.starts)
    entry = await resolve_join_link(
        installation.database,
        installation.by_slug,
        keys.token(Purpose.JOIN, ann.id, generation=0),
        key,
        keys=keys,
        locale="en-GB",
        now=installation.clock.now(),
    )
    assert entry.status is JoinStatus.OPEN
