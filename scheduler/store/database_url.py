"""Database URLs: a SQLite file, or a PostgreSQL server with libpq's connection parameters."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from sqlalchemy import make_url
from sqlalchemy.engine import URL

from scheduler.domain.errors import SettingsProblem

BUSY_SECONDS = 30
"""The number of seconds a SQLite transaction waits for another one to end, unless the URL sets `timeout`."""

CONNECT_SECONDS = 10
"""The number of seconds connecting to PostgreSQL may take, unless the URL sets `connect_timeout`."""

# libpq's parameters that asyncpg reads from a URL. It would send any other to the server as a setting.
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
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Parameters that asyncpg does not know, with the values that describe what it does anyway (None: any value).
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

    The query of a PostgreSQL URL keeps only the parameters that asyncpg reads, and `connect_timeout`; a password is
    never left in the query. Raises SettingsProblem, whose message contains no value that may be secret.
    """
    scheme, _, rest = address.partition("://")
    if scheme == "sqlite" and re.fullmatch(r"/[^?#]+(\?timeout=[0-9]{1,4})?", rest):
        url = make_url(address)
        query = {"timeout": str(BUSY_SECONDS), **url.query}
        return url.set(drivername="sqlite+aiosqlite", query=query)
    if scheme in ("postgresql", "postgres"):
        return _parse_postgresql(f"postgresql://{rest}")
    raise _problem("is not a database URL")


def driver_address(url: URL) -> str:
    """Return the URL of a PostgreSQL database for asyncpg, including the password."""
    login = ":".join(quote(part, safe="") for part in (url.username, url.password) if part is not None)
    server = f"{url.host or ''}{f':{url.port}' if url.port else ''}"
    if url.host and ":" in url.host:
        server = f"[{url.host}]{f':{url.port}' if url.port else ''}"
    query = {name: value for name, value in url.query.items() if name != "connect_timeout"}
    return (
        f"postgresql://{login}{'@' if login else ''}{server}/{quote(url.database or '', safe='')}"
        f"{'?' if query else ''}{urlencode(query, safe='/,:', quote_via=quote)}"
    )


def connect_seconds(url: URL) -> float:
    """Return how many seconds connecting to a PostgreSQL database may take."""
    return float(str(url.query.get("connect_timeout", CONNECT_SECONDS)))


def certificate_files(url: URL) -> list[Path]:
    """Return the TLS certificate and key files that a PostgreSQL URL names."""
    names = ("sslcert", "sslkey", "sslrootcert", "sslcrl")
    return [Path(str(url.query[name])) for name in names if url.query.get(name) not in (None, "", "system")]


def shown_address(url: URL) -> str:
    """Return a PostgreSQL URL to show to people: user, server and name; no password, no parameters."""
    host = url.host or str(url.query.get("host", ""))
    port = url.port or url.query.get("port", "")
    user = f"{quote(url.username, safe='')}@" if url.username else ""
    return f"postgresql://{user}{host}{f':{port}' if port else ''}/{url.database or ''}"


def _parse_postgresql(address: str) -> URL:
    try:
        parts = urlsplit(address)
        pairs = parse_qsl(
            parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), errors="strict"
        )
        parameters = _parameters(pairs)
        login, _, servers = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        hosts, ports = _hosts(servers)
        database = unquote(parts.path.removeprefix("/"), errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise _problem("cannot be read; write special characters as %XX") from None
    if parts.fragment:
        raise _problem("contains a #; write it as %23")
    if (hosts and "host" in parameters) or (ports and "port" in parameters):
        raise _problem("names the server twice, before the path and as a parameter; leave one out")
    query = {
        name: parameters.pop(name) for name in list(parameters) if name in _PASSED_ON | {"connect_timeout"}
    }
    if len(hosts) > 1:
        query["host"] = ",".join(hosts)
        if any(ports):
            query["port"] = ",".join(port or "5432" for port in ports)
    return URL.create(
        "postgresql+asyncpg",
        username=parameters.pop("user", unquote(user)) or None,
        password=parameters.pop("password", unquote(password)) or None,
        host=hosts[0] if len(hosts) == 1 else None,
        port=int(ports[0]) if len(hosts) == 1 and ports[0] else None,
        database=parameters.pop("dbname", database) or None,
        query=query,
    )


def _hosts(servers: str) -> tuple[list[str], list[str]]:
    """Split the servers of a URL, separated by commas, into hosts and ports."""
    hosts, ports = [], []
    for server in filter(None, servers.split(",")):
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+(?:%25\w+)?)\]|([^\[\]:@/]*))(?::([0-9]{1,5}))?", server)
        if not match or int(match[3] or 1) > 65535:
            raise ValueError(servers)
        hosts.append(match[1] or unquote(match[2]))
        ports.append(match[3] or "")
    return hosts, ports


def _parameters(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the checked parameters by libpq's names. Raises SettingsProblem for one that is not accepted."""
    parameters: dict[str, str] = {}
    for name, value in pairs:
        # asyncpg and SQLAlchemy have other names for these two.
        name = {"ssl": "sslmode", "database": "dbname"}.get(name, name)
        if name == "sslmode":
            value = {"true": "require", "false": "disable"}.get(value.casefold(), value)
        if name not in _ACCEPTED_PARAMETERS:
            raise _problem(
                f"unknown parameter '{_printable(name)}'; accepted are {', '.join(_ACCEPTED_PARAMETERS)}"
            )
        if name in parameters:
            raise _problem(f"names the parameter '{name}' twice; leave one out")
        parameters[name] = value
    _check(parameters)
    return {name: value for name, value in parameters.items() if name not in _FIXED}


def _check(parameters: Mapping[str, str]) -> None:
    if (mode := parameters.get("sslmode")) is not None and mode not in _SSL_MODES:
        raise _problem(f"sslmode={_printable(mode)} is not accepted; use one of {', '.join(_SSL_MODES)}")
    for name, values in _FIXED.items():
        if values and (value := parameters.get(name, values[0])).casefold() not in values:
            raise _problem(
                f"{name}={_printable(value)} is not supported; use {name}={values[0]} or leave it out"
            )
    if not re.fullmatch(r"[1-9][0-9]{0,3}", parameters.get("connect_timeout", "1")):
        raise _problem("connect_timeout is not accepted; give whole seconds from 1 to 9999")
    if not re.fullmatch(r"([0-9]{1,5}(,|$))*", parameters.get("port", "")):
        raise _problem("port is not accepted; give a whole number from 1 to 65535")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:40])


def _problem(words: str) -> SettingsProblem:
    return SettingsProblem(f"url {words}")
