"""How we connect to a relay: what can fail, and which relay may receive the password (TLS and AUTH: aiosmtpd)."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from aiosmtpd import smtp as aiosmtpd
from cryptography.x509 import DNSName, SubjectAlternativeName, load_der_x509_certificate

from scheduler.delivery.send.smtp import SmtpTransport, StartTls
from scheduler.delivery.send.transport import ConnectProblem, Outcome, SmtpAddress, Verdict
from tests.delivery.receiver import Action, Do, Receiver
from tests.delivery.sending import LONG, SHORT, begin, connected, envelope, send, transport

SENT = Verdict.SENT


@pytest.mark.parametrize(
    ("script", "permanent", "says"),
    [
        ({"GREETING": ["554 5.7.1 go away"]}, True, "554 5.7.1 go away"),
        ({"GREETING": ["421 4.3.2 busy"]}, False, "421 4.3.2 busy"),
        ({"GREETING": [Do.DROP]}, False, "closed the connection"),
        ({"GREETING": [Do.HANG]}, False, "does not answer in time"),
        ({"GREETING": [b"SSH-2.0-OpenSSH_9\r\n"]}, False, "does not answer like a mail relay"),
        ({"EHLO": ["421 4.3.2 busy"]}, False, "421 4.3.2 busy"),
        ({"EHLO": [Do.DROP]}, False, "closed the connection"),
        ({"EHLO": [Do.HANG]}, False, "does not answer in time"),
        ({"EHLO": ["502 what"], "HELO": ["550 not you"]}, True, "550 not you"),
    ],
)
async def test_a_relay_that_refuses_the_connection_is_a_problem_in_one_line(
    script: dict[str, list[Action]], permanent: bool, says: str
) -> None:
    async with Receiver(script) as receiver:
        with pytest.raises(ConnectProblem) as caught:
            await transport(receiver.port, timeouts=SHORT).connect()
        assert caught.value.permanent is permanent
        assert str(caught.value).startswith(f"mail relay smtp://127.0.0.1:{receiver.port} ")
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
        await receiver.quiet.wait()


async def test_a_relay_from_before_extensions_is_greeted_with_helo() -> None:
    async with Receiver({"EHLO": ["502 what"]}) as receiver, connected(receiver) as connection:
        assert (await send(connection)).verdict is SENT
        assert receiver.lines[:2] == ["EHLO list.example.org", "HELO list.example.org"]


async def test_a_relay_that_does_not_listen_is_a_temporary_problem() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectProblem, match="cannot be reached") as caught:
            await transport(unused.getsockname()[1]).connect()
    assert not caught.value.permanent


async def test_a_name_that_does_not_resolve_is_a_temporary_problem() -> None:
    address = SmtpAddress(host="relay.invalid", port=25)
    with pytest.raises(ConnectProblem, match=r"relay\.invalid:25: its name cannot be resolved \(") as caught:
        await SmtpTransport(address, hostname="list.example.org", timeouts=LONG).connect()
    assert not caught.value.permanent


async def test_a_cancelled_connect_leaves_no_connection_behind() -> None:
    async with Receiver({"EHLO": [Do.HANG]}) as receiver:
        task = asyncio.create_task(transport(receiver.port).connect())
        await receiver.heard("EHLO")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await receiver.quiet.wait()


class Inbox:
    def __init__(self) -> None:
        self.taken: list[tuple[str, bool]] = []
        self.logins: list[str] = []

    async def handle_DATA(
        self, server: aiosmtpd.SMTP, session: aiosmtpd.Session, received: aiosmtpd.Envelope
    ) -> str:
        assert server.transport is not None
        encrypted = server.transport.get_extra_info("sslcontext") is not None
        self.taken.extend((recipient, encrypted) for recipient in received.rcpt_tos)
        return "250 2.0.0 kept"

    def authenticate(
        self,
        server: aiosmtpd.SMTP,
        session: aiosmtpd.Session,
        received: aiosmtpd.Envelope,
        mechanism: str,
        data: aiosmtpd.LoginPassword,
    ) -> aiosmtpd.AuthResult:
        assert isinstance(data, aiosmtpd.LoginPassword)
        self.logins.append(data.login.decode())
        return aiosmtpd.AuthResult(success=data.password == b"p\xc3\xa4ss word", handled=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine trust the test's certificate authority."""
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))


@asynccontextmanager
async def daemon(
    authority: trustme.CA, *, name: str = "127.0.0.1", tls: bool = False, **options: Any
) -> AsyncIterator[tuple[int, Inbox]]:
    """Run aiosmtpd with a certificate for `name`: with `tls` encrypted from the first byte, otherwise with STARTTLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    inbox = Inbox()
    offered = {"authenticator": inbox.authenticate, "tls_context": None if tls else context, **options}
    server = await asyncio.get_running_loop().create_server(
        lambda: aiosmtpd.SMTP(inbox, hostname="relay.example.org", **offered),
        "127.0.0.1",
        0,
        ssl=context if tls else None,
    )
    try:
        yield server.sockets[0].getsockname()[1], inbox
    finally:
        server.close()


async def send_over(
    port: int, *, host: str = "127.0.0.1", starttls: StartTls = "auto", **parts: Any
) -> Outcome:
    """Send one message over a new connection and return the outcome."""
    address = SmtpAddress(host=host, port=port, **parts)
    smtp = SmtpTransport(address, hostname="list.example.org", starttls=starttls, timeouts=LONG)
    connection = await smtp.connect()
    try:
        return await send(connection)
    finally:
        await connection.close()


@pytest.mark.usefixtures("trusted")
async def test_over_tls_too_messages_follow_each_other_in_one_send(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with Receiver(extensions=["PIPELINING"], tls=context) as receiver:
        address = SmtpAddress(host="127.0.0.1", port=receiver.port, tls=True)
        connection = await SmtpTransport(address, hostname="list.example.org", timeouts=LONG).connect()
        large = envelope(content=b"Subject: Long\r\n\r\n" + b"and so on\r\n" * 20_000)
        sending, pipeline = begin(connection, large, large, large)
        for _ in range(2):
            (await pipeline.next_settlement()).set_result(None)
        assert (await sending).verdict is SENT
        assert [message.content for message in receiver.taken] == [large.content] * 3
        await connection.close()
        assert receiver.lines[-1] == "QUIT"


LOGIN: dict[str, Any] = {"user": "club", "password": "päss word"}


async def test_auto_encrypts_if_it_is_offered_whoever_signed_the_certificate(
    authority: trustme.CA,
) -> None:
    async with daemon(authority, name="another.example.org") as (port, inbox):
        assert (await send_over(port)).verdict is SENT
        assert inbox.taken == [("ada@example.org", True)]


async def test_auto_sends_unencrypted_if_no_encryption_is_offered(authority: trustme.CA) -> None:
    async with daemon(authority, tls_context=None) as (port, inbox):
        assert (await send_over(port)).verdict is SENT
        assert inbox.taken == [("ada@example.org", False)]


async def test_never_sends_unencrypted_even_if_encryption_is_offered(authority: trustme.CA) -> None:
    async with daemon(authority) as (port, inbox):
        assert (await send_over(port, starttls="never")).verdict is SENT
        assert inbox.taken == [("ada@example.org", False)]


async def test_the_relay_s_certificate_is_read_from_a_connection_as_mail_uses_it(
    authority: trustme.CA,
) -> None:
    async with daemon(authority, name="another.example.org") as (port, _):
        for starttls, is_read in (("auto", True), ("never", False)):
            address = SmtpAddress(host="127.0.0.1", port=port)
            smtp = SmtpTransport(
                address, hostname="list.example.org", starttls=cast(StartTls, starttls), timeouts=LONG
            )
            der = await smtp.certificate()
            assert (der is not None) == is_read
            if der:
                names = load_der_x509_certificate(der).extensions.get_extension_for_class(
                    SubjectAlternativeName
                )
                assert names.value.get_values_for_type(DNSName) == ["another.example.org"]


@pytest.mark.usefixtures("trusted")
async def test_require_encrypts_and_accepts_a_good_certificate(authority: trustme.CA) -> None:
    async with daemon(authority) as (port, inbox):
        assert (await send_over(port, starttls="require")).verdict is SENT
        assert inbox.taken == [("ada@example.org", True)]


async def test_require_refuses_a_relay_that_offers_no_starttls(authority: trustme.CA) -> None:
    async with daemon(authority, tls_context=None) as (port, inbox):
        with pytest.raises(ConnectProblem, match="does not offer STARTTLS") as caught:
            await send_over(port, starttls="require")
        assert caught.value.permanent
        assert not inbox.taken


async def test_require_refuses_a_certificate_of_an_unknown_authority(authority: trustme.CA) -> None:
    async with daemon(authority) as (port, inbox):
        with pytest.raises(ConnectProblem, match="certificate that is not valid") as caught:
            await send_over(port, starttls="require")
        assert caught.value.permanent
        assert not inbox.taken


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("tls", [False, True])
async def test_a_certificate_of_somebody_else_is_refused(authority: trustme.CA, tls: bool) -> None:
    async with daemon(authority, name="another.example.org", tls=tls) as (port, inbox):
        with pytest.raises(ConnectProblem, match="certificate that is not valid"):
            await send_over(port, tls=tls, starttls="auto" if tls else "require")
        assert not inbox.taken


@pytest.mark.usefixtures("trusted")
async def test_smtps_encrypts_from_the_first_byte(authority: trustme.CA) -> None:
    async with daemon(authority, tls=True) as (port, inbox):
        assert (await send_over(port, tls=True)).verdict is SENT
        assert inbox.taken == [("ada@example.org", True)]


async def test_smtps_to_an_unencrypted_port_is_a_clear_problem(authority: trustme.CA) -> None:
    async with daemon(authority) as (port, _):
        with pytest.raises(ConnectProblem, match="check the port"):
            await send_over(port, tls=True)


async def test_a_relay_that_offers_starttls_and_then_refuses_gets_nothing_unencrypted() -> None:
    async with Receiver({"STARTTLS": ["454 4.7.0 not now"]}, extensions=["STARTTLS"]) as receiver:
        with pytest.raises(ConnectProblem, match=r"454 4\.7\.0 not now") as caught:
            await transport(receiver.port).connect()
        assert not caught.value.permanent


@pytest.mark.parametrize("answer", [b"220 go\r\nnot a handshake at all\r\n", Do.DROP, Do.HANG])
async def test_a_handshake_that_fails_is_a_temporary_problem(answer: Action) -> None:
    async with Receiver({"STARTTLS": [answer]}, extensions=["STARTTLS"]) as receiver:
        with pytest.raises(ConnectProblem) as caught:
            await transport(receiver.port, timeouts=SHORT).connect()
        assert not caught.value.permanent
        await receiver.quiet.wait()


@pytest.mark.usefixtures("trusted")
@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")
async def test_a_user_logs_in_over_tls(authority: trustme.CA) -> None:
    async with daemon(authority, tls=True, auth_require_tls=False, auth_required=True) as (port, inbox):
        assert (await send_over(port, tls=True, **LOGIN)).verdict is SENT
        assert inbox.logins == ["club"]


async def test_a_user_logs_in_after_starttls(authority: trustme.CA) -> None:
    async with daemon(authority, auth_required=True) as (port, inbox):
        assert (await send_over(port, **LOGIN)).verdict is SENT
        assert inbox.taken == [("ada@example.org", True)]


@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")
async def test_a_user_logs_in_unencrypted_on_this_machine(authority: trustme.CA) -> None:
    async with daemon(authority, tls_context=None, auth_require_tls=False, auth_required=True) as (
        port,
        inbox,
    ):
        assert (await send_over(port, **LOGIN)).verdict is SENT
        assert inbox.logins == ["club"]


async def test_a_wrong_password_is_a_permanent_problem_and_is_not_shown(authority: trustme.CA) -> None:
    async with daemon(authority, auth_required=True) as (port, inbox):
        with pytest.raises(ConnectProblem, match="does not accept the user and password: 535") as caught:
            await send_over(port, user="club", password="Geheim")
        assert caught.value.permanent
        assert "Geheim" not in str(caught.value)
        assert not inbox.taken


async def test_a_login_that_fails_temporarily_is_a_temporary_problem() -> None:
    async with Receiver({"AUTH": ["454 4.7.0 later"]}, extensions=["AUTH PLAIN"]) as receiver:
        with pytest.raises(ConnectProblem, match=r"454 4\.7\.0 later") as caught:
            await send_over(receiver.port, **LOGIN)
        assert not caught.value.permanent


async def test_a_relay_that_accepts_no_login_is_a_permanent_problem() -> None:
    async with Receiver() as receiver:
        with pytest.raises(ConnectProblem, match="does not offer a login method") as caught:
            await send_over(receiver.port, **LOGIN)
        assert caught.value.permanent


@pytest.fixture
def faraway(monkeypatch: pytest.MonkeyPatch) -> str:
    """A host name that is not this machine's, but resolves to it."""
    resolve = asyncio.BaseEventLoop.getaddrinfo

    async def resolve_to_loopback(loop: asyncio.BaseEventLoop, host: str, *rest: Any, **options: Any) -> Any:
        return await resolve(loop, "127.0.0.1" if host == "relay.example.org" else host, *rest, **options)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve_to_loopback)
    return "relay.example.org"


@pytest.mark.parametrize("starttls", ["auto", "never"])
async def test_a_password_is_never_sent_unencrypted_to_another_machine(
    faraway: str, starttls: StartTls
) -> None:
    async with Receiver(extensions=["AUTH PLAIN LOGIN"]) as receiver:
        with pytest.raises(ConnectProblem, match="over an unencrypted connection") as caught:
            await send_over(receiver.port, host=faraway, starttls=starttls, **LOGIN)
        assert caught.value.permanent
        assert [line.split()[0] for line in receiver.lines] == ["EHLO"]


async def test_auto_shows_a_password_only_to_a_machine_with_a_good_certificate(
    authority: trustme.CA, faraway: str
) -> None:
    async with daemon(authority, name=faraway, auth_required=True) as (port, inbox):
        with pytest.raises(ConnectProblem, match="certificate that is not valid"):
            await send_over(port, host=faraway, **LOGIN)
        assert not inbox.logins


@pytest.mark.usefixtures("trusted")
async def test_auto_logs_in_at_another_machine_with_a_good_certificate(
    authority: trustme.CA, faraway: str
) -> None:
    async with daemon(authority, name=faraway, auth_required=True) as (port, inbox):
        assert (await send_over(port, host=faraway, **LOGIN)).verdict is SENT
        assert inbox.logins == ["club"]
