"""Numbers about the community: members, answers, and what became of emails. Nobody's reading is tracked."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from scheduler.domain.occurrence import ANSWERS, Occurrence, Series
from scheduler.domain.policy import PERSONAL
from scheduler.service.delivery_reasons import REASONS
from scheduler.service.schedule import coming_meetings, stored_past
from scheduler.store import numbers as store
from scheduler.store.database import Database
from scheduler.store.numbers import Outcome

MONTHS = 13
"""This month and the year before it."""

_PAST_MEETINGS = 12
_COMING = timedelta(days=60)
_MOST_COMING = 3
_SERVICE = "service mail"
"""The kind that stands for all mails to one person: confirmations, welcomes, links to sign in."""

_STATES = {"queued": "waiting", "sending": "waiting"}
OUTCOMES = ("sent", "waiting", "failed", "expired", "withdrawn", "skipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthOfMembers:
    """How many members joined and left in a month, which is written `2026-11`."""

    month: str
    joined: int
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MeetingAnswers:
    """How many members gave each answer to a meeting; `silent` were sent its invitation and have not answered."""

    key: str
    coming: int
    maybe: int
    declined: int
    silent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MailOutcomes:
    """What became of the mails of a kind that were due in a month: their number by each of OUTCOMES."""

    month: str
    kind: str
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSent:
    """How many mails of a kind that were due in a month were not sent, and why in plain words."""

    month: str
    kind: str
    outcome: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The numbers, and the instant at which they were counted. Months are those of the home zone of the first series.

    `countries` (empty if unknown) and `zones` count members on the list, paused ones too; most members first. Whoever
    has been erased is in none of the counts. `not_sent` does not include the archive.
    """

    counted_at: datetime
    zone: str
    members: int
    countries: Sequence[tuple[str, int]]
    zones: Sequence[tuple[str, int]]
    months: Sequence[MonthOfMembers]
    meetings: Sequence[MeetingAnswers]
    mails: Sequence[MailOutcomes]
    not_sent: Sequence[NotSent]


async def count_numbers(database: Database, *, series: Sequence[Series], now: datetime) -> Numbers:
    """Count everything; with a million members this takes seconds."""
    zone = ZoneInfo(series[0].zone)
    months = _latest_months(now, zone)
    since = datetime.fromisoformat(f"{months[0]}-01").replace(tzinfo=zone)
    meetings = await _meetings(database, series, now)
    keys = [meeting.key for meeting in meetings]
    # A transaction for each count: a long one would keep SQLite from shortening its log.
    async with database.read() as connection:
        places = await store.members_by_place(connection)
    async with database.read() as connection:
        joined = await store.joined(connection, since=since)
        left = await store.left(connection, since=since)
    async with database.read() as connection:
        answers = await store.answers_by_meeting(connection, keys)
        silent = await store.unanswered(connection, keys)
    async with database.read() as connection:
        outcomes = await store.outcomes(connection, since=since)
    async with database.read() as connection:
        causes = await store.causes(connection, since=since)
    countries, zones = Counter[str](), Counter[str]()
    for (country, member_zone), count in places.items():
        countries[country] += count
        zones[member_zone] += count
    joined_in, left_in = _by_month(joined, zone), _by_month(left, zone)
    return Numbers(
        counted_at=now,
        zone=series[0].zone,
        members=countries.total(),
        countries=_most_first(countries),
        zones=_most_first(zones),
        months=[
            MonthOfMembers(month=month, joined=joined_in[month], left=left_in[month]) for month in months
        ],
        meetings=[
            MeetingAnswers(
                key=key,
                silent=silent.get(key, 0),
                **{answer: answers.get(key, {}).get(answer, 0) for answer in ANSWERS},
            )
            for key in keys
            if key in answers or key in silent
        ],
        mails=_mails(outcomes, zone),
        not_sent=_not_sent(causes, zone),
    )


async def _meetings(database: Database, series: Sequence[Series], now: datetime) -> list[Occurrence]:
    """Return the latest meetings and the next ones, in order."""
    slugs = {each.slug for each in series}
    found = await stored_past(database, now=now, most=_PAST_MEETINGS)
    for each in series:
        found += await coming_meetings(database, each, now=now, until=now + _COMING, most=_MOST_COMING)
    return sorted(
        (meeting for meeting in found if meeting.series in slugs and not meeting.cancelled),
        key=lambda meeting: (meeting.starts, meeting.key),
    )


def _latest_months(now: datetime, zone: ZoneInfo) -> list[str]:
    today = now.astimezone(zone)
    count = today.year * 12 + today.month - 1
    return [f"{number // 12:04}-{number % 12 + 1:02}" for number in range(count - MONTHS + 1, count + 1)]


def _month(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m}"


def _by_month(counts: Mapping[datetime, int], zone: ZoneInfo) -> Counter[str]:
    by_month = Counter[str]()
    for moment, count in counts.items():
        by_month[_month(moment, zone)] += count
    return by_month


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _kind(outcome: Outcome) -> str:
    return _SERVICE if outcome.kind in PERSONAL else outcome.kind


def _mails(outcomes: Iterable[Outcome], zone: ZoneInfo) -> list[MailOutcomes]:
    """Add up by month and kind, the latest month first."""
    counted: dict[tuple[str, str], Counter[str]] = {}
    for outcome in outcomes:
        key = (_month(outcome.due, zone), _kind(outcome))
        counted.setdefault(key, Counter())[_STATES.get(outcome.state, outcome.state)] += outcome.count
    by_month = sorted(sorted(counted.items()), key=lambda item: item[0][0], reverse=True)
    return [MailOutcomes(month=month, kind=kind, counts=dict(counts)) for (month, kind), counts in by_month]


def _not_sent(causes: Iterable[Outcome], zone: ZoneInfo) -> list[NotSent]:
    """Add up by month, kind and reason, the latest month first."""
    counted = Counter[tuple[str, str, str, str]]()
    for cause in causes:
        reason = REASONS.get((cause.state, cause.reason), "another reason")
        counted[_month(cause.due, zone), _kind(cause), cause.state, reason] += cause.count
    by_month = sorted(sorted(counted.items()), key=lambda item: item[0][0], reverse=True)
    return [
        NotSent(month=month, kind=kind, outcome=outcome, reason=reason, count=count)
        for (month, kind, outcome, reason), count in by_month
    ]
