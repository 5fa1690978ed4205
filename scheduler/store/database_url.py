"""Database addresses: a SQLite file, or a PostgreSQL server with libpq's connection parameters."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from sqlalchemy import make_url
from sqlalchemy.engine import URL

from scheduler.domain.errors import SettingsProblem

BUSY_SECONDS = 30
"""How long a SQLite transaction waits for another one's end, unless the address says otherwise."""

CONNECT_SECONDS = 10
"""How long connecting to PostgreSQL may take, unless the address says otherwise."""

# libpq's parameters that asyncpg takes in an address. It would send all others to the server as settings.
_PASSED_ON = frozenset(
    {
        "application_name",
        "host",
        "krbsrvname",
        "options",
        "passfile",
        "port",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
        "target_session_attrs",
    }
)
_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Parameters of which asyncpg does what one value asks for, and cannot do otherwise.
_FIXED = {
    "channel_binding": ("disable", "prefer"),
    "client_encoding": ("utf8", "utf-8", "auto"),
    "fallback_application_name": None,
    "gssencmode": ("disable", "prefer"),
    "keepalives": None,
    "keepalives_count": None,
    "keepalives_idle": None,
    "keepalives_interval": None,
    "sslcompression": ("0",),
    "sslsni": ("1",),
}
_ACCEPTED_PARAMETERS = sorted({*_PASSED_ON, *_FIXED, "connect_timeout", "dbname", "password", "user"})


def parse_url(address: str) -> URL:
    """Return the engine's URL for `sqlite:///PATH[?timeout=SECONDS]` or `postgresql://…`.

    The parameters of a PostgreSQL URL are those that asyncpg takes, and `connect_timeout`; its password stands in no
    other place than the URL's own. Raises SettingsProblem, which names no value that may be secret.
    """
    scheme, _, rest = address.partition("://")
    if scheme == "sqlite" and re.fullmatch(r"/[^?#]+(\?timeout=[0-9]{1,4})?", rest):
        url = make_url(address)
        query = {"timeout": str(BUSY_SECONDS), **url.query}
        return url.set(drivername="sqlite+aiosqlite", query=query)
    if scheme in ("postgresql", "postgres"):
        return _parse_postgresql(f"postgresql://{rest}")
    raise _problem("is not a database's address")


def driver_address(url: URL) -> str:
    """The address of a PostgreSQL database as asyncpg takes it, password and all."""
    login = ":".join(quote(part, safe="") for part in (url.username, url.password) if part is not None)
    place = f"{url.host or ''}{f':{url.port}' if url.port else ''}"
    if url.host and ":" in url.host:
        place = f"[{url.host}]{f':{url.port}' if url.port else ''}"
    query = {name: value for name, value in url.query.items() if name != "connect_timeout"}
    return (
        f"postgresql://{login}{'@' if login else ''}{place}/{quote(url.database or '', safe='')}"
        f"{'?' if query else ''}{urlencode(query, safe='/,:', quote_via=quote)}"
    )


def connect_seconds(url: URL) -> float:
    """How long connecting to a PostgreSQL database may take."""
    return float(str(url.query.get("connect_timeout", CONNECT_SECONDS)))


def certificate_files(url: URL) -> list[Path]:
    """The files that the parameters of a PostgreSQL URL name for TLS."""
    names = ("sslcert", "sslkey", "sslrootcert", "sslcrl")
    return [Path(str(url.query[name])) for name in names if url.query.get(name) not in (None, "", "system")]


def shown_address(url: URL) -> str:
    """A PostgreSQL database's address for people: server and name, no password and no parameters."""
    place = url.host or str(url.query.get("host", ""))
    port = url.port or url.query.get("port", "")
    user = f"{quote(url.username, safe='')}@" if url.username else ""
    return f"postgresql://{user}{place}{f':{port}' if port else ''}/{url.database or ''}"


def _parse_postgresql(address: str) -> URL:
    try:
        parts = urlsplit(address)
        pairs = parse_qsl(
            parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), errors="strict"
        )
        found = _parameters(pairs)
        login, _, place = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        hosts, ports = _hosts(place)
        database = unquote(parts.path.removeprefix("/"), errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise _problem("cannot be read; write special characters as %XX") from None
    if parts.fragment:
        raise _problem("holds a #; write it as %23")
    if (hosts and "host" in found) or (ports and "port" in found):
        raise _problem("names the server twice, in the address and as a parameter; leave one out")
    query = {name: found.pop(name) for name in list(found) if name in _PASSED_ON | {"connect_timeout"}}
    if len(hosts) > 1:
        query["host"] = ",".join(hosts)
        if any(ports):
            query["port"] = ",".join(port or "5432" for port in ports)
    return URL.create(
        "postgresql+asyncpg",
        username=found.pop("user", unquote(user)) or None,
        password=found.pop("password", unquote(password)) or None,
        host=hosts[0] if len(hosts) == 1 else None,
        port=int(ports[0]) if len(hosts) == 1 and ports[0] else None,
        database=found.pop("dbname", database) or None,
        query=query,
    )


def _hosts(place: str) -> tuple[list[str], list[str]]:
    """The hosts of an address and their ports; an address may name several, joined by commas."""
    hosts, ports = [], []
    for one in filter(None, place.split(",")):
        found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+(?:%25\w+)?)\]|([^\[\]:@/]*))(?::([0-9]{1,5}))?", one)
        if not found or int(found[3] or 1) > 65535:
            raise ValueError(place)
        hosts.append(found[1] or unquote(found[2]))
        ports.append(found[3] or "")
    return hosts, ports


def _parameters(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The parameters by libpq's names, checked. Raises SettingsProblem that names one which is not accepted."""
    found: dict[str, str] = {}
    for name, value in pairs:
        # What asyncpg and SQLAlchemy call it.
        name = {"ssl": "sslmode", "database": "dbname"}.get(name, name)
        if name == "sslmode":
            value = {"true": "require", "false": "disable"}.get(value.casefold(), value)
        if name not in _ACCEPTED_PARAMETERS:
            raise _problem(
                f"unknown parameter '{_printable(name)}'; accepted are {', '.join(_ACCEPTED_PARAMETERS)}"
            )
        if name in found:
            raise _problem(f"names the parameter '{name}' twice; leave one out")
        found[name] = value
    _check(found)
    return {name: value for name, value in found.items() if name not in _FIXED}


def _check(found: Mapping[str, str]) -> None:
    if (mode := found.get("sslmode")) is not None and mode not in _MODES:
        raise _problem(f"sslmode={_printable(mode)} is not accepted; use one of {', '.join(_MODES)}")
    for name, values in _FIXED.items():
        if values and (value := found.get(name, values[0])).casefold() not in values:
            raise _problem(
                f"{name}={_printable(value)} cannot be done here; use {name}={values[0]} or leave it out"
            )
    if not re.fullmatch(r"[1-9][0-9]{0,3}", found.get("connect_timeout", "1")):
        raise _problem("connect_timeout is not accepted; give whole seconds from 1 to 9999")
    if not re.fullmatch(r"([0-9]{1,5}(,|$))*", found.get("port", "")):
        raise _problem("port is not accepted; give a whole number from 1 to 65535")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:40])


def _problem(words: str) -> SettingsProblem:
    return SettingsProblem(f"url {words}")
