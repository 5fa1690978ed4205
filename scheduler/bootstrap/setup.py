"""`setup`: check its answers against reality, and write the settings file."""

import asyncio
import json
import os
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime, formataddr, make_msgid
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from scheduler.bootstrap.inbox import check_mailbox, inbox_listener
from scheduler.bootstrap.serve import listen
from scheduler.bootstrap.settings import Settings, check_values
from scheduler.bootstrap.settings_sources import Values, bundled, read_file
from scheduler.bootstrap.worker import make_transport
from scheduler.delivery.send.transport import Envelope, Verdict
from scheduler.domain.address import ascii_domain, is_loopback
from scheduler.domain.calendar import require_uid_room
from scheduler.domain.errors import Problem, Refused
from scheduler.domain.occurrence import LONGEST_SLUG, Series
from scheduler.domain.zone import is_known_zone
from scheduler.store.database import OUTAGES, Database
from scheduler.store.key_file import draft_name
from scheduler.store.outage import outage_of

TLS_PORT = 465
"""The port on which a relay encrypts from the start (RFC 8314)."""
STARTTLS_PORT = 143
"""The only port of a mailbox on which the connection is encrypted later."""

HEAD = """\
# The settings of {name}, written by `third-thursday setup`.
# It contains only what differs from the defaults. To see every key, with its documentation and default value, read
# config/third-thursday.toml of the installation.
"""

ANOTHER_SERIES = """\
# For another meeting, which members can follow too, add another [[series]] below with a slug of its own, and start
# `serve` again.
"""

COMMENTS: Mapping[str, Mapping[str, str]] = {
    "community": {
        "address": "The sender of all mail.",
        "reply_to": "Where members' replies go.",
        "domain": "In the IDs of meetings and mails; it must not change after the first start.",
    },
    "database": {"url": "Where members, meetings and sent mails are kept."},
    "mail": {
        "transport": "The relay that sends the mail; keep the password in it secret.",
        "starttls": '"require" sends nothing to a relay without a valid certificate.',
    },
    "inbox": {
        "imap": "The mailbox that is read; keep the password in it secret.",
        "lmtp": "Where a mail server on this machine delivers.",
        "address": "The address whose mail arrives there.",
    },
    "web": {
        "base_url": "Every link in every mail begins with it.",
        "port": "The port that a reverse proxy passes visitors to.",
    },
    "security": {
        "key": "The secret for all personal links, the same on every machine. Keep a copy in a safe place."
    },
    "series": {
        "slug": "In links and calendars; it must not change after the first start.",
        "rule": "On which dates it is held.",
        "start": "When it starts, in its zone.",
        "minutes": "How long it lasts.",
        "first": "The date of the first meeting.",
        "link": "The online room, shown only to members.",
    },
}


def slug_of(title: str, domain: str) -> str:
    """Return a slug for a title in any script, short enough for UIDs under `domain`."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST_SLUG].strip("-") or "meeting"
    while len(slug) > 1 and not _fits(slug, domain):
        slug = slug[:-1].strip("-")
    return slug


def _fits(slug: str, domain: str) -> bool:
    try:
        require_uid_room(slug, domain)
    except Refused:
        return False
    return True


def machine_zone() -> str:
    """Return this machine's time zone, or Europe/London where it has none of a place."""
    with suppress(OSError):
        _, found, name = str(Path("/etc/localtime").resolve()).partition("/zoneinfo/")
        if found and "/" in name and not name.startswith("Etc/") and is_known_zone(name):
            return name
    return "Europe/London"


def next_meetings(series: Series, now: datetime, *, count: int = 3) -> list[datetime]:
    """Return the starts, in UTC, of the next meetings; fewer if the rule ends."""
    starts = (series.starts_on(day) for day in series.dates(max(series.first, now.date())))
    return list(islice((start for start in starts if start > now), count))


def first_date(values: Values, since: date) -> date:
    """Return the first date of the rule of [[series]] from `since` on. Raises Problem if there is none."""
    (series,) = check_values(values).series
    day = next(series.dates(since), None)
    if day is None:
        raise Problem(f"the rule has no date from {since} on; give another rule or date")
    return day


def relay_url(host: str, port: int, user: str, password: str) -> str:
    """Return the [mail] transport for a relay; the parts are checked when the settings are."""
    return f"{'smtps' if port == TLS_PORT else 'smtp'}://{_server(host, port, user, password)}"


def imap_url(host: str, port: int, user: str, password: str) -> str:
    """Return the [inbox] imap for a mailbox; the parts are checked when the settings are."""
    return f"{'imap' if port == STARTTLS_PORT else 'imaps'}://{_server(host, port, user, password)}/INBOX"


def _server(host: str, port: int, user: str, password: str) -> str:
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"{login}{shown}:{port}"


def starttls_for(host: str) -> str:
    """Return the [mail] starttls for a relay: encryption is required unless it is on this machine."""
    return "auto" if is_loopback(host.strip("[]")) else "require"


async def check_database(settings: Settings) -> None:
    """Check that the database can be reached, or that its file can be made. Raises Problem."""
    database = Database(settings.database.url)
    try:
        if database.path:
            _require_writable(database.path)
            return
        async with asyncio.timeout(10), database.read():
            pass
    except TimeoutError:
        raise Problem("the database does not answer within 10 seconds; check host and port") from None
    except OUTAGES as error:
        raise Problem(f"the database cannot be used: {outage_of(error)}") from None
    finally:
        await database.close()


def _require_writable(path: Path) -> None:
    """Raise Problem if neither the file nor the folders above it can be made and written."""
    if path.is_dir():
        raise Problem(f"{path} is a folder; give the path of a file in it")
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    if place != path and not place.is_dir():
        raise Problem(f"{place} is not a folder; give another path")
    if not os.access(place, os.W_OK if place == path else os.W_OK | os.X_OK):
        raise Problem(f"{place} cannot be written by this user; change its owner or give another path")


def check_port(settings: Settings) -> None:
    """Check that the pages' port is free. Raises Problem."""
    host, port = settings.web.host, settings.web.port
    listen(host, port, f"{host} port {port}", remedy="choose another port").close()


async def check_relay(settings: Settings) -> None:
    """Connect, encrypt and log in as for sending. Raises Problem."""
    await (await make_transport(settings).connect()).close()


async def check_inbox(settings: Settings) -> None:
    """Log in to the mailbox, or listen where mail comes in for a moment. Raises Problem."""
    if settings.inbox.imap:
        await check_mailbox(settings)
    elif listener := inbox_listener(settings):
        place = listener.getsockname()
        listener.close()
        if isinstance(place, str):  # a socket in the file system stays there
            Path(place).unlink()


async def send_test_mail(settings: Settings, recipient: str, *, now: datetime) -> None:
    """Send one mail to `recipient`. Raises Problem if the relay does not accept it."""
    community = settings.community
    sender, to = ascii_domain(community.address), ascii_domain(recipient)
    if not (sender + to).isascii():
        raise Problem(
            "a test mail needs addresses with plain letters before the @; give another, or - for none"
        )
    message = EmailMessage(policy=policy.SMTP.clone(cte_type="7bit"))
    message["From"] = formataddr((community.name, sender))
    message["To"] = to
    message["Subject"] = f"Test mail of {community.name}"
    message["Date"] = format_datetime(now)
    message["Message-ID"] = make_msgid(domain=community.domain)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(
        f"This is the test mail of `third-thursday setup` for {community.name}.\n\n"
        "If it is in your inbox and not in your spam folder, mail is set up correctly.\n"
    )
    envelope = Envelope(
        sender=sender, recipient=to, pieces=[message.as_bytes()], envelope_id=message["Message-ID"]
    )
    connection = await make_transport(settings).connect()
    try:
        outcome = await connection.send(envelope, pipeline=_OneMessage())
    finally:
        await connection.close()
    if outcome.verdict is not Verdict.SENT:
        raise Problem(f"the test mail was not accepted: {outcome.reason}")


class _OneMessage:
    """A send pipeline of a single message."""

    next_envelope = None

    async def before_final_dot(self) -> None:
        """There is no message before it to wait for."""

    def check_deadline(self) -> None:
        """It has no deadline."""

    def advance(self) -> None:
        """No message follows."""


def settings_text(values: Values) -> str:
    """Return the settings file with those of `values` that differ from the defaults."""
    defaults = read_file(bundled("config/third-thursday.toml"))
    parts = [HEAD.format(name=values["community"]["name"])]
    for section in defaults:
        table = values.get(section, {})
        if isinstance(table, list):
            parts += [_section(f"[[{section}]]", section, entry) for entry in table]
            if section == "series":
                parts.append(ANOTHER_SERIES)
            continue
        different = {key: value for key, value in table.items() if defaults[section][key] != value}
        if different:
            parts.append(_section(f"[{section}]", section, different))
    text = "\n".join(parts)
    # What is written must be read as what was answered.
    assert check_values(tomllib.loads(text)) == check_values(values)
    return text


def _section(head: str, section: str, table: Values) -> str:
    lines = [head]
    for key, value in table.items():
        if comment := COMMENTS.get(section, {}).get(key):
            lines.append(f"# {comment}")
        lines.append(f"{key} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def holds_secret(values: Values) -> bool:
    """Return whether a password or key is among the values."""
    places = (("mail", "transport"), ("database", "url"), ("inbox", "imap"))
    urls = [values.get(section, {}).get(key, "") for section, key in places]
    return bool(values.get("security")) or any("@" in url or "password=" in url for url in urls)


def require_place_for(path: Path) -> None:
    """Raise Problem if the settings file cannot be written at `path`."""
    if path.is_dir():
        raise Problem(f"{path} is a folder; name a file with --file")
    if not path.parent.is_dir():
        raise Problem(f"{path.parent} is not a folder; make it first, or name another place with --file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise Problem(f"{path.parent} cannot be written by this user; name another place with --file")


def write_settings(path: Path, text: str, *, private: bool, replace: bool) -> None:
    """Write the settings file completely or not at all; only its owner can read it if it is `private`.

    Raises Problem if it cannot be written, or exists and is not to be replaced.
    """
    path = path.resolve()  # a link stays a link
    draft = draft_name(path)
    try:
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if private else 0o644)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            path.hardlink_to(draft)  # unlike a rename, it replaces nothing
    except FileExistsError:
        raise Problem(f"{path} exists by now; nothing was written") from None
    except OSError as error:
        raise Problem(f"{path} cannot be written: {error.strerror}; name another place with --file") from None
    finally:
        draft.unlink(missing_ok=True)
