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

    def on_headers_complete(self) -> None:
        if not self._give():
            super().on_headers_complete()

    def _give(self) -> bool:
        ready = self._shelf.at_hand(self.url)
        parser = self.parser
        if (
            ready is None
            or (self.cycle and not self.cycle.response_complete)  # type: ignore[truthy-bool]  # None at first
            or (method := parser.get_method()) not in _LOOKS
            or parser.get_http_version() != "1.1"
            or not parser.should_keep_alive()
            or parser.should_upgrade()
            or self.flow.write_paused
            or self.transport.is_closing()
        ):
            return False
        reply = ready.reply(self.headers)
        head = [reply.status_line]
        for name, value in self.server_state.default_headers:
            head += (name, b": ", value, b"\r\n")
        head.append(reply.head)
        if method == b"GET":
            head.append(reply.content)
        self.transport.writelines(head)
        self._shelf.count(ready.route, reply.status)
        self._given = True
        return True

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
