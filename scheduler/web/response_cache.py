"""Public pages and calendars kept in memory: answered in front of the router, without a look at the database."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scheduler.store.database import OUTAGES
from scheduler.web.feed_cache import FeedCache, send_reply

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
_PAGES_KEPT = 500
_LARGEST_KEPT = 256 * 1024
_LONGEST_LANGUAGE = 100
_KEPT_STATUS = frozenset({200, 302})

Key = tuple[str, bytes, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """A page as it was answered, in one state of the shelf."""

    edition: int
    route: str
    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes


class ResponseCache:
    """Answers for `app` what stands ready on the shelf, and what it has answered in the same state before.

    A page is kept by its address and the visitor's languages. A request with a cookie or credentials, and an answer
    that says no-store or private or sets a cookie, pass by. Visitors that ask at once for a page that is not here wait
    for one of them to have it made. Pages are kept only while somebody looks after the shelf.
    """

    def __init__(self, app: ASGIApp, *, shelf: FeedCache) -> None:
        self._app = app
        self._shelf = shelf
        self._pages: OrderedDict[Key, Kept] = OrderedDict()
        self._making: dict[Key, asyncio.Event] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        if not scope["query_string"] and (ready := self._shelf.at_hand(scope.get("raw_path", b""))):
            reply = ready.reply(scope["headers"])
            self._shelf.count(ready.route, reply.status)
            await send_reply(scope, send, reply.status, reply.headers, reply.content)
            return
        key = self._key(scope) if self._shelf.is_looked_after else None
        if key is None:
            await self._app(scope, receive, send)
        elif not await self._answer(key, scope, send):
            await self._make(key, scope, receive, send)

    async def _answer(self, key: Key, scope: Scope, send: Send) -> bool:
        kept = self._pages.get(key)
        if kept is None or kept.edition != self._shelf.edition or not self._shelf.is_fresh:
            return False
        self._pages.move_to_end(key)
        self._shelf.count(kept.route, kept.status)
        await send_reply(scope, send, kept.status, kept.headers, kept.content)
        return True

    async def _make(self, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        if making := self._making.get(key):
            await making.wait()
            if await self._answer(key, scope, send):
                return
        if scope["method"] == "HEAD" or key in self._making:
            await self._app(scope, receive, send)
            return
        made = self._making[key] = asyncio.Event()
        try:
            try:
                await self._shelf.freshen()
            except OUTAGES:
                await self._app(scope, receive, send)  # which says what is wrong
                return
            if not await self._answer(key, scope, send):
                await self._app(scope, receive, _Recorder(self, key, scope, send))
        finally:
            made.set()
            del self._making[key]

    def keep(self, key: Key, page: Kept) -> None:
        """Keep a page for the others that ask in this state; it may have changed while the page was made."""
        if page.edition == self._shelf.edition:
            self._pages[key] = page
            self._pages.move_to_end(key)
            if len(self._pages) > _PAGES_KEPT:
                self._pages.popitem(last=False)

    @property
    def edition(self) -> int:
        return self._shelf.edition

    @staticmethod
    def _key(scope: Scope) -> Key | None:
        path: str = scope["path"]
        first = path[1:].partition("/")[0]
        if path.endswith(".ics") or (first not in PUBLIC_PAGES and path not in _PUBLIC_PATHS):
            return None
        language = ""
        for name, value in scope["headers"]:
            if name in (b"cookie", b"authorization"):
                return None
            if name == b"accept-language":
                language += value.decode("latin-1").lower()
        return path, scope["query_string"], language[:_LONGEST_LANGUAGE]


class _Recorder:
    """Sends an answer on, and keeps it if all may have it."""

    def __init__(self, cache: ResponseCache, key: Key, scope: Scope, send: Send) -> None:
        self._cache, self._key, self._scope, self._send = cache, key, scope, send
        self._edition = cache.edition
        self._status, self._headers, self._content = 0, list[tuple[bytes, bytes]](), b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body" and self._status:
            self._content += message.get("body", b"")
            if len(self._content) > _LARGEST_KEPT:
                self._status = 0
            elif not message.get("more_body", False) and self._may_keep():
                route = getattr(self._scope.get("route"), "path", "none")
                self._cache.keep(
                    self._key, Kept(self._edition, route, self._status, self._headers, self._content)
                )
        await self._send(message)

    def _may_keep(self) -> bool:
        headers = Headers(raw=self._headers)
        said = headers.get("cache-control", "")
        return (
            self._status in _KEPT_STATUS
            and "no-store" not in said
            and "private" not in said
            and "set-cookie" not in headers
            and headers.get("vary", "accept-language").lower() == "accept-language"
        )
