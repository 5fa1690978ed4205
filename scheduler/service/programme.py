"""A table of topics, speakers, links and materials, taken meeting by meeting."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduler.domain.occurrence import OccurrenceKey, Series
from scheduler.domain.problem import Problem, Refused
from scheduler.service.amending import Change, amend
from scheduler.store.database import Database

COLUMNS = ("topic", "speakers", "link", "materials")


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    key: str
    change: Change


def read_programme(data: bytes, *, series: Sequence[str]) -> tuple[list[Row], list[str]]:
    """Return the good rows and, a line each, what is wrong with the others. Empty cells change nothing.

    Raises Refused where the table has no column that names the meeting.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
    names = {(name or "").strip().casefold(): name for name in reader.fieldnames or []}
    if not names.keys() & {"occurrence", "date"}:
        raise Refused(
            f"line 1: no column 'occurrence' or 'date'; accepted: occurrence, date, {', '.join(COLUMNS)}"
        )
    rows: list[Row] = []
    problems: list[str] = []
    for record in reader:
        line = reader.line_num
        cells = {name: (record[column] or "").strip() for name, column in names.items()}
        if not any(cells.values()):
            continue
        try:
            key = cells.get("occurrence") or _only(series) + "/" + cells.get("date", "")
            OccurrenceKey.parse(key)
            topic, speakers, link, materials = (cells.get(name) or None for name in COLUMNS)
            change = Change(topic=topic, speakers=speakers, link=link, materials=materials)
            rows.append(Row(line, key, change))
        except Problem as problem:
            problems.append(f"line {line}: {problem}")
    return rows, problems


def _only(series: Sequence[str]) -> str:
    if len(series) != 1:
        raise Refused(
            f"with several series give a column 'occurrence' with SERIES/DATE; series: {', '.join(series)}"
        )
    return series[0]


async def take_programme(
    database: Database, series: Mapping[str, Series], rows: Sequence[Row], *, now: datetime
) -> tuple[int, list[str]]:
    """Amend each row's meeting; returns how many changed and, a line each, the rows that were refused."""
    changed, refused = 0, []
    for row in rows:
        try:
            changed += (await amend(database, series, row.key, row.change, now=now)).changed
        except Problem as problem:
            refused.append(f"line {row.line}: {problem}")
    return changed, refused
