"""From claims to envelopes: finds what each notice speaks of, composes each cohort once, fills in the member."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.delivery.compose.composer import WITH_CALENDAR, Cohort, Composed, Composer, RecipientValues
from scheduler.delivery.compose.links import UNPROVEN, tokens_for
from scheduler.delivery.send.transport import Envelope
from scheduler.domain.address import ascii_domain
from scheduler.domain.clock import Clock
from scheduler.domain.community import Community
from scheduler.domain.errors import Problem
from scheduler.domain.localtime import local_minute
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.policy import CHANGES, PERSONAL, Kind, Policy
from scheduler.domain.token import Keys
from scheduler.domain.verp import bounce_address
from scheduler.domain.zone import is_known_zone
from scheduler.store import notices, occurrences
from scheduler.store.database import Database
from scheduler.store.ledger import corrections, reports
from scheduler.store.ledger.claims import Claim
from scheduler.store.notices import Notice

log = structlog.get_logger()

COHORTS_KEPT = 256
_MESSAGE = "message"


def message_id(keys: Keys, community: Community, identity: str, member: int) -> str:
    """The Message-ID of a notice to a member: the same on every try, and after a restored backup too."""
    return f"<{keys.name(_MESSAGE, f'{identity}:{member}')}@{ascii_domain(community.domain)}>"


@dataclass(frozen=True, slots=True)
class _Subject:
    """A notice, the occurrence as it is to be told, and as members were told it before.

    `shown` is the local hour that mails showed each zone for `before`; `corrects` says that new zone data has changed
    hours that were told.
    """

    notice: Notice
    occurrence: Occurrence | None
    before: Occurrence | None
    shown: Mapping[str, str] = field(default_factory=dict)
    corrects: bool = False

    def as_known(self, known: "_Known") -> "_Subject":
        """A change as it is told to members who know this of the meeting: beside what they were told last, and under
        the UID that their calendars have, or a new one where these were told that it is cancelled.

        For a member who was told nothing the meeting was not off, and is not on again.
        """
        before = known.told or (self.before and replace(self.before, cancelled=False))
        if before and self.before and before.starts != self.before.starts:
            self = replace(self, shown={})
        if known.ordinal is None:
            return replace(self, before=before)
        return replace(
            self,
            occurrence=self.occurrence and replace(self.occurrence, reinstated=known.ordinal),
            before=before and replace(before, reinstated=known.ordinal),
        )


class _Known(NamedTuple):
    """What a member knows of a meeting when a change is told: the meeting as they were told it last, and the ordinal of
    the UID that their calendar is to have; None where they were told nothing, or were not sent the invitation."""

    told: Occurrence | None = None
    ordinal: int | None = None


_STRANGER = _Known()
_Place = tuple[int, int | None, str, str, bool, _Known, str]
"""Of a notice and its revision the zone, the locale, whether it is a member's first mail, what they know of the
meeting, and which wrong hour they were told before: what makes a cohort."""
_CORRECTING = (Kind.INVITATION, Kind.REMINDER, Kind.UPDATE)


def _renewals(mails: Sequence[tuple[Kind, int]], *, since: int, cancels: bool) -> int:
    """Return how many times the UID of a member's invitation, of the revision `since`, has been renewed: once for each
    time that they were told that the meeting is cancelled. What `cancels` the meeting names the UID of the last mail
    that called to it. `mails` are kinds and revisions."""
    until = max(revision for kind, revision in mails if kind is not Kind.CANCELLATION) if cancels else None
    return sum(
        kind is Kind.CANCELLATION and since < revision and (until is None or revision < until)
        for kind, revision in mails
    )


class FollowingMessages(Protocol):
    """Finds the next meeting that is held, which a welcome speaks of."""

    async def __call__(self, connection: AsyncConnection, now: datetime, /) -> Occurrence | None: ...


class MessageWriter:
    """Writes the messages of claims; keeps the cohorts that it composed last."""

    def __init__(
        self,
        database: Database,
        composer: Composer,
        clock: Clock,
        *,
        community: Community,
        series: Mapping[str, Series],
        keys: Keys,
        following: FollowingMessages | None = None,
        room_policies: Sequence[Policy] = (),
    ) -> None:
        """Of the reminders of `room_policies` the last one before the start names the room's own address."""
        self._database = database
        self._composer = composer
        self._clock = clock
        self._community = community
        self._series = series
        self._keys = keys
        self._room_policies = room_policies
        self._following = following
        # Many notices may have the same words, as those with which people sign in.
        self._composed = lru_cache(maxsize=COHORTS_KEPT)(self._compose)
        self._places: OrderedDict[_Place, Composed | Problem] = OrderedDict()
        self._subjects: OrderedDict[tuple[int, int | None], _Subject] = OrderedDict()
        self._noted: set[tuple[str, str, datetime]] = set()

    async def write(self, batch: Sequence[Claim]) -> list[Envelope | Problem]:
        """The envelope of each claim; a Problem in its place where its message cannot be written."""
        await self._look_up({(one.notice, one.revision) for one in batch} - self._subjects.keys())
        batch = [one if is_known_zone(one.zone) else self._at_home(one) for one in batch]
        knows, told = await self._look_back(batch), await self._told_before(batch)
        # The many of a batch are of few cohorts.
        of_cohort: dict[_Place, list[int]] = {}
        for number, one in enumerate(batch):
            known = knows.get((one.notice, one.member), _STRANGER)
            place = one.notice, one.revision, one.zone, one.locale, one.first, known, told.get(one.id, "")
            of_cohort.setdefault(place, []).append(number)
        found = {place: self._subjects.get(place[:2]) for place in of_cohort}
        # A welcome may speak of a meeting that the plan does not keep yet.
        await self._note_hours(
            {
                (zone, about.occurrence)
                for (_, _, zone, *_), about in found.items()
                if about and about.notice.kind is not Kind.WELCOME
            }
        )
        while len(self._subjects) > COHORTS_KEPT:
            self._subjects.popitem(last=False)
        now = self._clock.now()
        written: list[Envelope | Problem] = [Problem("the notice is gone")] * len(batch)
        for place, about in found.items():
            if about:
                numbers, composed = of_cohort[place], self._cohort(about, place)
                # Of all at once, since keyed names cost least so.
                for number, own in zip(
                    numbers, self._personal(about, [batch[one] for one in numbers]), strict=True
                ):
                    written[number] = self._envelope(about.notice, own, composed, now)
        return written

    def _at_home(self, claim: Claim) -> Claim:
        """Return a claim whose zone the zone data does not know in the home zone of its meeting, else in UTC."""
        subject = self._subjects.get((claim.notice, claim.revision))
        return claim._replace(zone=subject.occurrence.zone if subject and subject.occurrence else "UTC")

    def _personal(self, about: _Subject, claims: Sequence[Claim]) -> Iterator[RecipientValues]:
        notice, occurrence = about.notice, about.occurrence
        nobody, members = [b""] * len(claims), [one.member for one in claims]
        invited, uids = nobody, nobody
        if notice.kind is not Kind.INVITATION and notice.occurrence:
            invitation = f"{Kind.INVITATION}:{notice.occurrence}"
            invited = self._keys.names(_MESSAGE, [f"{invitation}:{one}" for one in members])
        if occurrence and notice.kind in WITH_CALENDAR:
            uids = self._keys.names("uid", [f"{occurrence.key}:{one}" for one in members])
        for claim, message, tokens, before, uid in zip(
            claims,
            self._keys.names(_MESSAGE, [f"{notice.identity}:{one}" for one in members]),
            tokens_for(
                notice.kind,
                claims,
                keys=self._keys,
                address=notice.address or "",
                expires=notice.expires,
                occurrence=notice.occurrence or "",
            ),
            invited,
            uids,
            strict=True,
        ):
            yield RecipientValues(
                claim.member,
                "" if notice.kind in UNPROVEN else claim.name,
                claim.address,
                claim.zone,
                claim.locale,
                assumed=claim.zone_source == "assumed",
                message=message,
                tokens=tokens,
                # A change carries a calendar part to those who were sent the invitation.
                invited=before if claim.requested else b"",
                uid=uid if claim.requested or notice.kind is Kind.INVITATION else b"",
            )

    async def _look_up(self, wanted: set[tuple[int, int | None]]) -> None:
        """Find what notices speak of. What is found stays as it is: a change makes a new revision, or a new notice."""
        if not wanted:
            return
        async with self._database.read() as connection:
            for number, revision in sorted(wanted, key=lambda one: (one[0], one[1] or 0)):
                if notice := await notices.by_id(connection, number):
                    occurrence, before = await self._told(connection, notice, revision)
                    shown, corrects = {}, False
                    if occurrence and notice.kind in _CORRECTING:
                        corrects = await corrections.is_outdated(connection, occurrence.key)
                        if before:
                            shown = await corrections.last_local_starts(connection, before.key, before.starts)
                    self._subjects[number, revision] = _Subject(notice, occurrence, before, shown, corrects)

    async def _told_before(self, batch: Sequence[Claim]) -> dict[int, str]:
        """By claim, the hour that its member was told before new zone data changed it."""
        found: dict[int, str] = {}
        of_subject: dict[tuple[int, int | None], list[Claim]] = {}
        for one in batch:
            of_subject.setdefault((one.notice, one.revision), []).append(one)
        for subject, its in of_subject.items():
            about = self._subjects.get(subject)
            if about is None or about.occurrence is None or not about.corrects:
                continue
            async with self._database.read() as connection:
                told = await corrections.outdated_local_starts(
                    connection, about.occurrence, [one.member for one in its], except_notice=about.notice.id
                )
            for one in its:
                zone, local = told.get(one.member, ("", ""))
                # Whoever has moved meanwhile was told the hour of another place.
                if zone == one.zone:
                    found[one.id] = local
        return found

    async def _look_back(self, batch: Sequence[Claim]) -> dict[tuple[int, int], _Known]:
        """What the members to whom a change is told know of its meeting, by notice and member."""
        asked: dict[tuple[int, int], tuple[Notice, list[int]]] = {}
        for one in batch:
            about = self._subjects.get((one.notice, one.revision))
            if about and about.notice.kind in CHANGES and one.revision is not None:
                asked.setdefault((one.notice, one.revision), (about.notice, []))[1].append(one.member)
        found: dict[tuple[int, int], _Known] = {}
        if not asked:
            return found
        async with self._database.read() as connection:
            for (number, revision), (notice, people) in asked.items():
                assert notice.occurrence
                histories = await reports.earlier_mails(
                    connection, notice.occurrence, people, before=revision
                )
                states = {
                    one: await occurrences.at_revision(connection, notice.occurrence, one)
                    for one in {one for mails in histories.values() for _, one in mails}
                }
                for member, mails in histories.items():
                    since = next((one for kind, one in mails if kind is Kind.INVITATION), None)
                    ordinal = None
                    if since is not None and (invited := states[since]):
                        cancels = notice.kind is Kind.CANCELLATION
                        ordinal = invited.reinstated + _renewals(mails, since=since, cancels=cancels)
                    found[number, member] = _Known(states[mails[-1][1]], ordinal)
        return found

    async def _note_hours(self, shown: set[tuple[str, Occurrence | None]]) -> None:
        """Keep which local hour each zone is told, before the first mail that shows it leaves."""
        new = {
            (occurrence.key, zone, occurrence.starts)
            for zone, occurrence in shown
            if occurrence and (occurrence.key, zone, occurrence.starts) not in self._noted
        }
        if new:
            async with self._database.write() as connection:
                for key, zone, starts in sorted(new):
                    local = local_minute(starts, zone)
                    await notices.note_local_start(connection, key, zone, starts=starts, local_start=local)
            self._noted |= new

    async def _told(
        self, connection: AsyncConnection, notice: Notice, revision: int | None
    ) -> tuple[Occurrence | None, Occurrence | None]:
        """The occurrence as it is to be told, and as members were told it before."""
        if notice.kind is Kind.WELCOME and self._following:
            return await self._following(connection, self._clock.now()), None
        if notice.occurrence is None or revision is None:
            return None, None
        occurrence = await occurrences.at_revision(connection, notice.occurrence, revision)
        if occurrence and (series := self._series.get(occurrence.series)):
            occurrence = await occurrences.with_preceding(connection, occurrence, series)
        if notice.before_revision is None:
            return occurrence, None
        return occurrence, await occurrences.at_revision(
            connection, notice.occurrence, notice.before_revision
        )

    def _envelope(
        self, notice: Notice, own: RecipientValues, composed: Composed | Problem, now: datetime
    ) -> Envelope | Problem:
        if isinstance(composed, Problem):
            return composed
        try:
            return Envelope(
                sender=self._return_path(own.member, own.address),
                recipient=own.address,
                pieces=composed.pieces(own, date=now),
                envelope_id=own.message.decode(),
                composed=True,
            )
        except (Problem, ValueError) as error:
            return error if isinstance(error, Problem) else Problem(f"{notice.kind}: {error}")

    def _return_path(self, member: int, address: str) -> str:
        """Where a mail comes back to: with an inbox an address that says whose it was (VERP)."""
        inbox = self._community.inbox
        return bounce_address(self._keys, member, address, inbox) if inbox else self._community.address

    def _cohort(self, about: _Subject, place: _Place) -> Composed | Problem:
        """Composed once, and a fault found once: a broken template is not rendered again for every member."""
        if place not in self._places:
            _, _, zone, locale, first, known, told = place
            if about.notice.kind in CHANGES:
                about = about.as_known(known)
            self._places[place] = self._composed_for(about, zone=zone, locale=locale, first=first, told=told)
            if len(self._places) > COHORTS_KEPT:
                self._places.popitem(last=False)
        self._places.move_to_end(place)
        return self._places[place]

    def _composed_for(
        self, about: _Subject, *, zone: str, locale: str, first: bool, told: str
    ) -> Composed | Problem:
        notice, occurrence = about.notice, about.occurrence
        try:
            cohort = Cohort(
                kind=notice.kind,
                zone=zone,
                locale=locale,
                policy=notice.policy or "",
                subject=notice.subject,
                body=notice.body,
                occurrence=occurrence,
                before=about.before,
                introduces=first and notice.kind not in PERSONAL,
                told=datetime.fromisoformat(told) if told else None,
                shown=datetime.fromisoformat(about.shown[zone]) if zone in about.shown else None,
                series=self._series[occurrence.series] if occurrence else None,
                room=self._room(notice, occurrence, zone) if occurrence else "",
            )
        except (ValueError, KeyError) as error:
            return Problem(f"{notice.kind}: {error}")
        return self._composed(cohort)

    def _compose(self, cohort: Cohort) -> Composed | Problem:
        try:
            return self._composer.cohort(cohort)
        except Problem as problem:
            log.error("cohort-not-composed", kind=cohort.kind, zone=cohort.zone, problem=str(problem))
            return problem

    def _room(self, notice: Notice, occurrence: Occurrence, zone: str) -> str:
        """The room's own address where this is the last reminder before the start."""
        reminders = [
            (one.due(occurrence.starts, zone), one.slug)
            for one in self._room_policies
            if one.kind is Kind.REMINDER and one.series in (None, occurrence.series)
        ]
        if notice.kind is not Kind.REMINDER or not reminders or max(reminders)[1] != notice.policy:
            return ""
        return occurrence.link or self._series[occurrence.series].link
