"""The settings' tables and keys, and the values that each key accepts."""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date, time, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from annotated_types import Ge, Le
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)
from pydantic.fields import FieldInfo

from scheduler.delivery.receive.places import parse_imap, require_lmtp
from scheduler.delivery.send.transport import MaildirAddress, TransportAddress, parse_transport
from scheduler.domain.address import is_loopback, require_address, require_url
from scheduler.domain.clock import parse_duration
from scheduler.domain.errors import Problem
from scheduler.domain.locale import require_locale
from scheduler.domain.occurrence import Series, require_slug
from scheduler.domain.palette import require_accent
from scheduler.domain.policy import Kind, Policy
from scheduler.domain.text import require_line, require_prose
from scheduler.domain.translation import LANGUAGES, shipped_language
from scheduler.domain.visitor import Networks
from scheduler.domain.weekly_report import WeeklyTime
from scheduler.domain.zone import require_zone
from scheduler.service.advance_notices import LONGEST_PREFLIGHT
from scheduler.service.retention import Retention
from scheduler.store.age_files import parse_recipient
from scheduler.store.database import parse_url

DOMAIN = re.compile(r"(?=.{1,190}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
MAIL_DOMAIN = re.compile(rf"(?=[^.]+\.){DOMAIN.pattern}")
SELECTOR = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9-]{1,63})*")
_ORIGIN = r"https?://[A-Za-z0-9.-]+(?::\d{1,5})?"
ORIGINS = re.compile(rf"\*|{_ORIGIN}(?: {_ORIGIN})*")
HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]*")

# CSS Color Module Level 4, section 6.1: the values of COLOR in RFC 7986.
CSS_COLORS = frozenset(
    """
    aliceblue antiquewhite aqua aquamarine azure beige bisque black blanchedalmond blue blueviolet brown burlywood
    cadetblue chartreuse chocolate coral cornflowerblue cornsilk crimson cyan darkblue darkcyan darkgoldenrod darkgray
    darkgreen darkgrey darkkhaki darkmagenta darkolivegreen darkorange darkorchid darkred darksalmon darkseagreen
    darkslateblue darkslategray darkslategrey darkturquoise darkviolet deeppink deepskyblue dimgray dimgrey dodgerblue
    firebrick floralwhite forestgreen fuchsia gainsboro ghostwhite gold goldenrod gray green greenyellow grey honeydew
    hotpink indianred indigo ivory khaki lavender lavenderblush lawngreen lemonchiffon lightblue lightcoral lightcyan
    lightgoldenrodyellow lightgray lightgreen lightgrey lightpink lightsalmon lightseagreen lightskyblue lightslategray
    lightslategrey lightsteelblue lightyellow lime limegreen linen magenta maroon mediumaquamarine mediumblue
    mediumorchid mediumpurple mediumseagreen mediumslateblue mediumspringgreen mediumturquoise mediumvioletred
    midnightblue mintcream mistyrose moccasin navajowhite navy oldlace olive olivedrab orange orangered orchid
    palegoldenrod palegreen paleturquoise palevioletred papayawhip peachpuff peru pink plum powderblue purple
    rebeccapurple red rosybrown royalblue saddlebrown salmon sandybrown seagreen seashell sienna silver skyblue
    slateblue slategray slategrey snow springgreen steelblue tan teal thistle tomato turquoise violet wheat white
    whitesmoke yellow yellowgreen
    """.split()
)


def checked_by(check: Callable[[str, str], str], *, empty: bool = False) -> AfterValidator:
    """Turn a check of the domain into one of a key; with `empty`, "" is accepted too."""

    def validate(value: str, info: ValidationInfo) -> str:
        try:
            return value if empty and not value else check(value, info.field_name or "")
        except Problem as problem:
            raise ValueError(problem) from None

    return AfterValidator(validate)


def _require_not_empty(value: str, what: str) -> str:
    if not value:
        raise ValueError(f"{what}: is empty")
    return value


def matching(pattern: re.Pattern[str]) -> Callable[[str, str], str]:
    def check(value: str, what: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{what}: '{value}' is not accepted")
        return value

    return check


def require_color(value: str, what: str) -> str:
    name = value.strip().lower()
    if name not in CSS_COLORS:
        near = get_close_matches(name, CSS_COLORS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{what}: '{value}' is not the name of a colour{hint}")
    return name


def require_language(value: str, what: str) -> str:
    language = shipped_language(value)
    if language is None:
        raise ValueError(f"{what}: there are no words in '{value}'")
    return language


def require_database(value: str, what: str) -> str:
    parse_url(value)
    return value


def require_transport(value: str, what: str) -> str:
    parse_transport(value)
    return value


def require_imap(value: str, what: str) -> str:
    parse_imap(value)
    return value


def require_lmtp_place(value: str, what: str) -> str:
    return require_lmtp(value)


def require_secret_line(value: str, what: str) -> str:
    if not value.isprintable() or len(value) > LONGEST_SECRET:
        raise ValueError(f"{what}: its value is not one line of text")
    return value


def require_token_url(value: str, what: str) -> str:
    url = require_url(value, what)
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError(f"{what}: '{value}' is not encrypted")
    return url


def require_private_key(value: str, what: str) -> str:
    if not value.isprintable() and not value.lstrip().startswith("-----BEGIN"):
        raise ValueError(f"{what}: is neither a path nor PEM text")
    return value


def require_base_url(value: str, what: str) -> str:
    if "?" in value or "#" in value:
        raise ValueError(f"{what}: '{value}' must end with the host or a path")
    url = require_url(value, what).rstrip("/")
    if urlsplit(url).hostname in ("0.0.0.0", "::"):  # noqa: S104 - to refuse it
        raise ValueError(f"{what}: '{value}' is an address to listen on, not one that members can open")
    return url


def require_secret_url(value: str, what: str) -> str:
    """Check an address that may contain a secret token, which the error must not show."""
    try:
        return require_url(value, what)
    except Problem:
        raise ValueError(f"{what}: its value is not a web address") from None


def read_date(value: Any) -> Any:
    # Accept a quoted date, but not a date with a time.
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"'{value}' is not a date") from None
    return value


def _read_time(value: Any) -> Any:
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)\s*", value, re.ASCII)
        if not match:
            raise ValueError(f"'{value}' is not a time")
        return time(int(match["hour"]), int(match["minute"]))
    return value


def read_lead(value: Any) -> Any:
    try:
        return parse_duration(value) if isinstance(value, str) else value
    except Problem as problem:
        raise ValueError(problem) from None


def read_preflight(value: Any) -> Any:
    return None if value == "" else read_lead(value)


def read_weekly(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return WeeklyTime.parse(value) if value.strip() else None
    except Problem as problem:
        raise ValueError(problem) from None


def read_links(value: Any) -> Any:
    """Return the label and address of each link, in order."""
    if not isinstance(value, dict):
        return value
    links = []
    for label, url in value.items():
        try:
            label = _require_not_empty(
                require_line(label, "the label of a link", longest=LONGEST_LABEL), "the label of a link"
            )
            links.append((label, require_url(url if isinstance(url, str) else "", f"'{label}'")))
        except Problem as problem:
            raise ValueError(problem) from None
    return tuple(links)


def read_titles(value: Any) -> Any:
    """Return the title in each language, in the order of the languages."""
    if not isinstance(value, dict):
        return value
    titles = {}
    for tag, title in value.items():
        language = require_language(tag, "a title")
        if language in titles:
            raise ValueError(f"a title in {language} is given twice")
        try:
            text = require_line(title if isinstance(title, str) else "", f"the title in {language}")
            titles[language] = _require_not_empty(text, f"the title in {language}")
        except Problem as problem:
            raise ValueError(problem) from None
    return tuple(sorted(titles.items()))


def read_networks(value: Any) -> Any:
    """Return the networks in a list, or, from the environment, in a text separated by commas or spaces."""
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if not isinstance(value, list) or not all(isinstance(network, str) for network in value):
        return value
    try:
        Networks.of(value)
    except Problem as problem:
        raise ValueError(problem) from None
    return tuple(value)


def require_place(value: str, what: str) -> str:
    """Check an address and port to listen on."""
    host, _, port = value.rpartition(":")
    if not re.fullmatch(r"\[[0-9A-Fa-f:]+\]|[A-Za-z0-9][A-Za-z0-9._-]*", host) or not re.fullmatch(
        r"[0-9]{1,5}", port
    ):
        raise ValueError(f"{what}: '{value}' is not accepted")
    if not 0 < int(port) < 65536:
        raise ValueError(f"{what}: '{port}' is not a port")
    return value


def require_recipient(value: str, what: str) -> str:
    parse_recipient(value)
    return value


def require_scratch(value: str, what: str) -> str:
    if parse_url(value).get_backend_name() != "postgresql":
        raise ValueError(f"{what}: is not a PostgreSQL database")
    return value


def read_interval(value: Any) -> Any:
    """Parse a length of time, in which seconds are accepted too: `30s`."""
    if isinstance(value, str) and (match := re.fullmatch(r"\s*([0-9]{1,5})s\s*", value)):
        return timedelta(seconds=int(match[1]))
    return read_lead(value)


def read_key(value: Any) -> Any:
    """Decode hexadecimal or base64 (standard or URL-safe); "" is None."""
    if not isinstance(value, str) or not value:
        return None if value == "" else value
    try:
        key = bytes.fromhex(value)
    except ValueError:
        try:
            plain = value.rstrip("=").replace("-", "+").replace("_", "/")
            key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        except binascii.Error:
            raise ValueError("its value is neither hexadecimal nor base64") from None
    if len(key) < 32:
        raise ValueError(f"its value has {len(key)} octets")
    return key


Line = Annotated[str, checked_by(require_line), checked_by(_require_not_empty)]
Prose = Annotated[str, checked_by(require_prose)]
Slug = Annotated[str, checked_by(require_slug)]
Address = Annotated[str, checked_by(require_address)]
Zone = Annotated[str, checked_by(require_zone)]
OptionalUrl = Annotated[str, checked_by(require_url, empty=True)]
SecretUrl = Annotated[str, checked_by(require_secret_url, empty=True)]
WallTime = Annotated[time, BeforeValidator(_read_time)]

LONGEST_LABEL = 100
LONGEST_SECRET = 8_192

SLUG = "lower-case letters, digits and single hyphens"
LINE = "one line of text"
PROSE = "text"
ADDRESS = "an e-mail address, as name@example.org"
URL = 'an http or https address, as https://example.org/room, or ""'
LINKS = 'labels with web addresses, as { "Recordings" = "https://example.org/recordings" }, or {}'
TITLES = 'languages with titles, as { sv = "Samtal om vänlighet" }, or {}'
DAYS = "a whole number of days from 1 to 3650"
TIME = 'a time as "18:00"'


class Table(BaseModel):
    """A section of the file. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CommunityTable(Table):
    name: Line = Field(description=LINE)
    description: Prose = Field(description=PROSE)
    address: Address = Field(description=ADDRESS)
    reply_to: Address = Field(description=ADDRESS)
    domain: Annotated[str, checked_by(matching(DOMAIN))] = Field(
        description="a domain in lower case, as example.org"
    )
    website: OptionalUrl = Field(description=URL)
    links: Annotated[tuple[tuple[str, str], ...], BeforeValidator(read_links)] = Field(description=LINKS)
    locale: Annotated[str, checked_by(require_locale)] = Field(description="a language and country, as en-GB")
    language: Annotated[str, checked_by(require_language)] = Field(
        description=f"a language that there are words for: {', '.join(LANGUAGES)}"
    )
    color: Annotated[str, checked_by(require_color)] = Field(description="a CSS colour name, as teal")
    accent: Annotated[str, checked_by(require_accent)] = Field(description="a colour as #14605a")
    logo: Annotated[str, Field(description='the path of an SVG or PNG file, or ""')]


class DatabaseTable(Table):
    url: Annotated[str, checked_by(require_database)] = Field(
        repr=False, description="sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
    )

    @property
    def is_shared(self) -> bool:
        """Whether several machines can use it."""
        return not self.url.startswith("sqlite:")


class MailTable(Table):
    transport: Annotated[str, checked_by(require_transport)] = Field(
        repr=False, description="maildir:PATH, smtp://[USER:PASSWORD@]HOST[:PORT] or smtps://…"
    )
    starttls: Literal["auto", "require", "never"] = Field(description='"auto", "require" or "never"')
    connections: int = Field(ge=1, le=500, description="a whole number from 1 to 500")
    rate: float = Field(
        ge=0, allow_inf_nan=False, description="messages a second, 0 or more; 0 means no limit"
    )
    domain_rate: float = Field(
        ge=0, allow_inf_nan=False, description="messages a second, 0 or more; 0 means no limit"
    )
    domain_connections: int = Field(
        ge=0, le=500, description="a whole number from 0 to 500; 0 means no limit"
    )
    room_in_last_reminder: bool = Field(description="true or false")

    @property
    def address(self) -> TransportAddress:
        """The parsed `transport`."""
        return parse_transport(self.transport)

    @property
    def outbox(self) -> Path | None:
        """The Maildir that mail goes to; None if it goes to a mail server."""
        address = self.address
        return Path(address.path) if isinstance(address, MaildirAddress) else None


class InboxTable(Table):
    domain: Annotated[str, checked_by(matching(MAIL_DOMAIN), empty=True)] = Field(
        description='a domain in lower case, as bounces.example.org, or ""'
    )
    imap: Annotated[str, checked_by(require_imap, empty=True)] = Field(
        repr=False, description='imaps://USER:PASSWORD@HOST/INBOX, or ""'
    )
    address: Annotated[str, checked_by(require_address, empty=True)] = Field(
        description='an e-mail address, as meetings@example.org, or ""'
    )
    plus_addressing: bool = Field(description="true or false")
    oauth_client_id: Annotated[str, checked_by(require_line, empty=True)] = Field(
        description='one line of text, or ""'
    )
    oauth_client_secret: Annotated[str, checked_by(require_secret_line, empty=True)] = Field(
        repr=False, description='one line of text, or ""'
    )
    oauth_refresh_token: Annotated[str, checked_by(require_secret_line, empty=True)] = Field(
        repr=False, description='one line of text, or ""'
    )
    oauth_token_url: Annotated[str, checked_by(require_token_url, empty=True)] = Field(
        description='an https address, as https://oauth2.googleapis.com/token, or ""'
    )
    lmtp: Annotated[str, checked_by(require_lmtp_place, empty=True)] = Field(
        description='an address and port, as 127.0.0.1:2424, unix:PATH, or ""'
    )
    lmtp_from_anywhere: bool = Field(description="true or false")
    queue_megabytes: int = Field(ge=1, le=100_000, description="a whole number of megabytes from 1 to 100000")

    @property
    def queue_octets(self) -> int:
        """How many octets of messages may wait for review."""
        return self.queue_megabytes * 1024 * 1024


class DkimTable(Table):
    key: Annotated[str, checked_by(require_private_key, empty=True)] = Field(
        repr=False, description='the path of a PEM file, PEM text, or ""'
    )
    selector: Annotated[str, checked_by(matching(SELECTOR), empty=True)] = Field(
        description='letters, digits and hyphens, as third2026, or ""'
    )
    domain: Annotated[str, checked_by(matching(DOMAIN), empty=True)] = Field(
        description='a domain in lower case, as example.org, or ""'
    )


class WebTable(Table):
    host: Annotated[str, checked_by(matching(HOST))] = Field(
        description="an IP address or a name, as 127.0.0.1"
    )
    port: int = Field(ge=1, le=65535, description="a whole number from 1 to 65535")
    base_url: Annotated[str, checked_by(require_base_url, empty=True)] = Field(
        description='an http or https address, as https://meet.example.org, or ""'
    )
    embedded_by: Annotated[str, checked_by(matching(ORIGINS), empty=True)] = Field(
        description='sites as https://www.example.org, several with a space between, or "*", or ""'
    )
    trusted_proxies: Annotated[tuple[str, ...], BeforeValidator(read_networks)] = Field(
        description='addresses and networks, as ["127.0.0.1", "10.0.0.0/8"], or []'
    )
    form_mails_an_hour: int = Field(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")
    connections: int = Field(ge=16, le=20_000, description="a whole number from 16 to 20000")
    connections_of_one_network: int = Field(ge=4, le=20_000, description="a whole number from 4 to 20000")
    outbox: bool = Field(description="true or false")

    @property
    def proxies(self) -> Networks:
        """The parsed `trusted_proxies`."""
        return Networks.of(self.trusted_proxies)


class WatchTable(Table):
    webhook: SecretUrl = Field(repr=False, description=URL)
    ping: SecretUrl = Field(repr=False, description=URL)
    late: Annotated[timedelta, BeforeValidator(read_lead)] = Field(
        description='a length of time, as "15m" or "2h"'
    )
    longest_outage: Annotated[timedelta, BeforeValidator(read_lead), Ge(timedelta(hours=1))] = Field(
        description='a length of time of an hour or more, as "30d" or "12h"'
    )
    metrics_token: Annotated[str, checked_by(require_line, empty=True)] = Field(
        repr=False, description='at least 16 characters, or ""', pattern=r"^(.{16,})?$"
    )
    metrics_listen: Annotated[str, checked_by(require_place, empty=True)] = Field(
        description='an address and port, as 127.0.0.1:9464, or ""'
    )


class SecurityTable(Table):
    key: Annotated[bytes | None, BeforeValidator(read_key)] = Field(
        repr=False, description='at least 32 octets in hexadecimal or base64, or ""'
    )


class BackupTable(Table):
    folder: Annotated[str, checked_by(require_line, empty=True)] = Field(
        description='the path of a folder for backups only, as backups, or ""'
    )
    every: Annotated[
        timedelta, BeforeValidator(read_interval), Ge(timedelta(seconds=1)), Le(timedelta(days=1))
    ] = Field(description='a length of time up to a day, as "1d" or "6h"')
    keep: int = Field(ge=1, le=10_000, description="a whole number from 1 to 10000")
    recipient: Annotated[str, checked_by(require_recipient, empty=True)] = Field(
        description='a public key of age, as age1…, an SSH key, as ssh-ed25519 …, or ""'
    )
    scratch_url: Annotated[str, checked_by(require_scratch, empty=True)] = Field(
        repr=False, description='postgresql://USER:PASSWORD@HOST/NAME, or ""'
    )


class PrivacyTable(Table):
    declined_requests_days: int = Field(ge=1, le=3650, description=DAYS)
    left_members_days: int = Field(ge=1, le=3650, description=DAYS)
    archive_days: int = Field(ge=1, le=3650, description=DAYS)
    deliveries_days: int = Field(ge=60, le=3650, description="a whole number of days from 60 to 3650")
    audit_days: int = Field(ge=1, le=3650, description=DAYS)

    def retention(self) -> Retention:
        return Retention(
            declined_requests=timedelta(days=self.declined_requests_days),
            left_members=timedelta(days=self.left_members_days),
            deliveries=timedelta(days=self.deliveries_days),
            archive=timedelta(days=self.archive_days),
            audit=timedelta(days=self.audit_days),
        )


class MembershipTable(Table):
    approval: Literal["convenor", "open"] = Field(description='"convenor" or "open"')

    @property
    def is_open(self) -> bool:
        """Whether people become members as soon as they confirm their address."""
        return self.approval == "open"


class ConvenorsTable(Table):
    first: list[Address] = Field(description="a list of email addresses")
    hold_minutes: int = Field(ge=0, le=1440, description="a whole number of minutes from 0 to 1440")
    preflight: Annotated[
        Annotated[timedelta, Ge(timedelta(hours=1)), Le(LONGEST_PREFLIGHT)] | None,
        BeforeValidator(read_preflight),
    ] = Field(description='a length of time from 1h to 2d, such as "1d"; "" for none')
    weekly: Annotated[WeeklyTime | None, BeforeValidator(read_weekly)] = Field(
        description='a weekday and a time, such as "monday 08:00"; "" for none'
    )


class SeriesTable(Table):
    slug: Slug = Field(description=SLUG)
    title: Line = Field(description=LINE)
    titles: Annotated[tuple[tuple[str, str], ...], BeforeValidator(read_titles)] = Field(
        default=(), description=TITLES
    )
    description: Prose = Field(default="", description=PROSE)
    rule: str = Field(
        description='words as "third Thursday of the month", or a rule as FREQ=MONTHLY;BYDAY=3TH'
    )
    start: WallTime = Field(description=TIME)
    zone: Zone = Field(description="an IANA zone, as Europe/London")
    minutes: int = Field(ge=1, le=1440, description="a whole number from 1 to 1440")
    first: Annotated[date, BeforeValidator(read_date)] = Field(description="a date as 2020-07-16")
    link: OptionalUrl = Field(default="", description=URL)
    follow: Literal["everyone", "choice"] = Field(default="everyone", description='"everyone" or "choice"')

    @model_validator(mode="after")
    def _is_a_series(self) -> Self:
        _validate(self.series)
        return self

    def series(self) -> Series:
        return Series(
            slug=self.slug,
            title=self.title,
            titles=self.titles,
            rule=self.rule,
            start=self.start,
            zone=self.zone,
            duration=timedelta(minutes=self.minutes),
            first=self.first,
            description=self.description,
            link=self.link,
            by_choice=self.follow == "choice",
        )


def _read_slugs(value: object) -> object:
    """Accept one slug in place of a list."""
    return [value] if isinstance(value, str) else value


class PolicyTable(Table):
    slug: Slug = Field(description=SLUG)
    kind: Literal["invitation", "reminder", "follow-up"] = Field(
        description='"invitation", "reminder" or "follow-up"'
    )
    lead: Annotated[timedelta | None, BeforeValidator(read_lead)] = Field(
        default=None, description='a length of time, as "90m", "1h" or "14d"'
    )
    days_before: int | None = Field(default=None, ge=0, le=60, description="a whole number from 0 to 60")
    lag: Annotated[timedelta | None, BeforeValidator(read_lead)] = Field(
        default=None, description='a length of time, as "2h" or "1d"'
    )
    days_after: int | None = Field(default=None, ge=0, le=60, description="a whole number from 0 to 60")
    at: WallTime | None = Field(default=None, description=TIME)
    series: Annotated[list[str] | None, BeforeValidator(_read_slugs)] = Field(
        default=None, min_length=1, description="the slug of a series, or a list of slugs"
    )

    @model_validator(mode="after")
    def _is_a_policy(self) -> Self:
        _validate(self.policy)
        return self

    def policy(self) -> Policy:
        return Policy(
            slug=self.slug,
            kind=Kind(self.kind),
            lead=self.lead,
            days_before=self.days_before,
            lag=self.lag,
            days_after=self.days_after,
            at=self.at,
            series=self.chosen_series,
        )

    @property
    def chosen_series(self) -> frozenset[str] | None:
        return None if self.series is None else frozenset(self.series)


def _validate(build: Callable[[], object]) -> None:
    try:
        build()
    except Problem as problem:
        raise ValueError(problem) from None


class Tables(Table):
    """The whole file."""

    community: CommunityTable
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
    privacy: PrivacyTable
    series: list[SeriesTable] = Field(min_length=1)
    policies: list[PolicyTable]


def is_array(section: FieldInfo) -> bool:
    """Return whether a section is an array of tables, written [[section]]."""
    return bool(get_args(section.annotation))


def table_of(section: FieldInfo) -> type[Table]:
    """Return the table class of a section, or of the entries of an array of tables."""
    (kind,) = get_args(section.annotation) or (section.annotation,)
    assert isinstance(kind, type) and issubclass(kind, Table)
    return kind
