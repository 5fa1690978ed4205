"""Write the envelopes of claims: load each notice and its meeting, compose each cohort once, fill in the members."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.delivery.compose.composer import (
    WITH_CALENDAR,
    Cohort,
    CohortMessage,
    Composer,
    RecipientValues,
)
from scheduler.delivery.compose.kept_renderings import Batch, KeptRenderings
from scheduler.delivery.compose.links import NAMELESS, tokens_for
from scheduler.delivery.send.transport import Envelope
from scheduler.domain.address import ascii_domain
from scheduler.domain.advance_notice import AdvanceNotice, Preflight, read_details
from scheduler.domain.audience import series_of
from scheduler.domain.clock import Clock
from scheduler.domain.community import Community
from scheduler.domain.contact import ContactMessage
from scheduler.domain.errors import Problem
from scheduler.domain.localtime import local_minute
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.policy import CHANGES, PERSONAL, TO_CONVENORS, Kind, Policy
from scheduler.domain.token import TOKEN_LENGTH, Keys, bounce_address, mail_name, mail_names
from scheduler.domain.weekly_report import WeeklyReport
from scheduler.domain.zone import is_known_zone
from scheduler.store import contact_messages, notices, occurrences
from scheduler.store.database import Database
from scheduler.store.ledger import corrections, reports
from scheduler.store.ledger.claims import Claim
from scheduler.store.notices import Notice

log = structlog.get_logger()

COHORTS_KEPT = 256
"""The number of cohort messages and of notices that are kept in memory."""


def message_id(keys: Keys, community: Community, identity: str, member: int) -> str:
    """Return the Message-ID of a notice to a member: the same on every attempt, and after a backup was restored."""
    return f"<{mail_name(keys, identity, member)}@{ascii_domain(community.domain)}>"


@dataclass(frozen=True, slots=True)
class _NoticeContext:
    """A notice, with its occurrence as the notice shows it and, in `before`, as members were last told.

    `shown` is the local time that mails showed for `before`, by zone. `corrects` says that new zone data has changed
    local times that members were told. For a welcome, `followed` has the series that its member follows, each with its
    next meeting, the first meeting first; `occurrence` is the first of these meetings. A notice may have a meeting
    that it mentions. `about` is what a mail tells convenors, and
    `contact` what a visitor wrote to them.
    """

    notice: Notice
    occurrence: Occurrence | None
    before: Occurrence | None
    shown: Mapping[str, str] = field(default_factory=dict)
    corrects: bool = False
    followed: tuple[tuple[Series, Occurrence | None], ...] = ()
    mentions: tuple[Series, Occurrence] | None = None
    about: AdvanceNotice | WeeklyReport | None = None
    contact: ContactMessage | None = None

    @property
    def meeting(self) -> Occurrence | None:
        """The meeting whose time the mail shows, if there is one."""
        return self.mentions[1] if self.mentions else self.occurrence

    def for_members_who_know(self, knowledge: "_Knowledge") -> "_NoticeContext":
        """Return the context of a change for members with this knowledge of the meeting.

        The change is shown against what they were told last. Its UID is the one in their calendars, or a new one
        where they were told that the meeting is cancelled. To members who were told nothing it is not shown as
        cancelled before.
        """
        before = knowledge.told or (self.before and replace(self.before, cancelled=False))
        is_other_time = before and self.before and before.starts != self.before.starts
        shown = {} if is_other_time else self.shown
        if knowledge.ordinal is None:
            return replace(self, before=before, shown=shown)
        return replace(
            self,
            occurrence=self.occurrence and replace(self.occurrence, reinstated=knowledge.ordinal),
            before=before and replace(before, reinstated=knowledge.ordinal),
            shown=shown,
        )


class _Knowledge(NamedTuple):
    """What a member knows of a meeting before they are told of a change.

    `told` is the meeting as they were last told, or None where they were told nothing. `ordinal` is the number of the
    UID that their calendar should use, or None where they were not sent the invitation.
    """

    told: Occurrence | None = None
    ordinal: int | None = None


_TOLD_NOTHING = _Knowledge()
_Contexts = Mapping[tuple[int, int | None], _NoticeContext]
"""By the number of the notice, and the revision of the meeting."""

_INERT_TOKEN = (b"preview0" * TOKEN_LENGTH)[:TOKEN_LENGTH]
"""What stands for a member's token in a preview. No token contains a 0."""

_CohortKey = tuple[int, int | None, str, str, bool, _Knowledge, str]
"""What the members of a cohort share: notice, revision, zone, locale, whether this is their first mail, what they know
of the meeting, and the outdated local time that they were told, or an empty string."""

_CORRECTING = (Kind.INVITATION, Kind.REMINDER, Kind.UPDATE)


def _count_renewals(mails: Sequence[tuple[Kind, int]], *, since: int, cancels: bool) -> int:
    """Return how many times the UID of a member's invitation, of revision `since`, was renewed.

    It is renewed each time the member is told that the meeting is cancelled. A mail that `cancels` the meeting uses the
    UID of the last mail that invited to it. `mails` are the kinds and revisions of the mails that the member was sent.
    """
    until = max(revision for kind, revision in mails if kind is not Kind.CANCELLATION) if cancels else None
    return sum(
        kind is Kind.CANCELLATION and since < revision and (until is None or revision < until)
        for kind, revision in mails
    )


def _in_known_zone(claim: Claim, contexts: _Contexts) -> Claim:
    """Return a claim whose zone the zone data does not know in the home zone of its meeting, or in UTC."""
    if is_known_zone(claim.zone):
        return claim
    context = contexts.get((claim.notice, claim.revision))
    return claim._replace(zone=context.meeting.zone if context and context.meeting else "UTC")


class NextMeetings(Protocol):
    """Return the next meeting of each series that a member follows, by slug, for a welcome; None where there is none.

    None of them is cancelled.
    """

    async def __call__(
        self, connection: AsyncConnection, member: int, now: datetime, /
    ) -> Mapping[str, Occurrence | None]: ...


class MessageWriter:
    """Write the messages of claims, and keep the cohort messages used last."""

    def __init__(
        self,
        database: Database,
        composer: Composer,
        clock: Clock,
        *,
        community: Community,
        series: Mapping[str, Series],
        keys: Keys,
        next_meetings: NextMeetings | None = None,
        room_policies: Sequence[Policy] = (),
    ) -> None:
        """Show the room's own address in the last reminder before the start, if it is one of `room_policies`."""
        self._database = database
        self._composer = composer
        self._clock = clock
        self._community = community
        self._series = series
        self._keys = keys
        self._room_policies = room_policies
        self._next_meetings = next_meetings
        # Many notices may have the same text, such as those with a link to sign in.
        self._compose_once = lru_cache(maxsize=COHORTS_KEPT)(self._compose)
        self._messages: OrderedDict[_CohortKey, CohortMessage | Problem] = OrderedDict()
        self._contexts: OrderedDict[tuple[int, int | None], _NoticeContext] = OrderedDict()
        self._recorded: set[tuple[str, str, datetime]] = set()
        self._kept = KeptRenderings(database)

    async def write(self, batch: Sequence[Claim]) -> list[Envelope | Problem]:
        """Return the envelope of each claim, or a Problem where its message cannot be written."""
        claims = batch
        await self._load_contexts({(claim.notice, claim.revision) for claim in batch} - self._contexts.keys())
        batch = [_in_known_zone(claim, self._contexts) for claim in batch]
        knowledge = await self._load_knowledge(batch, self._contexts)
        hours_told = await self._load_hours_told_before(batch, self._contexts)
        # A batch has many claims, but few cohorts.
        cohorts: dict[_CohortKey, list[int]] = {}
        for position, claim in enumerate(batch):
            key = (
                claim.notice,
                claim.revision,
                claim.zone,
                claim.locale,
                claim.first,
                knowledge.get((claim.notice, claim.member), _TOLD_NOTHING),
                hours_told.get(claim.id, ""),
            )
            cohorts.setdefault(key, []).append(position)
        contexts = {key: self._contexts.get(key[:2]) for key in cohorts}
        # The meeting of a welcome may not be in the database yet, so its hours cannot be recorded. Convenors are told
        # more than members, and earlier.
        await self._record_hours_told(
            {
                (zone, context.meeting)
                for (_, _, zone, *_), context in contexts.items()
                if context and context.notice.kind not in (Kind.WELCOME, *TO_CONVENORS)
            }
        )
        while len(self._contexts) > COHORTS_KEPT:
            self._contexts.popitem(last=False)
        now = self._clock.now()
        written: list[Envelope | Problem] = [Problem("the notice is gone")] * len(batch)
        kept = Batch()
        for key, context in contexts.items():
            if context:
                positions, message = cohorts[key], self._message_of(context, key)
                # One call for the whole cohort, because making all identifiers and tokens at once is fastest.
                recipients = list(
                    self._recipient_values(context, [batch[position] for position in positions])
                )
                for position, personal in zip(positions, recipients, strict=True):
                    written[position] = self._envelope(context.notice, personal, message, now)
                if isinstance(message, CohortMessage):
                    members = [claims[position] for position in positions]
                    self._kept.note(kept, key, message, members, recipients)
        await self._kept.store(kept)
        return written

    async def preview(self, notice: Notice, claim: Claim, *, mentioned: Occurrence | None = None) -> bytes:
        """Return the message of a notice, which need not be stored, as the member of `claim` would get it.

        Its personal links have no token, so they open nothing. Nothing is recorded. `mentioned` is the meeting that
        the notice mentions. Raises Problem where the message cannot be written.
        """
        async with self._database.read() as connection:
            context = await self._load_context(connection, notice, claim.revision)
            if mentioned:
                series = self._series[mentioned.series]
                meeting = await occurrences.with_preceding(connection, mentioned, series)
                context = replace(context, mentions=(series, meeting))
        contexts = {(claim.notice, claim.revision): context}
        claim = _in_known_zone(claim, contexts)
        if notice.kind in CHANGES:
            knowledge = await self._load_knowledge([claim], contexts)
            known = knowledge.get((claim.notice, claim.member), _TOLD_NOTHING)
            context = context.for_members_who_know(known)
        told = await self._load_hours_told_before([claim], contexts)
        message = self._compose_for(
            context, zone=claim.zone, locale=claim.locale, first=claim.first, told=told.get(claim.id, "")
        )
        if isinstance(message, Problem):
            raise message
        (personal,) = self._recipient_values(context, [claim])
        inert = personal._replace(
            tokens=(_INERT_TOKEN,) * len(personal.tokens),
            message=b"message",
            invited=b"",
            uid=b"0" * len(personal.uid),
        )
        return message.message(inert, date=self._clock.now())

    def _recipient_values(
        self, context: _NoticeContext, claims: Sequence[Claim]
    ) -> Iterator[RecipientValues]:
        notice, occurrence = context.notice, context.occurrence
        none, members = [b""] * len(claims), [claim.member for claim in claims]
        invited, uids = none, none
        if notice.kind is not Kind.INVITATION and notice.occurrence:
            invitation = f"{Kind.INVITATION}:{notice.occurrence}"
            invited = mail_names(self._keys, [(invitation, member) for member in members])
        if occurrence and notice.kind in WITH_CALENDAR:
            uids = self._keys.names("uid", [f"{occurrence.key}:{member}" for member in members])
        for claim, message, tokens, invitation_id, uid in zip(
            claims,
            mail_names(self._keys, [(notice.identity, member) for member in members]),
            tokens_for(
                notice.kind,
                claims,
                keys=self._keys,
                address=notice.address or "",
                expires=notice.expires,
                occurrence=notice.occurrence or notice.mentions or "",
                words=f"{notice.subject}\n{notice.body}",
            ),
            invited,
            uids,
            strict=True,
        ):
            yield RecipientValues(
                claim.member,
                "" if notice.kind in NAMELESS else claim.name,
                claim.address,
                claim.zone,
                claim.locale,
                assumed=claim.assumes_zone,
                message=message,
                tokens=tokens,
                # A change has a calendar part only for members who were sent the invitation.
                invited=invitation_id if claim.requested else b"",
                uid=uid if claim.requested or notice.kind is Kind.INVITATION else b"",
            )

    async def _load_contexts(self, wanted: set[tuple[int, int | None]]) -> None:
        """Load notices and their meetings. They need no reloading: a change makes a new revision, or a new notice."""
        if not wanted:
            return
        async with self._database.read() as connection:
            for number, revision in sorted(wanted, key=lambda pair: (pair[0], pair[1] or 0)):
                if notice := await notices.by_id(connection, number):
                    self._contexts[number, revision] = await self._load_context(connection, notice, revision)

    async def _load_context(
        self, connection: AsyncConnection, notice: Notice, revision: int | None
    ) -> _NoticeContext:
        if notice.kind is Kind.CONTACT:
            message = await contact_messages.of_notice(connection, notice.id)
            return _NoticeContext(notice, None, None, contact=message)
        if notice.kind is Kind.WEEKLY and notice.details:
            return _NoticeContext(notice, None, None, about=WeeklyReport.read(notice.details))
        about = read_details(notice.kind, notice.details) if notice.details else None
        if about:
            occurrence = await self._load_occurrence(connection, about.occurrence, about.revision)
            return _NoticeContext(notice, occurrence, None, about=about)
        occurrence, before = await self._load_occurrences(connection, notice, revision)
        followed = await self._load_followed(connection, notice)
        if followed:
            occurrence = followed[0][1]
        shown, corrects = {}, False
        if occurrence and notice.kind in _CORRECTING:
            corrects = await corrections.is_outdated(connection, occurrence.key)
            if before:
                shown = await corrections.last_local_starts(connection, before.key, before.starts)
        mentions = await self._load_mentioned(connection, notice, revision)
        return _NoticeContext(notice, occurrence, before, shown, corrects, followed, mentions)

    async def _load_mentioned(
        self, connection: AsyncConnection, notice: Notice, revision: int | None
    ) -> tuple[Series, Occurrence] | None:
        if notice.mentions is None or revision is None:
            return None
        occurrence = await self._load_occurrence(connection, notice.mentions, revision)
        series = self._series.get(occurrence.series) if occurrence else None
        return (series, occurrence) if occurrence and series else None

    async def _load_hours_told_before(self, batch: Sequence[Claim], contexts: _Contexts) -> dict[int, str]:
        """Return, by claim, the local time that its member was told before new zone data changed it."""
        hours: dict[int, str] = {}
        claims_of: dict[tuple[int, int | None], list[Claim]] = {}
        for claim in batch:
            claims_of.setdefault((claim.notice, claim.revision), []).append(claim)
        for key, claims in claims_of.items():
            context = contexts.get(key)
            if context is None or context.occurrence is None or not context.corrects:
                continue
            async with self._database.read() as connection:
                told = await corrections.outdated_local_starts(
                    connection,
                    context.occurrence,
                    [claim.member for claim in claims],
                    except_notice=context.notice.id,
                )
            for claim in claims:
                zone, local = told.get(claim.member, ("", ""))
                # A member who has moved since then was told the time in another zone.
                if zone == claim.zone:
                    hours[claim.id] = local
        return hours

    async def _load_knowledge(
        self, batch: Sequence[Claim], contexts: _Contexts
    ) -> dict[tuple[int, int], _Knowledge]:
        """Return, by notice and member, what the recipients of a change know of its meeting."""
        recipients: dict[tuple[int, int], tuple[Notice, list[int]]] = {}
        for claim in batch:
            context = contexts.get((claim.notice, claim.revision))
            if context and context.notice.kind in CHANGES and claim.revision is not None:
                key = (claim.notice, claim.revision)
                recipients.setdefault(key, (context.notice, []))[1].append(claim.member)
        knowledge: dict[tuple[int, int], _Knowledge] = {}
        if not recipients:
            return knowledge
        async with self._database.read() as connection:
            for (number, revision), (notice, members) in recipients.items():
                assert notice.occurrence
                histories = await reports.earlier_mails(
                    connection, notice.occurrence, members, before=revision
                )
                revisions = {told for mails in histories.values() for _, told in mails}
                states = {
                    told: await occurrences.at_revision(connection, notice.occurrence, told)
                    for told in revisions
                }
                for member, mails in histories.items():
                    since = next((told for kind, told in mails if kind is Kind.INVITATION), None)
                    ordinal = None
                    if since is not None and (invited := states[since]):
                        cancels = notice.kind is Kind.CANCELLATION
                        ordinal = invited.reinstated + _count_renewals(mails, since=since, cancels=cancels)
                    knowledge[number, member] = _Knowledge(states[mails[-1][1]], ordinal)
        return knowledge

    async def _record_hours_told(self, shown: set[tuple[str, Occurrence | None]]) -> None:
        """Record which local time each zone is told, before the first mail that shows it is sent."""
        new = {
            (occurrence.key, zone, occurrence.starts)
            for zone, occurrence in shown
            if occurrence and (occurrence.key, zone, occurrence.starts) not in self._recorded
        }
        if new:
            async with self._database.write() as connection:
                for key, zone, starts in sorted(new):
                    local = local_minute(starts, zone)
                    await notices.note_local_start(connection, key, zone, starts=starts, local_start=local)
            self._recorded |= new

    async def _load_followed(
        self, connection: AsyncConnection, notice: Notice
    ) -> tuple[tuple[Series, Occurrence | None], ...]:
        """Return the series that the member of a welcome follows, each with its next meeting, by start."""
        if notice.kind is not Kind.WELCOME or notice.member is None or self._next_meetings is None:
            return ()
        meetings = await self._next_meetings(connection, notice.member, self._clock.now())
        never = datetime.max.replace(tzinfo=UTC)
        return tuple(
            sorted(
                ((self._series[slug], occurrence) for slug, occurrence in meetings.items()),
                key=lambda pair: pair[1].starts if pair[1] else never,
            )
        )

    async def _load_occurrences(
        self, connection: AsyncConnection, notice: Notice, revision: int | None
    ) -> tuple[Occurrence | None, Occurrence | None]:
        """Return the occurrence as the notice shows it, and as members were told before."""
        if notice.occurrence is None or revision is None:
            return None, None
        occurrence = await self._load_occurrence(connection, notice.occurrence, revision)
        if notice.before_revision is None:
            return occurrence, None
        return occurrence, await occurrences.at_revision(
            connection, notice.occurrence, notice.before_revision
        )

    async def _load_occurrence(
        self, connection: AsyncConnection, key: str, revision: int
    ) -> Occurrence | None:
        occurrence = await occurrences.at_revision(connection, key, revision)
        if occurrence and (series := self._series.get(occurrence.series)):
            occurrence = await occurrences.with_preceding(connection, occurrence, series)
        return occurrence

    def _envelope(
        self, notice: Notice, personal: RecipientValues, message: CohortMessage | Problem, now: datetime
    ) -> Envelope | Problem:
        if isinstance(message, Problem):
            return message
        try:
            return Envelope(
                sender=self._return_path(personal.member, personal.address),
                recipient=personal.address,
                pieces=message.pieces(personal, date=now),
                envelope_id=personal.message.decode(),
                composed=True,
            )
        except Problem as problem:
            return problem
        except ValueError as error:
            return Problem(f"{notice.kind}: {error}")

    def _return_path(self, member: int, address: str) -> str:
        """Return the address that bounces go to. If addresses of the inbox can carry a token, it identifies the member
        (VERP)."""
        inbox = self._community.inbox
        if inbox is None:
            return self._community.address
        if not inbox.carries_tokens:
            return inbox.address
        return bounce_address(self._keys, member, address, inbox.domain, mailbox=inbox.mailbox)

    def _message_of(self, context: _NoticeContext, key: _CohortKey) -> CohortMessage | Problem:
        """Return the message of a cohort. A problem is kept too: a wrong template is not rendered for every member."""
        if key not in self._messages:
            _, _, zone, locale, first, knowledge, told = key
            if context.notice.kind in CHANGES:
                context = context.for_members_who_know(knowledge)
            self._messages[key] = self._compose_for(context, zone=zone, locale=locale, first=first, told=told)
            if len(self._messages) > COHORTS_KEPT:
                self._messages.popitem(last=False)
        self._messages.move_to_end(key)
        return self._messages[key]

    def _compose_for(
        self, context: _NoticeContext, *, zone: str, locale: str, first: bool, told: str
    ) -> CohortMessage | Problem:
        notice, occurrence, about = context.notice, context.occurrence, context.about
        kind, policy = notice.kind, notice.policy
        if isinstance(about, Preflight):
            kind, policy = about.kind, about.policy
        try:
            cohort = Cohort(
                kind=notice.kind,
                zone=zone,
                locale=locale,
                policy=notice.policy or "",
                subject=notice.subject,
                body=notice.body,
                occurrence=occurrence,
                before=context.before,
                introduces=first and notice.kind not in (*PERSONAL, *TO_CONVENORS),
                told=datetime.fromisoformat(told) if told else None,
                shown=datetime.fromisoformat(context.shown[zone]) if zone in context.shown else None,
                series=self._series_about(notice, occurrence),
                several_series=len(self._series) > 1,
                followed=context.followed if len(self._series) > 1 else (),
                mentions=context.mentions,
                again=notice.again is not None,
                room=self._room_address(kind, policy, occurrence, zone) if occurrence else "",
                about=about,
                contact=context.contact,
            )
        except (ValueError, KeyError) as error:
            return Problem(f"{notice.kind}: {error}")
        message = self._compose_once(cohort)
        if isinstance(message, Problem):
            log.error(
                "cohort-not-composed", notice=notice.id, kind=notice.kind, zone=zone, problem=str(message)
            )
        return message

    def _series_about(self, notice: Notice, occurrence: Occurrence | None) -> Series | None:
        """Return the series that a notice is about. Raises KeyError where the settings lack that of its meeting."""
        if occurrence:
            return self._series[occurrence.series]
        if notice.kind is Kind.NOTICE and len(self._series) > 1:
            return self._series.get(series_of(notice.audience) or "")
        return None

    def _compose(self, cohort: Cohort) -> CohortMessage | Problem:
        try:
            return self._composer.compose(cohort)
        except Problem as problem:
            return problem

    def _room_address(self, kind: Kind, slug: str | None, occurrence: Occurrence, zone: str) -> str:
        """Return the room's own address if this is the last reminder before the start, else an empty string."""
        reminders = [
            (policy.due(occurrence.starts, zone), policy.slug)
            for policy in self._room_policies
            if policy.kind is Kind.REMINDER and (policy.series is None or occurrence.series in policy.series)
        ]
        if kind is not Kind.REMINDER or not reminders or max(reminders)[1] != slug:
            return ""
        return occurrence.link or self._series[occurrence.series].link
