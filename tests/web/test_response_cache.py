"""Public pages and calendars from memory are the same as the router's answers, and are made once."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from scheduler.store import service_state
from scheduler.web.feed_cache import FeedCache
from scheduler.web.response_cache import ResponseCache
from tests.installation import Installation
from tests.languages import catalogues_in, write_catalogue
from tests.web.conftest import OF_ONE_ANSWER

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
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
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
    return status, {name: value for name, value in headers.items() if name not in OF_ONE_ANSWER}, body


async def test_a_calendar_from_memory_is_what_the_router_would_say(
    installation: Installation, app: Starlette, line: Line
) -> None:
    feed_cache = app.state.site.feed_cache
    (first,) = await line.ask(get())
    tag = first[1]["etag"]
    for asked in (
        get(),
        get(FEED, f"If-None-Match: {tag}"),
        get(FEED, "Accept-Encoding: gzip"),
        get(FEED, f"If-Modified-Since: {first[1]['last-modified']}"),
        get(method="HEAD"),
    ):
        before = sum(feed_cache._counts.values())
        (short,) = await line.ask(asked)
        assert sum(feed_cache._counts.values()) == before + 1
        installation.clock.pass_(timedelta(seconds=5))
        (usual,) = await line.ask(asked)
        assert sum(feed_cache._counts.values()) == before + 1
        assert undated(short) == undated(usual)
        assert "date" in short[1] and "etag" in short[1]
    assert first[0] == "HTTP/1.1 200 OK" and first[2].endswith(b"END:VCALENDAR\r\n")


@pytest.fixture
async def watched(app: Starlette) -> AsyncIterator[FeedCache]:
    """Pages are kept from here on, as under `serve`."""
    feed_cache: FeedCache = app.state.site.feed_cache
    app.state.site = replace(app.state.site, shows_outbox=False)
    watching = asyncio.create_task(feed_cache.watch())
    await asyncio.sleep(0)
    yield feed_cache
    watching.cancel()
    await asyncio.wait([watching])


def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The path of each page that the router was asked for from now on."""
    paths: list[str] = []
    usual = Router.__call__

    async def noted(self: Router, scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        await usual(self, scope, receive, send)

    monkeypatch.setattr(Router, "__call__", noted)
    return paths


PAGES = [
    "/",
    "/?zone=Asia/Kolkata",
    "/next",
    "/embed/next",
    "/archive",
    "/subscribe",
    "/privacy",
    "/meetings/conversation-for-kindness/2026-11-19",
]


@pytest.mark.parametrize("path", PAGES)
async def test_a_public_page_is_made_once_per_state_and_minute(
    installation: Installation,
    watched: FeedCache,
    visitor: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    paths = made(monkeypatch)
    first = await visitor.get(path)
    again = await asyncio.gather(*(visitor.get(path) for _ in range(20)))
    assert len(paths) == 1
    assert all((one.status_code, one.text) == (first.status_code, first.text) for one in again)
    assert all(one.headers == first.headers for one in again)
    assert (await visitor.head(path)).text == ""
    assert len(paths) == 1
    installation.clock.pass_(timedelta(minutes=1))
    await visitor.get(path)
    assert len(paths) == 2
    async with installation.database.write() as connection:
        await service_state.note_change(connection)
    await watched.refresh()
    await visitor.get(path)
    assert len(paths) == 3


async def test_a_public_page_and_the_style_sheet_are_compressed_for_clients_that_take_it(
    watched: FeedCache, visitor: httpx.AsyncClient
) -> None:
    for path in ("/", "/static/style.css"):
        plain = await visitor.get(path, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        for _ in range(2):
            compressed = await visitor.get(path, headers={"Accept-Encoding": "gzip"})
            assert compressed.headers["content-encoding"] == "gzip" and compressed.text == plain.text
            assert compressed.num_bytes_downloaded < len(plain.content) / 2
            assert {"Accept-Encoding"} <= set(compressed.headers["vary"].split(", "))
        assert "Accept-Encoding" in plain.headers["vary"]


async def test_a_page_with_what_is_one_persons_own_is_not_compressed(
    watched: FeedCache, visitor: httpx.AsyncClient
) -> None:
    for path in ("/join", "/me"):
        assert "content-encoding" not in (await visitor.get(path)).headers


async def test_a_crowd_that_arrives_at_once_has_a_page_made_once(
    watched: FeedCache, visitor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = made(monkeypatch)
    answers = await asyncio.gather(*(visitor.get("/") for _ in range(64)))
    assert {one.status_code for one in answers} == {200} and len(paths) == 1


async def test_what_a_page_shows_is_never_older_than_the_members_list(
    installation: Installation, watched: FeedCache, visitor: httpx.AsyncClient
) -> None:
    before = (await visitor.get("/meetings/conversation-for-kindness/2026-11-19")).text
    async with installation.database.write() as connection:
        await connection.exec_driver_sql("UPDATE occurrences SET topic = 'Grace'")
        await service_state.note_change(connection)
    installation.clock.pass_(timedelta(seconds=2))
    after = (await visitor.get("/meetings/conversation-for-kindness/2026-11-19")).text
    assert "Grace" not in before and "Grace" in after


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {"Cookie": "session=1"}),
        ("/", {"Authorization": "Basic x"}),
        ("/join", {}),
        ("/me", {}),
        ("/me/" + "a" * 34, {}),
        ("/subscribe/" + "a" * 34, {}),
        ("/go/" + "a" * 34 + "/conversation-for-kindness/2026-11-19", {}),
        ("/meetings/conversation-for-kindness/1999-01-01", {}),
        ("/outbox", {}),
        ("/healthz", {}),
        ("/readyz", {}),
    ],
)
async def test_what_is_one_persons_own_or_not_there_is_never_kept(
    watched: FeedCache,
    visitor: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    headers: dict[str, str],
) -> None:
    paths = made(monkeypatch)
    for _ in range(3):
        await visitor.get(path, headers=headers)
    assert len(paths) == 3


async def test_visitors_of_different_languages_do_not_get_each_others_pages(
    watched: FeedCache, visitor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paths = made(monkeypatch)
    for language in ("de", "fr"):
        write_catalogue(tmp_path, language)
    with catalogues_in(tmp_path):
        for accepted in ("de", "fr", "de-AT, fr;q=0.9", "tlh, fr", "de;q=0.1, fr;q=0.2"):
            page = await visitor.get("/", headers={"Accept-Language": accepted})
            assert (
                f'<html lang="{"de" if accepted.startswith("de") and "0.1" not in accepted else "fr"}"'
                in page.text
            )
    assert len(paths) == 2, "each language is made once, however a browser asks for it"


async def test_endless_made_up_addresses_do_not_fill_the_memory(
    app: Starlette, watched: FeedCache, visitor: httpx.AsyncClient
) -> None:
    for number in range(520):
        await visitor.get(f"/privacy?{number}")
    (cache,) = [one for one in layers(app) if isinstance(one, ResponseCache)]
    assert len(cache._pages) == 500


def layers(app: Starlette) -> list[object]:
    """The middleware of a site, the outermost first."""
    found: list[object] = []
    one: object = app.middleware_stack
    while one is not None:
        found.append(one)
        one = getattr(one, "app", None) or getattr(one, "_app", None)
    return found


async def test_requests_sent_in_one_go_are_answered_in_their_order(line: Line) -> None:
    await line.ask(get())
    answers = await line.ask(
        get("/healthz"), get(), get("/healthz"), get("/nothing"), get(method="HEAD"), get()
    )
    kinds = [(status[9:12], headers["content-type"].partition(";")[0]) for status, headers, _ in answers]
    assert kinds == [
        ("200", "text/plain"),
        ("200", "text/calendar"),
        ("200", "text/plain"),
        ("404", "text/html"),
        ("200", "text/calendar"),
        ("200", "text/calendar"),
    ]
    assert answers[4][2] == b"" and answers[5][2] == answers[1][2]


async def test_what_is_no_plain_question_goes_the_usual_way(app: Starlette, port: int, line: Line) -> None:
    await line.ask(get())
    for asked, status in (
        (get(f"{FEED}?x=1"), "200"),
        (get(method="POST"), "405"),
        (get("/calendar%2Eics"), "200"),
        (get(FEED, "Content-Length: 3") + "abc", "200"),
    ):
        (answer,) = await line.ask(asked)
        assert answer[0].split()[1] == status
    for last in (get(FEED, "Connection: close"), get().replace("HTTP/1.1", "HTTP/1.0")):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        (answer,) = await Line(reader, writer).ask(last)
        assert answer[1]["connection"] == "close"
        assert await reader.read() == b""
        await hang_up(writer)


async def ask_application(cache: ResponseCache, path: str, send: Send) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
    }
    await cache(scope, receive, send)


class SlowApplication:
    """An application whose answers take as long as the test wants. It counts how many it makes at once."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.asked, self.at_once, self.most_at_once = 0, 0, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.may_answer.wait()
        await all_others()
        self.at_once -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})


async def all_others() -> None:
    """Let all other tasks do what they can without waiting for anything."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_crowd_whose_page_is_outdated_before_it_is_made_has_it_made_twice_at_most(
    installation: Installation, watched: FeedCache
) -> None:
    """Once, on a busy machine, each of 256 visitors then had it made, all at the same time."""
    application = SlowApplication()
    cache, answers = ResponseCache(application, feed_cache=watched), list[Message]()

    async def send(message: Message) -> None:
        answers.append(message)

    await watched.refresh()
    crowd = [asyncio.create_task(ask_application(cache, "/", send)) for _ in range(64)]
    await all_others()
    installation.clock.pass_(timedelta(minutes=1))
    await watched.refresh()
    application.may_answer.set()
    await asyncio.gather(*crowd)
    assert application.asked == 2
    assert [message["body"] for message in answers if "body" in message] == [b"page"] * 64


async def test_only_a_few_pages_are_made_at_the_same_time(watched: FeedCache) -> None:
    application = SlowApplication()
    cache = ResponseCache(application, feed_cache=watched)

    async def send(message: Message) -> None:
        pass

    await watched.refresh()
    crowd = [asyncio.create_task(ask_application(cache, f"/meetings/{n}", send)) for n in range(64)]
    await all_others()
    application.may_answer.set()
    await asyncio.gather(*crowd)
    assert application.asked == 64 and application.most_at_once == 8


async def test_a_client_that_does_not_read_holds_up_nobody_who_asks_for_the_same_page(
    watched: FeedCache,
) -> None:
    """Once, those who asked for the page that it was the first to ask for waited up to a minute."""
    application = SlowApplication()
    application.may_answer.set()
    cache, sending, never = ResponseCache(application, feed_cache=watched), asyncio.Event(), asyncio.Event()

    async def send_slowly(message: Message) -> None:
        sending.set()
        await never.wait()

    async def send(message: Message) -> None:
        pass

    first = asyncio.create_task(ask_application(cache, "/", send_slowly))
    await sending.wait()
    async with asyncio.timeout(10):
        await ask_application(cache, "/", send)
    assert application.asked == 1
    first.cancel()
