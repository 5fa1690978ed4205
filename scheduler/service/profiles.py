"""People who want to be shown: convenors, and members on the wall, whom a convenor or helper releases first."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.act import Act
from scheduler.domain.actor import Actor
from scheduler.domain.errors import Refused
from scheduler.domain.locale import country_name, require_country
from scheduler.domain.photo import Photo
from scheduler.domain.text import require_line
from scheduler.domain.token import Keys, Purpose
from scheduler.domain.translation import N_
from scheduler.service.members import require_member
from scheduler.service.personal_links import require_link
from scheduler.store import audit, members, profiles
from scheduler.store.database import Database, DatabaseProblem
from scheduler.store.members import Member
from scheduler.store.profiles import Profile, ProfileKind

log = structlog.get_logger()

PAGE = 48
"""How many people of the wall are on one page."""

LONGEST_NAME = 60
LONGEST_ROLE = 120
LONGEST_ORGANISATION = 100
LONGEST_REFUSAL = 300

CHANGE_THIS = "You need to change this"
"""How a complaint begins that says in English what is wrong with a text."""

_CHANGED = "it was changed meanwhile; look at it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What is shown beside a photo: `role` is what they do, `country` a code or empty. `make_words` checks them."""

    name: str
    role: str
    organisation: str
    country: str


def make_words(*, name: str, role: str, organisation: str = "", country: str = "") -> Words:
    """Return what is shown beside a photo. Raises Refused for a value that is not accepted."""
    if not name.strip() or not role.strip():
        raise Refused("a name and a role are needed", command="give --name and --role")
    return Words(
        name=require_line(name, "--name", longest=LONGEST_NAME),
        role=require_line(role, "--role", longest=LONGEST_ROLE),
        organisation=require_line(organisation, "--organisation", longest=LONGEST_ORGANISATION),
        country=require_country(country, "--country") if country else "",
    )


def read_words(typed: Mapping[str, str], *, asks_organisation: bool) -> tuple[Words | None, dict[str, str]]:
    """Return the words that somebody typed, or None and a complaint for each wrong field, by its name."""
    values: dict[str, str] = {}
    complaints: dict[str, str] = {}
    longest = {"name": LONGEST_NAME, "role": LONGEST_ROLE, "organisation": LONGEST_ORGANISATION}
    for name, most in longest.items():
        text = typed.get(name, "") if asks_organisation or name != "organisation" else ""
        try:
            values[name] = require_line(text, "", longest=most)
        except Refused as refusal:
            complaints[name] = f"{CHANGE_THIS}: {refusal.message.removeprefix(':').strip()}."
    if not complaints.get("name") and not values["name"]:
        complaints["name"] = N_("You need to say what to call you.")
    if not complaints.get("role") and not values["role"]:
        complaints["role"] = N_("You need to say in a few words what you do.")
    try:
        country = typed.get("country", "").strip()
        values["country"] = require_country(country, "") if country else ""
    except Refused:
        complaints["country"] = N_("You need to choose a country from the list.")
    return (None if complaints else Words(**values)), complaints


@dataclass(frozen=True, slots=True)
class People:
    """A page of the people who are shown: all convenors, some members, and how many members there are in all."""

    convenors: Sequence[Profile]
    wall: Sequence[Profile]
    on_wall: int


async def shown_people(database: Database, *, page: int) -> People:
    """Return a page of the people who are shown; pages are counted from 1, and convenors are on the first."""
    async with database.read() as connection:
        return People(
            await profiles.shown(connection, ProfileKind.CONVENOR) if page == 1 else [],
            await profiles.shown(connection, ProfileKind.WALL, after=(page - 1) * PAGE, most=PAGE),
            await profiles.count_shown(connection, ProfileKind.WALL),
        )


async def shown_photo(database: Database, name: str, *, size: int, format_: str) -> bytes | None:
    """Return a photo by the name in its address, while everybody may see it."""
    async with database.read() as connection:
        return await profiles.shown_photo(connection, name, size, format_)


async def find_photo(database: Database, number: int, *, size: int, format_: str) -> bytes | None:
    """Return the photo of a profile, for those who may see it before it is released."""
    async with database.read() as connection:
        return await profiles.photo_of(connection, number, size, format_)


# What a member does with their own entry on the wall.


async def own_entry(database: Database, token: str, *, keys: Keys) -> tuple[Member, Profile | None]:
    """Return the member of a link to preferences and their entry on the wall. Raises InvalidLink."""
    async with database.read() as connection:
        member = await require_link(connection, token, Purpose.PREFERENCES, keys=keys)
        return member, await profiles.of_member(connection, member.id, ProfileKind.WALL)


async def save_own_entry(
    database: Database,
    token: str,
    words: Words,
    *,
    photo: Sequence[Photo] | None,
    keys: Keys,
    now: datetime,
) -> None:
    """Save a member's entry as a draft, which only they see. An entry that was shown is no longer shown.

    `photo` replaces the present one; None keeps it, and an empty sequence removes it. Raises InvalidLink.
    """
    async with database.write() as connection:
        member = await require_link(connection, token, Purpose.PREFERENCES, keys=keys)
        await _save(connection, member, ProfileKind.WALL, words, photo, "draft", now)
    log.info("profile-saved", member=member.id)


async def offer_own_entry(
    database: Database, token: str, *, revision: int, keys: Keys, now: datetime
) -> None:
    """Ask for a member's entry to be released, as they saw it at a revision. Raises InvalidLink, and Refused if it was
    changed since."""
    async with database.write() as connection:
        member = await require_link(connection, token, Purpose.PREFERENCES, keys=keys)
        await members.lock(connection, member.id)
        entry = await profiles.of_member(connection, member.id, ProfileKind.WALL)
        if entry is None or entry.revision != revision:
            raise Refused(_CHANGED)
        if entry.state == "draft":
            await profiles.save(
                connection, member.id, ProfileKind.WALL, state="waiting", changed_at=now, refusal=""
            )
            log.info("profile-offered", member=member.id)


async def withdraw_own_entry(database: Database, token: str, *, keys: Keys) -> None:
    """Delete a member's entry and photo at once, whatever its state. Raises InvalidLink."""
    async with database.write() as connection:
        member = await require_link(connection, token, Purpose.PREFERENCES, keys=keys)
        removed = await profiles.remove(connection, member.id, ProfileKind.WALL)
    if removed:
        log.info("profile-withdrawn", member=member.id)
        await _empty_log(database)


async def _empty_log(database: Database) -> None:
    """Remove what was deleted from SQLite's log too, if nobody else is using it; otherwise that happens later."""
    try:
        await database.checkpoint()
    except DatabaseProblem:
        log.info("log-not-emptied")


# What convenors and helpers do with the entries of the wall.


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of the wall that wait, the oldest first; some of those that are shown; and how many are shown."""

    waiting: Sequence[Profile]
    shown: Sequence[Profile]
    total: int


async def read_entries(database: Database, *, page: int = 1, most: int | None = PAGE) -> Entries:
    """Return the entries of the wall, with a page of `most` of those that are shown; pages are counted from 1."""
    async with database.read() as connection:
        return Entries(
            await profiles.waiting(connection),
            await profiles.shown(connection, ProfileKind.WALL, after=(page - 1) * (most or 0), most=most),
            await profiles.count_shown(connection, ProfileKind.WALL),
        )


async def find_entry(database: Database, number: int) -> Profile | None:
    """Return the entry of the wall with that number, unless only its member may see it."""
    async with database.read() as connection:
        return await _find(connection, number)


async def release(
    database: Database, number: int, *, revision: int | None = None, by: Actor, now: datetime
) -> Profile:
    """Show an entry to everybody. Raises Refused if it does not wait, or was changed since `revision`."""
    async with database.write() as connection:
        entry = await _require_waiting(connection, number, revision)
        await profiles.save(
            connection, entry.member, entry.kind, state="released", released_at=now, changed_at=now
        )
        await _record(connection, by, "profile-released", entry, now)
        return entry


async def refuse(
    database: Database, number: int, words: str, *, revision: int | None = None, by: Actor, now: datetime
) -> Profile:
    """Refuse an entry, with words that its member sees on their page. Its photo is deleted.

    Raises Refused if it does not wait, or was changed since `revision`, or without words.
    """
    words = require_line(words, "--because", longest=LONGEST_REFUSAL)
    if not words:
        raise Refused("the member needs to know why", option="--because")
    async with database.write() as connection:
        entry = await _require_waiting(connection, number, revision)
        await profiles.store_photo(connection, entry.member, entry.kind, [])
        await profiles.save(
            connection,
            entry.member,
            entry.kind,
            state="refused",
            refusal=words,
            photo=None,
            photo_format=None,
            changed_at=now,
        )
        await _record(connection, by, "profile-refused", entry, now)
        return entry


async def remove(database: Database, number: int, *, by: Actor, now: datetime) -> Profile:
    """Delete an entry and its photo, whether it is shown or waits. Raises Refused if there is none."""
    async with database.write() as connection:
        entry = await _require(connection, number)
        await profiles.remove(connection, entry.member, entry.kind)
        await _record(connection, by, "profile-removed", entry, now)
    await _empty_log(database)
    return entry


async def _find(connection: AsyncConnection, number: int) -> Profile | None:
    entry = await profiles.by_id(connection, number)
    return entry if entry and entry.kind is ProfileKind.WALL and entry.state != "draft" else None


async def _require(connection: AsyncConnection, number: int) -> Profile:
    if entry := await _find(connection, number):
        # Its member may be changing it at this moment.
        await members.lock(connection, entry.member)
        entry = await _find(connection, number)
    if entry:
        return entry
    raise Refused(
        f"there is no entry {number}: its member may have withdrawn it", command="`wall list` shows them"
    )


async def _require_waiting(connection: AsyncConnection, number: int, revision: int | None) -> Profile:
    entry = await _require(connection, number)
    if revision not in (None, entry.revision):
        raise Refused(_CHANGED)
    if entry.state != "waiting":
        raise Refused(f"entry {number} does not wait: it is {entry.state}")
    return entry


# What convenors do with their own profile, or the command line with any convenor's.


async def convenor_profile(database: Database, member: int) -> Profile | None:
    """Return the profile of a convenor, if they have one."""
    async with database.read() as connection:
        return await profiles.of_member(connection, member, ProfileKind.CONVENOR)


async def show_convenor(
    database: Database,
    address: str,
    words: Words,
    *,
    photo: Sequence[Photo] | None,
    revision: int | None = None,
    by: Actor,
    now: datetime,
) -> None:
    """Show a convenor among the convenors at once. `photo` is as in `save_own_entry`.

    Raises Refused for somebody who is not a convenor, and if the profile has changed since `revision` (-1: none).
    """
    async with database.write() as connection:
        member = await require_member(connection, address)
        await members.lock(connection, member.id)
        if not member.convenor:
            raise Refused(f"{member.address} is no convenor", command="`convenors add` appoints one")
        found = await profiles.of_member(connection, member.id, ProfileKind.CONVENOR)
        if revision not in (None, found.revision if found else -1):
            raise Refused(_CHANGED)
        await _save(connection, member, ProfileKind.CONVENOR, words, photo, "released", now)
        await audit.record(connection, by, "convenor-shown", about=member.id, now=now)


async def hide_convenor(database: Database, address: str, *, by: Actor, now: datetime) -> bool:
    """Stop showing a convenor, and delete their photo; return whether they were shown."""
    async with database.write() as connection:
        member = await require_member(connection, address)
        removed = await profiles.remove(connection, member.id, ProfileKind.CONVENOR)
        if removed:
            await audit.record(connection, by, "convenor-hidden", about=member.id, now=now)
    await _empty_log(database)
    return bool(removed)


async def show_member(
    database: Database, address: str, words: Words, *, photo: Sequence[Photo], by: Actor, now: datetime
) -> None:
    """Put a member on the wall, for demonstrations: a real member does that themselves, on their own page."""
    async with database.write() as connection:
        member = await require_member(connection, address)
        await _save(connection, member, ProfileKind.WALL, words, photo, "released", now)
        await audit.record(connection, by, "profile-released", about=member.id, now=now)


async def _save(
    connection: AsyncConnection,
    member: Member,
    kind: ProfileKind,
    words: Words,
    photo: Sequence[Photo] | None,
    state: str,
    now: datetime,
) -> None:
    await members.lock(connection, member.id)
    found = await profiles.of_member(connection, member.id, kind)
    name, format_ = (found.photo, found.photo_format) if found else (None, None)
    if photo is not None:
        # A new photo has a new address, which nobody can guess.
        name, format_ = (secrets.token_hex(16), photo[0].format) if photo else (None, None)
    shown_since = (found and found.released_at) or now
    await profiles.save(
        connection,
        member.id,
        kind,
        state=state,
        name=words.name,
        role=words.role,
        organisation=words.organisation,
        country=words.country or None,
        photo=name,
        photo_format=format_,
        changed_at=now,
        released_at=shown_since if state == "released" else None,
        refusal="",
    )
    if photo is not None:
        await profiles.store_photo(connection, member.id, kind, photo)


async def _record(connection: AsyncConnection, by: Actor, act: Act, entry: Profile, now: datetime) -> None:
    log.info(act, profile=entry.id)
    await audit.record(connection, by, act, subject=f"entry {entry.id}", about=entry.member, now=now)


def country_of(profile: Profile, language: str = "en") -> str:
    """Return the name of the country of a profile; empty if it says none."""
    return country_name(profile.country, language) if profile.country else ""
