"""The SMTP transport: aiosmtplib connects, encrypts and logs in; then `SmtpConnection` takes the connection over."""

import asyncio
import socket
import ssl
from functools import cached_property
from typing import Literal, cast

from aiosmtplib import SMTP
from aiosmtplib.errors import (
    SMTPAuthenticationError,
    SMTPException,
    SMTPHeloError,
    SMTPResponseException,
    SMTPServerDisconnected,
)

from scheduler.delivery.send.smtp_connection import SmtpConnection, Timeouts
from scheduler.delivery.send.smtp_protocol import Extensions, SmtpProtocol
from scheduler.delivery.send.transport import ConnectProblem, SmtpAddress

NO_PIPELINING_SECONDS = 600
"""For how long a relay that broke PIPELINING is sent one command at a time."""

StartTls = Literal["auto", "require", "never"]


class SmtpTransport:
    """Opens connections to one relay.

    `hostname` is our name in EHLO. `starttls`: `auto` encrypts if the relay offers it, `require` refuses a relay that
    does not offer it, `never` does not encrypt. The certificate is checked with smtps, with `require`, and with `auto`
    when a password is sent to another machine; otherwise `auto` encrypts without checking it, which is still better
    than no encryption. To trust a private certificate authority, set `SSL_CERT_FILE`. A password is never sent
    unencrypted to another machine. A connection is replaced after `recycle_messages` or `recycle_seconds`. A relay that
    announces PIPELINING but does not keep to it is sent one command at a time for ten minutes.
    """

    def __init__(
        self,
        address: SmtpAddress,
        *,
        hostname: str,
        starttls: StartTls = "auto",
        connections: int = 4,
        timeouts: Timeouts | None = None,
        recycle_messages: int = 500,
        recycle_seconds: float = 300,
    ) -> None:
        self.connections = connections
        self._address = address
        self._hostname = hostname
        self._starttls = starttls
        self._timeouts = timeouts or Timeouts()
        self._recycle_messages = recycle_messages
        self._recycle_seconds = recycle_seconds
        self._no_pipelining_until = 0.0

    async def connect(self) -> SmtpConnection:
        """Open a connection, encrypt it and log in. Raises ConnectProblem."""
        client = await self._open()
        extensions, now = dict(client.esmtp_extensions), asyncio.get_running_loop().time()
        if now < self._no_pipelining_until:
            extensions.pop("pipelining", None)
        return SmtpConnection(
            SmtpProtocol(cast(asyncio.Transport, client.transport)),
            Extensions(extensions),
            timeouts=self._timeouts,
            max_messages=self._recycle_messages,
            expires_at=now + self._recycle_seconds,
            distrust_pipelining=self._distrust_pipelining,
        )

    async def certificate(self) -> bytes | None:
        """Return the relay's certificate in DER, or None if connections are not encrypted. Raises ConnectProblem."""
        client = await self._open()
        try:
            tls = cast(asyncio.Transport, client.transport).get_extra_info("ssl_object")
            certificate: bytes | None = tls.getpeercert(binary_form=True) if tls else None
            return certificate
        finally:
            client.close()

    async def _open(self) -> SMTP:
        client = SMTP(
            hostname=self._address.host,
            port=self._address.port,
            local_hostname=self._hostname,
            timeout=None,  # its own can lose a cancellation that coincides with a reply (wait_for of 3.11)
            use_tls=self._address.tls,
            start_tls=False,
            tls_context=self._tls_context if self._address.tls else None,
        )
        try:
            async with asyncio.timeout(self._timeouts.connect):
                await client.connect()
            await self._greet(client)
            encrypted = self._address.tls or await self._start_tls(client)
            await self._log_in(client, encrypted=encrypted)
        except (SMTPException, OSError) as error:
            client.close()
            raise self._describe(error) from error
        except BaseException:
            client.close()
            raise
        return client

    def _distrust_pipelining(self) -> None:
        self._no_pipelining_until = asyncio.get_running_loop().time() + NO_PIPELINING_SECONDS

    @cached_property
    def _tls_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        sends_password = self._address.user is not None and not self._address.is_loopback
        if not (self._address.tls or self._starttls == "require" or sends_password):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def _greet(self, client: SMTP) -> None:
        async with asyncio.timeout(self._timeouts.command):
            try:
                await client.ehlo()
            except SMTPHeloError as error:
                if not 500 <= error.code <= 599:
                    raise
                await client.helo()  # a relay without extensions (RFC 5321, section 3.2)

    async def _start_tls(self, client: SMTP) -> bool:
        """Encrypt as the setting says; return whether the connection is encrypted now."""
        if self._starttls == "never":
            return False
        if not client.supports_extension("starttls"):
            if self._starttls == "require":
                raise self._permanent_problem("does not offer STARTTLS, and mail.starttls is 'require'")
            return False
        async with asyncio.timeout(self._timeouts.connect):
            await client.starttls(tls_context=self._tls_context)
        await self._greet(client)
        return True

    async def _log_in(self, client: SMTP, *, encrypted: bool) -> None:
        if self._address.user is None or self._address.password is None:
            return
        if not (encrypted or self._address.is_loopback):
            raise self._permanent_problem(
                "would receive the password over an unencrypted connection; use smtps:// or a relay that offers "
                "STARTTLS, or leave out user and password"
            )
        if not client.supported_auth_methods:
            raise self._permanent_problem(
                "does not offer a login method that we support (CRAM-MD5, PLAIN, LOGIN)"
            )
        async with asyncio.timeout(self._timeouts.command):
            await client.login(self._address.user, self._address.password)

    def _permanent_problem(self, problem: str) -> ConnectProblem:
        return ConnectProblem(f"mail relay {self._address} {problem}", permanent=True)

    def _describe(self, error: SMTPException | OSError) -> ConnectProblem:
        for cause in (error, error.__cause__):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return self._permanent_problem(f"has a certificate that is not valid: {cause.verify_message}")
            if isinstance(cause, ssl.SSLError):
                problem = f"cannot agree on TLS with us: {cause.reason or cause}; check the port"
                return ConnectProblem(f"mail relay {self._address} {problem}", permanent=False)
            if isinstance(cause, socket.gaierror):
                brief = "its name cannot be resolved"
                problem = f"{brief} ({cause.strerror}); check it in [mail] transport, and this machine's DNS"
                return ConnectProblem(f"mail relay {self._address}: {problem}", permanent=False, brief=brief)
        permanent = False
        match error.__cause__ if isinstance(error.__cause__, SMTPServerDisconnected) else error:
            case SMTPAuthenticationError(code=code, message=message):
                problem, permanent = (
                    f"does not accept the user and password: {code} {message}",
                    500 <= code <= 599,
                )
            case SMTPResponseException(code=code, message=message) if 400 <= code <= 599:
                problem, permanent = f"refuses the connection: {code} {message}", code >= 500
            case SMTPResponseException(message=message):
                problem = f"does not answer like a mail relay: {message}"
            case TimeoutError():
                problem = "does not answer in time"
            case SMTPServerDisconnected():
                problem = "closed the connection before it was ready"
            case _:
                problem = f"cannot be reached: {error.__cause__ or error}"
        return ConnectProblem(f"mail relay {self._address} {problem}", permanent=permanent)
