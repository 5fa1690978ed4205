"""A mailbox on a real server is read so that each message has its effect once, whatever breaks."""

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import ascii_lowercase
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from scheduler.delivery.receive.imap import ImapMailbox, MailboxProblem
from scheduler.delivery.receive.oauth import OAuthClient
from scheduler.delivery.receive.places import parse_imap
from scheduler.domain.errors import SettingsProblem
from scheduler.domain.inbound import LARGEST
from scheduler.service.health import MAILBOX_PATIENCE, health, troubles
from scheduler.service.inbound import Handled, ingest
from scheduler.service.mailbox import MOST_FAILURES, MailboxReader, OAuthLogin
from scheduler.service.returned_mail import messages_for_review
from scheduler.store import service_state
from tests.conftest import CopyDatabase
from tests.installation import COMMUNITY, Installation, open_installation
from tests.mail_servers import PASSWORD, USER, Dovecot, have_dovecot

NOW = datetime(2026, 11, 10, 14, tzinfo=UTC)
needs_dovecot = pytest.mark.skipif(not have_dovecot(), reason="needs root and Debian's dovecot-imapd, -lmtpd")


@pytest.fixture
async def installation(tmp_path: Path, copy_database: CopyDatabase) -> AsyncIterator[Installation]:
    async with open_installation(tmp_path, NOW, url=await copy_database()) as installation:
        await installation.join(("Bo", "Pacific/Auckland"))
        yield installation


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot(users=[f"{name}@example.net" for name in ascii_lowercase]) as server:
        yield server


_users = iter(ascii_lowercase)


@pytest.fixture
def user(server: Dovecot, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user whose mailbox is empty."""
    monkeypatch.setenv("SSL_CERT_FILE", str(server.folder / "ca.pem"))
    return f"{next(_users)}@example.net"


def url(server: Dovecot, user: str = USER, *, password: str = PASSWORD, folder: str = "INBOX") -> str:
    return f"imaps://{quote(user)}:{quote(password, safe='')}@localhost:{server.imaps}/{quote(folder)}"


def letter(number: int, size: int = 100) -> bytes:
    return (
        f"From: Zed <zed@example.com>\r\nTo: x@y\r\nSubject: Letter {number}\r\n\r\n".encode() + b"x" * size
    )


NOTE = b"From: bo@example.org\r\nAuto-Submitted: auto-replied\r\nSubject: Away\r\n\r\nBack in May."


class Reading:
    """A reader of a mailbox, and what it was given."""

    def __init__(self, installation: Installation, address: str) -> None:
        self.installation = installation
        self.address = parse_imap(address)
        self.handled: list[bytes] = []
        self.reader = MailboxReader(
            installation.database,
            installation.clock,
            name=str(self.address),
            keys=installation.keys,
            open_mailbox=lambda token: ImapMailbox(self.address, access_token=token),
            handle=self.handle,
        )

    async def handle(self, content: bytes, place: str) -> Handled:
        handled = await ingest(
            self.installation.database,
            content,
            place=place,
            keys=self.installation.keys,
            domain=COMMUNITY.domain,
            now=self.installation.clock.now(),
        )
        self.handled.append(content)
        return handled

    async def read(self) -> int:
        mailbox = ImapMailbox(self.address)
        try:
            return await self.reader.read_new(mailbox)
        finally:
            mailbox.close()

    async def subjects(self) -> list[str]:
        """Return the subjects of the messages kept for review."""
        kept = await messages_for_review(self.installation.database, limit=1000)
        return [message.subject for message in kept]


@needs_dovecot
async def test_each_message_is_handled_once_and_moved_to_where_it_belongs(
    installation: Installation, server: Dovecot, user: str
) -> None:
    server.deliver(letter(1), NOTE, letter(2), user=user)
    reading = Reading(installation, url(server, user))
    assert await reading.read() == 3
    assert await reading.read() == 0
    assert [
        server.count(folder, user=user)
        for folder in ("INBOX", "Third Thursday/done", "Third Thursday/review")
    ] == [0, 1, 2]
    assert await reading.subjects() == ["Letter 1", "Letter 2"]


@needs_dovecot
@pytest.mark.parametrize(
    ("separator", "prefix", "capabilities"),
    [(".", "INBOX.", ""), ("/", "", "IMAP4rev1 UIDPLUS IDLE"), ("/", "", "IMAP4rev1")],
    ids=["Maildir++", "no MOVE", "no MOVE and no UIDPLUS"],
)
async def test_it_works_with_other_separators_and_without_extensions(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    separator: str,
    prefix: str,
    capabilities: str,
) -> None:
    layout = "maildir:~/Maildir" + (":LAYOUT=fs" if separator == "/" else "")
    more = f"imap_capability = {capabilities}" if capabilities else ""
    with Dovecot(separator=separator, prefix=prefix, layout=layout, more=more) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.folder / "ca.pem"))
        server.deliver(letter(1), NOTE)
        # Somebody else marks a message as deleted; it is not ours to expunge.
        server.deliver(b"Subject: theirs\r\n\r\n")
        server.doveadm("flags", "add", "-u", USER, r"\Deleted", "mailbox", "INBOX", "subject", "theirs")
        reading = Reading(installation, url(server))
        assert await reading.read() == 2
        assert await reading.read() == 0
        done, review = (f"{prefix}Third Thursday{separator}{name}" for name in ("done", "review"))
        assert (server.count(done), server.count(review)) == (1, 1)
        assert server.count("INBOX") == (3 if "UIDPLUS" not in capabilities and capabilities else 1)


@needs_dovecot
async def test_what_was_handled_before_a_crash_is_only_moved_after_it(
    installation: Installation, server: Dovecot, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.deliver(*(letter(number) for number in range(5)), user=user)
    reading = Reading(installation, url(server, user))

    def crash(*_: object, **__: object) -> None:
        raise MailboxProblem("the connection is gone")

    with monkeypatch.context() as patched:
        patched.setattr(ImapMailbox, "file_away", crash)
        with pytest.raises(MailboxProblem):
            await reading.read()
    assert len(reading.handled) == 5 and server.count("INBOX", user=user) == 5
    assert await reading.read() == 0
    assert len(reading.handled) == 5, "handled again"
    assert server.count("Third Thursday/review", user=user) == 5


@needs_dovecot
async def test_a_mailbox_that_was_made_anew_repeats_nothing(
    installation: Installation, server: Dovecot, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.deliver(letter(1), user=user)
    await Reading(installation, url(server, user)).read()
    # The provider restores the mailbox: other UIDs, the same message, which is even there twice.
    server.deliver(letter(1), letter(1), letter(2), user=user)
    reading = Reading(installation, url(server, user))
    await reading.read()
    assert await reading.subjects() == ["Letter 1", "Letter 2"]
    assert server.count("INBOX", user=user) == 0


@needs_dovecot
async def test_a_huge_message_is_read_in_bounded_pieces(
    installation: Installation, server: Dovecot, user: str
) -> None:
    server.deliver(letter(1, LARGEST * 3), letter(2), user=user)
    reading = Reading(installation, url(server, user))
    assert await reading.read() == 2
    assert [len(content) for content in reading.handled] == [LARGEST, len(letter(2))]


@needs_dovecot
async def test_a_folder_that_was_renamed_is_made_again(
    installation: Installation, server: Dovecot, user: str
) -> None:
    server.deliver(letter(1), user=user)
    reading = Reading(installation, url(server, user))
    await reading.read()
    server.doveadm("mailbox", "rename", "-u", user, "Third Thursday/review", "Read")
    server.deliver(letter(2), user=user)
    await reading.read()
    assert server.count("Read", user=user) == server.count("Third Thursday/review", user=user) == 1


@pytest.mark.proof
@pytest.mark.short
@needs_dovecot
async def test_what_cannot_be_moved_is_handled_all_the_same_and_once(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.service.mailbox.BATCH", 2)
    # Nobody may create folders or put messages into them.
    rights = (
        "mail_plugins = acl\nprotocol imap {\n mail_plugins = acl imap_acl\n}\nplugin {\n acl = vfile:%s\n}\n"
    )
    with Dovecot() as server:
        (server.folder / "acl").mkdir()
        (server.folder / "acl" / ".DEFAULT").write_text("owner lrwst\n")
        (server.folder / "acl" / "INBOX").write_text("owner lrwstex\n")
        with (server.folder / "dovecot.conf").open("a") as config:
            config.write(rights % (server.folder / "acl"))
        server.restart()
        monkeypatch.setenv("SSL_CERT_FILE", str(server.folder / "ca.pem"))
        server.deliver(*(letter(number) for number in range(5)))
        reading = Reading(installation, url(server))
        for _ in range(2):
            with pytest.raises(MailboxProblem, match="does not let messages be moved"):
                await reading.read()
        assert len(reading.handled) == 5 and server.count("INBOX") == 5


@needs_dovecot
async def test_a_message_that_cannot_be_handled_does_not_stop_the_others(
    installation: Installation, server: Dovecot, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.deliver(letter(1), letter(2), user=user)
    reading = Reading(installation, url(server, user))
    handle = reading.handle

    async def fail(content: bytes, place: str) -> Handled:
        if b"Letter 1" in content:
            raise OSError("a disk that is full for this one")
        return await handle(content, place)

    monkeypatch.setattr(reading.reader, "_handle", fail)
    for _ in range(MOST_FAILURES):
        await reading.read()
    assert await reading.subjects() == ["Letter 2"]
    assert server.count("Third Thursday/review", user=user) == 2
    assert server.count("INBOX", user=user) == 0


# Trouble


async def until(condition: Any, patience: float = 20) -> None:
    """Wait for something that another process or thread brings about."""
    import asyncio

    async with asyncio.timeout(patience):
        while not await condition():
            await asyncio.sleep(0.05)


@needs_dovecot
@pytest.mark.parametrize(
    ("password", "folder", "words"),
    [
        ("pass-word", "INBOX", "refused the login [AUTHENTICATIONFAILED]"),
        (PASSWORD, "Gone", "no folder 'Gone'"),
    ],
)
async def test_a_mailbox_that_cannot_be_opened_is_told_of_once_without_the_password(
    installation: Installation,
    server: Dovecot,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    password: str,
    folder: str,
    words: str,
) -> None:
    import asyncio

    monkeypatch.setenv("SSL_CERT_FILE", str(server.folder / "ca.pem"))
    reading = Reading(installation, url(server, "a@example.net", password=password, folder=folder))
    running = asyncio.create_task(reading.reader.run())

    async def noted() -> bool:
        async with installation.database.read() as connection:
            return "since" in (await service_state.read(connection, service_state.MAILBOX) or {})

    await until(noted)
    running.cancel()
    async with installation.database.read() as connection:
        told = await troubles(connection, NOW, late=timedelta(hours=1))
    assert words in told["mailbox"] and password not in str(told) + caplog.text
    assert told["mailbox"] in (await health(installation.database, NOW)).troubles(NOW)


async def test_a_server_that_restarts_is_no_trouble_before_some_minutes(installation: Installation) -> None:
    async with installation.database.write() as connection:
        state = {"since": NOW.isoformat(), "reason": "imap.example.org cannot be reached", "lasting": False}
        await service_state.write(connection, service_state.MAILBOX, state)
    async with installation.database.read() as connection:
        assert "mailbox" not in await troubles(connection, NOW, late=timedelta(hours=1))
        assert "mailbox" in await troubles(connection, NOW + MAILBOX_PATIENCE, late=timedelta(hours=9))


@needs_dovecot
async def test_news_is_read_at_once_with_idle_and_after_the_connection_was_broken(
    installation: Installation, server: Dovecot, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    monkeypatch.setattr("scheduler.service.mailbox.FIRST_PAUSE", 0.1)
    server.deliver(letter(0), user=user)
    reading = Reading(installation, url(server, user))
    running = asyncio.create_task(reading.reader.run())

    def handled(count: int) -> Any:
        async def condition() -> bool:
            return len(reading.handled) == count

        return condition

    await until(handled(1))
    server.deliver(letter(1), user=user)
    await until(handled(2))
    server.doveadm("kick", user)
    server.deliver(letter(2), user=user)
    await until(handled(3))
    running.cancel()
    await asyncio.wait([running])
    assert await reading.subjects() == ["Letter 0", "Letter 1", "Letter 2"]


@pytest.mark.parametrize(
    "text",
    [
        "imaps://host/INBOX",
        "pop3://user:geheim@host",
        "imaps://user:geheim@host:99999",
        "imaps://user:ge/heim#x@host/INBOX",
        "imaps://us%0Aer:geheim@host",
        "imaps://user:%ffgeheim@host",
    ],
)
def test_a_wrong_address_is_refused_without_showing_the_password(text: str) -> None:
    with pytest.raises(SettingsProblem) as refusal:
        parse_imap(text)
    assert "heim" not in str(refusal.value)


def test_an_address_is_read_and_shown_without_its_password() -> None:
    address = parse_imap("imaps://ann%40example.org:p%3Aa%2Fss@imap.example.net/Meetings/In")
    assert (address.user, address.password, address.folder) == ("ann@example.org", "p:a/ss", "Meetings/In")
    assert "p:a" not in f"{address} {address!r}"


# OAuth


class Provider(ThreadingHTTPServer):
    """Issues access tokens for refresh tokens, and tells Dovecot whose an access token is."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.refresh_tokens = ["first"]
        self.rotates = False
        self.access_tokens: list[str] = []
        self.asked: list[dict[str, list[str]]] = []

    @property
    def place(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    server: Provider

    def do_POST(self) -> None:
        fields = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.server.asked.append(fields)
        if fields["refresh_token"][0] not in self.server.refresh_tokens or fields["client_secret"] != [
            "s3cret"
        ]:
            return self._send(400, {"error": "invalid_grant", "error_description": "for ann@example.org"})
        access = f"access-{len(self.server.asked)}"
        self.server.access_tokens.append(access)
        answer = {"access_token": access, "expires_in": 3600, "token_type": "Bearer"}
        if self.server.rotates:
            answer["refresh_token"] = f"refresh-{len(self.server.asked)}"
            self.server.refresh_tokens = [str(answer["refresh_token"])]
        return self._send(200, answer)

    def do_GET(self) -> None:
        token = parse_qs(urlsplit(self.path).query)["access_token"][0]
        known = token in self.server.access_tokens
        self._send(200 if known else 401, {"email": USER} if known else {"error": "invalid_token"})

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        thread = threading.Thread(target=provider.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield provider
        provider.shutdown()
        thread.join()


def login(installation: Installation, provider: Provider, configured: str = "first") -> OAuthLogin:
    client = OAuthClient(token_url=f"{provider.place}/token", client_id="id", client_secret="s3cret")
    return OAuthLogin(
        installation.database, installation.clock, installation.keys, client=client, refresh_token=configured
    )


async def test_an_access_token_is_used_for_half_its_life(
    installation: Installation, provider: Provider
) -> None:
    logged_in = login(installation, provider)
    assert await logged_in.access_token() == await logged_in.access_token() == "access-1"
    installation.clock.pass_until(NOW + timedelta(minutes=31))
    assert await logged_in.access_token() == "access-2"
    assert provider.asked[0]["grant_type"] == ["refresh_token"]


async def test_a_rotated_refresh_token_outlives_a_restart_and_is_stored_encrypted(
    installation: Installation, provider: Provider
) -> None:
    provider.rotates = True
    await login(installation, provider).access_token()
    assert await login(installation, provider).access_token() == "access-2"
    async with installation.database.read() as connection:
        stored = await service_state.read(connection, service_state.MAILBOX_TOKEN)
    assert "refresh-" not in str(stored)
    provider.refresh_tokens = ["new in the settings"]
    assert await login(installation, provider, "new in the settings").access_token() == "access-3"


async def test_a_refused_refresh_token_says_what_to_do_and_shows_no_secret(
    installation: Installation, provider: Provider
) -> None:
    with pytest.raises(MailboxProblem, match="400 \\(invalid_grant\\); get a new refresh token") as problem:
        await login(installation, provider, "geheim").access_token()
    assert problem.value.lasting
    assert not {"geheim", "s3cret", "ann@"} & set(str(problem.value).split())


@contextmanager
def dovecot_with(provider: Provider) -> Iterator[Dovecot]:
    server = Dovecot(more="auth_mechanisms = plain login xoauth2")
    (server.folder / "oauth2.conf").write_text(
        f"tokeninfo_url = {provider.place}/tokeninfo?access_token=\nusername_attribute = email\n"
        "username_format = %u\n"
    )
    more = f"passdb {{\n driver = oauth2\n mechanisms = xoauth2\n args = {server.folder}/oauth2.conf\n}}\n"
    with (server.folder / "dovecot.conf").open("a") as config:
        config.write(more)
    with server:
        yield server


@needs_dovecot
async def test_a_mailbox_is_opened_with_xoauth2(
    installation: Installation, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dovecot_with(provider) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.folder / "ca.pem"))
        address = parse_imap(f"imaps://{quote(USER)}@localhost:{server.imaps}")
        token = await login(installation, provider).access_token()
        ImapMailbox(address, access_token=token).close()
        with pytest.raises(MailboxProblem, match="refused the login") as problem:
            ImapMailbox(address, access_token="stale")
        assert problem.value.lasting and "stale" not in str(problem.value)
