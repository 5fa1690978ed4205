"""Private feeds and the pages that lead to them, as calendar programs and browsers ask for them."""

import gzip
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from icalendar import Calendar
from structlog.testing import capture_logs

from scheduler.domain.token import Purpose
from scheduler.domain.translation import translator
from scheduler.service.feeds import feed_preferences, members_feed, subscribe_url
from scheduler.service.follows import follow
from scheduler.service.members import remove_member, rotate_member
from scheduler.service.occurrences import Change, amend
from scheduler.service.preferences import change_details
from scheduler.store import members
from scheduler.store.members import Member
from tests.installation import COMMUNITY, SERIES, Installation, address_of, open_installation
from tests.web.conftest import make_app, same_each_time

KEY = "conversation-for-kindness/2026-11-19"
ROOM = "room.example.org"


async def person(installation: Installation, name: str = "Bo") -> Member:
    async with installation.database.read() as connection:
        found = await members.by_key(connection, address_of(name))
        assert found
        return found


async def address(installation: Installation, name: str = "Bo") -> str:
    one = await person(installation, name)
    return f"/cal/{installation.keys.token(Purpose.FEED, one.id, generation=one.feed_generation)}.ics"


def unfolded(answer: httpx.Response) -> str:
    return answer.text.replace("\r\n ", "")


async def later(installation: Installation) -> None:
    installation.clock.pass_(timedelta(seconds=2))


async def test_a_private_feed_has_the_public_ones_meetings_with_the_members_own_way_in(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    public, own = await visitor.get("/calendar.ics"), await visitor.get(await address(installation))
    bo = await person(installation)
    assert own.status_code == 200
    assert own.headers["Content-Type"] == "text/calendar; charset=utf-8"
    assert own.headers["Content-Disposition"] == 'inline; filename="calendar.ics"'
    assert own.headers["Cache-Control"] == "private, max-age=300"
    assert own.headers["Referrer-Policy"] == "no-referrer" and own.headers["X-Robots-Tag"] == "noindex"
    assert "Set-Cookie" not in own.headers
    events = [Calendar.from_ical(one.content).events for one in (public, own)]
    assert [str(one["UID"]) for one in events[0]] == [str(one["UID"]) for one in events[1]]
    join_url = COMMUNITY.join_url(installation.keys.token(Purpose.JOIN, bo.id, generation=0), KEY)
    assert f"LOCATION:{join_url}\r\n" in unfolded(own) and f"VALUE=URI:{join_url}\r\n" in unfolded(own)
    assert f"DESCRIPTION:Join: {join_url}\\n" in unfolded(own)
    assert "SOURCE" not in own.text and ROOM not in unfolded(own)


async def test_the_command_and_the_address_give_the_same_bytes(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await installation.answer("Bo", KEY, "coming")
    printed = await members_feed(
        installation.database,
        installation.series,
        COMMUNITY,
        await person(installation),
        keys=installation.keys,
        now=installation.clock.now(),
    )
    assert (await visitor.get(await address(installation))).content == printed.content


async def test_a_private_feed_answers_conditions_as_the_public_one_does(
    installation: Installation, visitor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await address(installation)
    plain = await visitor.get(path, headers={"Accept-Encoding": "identity"})
    async with visitor.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as packed:
        octets = b"".join([part async for part in packed.aiter_raw()])
    assert gzip.decompress(octets) == plain.content
    head = await visitor.head(path, headers={"Accept-Encoding": "identity"})
    assert same_each_time(head) == same_each_time(plain) and head.content == b""

    def fail(*_: object) -> None:
        raise AssertionError("rendered for a 304")

    monkeypatch.setattr("scheduler.domain.feed_template.PrivateFeed.fill", fail)
    for sent in (
        {"If-None-Match": plain.headers["ETag"]},
        {"If-None-Match": packed.headers["ETag"]},
        {"If-Modified-Since": plain.headers["Last-Modified"]},
    ):
        again = await visitor.get(path, headers=sent)
        assert again.status_code == 304 and again.content == b""
        assert again.headers["Cache-Control"] == "private, max-age=300"
        assert again.headers["Referrer-Policy"] == "no-referrer"


async def test_what_a_member_answers_and_wants_changes_their_feed_alone_and_both_its_validators(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    mine, other = await address(installation), await visitor.get(await address(installation, "Ann"))
    before = await visitor.get(mine)
    await later(installation)
    await installation.answer("Bo", KEY, "declined")
    answered = await visitor.get(mine, headers={"If-None-Match": before.headers["ETag"]})
    assert "Your answer: you are not coming" in unfolded(answered)
    assert answered.headers["Last-Modified"] > before.headers["Last-Modified"]
    await later(installation)
    wanted = feed_preferences(
        await person(installation), alarm_minutes=10, answers=False, now=installation.clock.now()
    )
    await installation.change("Bo", **wanted)
    since = {"If-Modified-Since": answered.headers["Last-Modified"]}
    ringing = await visitor.get(mine, headers=since)
    assert ringing.status_code == 200
    assert "TRIGGER:-PT10M" in ringing.text and "Your answer" not in ringing.text
    tag = {"If-None-Match": other.headers["ETag"]}
    assert (await visitor.get(await address(installation, "Ann"), headers=tag)).status_code == 304


async def test_a_private_feed_has_the_followed_series_and_a_series_followed_again_comes_back_as_it_was(
    tmp_path: Path,
) -> None:
    ethics = replace(SERIES, slug="ethics-table", title="Ethics table", rule="FREQ=MONTHLY;BYDAY=1SA")
    journal = replace(SERIES, slug="journal-club", title="Journal club", by_choice=True)
    all_series = (SERIES, ethics, journal)
    async with open_installation(
        tmp_path, datetime(2026, 11, 4, 12, tzinfo=UTC), series=all_series
    ) as installation:
        await installation.tick()
        await installation.join(("Bo", "Pacific/Auckland"), ("Ann", "Europe/London"))
        transport = httpx.ASGITransport(make_app(installation), client=("127.0.0.1", 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as visitor:
            mine, anns = await address(installation), await address(installation, "Ann")

            async def choose(**choices: bool) -> None:
                await later(installation)
                async with installation.database.write() as connection:
                    bo = await members.by_key(connection, address_of("Bo"))
                    assert bo
                    now = installation.clock.now()
                    chosen = {slug.replace("_", "-"): value for slug, value in choices.items()}
                    await follow(connection, bo, chosen, all_series=all_series, now=now)

            def series_of(answer: httpx.Response) -> set[str]:
                return {
                    str(one["UID"]).partition("-20")[0] for one in Calendar.from_ical(answer.content).events
                }

            await amend(
                installation.database,
                installation.by_slug,
                "ethics-table/2026-12-05",
                Change(move_to=datetime(2026, 12, 5, 20)),
                now=installation.clock.now(),
            )
            first, other = await visitor.get(mine), await visitor.get(anns)
            assert series_of(first) == {SERIES.slug, "ethics-table"}
            assert series_of(await visitor.get("/calendar.ics")) == {one.slug for one in all_series}
            await choose(ethics_table=False, journal_club=True)
            since = {"If-Modified-Since": first.headers["Last-Modified"]}
            second = await visitor.get(mine, headers=since)
            assert second.status_code == 200 and second.headers["ETag"] != first.headers["ETag"]
            assert series_of(second) == {SERIES.slug, "journal-club"}
            await choose(ethics_table=True, journal_club=False)
            third = await visitor.get(mine, headers={"If-Modified-Since": second.headers["Last-Modified"]})
            assert third.content == first.content and b"SEQUENCE:1" in third.content
            await choose(ethics_table=False, conversation_for_kindness=False)
            none = await visitor.get(mine)
            assert none.status_code == 200 and not Calendar.from_ical(none.content).events
            tag = {"If-None-Match": other.headers["ETag"]}
            assert (await visitor.get(anns, headers=tag)).status_code == 304


async def test_a_private_feed_is_in_its_members_language_and_new_when_they_choose_another(
    tmp_path: Path,
) -> None:
    series = replace(SERIES, titles=(("sv", "Samtal om vänlighet"),))
    begins = datetime(2026, 11, 4, 12, tzinfo=UTC)
    async with open_installation(tmp_path, begins, series=(series,)) as installation:
        await installation.tick()
        await installation.join(("Bo", "Europe/Stockholm"), ("Ann", "Europe/London"))
        await installation.answer("Bo", KEY, "coming")
        transport = httpx.ASGITransport(make_app(installation), client=("127.0.0.1", 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as visitor:
            bo = await person(installation)
            token = installation.keys.token(Purpose.PREFERENCES, bo.id, generation=bo.generation)
            mine, anns = await address(installation), await address(installation, "Ann")
            public, others = await visitor.get("/calendar.ics"), await visitor.get(anns)

            async def choose(locale: str) -> httpx.Response:
                await later(installation)
                await change_details(
                    installation.database,
                    token,
                    name=bo.name,
                    zone=bo.zone,
                    locale=locale,
                    keys=installation.keys,
                    now=installation.clock.now(),
                )
                await later(installation)
                return await visitor.get(mine)

            english, swedish = await visitor.get(mine), await choose("sv-SE")
            assert "SUMMARY:Conversation for Kindness" in unfolded(english)
            assert "SUMMARY:Samtal om vänlighet" in unfolded(swedish)
            say = translator("sv").gettext
            answered = say("Your answer: %(text)s") % {"text": say("you are coming")}
            assert answered in unfolded(swedish) and "Your answer" not in unfolded(swedish)
            assert swedish.headers["ETag"] != english.headers["ETag"]
            for sent in ("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since"):
                again = await visitor.get(mine, headers={sent[1]: english.headers[sent[0]]})
                assert again.status_code == 200, "a program with the English feed gets the Swedish one"
            dates = re.compile("(?:UID|DTSTAMP|SEQUENCE|DTSTART|DTEND)[:;].*")
            assert dates.findall(unfolded(swedish)) == dates.findall(unfolded(english))
            assert (await choose("en-US")).content == english.content
            for path, before in ("/calendar.ics", public), (anns, others):
                assert (await visitor.get(path)).headers["ETag"] == before.headers["ETag"]
            await choose("sv")
            await remove_member(installation.database, bo.address, now=installation.clock.now())
            await later(installation)
            ended = say("%(community)s: this calendar has ended") % {"community": COMMUNITY.name}
            assert f"SUMMARY:{ended}" in unfolded(await visitor.get(mine))


async def test_an_address_that_was_replaced_or_whose_member_left_says_so_for_thirty_days(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    old, anns = await address(installation), await address(installation, "Ann")
    assert (await visitor.get(old)).status_code == 200
    ended_at = installation.clock.now()
    await rotate_member(installation.database, address_of("Bo"), now=ended_at)
    await remove_member(installation.database, address_of("Ann"), now=ended_at)
    assert (await visitor.get(await address(installation))).text.count("BEGIN:VEVENT") == 37
    for days in (0, 29):
        installation.clock.pass_until(ended_at + timedelta(days=days, seconds=5))
        for path, words in ((old, "This calendar has a new address"), (anns, "You have left Conversation")):
            answer = await visitor.get(path)
            assert answer.status_code == 200 and answer.text.count("BEGIN:VEVENT") == 1
            assert words in unfolded(answer) and "/go/" not in unfolded(answer)
            assert answer.headers["Cache-Control"] == "private, max-age=300"
            again = await visitor.get(path, headers={"If-None-Match": answer.headers["ETag"]})
            assert again.status_code == 304
    installation.clock.pass_until(ended_at + timedelta(days=30))
    for path in (old, anns):
        gone = await visitor.get(path)
        assert gone.status_code == 410 and "VCALENDAR" not in gone.text
        assert gone.headers["X-Robots-Tag"] == "noindex"


async def test_an_address_that_is_nobodys_is_not_found(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    good = (await address(installation)).removeprefix("/cal/").removesuffix(".ics")
    bo = await person(installation)
    tokens = ["x", good[:-1], good + "a", "7" * 34, "ä" * 34]
    tokens += [
        installation.keys.token(purpose, bo.id, generation=0) for purpose in set(Purpose) - {Purpose.FEED}
    ]
    for token in tokens:
        assert (await visitor.get(f"/cal/{token}.ics")).status_code == 404
    await installation.change("Bo", status="pending", active_since=None)
    await later(installation)
    assert (await visitor.get(f"/cal/{good}.ics")).status_code == 404
    assert (await visitor.post(f"/cal/{good}.ics")).status_code == 405
    assert (
        await visitor.get(f"/cal/{(await address(installation, 'Ann'))[5:-4].upper()}.ics")
    ).status_code == 200


async def test_the_log_has_no_token_of_a_feed(installation: Installation, visitor: httpx.AsyncClient) -> None:
    path = await address(installation)
    subscribe = subscribe_url(installation.keys, COMMUNITY, await person(installation)).removeprefix(
        COMMUNITY.base_url
    )
    with capture_logs() as lines:
        for one in (path, path.replace("/cal/", "/cal/a"), subscribe):
            await visitor.get(one)
        await visitor.post(subscribe)
    assert [line["route"] for line in lines if "route" in line] == ["/cal/{token}.ics"] * 2 + [
        "/subscribe/{token}"
    ] * 2
    assert path[5:-4] not in repr(lines) and subscribe[11:] not in repr(lines)


async def test_a_feed_that_fails_is_a_fault_and_no_part(
    installation: Installation, visitor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("scheduler.domain.feed_template.feed", fail)
    answer = await visitor.get(await address(installation))
    assert answer.status_code == 500 and "VCALENDAR" not in answer.text


async def test_the_subscribe_page_has_a_way_into_each_program(visitor: httpx.AsyncClient) -> None:
    page = await visitor.get("/subscribe")
    assert page.status_code == 200
    for way in (
        'href="webcal://meet.example.org/calendar.ics"',
        'href="https://calendar.google.com/calendar/u/0/r?cid=webcal%3A%2F%2Fmeet.example.org%2Fcalendar.ics"',
        "https://outlook.live.com/calendar/0/addfromweb/?url=https%3A%2F%2Fmeet.example.org%2Fcalendar.ics"
        "&amp;name=Conversation%20for%20Kindness",
        "https://outlook.office.com/calendar/0/addfromweb/?url=https%3A%2F%2F",
        'value="https://meet.example.org/calendar.ics"',
        "Google every 4 to 24 hours, Outlook every 3 to 24",
    ):
        assert way in page.text
    assert "<form" not in page.text


async def test_a_member_takes_the_calendar_alone_by_one_press_and_is_not_invited_by_mail(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    link = subscribe_url(installation.keys, COMMUNITY, await person(installation)).removeprefix(
        COMMUNITY.base_url
    )
    shown = await visitor.get(link)
    assert (await address(installation)) in shown.text and (
        await person(installation)
    ).invitation_by == "mail"
    assert shown.headers["Cache-Control"] == "no-store"
    done = await visitor.post(link, data={"invitation_by": "feed"})
    assert done.status_code == 200 and "not email you invitations any more" in done.text
    assert (await person(installation)).invitation_by == "feed"
    await installation.live(datetime(2026, 11, 19, 20, tzinfo=UTC))
    assert [str(one["Subject"]) for one in installation.mails() if address_of("Bo") in str(one["To"])]
    assert "Bo" not in await installation.states(kind="invitation")
    assert {"Ann", "Cy"} == (await installation.states(kind="invitation")).keys()
    assert (await installation.states(kind="reminder"))["Bo"] == "sent"
    await visitor.post(link, data={"invitation_by": "mail"})
    assert (await person(installation)).invitation_by == "mail"


async def test_an_invitation_on_its_way_is_held_back_and_returns_with_the_wish_for_it(
    installation: Installation,
) -> None:
    installation.clock.pass_until(
        datetime(2026, 11, 5, 19, 30, tzinfo=UTC)
    )  # half an hour before Auckland's nine
    await installation.tick()
    assert (await installation.states(kind="invitation"))["Bo"] == "queued"
    await installation.change("Bo", invitation_by="feed")
    await installation.tick()
    assert (await installation.states(kind="invitation"))["Bo"] == "skipped: feed only"
    await installation.change("Bo", invitation_by="mail")
    await installation.tick()
    assert (await installation.states(kind="invitation"))["Bo"] == "queued"


async def test_a_link_for_subscribing_that_does_not_work_says_why_and_does_nothing(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    link = subscribe_url(installation.keys, COMMUNITY, await person(installation)).removeprefix(
        COMMUNITY.base_url
    )
    await installation.change("Bo", generation=1)
    for answer in (await visitor.get(link), await visitor.post(link)):
        assert answer.status_code == 410 and "has been replaced" in answer.text
    assert (await visitor.post("/subscribe/x")).status_code == 404
    await installation.change("Bo", status="left", active_since=None, generation=0)
    assert (await visitor.post(link)).status_code == 410
    assert (await person(installation)).invitation_by == "mail"


async def test_no_public_feed_or_page_contains_the_meeting_link_in_any_state(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    for link in ("https://secret.example.org/own", ""):
        await amend(
            installation.database, installation.by_slug, KEY, Change(link=link), now=installation.clock.now()
        )
        await later(installation)
        link_page = subscribe_url(installation.keys, COMMUNITY, await person(installation)).removeprefix(
            COMMUNITY.base_url
        )
        for path in (
            "/",
            "/subscribe",
            "/join",
            "/embed/next",
            "/privacy",
            link_page,
            "/calendar.ics",
            "/calendar/conversation-for-kindness.ics",
            f"/meetings/{KEY}",
            f"/meetings/{KEY}.ics",
            await address(installation),
        ):
            text = unfolded(await visitor.get(path))
            assert "secret.example.org" not in text and ROOM not in text
