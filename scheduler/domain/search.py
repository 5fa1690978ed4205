"""Words for searching: fold texts into them, find what a mistyped word may mean, and mark matches in a text."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from scheduler.domain.text import plain

LONGEST_WORD = 60
LONGEST_QUERY = 200
MOST_QUERY_WORDS = 8
MOST_WORDS = 20_000
"""How many words of one text are searched."""

_SHORTEST_MISSPELT = 3
_TWO_MISTAKES_FROM = 8
# Scripts without spaces between words: each character is a word.
_WITHOUT_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_WITHOUT_SPACES}]|[^\W_{_WITHOUT_SPACES}]+")
_WITHOUT_SPACES_ONE = re.compile(f"[{_WITHOUT_SPACES}]")


def search_words(text: str) -> list[str]:
    """Return the words of a text in order, without case and accents, at most MOST_WORDS."""
    words = (match[0][:LONGEST_WORD] for match in _WORD.finditer(plain(text)))
    return [word for word, _ in zip(words, range(MOST_WORDS), strict=False)]


def query_words(text: str) -> list[str]:
    """Return the words that a visitor looks for, each once, at most MOST_QUERY_WORDS."""
    return list(dict.fromkeys(search_words(text[:LONGEST_QUERY])))[:MOST_QUERY_WORDS]


def forms(word: str) -> set[str]:
    """Return a word, and the word without each of its letters.

    Two words that differ by one letter too many, too few, replaced or swapped have a form in common.
    """
    if len(word) < _SHORTEST_MISSPELT:
        return {word}
    return {word, *(word[:index] + word[index + 1 :] for index in range(len(word)))}


def is_misspelt(typed: str, word: str) -> bool:
    """Return whether `typed` may be a misspelling of `word`: one mistake, or two in a long word."""
    return _distance(typed, word) <= (2 if min(len(typed), len(word)) >= _TWO_MISTAKES_FROM else 1)


def _distance(one: str, other: str) -> int:
    """Return how many letters are added, left out, replaced or swapped (optimal string alignment)."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, start=1):
        current = [row]
        for column, other_letter in enumerate(other, start=1):
            cost = min(last[column] + 1, current[-1] + 1, last[column - 1] + (letter != other_letter))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == other_letter:
                cost = min(cost, before[column - 2] + 1)
            current.append(cost)
        before, last = last, current
    return last[-1]


class Part(NamedTuple):
    """A part of a text, and whether it is what was looked for."""

    text: str
    is_match: bool = False


def marked(text: str, terms: Collection[str]) -> list[Part]:
    """Return a text in parts: those words match that begin with one of `terms`."""
    parts, end = [], 0
    for match_start, stop in _matches(text, terms):
        start = max(match_start, end)  # one character, such as a fraction, may hold several words
        if stop <= start:
            continue
        if start > end:
            parts.append(Part(text[end:start]))
        parts.append(Part(text[start:stop], is_match=True))
        end = stop
    if end < len(text):
        parts.append(Part(text[end:]))
    return parts


def passage(text: str, terms: Collection[str], *, length: int = 240) -> list[Part]:
    """Return the part of a text around its first match, marked; the beginning of the text if nothing matches."""
    first = next((start for start, _ in _matches(text, terms)), 0)
    begin = max(0, first - length // 3)
    if begin:
        begin = text.find(" ", begin, first) + 1 or begin
    end = min(len(text), begin + length)
    if end < len(text):
        end = max(text.rfind(" ", begin, end), begin + length // 2)
    cut = " ".join(text[begin:end].split())
    return marked(f"{'… ' if begin else ''}{cut}{' …' if end < len(text) else ''}", terms)


def _matches(text: str, terms: Collection[str]) -> Iterator[tuple[int, int]]:
    """Yield where each word begins and ends that begins with one of `terms`."""
    if not terms:
        return
    pattern = "|".join(
        re.escape(term) if _WITHOUT_SPACES_ONE.fullmatch(term) else rf"(?<![^\W_]){re.escape(term)}[^\W_]*"
        for term in sorted(terms, key=len, reverse=True)
    )
    folded, places = _folded_in_place(text)
    for match in re.finditer(pattern, folded):
        start, end = match.span()
        yield (start, end) if places is None else (places[start], places[end - 1] + 1)


def _folded_in_place(text: str) -> tuple[str, Sequence[int] | None]:
    """Return a text as it is searched, and for each of its characters the place in `text`; None: it is the same."""
    if text.isascii():
        return text.lower(), None
    folded, places = [], list[int]()
    for place, char in enumerate(text):
        searched = plain(char)
        folded.append(searched)
        places += [place] * len(searched)
    return "".join(folded), places


def as_text(words: Iterable[str]) -> str:
    """Return words as the text that is searched."""
    return " ".join(words)


def nearest(typed: str, candidates: Iterable[tuple[str, int]], *, most: int = 8) -> Sequence[str]:
    """Return the likeliest of the words that `typed` may be a misspelling of. Each candidate is a word and how often
    it occurs."""
    found = [(_distance(typed, word), -count, word) for word, count in candidates if is_misspelt(typed, word)]
    return [word for _, _, word in sorted(found)[:most]]
