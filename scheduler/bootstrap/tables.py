"""The tables of the settings file, key by key: what each accepts is said in its description."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Annotated, Literal, Self, get_args

from annotated_types import Ge
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from scheduler.bootstrap.accepting import (
    ADDRESS,
    DAYS,
    DOMAIN,
    HOST,
    LINE,
    LINKS,
    MAIL_DOMAIN,
    ORIGINS,
    PROSE,
    SELECTOR,
    SLUG,
    TIME,
    URL,
    Address,
    Line,
    OptionalUrl,
    Prose,
    SecretUrl,
    Slug,
    WallTime,
    Zone,
    checked_by,
    matching,
    read_date,
    read_key,
    read_lead,
    read_links,
    read_networks,
    require_base_url,
    require_color,
    require_database,
    require_place,
    require_private_key,
    require_transport,
)
from scheduler.delivery.transport import TransportAddress, parse_transport
from scheduler.domain.locale_tag import require_locale
from scheduler.domain.occurrence import Series
from scheduler.domain.policy import Kind, Policy
from scheduler.domain.problem import Problem
from scheduler.domain.retention import Retention
from scheduler.domain.text import require_line
from scheduler.web.visitor import Networks


class Table(BaseModel):
    """A section of the file. A key that it does not know is refused."""

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
    color: Annotated[str, checked_by(require_color)] = Field(description="a CSS colour name, as teal")


class DatabaseTable(Table):
    url: Annotated[str, checked_by(require_database)] = Field(
        repr=False, description="sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
    )

    @property
    def is_shared(self) -> bool:
        """Whether several machines may use it."""
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
        """`transport`, read."""
        return parse_transport(self.transport)


class InboxTable(Table):
    domain: Annotated[str, checked_by(matching(MAIL_DOMAIN), empty=True)] = Field(
        description='a domain in lower case, as bounces.example.org, or ""'
    )
    queue_megabytes: int = Field(ge=1, le=100_000, description="a whole number of megabytes from 1 to 100000")


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
        """`trusted_proxies`, read."""
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


class PrivacyTable(Table):
    declined_requests_days: int = Field(ge=1, le=3650, description=DAYS)
    left_members_days: int = Field(ge=1, le=3650, description=DAYS)
    archive_days: int = Field(ge=1, le=3650, description=DAYS)
    deliveries_days: int = Field(ge=60, le=3650, description="a whole number of days from 60 to 3650")

    def retention(self) -> Retention:
        return Retention(
            declined_requests=timedelta(days=self.declined_requests_days),
            left_members=timedelta(days=self.left_members_days), deliveries=timedelta(days=self.deliveries_days),
            archive=timedelta(days=self.archive_days),
        )  # fmt: skip


class MembershipTable(Table):
    approval: Literal["convenor", "open"] = Field(description='"convenor" or "open"')

    @property
    def is_open(self) -> bool:
        """Whether whoever confirms their address is in."""
        return self.approval == "open"


class SeriesTable(Table):
    slug: Slug = Field(description=SLUG)
    title: Line = Field(description=LINE)
    description: Prose = Field(default="", description=PROSE)
    rule: str = Field(
        description='words as "third Thursday of the month", or a rule as FREQ=MONTHLY;BYDAY=3TH'
    )
    start: WallTime = Field(description=TIME)
    zone: Zone = Field(description="an IANA zone, as Europe/London")
    minutes: int = Field(ge=1, le=1440, description="a whole number from 1 to 1440")
    first: Annotated[date, BeforeValidator(read_date)] = Field(description="a date as 2020-07-16")
    link: OptionalUrl = Field(default="", description=URL)

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
    series: str | None = Field(default=None, description="the slug of a series")

    @model_validator(mode="after")
    def _is_a_policy(self) -> Self:
        _try(self.policy)
        return self

    def policy(self) -> Policy:
        return Policy(
            slug=self.slug, kind=Kind(self.kind), lead=self.lead, days_before=self.days_before, lag=self.lag,
            days_after=self.days_after, at=self.at, series=self.series,
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
    inbox: InboxTable
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
