"""What convenors see first: the next meeting, what goes out next, what went out, and what needs somebody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.domain.localtime import format_date
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.policy import Policy
from scheduler.service.forecast import forecast
from scheduler.service.health import health
from scheduler.service.notices import latest_notices
from scheduler.service.schedule import coming_meetings, stored_past
from scheduler.store import answers, join_requests, members, returns
from scheduler.store.database import Database
from scheduler.store.members import Member
from scheduler.store.notices import Notice

LOOK_AHEAD = timedelta(days=14)
_MOST_COMING = 8
_MOST_RECENT = 5
_MOST_LOOKED_AT = 20
_ROOM_NEEDED = timedelta(days=7)
_SERIES_AHEAD = timedelta(days=400)
_FEW_MEETINGS = 3
_MATERIALS_EXPECTED = timedelta(days=3)
_MATERIALS_FORGOTTEN = timedelta(days=21)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComingMail:
    """A notice that goes out: to how many members, and when the first and the last mail are due (UTC)."""

    kind: str
    occurrence: str | None
    subject: str
    number: int | None
    first: datetime
    last: datetime
    recipients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What takes long to count with many members, and the instant at which it was counted."""

    counted_at: datetime
    coming: Sequence[ComingMail]
    troubles: Sequence[str]
    members: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """What is quick to read. `warnings` say what is missing and what to do about it."""

    next: Occurrence | None
    answers: Mapping[str, int]
    recent: Sequence[tuple[Notice, Mapping[str, int]]]
    waiting: int
    oldest_request: datetime | None
    to_review: int
    warnings: Sequence[str]


async def count_figures(
    database: Database, *, series: Sequence[Series], policies: Sequence[Policy], now: datetime
) -> Figures:
    """Count what goes out in the next two weeks, and look for trouble."""
    rows = await forecast(
        database, series=series, policies=policies, since=now, until=now + LOOK_AHEAD, now=now
    )
    coming: dict[str, ComingMail] = {}
    for row in rows:
        if not row.recipients:
            continue
        before = coming.get(row.notice)
        due = max(row.due, now)
        coming[row.notice] = ComingMail(
            kind=row.kind,
            occurrence=row.occurrence,
            subject=row.subject,
            number=row.number,
            first=min(before.first, due) if before else due,
            last=max(before.last, due) if before else due,
            recipients=row.recipients + (before.recipients if before else 0),
        )
    state = await health(database, now)
    return Figures(
        counted_at=now,
        coming=sorted(coming.values(), key=lambda mail: mail.first)[:_MOST_COMING],
        troubles=state.troubles(now),
        members=state.members.get("active", 0),
    )


async def read_home(database: Database, *, series: Sequence[Series], now: datetime) -> Home:
    """Return what convenors see first, apart from the figures."""
    ahead = {
        each.slug: await coming_meetings(
            database, each, now=now, until=now + _SERIES_AHEAD, most=_FEW_MEETINGS
        )
        for each in series
    }
    held = [meeting for meetings in ahead.values() for meeting in meetings if not meeting.cancelled]
    following = min(held, key=lambda meeting: (meeting.starts, meeting.key), default=None)
    latest = await latest_notices(database, most=_MOST_LOOKED_AT)
    past = await stored_past(database, now=now, most=_MOST_LOOKED_AT)
    async with database.read() as connection:
        requests = await join_requests.waiting(connection)
        given = await answers.count_answers(connection, following.key) if following else {}
        convenors = await members.with_role(connection, "convenor")
        to_review = await returns.count(connection, "review")
    return Home(
        next=following,
        answers=given,
        recent=[(notice, states) for notice, states in latest if states][:_MOST_RECENT],
        waiting=len(requests),
        oldest_request=requests[0].confirmed_at if requests else None,
        to_review=to_review,
        warnings=[
            *_warnings(series, ahead, convenors, now),
            *_without_materials(series, past, now),
        ],
    )


def _warnings(
    series: Sequence[Series],
    ahead: Mapping[str, Sequence[Occurrence]],
    convenors: Sequence[Member],
    now: datetime,
) -> list[str]:
    warnings = []
    for each in series:
        meetings = ahead[each.slug]
        for meeting in meetings:
            soon = meeting.starts - now <= _ROOM_NEEDED
            if soon and not meeting.cancelled and not (meeting.link or each.link):
                warnings.append(
                    f"{each.title} on {format_date(meeting.home_date)} has no link to its room: add it to the meeting."
                )
        if len(meetings) < _FEW_MEETINGS:
            left = (
                "no more meetings are",
                "only one more meeting is",
                f"only {len(meetings)} more meetings are",
            )
            warnings.append(
                f"{each.title} ends soon: {left[min(len(meetings), 2)]} planned. Ask whoever runs the server to extend "
                "its rule."
            )
    if sum(convenor.status == "active" for convenor in convenors) < 2:
        warnings.append("There is only one convenor: appoint a second, so that somebody can step in.")
    return warnings


def _without_materials(series: Sequence[Series], past: Sequence[Occurrence], now: datetime) -> list[str]:
    """Return a line for each meeting that has been over for a few days and has no recording, slides or notes."""
    titles = {each.slug: each.title for each in series}
    return [
        f"{titles[meeting.series]} on {format_date(meeting.home_date)} has no recording, slides or notes yet: "
        "add them to the meeting."
        for meeting in past
        if meeting.series in titles
        and not (meeting.cancelled or meeting.materials)
        and _MATERIALS_EXPECTED <= now - meeting.ends < _MATERIALS_FORGOTTEN
    ]
