"""What a convenor's list of people says: rows come out checked, or with what to mend in them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, ParamSpec, TypeVar

from scheduler.domain.address import address_key, require_address
from scheduler.domain.cell import unguard_cell
from scheduler.domain.country import country_name, find_country, require_country
from scheduler.domain.locale_tag import find_locale, require_locale
from scheduler.domain.problem import Refused
from scheduler.domain.table import Record, open_table
from scheduler.domain.text import folded, quoted, require_line
from scheduler.domain.zone import find_zone, has_no_place, primary_zone, require_zone, zones_of_country

Status = Literal["pending", "active", "paused", "left"]
P = ParamSpec("P")
T = TypeVar("T")

# Headings as people write them, folded; `your`, `member` and what stands in brackets is taken off before.
_MEANINGS = {
    **dict.fromkeys("email emailaddress emailid mail mailaddress primaryemail email1value".split(), "email"),
    **dict.fromkeys("name fullname displayname member contactname".split(), "name"),
    **dict.fromkeys("firstname first givenname given forename".split(), "first name"),
    **dict.fromkeys("lastname last surname familyname family".split(), "last name"),
    **dict.fromkeys(
        "country countryorregion countryregion countrycode countryofresidence nation".split(), "country"
    ),
    **dict.fromkeys(
        "timezone timezonename timezoneid ianatimezone localtimezone tz tzid zone".split(), "zone"
    ),
    **dict.fromkeys("locale language languagecode lang preferredlanguage".split(), "locale"),
    **dict.fromkeys("status membershipstatus subscriptionstatus".split(), "status"),
    "zonesource": "zone source",
}
# Who must get no mail, in the words of `members export` and of other lists; any other word is no reason.
_STATUSES: Mapping[str, Status] = {
    "left": "left", "unsubscribed": "left", "nonsubscribed": "left", "cleaned": "left", "paused": "paused",
    "pending": "pending",
}  # fmt: skip
_OWNER = re.compile(r"^(?:(?:whatis|whats)?your|member)(?=.)")
_NOTE = re.compile(r"\([^)]*\)|\[[^]]*\]")

# To look for the nearest name takes milliseconds, and who has hundreds of wrong rows has made one mistake.
_HINTED = 200


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A person as a list names them: `email` as `require_address` gives it; `zone_source` is `assumed` where only
    the country says it; `locale` None where the list has none; `status` active unless the list says otherwise."""

    line: int
    name: str
    email: str
    country: str | None
    zone: str
    zone_source: Literal["given", "assumed"]
    locale: str | None
    status: Status = "active"


@dataclass(frozen=True, slots=True)
class RowProblem:
    """What is wrong with a row: the line on which it starts, the heading of its column (empty where it is the row as
    a whole), and what to do."""

    line: int
    column: str
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}{self.column and ', '}{self.column}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Reading:
    """All that a file says: the good rows and problems in their order, the headings of columns that mean nothing here,
    and how many rows only repeat an earlier one."""

    rows: tuple[MemberRow, ...]
    problems: tuple[RowProblem, ...]
    ignored: tuple[str, ...]
    duplicates: int


def read_members(data: bytes) -> Reading:
    """Read a list of people from the bytes of a file (`open_table` says which).

    Headings may stand in any order and case and under their common names; only the address and one of zone and
    country must be among them. A row with any problem is left out, and each of its problems told; no row costs
    another. Of rows with the same address the first holds. Raises Refused where the file as a whole is none.
    """
    table = open_table(data, known=lambda heading: _meaning(heading) is not None)
    columns = _columns(table.headings)
    reader = _Reader(table.headings, columns)
    for record in table.records:
        reader.take(record)
    used = set(columns.values())
    return Reading(
        rows=tuple(reader.rows),
        problems=tuple(reader.problems),
        ignored=tuple(
            heading for index, heading in enumerate(table.headings) if heading and index not in used
        ),
        duplicates=reader.duplicates,
    )


def _meaning(heading: str) -> str | None:
    plain = folded(_NOTE.sub("", heading))
    return _MEANINGS.get(plain) or _MEANINGS.get(_OWNER.sub("", plain))


def _columns(headings: Sequence[str]) -> Mapping[str, int]:
    """Meaning to index; the first column of a meaning holds."""
    columns: dict[str, int] = {}
    for index, heading in enumerate(headings):
        if meaning := _meaning(heading):
            columns.setdefault(meaning, index)
    found = ", ".join(quoted(heading) for heading in headings[:20])
    if "email" not in columns:
        raise Refused(
            f"no heading means the address: there are {found}; write email, e-mail, email address or mail"
        )
    if not columns.keys() & {"zone", "country"}:
        raise Refused(
            f"no heading means a zone or country: there are {found}; write timezone, or country, or both"
        )
    return columns


class _Reader:
    """Turns record after record into rows and problems."""

    def __init__(self, headings: Sequence[str], columns: Mapping[str, int]) -> None:
        self._headings = headings
        self._columns = columns
        self._line = 0
        self._by_key: dict[str, MemberRow] = {}
        self.rows: list[MemberRow] = []
        self.problems: list[RowProblem] = []
        self.duplicates = 0

    def take(self, record: Record) -> None:
        self._line = record.line
        if record.problem:
            self._note("", record.problem)
        elif any(cell.strip() for cell in record.cells[len(self._headings) :]):
            count = f"{len(record.cells)} cells under {len(self._headings)} headings"
            self._note("", f"{count}; put a cell that holds the separator in quotation marks")
        elif row := self._read(record.cells):
            self._keep(row)

    def _read(self, cells: Sequence[str]) -> MemberRow | None:
        """The row, or None where problems were noted. Every cell is looked at, whatever was wrong with others."""
        before = len(self.problems)
        name = self._text("name", cells) or " ".join(
            filter(None, (self._text("first name", cells), self._text("last name", cells)))
        )
        address = self._text("email", cells)
        email = self._try("email", self._address, address) if address is not None else None
        land = self._text("country", cells)
        country = self._try("country", self._country, land) if land else None
        place = self._text("zone", cells)
        known = place or (place == "" and (country or land == ""))
        zone = self._try("zone", self._zone, place or "", country) if known else None
        tongue = self._text("locale", cells)
        locale = self._try("locale", self._locale, tongue, country) if tongue else None
        status = _STATUSES.get(folded(self._text("status", cells) or ""), "active")
        source = self._text("zone source", cells)
        if len(self.problems) > before or email is None or zone is None:
            return None
        row = MemberRow(self._line, name, email, country, *zone, locale, status)
        return replace(row, zone_source="assumed") if source == "assumed" else row

    def _keep(self, row: MemberRow) -> None:
        first = self._by_key.setdefault(address_key(row.email), row)
        if first is row:
            self.rows.append(row)
        elif replace(row, line=first.line, email=first.email) == first:
            self.duplicates += 1
        else:
            self._note(
                "email",
                f"the address is that of line {first.line}, whose other cells differ; that line holds",
            )

    def _text(self, meaning: str, cells: Sequence[str]) -> str | None:
        """The cell of that meaning, empty where there is none; None where it is no line of text."""
        index = self._columns.get(meaning)
        text = unguard_cell(cells[index]) if index is not None and index < len(cells) else ""
        if "\N{REPLACEMENT CHARACTER}" in text:
            self._note(meaning, "a character could not be read; save the file as UTF-8")
            return None
        if "\n" in text.strip() or "\r" in text.strip():
            self._note(
                meaning, "the cell has a line break in it; take it out, or close the quotation mark before it"
            )
            return None
        return self._try(meaning, require_line, text, "")

    def _try(self, meaning: str, check: Callable[P, T], *given: P.args, **named: P.kwargs) -> T | None:
        try:
            return check(*given, **named)
        except Refused as refusal:
            self._note(meaning, str(refusal))
            return None

    def _note(self, meaning: str, reason: str) -> None:
        # A file without a zone column is mended in that of the country.
        index = self._columns.get("country" if meaning == "zone" and "zone" not in self._columns else meaning)
        column = "" if index is None else self._headings[index]
        self.problems.append(RowProblem(self._line, column, reason.removeprefix(":").strip()))

    def _address(self, text: str) -> str:
        if not text:
            raise Refused("there is no address")
        return require_address(text, "")

    def _country(self, text: str) -> str:
        return find_country(text) or self._unknown(require_country, text)

    def _zone(self, text: str, country: str | None) -> tuple[str, Literal["given", "assumed"]]:
        if zone := find_zone(text):
            return zone, "given"
        if text:
            # EST is Estonia's code too, but in this column it is not meant.
            country = None if has_no_place(text) else find_country(text)
            country = country or self._unknown(require_zone, text)
        if country is None:
            raise Refused("there is neither a time zone nor a country; write a zone as Europe/London")
        if zone := primary_zone(country):
            return zone, "assumed"
        zones = zones_of_country(country)
        if not zones:
            raise Refused(
                f"{country_name(country)} has no time zone of its own; write the member's, as Europe/London"
            )
        some = ", ".join(zones[:6]) + (" …" if len(zones) > 6 else "")
        raise Refused(f"{country_name(country)} has {len(zones)} time zones; write the member's: {some}")

    def _locale(self, text: str, country: str | None) -> str:
        tag = find_locale(text) or self._unknown(require_locale, text)
        # Whoever writes `English` means that of their country.
        if country and "-" not in tag and text.casefold() != tag:
            return find_locale(f"{tag}-{country[:2]}") or tag
        return tag

    def _unknown(self, require: Callable[[str, str], str], text: str) -> str:
        if len(self.problems) < _HINTED:
            return require(text, "")
        raise Refused(f"{quoted(text)} is not known")
