"""ASGI middleware that answers public pages and calendars from memory, without the router or the database.

There are two kinds of answer. Calendars come from the FeedCache, which makes them from the data and keeps each in every
form that a client may ask for (plain, gzip, 304). Pages are recorded here: the application makes the answer once, and
it is sent again unchanged. Both are valid for one version of the data, which the FeedCache keeps track of.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scheduler.store.database import OUTAGES
from scheduler.web.feed_cache import FeedCache, send_response

PUBLIC_PAGES = frozenset(
    {
        "",
        "about",
        "archive",
        "archive.atom",
        "contact",
        "embed",
        "meetings",
        "next",
        "people",
        "privacy",
        "series",
        "sitemap.xml",
        "speakers",
        "themes",
    }
)
"""The first part of the path of each page that is the same for everybody."""

_PUBLIC_PATHS = frozenset({"/subscribe"})
_MAX_PAGES = 500
_LARGEST_PAGE = 256 * 1024
_LONGEST_LANGUAGES = 100
_CACHEABLE_STATUS = frozenset({200, 302})

Key = tuple[str, bytes, str]
"""Path, query string and Accept-Language of a page."""


@dataclass(frozen=True, slots=True)
class CachedPage:
    """A page as it was answered, and the version of the data that it shows."""

    version: int
    route: str
    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes


class ResponseCache:
    """Answer requests to `app` from memory where the answer is known and still valid.

    A page is cached by its address and the visitor's languages. A request with a cookie or credentials is never
    answered from the cache, and an answer that says no-store or private or sets a cookie is never stored. If several
    visitors ask at once for a page that is not cached, the application makes it once and the others wait. Pages are
    cached only while FeedCache.watch runs.
    """

    def __init__(self, app: ASGIApp, *, feed_cache: FeedCache) -> None:
        self._app = app
        self._feed_cache = feed_cache
        self._pages: OrderedDict[Key, CachedPage] = OrderedDict()
        self._in_progress: dict[Key, asyncio.Event] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        if not scope["query_string"] and (feed := self._feed_cache.cached_feed(scope.get("raw_path", b""))):
            response = feed.respond(scope["headers"])
            self._feed_cache.count(feed.route, response.status)
            await send_response(scope, send, response.status, response.headers, response.content)
            return
        key = _cache_key(scope) if self._feed_cache.is_watched else None
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
        await send_response(scope, send, page.status, page.headers, page.content)
        return True

    async def _make(self, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the application answer, and store its answer; wait where another request already does that."""
        if in_progress := self._in_progress.get(key):
            await in_progress.wait()
            if await self._send_cached(key, scope, send):
                return
        if scope["method"] == "HEAD" or key in self._in_progress:
            await self._app(scope, receive, send)
            return
        finished = self._in_progress[key] = asyncio.Event()
        try:
            try:
                await self._feed_cache.ensure_fresh()
            except OUTAGES:
                await self._app(scope, receive, send)  # which answers with the page about the outage
                return
            if not await self._send_cached(key, scope, send):
                await self._app(scope, receive, _Recorder(self, key, scope, send))
        finally:
            finished.set()
            del self._in_progress[key]


def _cache_key(scope: Scope) -> Key | None:
    """Return the key of a page; None where the request must not be answered from the cache."""
    path: str = scope["path"]
    first_part = path[1:].partition("/")[0]
    if path.endswith(".ics") or (first_part not in PUBLIC_PAGES and path not in _PUBLIC_PATHS):
        return None
    languages = ""
    for name, value in scope["headers"]:
        if name in (b"cookie", b"authorization"):
            return None
        if name == b"accept-language":
            languages += value.decode("latin-1").lower()
    return path, scope["query_string"], languages[:_LONGEST_LANGUAGES]


class _Recorder:
    """Pass an answer on to the client, and store it in the cache if it is the same for everybody."""

    def __init__(self, cache: ResponseCache, key: Key, scope: Scope, send: Send) -> None:
        self._cache, self._key, self._scope, self._send = cache, key, scope, send
        self._version = cache.version
        self._status, self._headers, self._content = 0, list[tuple[bytes, bytes]](), b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body" and self._status:
            self._content += message.get("body", b"")
            if len(self._content) > _LARGEST_PAGE:
                self._status = 0
            elif not message.get("more_body", False) and self._is_cacheable():
                route = getattr(self._scope.get("route"), "path", "none")
                page = CachedPage(self._version, route, self._status, self._headers, self._content)
                self._cache.store(self._key, page)
        await self._send(message)

    def _is_cacheable(self) -> bool:
        headers = Headers(raw=self._headers)
        cache_control = headers.get("cache-control", "")
        return (
            self._status in _CACHEABLE_STATUS
            and "no-store" not in cache_control
            and "private" not in cache_control
            and "set-cookie" not in headers
            and headers.get("vary", "accept-language").lower() == "accept-language"
        )
