"""The list of members by a convenor's hand: people added, changed, paused, taken off."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from difflib import get_close_matches
from functools import partial
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.address import address_key, require_address
from scheduler.domain.country import country_name, require_country
from scheduler.domain.errors import Refused
from scheduler.domain.locale import require_locale
from scheduler.domain.policy import first_instant
from scheduler.domain.text import folded, quoted, require_line
from scheduler.domain.token import Keys
from scheduler.domain.windows_zone import windows_name
from scheduler.domain.zone import find_zone, known_zone, primary_zone, require_zone, zones_of_country
from scheduler.store import erasures, members, returns
from scheduler.store.database import Database
from scheduler.store.members import Member

LONGEST_NAME = 200
STATUSES = ("active", "paused", "left")
"""What a convenor may make of a member; `pending` is only who has asked to join and not confirmed yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What a convenor says of a member; None says nothing. Raises Refused where something is not accepted.

    The zone may be any name that an import takes too. `deliverable` says that the address takes mail again.
    """

    name: str | None = None
    email: str | None = None
    country: str | None = None
    zone: str | None = None
    locale: str | None = None
    convenor: bool | None = None
    status: str | None = None
    deliverable: bool | None = None

    def __post_init__(self) -> None:
        checks: Mapping[str, Callable[[str, str], str]] = {
            "name": partial(require_line, longest=LONGEST_NAME),
            "email": require_address,
            "country": require_country,
            "locale": require_locale,
            "status": _known_status,
        }
        for name, check in checks.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check(value, f"--{name}"))
        if self.zone is not None:
            object.__setattr__(self, "zone", _known_zone(self.zone, self.country))

    @property
    def is_empty(self) -> bool:
        return all(getattr(self, name) is None for name in self.__slots__)


def _known_zone(text: str, country: str | None) -> str:
    if found := find_zone(text, country):
        return found
    if country and windows_name(text):
        raise Refused(f"--zone {quoted(text)}: Windows has no such zone in {country_name(country)}")
    return require_zone(text, "--zone")


def _known_status(text: str, what: str) -> str:
    if text in STATUSES:
        return text
    raise Refused(f"{what} {quoted(text)} is not accepted; give one of {', '.join(STATUSES)}")


def entry(
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
    """The columns of somebody new to the list, as `store.members.add` wants them."""
    return {
        "address": address,
        "address_key": address_key(address),
        "name": name,
        "country": country,
        "zone": zone,
        "zone_source": zone_source,
        "locale": locale,
        "status": status,
        "convenor": convenor,
        "created_at": now,
        "active_since": now if status == "active" else None,
        "paused_until": None,
        "uninvited_at": uninvited_at,
    }


def erasure_name(keys: Keys, key: str) -> str:
    """Under what an erased address is remembered: a keyed hash, from which nobody can tell who it was."""
    return keys.name("erased", key)


async def require_member(connection: AsyncConnection, email: str) -> Member:
    """The member of that address, in any spelling. Raises Refused, with one on the list that looks like it."""
    key = key_of(email)
    if found := await members.by_key(connection, key):
        return found
    near = get_close_matches(
        key, map(address_key, await members.similar_addresses(connection, key)), n=1, cutoff=0.8
    )
    hint = f"did you mean {near[0]}?" if near else "`members list` shows them"
    raise Refused(f"there is no member {quoted(email)}; {hint}")


def key_of(email: str) -> str:
    """The key of an address as somebody types it; of what is no address something that no member has."""
    try:
        return address_key(require_address(email))
    except Refused:
        return address_key(email)


async def searched(every: AsyncIterator[Member], text: str) -> AsyncIterator[Member]:
    """Those of `every` who have all words of `text` in name, address, country or zone, in any case and without
    accents."""
    words = [folded(word) for word in text.split()]
    async for one in every:
        places = (one.name, one.address, one.country or "", country_name(one.country or ""), one.zone)
        found = [folded(place) for place in places]
        if all(any(word in place for place in found) for word in words):
            yield one


async def find_member(database: Database, email: str) -> Member:
    """As `require_member`, in a transaction of its own."""
    async with database.read() as connection:
        return await require_member(connection, email)


async def add_member(
    database: Database,
    details: Details,
    *,
    keys: Keys,
    locale: str,
    now: datetime,
    returning: bool = False,
    invite: bool = True,
) -> Member:
    """Put one person on the list, active; `locale` is for who gives none. Without `invite` they are not sent an
    invitation that is open already.

    Raises Refused without an address or a zone, where the address is on the list already, and where it was erased,
    unless `returning` says that the person asked to come back.
    """
    if not details.email:
        raise Refused("--email is missing: a member needs an address")
    zone, source = home_of(details)
    key = address_key(details.email)
    try:
        async with database.write() as connection:
            await _require_unknown(connection, key)
            await _check_erased(connection, keys, details.email, returning=returning)
            await members.add(
                connection,
                [
                    entry(
                        address=details.email,
                        name=details.name or "",
                        country=details.country,
                        zone=zone,
                        zone_source=source,
                        locale=details.locale or locale,
                        convenor=bool(details.convenor),
                        now=now,
                        uninvited_at=None if invite else now,
                    )
                ],
            )
            return await require_member(connection, details.email)
    except IntegrityError:
        raise Refused(f"{details.email} was put on the list by somebody else just now") from None


async def require_new(database: Database, details: Details, *, keys: Keys, returning: bool = False) -> None:
    """Raises Refused where `add_member` would refuse the address."""
    address = details.email or ""
    async with database.read() as connection:
        await _require_unknown(connection, address_key(address))
        if not returning:
            await _check_erased(connection, keys, address, returning=False)


async def _require_unknown(connection: AsyncConnection, key: str) -> None:
    if known := await members.by_key(connection, key):
        raise Refused(f"{known.address} is on the list already ({known.status}); see `members set`")


def home_of(details: Details) -> tuple[str, str]:
    """The zone and where it is from: given, or assumed of a country with one zone above the others.

    Raises Refused where neither says it.
    """
    if details.zone:
        return details.zone, "given"
    if not details.country:
        raise Refused("--zone is missing: give it, or a --country with one time zone")
    if assumed := primary_zone(details.country):
        return assumed, "assumed"
    zones = zones_of_country(details.country)
    some = f" ({', '.join(zones[:4])}{', …' if len(zones) > 4 else ''})" if zones else ""
    raise Refused(
        f"{country_name(details.country)} has {len(zones) or 'no'} time zones; give --zone too{some}"
    )


async def _check_erased(connection: AsyncConnection, keys: Keys, address: str, *, returning: bool) -> None:
    name = erasure_name(keys, address_key(address))
    if await erasures.find_erased(connection, [name]):
        if not returning:
            raise Refused(
                f"{address} was erased; if that person asked to come back, use `members add` with --returning"
            )
        await erasures.allow_return(connection, name)


@dataclass(frozen=True, slots=True)
class Changed:
    """A member before and after; equal where nothing had to be changed."""

    before: Member
    after: Member

    @property
    def changed(self) -> bool:
        return self.before != self.after


async def change_member(
    database: Database, email: str, details: Details, *, keys: Keys, now: datetime
) -> Changed:
    """Let `details` hold for a member. A zone told here is `given`; one that was assumed follows a new country.

    Raises Refused where the new address is another member's or was erased, or the new country needs a zone.
    """
    try:
        async with database.write() as connection:
            member = await require_member(connection, email)
            values: dict[str, Any] = {
                name: value
                for name in ("name", "country", "locale", "convenor")
                if (value := getattr(details, name)) is not None
            }
            if details.deliverable:
                values |= await returns.clear_bounces(connection, member.id)
            if details.email is not None:
                values |= await _new_address(connection, member, details.email, keys)
            moves = details.country not in (None, member.country) and member.zone_source == "assumed"
            if details.zone is not None or moves:
                values["zone"], values["zone_source"] = home_of(details)
            if details.status is not None:
                values |= _status(member, details.status, now=now)
            return await _change(connection, member, values)
    except IntegrityError:
        raise Refused(f"{details.email} was put on the list by somebody else just now") from None


async def _new_address(
    connection: AsyncConnection, member: Member, address: str, keys: Keys
) -> dict[str, Any]:
    key = address_key(address)
    if key != member.address_key:
        if await members.by_key(connection, key):
            raise Refused(f"{address} is another member's address; take one of the two off the list")
        await _check_erased(connection, keys, address, returning=False)
    trust = await returns.clear_bounces(connection, member.id) if key != member.address_key else {}
    return {"address": address, "address_key": key, **trust}


def _status(member: Member, status: str, *, now: datetime, until: datetime | None = None) -> dict[str, Any]:
    """The columns that make a member active, paused (until an instant, or until they are set active) or left."""
    since = member.active_since if member.status == "active" else now
    ends = {"feed_changed_at": now} if status == "left" != member.status else {}
    return {
        "status": status,
        "paused_until": until if status == "paused" else None,
        "active_since": since if status == "active" else None,
        **ends,
    }


async def pause_member(database: Database, email: str, *, until: date | None, now: datetime) -> Changed:
    """Send a member nothing until the beginning of a day of their own, or until somebody sets them active.

    Raises Refused for a day that has begun, and for who is not on the list at present.
    """
    async with database.write() as connection:
        member = await require_member(connection, email)
        if member.status in ("left", "pending"):
            state = "has left" if member.status == "left" else "has not confirmed yet"
            raise Refused(f"{member.address} {state} and gets no mail; there is nothing to pause")
        back = (
            first_instant(datetime.combine(until, time()), known_zone(member.zone, "UTC")) if until else None
        )
        if back and back <= now:
            raise Refused(f"--until {until} has begun for {member.address}; choose a day to come")
        return await _change(connection, member, _status(member, "paused", now=now, until=back))


async def remove_member(database: Database, email: str, *, now: datetime) -> Changed:
    """Take a member off the list, mail that is queued for them included. They stay known, so that no import brings
    them back."""
    async with database.write() as connection:
        member = await require_member(connection, email)
        return await _change(connection, member, _status(member, "left", now=now))


async def rotate_member(database: Database, email: str, *, now: datetime) -> Changed:
    """Make every personal link and feed address that a member was given useless; the next mail brings new ones."""
    async with database.write() as connection:
        member = await require_member(connection, email)
        return await _change(connection, member, next_generations(member, now))


def next_generations(member: Member, now: datetime) -> dict[str, Any]:
    """Return the values that end every personal link and the feed address of a member."""
    return {
        "generation": member.generation + 1,
        "feed_generation": member.feed_generation + 1,
        "feed_changed_at": now,
    }


async def _change(connection: AsyncConnection, member: Member, values: Mapping[str, Any]) -> Changed:
    """Write what differs, if anything does: a running service need not look otherwise."""
    different = {name: value for name, value in values.items() if value != getattr(member, name)}
    if different:
        await members.change(connection, member.id, **different)
    return Changed(member, replace(member, **different))
