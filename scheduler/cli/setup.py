"""The `setup` command: ask a few questions in plain words, and write the settings file."""

import os
import secrets
import shlex
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import typer

from scheduler.bootstrap import setup as checks
from scheduler.bootstrap.dns_check import Level, check_host, check_mail_domain, check_sender
from scheduler.bootstrap.settings import Settings, check_values
from scheduler.bootstrap.settings_sources import Values
from scheduler.bootstrap.wiring import SystemClock
from scheduler.cli.app import EXIT_USAGE
from scheduler.cli.command import fail, is_terminal, make_app, read_date, run_async
from scheduler.domain.address import ascii_domain, is_loopback, require_address
from scheduler.domain.errors import Problem
from scheduler.domain.zone import find_zone, nearest_zone

app = make_app()

Result = TypeVar("Result")

NONE = "-"
"""The answer for none."""


@app.command()
def setup(
    file: Annotated[Path, typer.Option("--file", metavar="FILE", help="The settings file to write.")] = Path(
        "third-thursday.toml"
    ),
    resolver: Annotated[
        str, typer.Option(metavar="IP[:PORT]", help="The DNS server to ask, instead of this machine's own.")
    ] = "",
) -> None:
    """Ask a few questions and write the settings file.

    Each answer is checked. Ctrl-C stops and writes nothing.
    """
    if not is_terminal():
        fail(
            "setup asks questions, so it needs a terminal; in a script, write the file yourself",
            code=EXIT_USAGE,
        )
    checks.require_place_for(file)
    replace = file.exists()
    if replace and not typer.confirm(f"{file} exists. Replace it at the end?"):
        fail("nothing was done")
    typer.echo("Press Enter for the answer in [brackets]. Ctrl-C stops and writes nothing.\n")
    answers = _Answers(resolver)
    answers.ask_community()
    answers.ask_meeting()
    answers.ask_installation()
    answers.ask_relay()
    answers.ask_inbox()
    private = checks.holds_secret(answers.values)
    checks.write_settings(file, checks.settings_text(answers.values), private=private, replace=replace)
    command = f"third-thursday --config {shlex.quote(str(file))}"
    typer.echo(f"\nWrote {file}{' (it holds a secret: only you can read it)' if private else ''}.")
    typer.echo("To add another meeting, write another [[series]] into it; a comment there says how.")
    typer.echo(f"Next, check the installation:  {command} doctor")
    typer.echo(f"Then add yourself as convenor: {command} members add --email YOU --zone ZONE")
    typer.echo(f"                               {command} convenors add YOU")
    typer.echo(f"And start the service:         {command} serve")


class _Answers:
    """The values of the settings file, as far as they have been answered and accepted."""

    def __init__(self, resolver: str) -> None:
        self._resolver = resolver
        # The short slug leaves room for any domain until the meeting has a name.
        self.values: Values = {
            "series": [
                {
                    "slug": "m",
                    "title": "Meeting",
                    "rule": "third Thursday",
                    "start": "18:00",
                    "zone": "Europe/London",
                    "minutes": 60,
                    "first": date(2020, 7, 16),
                }
            ]
        }

    def ask_community(self) -> None:
        _ask("What is the community's name?", lambda text: self._accept("community", name=text))
        _ask("From which address is its mail sent?", self._accept_sender)
        domain = self.values["community"]["domain"]
        typer.echo(f"  IDs of meetings and mails will end in {domain}; this must not change later.")
        _ask(
            "To which address do replies go (the convenors')?",
            self._accept_reply_to,
            default=f"convenors@{domain}",
        )

    def _accept_sender(self, text: str) -> None:
        address = require_address(text, "the address")
        self._require_mail_domain(address)
        domain = ascii_domain(address).rpartition("@")[2].lower()
        self._accept("community", address=address, domain=domain)

        async def check() -> None:
            await check_sender(address, None, _show, resolver=self._resolver)

        run_async(check())

    def _accept_reply_to(self, text: str) -> None:
        address = require_address(text, "the address")
        self._require_mail_domain(address)
        self._accept("community", reply_to=address)

    def _require_mail_domain(self, address: str) -> None:
        """Raise Problem if no mail can reach the address, unless the user wants it anyway."""
        wrong = False

        def note(level: Level, text: str) -> None:
            nonlocal wrong
            wrong |= level is Level.WRONG
            _show(level, text)

        run_async(check_mail_domain(address, note, resolver=self._resolver))
        if wrong and not typer.confirm(f"Use {address} all the same?"):
            raise Problem("give another address")

    def ask_meeting(self) -> None:
        now, name = SystemClock().now(), self.values["community"]["name"]
        domain = self.values["community"]["domain"]
        self._accept_series(zone=checks.machine_zone(), first=now.date())
        _ask(
            "What is the meeting called?",
            lambda text: self._accept_series(title=text, slug=checks.slug_of(text, domain)),
            default=name,
        )
        while True:
            self._ask_times(now.date())
            (checked,) = check_values(self.values).series
            typer.echo("  The next meetings:")
            for start in checks.next_meetings(checked, now):
                typer.echo(
                    f"    {start.astimezone(ZoneInfo(checked.zone)):%A %d %B %Y, %H:%M} ({checked.zone})"
                )
            if typer.confirm("Is that right?", default=True):
                break
        _ask(f"What is the link of the online room ({NONE} for none)?", self._accept_room, default=NONE)

    def _ask_times(self, today: date) -> None:
        (series,) = self.values["series"]
        _ask(
            'On which days do you meet, for example "last Monday of the month"?',
            lambda text: self._accept_series(rule=text),
            default=series["rule"],
        )
        _ask(
            "At what time does it start?",
            lambda text: self._accept_series(start=text),
            default=series["start"],
        )
        _ask("In which time zone or city?", self._accept_zone, default=series["zone"])
        _ask(
            "How many minutes does it last?",
            lambda text: self._accept_series(minutes=_number(text)),
            default=str(series["minutes"]),
        )
        _ask("From which date on (YYYY-MM-DD)?", self._accept_first, default=today.isoformat())

    def _accept_zone(self, text: str) -> None:
        zone = find_zone(text)
        if zone is None and (near := nearest_zone(text)) and typer.confirm(f"Is that {near}?", default=True):
            zone = near
        self._accept_series(zone=zone or text)

    def _accept_first(self, text: str) -> None:
        since = read_date(text, "the date")
        values = self._with_series(first=since)
        self._accept_series(first=checks.first_date(values, since))

    def _accept_room(self, text: str) -> None:
        if text != NONE:
            self._accept_series(link=text)

    def ask_installation(self) -> None:
        domain = self.values["community"]["domain"]
        _ask(
            "Where is the database (a file, or postgresql://USER:PASSWORD@HOST/NAME)?",
            self._accept_database,
            default="var/third-thursday.sqlite",
        )
        _ask(
            "At which web address will members find the pages?",
            self._accept_base_url,
            default=f"https://meet.{domain}",
        )
        _ask("On which port of this machine should the pages be served?", self._accept_port, default="8000")

    def _accept_database(self, text: str) -> None:
        is_url = "://" in text
        if not is_url and ("?" in text or "#" in text):
            raise Problem("the name of the file must not contain ? or #; give another path")
        file = "" if is_url else os.path.expanduser(text)  # noqa: PTH111 - Path raises without a home folder
        values = self._with("database", url=text if is_url else f"sqlite:///{file}")
        if is_url and not text.startswith("sqlite:"):
            values["security"] = {"key": secrets.token_hex(32)}
        run_async(checks.check_database(check_values(values)))
        self.values = values

    def _accept_base_url(self, text: str) -> None:
        values = self._with("web", base_url=text)
        host = urlsplit(check_values(values).web.base_url).hostname or ""
        if is_loopback(host):
            raise Problem(
                f"members cannot open {text}: it leads to their own machine; give the public address"
            )
        if not text.lower().startswith("https:"):
            _show(Level.NOTE, "members' personal links should be https")
        if not host.replace(".", "").isdigit() and ":" not in host:
            run_async(check_host(host, _show, resolver=self._resolver))
        self.values = values

    def _accept_port(self, text: str) -> None:
        values = self._with("web", port=_number(text))
        checks.check_port(check_values(values))
        self.values = values

    def ask_relay(self) -> None:
        typer.echo("Mail is sent through a relay: your provider's server for outgoing mail.")
        login = _Login(host=NONE, port=587, user=NONE)
        while True:
            login.ask(f"What is the relay's name ({NONE}: none yet, mail is only kept in a folder)?")
            if login.host == NONE:
                return
            try:
                transport = checks.relay_url(login.host, login.port, login.named_user, login.password)
                values = self._with("mail", transport=transport, starttls=checks.starttls_for(login.host))
                settings = check_values(values)
                run_async(checks.check_relay(settings))
            except Problem as problem:
                _refuse(problem)
                continue
            typer.echo("  The relay accepts the login." if login.password else "  The relay answers.")
            self.values = values
            break
        _ask(
            f"To which address should a test mail go ({NONE} for none)?",
            lambda text: _send_test_mail(settings, text),
            default=settings.community.reply_to,
        )

    def ask_inbox(self) -> None:
        typer.echo(
            "Bounces and answers are read from a mailbox (imap), or come from a mail server here (lmtp)."
        )
        typer.echo(f"Microsoft's mailboxes need more steps: answer {NONE}, and see docs/inbox.md.")
        kind = _ask(f"How do they come in: imap, lmtp, or {NONE} for not yet?", _inbox_kind, default=NONE)
        if kind == NONE or (kind == "imap" and not self._ask_mailbox()):
            return
        if kind == "lmtp":
            _ask(
                "Where should the mail server deliver them (HOST:PORT, or unix:PATH)?",
                lambda text: self._accept_inbox(lmtp=text),
                default="127.0.0.1:2424",
            )
        inbox = check_values(self.values).community.inbox
        assert inbox
        usual = inbox.address
        _ask(
            "Which address's mail arrives there?",
            lambda text: self._accept_inbox_address(text, usual=usual),
            default=usual,
        )

    def _ask_mailbox(self) -> bool:
        """Ask for the mailbox until its login is accepted; return False if there is none."""
        login = _Login(host=NONE, port=993, user=self.values["community"]["address"])
        while True:
            login.ask(f"What is the name of its IMAP server ({NONE}: none yet)?")
            if login.host == NONE:
                return False
            try:
                self._accept_inbox(
                    imap=checks.imap_url(login.host, login.port, login.named_user, login.password)
                )
            except Problem as problem:
                _refuse(problem)
                continue
            typer.echo("  The mailbox can be read.")
            return True

    def _accept_inbox(self, **keys: Any) -> None:
        """Add these keys if mail can come in as they say. Raises Problem."""
        # Tags make a mailbox's name longer, perhaps too long. Whether it has any is asked later.
        values = self._with("inbox", plus_addressing=False, **keys)
        run_async(checks.check_inbox(check_values(values)))
        self.values = values

    def _accept_inbox_address(self, text: str, *, usual: str) -> None:
        address = require_address(text, "the address")
        if address != usual:
            self._accept("inbox", address=address)
        name, _, domain = address.rpartition("@")
        tags = typer.confirm(f"Does mail to {name}+anything@{domain} arrive there, too?", default=True)
        self._accept("inbox", plus_addressing=tags)

    def _with(self, section: str, **keys: Any) -> Values:
        """Return the values with these keys as well."""
        values = deepcopy(self.values)
        values[section] = {**values.get(section, {}), **keys}
        return values

    def _with_series(self, **keys: Any) -> Values:
        values = deepcopy(self.values)
        values["series"][0].update(keys)
        return values

    def _accept(self, section: str, **keys: Any) -> None:
        """Add these keys if they are right. Raises SettingsProblem."""
        values = self._with(section, **keys)
        check_values(values)
        self.values = values

    def _accept_series(self, **keys: Any) -> None:
        values = self._with_series(**keys)
        check_values(values)
        self.values = values


@dataclass
class _Login:
    """A server and a login, as answered last; the answers are the defaults when they are asked for again."""

    host: str
    port: int
    user: str
    password: str = ""

    def ask(self, question: str) -> None:
        """Ask for the server, and unless it is none for the rest."""
        self.host = _ask(question, _line, default=self.host)
        if self.host == NONE:
            return
        self.port = _ask("Its port?", _number, default=str(self.port))
        self.user = _ask(f"The user name ({NONE} for none)?", _line, default=self.user)
        self.password = typer.prompt("The password (not shown)", hide_input=True) if self.named_user else ""

    @property
    def named_user(self) -> str:
        return self.user if self.user != NONE else ""


def _ask(question: str, accept: Callable[[str], Result], *, default: str | None = None) -> Result:
    """Ask until `accept` raises no Problem, and return its result."""
    while True:
        text = typer.prompt(question, default=default, prompt_suffix=" ")
        try:
            return accept(text.strip())
        except Problem as problem:
            _refuse(problem)


def _refuse(problem: Problem) -> None:
    typer.echo(f"  Not accepted: {problem}")


def _show(level: Level, text: str) -> None:
    typer.echo(f"  {level.value:<5}  {text}")


def _line(text: str) -> str:
    return text


def _inbox_kind(text: str) -> str:
    if text not in ("imap", "lmtp", NONE):
        raise Problem(f"'{text}' is none of imap, lmtp and {NONE}")
    return text


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 6):
        raise Problem(f"'{text}' is not a whole number")
    return int(text)


def _send_test_mail(settings: Settings, text: str) -> None:
    if text == NONE:
        return
    address = require_address(text, "the address")
    run_async(checks.send_test_mail(settings, address, now=SystemClock().now()))
    typer.echo(f"  Sent. Look whether it has arrived at {address}, and not in the spam folder.")
