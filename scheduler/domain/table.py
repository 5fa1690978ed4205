"""Read and write tables in CSV files, whatever program wrote them."""

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
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


class Record(NamedTuple):
    """A row: the physical line on which it starts, counted from 1, and its cells, or why they cannot be told."""

    line: int
    cells: list[str]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """The headings as people see them, and the records below, read as they are asked for; blank ones left out."""

    headings: tuple[str, ...]
    records: Iterator[Record]
    guess: Guess | None = None
    """The code page, where the file does not say it and nobody has named it."""


def open_table(data: bytes, *, known: Callable[[str], bool], encoding: str | None = None) -> Table:
    """Read a table with a line of headings from the bytes of a file.

    Commas, semicolons or tabs part the cells: whichever gives the most headings that are `known`. UTF-8 and UTF-16
    (with or without a mark) are recognised, and another code page is guessed; `encoding` names it instead. What cannot
    be decoded becomes U+FFFD. Raises Refused for a file that is empty, a workbook, or larger than 200 MB.
    """
    if len(data) > LARGEST:
        raise Refused(f"the file has {len(data):,} bytes; at most {LARGEST:,} are accepted")
    if data.startswith(_WORKBOOKS):
        raise Refused("the file is a workbook; save its sheet as CSV")
    guess = None
    encoding = encoding or _unicode(data)
    if encoding is None:
        guess = guess_code_page(data)
        encoding = guess.codec
    # A mark at the head is none of the text, whoever named the encoding.
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    delimiter = _delimiter(data, encoding, known)
    records = (
        record
        for record in _records(data, encoding, delimiter)
        if record.problem or any(map(_said, record.cells))
    )
    first = next(records, None)
    if first is None:
        raise Refused("the file is empty; its first line must hold headings such as name, email and country")
    if first.problem:
        raise Refused(f"line {first.line}: {first.problem}")
    return Table(tuple(quoted(cell.strip("\ufeff"))[1:-1] for cell in first.cells), records, guess)


def decode_text(data: bytes) -> str:
    """The text of a file in which only ASCII matters, as addresses do; UTF-16 is recognised."""
    return data.decode(_unicode(data) or "cp1252", "replace").removeprefix("\ufeff")


def _said(cell: str) -> bool:
    return bool(cell.strip().strip("\ufeff"))


def _unicode(data: bytes) -> str | None:
    """The Unicode encoding of a file; None where it has none."""
    if data.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    # Text for people of whatever script has ASCII around it, whose other octet is zero in UTF-16.
    head = data[:4096]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) * 5 > len(head) and min(even, odd) * 5 < max(even, odd):
        return "utf-16-le" if odd > even else "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        # One broken character does not make a file of another encoding, and must not spoil every other name in it.
        broken = data.decode("utf-8", "replace").count("\N{REPLACEMENT CHARACTER}")
        return "utf-8" if len(_UTF8_CHARACTER.findall(data)) > broken else None
    return "utf-8"


def _lines(data: bytes, encoding: str) -> Iterator[str]:
    return iter(io.TextIOWrapper(io.BytesIO(data), encoding, errors="replace", newline=""))


def _delimiter(data: bytes, encoding: str, known: Callable[[str], bool]) -> str:
    if declared := _DECLARED.fullmatch(next(_lines(data[:100], encoding), "")):
        return declared[1]

    def promise(delimiter: str) -> tuple[int, int]:
        records = islice(_records(data[:100_000], encoding, delimiter), 100)
        cells = next((record.cells for record in records if any(map(_said, record.cells))), [])
        return sum(map(known, cells)), len(cells)

    return max(_DELIMITERS, key=promise)


class _Lines:
    """Lines for the csv module, some of which may have to be read again."""

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
            # A stray quotation mark swallows the rows below it, whose people have done nothing wrong.
            lines.read_again(lines.taken[1:])
            yield Record(number, [], "its quotation marks do not match, or a cell is endless")
            number += 1
        else:
            yield Record(number, cells)
            number += len(lines.taken)


# A spreadsheet takes a cell that begins so for a formula (OWASP, CSV injection); the wide forms, too, in East Asia.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")


def guard_cell(text: str) -> str:
    """Return `text` with an apostrophe before it where a spreadsheet might take it for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguard_cell(text: str) -> str:
    """Return what `guard_cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
