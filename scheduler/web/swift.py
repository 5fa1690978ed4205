"""The short way for calendar programs: what stands ready on the shelf leaves before any application is asked."""

from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from scheduler.web.shelf import Shelf

_LOOKS = (b"GET", b"HEAD")


class SwiftProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, for the site whose shelf it looks at.

    It answers by itself only a plain GET or HEAD, over a connection that stays open and drains, for a calendar that is
    at hand. Everything else goes the usual way, and the answers of both are the same.
    """

    def __init__(self, config: Config, *arguments: Any, **named: Any) -> None:
        super().__init__(config, *arguments, **named)
        self._shelf: Shelf = config.app.state.site.shelf  # type: ignore[union-attr]
        self._given = False
        self._common: tuple[object, bytes] = None, b""

    def on_message_begin(self) -> None:
        """What the long way wants beyond this is made once it is known that the request goes there."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        if not self._give():
            url, headers, expects = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.expect_100_continue = url, expects
            self.headers.extend(headers)
            super().on_headers_complete()

    def _give(self) -> bool:
        ready = self._shelf.at_hand(self.url)
        if ready is None:
            return False
        parser = self.parser
        if (
            (self.cycle and not self.cycle.response_complete)  # type: ignore[truthy-bool]  # None at first
            or (method := parser.get_method()) not in _LOOKS
            or parser.get_http_version() != "1.1"
            or not parser.should_keep_alive()
            or parser.should_upgrade()
            or self.flow.write_paused
            or self.transport.is_closing()
        ):
            return False
        reply = ready.reply(self.headers)
        head = b"".join((reply.status_line, self._common_lines(), reply.head))
        if reply.content and method == b"GET":
            self.transport.writelines((head, reply.content))
        else:
            self.transport.write(head)
        self._shelf.count(ready.route, reply.status)
        self._given = True
        return True

    def _common_lines(self) -> bytes:
        """The server's own headers; it makes a new list of them every second, with the time."""
        headers = self.server_state.default_headers
        if self._common[0] is not headers:
            self._common = headers, b"".join(b"%s: %s\r\n" % pair for pair in headers)
        return self._common[1]

    def on_body(self, body: bytes) -> None:
        if not self._given:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._given:
            super().on_message_complete()
            return
        self._given = False
        self.server_state.total_requests += 1
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
