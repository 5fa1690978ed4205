"""A mail relay in a process of its own that writes down what it takes, and kills a sender at the moment it is told.

Its first line on standard output is its port. Each line on standard input is `MOMENT COUNT PID`: at that moment of the
COUNT-th message that comes from the process PID, SIGKILL it and write `killed` on standard output. Moments: `data` the
body may come, `dot` it is taken without a word, `lost` it is neither taken nor answered, `accepted` the sender may just
have heard so. The log has a line for each message taken: recipient, Message-ID, a hash of all but its date, seconds.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import signal
import sys
import time
from pathlib import Path

END = b"\r\n.\r\n"
EXTENSIONS = b"250-relay.example.org\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 10000000\r\n"
_ID = re.compile(rb"^Message-ID: *(?:\r\n )?(\S+)", re.IGNORECASE | re.MULTILINE)
_DATE = re.compile(rb"^Date: [^\r]*\r\n", re.IGNORECASE | re.MULTILINE)


class Order:
    """Whom to kill, and when."""

    def __init__(self) -> None:
        self.moment, self.count, self.pid = "", 0, 0

    def take(self, line: str) -> None:
        self.moment, count, pid = line.split()
        self.count, self.pid = int(count), int(pid)

    def strike(self, moment: str, port: int) -> bool:
        """Kill if this is the moment, and the process is the one that talks from `port`; whether it did."""
        if moment != self.moment or not owns(self.pid, port):
            return False
        self.count -= 1
        if self.count > 0:
            return False
        self.moment = ""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        sys.stdout.write("killed\n")
        sys.stdout.flush()
        return True


def owns(pid: int, port: int) -> bool:
    """Whether a process has the socket that is bound to a port on loopback."""
    here = f"0100007F:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines():
        fields = line.split()
        if fields[1] == here:
            with contextlib.suppress(OSError):
                return any(
                    one.readlink() == Path(f"socket:[{fields[9]}]")
                    for one in Path(f"/proc/{pid}/fd").iterdir()
                )
    return False


class Session(asyncio.Protocol):
    """One connection; pipelined commands are answered in turn, and at once (RFC 2920, section 3.2)."""

    def __init__(self, order: Order, log: int) -> None:
        self._order, self._log = order, log
        self._waiting, self._in_body, self._recipient = bytearray(), False, ""
        self._unsaid = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._port = transport.get_extra_info("peername")[1]
        transport.write(b"220 relay.example.org ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while not self._transport.is_closing():
            end = self._waiting.find(END if self._in_body else b"\r\n")
            if end < 0:
                self._speak()
                return
            size = end + len(END) if self._in_body else end + 2
            piece = bytes(self._waiting[:size])
            del self._waiting[:size]
            if self._in_body:
                self._take(piece)
            else:
                self._answer(piece.decode())

    def _take(self, body: bytes) -> None:
        self._in_body = False
        if self._order.strike("lost", self._port):
            # Else the pipelined MAIL behind it would get the answer that the body lacks.
            self._transport.abort()
            return
        found = _ID.search(body)
        told = hashlib.sha256(_DATE.sub(b"", body, count=1)).hexdigest()
        name = found[1].decode() if found else "none"
        os.write(self._log, f"{self._recipient} {name} {told} {time.monotonic()}\n".encode())
        if self._order.strike("dot", self._port):
            self._transport.abort()
            return
        self._unsaid += b"250 2.0.0 taken\r\n"
        self._strike_once_said("accepted")

    def _answer(self, line: str) -> None:
        verb = line[:4].upper()
        if verb == "EHLO":
            self._unsaid += EXTENSIONS
        elif verb == "DATA":
            self._in_body = True
            self._unsaid += b"354 go on\r\n"
            self._strike_once_said("data")
        elif verb == "QUIT":
            self._unsaid += b"221 2.0.0 bye\r\n"
            self._speak()
            self._transport.close()
        else:
            if verb == "RCPT":
                self._recipient = line.partition("<")[2].partition(">")[0]
            self._unsaid += b"250 2.0.0 ok\r\n"

    def _strike_once_said(self, moment: str) -> None:
        if self._order.moment == moment:
            self._speak()
            self._order.strike(moment, self._port)

    def _speak(self) -> None:
        self._transport.write(bytes(self._unsaid))
        self._unsaid.clear()


async def main(log: Path) -> None:
    order, loop = Order(), asyncio.get_running_loop()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    server = await loop.create_server(lambda: Session(order, handle), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - its one way to be heard
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        order.take(line.decode())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
