"""How a convenor manages the list: members are added, changed, paused and removed."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime, time
from difflib import get_close_matches
from functools import partial
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.act import Act
from scheduler.domain.actor import SERVICE, Actor
from scheduler.domain.address import address_key, require_address
from scheduler.domain.errors import Refused
from scheduler.domain.locale import countries, country_name, require_country, require_locale
from scheduler.domain.occurrence import Series, followed, slugs_by_choice
from scheduler.domain.policy import first_instant
from scheduler.domain.text import folded, quoted, require_line
from scheduler.domain.token import Keys
from scheduler.domain.translation import N_, locale_for
from scheduler.domain.zone import (
    find_zone,
    known_zone,
    primary_zone,
    require_zone,
    windows_name,
    zones_named,
    zones_of_country,
)
from scheduler.service.feeds import feed_language
from scheduler.service.follows import follow, require_series
from scheduler.store import audit, erasures, follows, members, returns
from scheduler.store.database import Database
from scheduler.store.ledger import reports
from scheduler.store.ledger.reports import Report
from scheduler.store.members import Member, Search, Word

LONGEST_NAME = 200
STATUSES = ("active", "paused", "left")
"""The statuses that a convenor can set; `pending` is for people who have asked to join and are not members yet."""

EVERY_STATUS = ("active", "paused", "pending", "left")


def require_own_name(text: str) -> str:
    """Return the name that somebody gave in a form about themselves. Raises Refused."""
    if name := require_line(text, "", longest=LONGEST_NAME):
        return name
    raise Refused(N_("You need to tell us your name."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What a convenor enters about a member; None leaves a value as it is. Raises Refused for a value not accepted.

    The zone may be any name that an import accepts. `deliverable` means that the address takes mail again. `choices`
    are explicit choices to follow series or not, by slug.
    """

    name: str | None = None
    address: str | None = None
    country: str | None = None
    zone: str | None = None
    locale: str | None = None
    convenor: bool | None = None
    status: str | None = None
    deliverable: bool | None = None
    choices: Mapping[str, bool] | None = None

    def __post_init__(self) -> None:
        checks: Mapping[str, Callable[[str, str], str]] = {
            "name": partial(require_line, longest=LONGEST_NAME),
            "address": require_address,
            "country": require_country,
            "locale": require_locale,
            "status": _require_status,
        }
        for name, check in checks.items():
            value = getattr(self, name)
            if value is not None:
                option = "--email" if name == "address" else f"--{name}"
                object.__setattr__(self, name, check(value, option))
        if self.zone is not None:
            object.__setattr__(self, "zone", _require_zone(self.zone, self.country))

    @property
    def is_empty(self) -> bool:
        return all(getattr(self, name) is None for name in self.__slots__)


def _require_zone(text: str, country: str | None) -> str:
    if zone := find_zone(text, country):
        return zone
    if country and windows_name(text):
        raise Refused(
            f"--zone {quoted(text)}: Windows has no such zone in {country_name(country)}; "
            "give a zone such as Europe/London"
        )
    return require_zone(text, "--zone")


def _require_status(text: str, option: str) -> str:
    if text in STATUSES:
        return text
    raise Refused(f"{option} {quoted(text)} is not accepted; give one of {', '.join(STATUSES)}")


def read_choices(
    wanted: Collection[str], unwanted: Collection[str], all_series: Sequence[Series]
) -> dict[str, bool]:
    """Return the explicit choices that --follow and --unfollow make, by slug. Raises Refused for a slug that no series
    has, and for one that is in both."""
    require_series(wanted, all_series, "--follow")
    require_series(unwanted, all_series, "--unfollow")
    for slug in wanted:
        if slug in unwanted:
            raise Refused(f"--follow {slug} and --unfollow {slug} contradict each other; give one of them")
    return dict.fromkeys(wanted, True) | dict.fromkeys(unwanted, False)


def new_member_row(
    *,
    address: str,
    name: str,
    country: str | None,
    zone: str,
    zone_source: str,
    locale: str,
    now: datetime,
    status: str = "active",
    convenor: bool = False,
    uninvited_at: datetime | None = None,
) -> dict[str, Any]:
    """Return the columns of a new member, as `store.members.add` takes them."""
    return {
        "address": address,
        "address_key": address_key(address),
        "name": name,
        "country": country,
        "zone": zone,
        "zone_source": zone_source,
        "locale": locale,
        "status": status,
        "role": "convenor" if convenor else None,
        "created_at": now,
        "active_since": now if status == "active" else None,
        "paused_until": None,
        "uninvited_at": uninvited_at,
    }


def erasure_name(keys: Keys, key: str) -> str:
    """Return the keyed hash under which an erased address is remembered; nobody can tell from it who it was."""
    return keys.name("erased", key)


async def require_member(connection: AsyncConnection, address: str, *, suggests: bool = True) -> Member:
    """Return the member with that address, in any spelling. Raises Refused, which with `suggests` names a similar one.

    Do not suggest one to those who may not see the list of members, or where a wrong person would get a role.
    """
    key = lookup_key(address)
    if member := await members.by_key(connection, key):
        return member
    message = f"there is no member {quoted(address)}"
    near = (
        get_close_matches(
            key, map(address_key, await members.similar_addresses(connection, key)), n=1, cutoff=0.8
        )
        if suggests
        else []
    )
    if near:
        raise Refused(f"{message}; did you mean {near[0]}?")
    raise Refused(message, command="`members list` shows them")


def lookup_key(address: str) -> str:
    """Return the key of an address as somebody typed it; for an invalid address, a key that no member has."""
    try:
        return address_key(require_address(address))
    except Refused:
        return address_key(address)


def read_search(
    text: str,
    *,
    status: str = "",
    country: str = "",
    zone: str = "",
    role: str = "",
    suppressed: bool = False,
    series: str = "",
    all_series: Sequence[Series] = (),
) -> Search:
    """Return the search for members who have all words of `text` in their name, address, country or zone, and the
    status, country's code, zone, role and followed series if given; `suppressed` finds only those whose mail comes
    back. Case and accents do not matter."""
    return Search(
        words=tuple(
            Word(
                name=folded(word),
                text=word.casefold(),
                countries=tuple(
                    code
                    for code, name in countries()
                    if folded(word) and (folded(word) in folded(name) or folded(word) == folded(code))
                ),
                zones=zones_named(word),
            )
            for word in text.split()
        ),
        status=status,
        country=country,
        zone=zone,
        role=role,
        suppressed=suppressed,
        series=series,
        by_choice=slugs_by_choice(all_series),
    )


async def find_members(
    database: Database, search: Search, *, after: int | None = None, limit: int
) -> list[Member]:
    """Return the first members whom a search finds, by name; `after` is the number of the last one already seen."""
    async with database.read() as connection:
        return await members.find(connection, search, after=after, limit=limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFile:
    """A member, the slugs of the series that they follow, and their latest mails, the newest first. Every change of the
    member raises `mark`."""

    member: Member
    mark: int
    follows: list[str]
    mails: list[Report]


async def read_member(
    database: Database, number: int, *, all_series: Sequence[Series], most: int = 50
) -> MemberFile | None:
    """Return everything that a convenor sees about a member; None if there is none with that number."""
    async with database.read() as connection:
        member = await members.by_id(connection, number)
        if member is None:
            return None
        latest: deque[Report] = deque(maxlen=most)
        async for report in reports.reports(connection, member=number):
            latest.append(report)
        choices = await follows.choices_of(connection, number)
        mark = await members.mark_of(connection, number)
    mails = sorted(latest, key=lambda report: report.sent_at or report.due, reverse=True)
    return MemberFile(member=member, mark=mark, follows=followed(all_series, choices), mails=mails)


_PAGE = 500
"""The number of members whose choices one statement reads."""


async def with_follows(
    connection: AsyncConnection, every: AsyncIterator[Member], all_series: Sequence[Series]
) -> AsyncIterator[tuple[Member, list[str]]]:
    """Yield each member with the slugs of the series that they follow, in the order of the settings."""
    page: list[Member] = []
    async for member in every:
        page.append(member)
        if len(page) == _PAGE:
            for pair in await _page_with_follows(connection, page, all_series):
                yield pair
            page.clear()
    for pair in await _page_with_follows(connection, page, all_series):
        yield pair


async def _page_with_follows(
    connection: AsyncConnection, page: Sequence[Member], all_series: Sequence[Series]
) -> list[tuple[Member, list[str]]]:
    choices = await follows.choices_of_each(connection, [member.id for member in page])
    return [(member, followed(all_series, choices.get(member.id, {}))) for member in page]


async def member_with_number(database: Database, number: int) -> Member | None:
    async with database.read() as connection:
        return await members.by_id(connection, number)


@dataclass(frozen=True, slots=True)
class PlacesAndLanguages:
    """The zones and locales that members have, sorted."""

    zones: list[str]
    locales: list[str]


async def places_and_languages(database: Database) -> PlacesAndLanguages:
    """Return which zones and locales there are to choose an audience from."""
    async with database.read() as connection:
        zones, locales = await members.zones(connection), await members.locales(connection)
    return PlacesAndLanguages(sorted(zones), sorted(locales))


async def find_member(database: Database, address: str) -> Member:
    """Do the same as `require_member`, in a transaction of its own."""
    async with database.read() as connection:
        return await require_member(connection, address)


async def add_member(
    database: Database,
    details: Details,
    *,
    keys: Keys,
    locale: str,
    now: datetime,
    all_series: Sequence[Series] = (),
    returning: bool = False,
    invite: bool = True,
    by: Actor = SERVICE,
) -> Member:
    """Add one active member; `locale` is used if the details have none and their country does not say which. Without
    `invite` they are not sent invitations that are already open. `all_series` is needed if the details have choices.

    Raises Refused if the address or zone is missing, if the address is on the list, and if it was erased, unless
    `returning` says that the person asked to come back.
    """
    if not details.address:
        raise Refused("--email is missing: a member needs an address")
    zone, source = resolve_zone(details)
    key = address_key(details.address)
    try:
        async with database.write() as connection:
            await _require_unknown(connection, key)
            await _check_erased(connection, keys, details.address, returning=returning)
            await members.add(
                connection,
                [
                    new_member_row(
                        address=details.address,
                        name=details.name or "",
                        country=details.country,
                        zone=zone,
                        zone_source=source,
                        locale=details.locale or locale_for(details.country, locale),
                        convenor=bool(details.convenor),
                        now=now,
                        uninvited_at=None if invite else now,
                    )
                ],
            )
            member = await require_member(connection, details.address)
            if details.choices:
                await follow(connection, member, details.choices, all_series=all_series, now=now)
            await audit.record(connection, by, "member-added", about=member.id, after={"zone": zone}, now=now)
            return member
    except IntegrityError:
        raise Refused(f"{details.address} was put on the list by somebody else just now") from None


async def require_new(database: Database, details: Details, *, keys: Keys, returning: bool = False) -> None:
    """Raise Refused where `add_member` would refuse the address."""
    address = details.address or ""
    async with database.read() as connection:
        await _require_unknown(connection, address_key(address))
        if not returning:
            await _check_erased(connection, keys, address, returning=False)


async def _require_unknown(connection: AsyncConnection, key: str) -> None:
    if member := await members.by_key(connection, key):
        raise Refused(
            f"{member.address} is already on the list ({member.status})", command="see `members set`"
        )


class ZoneNeeded(Refused):
    """The zone does not follow from the country, so it has to be given."""


def resolve_zone(details: Details) -> tuple[str, str]:
    """Return the zone and its source: `given`, or `assumed` from a country with one main zone.

    Raises ZoneNeeded if neither is known.
    """
    if details.zone:
        return details.zone, "given"
    if not details.country:
        raise ZoneNeeded("--zone is missing: give it, or a --country with one time zone")
    if assumed := primary_zone(details.country):
        return assumed, "assumed"
    zones = zones_of_country(details.country)
    examples = f" ({', '.join(zones[:4])}{', …' if len(zones) > 4 else ''})" if zones else ""
    raise ZoneNeeded(
        f"{country_name(details.country)} has {len(zones) or 'no'} time zones",
        command=f"give --zone too{examples}",
    )


async def _check_erased(connection: AsyncConnection, keys: Keys, address: str, *, returning: bool) -> None:
    name = erasure_name(keys, address_key(address))
    if await erasures.find_erased(connection, [name]):
        if not returning:
            raise Refused(
                f"{address} was erased",
                command="if that person asked to come back, use `members add` with --returning",
            )
        await erasures.allow_return(connection, name)


@dataclass(frozen=True, slots=True)
class Changed:
    """A member and their explicit choices of series before and after; equal where nothing had to be changed."""

    before: Member
    after: Member
    choices_before: Mapping[str, bool] = field(default_factory=dict)
    choices_after: Mapping[str, bool] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return self.before != self.after or self.choices_before != self.choices_after

    @property
    def columns(self) -> set[str]:
        """The names of the columns that changed."""
        names = (column.name for column in fields(self.before))
        return {name for name in names if getattr(self.before, name) != getattr(self.after, name)}


async def change_member(
    database: Database,
    address: str,
    details: Details,
    *,
    keys: Keys,
    now: datetime,
    all_series: Sequence[Series] = (),
    mark: int | None = None,
    by: Actor = SERVICE,
) -> Changed:
    """Change a member. A zone in `details` counts as `given`; an assumed zone follows a new country. `all_series` is
    needed if the details have choices. `mark` is the one that the member had when the change was begun.

    Raises Refused if the new address is another member's or was erased, if the new country needs a zone, or if the
    member was changed since `mark`.
    """
    try:
        async with database.write() as connection:
            member = await require_member(connection, address)
            await members.lock(connection, member.id)
            if mark is not None and mark != await members.mark_of(connection, member.id):
                raise Refused("somebody else, or they themselves, changed it meanwhile; look at it again")
            values: dict[str, Any] = {
                name: value
                for name in ("name", "country", "locale")
                if (value := getattr(details, name)) is not None
            }
            if details.locale is not None:
                values |= feed_language(member, details.locale, now=now)
            if details.deliverable:
                values |= await returns.clear_bounces(connection, member.id)
            if details.address is not None:
                values |= await _new_address(connection, member, details.address, keys)
            zone_follows = details.country not in (None, member.country) and member.zone_source == "assumed"
            if details.zone is not None or zone_follows:
                values["zone"], values["zone_source"] = resolve_zone(details)
            if details.status is not None:
                values |= status_values(member, details.status, now=now)
            if details.convenor is not None and details.convenor is not member.convenor:
                if member.convenor:
                    await require_another_convenor(connection, member)
                values["role"] = "convenor" if details.convenor else None
            changed = await update_member(connection, member, values)
            if details.choices:
                before = await follows.choices_of(connection, member.id)
                await follow(connection, member, details.choices, all_series=all_series, now=now)
                changed = replace(changed, choices_before=before, choices_after={**before, **details.choices})
            return await _record(connection, by, "member-changed", changed, now)
    except IntegrityError:
        raise Refused(f"{details.address} was put on the list by somebody else just now") from None


async def require_another_convenor(connection: AsyncConnection, member: Member) -> None:
    """Raise Refused if `member` is the only active convenor: nobody could appoint another one."""
    others = [other for other in await members.with_role(connection, "convenor") if other.id != member.id]
    if member.convenor and not any(other.status == "active" for other in others):
        raise Refused(
            f"{member.address} is the only convenor", command="appoint another with `convenors add` first"
        )


async def _new_address(
    connection: AsyncConnection, member: Member, address: str, keys: Keys
) -> dict[str, Any]:
    key = address_key(address)
    if key != member.address_key:
        if await members.by_key(connection, key):
            raise Refused(
                f"{address} is another member's address",
                command="remove one of the two with `members remove`",
            )
        await _check_erased(connection, keys, address, returning=False)
    trust = await returns.clear_bounces(connection, member.id) if key != member.address_key else {}
    return {"address": address, "address_key": key, **trust}


def status_values(
    member: Member, status: str, *, now: datetime, until: datetime | None = None
) -> dict[str, Any]:
    """Return the columns that make a member active, paused (until an instant; None: until somebody sets them active) or
    left."""
    since = member.active_since if member.status == "active" else now
    ends = {"feed_changed_at": now} if status == "left" != member.status else {}
    return {
        "status": status,
        "paused_until": until if status == "paused" else None,
        "active_since": since if status == "active" else None,
        **ends,
    }


async def pause_member(
    database: Database, address: str, *, until: date | None, now: datetime, by: Actor = SERVICE
) -> Changed:
    """Send a member nothing until a day begins by their own clocks (None: until somebody sets them active).

    Raises Refused for a day that has begun, and for a member who has left or has not confirmed yet.
    """
    async with database.write() as connection:
        member = await require_member(connection, address)
        if member.status in ("left", "pending"):
            state = "has left" if member.status == "left" else "has not confirmed yet"
            raise Refused(f"{member.address} {state} and gets no mail; there is nothing to pause")
        ends = (
            first_instant(datetime.combine(until, time()), known_zone(member.zone, "UTC")) if until else None
        )
        if ends and ends <= now:
            raise Refused(
                f"{until} has already begun for {member.address}; choose a later day", option="--until"
            )
        values = status_values(member, "paused", now=now, until=ends)
        return await _record(
            connection, by, "member-paused", await update_member(connection, member, values), now
        )


async def remove_member(database: Database, address: str, *, now: datetime, by: Actor = SERVICE) -> Changed:
    """Let a member leave, and withdraw mail that is queued for them. Their row stays, so that no import adds them
    again."""
    async with database.write() as connection:
        member = await require_member(connection, address)
        return await _record(
            connection,
            by,
            "member-removed",
            await update_member(connection, member, status_values(member, "left", now=now)),
            now,
        )


async def rotate_member(database: Database, address: str, *, now: datetime, by: Actor = SERVICE) -> Changed:
    """End every personal link and the feed address of a member; the next mail brings new ones."""
    async with database.write() as connection:
        member = await require_member(connection, address)
        return await _record(
            connection,
            by,
            "member-links-ended",
            await update_member(connection, member, next_generations(member, now)),
            now,
        )


async def _record(
    connection: AsyncConnection, by: Actor, act: Act, changed: Changed, now: datetime
) -> Changed:
    """Record a change of a member, if it changed anything, and return it."""
    if changed.changed:
        names = changed.columns
        await audit.record(
            connection,
            by,
            act,
            about=changed.before.id,
            before={
                **{name: _for_log(getattr(changed.before, name)) for name in names},
                **changed.choices_before,
            },
            after={
                **{name: _for_log(getattr(changed.after, name)) for name in names},
                **changed.choices_after,
            },
            now=now,
        )
    return changed


def _for_log(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def next_generations(member: Member, now: datetime) -> dict[str, Any]:
    """Return the values that end every personal link and the feed address of a member."""
    return {
        "generation": member.generation + 1,
        "feed_generation": member.feed_generation + 1,
        "feed_changed_at": now,
    }


async def update_member(connection: AsyncConnection, member: Member, values: Mapping[str, Any]) -> Changed:
    """Write the values that differ. If none does, nothing is written, so that a running service need not check."""
    different = {name: value for name, value in values.items() if value != getattr(member, name)}
    if different:
        await members.change(connection, member.id, **different)
    return Changed(member, replace(member, **different))
