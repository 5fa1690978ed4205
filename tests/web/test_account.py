"""New links, another address, and members who delete everything about themselves."""

import re
from datetime import UTC, datetime, timedelta

import httpx
from structlog.testing import capture_logs

from scheduler.domain.token import Purpose
from scheduler.service.member_csv import read_members
from scheduler.service.member_files import import_members
from scheduler.service.occurrences import Change, amend
from scheduler.store import members
from tests.installation import Installation, address_of
from tests.service.test_erasure import found
from tests.web.test_links import everything, token
from tests.web.test_member_page import person

LINK = re.compile(r"https://meet\.example\.org(/(?:sign-in|address|me|u|rsvp|go|subscribe|cal)/[^\s\"<>]+)")


def last_link(installation: Installation, to: str) -> str:
    """The path of the link in the newest mail to an address."""
    mails = [mail for mail in installation.mails() if to in str(mail["To"])]
    body = mails[-1].get_body(("plain",))
    assert body
    match = LINK.search(body.get_content())
    assert match
    return match[1]


async def fresh(installation: Installation, visitor: httpx.AsyncClient, email: str = "Bo@Example.org") -> str:
    """The path of a fresh link that was just asked for, out of its mail."""
    installation.clock.pass_(timedelta(seconds=1))
    await visitor.post("/me", data={"email": email})
    await installation.tick()
    return last_link(installation, email.lower())


async def test_the_answer_is_the_same_for_every_address_and_only_its_owner_gets_a_link(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    known = await visitor.post("/me", data={"email": "BO@example.org"})
    unknown = await visitor.post("/me", data={"email": "nobody@example.org"})
    assert known.status_code == unknown.status_code == 200
    assert known.text == unknown.text and "Check your email" in known.text
    for _ in range(40):
        await visitor.post("/me", data={"email": "bo@example.org"})
    await installation.tick()
    assert [str(mail["To"]) for mail in installation.mails()] == ["Bo <bo@example.org>"]
    assert (await visitor.post("/me", data={"email": "bo@example.org"})).status_code == 429
    wrong = await visitor.post("/me", data={"email": "bo@@example"})
    assert (
        wrong.status_code == 422 and 'value="bo@@example"' in wrong.text and "email-complaint" in wrong.text
    )


async def test_a_fresh_link_holds_for_an_hour_and_looking_at_it_changes_nothing(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    link = await fresh(installation, visitor)
    before = await everything(installation)
    for _ in range(2):
        assert "Delete everything about me" in (await visitor.get(link)).text
    assert (await visitor.post(link, data={"act": "erase"})).status_code == 422
    assert await everything(installation) == before
    installation.clock.pass_(timedelta(hours=1))
    for answer in (await visitor.get(link), await visitor.post(link, data={"act": "erase", "sure": "yes"})):
        assert answer.status_code == 410 and "This link has expired" in answer.text
    assert await everything(installation) == before


async def test_a_new_address_is_confirmed_by_its_owner_and_the_old_one_is_notified(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    link = await fresh(installation, visitor)
    old = [f"/me/{await token(installation, 'Bo', Purpose.PREFERENCES)}", link]
    for wrong in ("", "x", "bo@example.org", "a@b\r\nBcc: c@example.org", "<script>@example.org"):
        assert (await visitor.post(link, data={"act": "address", "email": wrong})).status_code == 422
    asked = await visitor.post(link, data={"act": "address", "email": "bohumil@example.net"})
    assert "Check your email" in asked.text
    again = await visitor.post(link, data={"act": "address", "email": "other@example.net"})
    assert again.status_code == 422 and "wait a few minutes" in again.text
    await installation.tick()
    assert (await person(installation)).address == "bo@example.org"
    confirm = last_link(installation, "bohumil@example.net")
    before = await everything(installation)
    assert "Is this your address?" in (await visitor.get(confirm)).text
    assert await everything(installation) == before
    installation.clock.pass_(timedelta(seconds=1))
    done = await visitor.post(confirm)
    assert "We have changed your email address" in done.text
    await installation.tick()
    async with installation.database.read() as connection:
        assert await members.by_key(connection, "bohumil@example.net")
    mails_to_bo = [mail for mail in installation.mails() if "bo@example.org" in str(mail["To"])]
    body = mails_to_bo[-1].get_body(("plain",))
    assert body and "send our emails to a different address" in body.get_content()
    # What lies in the old mailbox opens nothing more, and the confirmation is used up.
    for path in (*old, confirm):
        answer = await visitor.get(path)
        assert answer.status_code == 410 and "This link has been replaced" in answer.text
    assert (await visitor.post(confirm)).status_code == 410


async def test_an_address_of_another_member_is_neither_taken_nor_revealed(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    link = await fresh(installation, visitor)
    free = await visitor.post(link, data={"act": "address", "email": "ann@example.org"})
    assert free.status_code == 200 and "Check your email" in free.text
    await installation.tick()
    taken = await visitor.post(last_link(installation, "ann@example.org"))
    assert taken.status_code == 409 and "nothing was changed" in taken.text
    assert (await person(installation)).address == "bo@example.org"


async def test_members_who_left_can_still_see_and_delete_their_data(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await installation.change("Bo", status="left", active_since=None)
    link = await fresh(installation, visitor)
    shown = (await visitor.get(link)).text
    assert "You have left" in shown and "Change your email address" not in shown
    data = re.search(r'href="(\?download)"', shown)
    assert data and (await visitor.get(link + data[1])).json()["members"][0]["status"] == "left"
    refused = await visitor.post(link, data={"act": "address", "email": "new@example.org"})
    assert "You have left" in refused.text and (await person(installation)).address == "bo@example.org"
    await visitor.post(link, data={"act": "erase", "sure": "yes"})
    async with installation.database.read() as connection:
        assert await members.by_key(connection, address_of("Bo")) is None


async def test_after_being_forgotten_nothing_names_them_and_an_import_says_that_it_skips_them(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await installation.join(("Zdenka Quarrendon", "Europe/Prague"))
    email = address_of("Zdenka Quarrendon")
    installation.clock.pass_until(datetime(2026, 11, 6, 12, tzinfo=UTC))
    await installation.tick()
    await installation.answer("Zdenka Quarrendon", "conversation-for-kindness/2026-11-19", "maybe")
    link = await fresh(installation, visitor, email)
    for named in ("zdenka@example.net", address_of("Ann")):
        installation.clock.pass_(timedelta(minutes=3))
        await visitor.post(link, data={"act": "address", "email": named})
    await installation.tick()
    assert found(installation.folder, email, "Quarrendon", "zdenka@")
    assert (
        "We have deleted everything about you"
        in (await visitor.post(link, data={"act": "erase", "sure": "yes"})).text
    )
    assert not found(installation.folder, email, "Quarrendon", "zdenka@")
    assert [mail for mail in installation.mails() if address_of("Ann") in str(mail["To"])]
    assert (await visitor.get(link)).status_code == 404
    again = read_members(f"name,email,zone\nZdenka Quarrendon,{email},Europe/Prague\n".encode())
    done = await import_members(
        installation.database,
        again.rows,
        keys=installation.keys,
        locale="en-GB",
        invitations=[],
        all_series=installation.series,
        now=installation.clock.now(),
    )
    assert (done.erased, done.added) == (1, 0)
    assert not found(installation.folder, email, "Quarrendon")


async def test_no_token_is_logged_or_sent_to_another_site(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    """Every personal path answers with its referrer policy and no-store, and the log names its pattern alone."""
    paths = [f"/{path}/{await token(installation, 'Bo', purpose)}" for path, purpose in PERSONAL_PATHS]
    paths += [await fresh(installation, visitor)]
    with capture_logs() as lines:
        for path in paths:
            for answer in (await visitor.get(path), await visitor.post(path)):
                assert answer.headers["Cache-Control"].startswith(("no-store", "private"))
                assert answer.headers["Referrer-Policy"] == "same-origin"
                assert "Set-Cookie" not in answer.headers
    logged = repr(lines)
    assert not [path for path in paths if path.split("/")[2].partition(".")[0] in logged]
    assert "example.org" not in logged and "Bo" not in logged


PERSONAL_PATHS: list[tuple[str, Purpose]] = [
    ("me", Purpose.PREFERENCES),
    ("subscribe", Purpose.SUBSCRIBE),
    ("rsvp", Purpose.RSVP),
    ("u", Purpose.LEAVE),
    ("address", Purpose.ADDRESS),
]


async def test_being_forgotten_says_what_stays(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await installation.join(("Zdenka Quarrendon", "Europe/Prague"))
    await installation.tick()
    key = "conversation-for-kindness/2026-11-19"
    now = installation.clock.now()
    await amend(
        installation.database, installation.by_slug, key, Change(speakers="Zdenka Quarrendon"), now=now
    )
    link = await fresh(installation, visitor, address_of("Zdenka Quarrendon"))
    assert "it stays there until you ask us to remove it" in (await visitor.get(link)).text
    done = (await visitor.post(link, data={"act": "erase", "sure": "yes"})).text
    assert "Your name is still in 3 places" in done and "scrambled code" in done and "Backups" in done
