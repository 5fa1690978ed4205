"""The weekly report to convenors: when it is due, and what it says."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from scheduler.domain.clock import require_aware
from scheduler.domain.errors import Refused
from scheduler.domain.localtime import WEEKDAYS
from scheduler.domain.policy import first_instant

WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeeklyTime:
    """A weekday (0 is Monday) and a local time."""

    weekday: int
    at: time

    @classmethod
    def parse(cls, text: str) -> "WeeklyTime":
        """Read `monday 08:00`. Raises Refused for anything else."""
        weekday, _, at = text.strip().partition(" ")
        try:
            hour = datetime.strptime(at.strip(), "%H:%M").time()  # noqa: DTZ007
            return cls(weekday=WEEKDAYS.index(weekday.capitalize()), at=hour)
        except ValueError:
            raise Refused(f"'{text}' is not a weekday and a time") from None

    def latest(self, now: datetime, zone: str) -> datetime:
        """Return the last such instant in a zone (in UTC) that is not after `now`."""
        today = now.astimezone(ZoneInfo(zone)).date()
        day = today - timedelta(days=(today.weekday() - self.weekday) % 7)
        due = first_instant(datetime.combine(day, self.at), zone)
        return due if due <= now else first_instant(datetime.combine(day - WEEK, self.at), zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The certificate of a host of ours: until when it is valid (UTC), or what is wrong, as in `is not valid: …`."""

    host: str
    expires: datetime | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextMeeting:
    """A coming meeting: the title of its series, its start (UTC) and the series' home zone."""

    title: str
    starts: datetime
    zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WeeklyReport:
    """What happened from `since` to `until`, and how things are at `until` (both UTC; `zone` is the home zone).

    `not_sent` has the reasons in plain words, each with its number of emails that were due in the week. `ending` has
    a sentence for each series that ends soon. `backups` is whether backups are made.
    """

    since: datetime
    until: datetime
    zone: str
    members: int
    joined: int
    left: int
    sent: int
    waiting: int
    not_sent: tuple[tuple[str, int], ...]
    requests: int
    to_review: int
    to_show: int
    meetings: tuple[NextMeeting, ...]
    ending: tuple[str, ...]
    certificates: tuple[Certificate, ...]
    backups: bool
    backed_up: datetime | None
    rehearsed: datetime | None

    def __post_init__(self) -> None:
        require_aware(self.since, "since")
        require_aware(self.until, "until")

    def as_details(self) -> dict[str, Any]:
        """Return the values for storing them as JSON."""
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            **{name: _text(getattr(self, name)) for name in _INSTANTS},
            "not_sent": [list(pair) for pair in self.not_sent],
            "ending": list(self.ending),
            "meetings": [[each.title, _text(each.starts), each.zone] for each in self.meetings],
            "certificates": [[each.host, _text(each.expires), each.problem] for each in self.certificates],
        }

    @classmethod
    def read(cls, details: Mapping[str, Any]) -> "WeeklyReport":
        """Return what `as_details` made."""
        return cls(
            **{name: details[name] for name in _PLAIN},
            **{name: _instant(details[name]) for name in _INSTANTS},
            not_sent=tuple((reason, count) for reason, count in details["not_sent"]),
            ending=tuple(details["ending"]),
            meetings=tuple(
                NextMeeting(title=title, starts=datetime.fromisoformat(starts), zone=zone)
                for title, starts, zone in details["meetings"]
            ),
            certificates=tuple(
                Certificate(host=host, expires=_instant(expires), problem=problem)
                for host, expires, problem in details["certificates"]
            ),
        )


_PLAIN = tuple("zone members joined left sent waiting requests to_review to_show backups".split())
_INSTANTS = ("since", "until", "backed_up", "rehearsed")


def _text(instant: datetime | None) -> str | None:
    return instant.astimezone(UTC).isoformat() if instant else None


def _instant(text: str | None) -> Any:
    return datetime.fromisoformat(text) if text else None
