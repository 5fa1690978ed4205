"""Over a real socket: what leaves from the shelf by the short way is what the usual way would say."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
import uvicorn
from starlette.applications import Starlette

from scheduler.web.swift import SwiftProtocol
from tests.house import House

FEED = "/calendar.ics"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Line:
    """A connection that stays open, and speaks HTTP/1.1 by the octet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, *requests: str) -> list[tuple[str, dict[str, str], bytes]]:
        """Send the requests in one go; the status line, headers and body of each answer."""
        self.writer.write("".join(requests).replace("\n", "\r\n").encode())
        answers = []
        for request in requests:
            async with asyncio.timeout(20):
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode().removesuffix("\r\n\r\n")
                status, *lines = head.split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                size = 0 if request.startswith("HEAD") else int(headers.get("content-length", 0))
                answers.append((status, headers, await self.reader.readexactly(size)))
        return answers


def get(path: str = FEED, *headers: str, method: str = "GET") -> str:
    return f"{method} {path} HTTP/1.1\nHost: x\n" + "".join(f"{one}\n" for one in headers) + "\n"


@pytest.fixture
async def port(app: Starlette) -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, http=SwiftProtocol, log_config=None, access_log=False, lifespan="off")
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield listener.getsockname()[1]
        server.should_exit = True
        await serving


@pytest.fixture
async def line(port: int) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Line(reader, writer)
    await hang_up(writer)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def undated(answer: tuple[str, dict[str, str], bytes]) -> tuple[str, dict[str, str], bytes]:
    status, headers, body = answer
    return status, {name: value for name, value in headers.items() if name != "date"}, body


async def test_both_ways_say_the_same_and_the_short_one_is_taken(
    house: House, app: Starlette, line: Line
) -> None:
    shelf = app.state.site.shelf
    (first,) = await line.ask(get())
    tag = first[1]["etag"]
    for asked in (
        get(), get(FEED, f"If-None-Match: {tag}"), get(FEED, "Accept-Encoding: gzip"),
        get(FEED, f"If-Modified-Since: {first[1]['last-modified']}"), get(method="HEAD"),
    ):  # fmt: skip
        before = sum(shelf._given.values())
        (short,) = await line.ask(asked)
        assert sum(shelf._given.values()) == before + 1
        house.clock.pass_(timedelta(seconds=5))
        (usual,) = await line.ask(asked)
        assert sum(shelf._given.values()) == before + 1
        assert undated(short) == undated(usual)
        assert "date" in short[1] and "etag" in short[1]
    assert first[0] == "HTTP/1.1 200 OK" and first[2].endswith(b"END:VCALENDAR\r\n")


async def test_requests_sent_in_one_go_are_answered_in_their_order(line: Line) -> None:
    await line.ask(get())
    answers = await line.ask(
        get("/healthz"), get(), get("/healthz"), get("/nothing"), get(method="HEAD"), get()
    )
    kinds = [(status[9:12], headers["content-type"].partition(";")[0]) for status, headers, _ in answers]
    assert kinds == [
        ("200", "text/plain"), ("200", "text/calendar"), ("200", "text/plain"), ("404", "text/html"),
        ("200", "text/calendar"), ("200", "text/calendar"),
    ]  # fmt: skip
    assert answers[4][2] == b"" and answers[5][2] == answers[1][2]


async def test_what_is_no_plain_question_goes_the_usual_way(app: Starlette, port: int, line: Line) -> None:
    await line.ask(get())
    for asked, status in (
        (get(f"{FEED}?x=1"), "200"), (get(method="POST"), "405"), (get("/calendar%2Eics"), "200"),
        (get(FEED, "Content-Length: 3") + "abc", "200"),
    ):  # fmt: skip
        (answer,) = await line.ask(asked)
        assert answer[0].split()[1] == status
    for last in (get(FEED, "Connection: close"), get().replace("HTTP/1.1", "HTTP/1.0")):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        (answer,) = await Line(reader, writer).ask(last)
        assert answer[1]["connection"] == "close"
        assert await reader.read() == b""
        await hang_up(writer)
