"""Requests that never end and too many connections are closed in time, and visitors can still connect."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from scheduler.bootstrap.web_process import limited_server
from scheduler.bootstrap.wiring import SystemClock
from scheduler.domain.visitor import NO_NETWORKS, Networks
from scheduler.web.connection_limits import ConnectionLimiter, Limits

QUICK = Limits(head_seconds=0.4, body_seconds=0.4, drain_seconds=0.4, largest_head=4096, largest_body=8192)
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.web.connection_limits.SWEEP_SECONDS", 0.05)


@asynccontextmanager
async def served_with_limits(
    app: ASGIApp, limits: Limits = QUICK, trusted: Networks = NO_NETWORKS
) -> AsyncIterator[int]:
    """Serve `app` within these limits, and yield the port."""
    limiter = ConnectionLimiter(limits, SystemClock(), trusted=trusted)
    server = limited_server(app, limiter)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        watching = asyncio.create_task(limiter.close_overdue())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield listener.getsockname()[1]
        server.should_exit = True
        watching.cancel()
        await asyncio.wait([serving, watching])


async def exchange(port: int, *pieces: bytes, pause: float = 0) -> bytes:
    """Send these pieces, and return what is answered until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(OSError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
    answer = b""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(10):
            answer = await reader.read()
    writer.close()
    return answer


FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
HEAD = b"POST /me HTTP/1.1\r\nHost: x\r\n" + FORM


@pytest.mark.parametrize(
    ("pieces", "pause", "status"),
    [
        ([], 0, b"408"),
        ([b"G"], 0, b"408"),
        ([b"GET / HTTP/1.1\r\nHost: x\r\n"], 0, b"408"),
        ([b"\r\n"] * 30, 0.03, b"408"),
        ([b"GET / HTTP/1.1\r\n", *[b"X: y\r\n"] * 30], 0.03, b"408"),
        ([HEAD + b"Content-Length: 9\r\n\r\nabc"], 0, b"408"),
        ([HEAD + b"Content-Length: 90\r\n\r\n", *[b"a"] * 30], 0.03, b"408"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\na\r\n"] * 30], 0.03, b"408"),
        ([b"GET / HTTP/1.1\r\nX: " + b"a" * 5000], 0, b"431"),
        ([b"GET / HTTP/1.1\r\n", *[b"X: %d\r\n" % number + b"a" * 900 for number in range(9)]], 0.01, b"431"),
        ([b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n"], 0, b"431"),
        ([HEAD + b"Content-Length: 90000\r\n\r\n", *[b"a" * 4000] * 4], 0.01, b"413"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", *[b"a" * 4000] * 4], 0.01, b"413"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", *[b"X: " + b"a" * 4000] * 4], 0.01, b"413"),
        ([REQUEST * 17], 0, b"429"),
        ([REQUEST * 5_000], 0, b"429"),
        ([b"rubbish\r\n\r\n"], 0, b"400"),
        ([b"\x16\x03\x01\x02\x00\x01"], 0, b"400"),
    ],
)
async def test_a_request_that_is_not_whole_in_time_or_too_large_is_refused_and_closed(
    app: ASGIApp, pieces: list[bytes], pause: float, status: bytes
) -> None:
    async with served_with_limits(app) as port:
        answer = await exchange(port, *pieces, pause=pause)
        # A refusal may be overtaken by the reset that follows it where the client still sends.
        assert (
            answer[9:12] in (status, b"")
            if pause or sum(map(len, pieces)) > 9_000
            else answer[9:12] == status
        )
        assert (await exchange(port, REQUEST.replace(b"Host", b"Connection: close\r\nHost")))[9:12] == b"200"


async def test_a_second_request_on_the_same_connection_has_limits_too(app: ASGIApp) -> None:
    async with served_with_limits(app) as port:
        assert (await exchange(port, REQUEST, b"GET / HTTP/1.1\r\nX", pause=0.1)).count(b"HTTP/1.1 408") == 1
        answer = await exchange(port, REQUEST + REQUEST, b"GET / HTTP/1.1\r\nX: " + b"a" * 5000, pause=0.1)
        assert answer.count(b"200 OK") == 2 and answer.count(b"HTTP/1.1 431") == 1


async def test_requests_that_wait_for_their_answers_are_few_however_they_arrive() -> None:
    begun, may_answer = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def answer_slowly(scope: Scope, receive: Receive, send: Send) -> None:
        begun.release()
        await may_answer.acquire()
        await Response(status_code=204)(scope, receive, send)

    async with served_with_limits(answer_slowly) as port, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        refused = asyncio.create_task(reader.readuntil(b"HTTP/1.1 429"))
        while not refused.done():
            writer.write(REQUEST * 8)
            await asyncio.wait(
                [refused, next_begun := asyncio.create_task(begun.acquire())], return_when="FIRST_COMPLETED"
            )
            next_begun.cancel()
            may_answer.release()
        assert (await refused).count(b"204") < 16
        writer.close()


async def test_an_upgrade_to_something_else_is_answered_and_closed(app: ASGIApp) -> None:
    upgrade = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with served_with_limits(app) as port:
        assert (await exchange(port, upgrade))[9:12] in (b"200", b"400", b"404")


async def test_a_whole_request_of_the_usual_kind_is_served_piece_by_piece(app: ASGIApp) -> None:
    async with served_with_limits(app, replace(QUICK, head_seconds=5, body_seconds=5)) as port:
        body = b"email=nobody"
        request = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        answer = await exchange(
            port, *[request[at : at + 7] for at in range(0, len(request), 7)], pause=0.001
        )
        assert answer[9:12] == b"422"


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\n", REQUEST], ids=["idle", "half", "kept alive"])
async def test_unused_connections_are_closed_for_visitors(app: ASGIApp, first: bytes) -> None:
    limits = replace(QUICK, head_seconds=60, connections=40)
    async with served_with_limits(app, limits) as port:
        held: list[asyncio.StreamWriter] = []
        for _ in range(120):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(first)
            held.append(writer)
        for _ in range(5):
            async with asyncio.timeout(1):
                answer = await exchange(port, REQUEST.replace(b"Host", b"Connection: close\r\nHost"))
            assert answer[9:12] == b"200"
        for writer in held:
            writer.close()


class _Peer:
    """A connection of an address, as the limiter sees it."""

    def __init__(self) -> None:
        self.closed = False

    def abort(self) -> None:
        self.closed = True


@pytest.fixture
def connect() -> Callable[[ConnectionLimiter, str], _Peer]:
    def connect(limiter: ConnectionLimiter, address: str) -> _Peer:
        peer = _Peer()
        limiter.add(peer, address)  # type: ignore[arg-type]
        return peer

    return connect


async def test_each_network_has_its_own_limit_and_proxies_and_this_machine_have_none(
    connect: Callable[[ConnectionLimiter, str], _Peer],
) -> None:
    limiter = ConnectionLimiter(
        replace(QUICK, of_one_network=3, connections=100), SystemClock(), trusted=Networks.of(["10.0.0.0/8"])
    )
    other = connect(limiter, "198.51.100.9")
    ipv4 = [connect(limiter, "198.51.100.7") for _ in range(5)]
    ipv6 = [connect(limiter, f"2001:db8:1:2::{number}") for number in range(5)]
    assert (
        [peer.closed for peer in ipv4] == [peer.closed for peer in ipv6] == [True, True, False, False, False]
    )
    assert not other.closed
    for exempt in ("127.0.0.1", "::1", "10.1.2.3", "::ffff:10.1.2.3"):
        assert not any([connect(limiter, exempt) for _ in range(6)][number].closed for number in range(6))


async def test_the_connection_that_has_gone_longest_without_a_complete_request_is_closed_first(
    connect: Callable[[ConnectionLimiter, str], _Peer],
) -> None:
    limiter = ConnectionLimiter(replace(QUICK, connections=3), SystemClock(), trusted=NO_NETWORKS)
    first, second, third = (connect(limiter, "127.0.0.1") for _ in range(3))
    limiter.note_request(first)  # type: ignore[arg-type]
    limiter.remove(third)  # type: ignore[arg-type]
    connect(limiter, "127.0.0.1")
    assert not second.closed
    connect(limiter, "127.0.0.1")
    assert second.closed and not first.closed


async def test_only_the_paths_for_uploads_take_a_large_body() -> None:
    async def count(scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        await Response(str(len(body)))(scope, receive, send)

    limits = replace(
        QUICK,
        body_seconds=5,
        largest_upload=100_000,
        uploads=frozenset({b"/upload"}),
        upload_folders=(b"/words/",),
    )
    async with served_with_limits(count, limits) as port:
        for path, size, answer in (
            (b"/upload?x=1", 50_000, b"50000"),
            (b"/upload", 200_000, b"413"),
            (b"/other", 50_000, b"413"),
            (b"/uploads", 50_000, b"413"),
            (b"/words/1", 50_000, b"50000"),
            (b"/words", 50_000, b"413"),
        ):
            head = b"POST %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (
                path,
                size,
            )
            pieces = [b"a" * 5_000] * (size // 5_000)
            given = await exchange(port, head, *pieces, pause=0.001)
            assert answer in given or (answer == b"413" and not given), path
