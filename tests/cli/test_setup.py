"""`setup` asks, checks each answer against reality, and writes a settings file that works."""

import asyncio
import os
import stat
import tomllib
from collections.abc import Iterator
from datetime import date
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from scheduler.bootstrap import setup as checks
from scheduler.bootstrap.settings import check_values, load_settings
from scheduler.delivery.receive.places import parse_imap
from scheduler.delivery.send.transport import SmtpAddress
from scheduler.domain.errors import Problem
from tests.bootstrap.test_dns_check import dns_server
from tests.cli.conftest import Command
from tests.cli.terminal import INTERRUPT, Terminal
from tests.cli.test_errors import require_one_line, run
from tests.mail_servers import PASSWORD as MAILBOX_PASSWORD
from tests.mail_servers import USER, Dovecot, have_dovecot
from tests.postgres import free_loopback_port

ZONE = {
    "choir.example.org": ["v=spf1 include:relay.example.net ~all"],
    "MX choir.example.org": ["10 mail.choir.example.org."],
    "_dmarc.choir.example.org": ["v=DMARC1; p=none"],
}
PASSWORD = "a p@ss:w%rd/ü"

NAME = ("community's name?", 'Ward "Round" Chör')
COMMUNITY = [
    NAME,
    ("mail sent?", "meetings@choir.example.org"),
    ("replies go", ""),
    ("meeting called?", ""),
]
TIMES = [
    ("which days", "last Monday of the month"),
    ("what time", "19:30"),
    ("zone or city?", "Dublin"),
    ("Is that Europe/Dublin?", ""),
    ("How many minutes", "45"),
    ("which date on", "2030-01-01"),
]
PLACES = [("online room", "https://rooms.example.org/choir"), ("database", ""), ("web address", "")]
NO_INBOX = ("How do they come in", "")


class Mailbox:
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(envelope.content)
        return "250 queued"


@pytest.fixture
def relay(free_port: int) -> Iterator[tuple[int, Mailbox]]:
    """A relay on this machine that wants a login."""

    def log_in(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"choir", PASSWORD.encode()), handled=False)

    mailbox = Mailbox()
    controller = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=free_port,
        authenticator=log_in,
        auth_require_tls=False,
    )
    controller.start()
    yield free_port, mailbox
    controller.stop()


async def answered(folder: Path, dialogue: list[tuple[str, str]], *arguments: str) -> tuple[int, str]:
    """Answer `setup` and return its exit code and what it has shown."""
    async with dns_server(ZONE) as resolver:
        terminal = Terminal(folder, "setup", "--resolver", resolver, *arguments)

        def talk() -> int:
            terminal.answer(dialogue)
            return terminal.end()

        return await asyncio.to_thread(talk), terminal.shown


async def test_the_answers_become_a_short_private_file_that_works(
    folder: Path, relay: tuple[int, Mailbox]
) -> None:
    port, mailbox = relay
    pages = free_loopback_port()
    code, shown = await answered(
        folder,
        [
            *COMMUNITY,
            *TIMES,
            ("Is that right?", ""),
            *PLACES,
            ("which port", str(pages)),
            ("relay's name", "127.0.0.1"),
            ("Its port?", str(port)),
            ("user name", "choir"),
            ("password", PASSWORD),
            ("test mail", "convenor@choir.example.org"),
            NO_INBOX,
        ],
    )
    assert code == 0, shown
    assert "Monday 28 January 2030, 19:30 (Europe/Dublin)" in shown
    assert "Monday 25 February 2030" in shown and "Monday 25 March 2030" in shown
    assert "third-thursday --config third-thursday.toml doctor" in shown
    assert PASSWORD not in shown
    file = folder / "third-thursday.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["third-thursday.toml"]
    text = file.read_text()
    assert "[[policies]]" not in text and "connections" not in text and "starttls" not in text
    settings = load_settings(file, {})
    assert settings.community.name == 'Ward "Round" Chör'
    assert (settings.community.reply_to, settings.community.domain) == (
        "convenors@choir.example.org",
        "choir.example.org",
    )
    assert (settings.web.port, settings.web.base_url) == (pages, "https://meet.choir.example.org")
    (series,) = settings.series
    assert (series.slug, series.zone, str(series.first)) == (
        "ward-round-chor",
        "Europe/Dublin",
        "2030-01-28",
    )
    (mail,) = (message_from_bytes(mail) for mail in mailbox.mails)
    assert (mail["To"], mail["Auto-Submitted"]) == ("convenor@choir.example.org", "auto-generated")


async def test_each_wrong_answer_is_refused_in_one_line_and_asked_again(
    folder: Path, relay: tuple[int, Mailbox]
) -> None:
    port, mailbox = relay
    nothing = free_loopback_port()
    (folder / "a-file").touch()
    code, shown = await answered(
        folder,
        [
            NAME,
            ("mail sent?", "meetings"),
            ("mail sent?", "meetings@nowhere.example.org"),
            ("all the same?", "n"),
            ("mail sent?", "meetings@choir.example.org"),
            ("replies go", ""),
            ("meeting called?", ""),
            ("which days", "whenever we like"),
            ("which days", "third Thursday"),
            ("what time", "half past nine"),
            ("what time", "21:30"),
            ("zone or city?", "Xyzzy"),
            ("zone or city?", "Europe/Dublin"),
            ("How many minutes", "an hour"),
            ("How many minutes", "0"),
            ("How many minutes", "60"),
            ("which date on", "tomorrow"),
            ("which date on", "2030-01-01"),
            ("Is that right?", "n"),
            *TIMES,
            ("Is that right?", "y"),
            ("online room", "the usual one"),
            ("online room", "-"),
            ("database", "a-file/choir.sqlite"),
            ("database", "choir?.sqlite"),
            ("database", f"postgresql://choir:secret@127.0.0.1:{nothing}/choir"),
            ("database", "var/choir.sqlite"),
            ("web address", "http://127.0.0.1:8000"),
            ("web address", "meet.choir"),
            ("web address", "https://meet.choir.example.org"),
            ("which port", str(port)),
            ("which port", "99999"),
            ("which port", str(free_loopback_port())),
            ("relay's name", "127.0.0.1"),
            ("Its port?", "submission"),
            ("Its port?", str(nothing)),
            ("user name", "-"),
            ("relay's name", "127.0.0.1"),
            ("Its port?", str(port)),
            ("user name", "choir"),
            ("password", "wrong"),
            ("relay's name", "127.0.0.1"),
            ("Its port?", str(port)),
            ("user name", "choir"),
            ("password", PASSWORD),
            ("test mail", "me"),
            ("test mail", "-"),
            ("How do they come in", "post"),
            ("How do they come in", "lmtp"),
            ("deliver them", "2424"),
            ("deliver them", "0.0.0.0:2424"),
            ("deliver them", f"127.0.0.1:{port}"),
            ("deliver them", "unix:lmtp"),
            ("arrives there?", "meetings"),
            ("arrives there?", ""),
            ("arrive there, too?", "n"),
        ],
    )
    assert code == 0, shown
    refused = [line for line in shown.splitlines() if line.lstrip().startswith("Not accepted: ")]
    assert len(refused) == 25, shown
    for words in (
        "give another address",
        "whenever we like",
        "a time as",
        "Xyzzy",
        "'an hour' is not a whole number",
        "YYYY-MM-DD",
        "a-file is not a folder",
        "the database cannot be",
        "must not contain ? or #",
        "members cannot open http://127.0.0.1:8000",
        "choose another port",
        "cannot be reached",
        "does not accept the user and password",
        "'post' is none of imap, lmtp and -",
        "neither HOST:PORT nor unix:PATH",
        "other machines could deliver mail there",
        "cannot be listened on",
    ):
        assert any(words in line for line in refused), (words, shown)
    assert "nowhere.example.org does not exist in the DNS" in shown
    assert not mailbox.mails
    settings = load_settings(folder / "third-thursday.toml", {})
    assert settings.database.url == "sqlite:///var/choir.sqlite"
    assert (settings.inbox.lmtp, settings.inbox.plus_addressing) == ("unix:lmtp", False)
    assert not (folder / "lmtp").exists()


async def test_without_a_relay_nothing_is_secret(folder: Path) -> None:
    code, shown = await answered(
        folder,
        [
            *COMMUNITY,
            *TIMES,
            ("Is that right?", ""),
            ("online room", ""),
            ("database", "~/choir.sqlite"),
            ("web address", "https://meet.choir.example.org"),
            ("which port", str(free_loopback_port())),
            ("relay's name", ""),
            NO_INBOX,
        ],
        "--file",
        "choir.toml",
    )
    assert code == 0, shown
    assert "Wrote choir.toml." in shown
    assert "write another [[series]] into it" in shown
    text = (folder / "choir.toml").read_text()
    assert "[mail]" not in text and "another [[series]] below" in text
    settings = load_settings(folder / "choir.toml", {})
    assert settings.database.url == f"sqlite:///{Path.home()}/choir.sqlite"
    table = text[text.index("[[series]]") :]
    (folder / "choir.toml").write_text(f"{text}\n{table.replace('ward-round-chor', 'second')}")
    assert [series.slug for series in load_settings(folder / "choir.toml", {}).series] == [
        "ward-round-chor",
        "second",
    ]


@pytest.mark.skipif(not have_dovecot(), reason="needs Dovecot, and to be root")
async def test_a_refused_login_at_the_mailbox_is_one_line_and_asked_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Dovecot() as dovecot:
        monkeypatch.setenv("SSL_CERT_FILE", str(dovecot.folder / "ca.pem"))
        code, shown = await answered(
            folder,
            [
                *COMMUNITY,
                *TIMES,
                ("Is that right?", ""),
                *PLACES,
                ("which port", str(free_loopback_port())),
                ("relay's name", ""),
                ("How do they come in", "imap"),
                ("IMAP server", "localhost"),
                ("Its port?", str(dovecot.imaps)),
                ("user name", USER),
                ("password", "wrong"),
                ("Not accepted: mailbox: localhost refused the login", ""),  # Enter: the same server
                ("Its port?", ""),
                ("user name", ""),
                ("password", MAILBOX_PASSWORD),
                ("arrives there?", ""),
                ("arrive there, too?", ""),
            ],
        )
    assert code == 0, shown
    assert shown.count("Not accepted") == 1 and shown.count("The mailbox can be read.") == 1
    assert MAILBOX_PASSWORD not in shown and "wrong" not in shown
    file = folder / "third-thursday.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    settings = load_settings(file, {})
    address = parse_imap(settings.inbox.imap)
    assert (address.host, address.port, address.user) == ("localhost", dovecot.imaps, USER)
    assert address.password == MAILBOX_PASSWORD
    assert settings.community.inbox and settings.community.inbox.address == USER
    assert settings.inbox.plus_addressing


@pytest.mark.parametrize("asked", [0, 3, 6, 11])
async def test_ctrl_c_leaves_nothing_behind(folder: Path, asked: int) -> None:
    dialogue = [*COMMUNITY, *TIMES, ("Is that right?", ""), *PLACES]
    code, shown = await answered(folder, [*dialogue[:asked], (dialogue[asked][0], INTERRUPT)])
    assert code == 1
    assert "Traceback" not in shown
    assert list(folder.iterdir()) == []


async def test_a_file_is_not_overwritten_without_asking(folder: Path) -> None:
    file = folder / "third-thursday.toml"
    file.write_text("[web]\nport = 8001\n")
    code, shown = await answered(folder, [("exists. Replace it", "")])
    assert code == 1 and "nothing was done" in shown
    code, shown = await answered(folder, [("exists. Replace it", "y"), ("name?", INTERRUPT)])
    assert code == 1
    assert file.read_text() == "[web]\nport = 8001\n"


def test_without_a_terminal_it_exits_with_one_line(folder: Path, command: Command) -> None:
    require_one_line(run(folder, "setup"), "usage", "terminal")
    require_one_line(command("setup", stdin=b"Choir\n"), "usage", "terminal")
    assert list(folder.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused_before_the_first_question(tmp_path: Path) -> None:
    for path, words in ((tmp_path, "is a folder"), (tmp_path / "none" / "my.toml", "is not a folder")):
        with pytest.raises(Problem, match=words):
            checks.require_place_for(path)


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("mine")
    with pytest.raises(Problem, match="exists by now"):
        checks.write_settings(file, "theirs", private=True, replace=False)
    assert file.read_text() == "mine" and list(tmp_path.iterdir()) == [file]
    checks.write_settings(file, "theirs", private=True, replace=True)
    assert file.read_text() == "theirs" and stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_draft_of_a_killed_setup_and_a_link_to_the_file_hinder_nothing(tmp_path: Path) -> None:
    (tmp_path / f".my.toml.{os.getpid()}").write_text("half")
    checks.write_settings(tmp_path / "my.toml", "mine", private=True, replace=False)
    link = tmp_path / "link.toml"
    link.symlink_to(tmp_path / "my.toml")
    checks.write_settings(link, "theirs", private=True, replace=True)
    assert link.is_symlink() and (tmp_path / "my.toml").read_text() == "theirs"


@pytest.mark.parametrize(
    "name",
    [
        "Choir",
        'Quotes " and \\ backslashes',
        "'''Chöre''' # [web]",
        "第三木曜日",
        "Braces {name} ${HOME} %s",
        "A name that is so long that no slug can hold all of it, whatever it is cut to",
    ],
)
def test_any_name_is_written_as_it_was_answered(name: str) -> None:
    series = {
        "slug": checks.slug_of(name, "a-rather-long-name.conversation.example.org"),
        "title": name,
        "rule": "third Thursday",
        "start": "18:00",
        "zone": "Europe/London",
        "minutes": 60,
        "first": date(2030, 1, 17),
    }
    values = {
        "community": {"name": name, "domain": "a-rather-long-name.conversation.example.org"},
        "web": {"port": 8000, "base_url": "https://m.example.org"},
        "series": [series],
    }
    text = checks.settings_text(values)
    assert check_values(tomllib.loads(text)).community.name == name
    assert "port" not in text


@pytest.mark.parametrize(
    ("host", "port", "user", "password", "url"),
    [
        ("relay.example.org", 587, "", "", "smtp://relay.example.org:587"),
        ("relay.example.org", 465, "me", "x", "smtps://me:x@relay.example.org:465"),
        ("::1", 25, "", "", "smtp://[::1]:25"),
        (
            "r.example.org",
            587,
            "me@example.org",
            "p:s/s@%",
            "smtp://me%40example.org:p%3As%2Fs%40%25@r.example.org:587",
        ),
    ],
)
def test_a_relay_is_named_with_its_login(host: str, port: int, user: str, password: str, url: str) -> None:
    assert checks.relay_url(host, port, user, password) == url
    starttls = checks.starttls_for(host)
    assert starttls == ("auto" if host == "::1" else "require")
    web = {"base_url": "https://meet.example.org"}
    mail = check_values({"mail": {"transport": url, "starttls": starttls}, "web": web}).mail
    address = mail.address
    assert isinstance(address, SmtpAddress)
    assert (address.host, address.port, address.user or "", address.password or "") == (
        host,
        port,
        user,
        password,
    )
