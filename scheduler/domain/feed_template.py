"""Private feeds of one state, made once: only the member's token and what they answered is filled in."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from operator import itemgetter

from scheduler.domain.calendar import Answer, feed
from scheduler.domain.community import Community
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.token import TOKEN_LENGTH

# Digits that base32 has not: no member's token, and nothing that anybody would write.
_HOLE = ("0198" * TOKEN_LENGTH)[:TOKEN_LENGTH]
_FOLD = b"\r\n "
# A line of 75 octets may be folded at any place of it (RFC 5545 section 3.1).
_FOLDED_HOLE = re.compile(rb"(?:\r\n )?".join(sign.encode() for sign in _HOLE))
_BETWEEN_EVENTS = re.compile(rb"(?<=\r\n)(?=BEGIN:VEVENT\r\n)")
_END = b"END:VCALENDAR\r\n"


class FeedTemplate:
    """Octets with holes where a token of constant length goes, wherever a fold crosses it."""

    def __init__(self, octets: bytes) -> None:
        self._parts: list[bytes] = []
        folds: list[int] = []
        end = 0
        for hole in _FOLDED_HOLE.finditer(octets):
            self._parts += [octets[end : hole.start()], b""]
            folds.append(hole.group().find(_FOLD))
            end = hole.end()
        self._parts.append(octets[end:])
        self._folds = frozenset(folds)
        # One call for all holes; of a single one it would give no sequence.
        self._in_order = itemgetter(*folds, *folds[-1:]) if folds else None

    def fill(self, token: bytes) -> bytes:
        """The octets with `token` in every hole, folded where the hole was."""
        if self._in_order is None:
            return self._parts[0]
        cut = {fold: token[:fold] + _FOLD + token[fold:] if fold > 0 else token for fold in self._folds}
        parts = self._parts.copy()
        parts[1::2] = self._in_order(cut)[:-1]
        return b"".join(parts)


class PrivateFeed:
    """What `calendar.feed` would make for each member of these `occurrences`, without making it anew.

    `way_in` gives the address of an occurrence's join redirect for a token; `alarm` is that of every event.
    `changed_at` is when any of it last changed.
    """

    def __init__(
        self,
        occurrences: Sequence[Occurrence],
        series: Mapping[str, Series],
        community: Community,
        *,
        way_in: Callable[[str, str], str],
        alarm: timedelta | None,
        changed_at: datetime,
    ) -> None:
        self.changed_at = changed_at
        self._occurrences = {one.key: one for one in occurrences}
        self._series, self._community, self._way_in, self._alarm = series, community, way_in, alarm
        whole = self._feed(occurrences, {})
        self._whole = FeedTemplate(whole)
        head, *events = _BETWEEN_EVENTS.split(whole.removesuffix(_END))
        in_order = sorted(occurrences, key=lambda one: (one.starts, one.key))
        self._head = head
        self._events = {one.key: FeedTemplate(octets) for one, octets in zip(in_order, events, strict=True)}
        self._answered: dict[tuple[str, str], FeedTemplate] = {}

    def fill(self, token: str, answers: Mapping[str, Answer]) -> bytes:
        """The feed of the member with that token (to join) and those answers, by the keys of occurrences."""
        own = token.encode()
        known = answers.keys() & self._events.keys() if answers else ()
        if not known:
            return self._whole.fill(own)
        filled = [
            self._answer(key, answers[key], own) if key in known else event.fill(own)
            for key, event in self._events.items()
        ]
        return b"".join([self._head, *filled, _END])

    def _answer(self, key: str, answer: Answer, token: bytes) -> bytes:
        occurrence = self._occurrences[key]
        if (stencil := self._answered.get((key, answer.word))) is None:
            as_if = replace(answer, at=occurrence.changed_at)
            octets = _BETWEEN_EVENTS.split(self._feed([occurrence], {key: as_if}).removesuffix(_END))[1]
            stencil = self._answered[key, answer.word] = FeedTemplate(octets)
        octets = stencil.fill(token)
        if answer.at > occurrence.changed_at and not occurrence.cancelled:
            # The two lines that say when it changed are never folded.
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
            join=lambda one: self._way_in(_HOLE, one.key),
            answers=answers,
            alarm=self._alarm,
        )


def _stamp(moment: datetime) -> bytes:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}\r\n".encode()
