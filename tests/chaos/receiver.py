"""A mail relay in a process of its own. It logs the messages that it accepts, and kills a sender on request.

Its first line on standard output is its port. Each line on standard input is `MOMENT COUNT PID`: at that moment of the
COUNT-th message from the process PID, send SIGKILL to it and write `killed` on standard output. The moments are:
`data`, when DATA has been accepted; `dot`, when the message has been logged but there is no reply; `lost`, when the
message is neither logged nor answered; `accepted`, when the reply has just been sent. The log has a line for each
accepted message: recipient, Message-ID, a hash of all but its date, seconds.
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


class KillOrder:
    """Which process to kill, and when."""

    def __init__(self) -> None:
        self.moment, self.count, self.pid = "", 0, 0

    def read(self, line: str) -> None:
        self.moment, count, pid = line.split()
        self.count, self.pid = int(count), int(pid)

    def kill_at(self, moment: str, port: int) -> bool:
        """Kill the process if this is the moment and it owns `port`; return whether it was killed."""
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
    """Return whether a process owns the socket that is bound to this port on loopback."""
    local_address = f"0100007F:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines():
        fields = line.split()
        if fields[1] == local_address:
            with contextlib.suppress(OSError):
                return any(
                    descriptor.readlink() == Path(f"socket:[{fields[9]}]")
                    for descriptor in Path(f"/proc/{pid}/fd").iterdir()
                )
    return False


class Session(asyncio.Protocol):
    """One connection. The replies to pipelined commands are sent together (RFC 2920, section 3.2)."""

    def __init__(self, order: KillOrder, log: int) -> None:
        self._order, self._log = order, log
        self._input, self._in_body, self._recipient = bytearray(), False, ""
        self._unsent = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._port = transport.get_extra_info("peername")[1]
        transport.write(b"220 relay.example.org ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._input += data
        while not self._transport.is_closing():
            end = self._input.find(END if self._in_body else b"\r\n")
            if end < 0:
                self._flush()
                return
            size = end + len(END) if self._in_body else end + 2
            piece = bytes(self._input[:size])
            del self._input[:size]
            if self._in_body:
                self._accept(piece)
            else:
                self._answer(piece.decode())

    def _accept(self, body: bytes) -> None:
        self._in_body = False
        if self._order.kill_at("lost", self._port):
            # Otherwise the reply to the pipelined MAIL would be taken for the reply to this content.
            self._transport.abort()
            return
        match = _ID.search(body)
        digest = hashlib.sha256(_DATE.sub(b"", body, count=1)).hexdigest()
        message_id = match[1].decode() if match else "none"
        os.write(self._log, f"{self._recipient} {message_id} {digest} {time.monotonic()}\n".encode())
        if self._order.kill_at("dot", self._port):
            self._transport.abort()
            return
        self._unsent += b"250 2.0.0 taken\r\n"
        self._flush_and_kill_at("accepted")

    def _answer(self, line: str) -> None:
        verb = line[:4].upper()
        if verb == "EHLO":
            self._unsent += EXTENSIONS
        elif verb == "DATA":
            self._in_body = True
            self._unsent += b"354 go on\r\n"
            self._flush_and_kill_at("data")
        elif verb == "QUIT":
            self._unsent += b"221 2.0.0 bye\r\n"
            self._flush()
            self._transport.close()
        else:
            if verb == "RCPT":
                self._recipient = line.partition("<")[2].partition(">")[0]
            self._unsent += b"250 2.0.0 ok\r\n"

    def _flush_and_kill_at(self, moment: str) -> None:
        if self._order.moment == moment:
            self._flush()
            self._order.kill_at(moment, self._port)

    def _flush(self) -> None:
        self._transport.write(bytes(self._unsent))
        self._unsent.clear()


async def main(log: Path) -> None:
    order, loop = KillOrder(), asyncio.get_running_loop()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    server = await loop.create_server(lambda: Session(order, handle), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - how the test learns the port
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        order.read(line.decode())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
