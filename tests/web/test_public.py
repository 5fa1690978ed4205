"""The public pages."""

import re
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from starlette.applications import Starlette
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from scheduler.service.occurrences import Change, add_extra, amend
from scheduler.store import occurrences
from scheduler.store.database import Database
from scheduler.web.public import shown_time
from scheduler.web.site import read_templates
from tests.installation import SERIES, Installation
from tests.web.conftest import PAGES, Arrive

NOVEMBER = "conversation-for-kindness/2026-11-19"
DECEMBER = "conversation-for-kindness/2026-12-17"


async def change(installation: Installation, key: str, **values: Any) -> None:
    await amend(
        installation.database,
        installation.by_slug,
        key,
        Change(**values),
        now=installation.clock.now(),
    )


async def test_the_front_page_shows_the_next_meeting_at_home_and_the_feed(visitor: httpx.AsyncClient) -> None:
    page = await visitor.get("/")
    assert page.status_code == 200
    assert '<time datetime="2026-11-19T18:00:00+00:00">Thursday 19 November 2026</time>' in page.text
    assert "webcal://meet.example.org/calendar.ics" in page.text
    assert 'value="https://meet.example.org/calendar.ics"' in page.text
    assert 'href="/join"' in page.text and 'href="/subscribe"' in page.text


async def test_a_visitor_who_chooses_a_zone_sees_their_local_time(visitor: httpx.AsyncClient) -> None:
    page = await visitor.get("/", params={"zone": "Pacific/Auckland"})
    assert '<time datetime="2026-11-20T07:00:00+13:00">07:00</time>' in page.text
    assert "Friday for you." in page.text
    assert "an hour later than last time" in page.text
    assert "Thursday 19 November 2026, 18:00" in page.text


async def test_a_legacy_zone_name_as_browsers_report_it_is_understood(visitor: httpx.AsyncClient) -> None:
    page = await visitor.get("/", params={"zone": "Asia/Calcutta"})
    assert "in Kolkata (UTC+5:30)" in page.text


async def test_a_visitor_whose_clock_is_utc_reads_its_name_and_the_hour_only_once(
    visitor: httpx.AsyncClient,
) -> None:
    page = await visitor.get("/", params={"zone": "UTC"})
    assert '<p class="city">in UTC</p>' in page.text
    assert "18:00 in UTC and London</p>" in page.text
    assert "UTC (UTC)" not in page.text


async def test_an_unknown_zone_gets_a_message_and_the_page_still_works(visitor: httpx.AsyncClient) -> None:
    for zone in ["Nowhere/Land", "EST", "<script>alert(1)</script>", "\x00", "é" * 5000, "../etc"]:
        page = await visitor.get("/", params={"zone": zone})
        assert page.status_code == 200
        assert "We do not know the time zone" in page.text
        assert "<script>alert" not in page.text
        assert "18:00" in page.text


async def test_the_front_page_links_to_where_the_settings_say(visitor: httpx.AsyncClient) -> None:
    page = await visitor.get("/")
    assert (
        '<a href="https://www.example.org/recordings?a=1&amp;b=2"><bdi>Recordings &amp; notes</bdi></a>'
        in page.text
    )
    assert page.text.index("Recordings &amp;") < page.text.index("Gesprächsfreundlichkeit")


async def test_the_front_page_lists_the_coming_twelve_with_their_status(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await change(installation, DECEMBER, cancel=True)
    await change(installation, "conversation-for-kindness/2027-01-21", move_to=datetime(2027, 1, 28, 19))
    page = await visitor.get("/")
    assert page.text.count('<p class="hours">') == 12
    assert "Cancelled</span>" in page.text and "Moved</span>" in page.text
    assert "Thursday 28 January 2027" in page.text


async def test_next_leads_to_the_next_meeting_that_is_held(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    assert (await visitor.get("/next")).headers["Location"] == f"/meetings/{NOVEMBER}"
    await change(installation, NOVEMBER, cancel=True)
    answer = await visitor.get("/next", params={"zone": "Asia/Tokyo"})
    assert answer.status_code == 302
    assert answer.headers["Location"] == f"/meetings/{DECEMBER}?zone=Asia%2FTokyo"
    assert (await visitor.get(answer.headers["Location"])).status_code == 200


async def test_next_stays_with_a_meeting_until_it_is_over(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    installation.clock.pass_until(datetime(2026, 11, 19, 18, 59, tzinfo=UTC))
    assert (await visitor.get("/next")).headers["Location"] == f"/meetings/{NOVEMBER}"
    assert "The meeting on now" in (await visitor.get("/")).text
    installation.clock.pass_(timedelta(minutes=1))
    assert (await visitor.get("/next")).headers["Location"] == f"/meetings/{DECEMBER}"


async def test_a_meeting_has_a_page_with_topic_speakers_and_materials_escaped(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await change(
        installation,
        NOVEMBER,
        topic="Tea & <b>listening</b>",
        speakers="Amara",
        materials="https://example.org/notes?a=1&b=2",
    )
    page = await visitor.get(f"/meetings/{NOVEMBER}")
    assert "Tea &amp; &lt;b&gt;listening&lt;/b&gt;" in page.text
    assert "With Amara" in page.text
    assert 'href="https://example.org/notes?a=1&amp;b=2"' in page.text


async def test_the_archive_lists_what_was_held_by_year_the_newest_first(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    # Nobody recorded anything about the meetings before.
    assert "There are no past meetings yet." in (await visitor.get("/archive")).text
    await change(
        installation,
        NOVEMBER,
        topic="Tea & <b>listening</b>",
        speakers="Amara",
        link="https://secret.example.org/room",
        materials="https://example.org/notes",
    )
    await change(installation, DECEMBER, topic="Hope")
    await change(installation, "conversation-for-kindness/2027-01-21", topic="Trust", cancel=True)
    await change(installation, "conversation-for-kindness/2027-02-18", topic="Time")
    await installation.tick()  # it ran all the time, so these months were no outage
    installation.clock.pass_until(datetime(2027, 2, 20, tzinfo=UTC))
    await installation.tick()
    newest = await visitor.get("/archive")
    assert "<h1>Past meetings in 2027</h1>" in newest.text
    assert "18 February 2027" in newest.text and "21 January" not in newest.text
    older = await visitor.get("/archive", params={"year": "2026"})
    assert older.text.index("17 December 2026") < older.text.index("19 November 2026")
    assert "Tea &amp; &lt;b&gt;listening&lt;/b&gt;" in older.text and "With Amara" in older.text
    assert 'href="https://example.org/notes"' in older.text
    assert "secret.example.org" not in older.text and "room.example.org" not in older.text
    assert older.text.count('<a href="/archive?year=') == 2
    for year in ("2025", "", "x", "\u0662\u0660\u0662\u0666"):
        assert (await visitor.get("/archive", params={"year": year})).status_code == 404
    assert 'href="/archive"' in (await visitor.get("/")).text


async def test_no_public_page_contains_the_meeting_link(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await change(installation, NOVEMBER, link="https://secret.example.org/room")
    for path in ("/", f"/meetings/{NOVEMBER}", f"/meetings/{NOVEMBER}.ics", "/calendar.ics"):
        found = await visitor.get(path)
        assert found.status_code == 200
        assert "secret.example.org" not in found.text and "room.example.org" not in found.text


async def test_a_moved_meeting_keeps_its_address_and_names_both_times(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await change(installation, NOVEMBER, move_to=datetime(2026, 11, 26, 19, 30))
    page = await visitor.get(f"/meetings/{NOVEMBER}")
    assert "Thursday 26 November 2026" in page.text and "19:30" in page.text
    assert "It was" in page.text and "Thursday 19 November 2026, 18:00" in page.text


async def test_an_extra_meeting_has_a_page_of_its_own(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await add_extra(installation.database, SERIES, datetime(2026, 11, 25, 12), now=installation.clock.now())
    page = await visitor.get("/meetings/conversation-for-kindness/2026-11-25T1200")
    assert page.status_code == 200
    assert "Wednesday 25 November 2026" in page.text


async def test_what_is_not_there_is_a_page_in_the_same_style(visitor: httpx.AsyncClient) -> None:
    for path in [
        "/meetings/conversation-for-kindness/2026-11-18",
        "/meetings/conversation-for-kindness/2026-13-45",
        "/meetings/conversation-for-kindness/2020-06-18",
        "/meetings/other/2026-11-19",
        "/nothing",
        "/outbox/",
        "/meetings/conversation-for-kindness/2026-11-19T1800",
        "/static/nothing.css",
        "/static/../home.html",
    ]:
        page = await visitor.get(path)
        assert page.status_code == 404
        assert "Page not found" in page.text and "/static/style.css" in page.text


async def test_other_methods_are_refused(visitor: httpx.AsyncClient) -> None:
    for path in ["/", "/calendar.ics", f"/meetings/{NOVEMBER}", "/healthz", "/static/style.css"]:
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"]:
            assert (await visitor.request(method, path)).status_code == 405


async def test_a_fault_is_a_page_without_a_trace(
    installation: Installation, visitor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("inner words")

    monkeypatch.setattr("scheduler.web.public.outlook", fail)
    page = await visitor.get("/")
    assert page.status_code == 500
    assert "there is a problem with our service" in page.text
    assert "inner words" not in page.text and "Traceback" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


async def test_a_visitor_can_name_the_request_that_failed_and_every_line_about_it_has_its_id(
    visitor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("inner words")

    monkeypatch.setattr("scheduler.web.public.outlook", fail)
    with capture_logs(processors=[merge_contextvars]) as lines:
        page = await visitor.get("/", headers={"X-Request-Id": "chosen-by-the-client"})
        other = await visitor.get("/privacy")
    number = page.headers["X-Request-Id"]
    assert f"tell the convenors this number: <code>{number}</code>" in page.text
    about_it = [line["event"] for line in lines if line["request_id"] == number]
    assert sorted(about_it) == ["request", "request-failed"]
    assert other.headers["X-Request-Id"] not in (number, "", "chosen-by-the-client")


async def test_pages_bring_no_code_or_style_of_their_own_and_nothing_from_elsewhere(
    visitor: httpx.AsyncClient,
) -> None:
    for path in ("/", f"/meetings/{NOVEMBER}?zone=Asia/Tokyo", "/outbox", "/nothing"):
        page = await visitor.get(path)
        policy = page.headers["Content-Security-Policy"]
        assert "'unsafe-inline'" not in policy and "default-src 'none'" in policy
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script>", page.text)
        assert not re.findall(r'(?:src|<link [^>]*rel="stylesheet"[^>]*href)="(?!/static/|/map)', page.text)
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in page.headers


async def test_every_file_that_a_page_names_is_there(visitor: httpx.AsyncClient) -> None:
    page = await visitor.get("/")
    files = set(re.findall(r'"(/static/[^"]+)"', page.text))
    assert files == {"/static/style.css", "/static/page.js", "/static/favicon.svg"}
    for file in [*files, "/favicon.ico"]:
        assert (await visitor.get(file)).status_code == 200


async def test_robots_may_read_the_calendar_but_no_personal_link(visitor: httpx.AsyncClient) -> None:
    robots = (await visitor.get("/robots.txt")).text
    assert "Disallow: /u/" in robots and "Disallow: /go/" in robots
    assert "calendar" not in robots


async def test_while_the_database_is_out_of_reach_a_page_says_to_come_again(
    installation: Installation, arrive: Arrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(error: Exception) -> None:
        def read(_: Database) -> NoReturn:
            raise error

        monkeypatch.setattr(Database, "read", read)

    fails(OperationalError("SELECT", {}, sqlite3.OperationalError("disk I/O error")))
    page = await arrive().get("/")
    assert page.status_code == 503 and page.headers["Retry-After"] == "60"
    assert "We cannot reach our database at the moment" in page.text
    assert "Content-Security-Policy" in page.headers
    fails(IntegrityError("SELECT", {}, sqlite3.IntegrityError("ours to mend")))
    assert (await arrive().get("/")).status_code == 500


async def test_strict_transport_is_asked_for_where_the_base_url_is_https(visitor: httpx.AsyncClient) -> None:
    assert (await visitor.get("/")).headers["Strict-Transport-Security"] == "max-age=31536000"


async def test_the_outbox_is_named_on_the_machine_itself_only(arrive: Arrive) -> None:
    assert 'href="/outbox"' in (await arrive().get("/")).text
    assert 'href="/outbox"' not in (await arrive(peer="203.0.113.9").get("/")).text


async def test_every_template_compiles(app: Starlette) -> None:
    folder = Path(__file__).parents[2] / "templates" / "web"
    for path in folder.glob("*.html"):
        app.state.site.templates.get_template(path.name)


async def test_the_page_shows_the_time_that_mails_are_held_to(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await change(installation, NOVEMBER, move_to=datetime(2026, 11, 20, 19))
    async with installation.database.read() as connection:
        one = await occurrences.occurrence_by_key(connection, NOVEMBER)
    assert one
    for zone in ("Pacific/Auckland", "Asia/Kolkata", "Europe/London"):
        page = await visitor.get(f"/meetings/{NOVEMBER}", params={"zone": zone})
        assert shown_time(read_templates(PAGES), one, SERIES, zone) in page.text
