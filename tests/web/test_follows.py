"""The pages on which visitors and members choose the series they follow, and the pages of each series."""

import asyncio
import html
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl

import httpx
import pytest
from sqlalchemy import Engine, event
from starlette.applications import Starlette

from scheduler.domain.actor import SERVICE
from scheduler.domain.occurrence import Series
from scheduler.domain.token import Purpose
from scheduler.service import join_requests
from scheduler.service.follows import followed_by
from scheduler.service.occurrences import Change, amend
from scheduler.store import follows, members
from scheduler.store import join_requests as stored_requests
from tests.conftest import CopyDatabase
from tests.installation import SERIES, Installation, address_of, open_installation
from tests.web.conftest import NOW, make_app
from tests.web.test_any_form import own_tokens
from tests.web.test_join import GOOD, SURE

ROUNDS = replace(
    SERIES,
    slug="rounds",
    title="Case rounds",
    rule="every Thursday",
    description="Bring a case.",
)
ETHICS = replace(
    SERIES,
    slug="ethics",
    title='Ethics & "tea" <table>',
    rule="last Monday of the month",
    zone="Europe/Paris",
    by_choice=True,
)
JOURNAL = replace(
    SERIES, slug="journal", title="Journal club", rule="first and third Tuesday", by_choice=True
)
ALL = (ROUNDS, ETHICS, JOURNAL)


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, NOW, url=url, series=ALL) as installation:
        await installation.tick()
        await installation.join(("Ann", "Europe/London"), ("Bo", "Pacific/Auckland"))


@pytest.fixture
async def installation(tmp_path: Path, copy_sqlite: CopyDatabase) -> AsyncIterator[Installation]:
    async with open_installation(tmp_path, NOW, url=await copy_sqlite(fill), series=ALL) as installation:
        yield installation


async def followed(installation: Installation, name: str) -> list[str]:
    async with installation.database.read() as connection:
        member = await members.by_key(connection, address_of(name))
        assert member
        return await followed_by(connection, member, installation.series)


async def choices(installation: Installation, name: str) -> dict[str, bool]:
    async with installation.database.read() as connection:
        member = await members.by_key(connection, address_of(name))
        assert member
        return await follows.choices_of(connection, member.id)


async def status(installation: Installation, name: str) -> str:
    async with installation.database.read() as connection:
        member = await members.by_key(connection, address_of(name))
        assert member
        return member.status


async def link_to_confirm(installation: Installation, name: str = "Maya") -> str:
    async with installation.database.read() as connection:
        member = await members.by_key(connection, address_of(name))
    assert member
    return "/confirm/" + installation.keys.token(
        Purpose.CONFIRM,
        member.id,
        generation=member.generation,
        expires=installation.clock.now() + timedelta(days=2),
    )


async def accept(installation: Installation) -> None:
    async with installation.database.read() as connection:
        (request,) = await stored_requests.waiting(connection)
    await join_requests.accept(
        installation.database,
        request.id,
        by=SERVICE,
        all_series=installation.series,
        now=installation.clock.now(),
    )


def checked(page: str) -> dict[str, bool]:
    """Whether the box of each series is checked."""
    boxes = re.findall(r'<input type="checkbox"[^>]* name="follows" value="([^"]*)"( checked)?', page)
    return {slug: bool(mark) for slug, mark in boxes}


def hidden(page: str) -> list[tuple[str, str]]:
    return re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)


# Joining


async def test_who_asks_to_join_chooses_series_and_those_that_everyone_follows_are_checked(
    visitor: httpx.AsyncClient,
) -> None:
    page = (await visitor.get("/join")).text
    assert checked(page) == {"rounds": True, "ethics": False, "journal": False}
    assert "Which meetings would you like to follow?" in page
    assert "Every Thursday, 18:00 to 19:00 in London" in page and "Bring a case." in page
    assert "The last Monday of every month, 18:00 to 19:00 in Paris" in page
    page = (await visitor.get("/join?series=journal")).text
    assert checked(page) == {"rounds": True, "ethics": False, "journal": True}
    assert checked((await visitor.get("/join?series=nothing")).text)["rounds"]


@pytest.mark.parametrize("wanted", [[], ["nothing"], [""], ["rounds "]])
async def test_who_asks_to_join_must_choose_at_least_one_series(
    installation: Installation, visitor: httpx.AsyncClient, wanted: list[str]
) -> None:
    answer = await visitor.post("/join", data={**SURE, "follows": wanted})
    assert answer.status_code == 422
    assert '<a href="#follows">You need to choose at least one kind of meeting.</a>' in answer.text
    assert 'id="follows" name="follows"' in answer.text and 'value="maya@example.org"' in answer.text
    assert not any(checked(answer.text).values())
    await installation.tick()
    assert not [mail for mail in installation.mails() if "maya" in str(mail["To"])]


async def test_the_errors_of_the_form_are_listed_in_the_order_of_its_fields(
    visitor: httpx.AsyncClient,
) -> None:
    page = (await visitor.post("/join", data={"words": "\0", "zone": "x"})).text
    listed = re.findall(r'<li><a href="#(\w+)">', page)
    assert listed == ["name", "email", "country", "zone", "locale", "follows", "words", "consent"]
    assert listed == [field for field in re.findall(r' id="(\w+)"', page) if field in listed]


async def test_the_chosen_series_outlast_errors_the_page_of_the_time_and_the_way_back(
    visitor: httpx.AsyncClient,
) -> None:
    wanted = {"rounds": False, "ethics": True, "journal": True}
    slugs = ["ethics", "journal"]
    wrong = await visitor.post("/join", data={**GOOD, "email": "?", "follows": slugs})
    assert wrong.status_code == 422 and checked(wrong.text) == wanted
    time = await visitor.post("/join", data={**GOOD, "follows": slugs})
    assert "Is this the right time for you?" in time.text
    # The first Monday or Tuesday, not the Thursday of the series that was not chosen.
    assert "Wednesday 18 November 2026" in time.text
    assert f"the next meeting of {JOURNAL.title} is:" in time.text
    kept = [value for name, value in hidden(time.text) if name == "follows"]
    assert kept == slugs
    fields: dict[str, list[str]] = {}
    for name, value in hidden(time.text):
        fields.setdefault(name, []).append(value)
    back = await visitor.post("/join", data={**fields, "act": "back"})
    assert checked(back.text) == wanted
    offers = await visitor.post("/join", data={**GOOD, "zone": "", "follows": slugs})
    assert "Which is your time zone?" in offers.text
    assert f"when the next meeting of {JOURNAL.title} starts there" in offers.text
    assert [value for name, value in hidden(offers.text) if name == "follows"] == slugs
    sent = await visitor.post("/join", data={**fields, "confirmed": "Pacific/Auckland"})
    assert "Check your email" in sent.text


async def test_a_request_says_which_series_and_its_acceptance_makes_them_the_members_own_choices(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await visitor.post("/join", data={**SURE, "follows": ["ethics", "gone"]})
    await installation.tick()
    link = await link_to_confirm(installation)
    page = (await visitor.get(link)).text
    assert "<dd>Ethics &amp; &#34;tea&#34; &lt;table&gt;</dd>" in page
    await visitor.post(link)
    async with installation.database.read() as connection:
        (request,) = await stored_requests.waiting(connection)
    assert request.follows == {"rounds": False, "ethics": True, "journal": False}
    await accept(installation)
    assert await choices(installation, "Maya") == {"rounds": False, "ethics": True, "journal": False}
    await installation.live(datetime(2026, 11, 17, 12, tzinfo=UTC))
    sent = await installation.reports(name="Maya", kind="invitation", state="sent")
    assert {report.occurrence for report in sent} == {"ethics/2026-11-30"}


async def test_a_choice_that_is_the_default_is_a_choice_all_the_same(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await visitor.post("/join", data={**SURE, "follows": ["rounds"]})
    await installation.tick()
    await visitor.post(await link_to_confirm(installation))
    await accept(installation)
    assert await choices(installation, "Maya") == {"rounds": True, "ethics": False, "journal": False}


async def test_with_open_membership_the_chosen_series_are_followed_at_once(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await visitor.post("/join", data={**SURE, "follows": ["journal"]})
    await installation.tick()
    token = (await link_to_confirm(installation)).removeprefix("/confirm/")
    await join_requests.confirm(
        installation.database,
        token,
        keys=installation.keys,
        admits=True,
        all_series=installation.series,
        now=installation.clock.now(),
    )
    assert await followed(installation, "Maya") == ["journal"]


async def test_a_member_who_left_comes_back_to_the_series_they_choose_now(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    own = await own_tokens(installation)
    await visitor.post(f"/me/{own[Purpose.PREFERENCES]}", data={"act": "series", "follows": ["ethics"]})
    await visitor.post(f"/u/{own[Purpose.LEAVE]}")
    installation.clock.pass_(timedelta(days=2))
    form = {**SURE, "email": address_of("Bo"), "follows": ["rounds", "journal"]}
    await visitor.post("/join", data=form)
    await installation.tick()
    await visitor.post(await link_to_confirm(installation, "Bo"))
    await accept(installation)
    assert await followed(installation, "Bo") == ["rounds", "journal"]


async def test_a_series_removed_since_the_request_is_left_out_and_a_new_one_has_its_default(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await visitor.post("/join", data={**SURE, "follows": ["ethics"]})
    await installation.tick()
    await visitor.post(await link_to_confirm(installation))
    installation.series = (ROUNDS, JOURNAL, replace(ROUNDS, slug="new"))
    await accept(installation)
    assert await choices(installation, "Maya") == {"rounds": False, "journal": False}
    assert await followed(installation, "Maya") == ["new"]


async def test_with_one_series_nobody_is_asked(installation: Installation) -> None:
    installation.series = (ROUNDS,)
    transport = httpx.ASGITransport(make_app(installation), client=("127.0.0.1", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as visitor:
        assert "follow" not in (await visitor.get("/join")).text
        assert "Check your email" in (await visitor.post("/join", data=SURE)).text
        await installation.tick()
        link = await link_to_confirm(installation)
        assert "Meetings" not in (await visitor.get(link)).text
        await visitor.post(link)
        await accept(installation)
        assert await choices(installation, "Maya") == {}
        own = await own_tokens(installation)
        for path in (f"/me/{own[Purpose.PREFERENCES]}", f"/u/{own[Purpose.LEAVE]}?series=rounds"):
            assert "follow" not in (await visitor.get(path)).text
        home = (await visitor.get("/")).text
        page = await visitor.get("/series/rounds")
        assert page.status_code == 200 and "Every Thursday, 18:00 to 19:00 in London" in page.text
        assert "/series/" not in home and home.count("<li>") > 12 and "Upcoming meetings" in home


async def test_a_single_series_by_choice_can_be_chosen(installation: Installation) -> None:
    installation.series = (JOURNAL,)
    transport = httpx.ASGITransport(make_app(installation), client=("127.0.0.1", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as visitor:
        assert checked((await visitor.get("/join")).text) == {"journal": False}
        own = await own_tokens(installation)
        me = f"/me/{own[Purpose.PREFERENCES]}"
        assert checked((await visitor.get(me)).text) == {"journal": False}
        await visitor.post(me, data={"act": "series", "follows": "journal"})
        assert await followed(installation, "Bo") == ["journal"]


# The member's own page


async def test_members_see_first_which_series_they_follow_with_the_next_meetings_in_their_own_time(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    own = await own_tokens(installation)
    me = f"/me/{own[Purpose.PREFERENCES]}"
    page = (await visitor.get(me)).text
    assert page.index("The meetings you follow") == page.index("<h2") + len('<h2 id="series-heading">')
    assert checked(page) == {"rounds": True, "ethics": False, "journal": False}
    for shown in (
        '<time datetime="2026-11-06T07:00:00+13:00">Friday 6 November 2026, 07:00</time>',
        '<time datetime="2026-12-01T06:00:00+13:00">Tuesday 1 December 2026, 06:00</time>',
        '<time datetime="2026-11-18T07:00:00+13:00">Wednesday 18 November 2026, 07:00</time>',
    ):
        assert shown in page
    saved = await visitor.post(me, data={"act": "series", "follows": ["ethics", "journal", "nothing"]})
    assert saved.status_code == 303
    page = (await visitor.get(saved.headers["Location"])).text
    assert "We have saved which meetings you follow." in page
    assert checked(page) == {"rounds": False, "ethics": True, "journal": True}
    assert await choices(installation, "Bo") == {"rounds": False, "ethics": True, "journal": True}
    none = await visitor.post(me, data={"act": "series"})
    assert "You do not follow any of our meetings" in (await visitor.get(none.headers["Location"])).text
    assert await followed(installation, "Bo") == [] and await status(installation, "Bo") == "active"


@pytest.mark.parametrize(
    "slug", ["event", "member", "choices", "level", "self", "next", "heading", "main", "feed"]
)
async def test_a_series_may_have_any_slug(tmp_path: Path, slug: str) -> None:
    named = replace(JOURNAL, slug=slug)
    begin = datetime(2026, 11, 4, 12, tzinfo=UTC)
    async with open_installation(tmp_path, begin, series=(ROUNDS, named)) as installation:
        await installation.join(("Bo", "Pacific/Auckland"))
        own = await own_tokens(installation)
        transport = httpx.ASGITransport(make_app(installation), client=("127.0.0.1", 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as visitor:
            saved = await visitor.post(
                f"/me/{own[Purpose.PREFERENCES]}", data={"act": "series", "follows": slug}
            )
            assert saved.status_code == 303 and await followed(installation, "Bo") == [slug]
            for path in ("/", f"/series/{slug}", "/subscribe", "/join"):
                ids = re.findall(r' id="([^"]+)"', (await visitor.get(path)).text)
                assert len(ids) == len(set(ids)), path
            await visitor.post(f"/u/{own[Purpose.LEAVE]}?unfollow={slug}")
            assert await followed(installation, "Bo") == []


async def test_a_new_zone_is_compared_at_the_next_meeting_that_the_member_follows(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    own = await own_tokens(installation)
    me = f"/me/{own[Purpose.PREFERENCES]}"
    await visitor.post(me, data={"act": "series", "follows": "ethics"})
    details = {"act": "details", "name": "Bo", "zone": "Asia/Tokyo", "locale": "en-GB", "cycle": ""}
    page = (await visitor.post(me, data=details)).text
    assert f"The next meeting of {ETHICS.title} is at:" in html.unescape(page)
    assert "Tuesday 1 December 2026" in page


# The page behind the link to leave


async def test_the_page_of_the_link_to_leave_offers_to_stop_following_the_series_of_the_mail(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    own = await own_tokens(installation)
    await visitor.post(
        f"/me/{own[Purpose.PREFERENCES]}", data={"act": "series", "follows": ["rounds", "ethics"]}
    )
    leave = f"/u/{own[Purpose.LEAVE]}"
    page = (await visitor.get(f"{leave}?series=ethics")).text
    assert re.findall(r'action="\?unfollow=(\w+)"', page) == ["ethics"]
    # It is what they asked for, so it comes first: somebody in a hurry does not leave the list.
    assert "<h1>Stop following Ethics &amp; &#34;tea&#34; &lt;table&gt;?</h1>" in page
    assert page.index("unfollow=ethics") < page.index("Leave the list")
    assert "Leave the list" in page and "Pause for three months" in page
    # A member who was invited is still told when the meeting is moved or cancelled.
    assert "get no more invitations or reminders for these meetings." in page
    assert "or other emails about" not in page
    for query in ("", "?series=journal", "?series=nothing", "?series="):
        page = (await visitor.get(leave + query)).text
        assert ("You do not follow Journal club any more." in page) == (query == "?series=journal")
        assert "<h1>Leave " in page
        assert re.findall(r'action="\?unfollow=(\w+)"', page) == ["rounds", "ethics"]
    assert await followed(installation, "Bo") == ["rounds", "ethics"]


async def test_one_press_stops_following_one_series_and_says_what_still_comes(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    own = await own_tokens(installation)
    leave = f"/u/{own[Purpose.LEAVE]}"
    await visitor.post(
        f"/me/{own[Purpose.PREFERENCES]}", data={"act": "series", "follows": ["rounds", "journal"]}
    )
    for _ in range(2):
        page = await visitor.post(f"{leave}?unfollow=rounds")
        assert page.status_code == 200 and page.headers["Cache-Control"] == "no-store"
        assert "<h1>You no longer follow Case rounds</h1>" in page.text
        assert "<li>Journal club</li>" in page.text and 'href="/me"' in page.text
    assert await followed(installation, "Bo") == ["journal"]
    page = await visitor.post(f"{leave}?unfollow=journal")
    assert "do not follow any of our meetings now" in page.text
    assert await status(installation, "Bo") == "active" and await followed(installation, "Bo") == []
    assert "unfollow=" not in (await visitor.get(leave)).text


@pytest.mark.parametrize("query", ["", "?series=ethics", "?series=rounds", "?series=nothing", "?series="])
@pytest.mark.parametrize("body", ["List-Unsubscribe=One-Click", "unfollow=rounds", "series=rounds", ""])
async def test_one_click_leaves_the_list_whatever_series_the_link_names(
    installation: Installation, visitor: httpx.AsyncClient, query: str, body: str
) -> None:
    own = await own_tokens(installation)
    data = dict(parse_qsl(body))
    page = await visitor.post(f"/u/{own[Purpose.LEAVE]}{query}", data=data)
    assert "You have left" in page.text
    assert await status(installation, "Bo") == "left" and await followed(installation, "Bo") == ["rounds"]


@pytest.mark.parametrize("query", ["?unfollow=nothing", "?unfollow=", "?unfollow=Rounds", "?unfollow=%00"])
async def test_a_series_that_does_not_exist_cannot_be_unfollowed_and_nobody_leaves(
    installation: Installation, visitor: httpx.AsyncClient, query: str
) -> None:
    own = await own_tokens(installation)
    assert (await visitor.post(f"/u/{own[Purpose.LEAVE]}{query}")).status_code == 404
    assert await status(installation, "Bo") == "active" and await choices(installation, "Bo") == {}


async def test_only_a_link_that_works_stops_following(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    own = await own_tokens(installation)
    leave = f"/u/{own[Purpose.LEAVE]}"
    assert (await visitor.get(f"{leave}?unfollow=rounds")).status_code == 200
    assert await choices(installation, "Bo") == {}
    assert (await visitor.post("/u/x?unfollow=rounds")).status_code == 404
    assert (await visitor.post(f"/u/{own[Purpose.PREFERENCES]}?unfollow=rounds")).status_code == 404
    assert await choices(installation, "Bo") == {}
    await visitor.post(leave)
    assert "You have left" in (await visitor.post(f"{leave}?unfollow=rounds")).text
    assert await choices(installation, "Bo") == {}


# Public pages


def sections(page: str) -> dict[str, list[str]]:
    """The keys of the meetings that the home page lists for each series."""
    found = re.findall(r'<div id="coming-([\w-]+)" data-local>(.*?)</section>', page, re.DOTALL)
    return {slug: re.findall(r'href="/meetings/([^"?]+)', content) for slug, content in found}


async def test_the_home_page_has_a_section_with_the_next_three_meetings_of_each_series(
    visitor: httpx.AsyncClient,
) -> None:
    page = (await visitor.get("/")).text
    assert sections(page) == {
        "rounds": ["rounds/2026-11-05", "rounds/2026-11-12", "rounds/2026-11-19"],
        "ethics": ["ethics/2026-11-30", "ethics/2026-12-28", "ethics/2027-01-25"],
        "journal": ["journal/2026-11-17", "journal/2026-12-01", "journal/2026-12-15"],
    }
    for slug in ("rounds", "ethics", "journal"):
        assert f'<a href="/series/{slug}">' in page
    assert page.count("<h2") == page.count("<section") and '<p class="series">Case rounds</p>' in page
    kept = (await visitor.get("/?zone=Asia/Kolkata")).text
    assert 'href="/series/rounds?zone=Asia%2FKolkata"' in kept and "23:30 in Kolkata" in kept


async def test_the_page_of_a_meeting_leads_to_its_series_and_a_link_to_join_to_the_next_that_one_follows(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    assert 'href="/series/rounds"' in (await visitor.get("/meetings/rounds/2026-11-12")).text
    own = await own_tokens(installation)
    await visitor.post(f"/me/{own[Purpose.PREFERENCES]}", data={"act": "series", "follows": "ethics"})
    over = (await visitor.get(f"/go/{own[Purpose.JOIN]}/rounds/2026-10-29")).text
    assert "Tuesday 1 December 2026" in over and "Friday 6 November 2026" not in over


async def test_each_series_has_a_page(installation: Installation, visitor: httpx.AsyncClient) -> None:
    answer = await visitor.get("/series/rounds")
    page = answer.text
    assert answer.status_code == 200 and "<h1>Case rounds</h1>" in page and "Bring a case." in page
    assert "Every Thursday, 18:00 to 19:00 in London" in page
    coming = page.partition('id="coming"')[2].partition("</section>")[0]
    assert re.findall(r"/meetings/rounds/([\d-]+)", coming) == [
        str(date(2026, 11, 5) + timedelta(weeks=week)) for week in range(12)
    ]
    assert 'href="webcal://meet.example.org/calendar/rounds.ics"' in page
    assert 'value="https://meet.example.org/calendar/rounds.ics"' in page
    assert (await visitor.get("/calendar/rounds.ics")).status_code == 200
    assert "/meetings/ethics/" not in page and "/meetings/journal/" not in page
    ethics = (await visitor.get("/series/ethics")).text
    assert "<h1>Ethics &amp; &#34;tea&#34; &lt;table&gt;</h1>" in ethics
    for path in ("/series/nothing", "/series/Rounds", "/series/rounds/x", "/series/rounds?year=1999"):
        assert (await visitor.get(path)).status_code == 404
    assert (await visitor.get("/series")).headers["Location"] == "/"
    assert (await visitor.get("/series?zone=Asia/Tokyo")).headers["Location"] == "/?zone=Asia%2FTokyo"


async def test_a_series_page_lists_the_past_meetings_of_each_year_for_which_something_is_recorded(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    for day in ("2025-01-02", "2025-12-18", "2026-10-22", "2026-10-29"):
        change, now = Change(topic=f"Topic of {day}"), installation.clock.now()
        await amend(installation.database, installation.by_slug, f"rounds/{day}", change, now=now)
    page = (await visitor.get("/series/rounds")).text
    past = re.findall(r"/meetings/(\w+)/([\d-]+)", page.partition('id="past-heading"')[2])
    assert past == [("rounds", "2026-10-29"), ("rounds", "2026-10-22")]
    assert 'href="/series/rounds?year=2025"' in page
    before = (await visitor.get("/series/rounds?year=2025")).text.partition('id="past-heading"')[2]
    assert re.findall(r"/meetings/rounds/([\d-]+)", before) == ["2025-12-18", "2025-01-02"]
    assert 'aria-current="page">2025' in before
    archive = (await visitor.get("/archive?year=2025")).text
    assert "Case rounds" in archive and "Topic of 2025-12-18" in archive


async def test_a_series_page_shows_cancelled_meetings_and_the_next_one_that_is_held(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await amend(
        installation.database,
        installation.by_slug,
        "rounds/2026-11-05",
        Change(cancel=True),
        now=installation.clock.now(),
    )
    page = (await visitor.get("/series/rounds")).text
    card = page.partition('<div id="next"')[2].partition("</div>")[0]
    assert "Thursday 12 November 2026" in card
    assert '<span class="tag bad">Cancelled</span>' in page


async def test_a_series_that_ended_still_has_its_page(installation: Installation) -> None:
    ended = replace(JOURNAL, rule="FREQ=WEEKLY;BYDAY=TU;UNTIL=20261103")
    installation.series = (ROUNDS, ended)
    transport = httpx.ASGITransport(make_app(installation), client=("127.0.0.1", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as visitor:
        page = await visitor.get("/series/journal")
        assert page.status_code == 200 and "No meeting is planned at the moment." in page.text
        assert sections((await visitor.get("/")).text)["journal"] == []
        own = await own_tokens(installation)
        me = (await visitor.get(f"/me/{own[Purpose.PREFERENCES]}")).text
        assert "No meeting is planned at the moment." in me
        only = {**GOOD, "follows": "journal"}
        time = (await visitor.post("/join", data=only)).text
        assert "You are in the Auckland time zone, and no meeting is planned" in time
        assert "the next meeting is" not in time


async def test_the_page_to_subscribe_offers_the_calendar_of_all_and_of_each_series(
    visitor: httpx.AsyncClient,
) -> None:
    page = (await visitor.get("/subscribe")).text
    assert 'value="https://meet.example.org/calendar.ics"' in page
    for series in ALL:
        assert f'value="https://meet.example.org/calendar/{series.slug}.ics"' in page
        assert f'href="/subscribe?series={series.slug}"' in page
    one = (await visitor.get("/subscribe?series=journal")).text
    assert 'value="https://meet.example.org/calendar/journal.ics"' in one
    assert "calendar%2Fjournal.ics" in one and "/calendar.ics" not in one
    assert "<h1>Add Journal club to your calendar</h1>" in one
    assert (await visitor.get("/subscribe?series=nothing")).status_code == 404
    assert "which meetings you follow" in (await visitor.get("/privacy")).text


async def test_series_pages_are_answered_from_memory_until_something_changes(
    installation: Installation, app: Starlette
) -> None:
    site = app.state.site
    watching = asyncio.ensure_future(site.feed_cache.watch())
    while not site.feed_cache.is_watched:
        await asyncio.sleep(0.01)
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 50_000))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as visitor:
            paths = ("/series/rounds", "/series/rounds?zone=Asia/Tokyo", "/subscribe?series=rounds")
            first = {path: (await visitor.get(path)).text for path in paths}
            with counted_statements() as statements:
                assert first == {path: (await visitor.get(path)).text for path in paths}
            assert not [one for one in statements if "occurrences" in one]
    finally:
        watching.cancel()


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """The statements that any database gets meanwhile."""
    statements: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield statements
    event.remove(Engine, "before_cursor_execute", note)


async def test_a_page_needs_as_many_queries_for_twelve_series_as_for_two(tmp_path: Path) -> None:
    weekly = [replace(ROUNDS, slug=f"weekly-{number}", title=f"Weekly {number}") for number in range(12)]
    counts: dict[int, dict[str, int]] = {2: {}, 12: {}}
    for several, count in counts.items():
        (folder := tmp_path / str(several)).mkdir()
        all_series: tuple[Series, ...] = tuple(weekly[:several])
        async with open_installation(folder, NOW, series=all_series) as installation:
            await installation.tick()
            await installation.join(("Bo", "Pacific/Auckland"))
            own = await own_tokens(installation)
            for path in ("/", f"/me/{own[Purpose.PREFERENCES]}", "/series/weekly-0", "/subscribe", "/join"):
                # A new site each time: it has not read anything yet.
                transport = httpx.ASGITransport(make_app(installation), client=("127.0.0.1", 50_000))
                async with httpx.AsyncClient(
                    transport=transport, base_url="http://127.0.0.1:8000"
                ) as visitor:
                    with counted_statements() as statements:
                        assert (await visitor.get(path)).status_code == 200
                    count["/me" if path.startswith("/me/") else path] = len(statements)
    assert counts[2] == counts[12]
