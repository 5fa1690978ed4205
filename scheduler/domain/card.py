"""What the picture of a meeting says: the card that chats and social networks show beside a link to its page."""

from dataclasses import astuple, dataclass
from datetime import datetime
from hashlib import sha256

from scheduler.domain.community import Community
from scheduler.domain.localtime import HourCycle, LocalTime, format_rule, local_time
from scheduler.domain.occurrence import Occurrence, Series, Status

_OTHER_ZONES = (
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Pacific/Auckland",
    "America/Los_Angeles",
    "Africa/Lagos",
    "Asia/Tokyo",
)
_MOST_ELSEWHERE = 4
_MARKS = {Status.SCHEDULED: "", Status.MOVED: "New time", Status.CANCELLED: "Cancelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The words of a card, from the top down. `time` names its clock; `elsewhere` are the same hour in other places.

    `title` replaces a headline whose letters cannot be drawn.
    """

    community: str
    headline: str
    words: str
    title: str = ""
    mark: str = ""
    day: str = ""
    time: str = ""
    elsewhere: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """A text that changes whenever the words do."""
        return sha256(repr(astuple(self)).encode()).hexdigest()[:8]

    @property
    def text(self) -> str:
        """The words in one line, for people who do not see the picture."""
        parts = (self.mark, self.headline, self.words, self.day, self.time, *self.elsewhere)
        return ", ".join(dict.fromkeys(part for part in parts if part))


def meeting_card(
    occurrence: Occurrence, series: Series, community: Community, *, cycle: HourCycle, now: datetime
) -> Card:
    """Return the card of a meeting. Only one that is to come has the hours in other places, and one that is over does
    not say that it was moved."""
    home = local_time(occurrence, series, zone=occurrence.zone, cycle=cycle)
    over = occurrence.ends <= now
    ahead = not over and not occurrence.cancelled
    return Card(
        community=community.name,
        headline=occurrence.topic or series.title,
        title=series.title,
        words=f"With {occurrence.speakers}" if occurrence.speakers else "",
        mark="" if over and occurrence.is_held else _MARKS[occurrence.status],
        day=home.day,
        time=f"{home.starts} to {home.ends} in {home.place}",
        elsewhere=elsewhere(occurrence, series, cycle=cycle) if ahead else (),
    )


def community_card(community: Community, series: tuple[Series, ...], *, cycle: HourCycle) -> Card:
    """Return the card of the community itself."""
    return Card(
        community=community.name,
        headline=community.name,
        words=community.description,
        day="" if len(series) == 1 else "Online meetings",
        time=format_rule(series[0], cycle)
        if len(series) == 1
        else ", ".join(each_series.title for each_series in series),
    )


def elsewhere(occurrence: Occurrence, series: Series, *, cycle: HourCycle) -> tuple[str, ...]:
    """Return the hour in some places around the world whose clocks differ from the home zone's and each other's."""
    home = local_time(occurrence, series, zone=occurrence.zone, cycle=cycle)
    shown: dict[str, LocalTime] = {}
    for zone in _OTHER_ZONES:
        local = local_time(occurrence, series, zone=zone, cycle=cycle)
        if local.offset != home.offset:
            shown.setdefault(local.offset, local)
        if len(shown) == _MOST_ELSEWHERE:
            break
    in_order = sorted(shown.values(), key=lambda local: local.starts_at.replace(tzinfo=None))
    return tuple(_hour(local) for local in in_order)


def _hour(local: LocalTime) -> str:
    """Return an hour and its city; on another day than at home, with the weekday."""
    day = f"{local.weekday[:3]} " if local.day_shift else ""
    return f"{day}{local.starts} {local.city}"
