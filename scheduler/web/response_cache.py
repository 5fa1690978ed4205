"""ASGI middleware that answers public pages and calendars from memory, without the router or the database.

There are two kinds of answer. Calendars come from the FeedCache, which makes them from the data and keeps each in every
form that a client may ask for (plain, gzip, 304). Pages are recorded here: the application makes the answer once, and
it is sent again, plain or compressed. Both are valid for one version of the data, which the FeedCache keeps track of.
"""

import asyncio
import contextlib
import gzip
from collections import OrderedDict
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scheduler.store.database import OUTAGES
from scheduler.web.feed_cache import FeedCache, accepts_gzip, negotiation_headers, send_response
from scheduler.web.language import visitor_language
from scheduler.web.security import REQUEST_ID

PUBLIC_PAGES = frozenset(
    {
        "",
        "about",
        "archive",
        "contact",
        "embed",
        "meetings",
        "next",
        "people",
        "privacy",
        "series",
        "speakers",
        "themes",
    }
)
"""The first part of the path of each page that is the same for everybody."""

_PUBLIC_PATHS = frozenset({"/subscribe"})
_MAX_PAGES = 500
_MAX_AT_ONCE = 8
"""How many pages are made at the same time. More would not be made sooner, but would use more memory."""

_LARGEST_PAGE = 256 * 1024
_CACHEABLE_STATUS = frozenset({200, 302})

Key = tuple[str, bytes, str]
"""Path, query string and language of a page."""


@dataclass(frozen=True, slots=True)
class CachedPage:
    """A page as it was answered, compressed too, and the version of the data that it shows.

    The length of the answer is not among `headers`. A page with a member's secrets must not be compressed, because the
    compressed length says something about them (BREACH); one that is the same for everybody has none.
    """

    version: int
    route: str
    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes
    compressed: bytes

    async def send(self, scope: Scope, send: Send) -> None:
        """Answer a GET or HEAD request with the page, compressed if the client takes that."""
        content, headers = self.content, list(self.headers)
        if accepts_gzip(negotiation_headers(scope["headers"])[2].decode("latin-1")):
            content = self.compressed
            headers.append((b"content-encoding", b"gzip"))
        headers.append((b"content-length", b"%d" % len(content)))
        await send_response(scope, send, self.status, headers, content)


class ResponseCache:
    """Answer requests to `app` from memory where the answer is known and still valid.

    A page is cached by its address and the language in which this visitor gets it; `language` is the community's. A
    request with a cookie or credentials is never answered from the cache, and an answer that says no-store or private
    or sets a cookie is never stored. If several visitors ask at once for a page that is not cached, the application
    makes it once and the others wait. Pages are cached only while FeedCache.watch runs.
    """

    def __init__(self, app: ASGIApp, *, feed_cache: FeedCache, language: str = "en") -> None:
        self._app = app
        self._language = language
        self._feed_cache = feed_cache
        self._pages: OrderedDict[Key, CachedPage] = OrderedDict()
        self._in_progress: dict[Key, asyncio.Future[CachedPage | None]] = {}
        self._at_once = asyncio.Semaphore(_MAX_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        if not scope["query_string"] and (feed := self._feed_cache.cached_feed(scope.get("raw_path", b""))):
            response = feed.respond(scope["headers"])
            self._feed_cache.count(feed.route, response.status)
            await send_response(scope, send, response.status, response.headers, response.content)
            return
        key = _cache_key(scope, self._language) if self._feed_cache.is_watched else None
        if key is None:
            await self._app(scope, receive, send)
        elif not await self._send_cached(key, scope, send):
            await self._make(key, scope, receive, send)

    @property
    def version(self) -> int:
        """The version of the data that pages now show."""
        return self._feed_cache.version

    def store(self, key: Key, page: CachedPage) -> None:
        """Store a page, unless the data changed while it was made."""
        if page.version == self.version:
            self._pages[key] = page
            self._pages.move_to_end(key)
            if len(self._pages) > _MAX_PAGES:
                self._pages.popitem(last=False)

    async def _send_cached(self, key: Key, scope: Scope, send: Send) -> bool:
        """Send the cached page, and return whether there was one that is still valid."""
        page = self._pages.get(key)
        if page is None or page.version != self.version or not self._feed_cache.is_fresh:
            return False
        self._pages.move_to_end(key)
        self._feed_cache.count(page.route, page.status)
        await page.send(scope, send)
        return True

    async def _make(self, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the application answer, and store its answer; requests that arrive together share one answer."""
        if scope["method"] == "HEAD":
            await self._app(scope, receive, send)
            return
        if begun_before := self._in_progress.get(key):
            await asyncio.wait([begun_before])
            if await self._send_cached(key, scope, send):
                return
        # An answer begun after this request arrived is new enough for it, even if the data has changed since then.
        if in_progress := self._in_progress.get(key):
            await asyncio.wait([in_progress])
            if (page := in_progress.result()) is None:
                await self._app(scope, receive, send)
            else:
                await page.send(scope, send)
            return
        finished = self._in_progress[key] = asyncio.get_running_loop().create_future()
        page, messages = None, list[Message]()
        try:
            with contextlib.suppress(*OUTAGES):  # The application answers with the page about the outage.
                await self._feed_cache.ensure_fresh()
            version = self.version
            messages = await self._record(scope, receive)
            if page := _shared_page(version, scope, messages):
                self.store(key, page)
        finally:
            del self._in_progress[key]
            finished.set_result(page)
        if page:
            await page.send(scope, send)
            return
        for message in messages:
            await send(message)

    async def _record(self, scope: Scope, receive: Receive) -> list[Message]:
        """Return the application's whole answer.

        It is sent only later, because a client that does not read would hold up all who wait for the same page.
        """
        messages: list[Message] = []

        async def record(message: Message) -> None:
            messages.append(message)

        async with self._at_once:
            await self._app(scope, receive, record)
        return messages


def _cache_key(scope: Scope, language: str) -> Key | None:
    """Return the key of a page; None where the request must not be answered from the cache."""
    path: str = scope["path"]
    first_part = path[1:].partition("/")[0]
    # Calendars and pictures are kept elsewhere, with what a client needs to ask whether its copy is current.
    if path.endswith((".ics", ".png")) or (first_part not in PUBLIC_PAGES and path not in _PUBLIC_PATHS):
        return None
    if any(name in (b"cookie", b"authorization") for name, _ in scope["headers"]):
        return None
    return path, scope["query_string"], visitor_language(scope, language)


def _shared_page(version: int, scope: Scope, messages: list[Message]) -> CachedPage | None:
    """Return the answer as a page to be cached; None if it is not the same for everybody."""
    start, *rest = messages
    content = b"".join(message.get("body", b"") for message in rest)
    headers = MutableHeaders(raw=list(start["headers"]))
    cache_control = headers.get("cache-control", "")
    if (
        len(content) > _LARGEST_PAGE
        or start["status"] not in _CACHEABLE_STATUS
        or "no-store" in cache_control
        or "private" in cache_control
        or "set-cookie" in headers
        or "content-encoding" in headers
        or headers.get("vary", "accept-language").lower() != "accept-language"
    ):
        return None
    headers.add_vary_header("Accept-Encoding")
    del headers["content-length"], headers[REQUEST_ID]
    route = getattr(scope.get("route"), "path", "none")
    compressed = gzip.compress(content, compresslevel=6, mtime=0)
    return CachedPage(version, route, start["status"], headers.raw, content, compressed)
