"""Calendar feeds kept in memory as complete HTTP responses, rebuilt when the data changes (RFC 9110 section 13)."""

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
from scheduler.service.schedule import Published, feed, meeting_calendar, read_meeting
from scheduler.store import service_state
from scheduler.store.database import OUTAGES, Database
from scheduler.web.security import harden

PUBLIC = {"Cache-Control": "public, max-age=300", "Cross-Origin-Resource-Policy": "cross-origin"}

_NONE_OF_IT = re.compile(r"0(\.0*)?")
_DECISIONS_KEPT = 256


@dataclass(frozen=True, slots=True)
class ResponseBytes:
    """An answer, ready to be sent."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    content: bytes


@dataclass(frozen=True, slots=True)
class Validators:
    """By what a program tells whether it has the calendar already; `changed_at` is to the second."""

    digest: str
    changed_at: datetime

    @classmethod
    def of(cls, content: bytes, changed_at: datetime) -> "Validators":
        return cls(sha256(content).hexdigest()[:32], changed_at.astimezone(UTC).replace(microsecond=0))

    def tag(self, coding: str) -> str:
        return f'"{self.digest}-gzip"' if coding == "gzip" else f'"{self.digest}"'

    def know(self, none_match: str, modified_since: str) -> bool:
        """Whether these conditions say that the program has it (section 13.2.2)."""
        if none_match:
            given = {tag.strip().removeprefix("W/") for tag in none_match.split(",")}
            return "*" in given or not given.isdisjoint((self.tag("identity"), self.tag("gzip")))
        try:
            since = parsedate_to_datetime(modified_since)
            return self.changed_at <= (since if since.tzinfo else since.replace(tzinfo=UTC))
        except (ValueError, TypeError):
            return False

    def headers(self, coding: str) -> dict[str, str]:
        return {
            "ETag": self.tag(coding),
            "Last-Modified": format_datetime(self.changed_at, usegmt=True),
            "Vary": "Accept-Encoding",
        }


def conditions(raw: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, bytes, bytes]:
    """If-None-Match, If-Modified-Since and Accept-Encoding of a request's headers."""
    none_match = modified_since = encoding = b""
    for name, value in raw:
        if name == b"if-none-match":
            none_match = none_match + b"," + value if none_match else value
        elif name == b"accept-encoding":
            encoding = encoding + b"," + value if encoding else value
        elif name == b"if-modified-since":
            modified_since = value
    return none_match, modified_since, encoding


def takes_gzip(accept_encoding: str) -> bool:
    for offer in accept_encoding.split(","):
        coding, _, quality = offer.replace(" ", "").lower().partition(";q=")
        if coding in ("gzip", "x-gzip"):
            return not _NONE_OF_IT.fullmatch(quality)
    return False


class CachedResponse:
    """A calendar in each form in which it may be sent, made once and given out many times.

    `route` is the pattern under which it is counted. `headers` are those that it has beside its own; the rest comes
    from the hardening of every answer.
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
    ) -> None:
        self.route = route
        self.validators = validators
        packed = gzip.compress(content, mtime=0)  # no time inside: the same calendar has the same bytes
        self._replies: dict[tuple[int, str], ResponseBytes] = {}
        for coding, octets in (("identity", content), ("gzip", packed)):
            common = {**validators.headers(coding), **headers}
            self._replies[304, coding] = _reply(304, common, b"", https=https)
            whole = {
                **common,
                "Content-Type": "text/calendar; charset=utf-8",
                "Content-Disposition": f'inline; filename="{filename}"',
                "Content-Length": str(len(octets)),
            }
            if coding == "gzip":
                whole["Content-Encoding"] = "gzip"
            self._replies[200, coding] = _reply(200, whole, octets, https=https)
        self._decided: dict[tuple[bytes, bytes, bytes], ResponseBytes] = {}

    def reply(self, raw: Iterable[tuple[bytes, bytes]]) -> ResponseBytes:
        """The answer to a request with these headers; what was decided once for the same is not decided again."""
        asked = conditions(raw)
        if (found := self._decided.get(asked)) is None:
            none_match, modified_since, encoding = (value.decode("latin-1") for value in asked)
            status = 304 if self.validators.know(none_match, modified_since) else 200
            found = self._replies[status, "gzip" if takes_gzip(encoding) else "identity"]
            if len(self._decided) >= _DECISIONS_KEPT:
                self._decided.clear()
            self._decided[asked] = found
        return found


def _reply(status: int, headers: Mapping[str, str], content: bytes, *, https: bool) -> ResponseBytes:
    found = MutableHeaders(headers)
    harden(found, https=https)
    return ResponseBytes(status, tuple(found.raw), content)


async def send_reply(
    scope: Scope, send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], content: bytes
) -> None:
    """Send an answer that is ready; to HEAD without its content."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": content if scope["method"] == "GET" else b""})


log = structlog.get_logger()

LOOK_SECONDS = 1.0
FRESH_SECONDS = 1.5
"""How long a look at the database holds. A look comes every LOOK_SECONDS while `keep_fresh` runs; where it does not
come in time, the next request looks itself. So no calendar is older than two seconds."""

_TELL_EVERY = 60
_CALENDARS_KEPT = 500
_SUBSCRIBERS_KEPT = 20_000


@dataclass(slots=True)
class Subscription:
    """A subscriber as of the present state; `validators` once their feed was made in it."""

    subscriber: Subscriber
    validators: Validators | None = None


class FeedCache:
    """What stands on it belongs to one state: the counter of changes, and the month that feeds are of."""

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
        self._keys, self._clock, self._started = keys, clock, started
        self._state: tuple[int, datetime] | None = None
        self._minute: datetime | None = None
        self._looked = float("-inf")
        self.edition = 0
        """Another number when anything that pages show may have changed, the minute included."""
        self.is_looked_after = False
        self._working = asyncio.Lock()
        self._calendars: dict[bytes, CachedResponse] = {}
        self._commons: dict[timedelta | None, PrivateFeed] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._given = Counter[tuple[str, int]]()

    def at_hand(self, path: bytes) -> CachedResponse | None:
        """The public calendar of that path, if it stands here and is fresh: without a look at anything else."""
        ready = self._calendars.get(path)
        return ready if ready and self.is_fresh else None

    @property
    def is_fresh(self) -> bool:
        """Whether the last look at the database still holds."""
        return self._clock.monotonic() - self._looked <= FRESH_SECONDS

    async def freshen(self) -> None:
        """Look, unless the last look still holds. Raises OUTAGES where the database does not answer."""
        if not self.is_fresh:
            await self.look()

    def count(self, route: str, status: int) -> None:
        """Note that an answer was given from here; many at a time make one line in the log."""
        self._given[route, status] += 1

    async def keep_fresh(self) -> None:
        """Look every second, for as long as it is let; now and then tell what was given out."""
        looks = 0
        self.is_looked_after = True
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                try:
                    await self.look()
                except OUTAGES as error:
                    self._database.outages.begin("shelf", error)
                else:
                    self._database.outages.end("shelf")
                looks += 1
                if looks % _TELL_EVERY == 0:
                    self.tell()
        finally:
            self.is_looked_after = False
            self.tell()

    def tell(self) -> None:
        """Log what was given out since the last time, by route and status."""
        for (route, status), count in sorted(self._given.items()):
            log.info("requests", route=route, status=status, count=count)
        self._given.clear()

    async def look(self) -> None:
        """Clear the shelf where the state is another one. Raises OUTAGES where the database does not answer."""
        looked = self._clock.monotonic()
        async with self._database.read() as connection:
            mark = await service_state.current(connection, "change")
        now = self._clock.now()
        state, minute = (mark, feed_window(now)[0]), now.replace(second=0, microsecond=0)
        if state != self._state or minute != self._minute:
            self._minute = minute
            self.edition += 1
        if state != self._state:
            self._state = state
            for kept in (self._calendars, self._commons, self._subscriptions):
                kept.clear()
        self._looked = looked

    async def everything(self) -> CachedResponse:
        """The public feed of all series."""
        return await self._calendar("/calendar.ics", "/calendar.ics", "calendar.ics", self._feed(None))

    async def one_series(self, slug: str) -> CachedResponse:
        """The public feed of one of the series."""
        return await self._calendar(
            f"/calendar/{slug}.ics", "/calendar/{series}.ics", f"{slug}.ics", self._feed(slug)
        )

    async def meeting(self, slug: str, date: str) -> CachedResponse | None:
        """The calendar of one meeting of one of the series; None where there is none."""
        its = next(one for one in self._series if one.slug == slug)

        async def make() -> Published | None:
            one = await read_meeting(self._database, {slug: its}, f"{slug}/{date}", now=self._clock.now())
            return meeting_calendar(one, its, self._community) if one else None

        path, filename = f"/meetings/{slug}/{date}.ics", f"{slug}-{date}.ics"
        try:
            return await self._calendar(path, "/meetings/{series}/{date}.ics", filename, make)
        except LookupError:
            return None

    async def subscription(self, token: str) -> Subscription:
        """Whose the private feed of that address is."""
        await self.freshen()
        if (found := self._subscriptions.get(token)) is None:
            state = self._state
            one = await find_subscriber(self._database, token, keys=self._keys, now=self._clock.now())
            found = Subscription(one)
            if state == self._state and one.status is not LinkStatus.UNKNOWN:
                if len(self._subscriptions) >= _SUBSCRIBERS_KEPT:
                    self._subscriptions.clear()
                self._subscriptions[token] = found
        return found

    async def common(self, alarm: timedelta | None) -> PrivateFeed:
        """What the private feeds with that alarm have in common."""
        async with self._working:
            if (found := self._commons.get(alarm)) is None:
                state = self._state
                found = await private_feed(
                    self._database, self._series, self._community, alarm=alarm, now=self._clock.now()
                )
                if state == self._state:
                    self._commons[alarm] = found
            return found

    def validators(self, published: Published) -> Validators:
        """Settings are part of what is published, and they are read at the start."""
        return Validators.of(published.content, max(published.changed_at, self._started))

    def _feed(self, only: str | None) -> Callable[[], Awaitable[Published]]:
        async def make() -> Published:
            return await feed(self._database, self._series, self._community, now=self._clock.now(), only=only)

        return make

    async def _calendar(
        self, path: str, route: str, filename: str, make: Callable[[], Awaitable[Published | None]]
    ) -> CachedResponse:
        """The calendar at `path`, made where it does not stand here. Raises LookupError where there is none."""
        key = path.encode()
        async with self._working:
            await self.freshen()
            if (found := self._calendars.get(key)) is None:
                state = self._state
                published = await make()
                if published is None:
                    raise LookupError(path)
                found = CachedResponse(
                    published.content,
                    self.validators(published),
                    route=route,
                    filename=filename,
                    headers=PUBLIC,
                    https=self._community.base_url.startswith("https:"),
                )
                # What was made while the state changed is good for this request, and not for a later one.
                if state == self._state:
                    if len(self._calendars) >= _CALENDARS_KEPT:
                        self._calendars.clear()
                    self._calendars[key] = found
            return found


PRIVATE_FEED: Mapping[str, str] = {
    "Cache-Control": "private, max-age=300",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}
