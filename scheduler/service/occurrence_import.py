"""Import a sheet of meetings: topics, speakers, links to recordings and summaries, one meeting a row.

A row is about the meeting of its date, or of its month; a month may have several. For a date or month in the past at
which the rule had no meeting, one is added, about which nobody is ever mailed. Importing a sheet twice changes nothing.
"""

import asyncio
import re
from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.actor import SERVICE, Actor
from scheduler.domain.code_page import Guess
from scheduler.domain.errors import Problem, Refused
from scheduler.domain.localtime import format_date, format_month
from scheduler.domain.loose_date import When, read_when, year_alone
from scheduler.domain.meeting_record import (
    Material,
    MaterialKind,
    MeetingRecord,
    read_materials,
    read_people,
    read_speakers,
    speakers_text,
)
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.recurrence import rule_dates
from scheduler.domain.table import Record, open_table
from scheduler.domain.text import folded, quoted
from scheduler.service import meeting_records
from scheduler.service.occurrences import Amended, Change, add_past, amend_in, foresee, require_occurrence
from scheduler.service.schedule import timeline
from scheduler.service.workbook import as_csv
from scheduler.store import meeting_records as record_store
from scheduler.store import uploads
from scheduler.store.database import Database

MOST_ROWS = 2_000
_EXACT = {
    "occurrence": "occurrence",
    "key": "occurrence",
    "series": "series",
    "year": "year",
    "jahr": "year",
    "month": "month",
    "monat": "month",
    "mois": "month",
    "monthyear": "month",
    "monthandyear": "month",
    "monthofmeeting": "month",
    "date": "date",
    "day": "date",
    "when": "date",
    "datum": "date",
    "topic": "topic",
    "title": "topic",
    "subject": "topic",
    "session": "topic",
    "name": "topic",
    "speakers": "speakers",
    "led": "people",
    "lead": "people",
    "leader": "people",
    "by": "people",
    "who": "people",
    "with": "people",
    "description": "description",
    "about": "description",
    "abstract": "description",
    "link": "link",
    "materials": "materials",
    "links": "materials",
    "summary": "summary",
    "insights": "insights",
    "theme": "themes",
    "themes": "themes",
    "tags": "themes",
    "tag": "themes",
}
_CONTAINED = (
    ("record", "recording"),
    ("video", "recording"),
    ("youtube", "recording"),
    ("slide", "slides"),
    ("presentation", "slides"),
    ("summary", "summary"),
    ("notes", "summary"),
    ("minutes", "summary"),
    ("paper", "paper"),
    ("article", "paper"),
    ("insight", "insights"),
    ("takeaway", "insights"),
    ("speaker", "people"),
    ("ledby", "people"),
    ("wholed", "people"),
    ("leader", "people"),
    ("facilitat", "people"),
    ("host", "people"),
    ("presenter", "people"),
    ("convenor", "people"),
    ("title", "topic"),
    ("topic", "topic"),
    ("subject", "topic"),
    ("theme", "themes"),
    ("month", "month"),
    ("date", "date"),
)
_LINKED = {
    "recording": MaterialKind.RECORDING,
    "slides": MaterialKind.SLIDES,
    "summary": MaterialKind.SUMMARY,
    "paper": MaterialKind.PAPER,
}
"""Columns of links, and the kind of what they lead to. A summary may also be written out in the sheet."""

_BLANK = frozenset("- – — . ? n/a na none no tba tbc tbd pending todo".split()) | {
    "no recording",
    "not recorded",
    "no slides",
    "no summary",
    "not available",
    "to follow",
}
_HEADINGS = "occurrence, date or month; topic, speakers, summary, recording, slides, materials, themes"
_URL = re.compile(r"https?://\S+", re.IGNORECASE)
_FEWEST_PROSE_WORDS = 6


class _InColumn(Problem):
    """What is wrong with a cell; `column` is the heading as it was typed."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


class _NothingRecorded(Problem):
    """A row about a date without a meeting says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the sheet that could be read: the meeting is that with the key `occurrence`, or of the series at `when`.

    `values` are those of a Change. `materials` are added to those that the meeting has, `themes` are names.
    """

    line: int
    series: str = ""
    occurrence: str = ""
    when: When | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    materials: Sequence[Material] = ()
    themes: Sequence[str] = ()
    column: str = ""

    @property
    def topic(self) -> str:
        return str(self.values.get("topic") or "")

    @property
    def is_blank(self) -> bool:
        """Whether it says nothing about the meeting."""
        return not (any(self.values.values()) or self.materials or self.themes)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """What became of a row, or would: `outcome` is "changed", "added", "same" or "refused".

    `by` says what the meeting was found by, `changed` names what changed about it, and `day` is its date, or its month
    if the day is not known.
    """

    line: int
    outcome: str
    key: str = ""
    day: str = ""
    by: str = ""
    topic: str = ""
    changed: Sequence[str] = ()
    problem: str = ""
    column: str = ""

    @property
    def outcome_words(self) -> str:
        """What happened, in a few words."""
        if self.outcome == "refused":
            return "Refused"
        if self.outcome == "same":
            return "Nothing new" if self.key else "Nothing to record"
        if self.outcome == "added":
            return "Added a past meeting"
        return f"Found by its {self.by}: {', '.join(self.changed)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The results of all rows in order, the headings that are not used, and the encoding if it was guessed."""

    rows: Sequence[RowResult]
    ignored: Sequence[str] = ()
    guess: Guess | None = None

    def count(self, outcome: str) -> int:
        return sum(row.outcome == outcome for row in self.rows)

    @property
    def changes(self) -> int:
        """How many meetings change or are added."""
        return len({row.key for row in self.rows if row.outcome in ("changed", "added")})

    @property
    def counts_in_words(self) -> str:
        """How many rows had which outcome."""
        return (
            f"{self.count('changed')} found and changed, {self.count('added')} added, "
            f"{self.count('same')} with nothing new, {self.count('refused')} refused."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A sheet as it was read: rows, results of those that cannot be used, headings that are not, and the encoding."""

    rows: Sequence[Row]
    refused: Sequence[RowResult]
    ignored: Sequence[str]
    guess: Guess | None = None


def _meaning(heading: str) -> str:
    """Return what a column is for, by its heading; empty if nothing."""
    name = folded(heading)
    return _EXACT.get(name) or next((what for part, what in _CONTAINED if part in name), "")


def read_sheet(
    data: bytes, *, series: Sequence[Series], only: str | None = None, encoding: str | None = None
) -> Sheet:
    """Read a spreadsheet or a CSV file (see `open_table` for its kinds and `encoding`). Empty cells change nothing.

    `only` is the slug of the series of all rows. Raises Refused if no column says which meeting a row is about.
    """
    table = open_table(as_csv(data), known=lambda heading: bool(_meaning(heading)), encoding=encoding)
    columns = [(heading, _meaning(heading)) for heading in table.headings]
    if not {"occurrence", "date", "month"} & {what for _, what in columns}:
        raise Refused(f"line 1: no column says which meeting each row is about; accepted: {_HEADINGS}")
    rows: list[Row] = []
    refused: list[RowResult] = []
    context = _Context(series, only)
    for record in table.records:
        if len(rows) + len(refused) >= MOST_ROWS:
            raise Refused(f"the sheet has more than {MOST_ROWS:,} rows; import it in parts")
        try:
            if row := _read_row(record, columns, context):
                rows.append(row)
        except Problem as problem:
            refused.append(_refused(record.line, problem))
    ignored = [heading for heading, what in columns if heading and not what]
    return Sheet(rows=rows, refused=refused, ignored=ignored, guess=table.guess)


def _refused(line: int, problem: Problem, topic: str = "") -> RowResult:
    column = problem.column if isinstance(problem, _InColumn) else ""
    return RowResult(line=line, outcome="refused", problem=str(problem), column=column, topic=topic)


class _Context:
    """What rows inherit from those above: the year of a heading row, and the month of a cell that spans rows."""

    def __init__(self, series: Sequence[Series], only: str | None) -> None:
        self.by_name = {folded(name): one.slug for one in series for name in (one.title, one.slug)}
        self.slugs = ", ".join(sorted(one.slug for one in series))
        self.only = only or (series[0].slug if len(series) == 1 else "")
        self.year: int | None = None
        self.above: tuple[When, str] | None = None


def _read_row(record: Record, columns: Sequence[tuple[str, str]], context: _Context) -> Row | None:
    """Return a row of the sheet; None for one that only says to which year those below belong."""
    if record.problem:
        raise Refused(record.problem)
    cells: dict[str, list[tuple[str, str]]] = {}
    for (heading, what), cell in zip(columns, record.cells, strict=False):
        if what and (text := cell.strip()) and text.casefold() not in _BLANK:
            cells.setdefault(what, []).append((heading, text))
    filled = [cell for cell in record.cells if cell.strip()]
    if len(filled) == 1 and (year := year_alone(filled[0])) is not None:
        context.year, context.above = year, None
        return None
    if not cells:
        return None
    values, materials = _values(cells)
    row = Row(
        line=record.line,
        series=_series_of(cells, context),
        values=values,
        materials=materials,
        themes=[
            name.strip()
            for _, text in cells.get("themes", ())
            for name in re.split(r"[;,\n]", text)
            if name.strip()
        ],
    )
    if key := cells.get("occurrence"):
        return replace(row, occurrence=key[0][1], column=key[0][0])
    when, column = _when(cells, context)
    return replace(row, when=when, column=column)


def _series_of(cells: Mapping[str, Sequence[tuple[str, str]]], context: _Context) -> str:
    for heading, text in cells.get("series", ()):
        if (slug := context.by_name.get(folded(text))) is None:
            raise _InColumn(heading, f"there is no series {quoted(text)}; there is: {context.slugs}")
        return slug
    return context.only


def _when(cells: Mapping[str, Sequence[tuple[str, str]]], context: _Context) -> tuple[When, str]:
    """Return the day or month of a row, and the heading of its column."""
    for heading, text in cells.get("year", ()):
        if (year := year_alone(text)) is None:
            raise _InColumn(heading, f"{quoted(text)} is not a year; write it as 2021")
        context.year = year
    found: tuple[When, str] | None = None
    for what in ("date", "month"):
        for heading, text in cells.get(what, ()):
            try:
                when = read_when(text, year=context.year, is_month=what == "month")
            except Refused as refusal:
                # An extra has its hour in its key, and may be given so.
                if extra := re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d)(\d\d)", text):
                    when = read_when(f"{extra[1]} {extra[2]}:{extra[3]}")
                else:
                    raise _InColumn(heading, str(refusal)) from None
            if found is None or (when.days and not found[0].days):
                found = when, heading
    if found:
        context.above = found
    if context.above is None:
        raise Refused("it has no date or month; add one")
    # The cell of the month spans several rows; only the first of them contains it.
    return context.above if found else (replace(context.above[0], days=(), start=None), context.above[1])


def _values(
    cells: Mapping[str, Sequence[tuple[str, str]]],
) -> tuple[dict[str, Any], list[Material]]:
    """Return the values of a Change, and the materials to add. Raises _InColumn."""
    values: dict[str, Any] = {}
    materials: list[Material] = []
    for what, found in cells.items():
        for heading, text in found:
            try:
                if what in _LINKED and not (what == "summary" and _is_prose(text)):
                    materials += _linked(text, _LINKED[what])
                elif what == "people":
                    values["speakers"] = speakers_text(read_people(text))
                elif what in ("topic", "speakers", "description", "link", "materials", "summary", "insights"):
                    values.setdefault(what, text)
                    checked: dict[str, Any] = {what: text}
                    Change(**checked)
            except Problem as problem:
                raise _InColumn(heading, str(problem)) from None
    return values, materials


def _is_prose(text: str) -> bool:
    """Return whether a summary is written out, rather than linked to."""
    words = _URL.sub(" ", text).split()
    return not _URL.search(text) or len(words) >= _FEWEST_PROSE_WORDS


def _linked(text: str, kind: MaterialKind) -> Iterable[Material]:
    # Addresses are often copied without their scheme.
    typed = re.sub(r"(?<![\w/.@])www\.(?=\w)", "https://www.", text)
    found = read_materials(typed, kind)
    if without := next((material for material in found if not material.link), None):
        raise Refused(
            f"{quoted(without.title)} is not a link; write it in full, such as https://example.org/x"
        )
    return found


# Finding the meetings of rows.


@dataclass(frozen=True, slots=True)
class _Target:
    """The meeting of a row: the key of a stored or coming one, or the wall time of one to add."""

    by: str
    key: str = ""
    wall: datetime | None = None
    month_only: bool = False


class _Finder:
    """Finds the meeting that each row is about. Each meeting belongs to at most one row."""

    def __init__(
        self,
        all_series: Mapping[str, Series],
        meetings: Mapping[str, Sequence[Occurrence]],
        records: Mapping[str, MeetingRecord],
        *,
        now: datetime,
    ) -> None:
        self._series, self._now, self._records = all_series, now, records
        self._meetings = {slug: list(some) for slug, some in meetings.items()}
        self._taken: set[str] = set()
        self._walls: set[datetime] = set()

    def find_all(self, rows: Sequence[Row]) -> dict[int, _Target | Problem]:
        """Return the meeting of each row with a date or month, by line, or why it has none."""
        found: dict[int, _Target | Problem] = {}
        for find in (self._by_link, self._by_day, self._by_topic, self._unrecorded, self._only_one):
            for group in _by_month(row for row in rows if row.line not in found):
                for row in group:
                    try:
                        target = find(row, group)
                    except Problem as problem:
                        found[row.line] = problem
                        continue
                    if target:
                        self._taken.add(target.key)
                        found[row.line] = target
        for row in rows:
            if row.line not in found:
                try:
                    found[row.line] = self._added(row)
                except Problem as problem:
                    found[row.line] = problem
        return found

    def _free(self, row: Row) -> list[Occurrence]:
        """Return the meetings of the row's month that no row has yet, cancelled ones last."""
        assert row.when
        in_month = [
            meeting
            for meeting in self._meetings.get(row.series, ())
            if row.when.month in (_month_of(meeting.date), _month_of(meeting.home_date))
            and meeting.key not in self._taken
        ]
        return sorted(in_month, key=lambda meeting: (not meeting.is_held, meeting.starts, meeting.key))

    def _by_day(self, row: Row, group: Sequence[Row]) -> _Target | None:
        assert row.when
        same_topic = [
            one for one in self._on_days(row) if row.topic and folded(one.topic) == folded(row.topic)
        ]
        for meeting in same_topic or self._on_days(row):
            if not same_topic and meeting.topic and row.topic and self._others_want(meeting, row, group):
                continue
            return _Target("date", meeting.key)
        return None

    def _on_days(self, row: Row) -> list[Occurrence]:
        assert row.when
        start = row.when.start
        on_days = [
            meeting
            for meeting in self._meetings.get(row.series, ())
            if meeting.key not in self._taken
            and (meeting.home_date in row.when.days or (meeting.date in row.when.days and not meeting.extra))
        ]
        at_start = [
            meeting
            for meeting in on_days
            if start and _wall(meeting, self._series[row.series]).time() == start
        ]
        return at_start or on_days

    def _others_want(self, meeting: Occurrence, row: Row, group: Sequence[Row]) -> bool:
        return any(other is not row and folded(other.topic) == folded(meeting.topic) for other in group)

    def _by_link(self, row: Row, _: Sequence[Row]) -> _Target | None:
        """A meeting of the month that has one of the row's links: its topic was corrected since."""
        assert row.when
        links = {material.link for material in row.materials}
        for meeting in self._free(row) if links and not row.when.days else ():
            record = self._records.get(meeting.key)
            if record and links & {material.link for material in record.materials}:
                return _Target("month", meeting.key)
        return None

    def _by_topic(self, row: Row, _: Sequence[Row]) -> _Target | None:
        assert row.when
        for meeting in self._free(row) if not row.when.days and row.topic else ():
            if folded(meeting.topic) == folded(row.topic):
                return _Target("month", meeting.key)
        return None

    def _unrecorded(self, row: Row, _: Sequence[Row]) -> _Target | None:
        """The first meeting of the month about which nothing is recorded."""
        assert row.when
        for meeting in self._free(row) if not row.when.days else ():
            record = self._records.get(meeting.key)
            if meeting.is_held and not (meeting.topic or (record and record.speakers)):
                return _Target("month", meeting.key)
        return None

    def _only_one(self, row: Row, group: Sequence[Row]) -> _Target | None:
        """The only meeting of the month, for its only row: the sheet has another topic for it."""
        assert row.when
        held = [meeting for meeting in self._free(row) if meeting.is_held]
        if not row.when.days and len(group) == len(held) == 1:
            return _Target("month", held[0].key)
        return None

    def _added(self, row: Row) -> _Target:
        """A meeting to add. Raises Refused if it would not be over, or if it is not clear when it was."""
        assert row.when
        if not row.series:
            raise Refused(
                f"there are several series: add a column 'series'; series: {', '.join(self._series)}"
            )
        series = self._series[row.series]
        if row.is_blank:
            raise _NothingRecorded("it says nothing")
        if len(row.when.days) > 1:
            one, other = row.when.days
            raise _InColumn(
                row.column,
                f"it may be {format_date(one)} or {format_date(other)}; write it as {one.isoformat()}",
            )
        start = row.when.start or series.start
        if row.when.days:
            candidates = [datetime.combine(row.when.days[0], start) + timedelta(hours=n) for n in range(6)]
        else:
            candidates = [datetime.combine(day, start) for day in self._days_for(row.when.month, series)]
        taken = {_wall(meeting, series) for meeting in self._meetings.get(series.slug, ())} | self._walls
        wall = next((one for one in candidates if one not in taken), None)
        if wall is None or series.starts_on(wall.date()) + series.duration > self._now:
            on_day = row.when.days and f"on {format_date(row.when.days[0])}"
            at = on_day or f"in {format_month(date(*row.when.month, 1))}"
            raise _InColumn(
                row.column, f"{series.title} has no meeting {at}; correct it, or add the meeting first"
            )
        self._walls.add(wall)
        return _Target("date" if row.when.days else "month", wall=wall, month_only=not row.when.days)

    def _days_for(self, month: tuple[int, int], series: Series) -> Iterable[date]:
        """Yield days of a month at which a meeting may have been: that of the rule, weeks later, any other."""
        first = date(*month, 1)
        days = [first.replace(day=number + 1) for number in range(monthrange(*month)[1])]
        try:
            given = next(rule_dates(series.rule, first).since(first), first)
        except Refused:
            given = first
        given = given if given in days else first
        after = [day for day in days if day >= given and (day - given).days % 7 == 0]
        return dict.fromkeys([*after, *days])


def _by_month(rows: Iterable[Row]) -> list[list[Row]]:
    groups: dict[tuple[str, tuple[int, int]], list[Row]] = {}
    for row in rows:
        assert row.when
        groups.setdefault((row.series, row.when.month), []).append(row)
    return list(groups.values())


def _month_of(day: date) -> tuple[int, int]:
    return day.year, day.month


def _day_words(day: date, *, month_only: bool) -> str:
    return format_month(day) if month_only else format_date(day)


def _wall(meeting: Occurrence, series: Series) -> datetime:
    return meeting.starts.astimezone(ZoneInfo(series.zone)).replace(tzinfo=None)


# Importing.


async def import_sheet(
    database: Database,
    all_series: Sequence[Series],
    sheet: Sheet,
    *,
    now: datetime,
    dry_run: bool = False,
    by: Actor = SERVICE,
) -> Imported:
    """Change or add the meeting of each row; nobody is told. With `dry_run`, only say what that would do."""
    by_slug = {series.slug: series for series in all_series}
    results = {row.line: row for row in sheet.refused}
    dated = [row for row in sheet.rows if row.when]
    async with database.read() as connection:
        meetings = await _meetings(connection, all_series, dated, now)
        keys = [meeting.key for some in meetings.values() for meeting in some]
        records = await record_store.records_of(connection, keys)
    targets = _Finder(by_slug, meetings, records, now=now).find_all(dated)
    for row in sheet.rows:
        target = targets.get(row.line) or _Target("key", row.occurrence)
        try:
            if isinstance(target, Problem):
                raise target
            work = _RowImport(by_slug, row, target, now=now, by=by)
            if dry_run:
                async with database.read() as connection:
                    results[row.line] = await work(connection, dry_run=True)
            else:
                async with database.write() as connection:
                    results[row.line] = await work(connection, dry_run=False)
        except _NothingRecorded:
            results[row.line] = RowResult(line=row.line, outcome="same")
        except Problem as problem:
            results[row.line] = _refused(row.line, problem, row.topic)
    rows = [results[line] for line in sorted(results)]
    return Imported(rows=rows, ignored=sheet.ignored, guess=sheet.guess)


async def _meetings(
    connection: AsyncConnection, all_series: Sequence[Series], rows: Sequence[Row], now: datetime
) -> dict[str, list[Occurrence]]:
    """Return the meetings of the months that rows are about, by series."""
    months = [row.when.month for row in rows if row.when]
    if not months:
        return {}
    # A day more at each end: a home date and its instant may be in different months.
    since = datetime(*min(months), 1, tzinfo=UTC) - timedelta(days=2)
    year, month = max(months)
    until = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC) + timedelta(days=2)
    line = await timeline(connection, all_series, now=now, undated=True)
    found: dict[str, list[Occurrence]] = {series.slug: [] for series in all_series}
    for meeting in takewhile(lambda one: one.starts < until, line.since(since)):
        found[meeting.series].append(meeting)
    return found


class _RowImport:
    """The import of one row, within a transaction."""

    def __init__(
        self, all_series: Mapping[str, Series], row: Row, target: _Target, *, now: datetime, by: Actor
    ) -> None:
        self._all_series, self._row, self._target = all_series, row, target
        self._now, self._by = now, by

    async def __call__(self, connection: AsyncConnection, *, dry_run: bool) -> RowResult:
        row, target, now = self._row, self._target, self._now
        if target.wall:
            series = self._all_series[row.series]
            key = f"{series.slug}/{target.wall:%Y-%m-%dT%H%M}"
            day = _day_words(target.wall.date(), month_only=target.month_only)
            if not dry_run:
                added = await add_past(connection, series, target.wall, now=now, by=self._by)
                await self._amend(connection, added, month_only=target.month_only)
            return RowResult(line=row.line, outcome="added", key=key, day=day, by=target.by, topic=row.topic)
        # An earlier row may have changed it: what a row says about a speaker is written at all their meetings.
        before = await require_occurrence(connection, self._all_series, target.key, now)
        record = await record_store.record_of(connection, before.key)
        amended, changed = await self._look(connection, before, record)
        if changed and not dry_run:
            await self._amend(connection, before)
        return RowResult(
            line=row.line,
            outcome="changed" if changed else "same",
            key=before.key,
            day=_day_words(before.home_date, month_only=record.month_only),
            by=target.by,
            topic=amended.after.topic,
            changed=changed,
        )

    async def _change(
        self,
        connection: AsyncConnection,
        before: Occurrence,
        record: MeetingRecord,
        *,
        month_only: bool = False,
    ) -> Change:
        """Return what the row makes of a meeting: it fills in and replaces, and takes nothing away."""
        values = {name: value for name, value in self._row.values.items() if value}
        if "speakers" in values:
            said = read_speakers(values["speakers"])
            if [one.key for one in said] == [one.key for one in record.speakers] and all(
                not getattr(one, name) or getattr(known, name)
                for one, known in zip(said, record.speakers, strict=True)
                for name in ("role", "organisation")
            ):
                del values["speakers"]
        materials = self._row.materials
        if materials and "materials" in values:
            materials = [*read_materials(values.pop("materials")), *materials]
        links = {material.link for material in record.materials}
        new = {material.link: material for material in materials if material.link not in links}
        if new:
            values["material_rows"] = (*record.materials, *new.values())
        themes = [await self._theme(connection, name) for name in self._row.themes]
        if missing := sorted(set(filter(None, themes)) - set(record.themes)):
            values["themes"] = (*record.themes, *missing)
        if month_only:
            values["month_only"] = True
        return Change(**values, fills_blanks=True)

    async def _theme(self, connection: AsyncConnection, name: str) -> str:
        """Return the slug of a theme; empty if there is none of that name yet."""
        theme = await record_store.theme_by_key(connection, folded(name))
        return theme.slug if theme else ""

    async def _look(
        self, connection: AsyncConnection, before: Occurrence, record: MeetingRecord
    ) -> tuple[Amended, list[str]]:
        """Return what the row would make of a meeting, and the names of what would change."""
        change = await self._change(connection, before, record)
        amended, recorded = await foresee(connection, before, change, now=self._now)
        changed = [
            name
            for name in ("topic", "description", "link")
            if getattr(amended.after, name) != getattr(before, name)
        ]
        changed += [
            name
            for name in ("speakers", "materials", "summary", "insights", "themes")
            if getattr(recorded.after, name) != getattr(recorded.before, name)
            or (name in ("speakers", "materials") and getattr(recorded, name) != getattr(before, name))
        ]
        new_themes = [name for name in self._row.themes if not await self._theme(connection, name)]
        if new_themes and "themes" not in changed:
            changed.append("themes")
        return amended, changed

    async def _amend(
        self, connection: AsyncConnection, before: Occurrence, *, month_only: bool = False
    ) -> None:
        for name in self._row.themes:
            if not await self._theme(connection, name):
                await meeting_records.add_theme_in(connection, name, now=self._now, by=self._by)
        record = await record_store.record_of(connection, before.key)
        change = await self._change(connection, before, record, month_only=month_only)
        await amend_in(connection, self._all_series, before, change, now=self._now, by=self._by)


# What a convenor uploaded.


async def keep_upload(
    database: Database, content: bytes, all_series: Sequence[Series], *, by: Actor, now: datetime
) -> int:
    """Keep a sheet that somebody wants to import, until they have seen what it would do; return its number.

    It replaces the one that they sent before. Raises Refused if it is not a sheet of meetings.
    """
    await asyncio.to_thread(read_sheet, content, series=all_series)
    async with database.write() as connection:
        await uploads.remove_of(connection, by.member or 0)
        return await uploads.add(connection, member=by.member or 0, content=content, now=now)


async def import_upload(
    database: Database,
    all_series: Sequence[Series],
    number: int,
    *,
    dry_run: bool,
    shown: int | None = None,
    by: Actor,
    now: datetime,
) -> Imported | None:
    """Import a sheet that was kept, or with `dry_run` find out what that would do; None if it is no longer there.

    It is deleted once it is imported, so that a second press does nothing. Raises Refused if it would not change the
    number of meetings that the convenor was `shown`.
    """
    async with database.read() as connection:
        content = await uploads.content_of(connection, number, member=by.member or 0)
    if content is None:
        return None
    sheet = await asyncio.to_thread(read_sheet, content, series=all_series)
    load = partial(import_sheet, database, all_series, sheet, now=now, by=by)
    if not dry_run and (await load(dry_run=True)).changes != shown:
        raise Refused("the meetings have changed meanwhile; read again what the import would do")
    imported = await load(dry_run=dry_run)
    if not dry_run:
        async with database.write() as connection:
            await uploads.remove_of(connection, by.member or 0)
    return imported
