"""What the picture of a meeting says: the card that chats and social networks show beside a link to its page."""

from dataclasses import astuple, dataclass
from datetime import datetime
from hashlib import sha256

from scheduler.domain.community import Community
from scheduler.domain.localtime import HourCycle, LocalTime, format_rule, format_short_weekday, local_time
from scheduler.domain.occurrence import Occurrence, Series, Status
from scheduler.domain.translation import N_, translator

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
_MARKS = {Status.SCHEDULED: "", Status.MOVED: N_("New time"), Status.CANCELLED: N_("Cancelled")}


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
    occurrence: Occurrence,
    series: Series,
    community: Community,
    *,
    cycle: HourCycle,
    language: str = "en",
    now: datetime,
) -> Card:
    """Return the card of a meeting. Only one that is to come has the hours in other places, and one that is over does
    not say that it was moved."""
    home = local_time(occurrence, series, zone=occurrence.zone, cycle=cycle, language=language)
    title = series.in_language(language).title
    say = translator(language).gettext
    over = occurrence.ends <= now
    ahead = not over and not occurrence.cancelled
    return Card(
        community=community.name,
        headline=occurrence.topic or title,
        title=title,
        words=say("With %(speakers)s") % {"speakers": occurrence.speakers} if occurrence.speakers else "",
        mark=say(mark) if (mark := _MARKS[occurrence.status]) and not (over and occurrence.is_held) else "",
        day=home.day,
        time=say("%(starts)s to %(ends)s in %(place)s")
        % {"starts": home.starts, "ends": home.ends, "place": home.place},
        elsewhere=elsewhere(occurrence, series, cycle=cycle, language=language) if ahead else (),
    )


def community_card(
    community: Community, series: tuple[Series, ...], *, cycle: HourCycle, language: str = "en"
) -> Card:
    """Return the card of the community itself."""
    return Card(
        community=community.name,
        headline=community.name,
        words=community.description,
        day="" if len(series) == 1 else translator(language).gettext("Online meetings"),
        time=format_rule(series[0], cycle, language)
        if len(series) == 1
        else ", ".join(each_series.in_language(language).title for each_series in series),
    )


def elsewhere(
    occurrence: Occurrence, series: Series, *, cycle: HourCycle, language: str = "en"
) -> tuple[str, ...]:
    """Return the hour in some places around the world whose clocks differ from the home zone's and each other's."""
    home = local_time(occurrence, series, zone=occurrence.zone, cycle=cycle, language=language)
    shown: dict[str, LocalTime] = {}
    for zone in _OTHER_ZONES:
        local = local_time(occurrence, series, zone=zone, cycle=cycle, language=language)
        if local.offset != home.offset:
            shown.setdefault(local.offset, local)
        if len(shown) == _MOST_ELSEWHERE:
            break
    in_order = sorted(shown.values(), key=lambda local: local.starts_at.replace(tzinfo=None))
    return tuple(_hour(local) for local in in_order)


def _hour(local: LocalTime) -> str:
    """Return an hour and its city; on another day than at home, with the weekday."""
    say = translator(local.language).gettext
    if not local.day_shift:
        # Translators: a time and a city, as in “18:00 London”.
        return say("%(time)s %(city)s") % {"time": local.starts, "city": local.city}
    # Translators: the same on another day, as in “Fri 03:00 Tokyo”.
    return say("%(weekday)s %(time)s %(city)s") % {
        "weekday": format_short_weekday(local.starts_at, local.language),
        "time": local.starts,
        "city": local.city,
    }
