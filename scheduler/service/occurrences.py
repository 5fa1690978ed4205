"""Change, add and remove occurrences. Editing sends no mail; telling members is a separate act.

What is recorded about a meeting beside its details is in `service/meeting_records`; `amend` changes both.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.delivery.compose.notice_words import known_placeholders
from scheduler.domain.act import Act
from scheduler.domain.actor import SERVICE, Actor
from scheduler.domain.address import require_url
from scheduler.domain.audience import Audience
from scheduler.domain.errors import Refused
from scheduler.domain.meeting_record import Material, MeetingRecord, Speaker
from scheduler.domain.occurrence import (
    ANSWERS,
    Occurrence,
    OccurrenceKey,
    Series,
    in_gap,
    instant,
    next_change,
    slugs_by_choice,
)
from scheduler.domain.policy import EVERY_ZONE, Kind, Policy, Wanted
from scheduler.domain.text import require_line, require_prose
from scheduler.service import meeting_records
from scheduler.service.invitations import count_due_now, wanted_for_added
from scheduler.service.meeting_records import RecordChange, Recorded
from scheduler.service.notices import PublishedNotice, publish_notice
from scheduler.service.schedule import find_occurrence
from scheduler.service.withdrawals import SUPERSEDED, withdraw
from scheduler.store import answers, archive_entries, audit, members, notices, occurrences, service_state
from scheduler.store import meeting_records as record_store
from scheduler.store.database import Database
from scheduler.store.ledger import corrections, reports

DETAILS = ("topic", "speakers", "description", "link", "materials")
"""What convenors say about a meeting. Changing it makes a new revision, but no new SEQUENCE in calendars."""

LONGEST_DESCRIPTION = 4_000
"""In characters: it is part of the feed, for each meeting."""

_CANCELLED: Final = "meeting-cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A convenor's change to an occurrence; None leaves a value as it is. `move_to` is wall time in the home zone.

    `speakers` and `materials` are texts; their records are made from them (see RecordChange, as for the values from
    `speaker_rows` on).
    """

    topic: str | None = None
    speakers: str | None = None
    description: str | None = None
    link: str | None = None
    materials: str | None = None
    move_to: datetime | None = None
    cancel: bool = False
    restore: bool = False
    speaker_rows: tuple[Speaker, ...] | None = None
    material_rows: tuple[Material, ...] | None = None
    summary: str | None = None
    insights: str | None = None
    themes: tuple[str, ...] | None = None
    month_only: bool | None = None
    fills_blanks: bool = False

    def __post_init__(self) -> None:
        if self.cancel and (self.restore or self.move_to):
            raise Refused("a meeting is either cancelled, restored or moved; give only one of these")
        for name, check in (
            ("topic", require_line),
            ("speakers", require_line),
            ("description", partial(require_prose, longest=LONGEST_DESCRIPTION)),
            ("materials", require_prose),
        ):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check(value, name))
        if self.link:
            require_url(self.link, "link")
        # Checks itself.
        _ = self.record

    @property
    def record(self) -> RecordChange:
        """The change to what is recorded about the meeting."""
        return RecordChange(
            speakers=self.speaker_rows,
            materials=self.material_rows,
            speakers_text=self.speakers,
            materials_text=self.materials,
            summary=self.summary,
            insights=self.insights,
            themes=self.themes,
            month_only=self.month_only,
            fills_blanks=self.fills_blanks,
        )


@dataclass(frozen=True, slots=True)
class Amended:
    """An occurrence before and after a change; both are the same if nothing changed that members could be told.

    `recorded` says whether anything changed that is recorded about it.
    """

    before: Occurrence
    after: Occurrence
    recorded: bool = False

    @property
    def changed(self) -> bool:
        return self.before.revision != self.after.revision

    @property
    def saved(self) -> bool:
        """Whether anything changed at all."""
        return self.changed or self.recorded


@dataclass(frozen=True, slots=True)
class Extra:
    """A meeting outside the rule, the number of members who would be mailed about it at once, and with how many mails:
    shortly before it, reminders are due too."""

    occurrence: Occurrence
    recipients: int
    mails: int


async def require_occurrence(
    connection: AsyncConnection, all_series: Mapping[str, Series], key: str, now: datetime
) -> Occurrence:
    """Return the occurrence with that key, stored or of the rule (see `find_occurrence`). Raises Refused if there is
    none."""
    series_slug = OccurrenceKey.parse(key).series
    if series_slug not in all_series:
        raise Refused(
            f"'{key}': there is no series '{series_slug}'; there is: {', '.join(sorted(all_series))}"
        )
    occurrence = await find_occurrence(connection, all_series, key, now=now)
    if occurrence is None:
        raise Refused(
            f"'{key}': {all_series[series_slug].title} has no meeting on that date",
            command="`schedule` lists the meetings there are",
        )
    return occurrence


async def require_meetings(
    connection: AsyncConnection,
    all_series: Mapping[str, Series],
    audience: Audience,
    *,
    now: datetime,
) -> None:
    """Raise Refused, naming the meeting, if an audience refers to one that does not exist."""
    for term, key in audience.meetings():
        try:
            await require_occurrence(connection, all_series, key, now)
        except Refused as refusal:
            raise Refused(f"audience {term}:{key}: {refusal}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeetingFile:
    """An occurrence as a convenor sees it: what is recorded about it, how many gave each answer, the change that
    members could be told (`pending`) or why there is none (`nothing_to_tell`), whether it may be removed, and why it
    was cancelled."""

    occurrence: Occurrence
    record: MeetingRecord
    answers: Mapping[str, int]
    pending: "UnannouncedChange | None"
    nothing_to_tell: str
    can_remove: bool
    reason: str

    @property
    def to_tell(self) -> int:
        """How many members were told something else, and could be told."""
        return self.pending.recipients if self.pending else 0


async def read_file(
    database: Database, all_series: Mapping[str, Series], key: str, *, now: datetime
) -> MeetingFile | None:
    """Return what a convenor sees of an occurrence; None if there is none with that key."""
    async with database.read() as connection:
        occurrence = await find_occurrence(connection, all_series, key, now=now)
        if occurrence is None:
            return None
        counts = await answers.count_answers(connection, key)
        was_tried = await reports.was_tried(connection, key)
        pending, nothing = None, ""
        try:
            pending = await _find_unannounced_change(connection, all_series, key, now)
        except Refused as refusal:
            nothing = str(refusal).removeprefix(f"{key}: ")
        cancelled = await audit.entries(connection, act=_CANCELLED, subject=key, limit=1)
        record = await record_store.record_of(connection, key)
    return MeetingFile(
        occurrence=occurrence,
        record=record,
        answers={answer: counts.get(answer, 0) for answer in ANSWERS},
        pending=pending,
        nothing_to_tell=nothing,
        can_remove=occurrence.extra and not was_tried,
        reason=str(cancelled[0].after.get("reason", "")) if cancelled and occurrence.cancelled else "",
    )


async def people_who_answered(database: Database, key: str) -> list[tuple[str, str, str, str]]:
    """Return the answer, name, address and country of each member who answered, sorted by name."""
    async with database.read() as connection:
        return await answers.list_answers(connection, key)


async def preview(
    database: Database,
    all_series: Mapping[str, Series],
    key: str,
    change: Change,
    *,
    now: datetime,
    to_tell: datetime | None = None,
) -> Amended:
    """Return what `change` would make of an occurrence.

    Raises Refused if the change is not possible, or if it is too late to tell anybody at `to_tell`.
    """
    async with database.read() as connection:
        before = await require_occurrence(connection, all_series, key, now)
        amended, _ = await foresee(connection, before, change, now=now)
        if to_tell and amended.changed:
            _require_useful(amended.after, _useful_until(amended.after, before), to_tell)
        return amended


async def amend(
    database: Database,
    all_series: Mapping[str, Series],
    key: str,
    change: Change,
    *,
    now: datetime,
    revision: int | None = None,
    record_revision: int | None = None,
    reason: str = "",
    by: Actor = SERVICE,
) -> Amended:
    """Change an occurrence, and what is recorded about it, without telling anybody.

    `revision` and `record_revision` are those that the change was made from, `reason` why it is cancelled, for the
    audit log. Raises Refused if the change is not possible, or if somebody else has changed the occurrence since then.
    """
    async with database.write() as connection:
        before = await require_occurrence(connection, all_series, key, now)
        _require_revision(before, revision)
        return await amend_in(
            connection,
            all_series,
            before,
            change,
            now=now,
            record_revision=record_revision,
            reason=reason,
            by=by,
        )


async def amend_in(
    connection: AsyncConnection,
    all_series: Mapping[str, Series],
    before: Occurrence,
    change: Change,
    *,
    now: datetime,
    record_revision: int | None = None,
    reason: str = "",
    by: Actor = SERVICE,
) -> Amended:
    """Change an occurrence as `amend` does, within a transaction."""
    amended, recorded = await foresee(connection, before, change, now=now)
    if record_revision not in (None, recorded.before.revision):
        raise _changed_meanwhile(before)
    if not amended.saved:
        return amended
    after = amended.after
    await store_occurrence(connection, all_series[before.series], before, now)
    if amended.changed:
        await occurrences.amend(connection, after)
        if after.starts != before.starts:
            await occurrences.reset_answers(connection, before.key)
    if recorded.changed:
        await meeting_records.store(connection, recorded, after, now)
    else:
        await meeting_records.enter(connection, after, recorded.after, now)
    await service_state.note_change(connection)
    await _record_change(connection, by, amended, recorded, reason, now)
    return amended


async def foresee(
    connection: AsyncConnection, before: Occurrence, change: Change, *, now: datetime
) -> tuple[Amended, Recorded]:
    """Return what a change would make of an occurrence and of its record. Raises Refused if it is not possible."""
    told_cancelled = await _was_told_cancelled(connection, before.key)
    recorded = await meeting_records.resolve(connection, before, change.record)
    after = _changed(before, change, recorded, now=now, told_cancelled=told_cancelled)
    return Amended(before, after, recorded.changed), recorded


def _require_revision(occurrence: Occurrence, revision: int | None) -> None:
    if revision not in (None, occurrence.revision):
        raise _changed_meanwhile(occurrence)


def _changed_meanwhile(occurrence: Occurrence) -> Refused:
    return Refused(f"{occurrence.key} was changed by somebody else meanwhile; look at it again")


async def _record_change(
    connection: AsyncConnection,
    by: Actor,
    amended: Amended,
    recorded: Recorded,
    reason: str,
    now: datetime,
) -> None:
    before, after = amended.before, amended.after
    act: Act = "meeting-changed"
    if before.starts != after.starts:
        act = "meeting-moved"
    elif before.cancelled != after.cancelled:
        act = _CANCELLED if after.cancelled else "meeting-restored"
    await audit.record(
        connection,
        by,
        act,
        subject=after.key,
        before=_for_log(before, recorded.before),
        after={**_for_log(after, recorded.after), **({"reason": reason} if reason else {})},
        now=now,
    )


def _for_log(occurrence: Occurrence, record: MeetingRecord) -> dict[str, Any]:
    return {
        **meeting_records.for_log(record),
        "start": f"{home_wall(occurrence)} {occurrence.zone}",
        "cancelled": occurrence.cancelled,
        **{name: getattr(occurrence, name) for name in DETAILS},
    }


async def _was_told_cancelled(connection: AsyncConnection, key: str) -> bool:
    """Return whether members were last told that the occurrence is cancelled."""
    revision = await reports.last_told_revision(connection, key)
    told = None if revision is None else await occurrences.at_revision(connection, key, revision)
    return told is not None and told.cancelled


def _changed(
    before: Occurrence, change: Change, recorded: Recorded, *, now: datetime, told_cancelled: bool
) -> Occurrence:
    given = {
        "topic": change.topic,
        "description": change.description,
        "link": change.link,
        "speakers": recorded.speakers,
        "materials": recorded.materials,
    }
    values: dict[str, Any] = {
        name: value for name, value in given.items() if value is not None and value != getattr(before, name)
    }
    retimed = False
    if change.cancel and not before.cancelled:
        if before.ends <= now:
            raise Refused(f"{before.key} is over; it can no longer be cancelled")
        values["cancelled"] = retimed = True
    if change.restore:
        if not before.cancelled:
            raise Refused(f"{before.key} is not cancelled; there is nothing to restore")
        values["cancelled"], retimed = False, True
        values["reinstated"] = before.reinstated + int(told_cancelled)
    if change.move_to is not None:
        starts = _moved_start(before, change.move_to, now)
        if before.cancelled and not change.restore:
            raise Refused(
                f"{before.key} is cancelled", command="give --restore too, to hold it at another time"
            )
        if starts != before.starts:
            values |= {"starts": starts, "ends": starts + (before.ends - before.starts)}
            values["added_when_over"] = before.added_when_over and starts <= now
            retimed = True
    if not values:
        return before
    return replace(
        before,
        **values,
        revision=before.revision + 1,
        sequence=before.sequence + int(retimed),
        changed_at=next_change(before, now),
        orphaned=False,
    )


def _moved_start(before: Occurrence, wall: datetime, now: datetime) -> datetime:
    if in_gap(wall, before.zone):
        raise Refused(
            f"{wall:%Y-%m-%d %H:%M}: the clocks of {before.zone} skip that time; choose another",
            option="--move-to",
        )
    starts = instant(wall, before.zone)
    if starts <= now < before.starts:
        raise Refused(f"{wall:%Y-%m-%d %H:%M} is in the past; choose a later time", option="--move-to")
    return starts


async def store_occurrence(
    connection: AsyncConnection, series: Series, occurrence: Occurrence, now: datetime
) -> None:
    """Store the series and the occurrence unless they are stored already, so that the occurrence can be amended."""
    if series.slug not in await occurrences.adopted_series(connection):
        await occurrences.adopt_series(connection, series, now)
    await occurrences.add(connection, occurrence)


async def tell(
    database: Database,
    amended: Amended,
    *,
    by_choice: Collection[str],
    now: datetime,
    words: str = "",
    hold: timedelta = timedelta(),
    by: Actor = SERVICE,
) -> PublishedNotice:
    """Tell the followers of a series, and all who were sent the invitation, of a change to one of its meetings.

    It is an update or a cancellation. `words` (Markdown) begin the mail; the first mail leaves after `hold`.
    `by_choice` are the slugs of the series that only those members follow who say so.

    Earlier updates of the same meeting that have not left yet are withdrawn: this one replaces them. Raises Refused
    if nothing changed, or if the meeting is over.
    """
    if not amended.changed:
        raise Refused(f"{amended.after.key} did not change; nobody is told")
    async with database.read() as connection:
        invited = await reports.has_invited_to(connection, amended.after.key, amended.after.revision)
    audience = _to_tell(amended.after, by_choice, but_invited=invited)
    return await _publish_change(database, amended, audience, now=now, words=words, hold=hold, by=by)


async def _publish_change(
    database: Database,
    amended: Amended,
    audience: Audience,
    *,
    now: datetime,
    words: str = "",
    hold: timedelta = timedelta(),
    by: Actor,
) -> PublishedNotice:
    after = amended.after
    kind = _kind_of_change(after)
    async with database.write() as connection:
        told_revision = await reports.last_told_revision(connection, after.key, present=after.revision)
        before_revision = (
            amended.before.revision
            if told_revision is None or told_revision == after.revision
            else told_revision
        )
        before = await occurrences.at_revision(connection, after.key, before_revision) or amended.before
        expires = _useful_until(after, before)
        _require_useful(after, expires, now, hold)
        for earlier in await notices.about(connection, after.key):
            is_change = earlier.kind in (Kind.UPDATE, Kind.CANCELLATION)
            # One that is unwanted for another reason would be wanted again after a restoration.
            if is_change and earlier.unwanted != SUPERSEDED and earlier.identity != _change_identity(after):
                await withdraw(connection, earlier, reason=SUPERSEDED)
    return await publish_notice(
        database,
        audience=audience,
        audience_text=f"series:{after.series}",
        dues={EVERY_ZONE: now + hold},
        now=now,
        identity=_change_identity(after),
        kind=kind,
        occurrence=after.key,
        starts=after.starts,
        before_revision=before_revision,
        body=require_prose(words, "words"),
        expires=expires,
        by=by,
        act="change-told",
    )


def _kind_of_change(occurrence: Occurrence) -> Kind:
    return Kind.CANCELLATION if occurrence.cancelled else Kind.UPDATE


def _change_identity(occurrence: Occurrence) -> str:
    return f"{_kind_of_change(occurrence)}:{occurrence.key}:{occurrence.revision}"


def _to_tell(
    occurrence: Occurrence,
    by_choice: Collection[str],
    *,
    zones: Collection[str] = (),
    but_invited: bool = False,
) -> Audience:
    """Return the audience of a change to a meeting: the followers of its series, and who was sent the invitation.

    With `zones`, only those there; with `but_invited`, without those who were sent the invitation to the meeting as it
    is now, and so know already.
    """
    without = {
        **({"other-zone": sorted(zones)} if zones else {}),
        **({"invited-to": [f"{occurrence.key}@{occurrence.revision}"]} if but_invited else {}),
    }
    return Audience(terms={"told-of": [occurrence.key]}, without=without, by_choice=by_choice)


@dataclass(frozen=True, slots=True)
class UnannouncedChange:
    """An occurrence about which members were last told something else, the audience to tell, its size, and the
    revision that members were last told."""

    occurrence: Occurrence
    audience: Audience
    recipients: int
    told_revision: int


async def find_unannounced_change(
    database: Database, all_series: Mapping[str, Series], key: str, *, now: datetime
) -> UnannouncedChange:
    """Return whom to tell the present state of an occurrence.

    Raises Refused if there is nothing to tell, or if it is too late.
    """
    async with database.read() as connection:
        return await _find_unannounced_change(connection, all_series, key, now)


async def _find_unannounced_change(
    connection: AsyncConnection, all_series: Mapping[str, Series], key: str, now: datetime
) -> UnannouncedChange:
    """Return the same as `find_unannounced_change`, within a transaction."""
    occurrence = await require_occurrence(connection, all_series, key, now)
    told_revision = await reports.last_told_revision(connection, key, present=occurrence.revision)
    if told_revision is None:
        outlook = (
            "nobody needs to know that it is cancelled"
            if occurrence.cancelled
            else "its invitation will give the present details"
        )
        raise Refused(f"{key}: nobody has been told about it yet; {outlook}")
    published = await notices.by_identity(connection, _change_identity(occurrence))
    # One that is not ready was interrupted while its deliveries were created: nothing of it was sent.
    if (
        published
        and published.ready
        and told_revision < occurrence.revision
        and not (published.unwanted or published.stopped_at)
    ):
        raise Refused(f"{key}: notice {published.id} already tells members about it")
    wrong = [] if occurrence.cancelled else await corrections.wrongly_told(connection, occurrence)
    told = await occurrences.at_revision(connection, key, told_revision)
    is_told = told_revision == occurrence.revision or (told is not None and _is_same(told, occurrence))
    nothing_to_tell = Refused(f"{key}: members were told the present details; there is nothing to tell")
    if is_told and not wrong:
        raise nothing_to_tell
    _require_useful(occurrence, _useful_until(occurrence, occurrence), now)
    # If the present details were told, only those who were told a wrong local time are told again.
    zones = {group.lives_in for group in wrong} if is_told else ()
    by_choice = slugs_by_choice(all_series.values())
    # Looking for who was invited takes long with a million members, and is rarely needed.
    invited = not wrong and await reports.has_invited_to(connection, key, occurrence.revision)
    audience = _to_tell(occurrence, by_choice, zones=zones, but_invited=invited)
    recipients = await members.count_audience(connection, audience, kind=_kind_of_change(occurrence))
    if not recipients:
        raise nothing_to_tell
    return UnannouncedChange(occurrence, audience, recipients, told_revision)


def _is_same(told: Occurrence, present: Occurrence) -> bool:
    """Return whether what was told is what holds now, as after a cancellation that nobody was told about."""
    counters = {
        name: getattr(present, name)
        for name in ("revision", "sequence", "reinstated", "changed_at", "previous")
    }
    return replace(told, **counters) == present


async def tell_again(
    database: Database,
    all_series: Mapping[str, Series],
    key: str,
    *,
    now: datetime,
    words: str = "",
    hold: timedelta = timedelta(),
    recipients: int | None = None,
    revision: int | None = None,
    by: Actor = SERVICE,
) -> PublishedNotice:
    """Tell members the present state of an occurrence, if they were last told something else.

    `words` (Markdown) begin the mail; the first mail leaves after `hold`. Raises Refused as `find_unannounced_change`,
    and if the occurrence or their number is not what the convenor was shown: `revision` and `recipients`.
    """
    async with database.write() as connection:
        _require_revision(await require_occurrence(connection, all_series, key, now), revision)
        pending = await _find_unannounced_change(connection, all_series, key, now)
        told_revision = pending.told_revision
        if recipients is not None and pending.recipients != recipients:
            raise Refused(f"it would now go to {pending.recipients} members, not to {recipients}")
        occurrence = after = pending.occurrence
        begun = await notices.by_identity(connection, _change_identity(occurrence))
        is_over = begun is not None and bool(begun.ready or begun.unwanted or begun.stopped_at)
        if told_revision == occurrence.revision or is_over:
            # Each update needs its own revision. The start is the same, so the answers remain.
            after = replace(
                occurrence,
                revision=occurrence.revision + 1,
                changed_at=next_change(occurrence, now),
            )
            await occurrences.amend(connection, after)
            await service_state.note_change(connection)
        before = await occurrences.at_revision(connection, key, told_revision) or occurrence
    return await _publish_change(
        database, Amended(before, after), pending.audience, now=now, words=words, hold=hold, by=by
    )


def _useful_until(after: Occurrence, before: Occurrence) -> datetime:
    """Return the instant until which telling is useful: for an update the new start, for a cancellation the end that
    members were last told."""
    return before.ends if after.cancelled else after.starts


def _require_useful(
    after: Occurrence, expires: datetime, now: datetime, hold: timedelta = timedelta()
) -> None:
    if expires <= now:
        raise Refused(
            f"{after.key} {'is over' if after.ends <= now else 'has begun'}; it is too late to tell anybody"
        )
    if expires <= now + hold:
        raise Refused(f"{after.key} begins before the first mail would leave; it is too late to tell anybody")


async def count_told(database: Database, after: Occurrence, *, by_choice: Collection[str]) -> int:
    """Return to how many members a change that results in `after` would be sent now."""
    audience = _to_tell(after, by_choice)
    async with database.read() as connection:
        return await members.count_audience(connection, audience, kind=_kind_of_change(after))


def require_message(text: str) -> str:
    """Return a convenor's words that begin a mail. Raises Refused if they are empty or not allowed."""
    try:
        words = require_prose(text, "the text")
    except Refused as refusal:
        raise Refused(refusal.message, option="--message") from None
    if not words.strip():
        raise Refused("the text is empty; write what to say, or leave it out", option="--message")
    if used := known_placeholders("", words):
        name = used[0].name
        raise Refused(f"{{{name}}} is filled in only in notices; leave it out", option="--message")
    return words


async def foresee_extra(
    database: Database, series: Series, policies: Sequence[Policy], wall: datetime, *, now: datetime
) -> Extra:
    """Return the meeting that `add_extra` would add, and who would be mailed about it at once."""
    extra = _extra(series, wall, now)
    async with database.read() as connection:
        await _require_free(connection, series, extra, now)
    wants = await wanted_for_added(database, extra, series=series, policies=policies, now=now)
    by_kind = dict.fromkeys((want.kind for want in wants), 0)
    for want in wants:
        recipients = await count_due_now(database, want, by_choice=slugs_by_choice([series]), now=now)
        # Of several reminders, each member is sent one.
        by_kind[want.kind] = max(by_kind[want.kind], recipients)
    return Extra(extra, max(by_kind.values(), default=0), sum(by_kind.values()))


async def add_extra(
    database: Database,
    series: Series,
    wall: datetime,
    *,
    now: datetime,
    policies: Sequence[Policy] = (),
    invite: bool = True,
    recipients: int | None = None,
    by: Actor = SERVICE,
) -> Occurrence:
    """Add a meeting outside the rule at `wall`, in the home zone.

    Without `invite`, its invitation and any other notice of `policies` that is already due are stopped before they are
    sent. Raises Refused if the clocks skip that time, if it is in the past, if a meeting is held then, or if it would
    be mailed at once to another number of members than the `recipients` that the convenor was shown.
    """
    extra = _extra(series, wall, now)
    if invite and recipients is not None:
        foreseen = await foresee_extra(database, series, policies, wall, now=now)
        if foreseen.recipients != recipients:
            raise Refused(f"{foreseen.recipients} members would be invited now, not {recipients}")
    async with database.write() as connection:
        await _add(connection, series, extra, now=now, by=by)
    if not invite:
        wants = await wanted_for_added(database, extra, series=series, policies=policies, now=now)
        async with database.write() as connection:
            for want in wants:
                if want.dues and (want.kind is Kind.INVITATION or min(want.dues.values()) <= now):
                    await _stop_planned(connection, want, now)
    return extra


async def add_past(
    connection: AsyncConnection, series: Series, wall: datetime, *, now: datetime, by: Actor
) -> Occurrence:
    """Add a meeting that is over, for the archive: nobody is ever mailed about it. Raises Refused as `add_extra`."""
    extra = _extra(series, wall, now, past=True)
    if extra.ends > now:
        raise Refused(f"{wall:%Y-%m-%d %H:%M} is not over yet")
    await _add(connection, series, extra, now=now, by=by)
    return extra


async def _add(
    connection: AsyncConnection, series: Series, extra: Occurrence, *, now: datetime, by: Actor
) -> None:
    await _require_free(connection, series, extra, now)
    await store_occurrence(connection, series, extra, now)
    await service_state.note_change(connection)
    await audit.record(
        connection, by, "meeting-added", subject=extra.key, after={"start": home_wall(extra)}, now=now
    )


async def remove_extra(
    database: Database,
    all_series: Mapping[str, Series],
    key: str,
    *,
    now: datetime,
    revision: int | None = None,
    by: Actor = SERVICE,
) -> None:
    """Remove a meeting that was added.

    Raises Refused if the rule gives it, if members were told about it, or if somebody else has changed it since
    `revision`.
    """
    async with database.write() as connection:
        occurrence = await require_occurrence(connection, all_series, key, now)
        _require_revision(occurrence, revision)
        if not occurrence.extra:
            raise Refused(
                f"{key} is given by the rule of its series",
                command=f"`occurrence amend {key} --cancel` cancels it",
            )
        if await reports.was_tried(connection, key):
            raise Refused(
                f"members were told about {key}",
                command=f"`occurrence amend {key} --cancel --tell` cancels it and tells them",
            )
        await archive_entries.remove(connection, key)
        await occurrences.forget(connection, [key])
        await record_store.delete_unused_speakers(connection)
        await service_state.note_change(connection)
        await audit.record(connection, by, "meeting-removed", subject=key, now=now)


async def _stop_planned(connection: AsyncConnection, want: Wanted, now: datetime) -> None:
    """Store a notice that a policy wants as stopped, so that none of it is sent."""
    if await notices.by_identity(connection, want.identity) is not None:
        return
    await notices.add_wanted(connection, want, now, stopped_at=now)


async def _require_free(
    connection: AsyncConnection, series: Series, extra: Occurrence, now: datetime
) -> None:
    """Raise Refused if the series already has a meeting at that instant, even a cancelled one."""
    if existing := await occurrences.occurrence_by_key(connection, extra.key):
        raise _taken(f"{extra.key} exists already", existing)
    held_then = await occurrences.occurrence_at(connection, series.slug, extra.starts)
    key_by_rule = f"{series.slug}/{extra.date}"
    if held_then is None and series.gives(extra.date):
        by_rule = series.occurrence(extra.date, now)
        is_stored = await occurrences.occurrence_by_key(connection, key_by_rule) is not None
        held_then = by_rule if by_rule.starts == extra.starts and not is_stored else None
    if held_then:
        raise _taken(f"{held_then.key} is held at that time already", held_then)


def _taken(message: str, occurrence: Occurrence) -> Refused:
    """Return the error that a time is taken by an occurrence, even by a cancelled one."""
    if not occurrence.cancelled:
        return Refused(message)
    return Refused(
        f"{message}, but cancelled", command=f"`occurrence amend {occurrence.key} --restore` restores it"
    )


def _extra(series: Series, wall: datetime, now: datetime, *, past: bool = False) -> Occurrence:
    if in_gap(wall, series.zone):
        raise Refused(
            f"{wall:%Y-%m-%d %H:%M}: the clocks of {series.zone} skip that time; choose another",
            option="--at",
        )
    starts = instant(wall, series.zone)
    if starts <= now and not past:
        raise Refused(f"{wall:%Y-%m-%d %H:%M} is in the past; choose a later time", option="--at")
    return Occurrence(
        key=f"{series.slug}/{wall:%Y-%m-%dT%H%M}",
        series=series.slug,
        date=wall.date(),
        zone=series.zone,
        original=starts,
        starts=starts,
        ends=starts + series.duration,
        extra=True,
        added_when_over=past,
        changed_at=now.replace(microsecond=0),
    )


def home_wall(occurrence: Occurrence) -> str:
    """Return the start in the home zone, as a convenor types it."""
    return f"{occurrence.starts.astimezone(ZoneInfo(occurrence.zone)):%Y-%m-%d %H:%M}"
