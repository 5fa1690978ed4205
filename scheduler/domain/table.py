"""Read tables from CSV files of any program, and write cells that are safe in a spreadsheet."""

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from scheduler.domain.code_page import Guess, guess_code_page
from scheduler.domain.errors import Refused
from scheduler.domain.text import quoted

LARGEST = 200_000_000

_DELIMITERS = ",;\t"
_UTF8_CHARACTER = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")
_DECLARED = re.compile(r"sep=([,;\t])[\r\n]*", re.IGNORECASE)


class Record(NamedTuple):
    """A row: the number of the line on which it starts, from 1, and its cells, or the problem that hides them."""

    line: int
    cells: list[str]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """The headings as people see them, and the records that are not blank, read lazily."""

    headings: tuple[str, ...]
    records: Iterator[Record]
    guess: Guess | None = None
    """The guessed code page, if neither the file nor a person said which it is."""


def open_table(data: bytes, *, known: Callable[[str], bool], encoding: str | None = None) -> Table:
    """Read a table with a line of headings from the bytes of a file.

    The delimiter is the comma, semicolon or tab that gives the most headings that are `known`. UTF-8 and UTF-16, with
    or without a byte order mark, are recognised; any other code page is guessed unless `encoding` names it. Octets that
    cannot be decoded become U+FFFD. Raises Refused for a file that is empty or larger than 200 MB.
    """
    if len(data) > LARGEST:
        raise Refused(f"the file has {len(data):,} bytes; at most {LARGEST:,} are accepted")
    guess = None
    encoding = encoding or _unicode(data)
    if encoding is None:
        guess = guess_code_page(data)
        encoding = guess.codec
    # A byte order mark is not part of the text, even if a person named the encoding.
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    delimiter = _delimiter(data, encoding, known)
    records = (
        record
        for record in _records(data, encoding, delimiter)
        if record.problem or any(map(_has_text, record.cells))
    )
    first = next(records, None)
    if first is None:
        raise Refused("the file is empty; its first line must hold headings such as name, email and country")
    if first.problem:
        raise Refused(f"line {first.line}: {first.problem}")
    return Table(tuple(quoted(cell.strip("\ufeff"))[1:-1] for cell in first.cells), records, guess)


def decode_text(data: bytes) -> str:
    """Return the text of a file in which only ASCII matters, such as one of addresses; UTF-16 is recognised."""
    return data.decode(_unicode(data) or "cp1252", "replace").removeprefix("\ufeff")


def _has_text(cell: str) -> bool:
    return bool(cell.strip().strip("\ufeff"))


def _unicode(data: bytes) -> str | None:
    """Return the Unicode encoding of a file, or None if it has another encoding."""
    if data.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    # Text in any script has ASCII around it, and in UTF-16 the other octet of an ASCII character is zero.
    head = data[:4096]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) * 5 > len(head) and min(even, odd) * 5 < max(even, odd):
        return "utf-16-le" if odd > even else "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        # A single broken character does not mean another encoding, and must not spoil all other names in the file.
        broken = data.decode("utf-8", "replace").count("\N{REPLACEMENT CHARACTER}")
        return "utf-8" if len(_UTF8_CHARACTER.findall(data)) > broken else None
    return "utf-8"


def _lines(data: bytes, encoding: str) -> Iterator[str]:
    return iter(io.TextIOWrapper(io.BytesIO(data), encoding, errors="replace", newline=""))


def _delimiter(data: bytes, encoding: str, known: Callable[[str], bool]) -> str:
    if declared := _DECLARED.fullmatch(next(_lines(data[:100], encoding), "")):
        return declared[1]

    def score(delimiter: str) -> tuple[int, int]:
        records = islice(_records(data[:100_000], encoding, delimiter), 100)
        cells = next((record.cells for record in records if any(map(_has_text, record.cells))), [])
        return sum(map(known, cells)), len(cells)

    return max(_DELIMITERS, key=score)


class _Lines:
    """Lines for the csv module that can be pushed back and read again."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._again: deque[str] = deque()
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(line)
        return line

    def read_again(self, lines: Sequence[str]) -> None:
        self._again.extendleft(reversed(lines))


def _records(data: bytes, encoding: str, delimiter: str) -> Iterator[Record]:
    lines = _Lines(_lines(data, encoding))
    number = 1
    if first := next(lines, ""):
        if _DECLARED.fullmatch(first):
            number = 2
        else:
            lines.read_again([first])
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            # A stray quotation mark would swallow the valid rows below it.
            lines.read_again(lines.taken[1:])
            yield Record(number, [], "its quotation marks do not match, or a cell is too long")
            number += 1
        else:
            yield Record(number, cells)
            number += len(lines.taken)


# A spreadsheet treats such a cell as a formula (OWASP, CSV injection), in East Asia also with the wide characters.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")


def guard_cell(text: str) -> str:
    """Return `text` with an apostrophe before it if a spreadsheet might treat it as a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguard_cell(text: str) -> str:
    """Return the text that `guard_cell` received."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
