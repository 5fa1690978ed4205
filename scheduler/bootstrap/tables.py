"""The tables of the settings file, key by key: what each accepts is said in its description."""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date, time, timedelta
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

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

from scheduler.delivery.transport import TransportAddress, parse_transport
from scheduler.domain.address import require_address
from scheduler.domain.duration import parse_duration
from scheduler.domain.link import require_url
from scheduler.domain.locale_tag import require_locale
from scheduler.domain.occurrence import Series, require_slug
from scheduler.domain.policy import Kind, Policy
from scheduler.domain.problem import Problem
from scheduler.domain.retention import Retention
from scheduler.domain.text import require_line, require_prose
from scheduler.domain.zone import require_zone

_DOMAIN = re.compile(r"(?=.{1,190}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_SELECTOR = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9-]{1,63})*")
_ORIGIN = r"https?://[A-Za-z0-9.-]+(?::\d{1,5})?"
_ORIGINS = re.compile(rf"\*|{_ORIGIN}(?: {_ORIGIN})*")
_HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]*")


def _by(check: Callable[[str, str], str], *, empty: bool = False) -> AfterValidator:
    """A check of the domain's as one of a key; `empty` lets "" through."""

    def validate(value: str, info: ValidationInfo) -> str:
        try:
            return value if empty and not value else check(value, info.field_name or "")
        except Problem as problem:
            raise ValueError(problem) from None

    return AfterValidator(validate)


def _some(value: str, what: str) -> str:
    if not value:
        raise ValueError(f"{what}: is empty")
    return value


def _matching(pattern: re.Pattern[str]) -> Callable[[str, str], str]:
    def check(value: str, what: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{what}: '{value}' is not accepted")
        return value

    return check


def _database(value: str, what: str) -> str:
    if not re.fullmatch(r"sqlite:///[^?#]+|postgres(ql)?://\S+", value):
        raise ValueError(f"{what}: is not a database's address")
    return value


def _transport(value: str, what: str) -> str:
    parse_transport(value)
    return value


def _private_key(value: str, what: str) -> str:
    if not value.isprintable() and not value.lstrip().startswith("-----BEGIN"):
        raise ValueError(f"{what}: is neither a path nor PEM text")
    return value


def _base_url(value: str, what: str) -> str:
    if "?" in value or "#" in value:
        raise ValueError(f"{what}: '{value}' has more than a path after the host")
    url = require_url(value, what).rstrip("/")
    if urlsplit(url).hostname in ("0.0.0.0", "::"):  # noqa: S104 - to refuse it
        raise ValueError(f"{what}: '{value}' can be listened on, but nobody can go there")
    return url


def _read_date(value: Any) -> Any:
    # A date may also be quoted; a date with a time is not one.
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"'{value}' is not a date") from None
    return value


def _read_time(value: Any) -> Any:
    if isinstance(value, str):
        if not re.fullmatch(r"\d\d:\d\d", value, re.ASCII):
            raise ValueError(f"'{value}' is not a time")
        return time.fromisoformat(value)
    return value


def _read_lead(value: Any) -> Any:
    try:
        return parse_duration(value) if isinstance(value, str) else value
    except Problem as problem:
        raise ValueError(problem) from None


def _read_key(value: Any) -> Any:
    """The octets that hexadecimal or base64 (of either alphabet) stands for; None for ""."""
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


Line = Annotated[str, _by(require_line), _by(_some)]
Prose = Annotated[str, _by(require_prose)]
Slug = Annotated[str, _by(require_slug)]
Address = Annotated[str, _by(require_address)]
Zone = Annotated[str, _by(require_zone)]
OptionalUrl = Annotated[str, _by(require_url, empty=True)]
WallTime = Annotated[time, BeforeValidator(_read_time)]

_SLUG = "lower-case letters, digits and single hyphens"
_LINE = "one line of text"
_PROSE = "text"
_ADDRESS = "an e-mail address, as name@example.org"
_URL = 'an http or https address, as https://example.org/room, or ""'
_DAYS = "a whole number of days from 1 to 3650"
_TIME = 'a time as "18:00"'


class Table(BaseModel):
    """A section of the file. A key that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CommunityTable(Table):
    name: Line = Field(description=_LINE)
    description: Prose = Field(description=_PROSE)
    address: Address = Field(description=_ADDRESS)
    reply_to: Address = Field(description=_ADDRESS)
    domain: Annotated[str, _by(_matching(_DOMAIN))] = Field(
        description="a domain in lower case, as example.org"
    )
    website: OptionalUrl = Field(description=_URL)
    locale: Annotated[str, _by(require_locale)] = Field(description="a language and country, as en-GB")
    color: Annotated[str, _by(_matching(re.compile("[a-z]{3,20}")))] = Field(
        description="a CSS colour name, as teal"
    )


class DatabaseTable(Table):
    url: Annotated[str, _by(_database)] = Field(
        repr=False, description="sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
    )

    @property
    def is_shared(self) -> bool:
        """Whether several machines may use it."""
        return not self.url.startswith("sqlite:")


class MailTable(Table):
    transport: Annotated[str, _by(_transport)] = Field(
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
        """`transport`, read."""
        return parse_transport(self.transport)


class DkimTable(Table):
    key: Annotated[str, _by(_private_key, empty=True)] = Field(
        repr=False, description='the path of a PEM file, PEM text, or ""'
    )
    selector: Annotated[str, _by(_matching(_SELECTOR), empty=True)] = Field(
        description='letters, digits and hyphens, as third2026, or ""'
    )
    domain: Annotated[str, _by(_matching(_DOMAIN), empty=True)] = Field(
        description='a domain in lower case, as example.org, or ""'
    )


class WebTable(Table):
    host: Annotated[str, _by(_matching(_HOST))] = Field(description="an IP address or a name, as 127.0.0.1")
    port: int = Field(ge=1, le=65535, description="a whole number from 1 to 65535")
    base_url: Annotated[str, _by(_base_url, empty=True)] = Field(
        description='an http or https address, as https://meet.example.org, or ""'
    )
    embedded_by: Annotated[str, _by(_matching(_ORIGINS), empty=True)] = Field(
        description='sites as https://www.example.org, several with a space between, or "*", or ""'
    )


class WatchTable(Table):
    webhook: OptionalUrl = Field(repr=False, description=_URL)
    ping: OptionalUrl = Field(repr=False, description=_URL)
    late: Annotated[timedelta, BeforeValidator(_read_lead)] = Field(
        description='a length of time, as "15m" or "2h"'
    )
    metrics_token: Annotated[str, _by(require_line, empty=True)] = Field(
        repr=False, description='at least 16 characters, or ""', pattern=r"^(.{16,})?$"
    )


class SecurityTable(Table):
    key: Annotated[bytes | None, BeforeValidator(_read_key)] = Field(
        repr=False, description='at least 32 octets in hexadecimal or base64, or ""'
    )


class PrivacyTable(Table):
    declined_requests_days: int = Field(ge=1, le=3650, description=_DAYS)
    left_members_days: int = Field(ge=1, le=3650, description=_DAYS)
    deliveries_days: int = Field(ge=60, le=3650, description="a whole number of days from 60 to 3650")

    def retention(self) -> Retention:
        return Retention(
            declined_requests=timedelta(days=self.declined_requests_days),
            left_members=timedelta(days=self.left_members_days), deliveries=timedelta(days=self.deliveries_days),
        )  # fmt: skip


class MembershipTable(Table):
    approval: Literal["convenor", "open"] = Field(description='"convenor" or "open"')

    @property
    def is_open(self) -> bool:
        """Whether whoever confirms their address is in."""
        return self.approval == "open"


class SeriesTable(Table):
    slug: Slug = Field(description=_SLUG)
    title: Line = Field(description=_LINE)
    description: Prose = Field(default="", description=_PROSE)
    rule: str = Field(description="a rule as RFC 5545 writes it, as FREQ=MONTHLY;BYDAY=3TH")
    start: WallTime = Field(description=_TIME)
    zone: Zone = Field(description="an IANA zone, as Europe/London")
    minutes: int = Field(ge=1, le=1440, description="a whole number from 1 to 1440")
    first: Annotated[date, BeforeValidator(_read_date)] = Field(description="a date as 2020-07-16")
    link: OptionalUrl = Field(default="", description=_URL)

    @model_validator(mode="after")
    def _is_a_series(self) -> Self:
        _try(self.series)
        return self

    def series(self) -> Series:
        return Series(
            slug=self.slug, title=self.title, rule=self.rule, start=self.start, zone=self.zone,
            duration=timedelta(minutes=self.minutes), first=self.first, description=self.description, link=self.link,
        )  # fmt: skip


class PolicyTable(Table):
    slug: Slug = Field(description=_SLUG)
    kind: Literal["invitation", "reminder"] = Field(description='"invitation" or "reminder"')
    lead: Annotated[timedelta | None, BeforeValidator(_read_lead)] = Field(
        default=None, description='a length of time, as "90m", "1h" or "14d"'
    )
    days_before: int | None = Field(default=None, ge=0, le=60, description="a whole number from 0 to 60")
    at: WallTime | None = Field(default=None, description=_TIME)
    series: str | None = Field(default=None, description="the slug of a series")

    @model_validator(mode="after")
    def _is_a_policy(self) -> Self:
        _try(self.policy)
        return self

    def policy(self) -> Policy:
        return Policy(
            slug=self.slug, kind=Kind(self.kind), lead=self.lead, days_before=self.days_before, at=self.at,
            series=self.series,
        )  # fmt: skip


def _try(build: Callable[[], object]) -> None:
    try:
        build()
    except Problem as problem:
        raise ValueError(problem) from None


class Tables(Table):
    """The whole file."""

    community: CommunityTable
    database: DatabaseTable
    mail: MailTable
    dkim: DkimTable
    web: WebTable
    watch: WatchTable
    security: SecurityTable
    membership: MembershipTable
    privacy: PrivacyTable
    series: list[SeriesTable] = Field(min_length=1)
    policies: list[PolicyTable]


def is_array(section: FieldInfo) -> bool:
    """Whether a section of the file is written [[so]]."""
    return bool(get_args(section.annotation))


def table_of(section: FieldInfo) -> type[Table]:
    """The table that a section of the file is, or has one or more of."""
    (kind,) = get_args(section.annotation) or (section.annotation,)
    assert isinstance(kind, type) and issubclass(kind, Table)
    return kind
