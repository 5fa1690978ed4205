"""Load the settings: read them once, check them, and refuse wrong ones in one line.

That line names file or variable, section, key, the reason, and what is accepted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from scheduler.bootstrap.settings_schema import (
    BackupTable,
    ConvenorsTable,
    DatabaseTable,
    DkimTable,
    InboxTable,
    MailTable,
    MembershipTable,
    SecurityTable,
    Table,
    Tables,
    WatchTable,
    WebTable,
    is_array,
    table_of,
)
from scheduler.bootstrap.settings_sources import (
    Place,
    Sources,
    Values,
    bundled,
    nearest,
    read_file,
    read_sources,
    settings_files,
    variable,
)
from scheduler.delivery.receive.places import is_local, parse_imap
from scheduler.delivery.send.transport import SmtpAddress
from scheduler.domain.address import ascii_domain, is_loopback, require_address
from scheduler.domain.calendar import require_uid_room
from scheduler.domain.community import Community, Inbox
from scheduler.domain.errors import Refused, SettingsProblem
from scheduler.domain.occurrence import Series
from scheduler.domain.palette import palette_of
from scheduler.domain.policy import ONCE, Policy
from scheduler.domain.token import LONGEST_TAG
from scheduler.service.retention import Retention

LONGEST_LOCAL_PART = 64
"""The longest part of an address before the @ (RFC 5321 section 4.5.3.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of an installation. Its repr contains no secrets."""

    community: Community
    logo: str
    database: DatabaseTable
    mail: MailTable
    inbox: InboxTable
    dkim: DkimTable
    web: WebTable
    watch: WatchTable
    security: SecurityTable
    backup: BackupTable
    membership: MembershipTable
    convenors: ConvenorsTable
    retention: Retention
    series: tuple[Series, ...]
    policies: tuple[Policy, ...]


def load_settings(config: Path | None, environment: Mapping[str, str]) -> Settings:
    """Read the defaults, then `config`, then `environment`; later values override earlier ones.

    Raises SettingsProblem for the first wrong value or unknown key: one line with the file or variable, section, key,
    what is wrong, and what is accepted.
    """
    files = [bundled("config/third-thursday.toml"), *([config] if config else [])]
    kinds = {
        name: {key: field.annotation for key, field in table_of(section).model_fields.items()}
        for name, section in Tables.model_fields.items()
        if not is_array(section)
    }
    return _settings_from(read_sources(files, environment, kinds=kinds))


def check_values(values: Values) -> Settings:
    """Return the settings of a file with these values. Raises SettingsProblem, which names no file."""
    defaults = bundled("config/third-thursday.toml")
    return _settings_from(Sources(((str(defaults), read_file(defaults)), ("", values))))


def _settings_from(sources: Sources) -> Settings:
    try:
        tables = Tables.model_validate(sources.merged())
    except ValidationError as error:
        raise first_problem(error, sources) from None
    _check_series(tables, sources)
    _check_policies(tables, sources)
    _check_reach(tables, sources)
    _check_dkim(tables, sources)
    _check_inbox(tables, sources)
    return Settings(
        community=Community(
            **tables.community.model_dump(exclude={"accent", "logo"}),
            palette=palette_of(tables.community.accent),
            inbox=_inbox_of(tables),
            base_url=tables.web.base_url or f"http://127.0.0.1:{tables.web.port}",
        ),
        logo=tables.community.logo,
        database=tables.database,
        mail=tables.mail,
        inbox=tables.inbox,
        dkim=tables.dkim,
        web=tables.web,
        watch=tables.watch,
        security=tables.security,
        backup=tables.backup,
        membership=tables.membership,
        convenors=tables.convenors,
        retention=tables.privacy.retention(),
        series=tuple(table.series() for table in tables.series),
        policies=tuple(table.policy() for table in tables.policies),
    )


def unnamed_settings(folder: Path) -> list[Path]:
    """Return the settings files in a folder, for a warning if --config names none."""
    return settings_files(folder, Tables.model_fields)


def _check_series(tables: Tables, sources: Sources) -> None:
    seen: set[str] = set()
    for number, series in enumerate(tables.series):
        place: Place = ("series", number, "slug")
        if series.slug in seen:
            raise settings_problem(
                sources, place, "another series has this slug", accepted="a slug of its own"
            )
        seen.add(series.slug)
        try:
            require_uid_room(series.slug, tables.community.domain)
        except Refused as refused:
            raise settings_problem(
                sources, _highest(sources, place, ("community", "domain")), str(refused)
            ) from None


def _check_policies(tables: Tables, sources: Sources) -> None:
    slugs = [series.slug for series in tables.series]
    seen: set[str] = set()
    once: dict[tuple[str, str], str] = {}
    for number, policy in enumerate(tables.policies):
        if policy.slug in seen:
            raise settings_problem(
                sources,
                ("policies", number, "slug"),
                "another policy has this slug",
                accepted="a slug of its own",
            )
        seen.add(policy.slug)
        chosen = policy.chosen_series
        if unknown := sorted((chosen or frozenset()) - set(slugs)):
            raise settings_problem(
                sources,
                ("policies", number, "series"),
                f"there is no series '{unknown[0]}'",
                accepted=", ".join(slugs),
            )
        for slug in slugs if chosen is None else sorted(chosen):
            if policy.kind not in ONCE:
                continue
            if earlier := once.get((policy.kind, slug)):
                does = "invites to" if policy.kind == "invitation" else "follows up"
                raise settings_problem(
                    sources,
                    ("policies", number, "kind"),
                    f"'{earlier}' already {does} series '{slug}'",
                    accepted=f"one {policy.kind} for each series, and any number of reminders",
                )
            once[policy.kind, slug] = policy.slug


def _check_reach(tables: Tables, sources: Sources) -> None:
    """Check that other machines can work with this one: a shared key, and links that members can open."""
    if tables.database.is_shared and tables.security.key is None:
        raise settings_problem(
            sources,
            _highest(sources, ("database", "url"), ("security", "key")),
            "PostgreSQL needs a [security] key, the same on every machine",
            accepted=f"{variable('security', 'key')} from `openssl rand -hex 32`",
        )
    relay, base_url = tables.mail.address, tables.web.base_url
    if isinstance(relay, SmtpAddress) and not relay.is_loopback and is_loopback(_host(base_url)):
        raise settings_problem(
            sources,
            _highest(sources, ("mail", "transport"), ("web", "base_url")),
            "mail would be sent with links that members cannot open: [web] base_url is "
            f"'{base_url or f'http://127.0.0.1:{tables.web.port}'}'",
            accepted=f"{variable('web', 'base_url')} as members reach it, or a relay on this machine",
        )


def _check_dkim(tables: Tables, sources: Sources) -> None:
    if bool(tables.dkim.key) != bool(tables.dkim.selector):
        raise settings_problem(
            sources,
            _highest(sources, ("dkim", "key"), ("dkim", "selector")),
            "a signature needs both a key and a selector",
            accepted="both, or neither",
        )


def _inbox_of(tables: Tables) -> Inbox | None:
    """Return where mail comes back to: the addresses of a domain, a mailbox, or nowhere."""
    inbox = tables.inbox
    if inbox.domain:
        return Inbox(domain=inbox.domain)
    if not inbox.imap and not inbox.lmtp:
        return None
    user = parse_imap(inbox.imap).user if inbox.imap else ""
    try:
        # At most providers the user is the mailbox's address.
        from_user = require_address(user) if user else ""
    except Refused:
        from_user = ""
    mailbox, _, domain = (inbox.address or from_user or tables.community.address).rpartition("@")
    return Inbox(
        domain=ascii_domain(f"x@{domain}").rpartition("@")[2].lower(),
        mailbox=mailbox,
        plus_addressing=inbox.plus_addressing,
    )


def _check_inbox(tables: Tables, sources: Sources) -> None:
    inbox = tables.inbox
    oauth = [inbox.oauth_client_id, inbox.oauth_refresh_token, inbox.oauth_token_url]
    if any(oauth) and not all(oauth):
        raise settings_problem(
            sources,
            _highest(
                sources, *(("inbox", f"oauth_{key}") for key in ("client_id", "refresh_token", "token_url"))
            ),
            "a login by OAuth needs a client_id, a refresh_token and a token_url",
            accepted="all three, or none",
        )
    if inbox.imap and not any(oauth) and not parse_imap(inbox.imap).password:
        raise settings_problem(
            sources,
            ("inbox", "imap"),
            "the password is missing",
            accepted="imaps://USER:PASSWORD@HOST/INBOX, or the oauth settings",
        )
    if inbox.lmtp and not inbox.lmtp_from_anywhere and not is_local(inbox.lmtp):
        raise settings_problem(
            sources,
            ("inbox", "lmtp"),
            "other machines could deliver mail there without a login",
            accepted="127.0.0.1:PORT, unix:PATH, or [inbox] lmtp_from_anywhere = true",
        )
    found = _inbox_of(tables)
    if (
        found
        and found.mailbox
        and found.plus_addressing
        and len(found.mailbox) + LONGEST_TAG > LONGEST_LOCAL_PART
    ):
        raise settings_problem(
            sources,
            ("inbox", "plus_addressing"),
            f"the name of the mailbox '{found.mailbox}' is too long for plus-addressing",
            accepted=f"a name of at most {LONGEST_LOCAL_PART - LONGEST_TAG} characters, or false",
        )


def _highest(sources: Sources, *places: Place) -> Place:
    """Return the place with the highest priority among values that conflict: that is the one to correct."""
    return max(places, key=sources.rank)


def _host(base_url: str) -> str:
    return urlsplit(base_url).hostname or "localhost"


_LONGEST_SHOWN = 60


def settings_problem(sources: Sources, place: Place, reason: str, *, accepted: str = "") -> SettingsProblem:
    """Return the problem at `place`."""
    parts = [sources.name(place) if place else "", _where(place, sources.merged()), reason]
    line = ": ".join(part for part in parts if part) + (f"; accepted: {accepted}" if accepted else "")
    # A quoted key may contain line breaks or control characters.
    return SettingsProblem("".join(char if char.isprintable() else "?" for char in line))


def first_problem(error: ValidationError, sources: Sources) -> SettingsProblem:
    """Return the first problem. Unknown keys come first, because a misspelt key is also reported as missing."""
    details = min(error.errors(include_url=False), key=lambda entry: entry["type"] != "extra_forbidden")
    place: Place = details["loc"]
    table, field = _known(place)
    accepted = (field.description or "") if field else ""
    match details["type"]:
        case "extra_forbidden":
            return _unknown(sources, place, table)
        case "missing":
            return settings_problem(sources, place, "is missing", accepted=accepted)
        case "value_error":
            reason = _reason(details, place, sources.merged())
            return settings_problem(
                sources, place, reason, accepted="" if "accepted are" in reason else accepted
            )
        case "too_short":
            return settings_problem(sources, place, "there is none", accepted="one or more")
        case "list_type" if len(place) == 1:
            return settings_problem(sources, place, "is not an array of tables", accepted=f"[[{place[0]}]]")
        case _ if not field or field.description is None:
            return settings_problem(
                sources, place, f"{_shown(details['input'])} is not accepted", accepted="a table of keys"
            )
    shown = _shown(details["input"]) if field.repr else "its value"
    return settings_problem(sources, place, f"{shown} is not accepted", accepted=accepted)


def _where(place: Place, values: Values) -> str:
    match place:
        case (str(section), int(number), *key):
            slug = _slug(values, place)
            entry = f"[[{section}]] number {number + 1}" + (f" '{slug}'" if slug else "")
            return ", ".join([entry, *map(str, key)])
        case (section,):
            return f"[[{section}]]" if _is_array(str(section)) else f"[{section}]"
        case (section, *key):
            return f"[{section}] " + ".".join(map(str, key))
    return ""


def _slug(values: Values, place: Place) -> str:
    entry = values[str(place[0])][place[1]]
    slug = entry.get("slug") if isinstance(entry, dict) else None
    return slug[:_LONGEST_SHOWN] if isinstance(slug, str) else ""


def _reason(details: Mapping[str, Any], place: Place, values: Values) -> str:
    """Return the message of a check without the key's name, which the line already has."""
    reason = str(details["ctx"]["error"])
    names = [str(place[-1]), f"{place[0]}.{place[-1]}"]
    if len(place) == 2 and isinstance(place[1], int):
        slug = _slug(values, place)
        names = [f"series {slug}", f"policy {slug}"]
    for name in names:
        reason = reason.removeprefix(f"{name}: ").removeprefix(f"{name} ")
    return reason


def _unknown(sources: Sources, place: Place, table: type[Table]) -> SettingsProblem:
    key, known = str(place[-1]), list(table.model_fields)
    if table is not Tables:
        return settings_problem(
            sources, place, f"unknown key{nearest(key, known)}", accepted=", ".join(known)
        )
    homes = [
        f"[{name}]" for name, field in Tables.model_fields.items() if key in table_of(field).model_fields
    ]
    hint = f"; '{key}' belongs in {' or '.join(homes)}" if homes else nearest(key, known)
    return settings_problem(sources, place, f"unknown section{hint}", accepted=", ".join(known))


def _known(place: Place) -> tuple[type[Table], FieldInfo | None]:
    """Return the table that contains `place`, and its field, or None if the key is unknown."""
    section, *rest = place
    if not rest:
        return Tables, Tables.model_fields.get(str(section))
    table = table_of(Tables.model_fields[str(section)])
    return table, table.model_fields.get(str(rest[-1]))


def _is_array(section: str) -> bool:
    return section in Tables.model_fields and is_array(Tables.model_fields[section])


def _shown(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f"'{value}'" if len(value) <= _LONGEST_SHOWN else f"'{value[:_LONGEST_SHOWN]}…'"
        case date() | time():
            return value.isoformat()
        case dict():
            return "a table"
        case list():
            return "an array"
    return str(value)
