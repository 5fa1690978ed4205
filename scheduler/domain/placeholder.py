"""The placeholders of a notice, such as {name}: a fixed set that is filled in for each member, and never executed."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from scheduler.domain.token import Purpose

_NAME = r" ?[A-Za-z_][\w.-]{0,30} ?"
PATTERN = re.compile(rf"(?<![/?&=#%$.{{-])\{{({_NAME})\}}(?!\}})", re.ASCII)
"""A placeholder in a text. One in the middle of a web address, or in the braces of another program, is none of ours."""

_IN_SUBJECT = re.compile(rf"\\?{PATTERN.pattern}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placeholder:
    """One placeholder: its name, what it stands for, and what the menu inserts.

    `purpose` is that of the token in a link. `needs_meeting` says that its value belongs to a meeting.
    """

    name: str
    words: str
    inserts: str
    needs_meeting: bool = False
    purpose: Purpose | None = None


def _value(name: str, words: str, *, needs_meeting: bool = True) -> Placeholder:
    return Placeholder(name=name, words=words, inserts=f"{{{name}}}", needs_meeting=needs_meeting)


def _link(name: str, words: str, label: str, purpose: Purpose, *, needs_meeting: bool = False) -> Placeholder:
    return Placeholder(
        name=name,
        words=words,
        inserts=f"[{label}]({{{name}}})",
        needs_meeting=needs_meeting,
        purpose=purpose,
    )


PLACEHOLDERS: Mapping[str, Placeholder] = {
    placeholder.name: placeholder
    for placeholder in (
        _value("name", "The member's name", needs_meeting=False),
        _value("when", "Day and time of the meeting, by the member's clock"),
        _value("day", "Only the day, by the member's clock"),
        _value("time", "Only the time, by the member's clock"),
        _value("meeting", "The name of the meeting"),
        _value("topic", "The topic of the meeting"),
        _link("join_link", "Link to join the meeting", "Join the meeting", Purpose.JOIN, needs_meeting=True),
        _link("answer_link", "Link to say who comes", "Can you come?", Purpose.RSVP, needs_meeting=True),
        _link("my_page", "Link to the member's own page", "Your own page", Purpose.PREFERENCES),
        _link(
            "calendar_link", "Link to the member's own calendar", "Add it to your calendar", Purpose.SUBSCRIBE
        ),
    )
}


def find_placeholder(text: str) -> Placeholder | None:
    """Return the placeholder of a name, in any case; None if there is none."""
    return PLACEHOLDERS.get(text.strip().lower())


def suggest(text: str) -> str:
    """Return what to write instead of an unknown placeholder, for an error message."""
    if near := get_close_matches(text.strip().lower(), PLACEHOLDERS, n=1):
        return f"did you mean {{{near[0]}}}?"
    return f"there are {', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}"


def in_subject(subject: str) -> Iterator[str | Placeholder]:
    r"""Yield the pieces of a subject: text, and known placeholders. A backslash keeps one as text: `\{name}`."""
    end = 0
    for match in _IN_SUBJECT.finditer(subject):
        yield subject[end : match.start()]
        found = None if match[0].startswith("\\") else find_placeholder(match[1])
        yield found or match[0].removeprefix("\\")
        end = match.end()
    yield subject[end:]


def unknown_in_subject(subject: str) -> list[str]:
    """Return the names in a subject that look like placeholders and are unknown."""
    return [
        match[1]
        for match in _IN_SUBJECT.finditer(subject)
        if not match[0].startswith("\\") and not find_placeholder(match[1])
    ]


def purposes_in(words: str) -> tuple[Purpose, ...]:
    """Return the purposes of the links that the words of a notice may contain."""
    lower = words.lower()
    return tuple(
        placeholder.purpose
        for placeholder in PLACEHOLDERS.values()
        if placeholder.purpose and placeholder.name in lower
    )
