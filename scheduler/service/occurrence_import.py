"""Import a table of topics, speakers, descriptions, links and materials, one meeting a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scheduler.domain.actor import SERVICE, Actor
from scheduler.domain.code_page import Guess
from scheduler.domain.errors import Problem, Refused
from scheduler.domain.occurrence import OccurrenceKey, Series
from scheduler.domain.table import open_table
from scheduler.service.occurrences import DETAILS, Change, amend
from scheduler.service.workbook import as_csv
from scheduler.store.database import Database

COLUMNS = DETAILS
_HEADINGS = {"occurrence", "date", *COLUMNS}


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    key: str
    change: Change


@dataclass(frozen=True, slots=True)
class Programme:
    """The valid rows of a table, one problem for each of the others, and the encoding if it was guessed."""

    rows: Sequence[Row]
    problems: Sequence[str]
    guess: Guess | None = None


def read_programme(data: bytes, *, series: Sequence[str], encoding: str | None = None) -> Programme:
    """Read a spreadsheet or a CSV file (see `open_table` for its kinds and `encoding`). Empty cells change nothing.

    Raises Refused if no column names the meeting.
    """
    table = open_table(
        as_csv(data), known=lambda heading: heading.strip().casefold() in _HEADINGS, encoding=encoding
    )
    names = [heading.strip().casefold() for heading in table.headings]
    if not {"occurrence", "date"} & set(names):
        raise Refused(
            f"line 1: no column 'occurrence' or 'date'; accepted: occurrence, date, {', '.join(COLUMNS)}"
        )
    rows: list[Row] = []
    problems: list[str] = []
    for record in table.records:
        try:
            if record.problem:
                raise Refused(record.problem)
            cells = {name: cell.strip() for name, cell in zip(names, record.cells, strict=False)}
            key = cells.get("occurrence") or _only_series(series) + "/" + cells.get("date", "")
            OccurrenceKey.parse(key)
            values: Mapping[str, Any] = {name: cells.get(name) or None for name in COLUMNS}
            change = Change(**values)
            rows.append(Row(record.line, key, change))
        except Problem as problem:
            problems.append(f"line {record.line}: {problem}")
    return Programme(rows, problems, table.guess)


def _only_series(series: Sequence[str]) -> str:
    if len(series) != 1:
        raise Refused(
            f"there are several series: add a column 'occurrence' with SERIES/DATE; series: {', '.join(series)}"
        )
    return series[0]


async def import_programme(
    database: Database,
    series: Mapping[str, Series],
    rows: Sequence[Row],
    *,
    now: datetime,
    by: Actor = SERVICE,
) -> tuple[int, list[str]]:
    """Amend the meeting of each row; return how many changed, and a line for each row that was refused."""
    changed, refused = 0, []
    for row in rows:
        try:
            changed += (await amend(database, series, row.key, row.change, now=now, by=by)).changed
        except Problem as problem:
            refused.append(f"line {row.line}: {problem}")
    return changed, refused
