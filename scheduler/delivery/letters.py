"""From claims to envelopes: finds what each notice speaks of, composes each cohort once, fills in the member."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.delivery.cohort import Cohort, Personal, Recipient
from scheduler.delivery.compose import Composed, Composer
from scheduler.delivery.links import UNPROVEN, links_for
from scheduler.delivery.transport import Envelope
from scheduler.delivery.wording import as_told
from scheduler.domain.calendar import invitation_uid
from scheduler.domain.clock import Clock
from scheduler.domain.community import Community
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.policy import PERSONAL, Kind, Policy
from scheduler.domain.problem import Problem
from scheduler.domain.token import Keys, Purpose
from scheduler.domain.zone import zone_info
from scheduler.store import notices, occurrences
from scheduler.store.database import Database
from scheduler.store.ledger.claims import Claim
from scheduler.store.notices import Notice

log = structlog.get_logger()

COHORTS_KEPT = 256


def message_id(keys: Keys, community: Community, identity: str, member: int) -> str:
    """The Message-ID of a notice to a member: the same on every try, and after a restored backup too."""
    return f"<{keys.name('message', f'{identity}:{member}')}@{community.domain}>"


def leave_url(keys: Keys, community: Community, member: int, generation: int) -> str:
    return f"{community.base_url}/u/{keys.token(Purpose.LEAVE, member, generation=generation)}"


def join_url(keys: Keys, community: Community, member: int, generation: int, occurrence: str) -> str:
    return community.way_in(keys.token(Purpose.JOIN, member, generation=generation), occurrence)


@dataclass(frozen=True, slots=True)
class _Subject:
    """A notice, the occurrence as it is to be told, and as members were told it before."""

    notice: Notice
    occurrence: Occurrence | None
    before: Occurrence | None


class Following(Protocol):
    """Finds the next meeting that is held, which a welcome speaks of."""

    async def __call__(self, connection: AsyncConnection, now: datetime, /) -> Occurrence | None: ...


class Letters:
    """Writes the messages of claims; keeps the cohorts that it composed last."""

    def __init__(
        self, database: Database, composer: Composer, clock: Clock, *,
        community: Community, series: Mapping[str, Series], keys: Keys, following: Following | None = None,
        room_policies: Sequence[Policy] = (),
    ) -> None:  # fmt: skip
        """Of the reminders of `room_policies` the last one before the start names the room's own address."""
        self._database = database
        self._composer = composer
        self._clock = clock
        self._community = community
        self._series = series
        self._keys = keys
        self._room_policies = room_policies
        self._following = following
        self._composed: OrderedDict[Cohort, Composed | Problem] = OrderedDict()
        self._subjects: OrderedDict[tuple[int, int | None], _Subject] = OrderedDict()
        self._noted: set[tuple[str, str, datetime]] = set()

    async def write(self, batch: Sequence[Claim]) -> list[Envelope | Problem]:
        """The envelope of each claim; a Problem in its place where its message cannot be written."""
        await self._look_up({(one.notice, one.revision) for one in batch} - self._subjects.keys())
        found = [self._subjects.get((one.notice, one.revision)) for one in batch]
        # A welcome may speak of a meeting that the plan does not keep yet.
        await self._note_hours(
            {
                (one.zone, about.occurrence)
                for one, about in zip(batch, found, strict=True)
                if about and about.notice.kind is not Kind.WELCOME
            }
        )
        while len(self._subjects) > COHORTS_KEPT:
            self._subjects.popitem(last=False)
        now = self._clock.now()
        composed: dict[tuple[int, int | None, str, str, bool], Composed | Problem] = {}
        written: list[Envelope | Problem] = []
        for one, about in zip(batch, found, strict=True):
            if about is None:
                written.append(Problem("the notice is gone"))
                continue
            # The many of a batch are of few cohorts.
            place = one.notice, one.revision, one.zone, one.locale, one.first
            if place not in composed:
                composed[place] = self._cohort(about, zone=one.zone, locale=one.locale, first=one.first)
            written.append(self._envelope(one, about, composed[place], now))
        return written

    async def _look_up(self, wanted: set[tuple[int, int | None]]) -> None:
        """Find what notices speak of. What is found stays as it is: a change makes a new revision, or a new notice."""
        if not wanted:
            return
        async with self._database.read() as connection:
            for number, revision in sorted(wanted, key=lambda one: (one[0], one[1] or 0)):
                if notice := await notices.by_id(connection, number):
                    occurrence, before = await self._told(connection, notice, revision)
                    self._subjects[number, revision] = _Subject(notice, occurrence, before)

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
                    local = f"{starts.astimezone(zone_info(zone)):%Y-%m-%dT%H:%M}"
                    await notices.note_told(connection, key, zone, starts=starts, local_start=local)
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
        if notice.before_revision is None:
            return occurrence, None
        return occurrence, await occurrences.at_revision(
            connection, notice.occurrence, notice.before_revision
        )

    def _envelope(
        self, claim: Claim, about: _Subject, composed: Composed | Problem, now: datetime
    ) -> Envelope | Problem:
        if isinstance(composed, Problem):
            return composed
        notice, occurrence = about.notice, about.occurrence
        number, generation = claim.member, claim.generation
        try:
            identity = message_id(self._keys, self._community, notice.identity, number)
            personal = Personal(
                recipient=Recipient(
                    member=number, name="" if notice.kind in UNPROVEN else claim.name,
                    address=claim.address, zone=claim.zone, locale=claim.locale,
                    assumed=claim.zone_source == "assumed",
                ),
                message_id=identity,
                leave_url=leave_url(self._keys, self._community, number, generation),
                join_url=join_url(self._keys, self._community, number, generation, occurrence.key)
                if occurrence
                else "",
                in_reply_to=self._thread(notice, claim),
                uid=self._uid(about, claim),
                links=links_for(
                    notice.kind, keys=self._keys, community=self._community, member=number, generation=generation,
                    feed_generation=claim.feed_generation, address=notice.address or "", expires=notice.expires,
                    occurrence=notice.occurrence or "",
                ),
            )  # fmt: skip
            return Envelope(
                sender=self._community.address, recipient=claim.address,
                content=composed.message(personal, date=now), envelope_id=identity[1:].partition("@")[0],
                composed=True,
            )  # fmt: skip
        except (Problem, ValueError) as error:
            return error if isinstance(error, Problem) else Problem(f"{notice.kind}: {error}")

    def _cohort(self, about: _Subject, *, zone: str, locale: str, first: bool) -> Composed | Problem:
        """Composed once, and a fault found once: a broken template is not rendered again for every member."""
        notice, occurrence = about.notice, about.occurrence
        try:
            cohort = Cohort(
                kind=notice.kind, zone=zone, locale=locale, policy=notice.policy or "", subject=notice.subject,
                body=notice.body, occurrence=occurrence, before=about.before,
                introduces=first and notice.kind not in PERSONAL,
                series=self._series[occurrence.series] if occurrence else None,
                room=self._room(notice, occurrence, zone) if occurrence else "",
            )  # fmt: skip
        except (ValueError, KeyError) as error:
            return Problem(f"{notice.kind}: {error}")
        if cohort not in self._composed:
            try:
                self._composed[cohort] = self._composer.cohort(cohort)
            except Problem as problem:
                log.error("cohort-not-composed", kind=cohort.kind, zone=cohort.zone, problem=str(problem))
                self._composed[cohort] = problem
            if len(self._composed) > COHORTS_KEPT:
                self._composed.popitem(last=False)
        self._composed.move_to_end(cohort)
        return self._composed[cohort]

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

    def _thread(self, notice: Notice, claim: Claim) -> str:
        """The Message-ID of the member's invitation to the same occurrence, where they were sent one."""
        if notice.kind is Kind.INVITATION or not notice.occurrence or not claim.requested:
            return ""
        return message_id(self._keys, self._community, f"{Kind.INVITATION}:{notice.occurrence}", claim.member)

    def _uid(self, about: _Subject, claim: Claim) -> str:
        """The UID of the calendar part: in an invitation, and in what follows to those who were sent one."""
        kind, occurrence = about.notice.kind, about.occurrence
        changes = kind in (Kind.UPDATE, Kind.CANCELLATION) and claim.requested
        if occurrence is None or not (kind is Kind.INVITATION or changes):
            return ""
        if kind is Kind.CANCELLATION:
            occurrence = as_told(occurrence, about.before)
        member_hash = self._keys.name("uid", f"{occurrence.key}:{claim.member}")
        return invitation_uid(occurrence, member_hash, self._community.domain)
