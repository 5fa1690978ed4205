"""Mail is accepted over LMTP within limits, and acknowledged only once it has had its effect."""

import asyncio
import smtplib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scheduler.delivery.receive import lmtp
from scheduler.delivery.receive.lmtp import LmtpServer, listen_lmtp
from scheduler.delivery.receive.places import is_local, require_lmtp
from scheduler.domain.errors import Problem, SettingsProblem
from tests.postgres import free_loopback_port

MESSAGE = b"From: ann@example.org\r\nSubject: Hello\r\n\r\nA line\r\n.\r\n"


class Taken:
    """What was accepted; `refuses` is whether the mail server is told to try again."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, str]] = []
        self.refuses = False
        self.fails = False

    async def accept(self, content: bytes, recipient: str) -> bool:
        if self.fails:
            raise RuntimeError("a mistake of ours")
        if not self.refuses:
            self.messages.append((content, recipient))
        return not self.refuses


@asynccontextmanager
async def served(place: str) -> AsyncIterator[Taken]:
    taken = Taken()
    server = asyncio.create_task(
        LmtpServer(listen_lmtp(place), taken.accept, hostname="conversation.example.org").run()
    )
    yield taken
    server.cancel()
    await asyncio.wait([server])


def connect(place: str) -> smtplib.LMTP:
    if place.startswith("unix:"):
        return smtplib.LMTP(place.removeprefix("unix:"))
    host, _, port = place.rpartition(":")
    return smtplib.LMTP(host, int(port))


def refusal(send: Callable[[], object]) -> int:
    with pytest.raises(smtplib.SMTPResponseException) as refused:
        send()
    return int(refused.value.smtp_code)


@pytest.mark.parametrize("kind", ["port", "socket"])
async def test_a_message_comes_with_its_envelope_above_it(tmp_path: Path, kind: str) -> None:
    place = f"unix:{tmp_path}/lmtp" if kind == "socket" else f"127.0.0.1:{free_loopback_port()}"

    def deliver() -> None:
        with connect(place) as client:
            client.sendmail("ann@example.org", ["meetings+b+x@example.net"], MESSAGE)
            client.sendmail("", ["meetings@example.net"], MESSAGE)

    async with served(place) as taken:
        await asyncio.to_thread(deliver)
    above = b"Return-Path: <ann@example.org>\r\nDelivered-To: meetings+b+x@example.net\r\n"
    assert taken.messages[0] == (above + MESSAGE, "meetings+b+x@example.net")
    assert taken.messages[1][0].startswith(b"Return-Path: <>\r\n")


async def test_what_cannot_be_handled_now_or_at_once_is_to_be_tried_again() -> None:
    place = f"127.0.0.1:{free_loopback_port()}"
    async with served(place) as taken:
        taken.refuses = True
        client = await asyncio.to_thread(connect, place)

        def send() -> object:
            return client.sendmail("a@example.org", ["b@example.net"], MESSAGE)

        assert await asyncio.to_thread(refusal, send) == 451
        taken.refuses, taken.fails = False, True
        assert await asyncio.to_thread(refusal, send) == 451
        taken.fails = False
        several = await asyncio.to_thread(
            client.sendmail, "a@example.org", ["b@example.net", "c@example.net"], MESSAGE
        )
        assert several["c@example.net"][0] == 452, "a second recipient"
        assert [recipient for _, recipient in taken.messages] == ["b@example.net"]
        await asyncio.to_thread(client.quit)


async def test_size_and_number_of_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmtp, "LARGEST_ACCEPTED", 10_000)
    monkeypatch.setattr(lmtp, "MOST_CONNECTIONS", 2)
    place = f"127.0.0.1:{free_loopback_port()}"
    async with served(place) as taken:
        first, second = [await asyncio.to_thread(connect, place) for _ in range(2)]

        def send() -> object:
            return first.sendmail("a@example.org", ["b@example.net"], MESSAGE + b"x" * 20_000)

        assert await asyncio.to_thread(refusal, send) == 552
        assert await asyncio.to_thread(refusal, lambda: connect(place)) == 421
        await asyncio.to_thread(second.quit)
        while True:
            try:
                third = await asyncio.to_thread(connect, place)
                break
            except smtplib.SMTPConnectError:
                continue
        await asyncio.to_thread(third.sendmail, "", ["b@example.net"], MESSAGE)
        for client in (first, third):
            await asyncio.to_thread(client.quit)
    assert len(taken.messages) == 1


def test_a_socket_that_an_earlier_process_left_is_replaced_and_a_busy_port_is_named(tmp_path: Path) -> None:
    place = f"unix:{tmp_path}/lmtp"
    listen_lmtp(place).close()
    listener = listen_lmtp(place)
    assert (tmp_path / "lmtp").stat().st_mode & 0o777 == 0o660
    listener.close()
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(Problem, match=rf"\[inbox\] lmtp 127.0.0.1:{port} cannot be listened on"):
            listen_lmtp(f"127.0.0.1:{port}")


async def test_a_second_process_does_not_take_the_socket_of_one_that_is_running(tmp_path: Path) -> None:
    place = f"unix:{tmp_path}/lmtp"

    def deliver() -> None:
        with connect(place) as client:
            client.sendmail("ann@example.org", ["meetings@example.net"], MESSAGE)

    async with served(place) as taken:
        with pytest.raises(
            Problem, match="lmtp cannot be listened on: Address already in use; stop the program"
        ):
            listen_lmtp(place)
        await asyncio.to_thread(deliver)
    assert len(taken.messages) == 1


@pytest.mark.parametrize("text", ["2424", "host", "host:0", "host:99999", "unix:", ":1", "host:٣"])
def test_a_wrong_place_is_refused(text: str) -> None:
    with pytest.raises(SettingsProblem):
        require_lmtp(text)


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("unix:/x", True),
        ("0.0.0.0:1", False),
        ("mx.example.org:1", False),
    ],
)
def test_what_only_this_machine_can_reach_is_known(text: str, *, local: bool) -> None:
    assert is_local(text) is local
