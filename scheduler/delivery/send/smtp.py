"""The way out over SMTP: aiosmtplib connects, encrypts and logs in; then the session takes over."""

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

from scheduler.delivery.send.smtp_connection import Patience, SmtpConnection
from scheduler.delivery.send.smtp_protocol import Extensions, SmtpProtocol
from scheduler.delivery.send.transport import ConnectProblem, SmtpAddress

DISTRUST_SECONDS = 600

StartTls = Literal["auto", "require", "never"]


class SmtpTransport:
    """Connections to one relay.

    `hostname` is our name in EHLO. `starttls`: `auto` encrypts where the relay offers it, `require` refuses
    a relay that does not, `never` sends as it is. The certificate is checked with smtps, with `require`,
    and with `auto` when a password goes to another machine; otherwise `auto` encrypts without asking who is
    there, which still beats an open line. A private authority is trusted through `SSL_CERT_FILE`. A
    password never crosses an open line to another machine. A connection is spent after `recycle_messages`
    or `recycle_seconds`. A relay that announces PIPELINING and breaks it is spoken to command by command for
    ten minutes.
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
        self._distrusted_until = 0.0

    async def connect(self) -> SmtpConnection:
        """Connect, encrypt and log in. Raises ConnectProblem."""
        client = SMTP(
            hostname=self._address.host,
            port=self._address.port,
            local_hostname=self._hostname,
            timeout=None,  # its own clock loses a cancellation that meets a reply (Python 3.11's wait_for)
            use_tls=self._address.tls,
            start_tls=False,
            tls_context=self._tls_context if self._address.tls else None,
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
        extensions, now = dict(client.esmtp_extensions), asyncio.get_running_loop().time()
        if now < self._distrusted_until:
            extensions.pop("pipelining", None)
        return SmtpConnection(
            SmtpProtocol(cast(asyncio.Transport, client.transport)),
            Extensions(extensions),
            patience=self._patience,
            messages=self._recycle_messages,
            ends=now + self._recycle_seconds,
            distrust=self._distrust,
        )

    def _distrust(self) -> None:
        self._distrusted_until = asyncio.get_running_loop().time() + DISTRUST_SECONDS

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
            await client.starttls(tls_context=self._tls_context)
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
            if isinstance(cause, socket.gaierror):
                brief = "its name cannot be resolved"
                what = f"{brief} ({cause.strerror}); check it in [mail] transport, and this machine's DNS"
                return ConnectProblem(f"mail relay {self._address}: {what}", permanent=False, brief=brief)
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
