"""Private feeds, rendered once for each state: only the member's token and answers are filled in."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from operator import itemgetter

from scheduler.domain.calendar import Answer, feed, feed_without_events
from scheduler.domain.community import Community
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.token import TOKEN_LENGTH

# Digits that base32 does not use: this cannot be a token, and nobody would write it.
_PLACEHOLDER = ("0198" * TOKEN_LENGTH)[:TOKEN_LENGTH]
_FOLD = b"\r\n "
# A line longer than 75 octets may be folded anywhere in it (RFC 5545 section 3.1).
_FOLDED_PLACEHOLDER = re.compile(rb"(?:\r\n )?".join(sign.encode() for sign in _PLACEHOLDER))
_BETWEEN_EVENTS = re.compile(rb"(?<=\r\n)(?=BEGIN:VEVENT\r\n)")
_END = b"END:VCALENDAR\r\n"
_MAX_SELECTIONS = 256
"""The number of sets of series whose feeds are kept. Each holds little of its own."""


class FeedTemplate:
    """Octets with placeholders for a token of constant length, which may be folded anywhere."""

    def __init__(self, octets: bytes) -> None:
        self._parts: list[bytes] = []
        folds: list[int] = []
        end = 0
        for placeholder in _FOLDED_PLACEHOLDER.finditer(octets):
            self._parts += [octets[end : placeholder.start()], b""]
            folds.append(placeholder.group().find(_FOLD))
            end = placeholder.end()
        self._parts.append(octets[end:])
        self._folds = frozenset(folds)
        # One call fills all placeholders; with a single index, itemgetter would not return a tuple.
        self._in_order = itemgetter(*folds, *folds[-1:]) if folds else None

    def fill(self, token: bytes) -> bytes:
        """Return the octets with `token` in every placeholder, folded where the placeholder was."""
        if self._in_order is None:
            return self._parts[0]
        cut = {fold: token[:fold] + _FOLD + token[fold:] if fold > 0 else token for fold in self._folds}
        parts = self._parts.copy()
        parts[1::2] = self._in_order(cut)[:-1]
        return b"".join(parts)


class PrivateFeed:
    """Make the same feed of `occurrences` for a member as `calendar.feed`, without rendering it again.

    `join_url` returns the URL of the join redirect for a token and the key of an occurrence. `alarm` is the alarm of
    every event. `changed_at` is when any of this last changed. Without a `language` the feed is in the community's.
    """

    def __init__(
        self,
        occurrences: Sequence[Occurrence],
        series: Mapping[str, Series],
        community: Community,
        *,
        join_url: Callable[[str, str], str],
        alarm: timedelta | None,
        changed_at: datetime,
        language: str | None = None,
    ) -> None:
        self.changed_at, self._language = changed_at, language
        self._occurrences = {occurrence.key: occurrence for occurrence in occurrences}
        self._series, self._community, self._join_url, self._alarm = series, community, join_url, alarm
        whole = self._feed(occurrences, {})
        self._whole: FeedTemplate | None = FeedTemplate(whole)
        head, *events = _BETWEEN_EVENTS.split(whole.removesuffix(_END))
        in_order = sorted(occurrences, key=lambda occurrence: (occurrence.starts, occurrence.key))
        self._head = head
        self._events = {
            occurrence.key: FeedTemplate(octets) for occurrence, octets in zip(in_order, events, strict=True)
        }
        self._answer_templates: dict[tuple[str, str], FeedTemplate] = {}
        self._selections: dict[frozenset[str], PrivateFeed] = {}

    def of_series(self, slugs: Collection[str]) -> "PrivateFeed":
        """Return the feed that has only the meetings of these series. It shares the events of this one."""
        wanted = frozenset(slugs)
        if wanted.issuperset(self._series):
            return self
        if (selection := self._selections.get(wanted)) is None:
            selection = self._select(wanted)
            if len(self._selections) >= _MAX_SELECTIONS:
                self._selections.clear()
            self._selections[wanted] = selection
        return selection

    def _select(self, slugs: frozenset[str]) -> "PrivateFeed":
        selection = copy(self)
        selection._whole = None
        selection._events = {
            key: event for key, event in self._events.items() if self._occurrences[key].series in slugs
        }
        selection._head = feed_without_events(
            [self._occurrences[key] for key in selection._events],
            self._series,
            self._community,
            name=self._community.name,
        ).removesuffix(_END)
        return selection

    def fill(self, token: str, answers: Mapping[str, Answer]) -> bytes:
        """Return the feed for a `token` for joining and the answers by the key of the occurrence."""
        own = token.encode()
        known = answers.keys() & self._events.keys() if answers else ()
        if self._whole and not known:
            return self._whole.fill(own)
        filled = [
            self._answer(key, answers[key], own) if key in known else event.fill(own)
            for key, event in self._events.items()
        ]
        return b"".join([self._head, *filled, _END])

    def _answer(self, key: str, answer: Answer, token: bytes) -> bytes:
        occurrence = self._occurrences[key]
        if (template := self._answer_templates.get((key, answer.word))) is None:
            unstamped = replace(answer, at=occurrence.changed_at)
            octets = _BETWEEN_EVENTS.split(self._feed([occurrence], {key: unstamped}).removesuffix(_END))[1]
            template = self._answer_templates[key, answer.word] = FeedTemplate(octets)
        octets = template.fill(token)
        if answer.at > occurrence.changed_at and not occurrence.cancelled:
            # The two lines with the time of the last change are never folded.
            for name in (b"DTSTAMP:", b"LAST-MODIFIED:"):
                octets = octets.replace(
                    b"\r\n" + name + _stamp(occurrence.changed_at), b"\r\n" + name + _stamp(answer.at), 1
                )
        return octets

    def _feed(self, occurrences: Sequence[Occurrence], answers: Mapping[str, Answer]) -> bytes:
        return feed(
            occurrences,
            self._series,
            self._community,
            name=self._community.name,
            join=lambda occurrence: self._join_url(_PLACEHOLDER, occurrence.key),
            answers=answers,
            alarm=self._alarm,
            language=self._language,
        )


def _stamp(moment: datetime) -> bytes:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}\r\n".encode()
