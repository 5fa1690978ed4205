"""A convenor's changes to a meeting. Editing mails nobody; telling people is an act of its own."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.address import require_url
from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import Occurrence, OccurrenceKey, Series, in_gap, instant
from scheduler.domain.policy import EVERY_ZONE, Kind, Policy, Wanted
from scheduler.domain.text import require_line, require_prose
from scheduler.service.invitations import count_due, wanted_of
from scheduler.service.notices import PublishedNotice, publish_notice
from scheduler.service.schedule import find_occurrence
from scheduler.store import members, notices, occurrences, service_state
from scheduler.store.database import Database
from scheduler.store.ledger import corrections, lifecycle, reports

OF_MEETING = frozenset({"coming", "answered", "declined", "unanswered"})
"""The terms of an audience that name a meeting."""

EVERYBODY: Mapping[str, list[str]] = {"all": []}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a convenor wants of an occurrence; None leaves a thing as it is. `move_to` is the home wall time."""

    topic: str | None = None
    speakers: str | None = None
    link: str | None = None
    materials: str | None = None
    move_to: datetime | None = None
    cancel: bool = False
    restore: bool = False

    def __post_init__(self) -> None:
        if self.cancel and (self.restore or self.move_to):
            raise Refused("a meeting is either cancelled, restored or moved; give one of these")
        for name, check in (
            ("topic", require_line),
            ("speakers", require_line),
            ("materials", require_prose),
        ):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check(value, name))
        if self.link:
            require_url(self.link, "link")


@dataclass(frozen=True, slots=True)
class Amended:
    """An occurrence before and after a change; the same where nothing changed."""

    before: Occurrence
    after: Occurrence

    @property
    def changed(self) -> bool:
        return self.before.revision != self.after.revision


@dataclass(frozen=True, slots=True)
class Extra:
    """A meeting outside the rule, and how many would be mailed of it at once."""

    occurrence: Occurrence
    recipients: int


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
            f"'{key}': {all_series[series_slug].title} has no meeting on that date; "
            "`schedule` lists the meetings there are"
        )
    return occurrence


async def require_meetings(
    connection: AsyncConnection,
    series: Mapping[str, Series],
    audience: Mapping[str, Collection[str]],
    *,
    now: datetime,
) -> None:
    """Raises Refused, naming the meeting, where an audience is of one that does not exist."""
    for kind, values in audience.items():
        for key in values if kind in OF_MEETING else ():
            try:
                await require_occurrence(connection, series, key, now)
            except Refused as refusal:
                raise Refused(f"audience {kind}:{key}: {refusal}") from None


async def preview(
    database: Database,
    series: Mapping[str, Series],
    key: str,
    change: Change,
    *,
    now: datetime,
    to_tell: datetime | None = None,
) -> Amended:
    """What `change` would make of an occurrence. Raises Refused where it cannot be, or where it is too late to tell
    anybody at `to_tell`."""
    async with database.read() as connection:
        before = await require_occurrence(connection, series, key, now)
        told_off = await _told_off(connection, key)
        foreseen = Amended(before, _changed(before, change, now=now, told_off=told_off))
        if to_tell and foreseen.changed:
            _require_useful(foreseen.after, _useful_until(foreseen.after, before), to_tell)
        return foreseen


async def amend(
    database: Database, series: Mapping[str, Series], key: str, change: Change, *, now: datetime
) -> Amended:
    """Change an occurrence; tells nobody. Raises Refused where it cannot be."""
    async with database.write() as connection:
        before = await require_occurrence(connection, series, key, now)
        told_off = await _told_off(connection, key)
        after = _changed(before, change, now=now, told_off=told_off)
        if after.revision != before.revision:
            await _keep(connection, series[before.series], before, now)
            await occurrences.amend(connection, after)
            if after.starts != before.starts:
                await occurrences.reset_answers(connection, key)
            await service_state.note_change(connection)
        return Amended(before, after)


async def _told_off(connection: AsyncConnection, key: str) -> bool:
    """Whether the last that members were told of an occurrence is that it is cancelled."""
    revision = await reports.last_told_revision(connection, key)
    told = None if revision is None else await occurrences.at_revision(connection, key, revision)
    return told is not None and told.cancelled


def _changed(before: Occurrence, change: Change, *, now: datetime, told_off: bool) -> Occurrence:
    values: dict[str, Any] = {
        name: value
        for name in ("topic", "speakers", "link", "materials")
        if (value := getattr(change, name)) is not None and value != getattr(before, name)
    }
    retimed = False
    if change.cancel and not before.cancelled:
        if before.ends <= now:
            raise Refused(f"{before.key} is over; it cannot be cancelled any more")
        values["cancelled"] = retimed = True
    if change.restore:
        if not before.cancelled:
            raise Refused(f"{before.key} is not cancelled; there is nothing to restore")
        values["cancelled"], retimed = False, True
        values["reinstated"] = before.reinstated + int(told_off)
    if change.move_to is not None:
        starts = _target(before, change.move_to, now)
        if before.cancelled and not change.restore:
            raise Refused(f"{before.key} is cancelled; give --restore too, to hold it at another time")
        if starts != before.starts:
            values |= {"starts": starts, "ends": starts + (before.ends - before.starts)}
            retimed = True
    if not values:
        return before
    return replace(
        before,
        **values,
        revision=before.revision + 1,
        sequence=before.sequence + int(retimed),
        changed_at=max(now.replace(microsecond=0), before.changed_at + timedelta(seconds=1)),
        orphaned=False,
    )


def _target(before: Occurrence, wall: datetime, now: datetime) -> datetime:
    if in_gap(wall, before.zone):
        raise Refused(
            f"--move-to {wall:%Y-%m-%d %H:%M}: the clocks of {before.zone} skip that time; choose another"
        )
    starts = instant(wall, before.zone)
    if starts <= now < before.starts:
        raise Refused(f"--move-to {wall:%Y-%m-%d %H:%M} lies in the past; choose a time to come")
    return starts


async def _keep(connection: AsyncConnection, series: Series, occurrence: Occurrence, now: datetime) -> None:
    """See that the occurrence is in the store, and before it its series, so that it can be amended."""
    if series.slug not in await occurrences.adopted_series(connection):
        await occurrences.adopt_series(connection, series, now)
    await occurrences.keep(connection, occurrence)


async def tell(
    database: Database, amended: Amended, *, now: datetime, words: str = "", hold: timedelta = timedelta()
) -> PublishedNotice:
    """Tell all active members of a change, as an update or a cancellation; `words` (Markdown) begin the mail, and the
    first one leaves after `hold`.

    Older updates of the same meeting that have not left yet are withdrawn: this one says it all. Raises Refused
    where nothing changed, or where the meeting is over.
    """
    if not amended.changed:
        raise Refused(f"{amended.after.key} did not change; nobody is told")
    return await _press_change(database, amended, now=now, words=words, hold=hold)


async def _press_change(
    database: Database,
    amended: Amended,
    *,
    now: datetime,
    words: str = "",
    hold: timedelta = timedelta(),
    audience: Mapping[str, list[str]] = EVERYBODY,
) -> PublishedNotice:
    after = amended.after
    kind = Kind.CANCELLATION if after.cancelled else Kind.UPDATE
    async with database.write() as connection:
        told = await reports.last_told_revision(connection, after.key)
        before_revision = amended.before.revision if told is None or told == after.revision else told
        before = await occurrences.at_revision(connection, after.key, before_revision) or amended.before
        expires = _useful_until(after, before)
        _require_useful(after, expires, now + hold)
        for older in await notices.about(connection, after.key):
            if older.kind in (Kind.UPDATE, Kind.CANCELLATION) and not older.unwanted:
                await notices.change(connection, older.id, unwanted="superseded")
                await lifecycle.withdraw(connection, older.id, reason="superseded")
    return await publish_notice(
        database,
        audience=audience,
        audience_text=_as_text(audience),
        dues={EVERY_ZONE: now + hold},
        now=now,
        identity=f"{kind}:{after.key}:{after.revision}",
        kind=kind,
        occurrence=after.key,
        starts=after.starts,
        before_revision=before_revision,
        body=require_prose(words, "words"),
        expires=expires,
    )


def _as_text(audience: Mapping[str, list[str]]) -> str:
    """An audience as a convenor writes it."""
    return ",".join(
        term for kind, values in audience.items() for term in ([f"{kind}:{one}" for one in values] or [kind])
    )


@dataclass(frozen=True, slots=True)
class Untold:
    """An occurrence of which members were last told something else: who is to be told, and how many that are."""

    occurrence: Occurrence
    audience: Mapping[str, list[str]]
    recipients: int


async def untold(database: Database, series: Mapping[str, Series], key: str, *, now: datetime) -> Untold:
    """Whom to tell how an occurrence is now. Raises Refused where there is nothing to tell, or where it is too late."""
    async with database.read() as connection:
        return (await _untold(connection, series, key, now))[0]


async def _untold(
    connection: AsyncConnection, series: Mapping[str, Series], key: str, now: datetime
) -> tuple[Untold, int]:
    """Also the revision that members were last told."""
    one = await require_occurrence(connection, series, key, now)
    told = await reports.last_told_revision(connection, key)
    if told is None:
        raise Refused(f"{key}: nobody has been told of it yet; its invitation will say how it is")
    kind = Kind.CANCELLATION if one.cancelled else Kind.UPDATE
    pressed = await notices.by_identity(connection, f"{kind}:{key}:{one.revision}")
    if pressed and told < one.revision and not (pressed.unwanted or pressed.stopped_at):
        raise Refused(f"{key}: notice {pressed.id} tells of it already")
    wrong = [] if one.cancelled else await corrections.wrongly_told(connection, one)
    if told == one.revision and not wrong:
        raise Refused(f"{key}: members were told how it is; there is nothing to tell")
    _require_useful(one, _useful_until(one, one), now)
    # Where the meeting itself was told as it is, only those who were told a wrong hour hear of it again.
    audience = EVERYBODY if told < one.revision else {"zone": sorted({each.lives_in for each in wrong})}
    return Untold(one, audience, await members.count_audience(connection, audience, kind=kind)), told


async def tell_again(
    database: Database, series: Mapping[str, Series], key: str, *, now: datetime
) -> PublishedNotice:
    """Tell members how an occurrence is now, where they were last told otherwise. Raises Refused as `untold`."""
    async with database.write() as connection:
        found, told = await _untold(connection, series, key, now)
        one = found.occurrence
        kind = Kind.CANCELLATION if one.cancelled else Kind.UPDATE
        after = one
        if told == one.revision or await notices.by_identity(connection, f"{kind}:{key}:{one.revision}"):
            # Each update tells of a revision of its own. The start is the same, and so are answers to it.
            after = replace(
                one,
                revision=one.revision + 1,
                changed_at=max(now.replace(microsecond=0), one.changed_at + timedelta(seconds=1)),
            )
            await occurrences.amend(connection, after)
            await service_state.note_change(connection)
        before = await occurrences.at_revision(connection, key, told) or one
    return await _press_change(database, Amended(before, after), now=now, audience=found.audience)


def _useful_until(after: Occurrence, before: Occurrence) -> datetime:
    """An update is of use until the new start, a cancellation until the end that members were last told."""
    return before.ends if after.cancelled else after.starts


def _require_useful(after: Occurrence, expires: datetime, now: datetime) -> None:
    if expires <= now:
        raise Refused(
            f"{after.key} {'is over' if after.ends <= now else 'has begun'}; nobody is told any more"
        )


async def count_told(database: Database, after: Occurrence) -> int:
    """How many would be told now of a change to what `after` is."""
    kind = Kind.CANCELLATION if after.cancelled else Kind.UPDATE
    async with database.read() as connection:
        return await members.count_audience(connection, EVERYBODY, kind=kind)


def require_message(text: str) -> str:
    """Return a convenor's words as they begin a mail. Raises Refused where they are empty or not allowed."""
    words = require_prose(text, "--message")
    if not words.strip():
        raise Refused("--message is empty; write what to say, or leave it out")
    return words


async def foresee_extra(
    database: Database, series: Series, policies: Sequence[Policy], wall: datetime, *, now: datetime
) -> Extra:
    """The meeting outside the rule that `add_extra` would add, and to how many what is due already would go."""
    extra = _extra(series, wall, now)
    async with database.read() as connection:
        await _require_free(connection, series, extra, now)
    wants = await wanted_of(database, extra, series=series, policies=policies, now=now)
    mailed = [await count_due(database, want, now=now) for want in wants]
    return Extra(extra, max(mailed, default=0))


async def add_extra(
    database: Database,
    series: Series,
    wall: datetime,
    *,
    now: datetime,
    policies: Sequence[Policy] = (),
    invite: bool = True,
) -> Occurrence:
    """Add a meeting outside the rule at the home wall time `wall`. Raises Refused for a gap, the past or a double.

    Without `invite` its invitation, and whatever of `policies` is due already, is stopped from the beginning.
    """
    extra = _extra(series, wall, now)
    async with database.write() as connection:
        await _require_free(connection, series, extra, now)
        await _keep(connection, series, extra, now)
        await service_state.note_change(connection)
    if not invite:
        wants = await wanted_of(database, extra, series=series, policies=policies, now=now)
        async with database.write() as connection:
            for want in wants:
                if want.dues and (want.kind is Kind.INVITATION or min(want.dues.values()) <= now):
                    await _stop_planned(connection, want, now)
    return extra


async def remove_extra(database: Database, series: Mapping[str, Series], key: str, *, now: datetime) -> None:
    """Take back a meeting that was added and that nobody was told of. Raises Refused otherwise."""
    async with database.write() as connection:
        found = await require_occurrence(connection, series, key, now)
        if not found.extra:
            raise Refused(
                f"{key} follows from the rule of its series; `occurrence amend {key} --cancel` cancels it"
            )
        if await reports.last_told_revision(connection, key) is not None:
            raise Refused(
                f"members were told of {key}; `occurrence amend {key} --cancel --tell` cancels it and tells them"
            )
        await occurrences.forget(connection, [key])
        await service_state.note_change(connection)


async def _stop_planned(connection: AsyncConnection, want: Wanted, now: datetime) -> None:
    """Keep the notice that a policy wants, stopped before anything of it was sent."""
    if await notices.by_identity(connection, want.identity) is not None:
        return
    number = await notices.add(
        connection,
        identity=want.identity,
        kind=want.kind,
        policy=want.policy,
        occurrence=want.occurrence,
        starts=want.starts,
        expires=want.expires,
        created_at=now,
        ready=True,
        stopped_at=now,
    )
    await notices.set_dues(connection, number, want.dues)


async def _require_free(
    connection: AsyncConnection, series: Series, extra: Occurrence, now: datetime
) -> None:
    """Raises Refused where the series has a meeting at that instant already, a cancelled one too."""
    kept = {one.key: one for one in await occurrences.all_occurrences(connection, series=series.slug)}
    if extra.key in kept:
        raise Refused(f"{extra.key} exists already{_how_to_restore(kept[extra.key])}")
    by_rule = f"{series.slug}/{extra.date}"
    if by_rule not in kept and series.gives(extra.date):
        kept[by_rule] = series.occurrence(extra.date, now)
    for one in kept.values():
        if one.starts == extra.starts:
            raise Refused(f"{one.key} is held at that time already{_how_to_restore(one)}")


def _how_to_restore(one: Occurrence) -> str:
    return (
        f", but cancelled; `occurrence amend {one.key} --restore` holds it after all" if one.cancelled else ""
    )


def _extra(series: Series, wall: datetime, now: datetime) -> Occurrence:
    if in_gap(wall, series.zone):
        raise Refused(
            f"--at {wall:%Y-%m-%d %H:%M}: the clocks of {series.zone} skip that time; choose another"
        )
    starts = instant(wall, series.zone)
    if starts <= now:
        raise Refused(f"--at {wall:%Y-%m-%d %H:%M} lies in the past; choose a time to come")
    return Occurrence(
        key=f"{series.slug}/{wall:%Y-%m-%dT%H%M}",
        series=series.slug,
        date=wall.date(),
        zone=series.zone,
        original=starts,
        starts=starts,
        ends=starts + series.duration,
        extra=True,
        changed_at=now.replace(microsecond=0),
    )


def home_wall(occurrence: Occurrence) -> str:
    """The start by the home clock, as a convenor types it."""
    return f"{occurrence.starts.astimezone(ZoneInfo(occurrence.zone)):%Y-%m-%d %H:%M}"
