"""Every personal path: a token works only for its own member, purpose and time."""

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from scheduler.domain.policy import Kind
from scheduler.domain.token import Keys, Purpose
from scheduler.service.notices import mail_one
from tests.installation import COMMUNITY, Installation
from tests.web.test_links import everything
from tests.web.test_member_page import person

KEY = "conversation-for-kindness/2026-11-19"
NEW = "new@example.org"
PATHS = {
    Purpose.LEAVE: "/u/{}",
    Purpose.JOIN: "/go/{}/" + KEY,
    Purpose.RSVP: "/rsvp/{}",
    Purpose.PREFERENCES: "/me/{}",
    Purpose.FEED: "/cal/{}.ics",
    Purpose.SUBSCRIBE: "/subscribe/{}",
    Purpose.SIGN_IN: "/sign-in/{}",
    Purpose.ADDRESS: "/address/{}",
}
_ABOUT = {Purpose.RSVP: KEY, Purpose.ADDRESS: NEW}
_EXPIRING = (Purpose.SIGN_IN, Purpose.ADDRESS)
_FORMS = {
    Purpose.LEAVE: {},
    Purpose.RSVP: {"answer": "coming"},
    Purpose.PREFERENCES: {"act": "rotate"},
    Purpose.SUBSCRIBE: {"invitation_by": "feed"},
    Purpose.SIGN_IN: {"act": "erase", "sure": "yes"},
    Purpose.ADDRESS: {},
}


def make(
    installation: Installation,
    purpose: Purpose,
    member: int,
    *,
    keys: Keys | None = None,
    generation: int = 0,
) -> str:
    """A token as mails carry it."""
    expires = installation.clock.now() + timedelta(minutes=30) if purpose in _EXPIRING else None
    return (keys or installation.keys).token(
        purpose, member, generation=generation, about=_ABOUT.get(purpose, ""), expires=expires
    )


@pytest.fixture
async def numbers(installation: Installation) -> AsyncIterator[tuple[int, int]]:
    """Bo's number and Ann's; Bo has just asked for another address."""
    bo, ann = await person(installation), await person(installation, "Ann")
    async with installation.database.write() as connection:
        await mail_one(connection, bo, Kind.ADDRESS_CHANGE, now=installation.clock.now(), address=NEW)
    before = await everything(installation)
    yield bo.id, ann.id
    after = await everything(installation)
    revoked = {"members", "counters"}  # by the test itself
    assert {name: rows for name, rows in after.items() if name not in revoked} == {
        name: rows for name, rows in before.items() if name not in revoked
    }
    assert [member.status for member in (await person(installation), await person(installation, "Ann"))] == [
        "active"
    ] * 2


async def refused(
    visitor: httpx.AsyncClient, purpose: Purpose, token: str, *, status: int, words: str = ""
) -> None:
    """Assert that a token opens nothing at the path of a purpose, and that the page helps."""
    path = PATHS[purpose].format(token)
    answers = [await visitor.get(path)]
    if purpose in _FORMS:
        answers.append(await visitor.post(path, data=_FORMS[purpose]))
    for answer in answers:
        assert answer.status_code == status, (purpose, token)
        assert (
            COMMUNITY.reply_to in answer.text
            or 'href="/me"' in answer.text
            or 'href="/subscribe"' in answer.text
        )
        assert words in answer.text


async def test_a_token_opens_the_path_of_its_own_purpose_alone(
    installation: Installation, visitor: httpx.AsyncClient, numbers: tuple[int, int]
) -> None:
    for purpose in PATHS:
        assert (
            await visitor.get(PATHS[purpose].format(make(installation, purpose, numbers[0])))
        ).status_code == 200
        for other in set(Purpose) - {purpose}:
            await refused(visitor, purpose, make(installation, other, numbers[0]), status=404)


async def test_guessing_never_opens_anything(
    installation: Installation, visitor: httpx.AsyncClient, numbers: tuple[int, int]
) -> None:
    """A changed letter, the tag of one member under the number of another, another key, a cut token, no token."""
    for purpose in PATHS:
        mine, hers = (make(installation, purpose, number) for number in numbers)
        changed = [mine[:at] + ("a" if mine[at] != "a" else "b") + mine[at + 1 :] for at in (0, 9, 20, 32)]
        forged = make(installation, purpose, numbers[0], keys=Keys(b"x" * 32))
        for token in (*changed, hers[:8] + mine[8:], mine[:8] + hers[8:], forged, mine[:-1], "x", "%00", "é"):
            await refused(visitor, purpose, token, status=404)


async def test_a_revoked_token_says_that_it_was_replaced(
    installation: Installation, visitor: httpx.AsyncClient, numbers: tuple[int, int]
) -> None:
    tokens = {
        purpose: make(installation, purpose, numbers[0]) for purpose in PATHS if purpose is not Purpose.FEED
    }
    await installation.change("Bo", generation=2)
    for purpose, token in tokens.items():
        await refused(visitor, purpose, token, status=410, words="This link has been replaced")


async def test_an_expired_token_says_so_and_where_to_get_another(
    installation: Installation, visitor: httpx.AsyncClient, numbers: tuple[int, int]
) -> None:
    tokens = {purpose: make(installation, purpose, numbers[0]) for purpose in _EXPIRING}
    installation.clock.pass_(timedelta(minutes=30))
    for purpose, token in tokens.items():
        await refused(visitor, purpose, token, status=410, words='href="/me"')


BEHIND = [
    ".",
    "/",
    ")",
    ",",
    ").",
    "//",
    ">",
    "%3E",
    '"',
    "'",
    "%20",
    "%E2%80%9D",
    "%E3%80%82",
    "*",
    "!",
    "/.",
    "?",
    "_",
]


@pytest.mark.parametrize("purpose", PATHS)
async def test_a_link_leads_where_it_should_whatever_was_taken_along_behind_it(
    installation: Installation, visitor: httpx.AsyncClient, purpose: Purpose
) -> None:
    bo = await person(installation)
    async with installation.database.write() as connection:
        await mail_one(connection, bo, Kind.ADDRESS_CHANGE, now=installation.clock.now(), address=NEW)
    path = PATHS[purpose].format(make(installation, purpose, bo.id))
    right = await visitor.get(path)
    for behind in BEHIND:
        found = await visitor.get(path + behind)
        assert (found.status_code, found.text) == (200, right.text), behind


@pytest.mark.parametrize("behind", BEHIND[::4])
async def test_one_click_leaves_whatever_was_taken_along_behind_the_link(
    installation: Installation, visitor: httpx.AsyncClient, behind: str
) -> None:
    token = make(installation, Purpose.LEAVE, (await person(installation)).id)
    done = await visitor.post(f"/u/{token}{behind}", data={"List-Unsubscribe": "One-Click"})
    assert done.status_code == 200
    assert (await person(installation)).status == "left"


@pytest.mark.parametrize("behind", [".", "/", ")", "%3E"])
async def test_an_answer_and_a_public_page_are_found_whatever_was_taken_along(
    installation: Installation, visitor: httpx.AsyncClient, behind: str
) -> None:
    token = make(installation, Purpose.RSVP, (await person(installation)).id)
    for path in (
        f"/rsvp/{token}?answer=coming",
        f"/meetings/{KEY}",
        f"/meetings/{KEY}.ics",
        "/calendar.ics",
        "/join",
    ):
        right, found = await visitor.get(path), await visitor.get(path + behind)
        assert (found.status_code, found.text) == (200, right.text)
