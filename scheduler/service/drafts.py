"""Notices that convenors write in the console: saved as drafts, looked at, and sent once."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.delivery.compose.markdown import foreign_placeholders
from scheduler.domain.actor import Actor
from scheduler.domain.address import address_key, addresses_in, first_addresses
from scheduler.domain.audience import Audience, join_audience, parse_audience, split_audience
from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import Occurrence, OccurrenceKey, Series
from scheduler.domain.policy import Kind
from scheduler.domain.table import decode_text
from scheduler.domain.text import require_line, require_prose
from scheduler.service.notices import (
    LONGEST_SUBJECT,
    USEFUL_FOR,
    PublishedNotice,
    read_due,
    require_words,
    send_notice,
    when_due,
)
from scheduler.service.occurrences import require_meetings
from scheduler.service.placeholders import find_mentioned, store_mentioned
from scheduler.service.workbook import as_csv
from scheduler.store import drafts, members, notices
from scheduler.store.database import Database
from scheduler.store.drafts import Draft
from scheduler.store.members import Member

LONGEST_LIST = 5_000
"""How many addresses a list may have: a draft keeps the numbers of their members, and so does its form."""

_LIST = "list:"
_COUNTED = re.compile(r"(\d{1,9}) members", re.ASCII)
_SAME_DAY = timedelta(days=1)
_PUBLISHING_TAKES = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a convenor typed: `audience` in the command line's terms, `at` an instant in ISO 8601 or `local:…`, or empty
    for as soon as it is sent. `meeting` is the key of the one that placeholders are about, or empty for the next."""

    subject: str
    body: str
    audience: str
    at: str = ""
    meeting: str = ""

    def __post_init__(self) -> None:
        require_line(self.subject, "subject", longest=LONGEST_SUBJECT)
        require_prose(self.body, "body")
        read_due(self.at or None)
        if self.meeting:
            OccurrenceKey.parse(self.meeting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A draft before it is sent: whom it goes to, and what to know first.

    `audience` is None if it cannot be understood. `meeting` is the one that its placeholders are about, if any needs
    one. `foreign` are placeholders of other programs, which are sent as they were typed. `problem` says why it cannot
    be sent. `same_words_at` is when the same words were sent less than a day ago.
    """

    draft: Draft
    audience: Audience | None
    recipients: int
    meeting: Occurrence | None
    foreign: Sequence[str]
    problem: str
    same_words_at: datetime | None


async def unsent_drafts(database: Database) -> list[Draft]:
    """Return the drafts that were not sent, the last changed first."""
    async with database.read() as connection:
        return await drafts.unsent(connection)


async def find_draft(database: Database, number: int) -> Draft | None:
    async with database.read() as connection:
        return await drafts.by_id(connection, number)


async def add_draft(database: Database, words: Words, *, by: Actor, now: datetime) -> int:
    """Save a new draft and return its number."""
    async with database.write() as connection:
        return await drafts.add(
            connection,
            subject=words.subject,
            body=words.body,
            audience=words.audience,
            at=words.at,
            meeting=words.meeting,
            author=by.member,
            now=now,
        )


async def count_recipients(
    database: Database, audience: str, *, all_series: Mapping[str, Series], now: datetime
) -> int:
    """Return how many members a notice to an audience would go to. Raises Refused if it cannot be understood."""
    async with database.read() as connection:
        terms = await _audience(connection, audience, all_series, now)
        return await members.count_audience(connection, terms, kind=Kind.NOTICE)


@dataclass(frozen=True, slots=True)
class ListedMembers:
    """The members whom a list of addresses names, and the addresses that are nobody's."""

    members: Sequence[Member]
    unknown: Sequence[str]

    @property
    def term(self) -> str:
        """What a draft keeps of the list: numbers, so that it has no address of people who are erased later."""
        return _LIST + ".".join(str(member.id) for member in self.members)


async def read_addresses(pasted: str, file: bytes) -> list[str]:
    """Return the addresses in a text, and the first one of each row of a file, each once. Raises Refused for a
    spreadsheet that cannot be read."""
    found = [address for line in pasted.splitlines() for address in addresses_in(line)]
    found += first_addresses(decode_text(await asyncio.to_thread(as_csv, file)))
    return list(dict.fromkeys(found))


async def find_listed(database: Database, addresses: Sequence[str]) -> ListedMembers:
    """Return whom a list of addresses names. Raises Refused if it is empty or too long, or if it names nobody."""
    by_key = {address_key(address): address for address in addresses}
    if not by_key:
        raise Refused("there is no address")
    if len(by_key) > LONGEST_LIST:
        raise Refused(f"a list may have {LONGEST_LIST:,} addresses, and this one has {len(by_key):,}")
    async with database.read() as connection:
        found = await members.by_keys(connection, list(by_key))
    if not found:
        raise Refused("none of these addresses is a member's")
    return ListedMembers(
        sorted(found.values(), key=lambda member: member.id),
        [address for key, address in by_key.items() if key not in found],
    )


async def use_list(
    database: Database,
    draft: Draft,
    listed: ListedMembers,
    *,
    leaves_out: bool,
    revision: int,
    now: datetime,
) -> None:
    """Send a draft to the members on a list, or with `leaves_out` to others only, instead of the list that it had.

    Raises Refused as `save_draft`.
    """
    wanted, left_out = (
        [term for term in terms if not is_list(term)] for terms in split_audience(draft.audience)
    )
    if leaves_out:
        left_out.append(listed.term)
    else:
        # Everybody is what a new draft begins with.
        wanted = [*(term for term in wanted if term != "all"), listed.term]
    words = replace(_words_of(draft), audience=join_audience(wanted, left_out))
    await save_draft(database, draft.id, words, revision=revision, now=now)


async def listed_members(database: Database, audience: str) -> list[Member]:
    """Return the members on the lists of an audience, those who get it before those who do not."""
    numbers = _listed_numbers(audience)
    async with database.read() as connection:
        found = await members.by_ids(connection, numbers)
    return [found[number] for number in dict.fromkeys(numbers) if number in found]


def is_list(term: str) -> bool:
    """Return whether a term of an audience is a list of members, as drafts keep it or as notices count it."""
    return term.startswith(_LIST)


def count_listed(term: str) -> int:
    """Return how many members a list has, as drafts keep it or as notices count it; 0 for the command line's files."""
    value = term.removeprefix(_LIST)
    if counted := _COUNTED.fullmatch(value):
        return int(counted[1])
    return len(_numbers(value))


def _numbers(value: str) -> list[int]:
    """Return the numbers of members that a list has; none if it is a file of the command line."""
    parts = value.split(".")
    is_numbers = all(part.isascii() and part.isdecimal() and len(part) < 19 for part in parts)
    return [int(part) for part in parts] if is_numbers else []


def _listed_numbers(audience: str) -> list[int]:
    """Return the numbers of the members on all lists of an audience."""
    wanted, left_out = split_audience(audience)
    lists = filter(is_list, (*wanted, *left_out))
    return [number for term in lists for number in _numbers(term.removeprefix(_LIST))]


def _without_numbers(audience: str) -> str:
    """Return an audience as a notice keeps it: of a list, only how many members it has."""
    return join_audience(
        *(
            [f"{_LIST}{count_listed(term)} members" if is_list(term) else term for term in terms]
            for terms in split_audience(audience)
        )
    )


async def save_draft(database: Database, number: int, words: Words, *, revision: int, now: datetime) -> int:
    """Change a draft and return its revision.

    Raises Refused if it was sent or is being sent, or if somebody else changed it since `revision`.
    """
    async with database.write() as connection:
        stored = await drafts.by_id(connection, number)
        if stored and stored.notice is None and _words_of(stored) == words:
            return stored.revision
        # The sending may have been interrupted before the draft was marked: with other words it would be sent again.
        begun = await notices.by_identity(connection, _identity(number, revision))
        if begun and (begun.ready or now - begun.created_at < _PUBLISHING_TAKES):
            raise Refused("it has been sent, or is being sent at this moment")
        saved = await drafts.change(
            connection,
            number,
            revision=revision,
            subject=words.subject,
            body=words.body,
            audience=words.audience,
            at=words.at,
            meeting=words.meeting,
            now=now,
        )
        if not saved:
            raise Refused("somebody else changed or sent it meanwhile; copy your words and open it again")
        return revision + 1


def _words_of(draft: Draft) -> Words:
    return Words(
        subject=draft.subject,
        body=draft.body,
        audience=draft.audience,
        at=draft.at,
        meeting=draft.meeting,
    )


async def remove_draft(database: Database, number: int, *, revision: int) -> None:
    """Delete a draft. Raises Refused if it was sent, or changed by somebody else since `revision`."""
    async with database.write() as connection:
        if not await drafts.remove(connection, number, revision=revision):
            raise Refused("somebody else changed or sent it meanwhile; read it again")


async def review(
    database: Database, draft: Draft, *, all_series: Mapping[str, Series], now: datetime
) -> Review:
    """Return what a convenor looks at before sending a draft. Changes nothing."""
    problem, audience, recipients, meeting = "", None, 0, None
    async with database.read() as connection:
        try:
            audience = await _audience(connection, draft.audience, all_series, now)
            recipients = await members.count_audience(connection, audience, kind=Kind.NOTICE)
            require_words(draft.subject, draft.body)
            meeting = await _mentioned(connection, draft, audience, all_series, now)
            when_due(
                await members.zones(connection), at=read_due(draft.at or None), hold=timedelta(), now=now
            )
            if not recipients:
                problem = "it would go to nobody"
        except Refused as refusal:
            problem = refusal.message
        same = await notices.latest_with_words(
            connection,
            draft.subject,
            draft.body,
            since=now - _SAME_DAY,
            # An earlier press that was interrupted at its end is completed by the next, not repeated.
            other_than=_identity(draft.id, draft.revision),
        )
    return Review(
        draft=draft,
        audience=audience,
        recipients=recipients,
        meeting=meeting,
        foreign=foreign_placeholders(f"{draft.subject}\n{draft.body}"),
        problem=problem,
        same_words_at=same.created_at if same else None,
    )


async def send_draft(
    database: Database,
    draft: Draft,
    *,
    recipients: int,
    hold: timedelta,
    all_series: Mapping[str, Series],
    by: Actor,
    now: datetime,
) -> PublishedNotice:
    """Send a draft to the number of `recipients` that the convenor was shown; the first mail leaves after `hold`.

    However often it is called, and wherever an earlier call was interrupted, each member gets one mail. Raises Refused
    if the number has changed, or if it cannot be sent.
    """
    async with database.read() as connection:
        audience = await _audience(connection, draft.audience, all_series, now)
        meeting = await _mentioned(connection, draft, audience, all_series, now)
    if meeting:
        await store_mentioned(database, all_series, meeting, now=now)
    published = await send_notice(
        database,
        subject=draft.subject,
        body=draft.body,
        audience=audience,
        audience_text=_without_numbers(draft.audience),
        now=now,
        at=read_due(draft.at or None),
        expires=USEFUL_FOR,
        hold=hold,
        identity=_identity(draft.id, draft.revision),
        recipients=recipients,
        mentions=meeting.key if meeting else None,
        by=by,
    )
    async with database.write() as connection:
        await drafts.note_sent(connection, draft.id, published.notice)
    return published


def _identity(number: int, revision: int) -> str:
    """Return the identity of the notice that a draft is sent as."""
    return f"notice:draft-{number}-{revision}"


async def send_test(
    database: Database,
    draft: Draft,
    member: Member,
    *,
    all_series: Mapping[str, Series],
    by: Actor,
    now: datetime,
) -> None:
    """Send a draft to one convenor only. Raises Refused if it cannot be sent."""
    async with database.read() as connection:
        audience = await _audience(connection, draft.audience, all_series, now)
        meeting = await _mentioned(connection, draft, audience, all_series, now)
    if meeting:
        await store_mentioned(database, all_series, meeting, now=now)
    await send_notice(
        database,
        subject=draft.subject,
        body=draft.body,
        audience=Audience(terms={"address": [member.address_key]}),
        audience_text=f"{notices.TEST_AUDIENCE}{member.address}",
        now=now,
        mentions=meeting.key if meeting else None,
        by=by,
    )


async def _mentioned(
    connection: AsyncConnection,
    draft: Draft,
    audience: Audience,
    all_series: Mapping[str, Series],
    now: datetime,
) -> Occurrence | None:
    return await find_mentioned(
        connection,
        all_series,
        subject=draft.subject,
        body=draft.body,
        meeting=draft.meeting,
        audience=audience,
        now=now,
    )


async def _audience(
    connection: AsyncConnection, text: str, all_series: Mapping[str, Series], now: datetime
) -> Audience:
    listed = await members.by_ids(connection, _listed_numbers(text))

    def read_list(value: str) -> Sequence[str]:
        wanted = _numbers(value)
        if not wanted:
            raise Refused(f"audience list:{value[:40]}: files can only be named on the command line")
        found = [listed[number].address for number in wanted if number in listed]
        if not found:
            raise Refused("nobody on your list of addresses is known any more; give another list")
        return found

    audience = parse_audience(text, all_series=all_series.values(), read_list=read_list)
    await require_meetings(connection, all_series, audience, now=now)
    return audience
