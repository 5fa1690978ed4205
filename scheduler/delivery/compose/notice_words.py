"""The words of a notice with their placeholders filled in: the cohort's values at once, a member's own as blanks."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from unicodedata import bidirectional

from markupsafe import Markup, escape

from scheduler.delivery.compose.markdown import Filled, Filling, as_html, as_text, placeholders
from scheduler.delivery.compose.wording import Meeting
from scheduler.domain.errors import Problem
from scheduler.domain.placeholder import Placeholder, find_placeholder, in_subject
from scheduler.domain.translation import isolated

_LINKS = {
    "join_link": "join_url",
    "answer_link": "rsvp_url",
    "my_page": "me_url",
    "calendar_link": "own_subscribe_url",
}
"""The variable of the templates that has the address, by the placeholder of each link."""

_LONGEST_START = 120
_LEEWAY = 5
_RIGHT_TO_LEFT = ("R", "AL", "AN")


def known_placeholders(subject: str, body: str) -> list[Placeholder]:
    """Return the placeholders that the words of a notice have, in order, each once."""
    found = [piece for piece in in_subject(subject) if isinstance(piece, Placeholder)]
    found += [known for one in placeholders(body) if (known := find_placeholder(one.name))]
    return list(dict.fromkeys(found))


def words_for_templates(subject: str, body: str, meeting: Meeting | None) -> dict[str, object]:
    """Return a notice's words as the templates take them: its subject, text, HTML, and the start of the text.

    `meeting` is the one that it mentions. Raises Problem where a placeholder has no value.
    """
    known = known_placeholders(subject, body)
    if meeting is None and (needing := [one.name for one in known if one.needs_meeting]):
        raise Problem(f"the notice has {{{needing[0]}}}, but the meeting that it is about is gone")
    values = _of_meeting(meeting) if meeting else {}
    if not known:
        text = as_text(body)
        return {
            "words_subject": "".join(piece for piece in in_subject(subject) if isinstance(piece, str)),
            "words_text": text,
            "words_html": Markup(as_html(body)),  # noqa: S704 - as_html has cleaned it
            "words_start": _start([text]),
        }
    return {
        "words_subject": _Subject(subject, meeting),
        "words_text": _Body(body, values, "text"),
        "words_html": _Body(body, values, "html"),
        "words_start": _Body(body, values, "start"),
    }


def _of_meeting(meeting: Meeting) -> Filling:
    when = meeting.when
    return {
        "when": Filled(when.span, instant=when.starts_iso),
        "day": Filled(when.day, instant=when.starts_iso),
        "time": Filled(when.clock, instant=when.starts_iso),
        "meeting": Filled(meeting.title),
        "topic": Filled(meeting.topic),
    }


@dataclass(frozen=True, slots=True)
class _Subject:
    subject: str
    meeting: Meeting | None

    def with_blanks(self, marks: Mapping[str, str]) -> str:
        filling = dict(_of_meeting(self.meeting)) if self.meeting else {}
        if self.meeting:
            # A subject has space for the short form only.
            filling["when"] = Filled(self.meeting.when.line)
        filling["name"] = Filled(marks["name"])
        return "".join(
            piece if isinstance(piece, str) else filling[piece.name].text
            for piece in in_subject(self.subject)
        )


@dataclass(frozen=True, slots=True)
class _Body:
    words: str
    values: Filling
    form: str

    def with_blanks(self, marks: Mapping[str, str]) -> "_Lazy":
        links = {name: Filled(marks[word], is_link=True) for name, word in _LINKS.items() if word in marks}
        name = marks["name"]
        match self.form:
            case "html":
                own_name = Filled(isolated(name))
                return _Lazy(
                    lambda: Markup(as_html(self.words, {**self.values, **links, "name": own_name}))  # noqa: S704
                )
            case "text":
                return _Lazy(lambda: as_text(self.words, {**self.values, **links, "name": Filled(name)}))
        no_links = {link: Filled("", is_link=True) for link in links}
        split = re.compile(f"({re.escape(name)})")
        return _Lazy(
            lambda: _start(
                split.split(as_text(self.words, {**self.values, **no_links, "name": Filled(name)}))
            )
        )


class _Lazy:
    """A text that is made only if a template shows it: a long body takes a tenth of a second."""

    def __init__(self, make: Callable[[], str]) -> None:
        self._make = make

    def __str__(self) -> str:
        return self._make()

    def __html__(self) -> str:
        return escape(self._make())


def _start(pieces: Sequence[str]) -> str:
    """Return the first words of a text, of which every second piece is a blank and is not cut."""
    return "".join(_shortened(pieces))


def _shortened(pieces: Sequence[str]) -> Iterator[str]:
    left = _LONGEST_START
    for position, piece in enumerate(pieces):
        if position % 2:
            yield piece
        elif len(piece) > left + _LEEWAY:
            yield piece[: max(left - 3, 0)].rsplit(" ", 1)[0] + "..."
            return
        else:
            left -= len(piece)
            yield piece


def isolated_in_subject(name: str) -> str:
    """Return a name for a subject; one that is written from right to left keeps its order among other words."""
    return isolated(name) if any(bidirectional(character) in _RIGHT_TO_LEFT for character in name) else name
