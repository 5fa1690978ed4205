"""One SMTP session with a relay: each step of a message is judged apart, whether said one by one or all at once."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scheduler.delivery.send.smtp_protocol import (
    Commands,
    Extensions,
    HungUp,
    SmtpProtocol,
    SmtpReply,
    commands,
    dot_stuffed,
)
from scheduler.delivery.send.smtp_replies import (
    CLOSING,
    Step,
    accepted,
    out_of_step,
    refusal,
    taken_and_offered,
)
from scheduler.delivery.send.transport import TAKEN, Envelope, Outcome, SendPipeline, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for the other side, in seconds: to connect, be greeted and agree on TLS; and so on."""

    connect: float = 15
    command: float = 60
    data: float = 300
    quit: float = 2


class SmtpConnection:
    """One open connection; see `Connection`.

    Where the relay announces PIPELINING (RFC 2920), MAIL, RCPT and DATA go out in one write, those of the following
    message behind the body of this one: a round trip a message. A message whose DATA was accepted is still
    certainly unsent until its own body follows.

    As long as all goes well there, message follows message out of two callbacks, `_go_on` and `_let_go`, while `send`
    waits: to wake its task twice for each would cost as much as the rest of the conversation. Whatever else the relay
    says or does is for `send` again.
    """

    def __init__(
        self,
        wire: SmtpProtocol,
        extensions: Extensions,
        *,
        patience: Patience,
        messages: int,
        ends: float,
        distrust: Callable[[], None],
    ) -> None:
        self._wire = wire
        self._extensions = extensions
        self._patience = patience
        self._messages_left = messages
        self._ends = ends
        self._distrust = distrust
        self._offered: Envelope | None = None
        self._feed: SendPipeline | None = None
        self._held_back = False
        self._time = asyncio.get_running_loop().time

    @property
    def offered(self) -> Envelope | None:
        return self._offered

    @property
    def spent(self) -> bool:
        if self._offered is not None:
            return not self._wire.is_open
        return self._messages_left <= 0 or self._time() >= self._ends or not self._wire.is_open

    async def send(self, envelope: Envelope, *, feed: SendPipeline) -> Outcome:
        """See `Connection.send`. A failure before the content is written is certainly unsent."""
        self._messages_left -= 1
        try:
            if self._offered is not envelope:
                lines = commands(envelope, self._extensions)
                if isinstance(lines, Outcome):
                    return lines
                if self._offered is not None or not self._wire.is_silent:
                    return self._garbled(Step.MAIL)
                if not self._extensions.pipelining:
                    refused = await self._offer_step_by_step(lines)
                    return refused or await self._hand_over(envelope, feed)
                try:
                    self._wire.write(lines.at_once)
                except HungUp as error:
                    return self._lost(Step.MAIL, error)
            return await self._accepted_at_once() or await self._hand_over(envelope, feed)
        except BaseException:
            # Whatever the relay says now would be taken for the answer to the next command.
            self._break()
            raise

    async def close(self) -> None:
        """Say QUIT, and wait at most the patience for it. Never raises."""
        try:
            if self._wire.is_open and self._offered is None:
                self._wire.write(b"QUIT\r\n")
                await self._wire.reply(within=self._patience.quit)
        except (HungUp, OSError):
            pass
        finally:
            self._break()

    async def _offer_step_by_step(self, lines: Commands) -> Outcome | None:
        """MAIL, RCPT and DATA, each after the reply to the one before; None when all were accepted."""
        for step, line in ((Step.MAIL, lines.mail), (Step.RCPT, lines.rcpt), (Step.DATA, b"DATA")):
            if not self._wire.is_silent:
                return self._garbled(step)
            reply = await self._ask(step, line)
            if isinstance(reply, Outcome):
                return reply
            if not accepted(step, reply.code):
                return await self._refused(step, reply)
        return None

    async def _accepted_at_once(self) -> Outcome | None:
        """Hear the answers to MAIL, RCPT and DATA, which went out in one write; None when all were accepted."""
        self._offered = None
        refused: Outcome | None = None
        waits = False
        for step in (Step.MAIL, Step.RCPT, Step.DATA):
            reply = self._wire.reply_heard() or await self._hear(step)
            if isinstance(reply, Outcome):
                return reply  # a missing answer: the ones before it may have been to something else
            if waits := accepted(step, reply.code):
                continue
            if out_of_step(step, reply.code):
                return await self._refused(step, reply)
            if reply.code == CLOSING:
                closing = await self._refused(step, reply)
                return refused or closing
            refused = refused or refusal(step, reply.code, reply.text)
        if refused is None:
            return None
        if waits:
            # It waits for a message to nobody (RFC 2920, section 3.1): the dot alone ends that.
            await self._say(b".")
        else:
            await self._say(b"RSET")
        return refused

    async def _hand_over(self, envelope: Envelope, feed: SendPipeline) -> Outcome:
        """Once it may go, write the content and hear the answer to it; or, after others that were taken, to the last
        one."""
        await feed.before_dot()
        if not self._wire.is_silent:
            return self._garbled(Step.DATA)
        try:
            self._write_content(envelope, feed.following)
        except HungUp as error:
            return self._lost(Step.DATA, error)
        self._feed, self._wire.listener = feed, self._go_on
        try:
            reply = await self._wire.reply(within=self._patience.data)
        except (HungUp, TimeoutError) as error:
            return self._lost(Step.DATA if self._held_back else Step.DOT, error)
        finally:
            self._feed, self._wire.listener = None, None
        if self._held_back:
            return self._garbled(Step.DATA, reply)
        if not accepted(Step.DOT, reply.code):
            return await self._refused(Step.DOT, reply)
        return TAKEN

    def _write_content(self, envelope: Envelope, following: Envelope | None) -> None:
        """Write the content and its final dot, and the following message's envelope behind it. Raises HungUp."""
        pieces = [*envelope.pieces, b".\r\n"] if envelope.composed else [dot_stuffed(envelope.content)]
        self._offered = None
        more = self._extensions.pipelining and self._messages_left > 0 and self._time() < self._ends
        if following is not None and more:
            lines = commands(following, self._extensions)
            if isinstance(lines, Commands):
                pieces.append(lines.at_once)
                self._offered = following
        self._wire.write(b"".join(pieces))

    def _go_on(self, replies: Sequence[SmtpReply]) -> bool:
        """Where the content was taken, and the envelope behind it accepted, let the next content go once the message is
        settled; whether that is so."""
        if self._held_back or self._offered is None or self._feed is None or not taken_and_offered(replies):
            return False
        settled = self._feed.taken()
        if settled is None:
            return False
        self._messages_left -= 1
        self._held_back = True
        self._wire.expect_nothing()
        settled.add_done_callback(self._let_go)
        return True

    def _let_go(self, settled: "asyncio.Future[None]") -> None:
        if not self._wire.is_awaited or self._offered is None or self._feed is None:
            return  # `send` has been woken meanwhile
        try:
            if settled.cancelled() or settled.exception():
                raise RuntimeError("the message before this one is not settled")
            self._feed.check()
            self._wire.expect(within=self._patience.data)
            # Of a reply that has only begun the end is for `send`.
            if self._wire.is_silent:
                self._write_content(self._offered, self._feed.following)
                self._held_back = False
        except HungUp:
            pass  # `send` hears that too
        except Exception as error:  # noqa: BLE001 - `send` must not wait for ever
            self._wire.fail(error)

    async def _ask(self, step: Step, line: bytes) -> SmtpReply | Outcome:
        try:
            self._wire.write(line + b"\r\n")
        except HungUp as error:
            return self._lost(step, error)
        return await self._hear(step)

    async def _hear(self, step: Step) -> SmtpReply | Outcome:
        """The reply to `step`, or what it means that none came, the connection then broken."""
        try:
            return await self._wire.reply(within=self._patience.command)
        except (HungUp, OSError) as error:
            return self._lost(step, error)

    async def _say(self, line: bytes) -> None:
        """Say what leaves the connection ready for the next message; else it is broken."""
        try:
            self._wire.write(line + b"\r\n")
            reply = await self._wire.reply(within=self._patience.command)
        except (HungUp, OSError):
            self._break()
        else:
            if (
                reply.code == CLOSING
                or not 200 <= reply.code <= 599
                or (line == b"RSET" and reply.code > 299)
            ):
                self._break()

    async def _refused(self, step: Step, reply: SmtpReply) -> Outcome:
        if out_of_step(step, reply.code):
            self._doubt(step)
        if reply.code == CLOSING or out_of_step(step, reply.code):
            self._break()
        elif step is not Step.DOT:
            await self._say(b"RSET")
        return refusal(step, reply.code, reply.text)

    def _garbled(self, step: Step, reply: SmtpReply | None = None) -> Outcome:
        """More was said than we asked, as `reply`: no answer after this could be trusted. Only that it closes, a relay
        may say at any time (RFC 5321, section 3.8)."""
        reply = reply or self._wire.reply_heard()
        if reply and reply.code == CLOSING:
            self._break()
            return refusal(step, reply.code, reply.text)
        self._doubt(step)
        self._break()
        reason = f"the relay said more before {step} than it was asked"
        return Outcome(verdict=Verdict.TEMPORARY, reason=reason, relay=True)

    def _lost(self, step: Step, error: Exception) -> Outcome:
        what = "closed the connection at"
        if isinstance(error, TimeoutError):
            what = "gave no answer in time to"
            self._doubt(step)
        self._break()
        reason = f"the relay {what} {step}"
        return Outcome(verdict=Verdict.TEMPORARY, reason=reason, relay=True, uncertain=step is Step.DOT)

    def _doubt(self, step: Step) -> None:
        if self._extensions.pipelining and step is not Step.DOT:
            self._distrust()

    def _break(self) -> None:
        self._offered = None
        self._wire.abort()
