"""Each page links to what its reader needs next, and each form says what is wrong."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest

from scheduler.domain.token import Purpose
from scheduler.service.occurrences import Change, amend
from tests.delivery import mails
from tests.installation import SERIES, Installation
from tests.web.conftest import make_app
from tests.web.serving import served
from tests.web.test_any_form import KEY, own_tokens
from tests.web.test_member_page import DETAILS, fresh_token

LONG = 100_000
FOOT = (
    "/subscribe",
    "/me",
    "/privacy",
    "/privacy#leave-heading",
    "/about",
    "/people",
    "/contact",
    "/convenor/",
)


def main(answer: httpx.Response) -> str:
    """What stands between the head and the foot of a page."""
    assert answer.status_code < 500
    return answer.text.partition("<main")[2].partition("</main>")[0]


async def test_a_meeting_leads_to_joining_whether_it_comes_is_cancelled_or_is_over(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    assert 'href="/join"' in main(await visitor.get(f"/meetings/{KEY}"))
    await amend(
        installation.database, installation.by_slug, KEY, Change(cancel=True), now=installation.clock.now()
    )
    assert 'href="/join"' in main(await visitor.get(f"/meetings/{KEY}"))
    shown = main(await visitor.get("/meetings/conversation-for-kindness/2026-12-17"))
    assert 'href="/archive"' not in shown
    installation.clock.pass_until(datetime(2026, 12, 18, tzinfo=UTC))
    over = main(await visitor.get("/meetings/conversation-for-kindness/2026-12-17"))
    assert 'href="/join"' in over and 'href="/archive"' in over


async def test_a_meeting_leads_to_those_held_before_and_after_it(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    path = "/meetings/conversation-for-kindness/"
    await amend(
        installation.database,
        installation.by_slug,
        "conversation-for-kindness/2026-12-17",
        Change(cancel=True),
        now=installation.clock.now(),
    )
    for day in ("2026-08-20", "2026-10-15"):
        key = f"conversation-for-kindness/{day}"
        now = installation.clock.now()
        await amend(installation.database, installation.by_slug, key, Change(topic="Hope"), now=now)
    past = main(await visitor.get(f"{path}2026-09-17?zone=Asia/Tokyo"))
    assert f'href="{path}2026-08-20?zone=Asia%2FTokyo" rel="prev"' in past
    assert f'href="{path}2026-10-15?zone=Asia%2FTokyo" rel="next"' in past
    coming = main(await visitor.get(path + "2026-11-19"))
    assert f'href="{path}2026-10-15" rel="prev"' in coming
    assert f'href="{path}2027-01-21" rel="next"' in coming, "a cancelled meeting leads nowhere"
    cancelled = main(await visitor.get(path + "2026-12-17"))
    assert f'href="{path}2026-11-19" rel="prev"' in cancelled
    first = main(await visitor.get(path + "2026-08-20"))
    assert 'rel="prev"' not in first and f'href="{path}2026-10-15" rel="next"' in first
    distant = main(await visitor.get(path + "2099-12-17"))
    assert (
        f'href="{path}2099-11-19" rel="prev"' in distant and f'href="{path}2100-01-21" rel="next"' in distant
    )


async def test_each_page_leads_to_the_next_meeting_the_archive_joining_and_the_own_settings(
    visitor: httpx.AsyncClient,
) -> None:
    for path, here in (
        ("/", "/"),
        ("/archive", "/archive"),
        ("/people", "/people"),
        ("/about", "/about"),
        ("/join", "/join"),
        ("/me", "/me"),
        ("/privacy", ""),
    ):
        page = (await visitor.get(path)).text
        navigation = page.partition("<nav")[2].partition("</nav>")[0]
        last = "/me" if path == "/me" else "/join"
        assert re.findall('href="([^"]+)"', navigation) == ["/", "/archive", "/people", "/about", last]
        assert re.findall('href="([^"]+)" aria-current="page"', navigation) == [here][: bool(here)]
        foot = page.partition("<footer")[2]
        assert all(f'href="{target}"' in foot for target in FOOT)


async def test_privacy_leads_to_leaving_home_to_the_own_page_and_leaving_to_coming_back(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    own = await own_tokens(installation)
    assert 'href="/me"' in main(await visitor.get("/"))
    assert "Leave the list" in main(await visitor.get("/privacy"))
    me = main(await visitor.get(f"/me/{own[Purpose.PREFERENCES]}"))
    leave = re.search(r'href="(/u/\w+)"', me)
    assert leave and "Leave Conversation for Kindness?" in (await visitor.get(leave[1])).text
    left = await visitor.post(leave[1])
    assert "You have left" in left.text and 'href="/join"' in main(left)
    for path in (
        f"/me/{own[Purpose.PREFERENCES]}",
        f"/rsvp/{own[Purpose.RSVP]}",
        f"/subscribe/{own[Purpose.SUBSCRIBE]}",
        f"/go/{own[Purpose.JOIN]}/{KEY}",
    ):
        assert 'href="/join"' in main(await visitor.get(path)), path


async def test_members_who_left_can_ask_to_join_again(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await installation.change("Bo", status="left", active_since=None)
    form = {
        "name": "Bo",
        "email": "bo@example.org",
        "country": "NZ",
        "zone": "Pacific/Auckland",
        "locale": "en",
    }
    await visitor.post("/join", data={**form, "consent": "yes", "confirmed": "Pacific/Auckland"})
    await installation.tick()
    assert [one for one in await installation.reports() if one.kind == "confirmation" and one.name == "Bo"]


async def test_a_series_description_is_shown_on_its_meetings_and_in_front(installation: Installation) -> None:
    installation.series = (replace(SERIES, description="Bring a cup of tea.\nCameras are <optional>."),)
    transport = httpx.ASGITransport(make_app(installation))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as visitor:
        for path in ("/", f"/meetings/{KEY}"):
            assert "Bring a cup of tea.\nCameras are &lt;optional&gt;." in main(await visitor.get(path)), path


@pytest.mark.parametrize("kind", ["invitation", "reminder", "update", "cancellation", "welcome"])
def test_the_card_of_a_mail_names_the_series(kind: str) -> None:
    html = mails.received(mails.message(mails.EVERY_MAIL[kind])).html
    card = re.search(r'<td class="when[^>]*>(.*?)</td>', html, re.DOTALL)
    assert card and "\u2068Conversation for Kindness\u2069" in card[1]


@pytest.mark.parametrize("kind", mails.EVERY_MAIL)
def test_names_in_a_mail_stand_between_the_signs_that_gmail_yahoo_and_outlook_keep(kind: str) -> None:
    name = "נועה <כהן>"
    html = mails.received(mails.message(mails.EVERY_MAIL[kind], mails.MEI._replace(name=name))).html
    assert "<bdi" not in html
    assert html.count("נועה") == html.count("\u2068נועה &lt;כהן&gt;\u2069")
    assert html.count("\u2068") == html.count("\u2069")


# What is wrong with a form.


def problems(answer: httpx.Response) -> dict[str, str]:
    """The summary above a form: what each of its links leads to, and what it says."""
    box = re.search(r'<div class="notice problems" role="alert".*?</div>', answer.text, re.DOTALL)
    assert box and "There is a problem" in box[0]
    return dict(re.findall(r'<a href="#(\w+)">(.*?)</a>', box[0]))


WRONG_ME = [
    (
        {**DETAILS, "name": "a\u202eb", "zone": "x", "locale": "?", "cycle": "h99"},
        {"name", "zone", "locale", "cycle"},
    ),
    ({"act": "notices", "invitation_by": "pigeon"}, {"invitation_by"}),
    ({"act": "pause", "until": "tomorrow"}, {"until"}),
    ({"act": "pause", "until": "2026-11-01"}, {"until"}),
    ({"act": "pause", "until": "2099-01-01"}, {"until"}),
    ({"act": "feed", "alarm": "61"}, {"alarm"}),
]
WRONG_JOIN = [
    ({}, {"name", "email", "country", "consent"}),
    (
        {
            "name": "x" * 300,
            "email": "bo@@x",
            "country": "Narnia",
            "zone": "EST",
            "locale": "?",
            "words": "x" * 3000,
        },
        {"name", "email", "country", "zone", "locale", "words", "consent"},
    ),
    ({"name": "Di", "email": "di@example.org", "country": "XK", "consent": "yes"}, {"zone"}),
]


def check(answer: httpx.Response, names: set[str]) -> None:
    found = problems(answer)
    assert answer.status_code == 422 and set(found) == names
    for name, words in found.items():
        assert words.startswith("You need to "), words
        assert len(re.findall(f'<(?:input|select|textarea|button)[^>]* id="{name}"', answer.text)) == 1, name
        assert f'id="{name}-complaint">{words}</p>' in answer.text
        assert re.search(f'aria-describedby="{name}-complaint', answer.text), name


@pytest.mark.parametrize(("form", "names"), WRONG_ME)
async def test_what_is_wrong_on_the_own_page_is_summed_up_and_leads_to_its_fields(
    installation: Installation, visitor: httpx.AsyncClient, form: dict[str, str], names: set[str]
) -> None:
    check(
        await visitor.post(f"/me/{(await own_tokens(installation))[Purpose.PREFERENCES]}", data=form), names
    )


@pytest.mark.parametrize(("form", "names"), WRONG_JOIN)
async def test_what_is_wrong_with_an_application_is_summed_up_and_leads_to_its_fields(
    visitor: httpx.AsyncClient, form: dict[str, str], names: set[str]
) -> None:
    check(await visitor.post("/join", data={"locale": "en", **form}), names)


async def test_what_is_wrong_with_the_other_forms_is_summed_up_too(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    own = await own_tokens(installation)
    fresh = f"/sign-in/{await fresh_token(installation)}"
    check(await visitor.post("/me", data={"email": "bo"}), {"email"})
    check(await visitor.post(f"/rsvp/{own[Purpose.RSVP]}", data={"answer": "?"}), {"answer"})
    check(await visitor.post(fresh, data={"act": "address", "email": "bo@example.org"}), {"email"})
    check(await visitor.post(fresh, data={"act": "address", "email": "?"}), {"email"})
    check(await visitor.post(fresh, data={"act": "erase"}), {"sure"})
    await installation.change("Bo", suppressed_at=installation.clock.now())
    check(await visitor.post(f"/me/{own[Purpose.PREFERENCES]}", data={"act": "links"}), {"links"})
    for path in ("/join", f"/me/{own[Purpose.PREFERENCES]}", "/me", f"/rsvp/{own[Purpose.RSVP]}"):
        assert "There is a problem" not in (await visitor.get(path)).text, path


# What is too large.


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(LONG // 1000):
        yield b"a" * 1000


@pytest.mark.parametrize("path", ["/join", "/me", "/u/x", "/me/x", "/rsvp/x", "/confirm/x", "/sign-in/x"])
async def test_a_form_that_is_too_large_gets_a_page(installation: Installation, path: str) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    async with served(make_app(installation)) as address, httpx.AsyncClient(base_url=address) as visitor:
        for answer in (
            await visitor.post(path, data={"name": "x" * LONG}),
            await visitor.post(path, files=[("name", (None, "x" * LONG))]),
            await visitor.post(path, files=[("name", ("a.txt", "x" * LONG))]),
            await visitor.post(path, content=chunks(), headers=kind),
            await visitor.post(path, content=b"x" * 5_000_000),
        ):
            assert answer.status_code == 413
            assert "The form is too long" in answer.text and "You need to go back" in answer.text
            assert answer.headers["Content-Type"].startswith("text/html")
            assert "Content-Security-Policy" in answer.headers and 'href="/"' in main(answer)


@pytest.mark.parametrize("length", ["-1", "1e9", "٣", "9" * 5000, "", "65537", " 70000"])
async def test_a_wrong_length_is_no_fault_of_ours(visitor: httpx.AsyncClient, length: str) -> None:
    request = visitor.build_request("POST", "/join", content=b"name=Di")
    request.headers["Content-Length"] = length.encode("utf-8", "replace").decode("latin-1")
    assert (await visitor.send(request)).status_code in (413, 422)


async def transferred(visitor: httpx.AsyncClient, path: str) -> int:
    """Return how many bytes of an answer come over the network."""
    async with visitor.stream("GET", path) as answer:
        return sum([len(chunk) async for chunk in answer.aiter_raw()])


async def test_every_public_page_is_smaller_than_60_kb_with_its_style_and_scripts(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    for path in (
        "/",
        f"/meetings/{KEY}",
        "/archive",
        "/join",
        "/subscribe",
        "/privacy",
        "/me",
        "/embed/next",
    ):
        page = await visitor.get(path)
        parts = re.findall(r'(?:<link rel="stylesheet" href|<script src)="([^"]+)"', page.text)
        assert "/static/style.css" in parts
        sizes = {part: await transferred(visitor, part) for part in (path, *parts)}
        assert sum(sizes.values()) < 60 * 1024, sizes
