"""Calendars served from memory: made once for each version of the data, and never more than two seconds old."""

from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from structlog.testing import capture_logs

from scheduler.service import schedule
from scheduler.service.occurrences import Change, amend
from scheduler.store.database import Database
from scheduler.web.feed_cache import FRESH_SECONDS, REFRESH_SECONDS, FeedCache
from tests.installation import Installation
from tests.web.conftest import same_each_time

KEY = "conversation-for-kindness/2026-11-19"
PATHS = ["/calendar.ics", "/calendar/conversation-for-kindness.ics", f"/meetings/{KEY}.ics"]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with every transaction that reads."""
    seen: list[str] = []
    read = Database.read

    @asynccontextmanager
    async def counted(self: Database) -> Any:
        seen.append("read")
        async with read(self) as connection:
            yield connection

    monkeypatch.setattr(Database, "read", counted)
    return seen


@pytest.fixture
def feed_cache(app: Starlette) -> FeedCache:
    cache = app.state.site.feed_cache
    assert isinstance(cache, FeedCache)
    return cache


@pytest.mark.parametrize("path", PATHS)
async def test_a_cached_calendar_is_sent_without_a_query(
    visitor: httpx.AsyncClient, reads: list[str], path: str
) -> None:
    first = await visitor.get(path)
    assert reads
    reads.clear()
    for sent in ({}, {"If-None-Match": first.headers["ETag"]}, {"If-None-Match": '"other"'}):
        again = await visitor.get(path, headers=sent)
        assert again.status_code in (200, 304)
    assert reads == []


async def test_what_is_kept_says_the_same_as_what_was_just_made(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    for path in PATHS:
        installation.clock.pass_(timedelta(seconds=5))
        long, short = await visitor.get(path), await visitor.get(path)
        assert same_each_time(short) == same_each_time(long) and short.content == long.content
        assert short.headers["X-Content-Type-Options"] == "nosniff"
        assert "Content-Security-Policy" in short.headers


async def test_a_change_by_anybody_shows_within_two_seconds(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    assert REFRESH_SECONDS < FRESH_SECONDS < 2
    first = await visitor.get("/calendar.ics")
    other = Database(f"sqlite:///{installation.folder / 'test.sqlite'}")
    await amend(other, installation.by_slug, KEY, Change(topic="Listening"), now=installation.clock.now())
    await other.close()
    installation.clock.pass_(timedelta(seconds=FRESH_SECONDS + 0.1))
    again = await visitor.get("/calendar.ics", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 200 and "Listening" in again.text


async def test_a_refresh_keeps_the_calendars_while_nothing_changed(
    installation: Installation, feed_cache: FeedCache, visitor: httpx.AsyncClient
) -> None:
    await visitor.get("/calendar.ics")
    ready = feed_cache.cached_feed(b"/calendar.ics")
    installation.clock.pass_(timedelta(seconds=30))
    assert feed_cache.cached_feed(b"/calendar.ics") is None
    await installation.tick()
    await feed_cache.refresh()
    assert ready is not None and feed_cache.cached_feed(b"/calendar.ics") is ready


async def test_the_first_tick_changes_the_calendar(
    installation: Installation, feed_cache: FeedCache, visitor: httpx.AsyncClient
) -> None:
    """It adopts the series, and with that the stamps of its meetings change."""
    async with installation.database.write() as connection:
        for table in ("occurrences", "policies", "series"):
            await connection.exec_driver_sql(f"DELETE FROM {table}")
    await feed_cache.refresh()
    first = await visitor.get("/calendar.ics")
    await installation.tick()
    await feed_cache.refresh()
    assert (await visitor.get("/calendar.ics")).headers["ETag"] != first.headers["ETag"]


async def test_a_new_month_makes_the_calendar_again(
    installation: Installation, feed_cache: FeedCache, visitor: httpx.AsyncClient
) -> None:
    await visitor.get("/calendar.ics")
    installation.clock.pass_until(datetime(2026, 12, 1, tzinfo=installation.clock.now().tzinfo))
    await feed_cache.refresh()
    assert feed_cache.cached_feed(b"/calendar.ics") is None


async def test_a_calendar_made_while_the_data_changed_is_not_cached(
    installation: Installation,
    feed_cache: FeedCache,
    visitor: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = schedule.feed

    async def slow(*arguments: Any, **named: Any) -> Any:
        found = await make(*arguments, **named)
        await amend(
            installation.database,
            installation.by_slug,
            KEY,
            Change(topic="Meanwhile"),
            now=installation.clock.now(),
        )
        await feed_cache.refresh()
        return found

    monkeypatch.setattr("scheduler.web.feed_cache.feed", slow)
    assert "Meanwhile" not in (await visitor.get("/calendar.ics")).text
    monkeypatch.setattr("scheduler.web.feed_cache.feed", make)
    assert "Meanwhile" in (await visitor.get("/calendar.ics")).text


async def test_a_missing_database_gives_an_error_and_no_old_calendar(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await visitor.get("/calendar.ics")
    await installation.database.close()
    for file in installation.folder.glob("test.sqlite*"):
        file.unlink()
    (installation.folder / "test.sqlite").mkdir()
    installation.clock.pass_(timedelta(seconds=5))
    answer = await visitor.get("/calendar.ics")
    assert answer.status_code == 503 and "VCALENDAR" not in answer.text


async def test_responses_are_counted_by_route(feed_cache: FeedCache) -> None:
    with capture_logs() as lines:
        for _ in range(3):
            feed_cache.count("/calendar/{series}.ics", 304)
        feed_cache.log_counts()
        feed_cache.log_counts()
    assert lines == [
        {
            "event": "requests",
            "log_level": "info",
            "route": "/calendar/{series}.ics",
            "status": 304,
            "count": 3,
        }
    ]
