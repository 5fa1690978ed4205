"""One SMTP connection to a relay: each step of a message is judged by itself, whether sent alone or pipelined."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scheduler.delivery.send.smtp_protocol import (
    Commands,
    ConnectionClosed,
    Extensions,
    SmtpProtocol,
    SmtpReply,
    commands,
    dot_stuffed,
)
from scheduler.delivery.send.smtp_replies import (
    SERVICE_CLOSING,
    Step,
    accepted,
    accepts_message_and_next_commands,
    is_protocol_error,
    refusal,
)
from scheduler.delivery.send.transport import ACCEPTED, Envelope, Outcome, SendPipeline, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How many seconds to wait for the relay: to connect, be greeted and agree on TLS; for the reply to a command; for
    the reply to the content; for the reply to QUIT."""

    connect: float = 15
    command: float = 60
    data: float = 300
    quit: float = 2


class SmtpConnection:
    """One open connection; see `Connection`.

    If the relay announces PIPELINING (RFC 2920), MAIL, RCPT and DATA are sent in one write, and those of the next
    message behind the content of this one: one round trip a message. A message whose DATA was accepted is still
    certainly unsent until its own content follows.

    As long as everything is accepted, two callbacks, `_on_replies` and `_send_next_content`, send message after message
    while `send` waits: waking its task twice for each message costs up to a tenth of the sending speed. Whatever else
    the relay replies or does is handled in `send`.
    """

    def __init__(
        self,
        protocol: SmtpProtocol,
        extensions: Extensions,
        *,
        timeouts: Timeouts,
        max_messages: int,
        expires_at: float,
        distrust_pipelining: Callable[[], None],
    ) -> None:
        """`expires_at` is an instant of the event loop's clock. `distrust_pipelining` is called when the relay does not
        keep to the PIPELINING that it announces."""
        self._protocol = protocol
        self._extensions = extensions
        self._timeouts = timeouts
        self._messages_left = max_messages
        self._expires_at = expires_at
        self._distrust_pipelining = distrust_pipelining
        self._pipelined: Envelope | None = None
        self._pipeline: SendPipeline | None = None
        self._awaits_settlement = False
        self._time = asyncio.get_running_loop().time

    @property
    def pipelined(self) -> Envelope | None:
        return self._pipelined

    @property
    def needs_reconnect(self) -> bool:
        if self._pipelined is not None:
            return not self._protocol.is_open
        return self._messages_left <= 0 or self._time() >= self._expires_at or not self._protocol.is_open

    async def send(self, envelope: Envelope, *, pipeline: SendPipeline) -> Outcome:
        """See `Connection.send`. After a failure before the content is written, the message is certainly unsent."""
        self._messages_left -= 1
        try:
            if self._pipelined is not envelope:
                lines = commands(envelope, self._extensions)
                if isinstance(lines, Outcome):
                    return lines
                if self._pipelined is not None or self._protocol.has_unread_input:
                    return self._unexpected_reply(Step.MAIL)
                if not self._extensions.pipelining:
                    failure = await self._send_commands_one_by_one(lines)
                    return failure or await self._send_content(envelope, pipeline)
                try:
                    self._protocol.write(lines.pipelined)
                except ConnectionClosed as error:
                    return self._no_reply(Step.MAIL, error)
            return await self._read_pipelined_replies() or await self._send_content(envelope, pipeline)
        except BaseException:
            # A late reply would be taken for the reply to the next command.
            self._abort()
            raise

    async def close(self) -> None:
        """Send QUIT, and wait at most `Timeouts.quit` for the reply. Never raises."""
        try:
            if self._protocol.is_open and self._pipelined is None:
                self._protocol.write(b"QUIT\r\n")
                await self._protocol.read_reply(within=self._timeouts.quit)
        except (ConnectionClosed, OSError):
            pass
        finally:
            self._abort()

    async def _send_commands_one_by_one(self, lines: Commands) -> Outcome | None:
        """Send MAIL, RCPT and DATA, each after the reply to the one before; return None if all were accepted."""
        for step, line in ((Step.MAIL, lines.mail), (Step.RCPT, lines.rcpt), (Step.DATA, b"DATA")):
            if self._protocol.has_unread_input:
                return self._unexpected_reply(step)
            try:
                self._protocol.write(line + b"\r\n")
            except ConnectionClosed as error:
                return self._no_reply(step, error)
            reply = await self._read_reply(step)
            if isinstance(reply, Outcome):
                return reply
            if not accepted(step, reply.code):
                return await self._refused(step, reply)
        return None

    async def _read_pipelined_replies(self) -> Outcome | None:
        """Read the replies to MAIL, RCPT and DATA, which were sent in one write; return None if all were accepted."""
        self._pipelined = None
        failure: Outcome | None = None
        expects_content = False
        for step in (Step.MAIL, Step.RCPT, Step.DATA):
            reply = self._protocol.buffered_reply() or await self._read_reply(step)
            if isinstance(reply, Outcome):
                return reply  # a reply is missing, so those before it may belong to other commands
            if expects_content := accepted(step, reply.code):
                continue
            if is_protocol_error(step, reply.code):
                return await self._refused(step, reply)
            if reply.code == SERVICE_CLOSING:
                closing = await self._refused(step, reply)
                return failure or closing
            failure = failure or refusal(step, reply.code, reply.text)
        if failure is None:
            return None
        # If DATA was accepted without a recipient, a lone dot ends the content (RFC 2920, section 3.1).
        await self._reset(b"." if expects_content else b"RSET")
        return failure

    async def _send_content(self, envelope: Envelope, pipeline: SendPipeline) -> Outcome:
        """Write the content once it may be sent, and read the reply; or the reply to the last message that followed."""
        await pipeline.before_final_dot()
        if self._protocol.has_unread_input:
            return self._unexpected_reply(Step.DATA)
        try:
            self._write_content(envelope, pipeline.next_envelope)
        except ConnectionClosed as error:
            return self._no_reply(Step.DATA, error)
        self._pipeline, self._protocol.on_replies = pipeline, self._on_replies
        try:
            reply = await self._protocol.read_reply(within=self._timeouts.data)
        except (ConnectionClosed, TimeoutError) as error:
            return self._no_reply(Step.DATA if self._awaits_settlement else Step.DOT, error)
        finally:
            self._pipeline, self._protocol.on_replies = None, None
        if self._awaits_settlement:
            return self._unexpected_reply(Step.DATA, reply)
        if not accepted(Step.DOT, reply.code):
            return await self._refused(Step.DOT, reply)
        return ACCEPTED

    def _write_content(self, envelope: Envelope, next_envelope: Envelope | None) -> None:
        """Write the content and the final dot, and the commands of the next message behind it. Raises
        ConnectionClosed."""
        pieces = [*envelope.pieces, b".\r\n"] if envelope.composed else [dot_stuffed(envelope.content)]
        self._pipelined = None
        may_pipeline = (
            self._extensions.pipelining and self._messages_left > 0 and self._time() < self._expires_at
        )
        if next_envelope is not None and may_pipeline:
            lines = commands(next_envelope, self._extensions)
            if isinstance(lines, Commands):
                pieces.append(lines.pipelined)
                self._pipelined = next_envelope
        self._protocol.write(b"".join(pieces))

    def _on_replies(self, replies: Sequence[SmtpReply]) -> bool:
        """If these accept the content and the commands behind it, arrange that the next content is sent once this
        message is settled. Return whether that is so."""
        if self._awaits_settlement or self._pipelined is None or self._pipeline is None:
            return False
        if not accepts_message_and_next_commands(replies):
            return False
        settled = self._pipeline.advance()
        if settled is None:
            return False
        self._messages_left -= 1
        self._awaits_settlement = True
        self._protocol.clear_deadline()
        settled.add_done_callback(self._send_next_content)
        return True

    def _send_next_content(self, settled: "asyncio.Future[None]") -> None:
        if not self._protocol.has_waiter or self._pipelined is None or self._pipeline is None:
            return  # `send` has been woken meanwhile
        try:
            if settled.cancelled() or settled.exception():
                raise RuntimeError("the message before this one is not settled")
            self._pipeline.check_deadline()
            self._protocol.set_deadline(within=self._timeouts.data)
            # If a reply has begun to arrive, `send` reads the rest of it.
            if not self._protocol.has_unread_input:
                self._write_content(self._pipelined, self._pipeline.next_envelope)
                self._awaits_settlement = False
        except ConnectionClosed:
            pass  # `send` gets this error too
        except Exception as error:  # noqa: BLE001 - `send` must not wait for ever
            self._protocol.fail(error)

    async def _read_reply(self, step: Step) -> SmtpReply | Outcome:
        """Return the reply to `step`, or the outcome if none came; the connection is then closed."""
        try:
            return await self._protocol.read_reply(within=self._timeouts.command)
        except (ConnectionClosed, OSError) as error:
            return self._no_reply(step, error)

    async def _reset(self, line: bytes) -> None:
        """Send the line that makes the connection ready for the next message; close it if the relay does not agree."""
        try:
            self._protocol.write(line + b"\r\n")
            reply = await self._protocol.read_reply(within=self._timeouts.command)
        except (ConnectionClosed, OSError):
            self._abort()
        else:
            if (
                reply.code == SERVICE_CLOSING
                or not 200 <= reply.code <= 599
                or (line == b"RSET" and reply.code > 299)
            ):
                self._abort()

    async def _refused(self, step: Step, reply: SmtpReply) -> Outcome:
        if is_protocol_error(step, reply.code):
            self._suspect_pipelining(step)
        if reply.code == SERVICE_CLOSING or is_protocol_error(step, reply.code):
            self._abort()
        elif step is not Step.DOT:
            await self._reset(b"RSET")
        return refusal(step, reply.code, reply.text)

    def _unexpected_reply(self, step: Step, reply: SmtpReply | None = None) -> Outcome:
        """Return the outcome when the relay sent more than we asked for, so that no later reply could be trusted. Only
        421, which says that it is closing, may come at any time (RFC 5321, section 3.8)."""
        reply = reply or self._protocol.buffered_reply()
        if reply and reply.code == SERVICE_CLOSING:
            self._abort()
            return refusal(step, reply.code, reply.text)
        self._suspect_pipelining(step)
        self._abort()
        reason = f"the relay sent an unexpected reply before {step}"
        return Outcome(verdict=Verdict.TEMPORARY, reason=reason, relay=True)

    def _no_reply(self, step: Step, error: Exception) -> Outcome:
        problem = "closed the connection at"
        if isinstance(error, TimeoutError):
            problem = "did not reply in time to"
            self._suspect_pipelining(step)
        self._abort()
        reason = f"the relay {problem} {step}"
        return Outcome(verdict=Verdict.TEMPORARY, reason=reason, relay=True, uncertain=step is Step.DOT)

    def _suspect_pipelining(self, step: Step) -> None:
        if self._extensions.pipelining and step is not Step.DOT:
            self._distrust_pipelining()

    def _abort(self) -> None:
        self._pipelined = None
        self._protocol.abort()
