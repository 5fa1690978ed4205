"""Calendars over HTTP, as calendar programs ask for them."""

import gzip
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from icalendar import Calendar

from scheduler.service.occurrences import Change, amend
from tests.installation import Installation
from tests.web.conftest import same_each_time

KEY = "conversation-for-kindness/2026-11-19"
PATHS = ["/calendar.ics", "/calendar/conversation-for-kindness.ics", f"/meetings/{KEY}.ics"]
PLAIN = {"Accept-Encoding": "identity"}


@pytest.mark.parametrize("path", PATHS)
async def test_a_calendar_is_served_as_one(visitor: httpx.AsyncClient, path: str) -> None:
    found = await visitor.get(path, headers={"Accept": "application/json"})
    assert found.status_code == 200
    assert found.headers["Content-Type"] == "text/calendar; charset=utf-8"
    assert found.headers["Content-Disposition"].startswith('inline; filename="')
    assert found.headers["Content-Disposition"].endswith('.ics"')
    assert "Set-Cookie" not in found.headers
    assert found.content.startswith(b"BEGIN:VCALENDAR\r\n")


async def test_the_feed_holds_a_year_back_and_two_ahead(visitor: httpx.AsyncClient) -> None:
    calendar = Calendar.from_ical((await visitor.get("/calendar.ics")).content)
    starts = [str(event.start) for event in calendar.events]
    assert min(starts).startswith("2025-11-20")
    assert max(starts).startswith("2028-11-16")
    assert len(starts) == 37


async def test_a_meetings_own_calendar_holds_it_alone(visitor: httpx.AsyncClient) -> None:
    calendar = Calendar.from_ical((await visitor.get(f"/meetings/{KEY}.ics")).content)
    assert [event.start for event in calendar.events] == [datetime(2026, 11, 19, 18, tzinfo=UTC)]


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_known_already_is_not_sent_again(visitor: httpx.AsyncClient, path: str) -> None:
    first = await visitor.get(path, headers=PLAIN)
    for condition in (
        {"If-None-Match": first.headers["ETag"]},
        {"If-None-Match": f'"other", W/{first.headers["ETag"]}'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": first.headers["Last-Modified"]},
    ):
        again = await visitor.get(path, headers=PLAIN | condition)
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["ETag"] == first.headers["ETag"]


async def test_a_tag_outweighs_a_date(visitor: httpx.AsyncClient) -> None:
    first = await visitor.get("/calendar.ics")
    stale = {"If-None-Match": '"other"', "If-Modified-Since": first.headers["Last-Modified"]}
    assert (await visitor.get("/calendar.ics", headers=stale)).status_code == 200


async def test_a_date_that_is_none_is_ignored(visitor: httpx.AsyncClient) -> None:
    for date in ["yesterday", "", "Thu, 99 Foo 2026 00:00:00 GMT", "0"]:
        assert (await visitor.get("/calendar.ics", headers={"If-Modified-Since": date})).status_code == 200


async def test_a_change_shows_in_both_validators(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    first = await visitor.get("/calendar.ics", headers=PLAIN)
    installation.clock.pass_(timedelta(hours=1))
    await amend(
        installation.database,
        installation.by_slug,
        KEY,
        Change(topic="Listening"),
        now=installation.clock.now(),
    )
    second = await visitor.get("/calendar.ics", headers=PLAIN | {"If-None-Match": first.headers["ETag"]})
    assert second.status_code == 200 and second.headers["ETag"] != first.headers["ETag"]
    since = {"If-Modified-Since": first.headers["Last-Modified"]}
    assert (await visitor.get("/calendar.ics", headers=since)).status_code == 200
    assert second.headers["Last-Modified"] == format_datetime(installation.clock.now(), usegmt=True)


async def test_a_tick_that_changes_nothing_leaves_the_calendar_as_it_was(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    first = await visitor.get("/calendar.ics", headers=PLAIN)
    installation.clock.pass_(timedelta(days=20))
    await installation.tick()
    second = await visitor.get("/calendar.ics", headers=PLAIN)
    assert second.content == first.content
    assert second.headers["Last-Modified"] == first.headers["Last-Modified"]


async def test_with_the_month_the_feed_moves_on_and_its_date_says_so(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    first = await visitor.get("/calendar.ics")
    installation.clock.pass_until(datetime(2026, 12, 1, tzinfo=UTC))
    since = {"If-Modified-Since": first.headers["Last-Modified"]}
    assert (await visitor.get("/calendar.ics", headers=since)).status_code == 200


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_get_without_a_body(visitor: httpx.AsyncClient, path: str) -> None:
    got, head = await visitor.get(path), await visitor.head(path)
    assert head.status_code == 200 and head.content == b""
    assert same_each_time(head) == same_each_time(got)


async def test_a_program_that_takes_gzip_gets_it_with_a_tag_of_its_own(visitor: httpx.AsyncClient) -> None:
    plain = await visitor.get("/calendar.ics", headers=PLAIN)
    async with visitor.stream(
        "GET", "/calendar.ics", headers={"Accept-Encoding": "br, gzip;q=0.8"}
    ) as packed:
        octets = b"".join([part async for part in packed.aiter_raw()])
        assert packed.headers["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in packed.headers["Vary"]
        assert packed.headers["ETag"] != plain.headers["ETag"]
        tag = packed.headers["ETag"]
    assert gzip.decompress(octets) == plain.content
    assert (await visitor.get("/calendar.ics", headers={"If-None-Match": tag})).status_code == 304


async def test_a_program_that_does_not_take_gzip_gets_none(visitor: httpx.AsyncClient) -> None:
    for offer in ["gzip;q=0", "gzip; q=0.000", "deflate", "identity", ""]:
        found = await visitor.get("/calendar.ics", headers={"Accept-Encoding": offer})
        assert "Content-Encoding" not in found.headers


async def test_a_calendar_that_is_none_is_not_found(visitor: httpx.AsyncClient) -> None:
    for path in [
        "/calendar/other.ics",
        "/meetings/conversation-for-kindness/2026-11-20.ics",
        "/meetings/x/y.ics",
        "/x.ics",
    ]:
        assert (await visitor.get(path)).status_code == 404


async def test_a_fault_is_no_empty_calendar(
    visitor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("scheduler.service.schedule.calendar.feed", fail)
    assert (await visitor.get("/calendar.ics")).status_code == 500
