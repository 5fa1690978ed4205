"""Calendar feeds kept in memory as complete HTTP responses, made anew when the data changes (RFC 9110 section 13).

The FeedCache also keeps track of the version of the data, by which the ResponseCache knows whether the pages that it
recorded are still valid.
"""

import asyncio
import gzip
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import sha256

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import Scope, Send

from scheduler.domain.calendar import feed_window
from scheduler.domain.clock import Clock
from scheduler.domain.community import Community
from scheduler.domain.feed_template import PrivateFeed
from scheduler.domain.occurrence import Series
from scheduler.domain.token import Keys
from scheduler.service.feeds import Subscriber, find_subscriber, private_feed
from scheduler.service.personal_links import LinkStatus
from scheduler.service.schedule import CalendarFile, feed, meeting_calendar, read_dated_meeting
from scheduler.store import service_state
from scheduler.store.database import OUTAGES, Database
from scheduler.web.security import add_security_headers

log = structlog.get_logger()

PUBLIC_FEED: Mapping[str, str] = {
    "Cache-Control": "public, max-age=300",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
PRIVATE_FEED: Mapping[str, str] = {
    "Cache-Control": "private, max-age=300",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}

REFRESH_SECONDS = 1.0
FRESH_SECONDS = 1.5
"""How long the cache relies on a look at the database. While `watch` runs it looks every REFRESH_SECONDS; if that is
late, the next request looks itself. So no calendar is more than two seconds old."""

_REFRESHES_PER_LOG_LINE = 60
_MAX_CALENDARS = 500
_MAX_SUBSCRIPTIONS = 20_000
_MAX_PRIVATE_FEEDS = 100
_MAX_NEGOTIATIONS = 256
_QUALITY_ZERO = re.compile(r"0(\.0*)?")


@dataclass(frozen=True, slots=True)
class ResponseBytes:
    """A response that is ready to be sent."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    content: bytes


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells a client whether its copy of a calendar is current; `changed_at` is in UTC, to the second."""

    digest: str
    changed_at: datetime

    @classmethod
    def of(cls, content: bytes, changed_at: datetime) -> "Validators":
        return cls(sha256(content).hexdigest()[:32], changed_at.astimezone(UTC).replace(microsecond=0))

    def etag(self, coding: str) -> str:
        """Return the ETag of the calendar in a content coding, "gzip" or "identity"."""
        return f'"{self.digest}-gzip"' if coding == "gzip" else f'"{self.digest}"'

    def match(self, if_none_match: str, if_modified_since: str) -> bool:
        """Return whether the client's copy is current by these request headers (section 13.2.2)."""
        if if_none_match:
            etags = {etag.strip().removeprefix("W/") for etag in if_none_match.split(",")}
            return "*" in etags or not etags.isdisjoint((self.etag("identity"), self.etag("gzip")))
        try:
            since = parsedate_to_datetime(if_modified_since)
            return self.changed_at <= (since if since.tzinfo else since.replace(tzinfo=UTC))
        except (ValueError, TypeError):
            return False

    def headers(self, coding: str) -> dict[str, str]:
        return {
            "ETag": self.etag(coding),
            "Last-Modified": format_datetime(self.changed_at, usegmt=True),
            "Vary": "Accept-Encoding",
        }


def negotiation_headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, bytes, bytes]:
    """Return If-None-Match, If-Modified-Since and Accept-Encoding of a request; empty where it has none."""
    if_none_match = if_modified_since = accept_encoding = b""
    for name, value in headers:
        if name == b"if-none-match":
            if_none_match = if_none_match + b"," + value if if_none_match else value
        elif name == b"accept-encoding":
            accept_encoding = accept_encoding + b"," + value if accept_encoding else value
        elif name == b"if-modified-since":
            if_modified_since = value
    return if_none_match, if_modified_since, accept_encoding


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether a client with this Accept-Encoding takes gzip."""
    for offer in accept_encoding.split(","):
        coding, _, quality = offer.replace(" ", "").lower().partition(";q=")
        if coding in ("gzip", "x-gzip"):
            return not _QUALITY_ZERO.fullmatch(quality)
    return False


async def send_response(
    scope: Scope, send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], content: bytes
) -> None:
    """Send a complete response; without its content where the method is HEAD."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": content if scope["method"] == "GET" else b""})


class CachedResponse:
    """A calendar, a feed of the archive or the sitemap, in each form in which it may be sent, made once and sent often.

    `route` is the pattern of the route, for the log. `headers` are added to those of every response.
    """

    def __init__(
        self,
        content: bytes,
        validators: Validators,
        *,
        route: str,
        filename: str,
        headers: Mapping[str, str],
        https: bool,
        media_type: str = "text/calendar",
    ) -> None:
        self.route = route
        self.validators = validators
        compressed = gzip.compress(
            content, mtime=0
        )  # Without a time, so that the same calendar has the same bytes.
        self._responses: dict[tuple[int, str], ResponseBytes] = {}
        for coding, body in (("identity", content), ("gzip", compressed)):
            common = {**validators.headers(coding), **headers}
            self._responses[304, coding] = _response_bytes(304, common, b"", https=https)
            complete = {
                **common,
                "Content-Type": f"{media_type}; charset=utf-8",
                "Content-Disposition": f'inline; filename="{filename}"',
                "Content-Length": str(len(body)),
            }
            if coding == "gzip":
                complete["Content-Encoding"] = "gzip"
            self._responses[200, coding] = _response_bytes(200, complete, body, https=https)
        self._negotiated: dict[tuple[bytes, bytes, bytes], ResponseBytes] = {}

    def respond(self, headers: Iterable[tuple[bytes, bytes]]) -> ResponseBytes:
        """Return the response to a request with these headers; the choice is remembered for requests like it."""
        asked = negotiation_headers(headers)
        if (response := self._negotiated.get(asked)) is None:
            if_none_match, if_modified_since, accept_encoding = (value.decode("latin-1") for value in asked)
            status = 304 if self.validators.match(if_none_match, if_modified_since) else 200
            response = self._responses[status, "gzip" if accepts_gzip(accept_encoding) else "identity"]
            if len(self._negotiated) >= _MAX_NEGOTIATIONS:
                self._negotiated.clear()
            self._negotiated[asked] = response
        return response


def _response_bytes(status: int, headers: Mapping[str, str], content: bytes, *, https: bool) -> ResponseBytes:
    all_headers = MutableHeaders(headers)
    add_security_headers(all_headers, https=https)
    return ResponseBytes(status, tuple(all_headers.raw), content)


@dataclass(slots=True)
class Subscription:
    """The subscriber of a private feed; `validators` is set once their feed was made from the current data."""

    subscriber: Subscriber
    validators: Validators | None = None


class FeedCache:
    """Keep calendars in memory for as long as the data they are made from stays the same.

    The data is identified by the counter of changes in the database and the month that feeds begin with. When either
    changes, everything is dropped and made again on demand.
    """

    def __init__(
        self,
        database: Database,
        series: Sequence[Series],
        community: Community,
        *,
        keys: Keys,
        clock: Clock,
        started: datetime,
    ) -> None:
        self._database, self._series, self._community = database, series, community
        self._keys, self._clock = keys, clock
        self.started = started
        self._state: tuple[int, datetime] | None = None
        self._minute: datetime | None = None
        self._refreshed = float("-inf")
        self.version = 0
        """Increases whenever anything that pages show may have changed, which includes the minute."""
        self.is_watched = False
        self._making = asyncio.Lock()
        self._calendars: dict[bytes, CachedResponse] = {}
        self._public_files: dict[str, tuple[int, bytes, CachedResponse]] = {}
        self._private_feeds: dict[tuple[timedelta | None, str], PrivateFeed] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._counts = Counter[tuple[str, int]]()

    def cached_feed(self, path: bytes) -> CachedResponse | None:
        """Return the public calendar at that path if it is cached and fresh; never look at the database."""
        cached = self._calendars.get(path)
        return cached if cached and self.is_fresh else None

    @property
    def is_fresh(self) -> bool:
        """Whether the last look at the database was at most FRESH_SECONDS ago."""
        return self._clock.monotonic() - self._refreshed <= FRESH_SECONDS

    async def watch(self) -> None:
        """Refresh the cache every second until cancelled, and log the counts of responses once a minute."""
        refreshes = 0
        self.is_watched = True
        try:
            while True:
                await asyncio.sleep(REFRESH_SECONDS)
                try:
                    await self.refresh()
                except OUTAGES as error:
                    self._database.outages.begin("feed-cache-refresh", error)
                else:
                    self._database.outages.end("feed-cache-refresh")
                refreshes += 1
                if refreshes % _REFRESHES_PER_LOG_LINE == 0:
                    self.log_counts()
        finally:
            self.is_watched = False
            self.log_counts()

    async def ensure_fresh(self) -> None:
        """Refresh the cache unless it is fresh. Raises OUTAGES where the database does not answer."""
        if not self.is_fresh:
            await self.refresh()

    async def refresh(self) -> None:
        """Drop what is cached if the data has changed. Raises OUTAGES where the database does not answer."""
        asked_at = self._clock.monotonic()
        async with self._database.read() as connection:
            changes = await service_state.current(connection, "change")
        now = self._clock.now()
        state, minute = (changes, feed_window(now)[0]), now.replace(second=0, microsecond=0)
        if state != self._state or minute != self._minute:
            self._minute = minute
            self.version += 1
        if state != self._state:
            self._state = state
            for cached in (self._calendars, self._private_feeds, self._subscriptions):
                cached.clear()
        self._refreshed = asked_at

    def count(self, route: str, status: int) -> None:
        """Count a response that was sent from memory; `log_counts` logs the counts."""
        self._counts[route, status] += 1

    def log_counts(self) -> None:
        """Log the number of responses since the last time, by route and status."""
        for (route, status), count in sorted(self._counts.items()):
            log.info("requests", route=route, status=status, count=count)
        self._counts.clear()

    async def all_series(self) -> CachedResponse:
        """Return the public feed of all series."""
        return await self._calendar("/calendar.ics", "/calendar.ics", "calendar.ics", self._feed(None))

    async def one_series(self, slug: str) -> CachedResponse:
        """Return the public feed of one series."""
        return await self._calendar(
            f"/calendar/{slug}.ics", "/calendar/{series}.ics", f"{slug}.ics", self._feed(slug)
        )

    async def meeting(self, slug: str, date: str) -> CachedResponse | None:
        """Return the calendar of one meeting; None where there is no such meeting."""
        series = next(series for series in self._series if series.slug == slug)

        async def make() -> CalendarFile | None:
            occurrence = await read_dated_meeting(
                self._database, {slug: series}, f"{slug}/{date}", now=self._clock.now()
            )
            return meeting_calendar(occurrence, series, self._community) if occurrence else None

        path, filename = f"/meetings/{slug}/{date}.ics", f"{slug}-{date}.ics"
        try:
            return await self._calendar(path, "/meetings/{series}/{date}.ics", filename, make)
        except LookupError:
            return None

    async def public_file(
        self, path: str, media_type: str, make: Callable[[], Awaitable[bytes]]
    ) -> CachedResponse:
        """Return the feed of the archive, or the sitemap, at `path`, whose content `make` returns.

        A meeting comes into it when it is over, without a change of the data: so it is made anew in each minute in
        which somebody asks for it. It has changed if the content has.
        """
        async with self._making:
            await self.ensure_fresh()
            version, content, response = self._public_files.get(path, (-1, b"", None))
            if response is None or version != self.version:
                version, made = self.version, await make()
                if response is None or made != content:
                    now = self._clock.now()
                    response = CachedResponse(
                        made,
                        Validators.of(made, now),
                        route=path,
                        filename=path.removeprefix("/"),
                        headers=PUBLIC_FEED,
                        https=self._community.base_url.startswith("https:"),
                        media_type=media_type,
                    )
                self._public_files[path] = (version, made, response)
            return response

    async def subscription(self, token: str) -> Subscription:
        """Return the subscription of the private feed with that token."""
        await self.ensure_fresh()
        if (subscription := self._subscriptions.get(token)) is None:
            state = self._state
            owner = await find_subscriber(
                self._database,
                token,
                all_series=self._series,
                community=self._community,
                keys=self._keys,
                now=self._clock.now(),
            )
            subscription = Subscription(owner)
            if state == self._state and owner.status is not LinkStatus.UNKNOWN:
                if len(self._subscriptions) >= _MAX_SUBSCRIPTIONS:
                    self._subscriptions.clear()
                self._subscriptions[token] = subscription
        return subscription

    async def private_feed(self, subscriber: Subscriber) -> PrivateFeed:
        """Return what all private feeds with the subscriber's alarm and language have in common."""
        key = (subscriber.alarm, subscriber.language)
        async with self._making:
            if (common := self._private_feeds.get(key)) is None:
                state = self._state
                common = await private_feed(
                    self._database,
                    self._series,
                    self._community,
                    alarm=subscriber.alarm,
                    language=subscriber.language,
                    now=self._clock.now(),
                )
                if state == self._state:
                    if len(self._private_feeds) >= _MAX_PRIVATE_FEEDS:
                        self._private_feeds.clear()
                    self._private_feeds[key] = common
            return common

    def validators(self, calendar_file: CalendarFile) -> Validators:
        """Return the validators of a calendar. It may also have changed at the start, when the settings are read."""
        return Validators.of(calendar_file.content, max(calendar_file.changed_at, self.started))

    def _feed(self, only: str | None) -> Callable[[], Awaitable[CalendarFile]]:
        async def make() -> CalendarFile:
            return await feed(self._database, self._series, self._community, now=self._clock.now(), only=only)

        return make

    async def _calendar(
        self, path: str, route: str, filename: str, make: Callable[[], Awaitable[CalendarFile | None]]
    ) -> CachedResponse:
        """Return the calendar at `path`, made if it is not cached. Raises LookupError where `make` returns None."""
        key = path.encode()
        async with self._making:
            await self.ensure_fresh()
            if (calendar := self._calendars.get(key)) is None:
                state = self._state
                calendar_file = await make()
                if calendar_file is None:
                    raise LookupError(path)
                calendar = CachedResponse(
                    calendar_file.content,
                    self.validators(calendar_file),
                    route=route,
                    filename=filename,
                    headers=PUBLIC_FEED,
                    https=self._community.base_url.startswith("https:"),
                )
                # If the data changed meanwhile, the calendar is good enough for this request but not for a later one.
                if state == self._state:
                    if len(self._calendars) >= _MAX_CALENDARS:
                        self._calendars.clear()
                    self._calendars[key] = calendar
            return calendar
