"""The words about one meeting that the templates of mails receive, for one zone, hour cycle and language.

`domain/localtime` writes the time itself, and the note that clocks have changed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from scheduler.domain.localtime import (
    HourCycle,
    LocalTime,
    day_and_time,
    format_clock,
    format_day,
    local_minute,
    local_time,
)
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.translation import N_, translator


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One detail of a meeting, and what members were told about it before if that was different.

    `label` ends with a colon. `text` is what convenors wrote, or words that say that it `is_known` not yet.
    """

    label: str
    text: str
    before: str = ""
    is_known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """One occurrence as a mail describes it.

    `facts` are its details, of which `topic` is one, `description` what it is about, `materials` what there is to watch
    or read afterwards.
    Without `has_room` there is nothing to join yet. In an update for members who were told something different before,
    `was` is the old time, or None with `same_time` true; `new_room` says that the link has changed, `reinstated` that
    the meeting had been cancelled. `correction` says which time these members were told before new zone data changed
    it.
    """

    title: str
    when: LocalTime
    facts: tuple[Fact, ...]
    has_room: bool = True
    description: str = ""
    materials: str = ""
    was: LocalTime | None = None
    same_time: bool = False
    topic: str = ""
    new_room: bool = False
    reinstated: bool = False
    correction: str = ""


def as_told(occurrence: Occurrence, before: Occurrence | None) -> Occurrence:
    """Return a cancelled `occurrence` as members know it: with the time and the UID of `before`, which they saw."""
    if before is None:
        return occurrence
    return replace(occurrence, starts=before.starts, ends=before.ends, reinstated=before.reinstated)


def describe_meeting(
    occurrence: Occurrence,
    series: Series,
    *,
    before: Occurrence | None,
    zone: str,
    cycle: HourCycle,
    language: str,
    told: datetime | None = None,
    shown: datetime | None = None,
) -> Meeting:
    """Return `occurrence` in words; with `before`, as members last knew it, also what has changed since.

    A cancelled occurrence keeps the time that members were told. `told` is the wall time that these members were told
    before new zone data changed it. `shown` is the wall time that mails showed for `before`; the current zone data may
    give another one.
    """
    if occurrence.cancelled:
        occurrence, before = as_told(occurrence, before), None
    meeting = Meeting(
        title=series.title,
        when=local_time(occurrence, series, zone=zone, cycle=cycle, language=language),
        facts=tuple(_facts(occurrence, before, language)),
        topic=occurrence.topic or _not_yet_known(language),
        description=occurrence.description,
        materials=occurrence.materials,
        has_room=bool(occurrence.link or series.link),
    )
    if occurrence.cancelled:
        # Nobody needs to know whose clocks have changed if there is no meeting.
        return replace(meeting, when=replace(meeting.when, clock_note=""))
    if told:
        meeting = replace(
            meeting, correction=_correction(occurrence, told, zone=zone, cycle=cycle, language=language)
        )
    if before is None:
        return meeting
    retimed = (before.starts, before.ends) != (occurrence.starts, occurrence.ends)
    shows_same_time = shown is not None and f"{shown:%Y-%m-%dT%H:%M}" == local_minute(occurrence.starts, zone)
    if told or (shows_same_time and before.ends - before.starts == occurrence.ends - occurrence.starts):
        retimed = False
    return replace(
        meeting,
        was=local_time(before, series, zone=zone, cycle=cycle, language=language) if retimed else None,
        same_time=not retimed and not told,
        new_room=(occurrence.link or series.link) not in ("", before.link or series.link),
        reinstated=before.cancelled,
    )


def _correction(occurrence: Occurrence, told: datetime, *, zone: str, cycle: HourCycle, language: str) -> str:
    day = local_minute(occurrence.starts, zone).partition("T")[0]
    words = format_clock(told, cycle, language)
    if told.date().isoformat() != day:
        words = day_and_time(format_day(told.date(), language), words, language)
    say = translator(language).gettext
    # Translators: “We previously told you 18:00.” or “We previously told you Thursday 19 November 2026, 18:00.”
    return say("We previously told you %(when)s. The rules for clocks have changed since then.") % {
        "when": words
    }


def _facts(occurrence: Occurrence, before: Occurrence | None, language: str) -> Iterator[Fact]:
    # Translators: “With: ” is followed by the names of the speakers.
    for label, text, old_text in (
        (N_("Topic:"), occurrence.topic, before.topic if before else ""),
        (N_("With:"), occurrence.speakers, before.speakers if before else ""),
    ):
        if text or old_text:
            yield Fact(
                label=translator(language).gettext(label),
                text=text or _not_yet_known(language),
                before=old_text if old_text != text else "",
                is_known=bool(text),
            )


def _not_yet_known(language: str) -> str:
    return translator(language).gettext("not yet known")
