"""What convenors see first: the next meeting, what goes out next, what went out, and what needs somebody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.domain.localtime import format_date
from scheduler.domain.occurrence import Occurrence, OccurrenceKey, Series
from scheduler.domain.policy import TO_CONVENORS, Policy, kind_in_words
from scheduler.domain.text import counted
from scheduler.service.health import LATE, ServiceHealth, health
from scheduler.service.holds import on_hold
from scheduler.service.notices import latest_notices
from scheduler.service.schedule import coming_meetings, stored_past
from scheduler.service.send_schedule import LateNotice, late_notices, schedule_sends
from scheduler.service.sending_pause import RESTORED
from scheduler.store import answers, join_requests, members, occurrences, profiles, returns
from scheduler.store.database import Database
from scheduler.store.ledger import reports
from scheduler.store.members import Member
from scheduler.store.notices import Notice
from scheduler.store.occurrences import AdoptedSeries

LOOK_AHEAD = timedelta(days=14)
_MOST_COMING = 8
_MOST_RECENT = 5
_MOST_LOOKED_AT = 20
_ROOM_NEEDED = timedelta(days=7)
SERIES_AHEAD = timedelta(days=400)
FEW_MEETINGS = 3
_MATERIALS_EXPECTED = timedelta(days=3)
_MATERIALS_FORGOTTEN = timedelta(days=21)


@dataclass(frozen=True, slots=True)
class Advice:
    """Something that needs a convenor, in a sentence, and the page on which to do it, if there is one."""

    words: str
    url: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComingMail:
    """A notice that goes out: to how many members, and when the first and the last mail are due (UTC)."""

    kind: str
    policy: str | None
    occurrence: str | None
    subject: str
    number: int | None
    on_hold: bool
    first: datetime
    last: datetime
    recipients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What takes long to count with many members, and the instant at which it was counted. `recipients` has to how many
    members each notice goes, by its number."""

    counted_at: datetime
    coming: Sequence[ComingMail]
    recipients: Mapping[int, int]
    troubles: Sequence[Advice]
    members: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentMail:
    """A notice that has begun to go out: its deliveries by state, and those that failed by cause."""

    notice: Notice
    states: Mapping[str, int]
    failures: Mapping[str, int]

    @property
    def sent(self) -> int:
        return self.states.get("sent", 0)

    @property
    def waiting(self) -> int:
        return self.states.get("queued", 0) + self.states.get("sending", 0)

    @property
    def failed(self) -> int:
        return self.states.get("failed", 0)

    @property
    def not_sent(self) -> int:
        """How many members did not get it for another reason than a failure: they declined, left, or it was late."""
        return sum(self.states.values()) - self.sent - self.waiting - self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """What is quick to read. `warnings` say what is missing and what to do about it, `on_hold` what convenors hold.
    `to_show` counts the members who wait to be shown on the page of people."""

    next: Occurrence | None
    answers: Mapping[str, int]
    recent: Sequence[RecentMail]
    on_hold: Sequence[Notice]
    waiting: int
    oldest_request: datetime | None
    to_review: int
    to_show: int
    warnings: Sequence[Advice]


async def count_figures(
    database: Database,
    *,
    series: Sequence[Series],
    policies: Sequence[Policy],
    rate: float,
    now: datetime,
) -> Figures:
    """Count what goes out in the next two weeks, and look for trouble. `rate` is the relay's, in messages a second (0:
    no limit)."""
    sends = await schedule_sends(
        database, series=series, policies=policies, rate=rate, until=now + LOOK_AHEAD, now=now
    )
    coming: dict[str, ComingMail] = {}
    for row in (send.forecast for send in sends):
        if not row.recipients or row.kind in TO_CONVENORS:
            continue
        before = coming.get(row.notice)
        due = max(row.due, now)
        coming[row.notice] = ComingMail(
            kind=row.kind,
            policy=row.policy,
            occurrence=row.occurrence,
            subject=row.subject,
            number=row.number,
            on_hold=row.on_hold,
            first=min(before.first, due) if before else due,
            last=max(before.last, due) if before else due,
            recipients=row.recipients + (before.recipients if before else 0),
        )
    state = await health(database, now)
    return Figures(
        counted_at=now,
        coming=sorted(coming.values(), key=lambda mail: mail.first)[:_MOST_COMING],
        recipients={mail.number: mail.recipients for mail in coming.values() if mail.number is not None},
        troubles=[*_troubles(state, now), *_too_slow(late_notices(sends), series)],
        members=state.members.get("active", 0),
    )


def _troubles(state: ServiceHealth, now: datetime) -> list[Advice]:
    """Return what is wrong with the service in the words of convenors, who have no command line."""
    tell = "Tell whoever runs the server."
    troubles = []
    if state.is_overdue(now):
        troubles.append(
            Advice(f"Nothing is being sent at the moment: the service that sends is not running. {tell}")
        )
    if state.pause:
        reason = (
            "a backup was restored" if state.pause.reason == RESTORED else "the server's clock looks wrong"
        )
        troubles.append(Advice(f"All sending is paused, because {reason}. {tell}"))
    if state.unwritable:
        troubles.append(Advice(f"Changes cannot be saved at the moment: {state.unwritable}. {tell}"))
    if state.relay:
        troubles.append(
            Advice(
                "Our mail server does not take emails at the moment. They wait, and leave as soon as it does. If this "
                f"lasts: {tell} It says: {state.relay}"
            )
        )
    if state.turned_away:
        mails = counted(state.turned_away, "email has", "emails have")
        troubles.append(
            Advice(f"{mails} come back since yesterday because other mail systems do not trust ours. {tell}")
        )
    if state.unkept:
        troubles.append(
            Advice(
                "Too many emails to us wait to be read, so new ones are not kept.",
                "/convenor/returns",
                "Read them",
            )
        )
    troubles += [
        Advice(f"{wrong.words}.", f"/convenor/meetings/{wrong.occurrence}/tell", "Tell these members")
        for wrong in state.wrongly_told
    ]
    if state.forms_limited:
        troubles.append(Advice(f"Visitors have asked for too many emails in the last hour. {tell}"))
    if state.unbacked:
        troubles.append(Advice(f"There is no recent backup. {tell}"))
    if (lag := state.lag(now)) > LATE:
        troubles.append(
            Advice(
                f"Emails leave late: the oldest has waited for {lag // timedelta(minutes=1)} minutes. {tell}"
            )
        )
    return troubles


def _too_slow(late: Sequence[LateNotice], series: Sequence[Series]) -> list[Advice]:
    """Return a sentence for each notice that our mail server cannot send to everybody in time."""
    return [
        Advice(
            f"Our mail server is too slow for {counted(notice.recipients, 'member')}: "
            f"{_late_about(notice, series)} would "
            f"{'not reach all of them in time' if notice.misses else 'reach some of them late'}. "
            "Tell whoever runs the server."
        )
        for notice in late
    ]


def _late_about(notice: LateNotice, series: Sequence[Series]) -> str:
    if notice.occurrence is None:
        return "a notice"
    key = OccurrenceKey.parse(notice.occurrence)
    titles = {each.slug: each.title for each in series}
    kind = kind_in_words(notice.kind).lower()
    return f"the {kind} of {titles.get(key.series, key.series)} on {format_date(key.date)}"


async def read_home(database: Database, *, series: Sequence[Series], now: datetime) -> Home:
    """Return what convenors see first, apart from the figures."""
    ahead = {
        each.slug: await coming_meetings(database, each, now=now, until=now + SERIES_AHEAD, most=FEW_MEETINGS)
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
        adopted = await occurrences.adopted_series(connection)
        to_review = await returns.count(connection, "review")
        to_show = await profiles.count_waiting(connection)
        recent = [
            RecentMail(notice=notice, states=states, failures=await reports.failures(connection, notice.id))
            for notice, states in [pair for pair in latest if pair[1]][:_MOST_RECENT]
        ]
    return Home(
        next=following,
        answers=given,
        recent=recent,
        on_hold=await on_hold(database, now),
        waiting=len(requests),
        oldest_request=requests[0].confirmed_at if requests else None,
        to_review=to_review,
        to_show=to_show,
        warnings=[
            *_warnings(series, ahead, convenors, now),
            *_without_materials(series, past, adopted, now),
        ],
    )


def ends_soon(series: Series, meetings: Sequence[Occurrence]) -> str:
    """Return that a series has only these meetings in the time of SERIES_AHEAD; empty if they are enough."""
    if len(meetings) >= FEW_MEETINGS:
        return ""
    left = (
        "no more meetings are",
        "only one more meeting is",
        f"only {len(meetings)} more meetings are",
    )
    return f"{series.title} ends soon: {left[min(len(meetings), 2)]} planned."


def _warnings(
    series: Sequence[Series],
    ahead: Mapping[str, Sequence[Occurrence]],
    convenors: Sequence[Member],
    now: datetime,
) -> list[Advice]:
    warnings = []
    for each in series:
        meetings = ahead[each.slug]
        for meeting in meetings:
            soon = meeting.starts - now <= _ROOM_NEEDED
            if soon and not meeting.cancelled and not (meeting.link or each.link):
                name = f"{each.title} on {format_date(meeting.home_date)}"
                warnings.append(
                    Advice(
                        f"{name} has no link to its room.",
                        f"/convenor/meetings/{meeting.key}",
                        "Add the link",
                    )
                )
        if words := ends_soon(each, meetings):
            warnings.append(Advice(f"{words} Ask whoever runs the server to extend its rule."))
    if sum(convenor.status == "active" for convenor in convenors) < 2:
        warnings.append(
            Advice(
                "There is only one convenor. With a second, somebody can step in.",
                "/convenor/team",
                "Appoint a convenor",
            )
        )
    return warnings


def _without_materials(
    series: Sequence[Series],
    past: Sequence[Occurrence],
    adopted: Mapping[str, AdoptedSeries],
    now: datetime,
) -> list[Advice]:
    """Return a line for each meeting that has been over for a few days and has no recording, slides or notes. Those
    from before the service knew their series were held without it."""
    titles = {each.slug: each.title for each in series}
    return [
        Advice(
            f"{titles[meeting.series]} on {format_date(meeting.home_date)} has no recording, slides or notes yet.",
            f"/convenor/meetings/{meeting.key}",
            "Add them",
        )
        for meeting in past
        if meeting.series in titles
        and meeting.series in adopted
        and meeting.starts >= adopted[meeting.series].adopted_at
        and not (meeting.cancelled or meeting.materials)
        and _MATERIALS_EXPECTED <= now - meeting.ends < _MATERIALS_FORGOTTEN
    ]
