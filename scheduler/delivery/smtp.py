"""The way out over SMTP: aiosmtplib connects; each step of a message is taken and judged apart."""

import asyncio
import ssl
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

from aiosmtplib import SMTP, SMTPResponse
from aiosmtplib.errors import (
    SMTPAuthenticationError,
    SMTPException,
    SMTPHeloError,
    SMTPResponseException,
    SMTPServerDisconnected,
)

from scheduler.delivery.command import commands, dot_stuffed
from scheduler.delivery.reply import CLOSING, Step, accepted, out_of_step, quoted, refusal
from scheduler.delivery.transport import BeforeDot, ConnectProblem, Envelope, Outcome, SmtpAddress, Verdict

StartTls = Literal["auto", "require", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for the other side, in seconds: to connect, be greeted and agree on TLS; and so on."""

    connect: float = 15
    command: float = 60
    data: float = 300
    quit: float = 2


class SmtpTransport:
    """Connections to one relay.

    `hostname` is our name in EHLO. `starttls`: `auto` encrypts where the relay offers it, `require` refuses
    a relay that does not, `never` sends as it is. The certificate is checked with smtps, with `require`,
    and with `auto` when a password goes to another machine; otherwise `auto` encrypts without asking who is
    there, which still beats an open line. A private authority is trusted through `SSL_CERT_FILE`. A
    password never crosses an open line to another machine. A connection is spent after `recycle_messages`
    or `recycle_seconds`.
    """

    def __init__(
        self,
        address: SmtpAddress,
        *,
        hostname: str,
        starttls: StartTls = "auto",
        connections: int = 4,
        patience: Patience | None = None,
        recycle_messages: int = 500,
        recycle_seconds: float = 300,
    ) -> None:
        self.connections = connections
        self._address = address
        self._hostname = hostname
        self._starttls = starttls
        self._patience = patience or Patience()
        self._recycle_messages = recycle_messages
        self._recycle_seconds = recycle_seconds

    async def connect(self) -> "SmtpConnection":
        """Connect, encrypt and log in. Raises ConnectProblem."""
        client = SMTP(
            hostname=self._address.host,
            port=self._address.port,
            local_hostname=self._hostname,
            timeout=None,  # its own clock loses a cancellation that meets a reply (Python 3.11's wait_for)
            use_tls=self._address.tls,
            start_tls=False,
            tls_context=self._tls_context,
        )
        try:
            async with asyncio.timeout(self._patience.connect):
                await client.connect()
            await self._say_hello(client)
            encrypted = self._address.tls or await self._upgrade(client)
            await self._log_in(client, encrypted=encrypted)
        except (SMTPException, OSError) as error:
            client.close()
            raise self._problem(error) from error
        except BaseException:
            client.close()
            raise
        ends = asyncio.get_running_loop().time() + self._recycle_seconds
        return SmtpConnection(client, patience=self._patience, messages=self._recycle_messages, ends=ends)

    @cached_property
    def _tls_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        guards_a_password = self._address.user is not None and not self._address.is_loopback
        if not (self._address.tls or self._starttls == "require" or guards_a_password):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def _say_hello(self, client: SMTP) -> None:
        async with asyncio.timeout(self._patience.command):
            try:
                await client.ehlo()
            except SMTPHeloError as error:
                if not 500 <= error.code <= 599:
                    raise
                await client.helo()  # a relay from before extensions (RFC 5321, section 3.2)

    async def _upgrade(self, client: SMTP) -> bool:
        """Encrypt as the setting says; whether the connection is encrypted now."""
        if self._starttls == "never":
            return False
        if not client.supports_extension("starttls"):
            if self._starttls == "require":
                raise self._needs_a_person("does not offer STARTTLS, and mail.starttls is 'require'")
            return False
        async with asyncio.timeout(self._patience.connect):
            await client.starttls()
        await self._say_hello(client)
        return True

    async def _log_in(self, client: SMTP, *, encrypted: bool) -> None:
        if self._address.user is None or self._address.password is None:
            return
        if not (encrypted or self._address.is_loopback):
            raise self._needs_a_person(
                "would get the password over an open line; use smtps://, a relay that offers STARTTLS, "
                "or leave out user and password"
            )
        if not client.supported_auth_methods:
            raise self._needs_a_person("offers no way to log in that we know (CRAM-MD5, PLAIN, LOGIN)")
        async with asyncio.timeout(self._patience.command):
            await client.login(self._address.user, self._address.password)

    def _needs_a_person(self, what: str) -> ConnectProblem:
        return ConnectProblem(f"mail relay {self._address} {what}", permanent=True)

    def _problem(self, error: SMTPException | OSError) -> ConnectProblem:
        for cause in (error, error.__cause__):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return self._needs_a_person(f"shows a certificate that is not valid: {cause.verify_message}")
            if isinstance(cause, ssl.SSLError):
                what = f"cannot agree on TLS with us: {cause.reason or cause}; is the port right?"
                return ConnectProblem(f"mail relay {self._address} {what}", permanent=False)
        permanent = False
        match error.__cause__ if isinstance(error.__cause__, SMTPServerDisconnected) else error:
            case SMTPAuthenticationError(code=code, message=message):
                what, permanent = f"does not take the user and password: {code} {message}", 500 <= code <= 599
            case SMTPResponseException(code=code, message=message) if 400 <= code <= 599:
                what, permanent = f"turns us away: {code} {message}", code >= 500
            case SMTPResponseException(message=message):
                what = f"does not answer as a mail relay does: {message}"
            case TimeoutError():
                what = "does not answer in time"
            case SMTPServerDisconnected():
                what = "closed the connection before it was ready"
            case _:
                what = f"cannot be reached: {error.__cause__ or error}"
        return ConnectProblem(f"mail relay {self._address} {what}", permanent=permanent)


class SmtpConnection:
    """One open connection, one message at a time."""

    def __init__(self, client: SMTP, *, patience: Patience, messages: int, ends: float) -> None:
        self._client = client
        # aiosmtplib forgets both when the other side hangs up, and they are wanted after that too.
        self._transport = cast(asyncio.WriteTransport, client.transport)
        self._extensions = dict(client.esmtp_extensions)
        self._patience = patience
        self._messages_left = messages
        self._ends = ends
        self._time = asyncio.get_running_loop().time

    @property
    def spent(self) -> bool:
        return self._messages_left <= 0 or self._time() >= self._ends or not self._client.is_connected

    async def send(self, envelope: Envelope, *, before_dot: BeforeDot) -> Outcome:
        """See `Connection.send`. A failure before the content is written is certainly unsent."""
        self._messages_left -= 1
        try:
            outcome = await self._offer(envelope)
            if outcome is None:
                try:
                    await before_dot()
                except Exception:
                    await self.close()
                    raise
                outcome = await self._ask(Step.DATA, b"DATA") or await self._hand_over(envelope.content)
        except BaseException:
            # Cancelled before a reply has come, the connection would pair that reply with its next command.
            self._break()
            raise
        return outcome

    async def close(self) -> None:
        """Say QUIT, and wait at most the patience for it. Never raises."""
        try:
            if self._client.is_connected:
                await self._say(b"QUIT", within=self._patience.quit)
        except (SMTPException, OSError):
            pass
        finally:
            self._break()

    async def _offer(self, envelope: Envelope) -> Outcome | None:
        """MAIL and RCPT; None when both were accepted."""
        lines = commands(envelope, self._extensions)
        if isinstance(lines, Outcome):
            return lines
        return await self._ask(Step.MAIL, lines.mail) or await self._ask(Step.RCPT, lines.rcpt)

    async def _ask(self, step: Step, command: bytes) -> Outcome | None:
        """Say `command`; None when accepted, else what that means, the connection then ready or broken."""
        try:
            reply = await self._say(command, within=self._patience.command)
        except SMTPResponseException as unreadable:
            return await self._refused(step, unreadable.code, unreadable.message)
        except (SMTPException, OSError) as error:
            return self._lost(step, error)
        return None if accepted(step, reply.code) else await self._refused(step, reply.code, reply.message)

    async def _hand_over(self, content: bytes) -> Outcome:
        """Write the content and its final dot, and read the relay's answer."""
        protocol = self._client.protocol
        try:
            if protocol is None:
                raise SMTPServerDisconnected("Connection lost")
            protocol.write(dot_stuffed(content))
        except SMTPException as error:
            return self._lost(Step.DATA, error)
        try:
            async with asyncio.timeout(self._patience.data):
                reply = await protocol.read_response()
        except SMTPResponseException as unreadable:
            return await self._refused(Step.DOT, unreadable.code, unreadable.message)
        except (SMTPException, OSError) as error:
            return self._lost(Step.DOT, error)
        if not accepted(Step.DOT, reply.code):
            return await self._refused(Step.DOT, reply.code, reply.message)
        return Outcome(verdict=Verdict.SENT, reason=quoted(reply.code, reply.message), code=reply.code)

    async def _say(self, command: bytes, *, within: float) -> SMTPResponse:
        async with asyncio.timeout(within):
            return await self._client.execute_command(command)

    async def _refused(self, step: Step, code: int, text: str) -> Outcome:
        if code == CLOSING or out_of_step(step, code):
            self._break()
        elif step is not Step.DOT:
            await self._reset()
        return refusal(step, code, text)

    async def _reset(self) -> None:
        try:
            reply = await self._say(b"RSET", within=self._patience.command)
        except (SMTPException, OSError):
            self._break()
        else:
            if reply.code // 100 != 2:
                self._break()

    def _lost(self, step: Step, error: Exception) -> Outcome:
        self._break()
        what = "gave no answer in time to" if isinstance(error, TimeoutError) else "closed the connection at"
        reason = f"the relay {what} {step}"
        return Outcome(verdict=Verdict.TEMPORARY, reason=reason, relay=True, uncertain=step is Step.DOT)

    def _break(self) -> None:
        # A mere close first writes out what is held back, perhaps a final dot, and waits for a deaf peer.
        self._transport.abort()
        self._client.close()
