"""A mail relay on loopback that does at each step what a test tells it to: refuse, drop, hang, send garbage."""

import asyncio
import ssl
from collections import defaultdict, deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from types import TracebackType
from typing import Self


class Do(Enum):
    """What a relay may do instead of replying."""

    DROP = auto()  # close the connection
    HANG = auto()  # send nothing more
    DEAF = auto()  # send and read nothing more


Action = str | bytes | Do
"""A reply line without its line end, raw bytes to send unchanged, or what to do instead of replying."""

DEFAULT_REPLIES: dict[str, Action] = {
    "GREETING": "220 relay.example.org ESMTP",
    "HELO": "250 relay.example.org",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go on",
    "BODY": b"",
    "DOT": "250 2.0.0 queued",
    "RSET": "250 2.0.0 ok",
    "NOOP": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A message whose final dot arrived. `content` has its dots undoubled."""

    mail: str
    rcpts: tuple[str, ...]
    content: bytes


class Receiver:
    """`async with Receiver({"RCPT": ["450 later"]}) as receiver:` refuses the first RCPT, then behaves.

    Each step (GREETING, EHLO, HELO, MAIL, RCPT, DATA, BODY, DOT, RSET, QUIT …) takes its actions in turn over all
    connections. `extensions` are the lines of the reply to EHLO; with `tls` the connection is encrypted from the first
    byte. `seen` has the messages that arrived completely, `taken` those that were accepted. Commands that arrive in one
    packet are answered in one packet, as relays with PIPELINING do (RFC 2920, section 3.2).
    """

    def __init__(
        self,
        script: Mapping[str, Sequence[Action]] | None = None,
        *,
        extensions: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self.extensions = list(extensions)
        self.script = {step: deque(actions) for step, actions in (script or {}).items()}
        self.lines: list[str] = []
        self.seen: list[Taken] = []
        self.taken: list[Taken] = []
        self.connections = 0
        self.open = 0
        self.quiet = asyncio.Event()
        self.arrived = asyncio.Condition()
        self._sessions: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._unsent: defaultdict[asyncio.StreamWriter, bytearray] = defaultdict(bytearray)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def heard(self, verb: str, *, times: int = 1) -> None:
        """Wait until `times` lines that begin with `verb` have arrived."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: sum(line.startswith(verb) for line in self.lines) >= times)

    async def say(self, data: bytes) -> None:
        """Send over every connection what nobody asked for."""
        for writer in self._writers:
            writer.write(data)
            await writer.drain()

    async def hang_up(self) -> None:
        """Close every connection, and wait until all are closed."""
        for session in self._sessions:
            session.cancel()
        await self.quiet.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        self._writers.add(writer)
        self.connections += 1
        self.open += 1
        self.quiet.clear()
        try:
            await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._unsent.pop(writer, None)
            self._sessions.discard(task)
            self.open -= 1
            if not self.open:
                self.quiet.set()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mail = ""
        rcpts: list[str] = []
        await self._act("GREETING", reader, writer)
        while line := (await self._read(reader.readline(), writer)).decode():
            async with self.arrived:
                self.lines.append(line.rstrip("\r\n"))
                self.arrived.notify_all()
            verb = (line.split() or [""])[0].upper()
            if not self.script.get(verb):
                if verb == "RCPT" and not mail:
                    self._push(verb, "503 5.5.1 MAIL first")
                elif verb == "DATA" and not rcpts:
                    self._push(verb, "554 5.5.1 no valid recipients")
            replied = await self._act(verb, reader, writer)
            if verb == "MAIL" and replied.startswith("2"):
                mail, rcpts = line.strip(), []
            elif verb == "RCPT" and replied.startswith("2"):
                rcpts.append(line.strip())
            elif verb == "RSET":
                mail, rcpts = "", []
            elif verb == "DATA" and replied.startswith("3"):
                await self._act("BODY", reader, writer)
                body = bytearray(b"\r\n")
                while not body.endswith(b"\r\n.\r\n"):
                    body += await self._read(_up_to_a_dot(reader), writer)
                content = bytes(body[:-3]).replace(b"\r\n.", b"\r\n")[2:]
                message = Taken(mail=mail, rcpts=tuple(rcpts), content=content)
                if not rcpts:
                    self._push("DOT", "554 5.5.1 no valid recipients")
                else:
                    self.seen.append(message)
                if (await self._act("DOT", reader, writer)).startswith("2"):
                    self.taken.append(message)
                mail, rcpts = "", []
            elif verb == "QUIT":
                await self._flush(writer)
                return

    async def _read(self, reading: Coroutine[None, None, bytes], writer: asyncio.StreamWriter) -> bytes:
        """Read on. Before waiting for input, send the replies that have gathered."""
        task = asyncio.create_task(reading)
        try:
            await asyncio.sleep(0)
            if not task.done():
                await self._flush(writer)
            return await task
        finally:
            task.cancel()

    async def _flush(self, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(self._unsent.pop(writer, b"")))
        await writer.drain()

    def _push(self, step: str, action: Action) -> None:
        self.script.setdefault(step, deque()).append(action)

    async def _act(self, step: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """Do what the script says for `step`; return the reply, or an empty string if there was none."""
        actions = self.script.get(step)
        action = actions.popleft() if actions else self._default(step)
        if isinstance(action, Do):
            await self._flush(writer)
        match action:
            case Do.DROP:
                raise ConnectionAbortedError
            case Do.HANG:
                await reader.read()  # until the other side closes the connection
                raise ConnectionAbortedError
            case Do.DEAF:
                await asyncio.Event().wait()
            case bytes():
                self._unsent[writer] += action
            case str():
                self._unsent[writer] += action.replace("\n", "\r\n").encode() + b"\r\n"
                return action
        return ""

    def _default(self, step: str) -> Action:
        if step != "EHLO":
            return DEFAULT_REPLIES.get(step, "502 5.5.1 unknown here")
        names = ["relay.example.org", *self.extensions]
        return "\n".join([*(f"250-{name}" for name in names[:-1]), f"250 {names[-1]}"])


async def _up_to_a_dot(reader: asyncio.StreamReader) -> bytes:
    """Return the content up to the next line that ends with a dot: reading every line by itself takes ten times as
    long."""
    try:
        return await reader.readuntil(b".\r\n")
    except asyncio.LimitOverrunError as overrun:
        return await reader.readexactly(overrun.consumed)
