"""Read a convenor's table of people: valid rows, and for the others what is wrong and how to correct it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, ParamSpec, TypeVar, cast

from scheduler.domain.address import address_key, require_address
from scheduler.domain.code_page import Guess
from scheduler.domain.errors import Refused
from scheduler.domain.locale import country_name, find_country, find_locale, require_country, require_locale
from scheduler.domain.mail_status import Kind, Status, known_status, read_status, status_kind, strictest
from scheduler.domain.occurrence import Series
from scheduler.domain.place import is_subdivision, zone_of_place
from scheduler.domain.table import Record, open_table, unguard_cell
from scheduler.domain.text import folded, quoted, require_line
from scheduler.domain.zone import (
    country_of_link,
    find_zone,
    has_no_place,
    is_zone_of,
    primary_zone,
    require_zone,
    windows_name,
    zones_of_country,
)
from scheduler.service.workbook import as_csv

P = ParamSpec("P")
T = TypeVar("T")

# Headings as people and programs write them, folded, without what `_AFFIXES` removes.
_HEADINGS = {
    "email": """email emailaddress emailid mail mailaddress primaryemail emails emailvalue emailadresse mailadresse
        adresseemail adressemail adressedemessagerie adresseelectronique courriel correo correoelectronico
        direcciondecorreo direcciondecorreoelectronico direcciondeemail epost epostadress epostadresse emailadres
        mailadres indirizzoemail indirizzodipostaelettronica indirizzopostaelettronica postaelettronica
        enderecodeemail
        enderecoemail enderecodecorreioeletronico correioeletronico adresemail adrese email1address sahkoposti
        sahkopostiosoite メールアドレス メール 电子邮件 邮箱 電子郵件 이메일 elektronickaposta почта
        электроннаяпочта адресэлектроннойпочты""",
    "name": """name fullname displayname member contactname yourname realname naam namn navn nombrecompleto nomcomplet
        nomecompleto vollstandigername nomecognome nomeecognome nombreyapellidos nometprenom nomprenom nimi фио
        名前 氏名 姓名 이름""",
    "first name": """firstname first givenname given forename fname vorname prenom nombre primernombre fornamn fornavn
        voornaam nome primeironome nomeproprio imie etunimi jmeno имя""",
    "last name": """lastname last surname familyname family lname nachname familienname zuname nom nomdefamille
        apellido apellidos efternamn etternavn efternavn achternaam cognome sobrenome apelido nazwisko sukunimi prijmeni
        фамилия""",
    "country": """country countryorregion countryregion countrycode countryofresidence countryname nation land
        landregion pays paysregion pais paisregion paisoregion paese paeseregione nazione landoderregion
        landellerregion countryterritory maa kraj zeme strana staat wohnsitzland wohnland страна 国 国家 國家 국가
        isocountry iso2 countryiso""",
    "zone": """timezone timezonename timezoneid ianatimezone localtimezone tz tzid tzname zone zeitzone fuseauhoraire
        zonahoraria husohorario fusoorario fusohorario tidszon tidssone tidszone tijdzone strefaczasowa aikavyohyke
        casovepasmo часовойпояс timezoneiana olsontimezone""",
    "locale": """locale language languagecode lang preferredlanguage sprache langue idioma lingua sprak sprog taal
        korespondenzsprache jezyk kieli jazyk язык""",
    "city": """city town citytown towncity locality ort wohnort stadt ville localite ciudad poblacion localidad stad
        postort bostadsort plaats woonplaats gemeente citta comune cidade municipio miasto mesto kaupunki место
        город""",
    "state": """state stateprovince stateorprovince province provinceterritory stateregion stateprovinceregion
        statecode provincecode
        bundesland kanton bundeslandkanton provincia estado estadoprovincia estadooprovincia provinciaestado
        departement provincie lan landskap uf stato statoprovincia регион область""",
    "zone source": "zonesource",
    "series": """series seriesslug seriesslugs seriesfollowed followedseries followsseries serie seriesuivie reihe
        reihen reeks""",
}
_MEANINGS = {
    folded(heading): meaning for meaning, headings in _HEADINGS.items() for heading in headings.split()
}
# Headings that may also mean something else: used only if no other column has that meaning.
_WEAK = {
    "subscriber": "email",
    "address": "email",
    "cc": "country",
    "region": "state",
    "username": "name",
    "nickname": "name",
    "follows": "series",
    "following": "series",
    "follow": "series",
}
# These say which of several addresses it is. Of columns with the same meaning, the first filled one is used.
_AFFIXES = re.compile(
    r"^(?:(?:whatis|whats)?your|member(?=.)|contact|subscriber|mailing|primary|preferred|(?:address|anschrift|adresse)\d?"
    r"|home|business|work|other|postal|billing|shipping|main|default)+(?=.)"
    r"|(?<=.)(?:home|business|work|other|geschaftlich|privat|dienstlich|weitere|bureau|domicile|personnel|autre|deltrabajo|trabajo|particular|laboral|"
    r"dellavoro|ufficio|abitazione|comercial|residencial|dotrabalho|werk|thuis|arbete|arbetet|hem|bostad|arbeid)$"
    r"|(?<=email)\d(?=value$|address$)"
)
_QUESTIONS = {
    "zone": re.compile(
        "time ?zone|zeitzone|fuseau horaire|zona horaria|huso horario|fuso h?or[aá]rio|tidszon|tijdzone",
        re.IGNORECASE,
    ),
    "country": re.compile(
        r"^(?:what|which|in (?:what|which)|from (?:what|which)|where|in welche\w+|welche\w+|aus welche\w+|quel|"
        r"dans quel|en qu[eé]|de qu[eé]|in quale|em que|in welk|vilket|i vilket)\b"
        r".*\b(?:country|land|pays|pa[ií]s|paese)\b",
        re.IGNORECASE,
    ),
    "email": re.compile(r"^(?:what|your|enter|please)\b.*\be-?mail\b", re.IGNORECASE),
    "city": re.compile(r"^(?:what|which|in (?:what|which))\b.*\b(?:city|town)\b", re.IGNORECASE),
    "state": re.compile(r"^(?:what|which|in (?:what|which))\b.*\b(?:state|province)\b", re.IGNORECASE),
    "series": re.compile(r"^(?:what|which)\b.*\b(?:series|meetings)\b.*\bfollow\b", re.IGNORECASE),
}
_NAME_SEPARATOR = re.compile("[;,]")
_NOT_ZONES = re.compile(r"offset|abbreviation|source|utc|gmt|differ|birth", re.IGNORECASE)
_NOTE = re.compile(r"\([^)]*\)|\[[^]]*\]")
# Google Contacts puts several values of a person into one cell.
_SEVERAL = " ::: "

NO_SERIES = "none"
"""The word in a series column for somebody who follows no series, unless a series has that name."""

# Looking for the nearest name takes milliseconds, and hundreds of wrong rows usually share one mistake.
_MOST_SUGGESTIONS = 200


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A valid row. `address` is as `require_address` returns it; `zone_source` is `assumed` if the zone was derived
    from the country; `locale` is None if the table has none; `status` is active unless the table says otherwise;
    `series` are the slugs of the series that they follow, None if the table does not say."""

    line: int
    name: str
    address: str
    country: str | None
    zone: str
    zone_source: Literal["given", "assumed"]
    locale: str | None
    status: Status = "active"
    series: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class RowProblem:
    """What is wrong with a row, and what to do: the line on which the row starts, and the heading of the column (empty
    if it is the row as a whole)."""

    line: int
    column: str
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}{self.column and ', '}{self.column}: {self.reason}"


@dataclass(frozen=True, slots=True)
class MemberTable:
    """The content of a file: valid rows and problems in their order, the headings of columns that were not used, and
    how many rows only repeat an earlier one."""

    rows: tuple[MemberRow, ...]
    problems: tuple[RowProblem, ...]
    ignored: tuple[str, ...]
    duplicates: int
    guess: Guess | None = None


def read_members(
    data: bytes,
    *,
    encoding: str | None = None,
    zone: str | None = None,
    all_series: Sequence[Series] = (),
) -> MemberTable:
    """Read a table of people from the bytes of a spreadsheet or a CSV file (`open_table` says of which kinds, and how
    `encoding` is used).

    Headings may be in any order and case, and in the words of other programs and languages. There must be one for the
    address, and one for the zone or country unless `zone` is given: it is assumed for everybody without either. A
    column of series names some of `all_series` by slug or title; without `all_series` it is ignored. A row with a
    problem is left out and all its problems are reported; other rows are not affected. Of several rows with one address
    the first counts. Raises Refused if the file is not a table of people.
    """
    table = open_table(as_csv(data), known=lambda heading: _meaning(heading) is not None, encoding=encoding)
    columns = _columns(table.headings, has_zone=zone is not None)
    if not all_series:
        columns = {meaning: indexes for meaning, indexes in columns.items() if meaning != "series"}
    reader = _Reader(table.headings, columns, zone, all_series)
    for record in table.records:
        reader.take(record)
    used = reader.used
    return MemberTable(
        rows=reader.finish(),
        problems=tuple(reader.problems),
        ignored=tuple(
            heading for index, heading in enumerate(table.headings) if heading and index not in used
        ),
        duplicates=reader.duplicates,
        guess=table.guess,
    )


def _meaning(heading: str) -> str | None:
    """Return the meaning of a column: a key of `_HEADINGS`, or `status` with its kind; None for any other column."""
    bare = _NOTE.sub("", heading)
    plain, short = folded(bare), _without_affixes(heading)
    if meaning := _MEANINGS.get(plain) or _MEANINGS.get(short) or _WEAK.get(short):
        return meaning
    if kind := status_kind(bare):
        return f"status {kind}"
    for asked, question in _QUESTIONS.items():
        if question.search(bare) and not (asked == "zone" and _NOT_ZONES.search(bare)):
            return asked
    return None


def _without_affixes(heading: str) -> str:
    return _AFFIXES.sub("", folded(_NOTE.sub("", heading)))


def _columns(headings: Sequence[str], *, has_zone: bool) -> Mapping[str, Sequence[int]]:
    """Map each meaning to the indexes of its columns, in file order; ambiguous headings count only if there is no
    clear one."""
    columns: dict[str, list[int]] = {}
    weak: dict[str, list[int]] = {}
    for index, heading in enumerate(headings):
        if meaning := _meaning(heading):
            group = weak if _without_affixes(heading) in _WEAK else columns
            group.setdefault(meaning, []).append(index)
    columns = weak | columns
    present = ", ".join(quoted(heading) for heading in headings[:20])
    if "email" not in columns:
        raise Refused(
            f"no heading for the address; the headings are {present}; name a column email or email address"
        )
    if not has_zone and not columns.keys() & {"zone", "country"}:
        raise Refused(
            f"no heading for a zone or country; the headings are {present}; name a column timezone or country, or give "
            "--zone for everybody"
        )
    return columns


class _Reader:
    """Turns records into rows and problems, one after the other."""

    def __init__(
        self,
        headings: Sequence[str],
        columns: Mapping[str, Sequence[int]],
        default: str | None,
        all_series: Sequence[Series],
    ) -> None:
        self._headings = headings
        self._columns = columns
        self._default = default
        self._slugs = [series.slug for series in all_series]
        self._slug_by_name = _slugs_by_name(all_series)
        self._most_parts = max((len(_NAME_SEPARATOR.split(series.title)) for series in all_series), default=1)
        self._line = 0
        # The column that each meaning was last read from.
        self._index: dict[str, int] = {}
        # Columns about consent: those filled in any row, those blank in this row, and the blank ones of each line.
        self._filled: set[int] = set()
        self._blank: list[int] = []
        self._blank_by_line: dict[int, tuple[int, ...]] = {}
        # If several columns have one meaning, the later ones count as used only when a row needs them.
        self.used = {indexes[0] for indexes in columns.values()}
        self.used |= {
            index for name, indexes in columns.items() if name.startswith("status") for index in indexes
        }
        self._by_key: dict[str, MemberRow] = {}
        self.rows: list[MemberRow] = []
        self.problems: list[RowProblem] = []
        self.duplicates = 0

    def take(self, record: Record) -> None:
        self._line = record.line
        self._index.clear()
        self._blank.clear()
        if record.problem:
            self._note("", record.problem)
        elif any(cell.strip() for cell in record.cells[len(self._headings) :]):
            count = f"{len(record.cells)} cells under {len(self._headings)} headings"
            self._note("", f"{count}; put a cell that holds the separator in quotation marks")
        elif row := self._read(record.cells):
            self._keep(row)

    def finish(self) -> tuple[MemberRow, ...]:
        """Return the rows. A blank cell in a consent column means no consent yet, unless the whole column is blank."""
        return tuple(
            replace(row, status="pending")
            if self._filled.intersection(self._blank_by_line.get(row.line, ()))
            else row
            for row in self.rows
        )

    def _read(self, cells: Sequence[str]) -> MemberRow | None:
        """Return the row, or None after noting its problems. Every cell is checked, even after a problem in another."""
        before = len(self.problems)
        name = self._name(cells)
        address_text = self._text("email", cells)
        address = self._try("email", self._address, address_text) if address_text is not None else None
        country_text = self._text("country", cells)
        country = self._try("country", self._country, country_text) if country_text else None
        zone_text = self._text("zone", cells)
        has_zone = zone_text or (zone_text == "" and (country or country_text == ""))
        state, city = self._text("state", cells) or "", self._text("city", cells) or ""
        zone = (
            self._try("zone", self._zone, zone_text or "", country, state=state, city=city)
            if has_zone
            else None
        )
        locale_text = self._text("locale", cells)
        locale = self._try("locale", self._locale, locale_text, country) if locale_text else None
        status = self._status(cells)
        series_text = self._text("series", cells)
        series = self._try("series", self._series, series_text) if series_text else None
        source = self._text("zone source", cells)
        if len(self.problems) > before or address is None or zone is None:
            return None
        row = MemberRow(self._line, name, address, country, *zone, locale, status, series)
        if self._blank and status == "active":
            self._blank_by_line[self._line] = tuple(self._blank)
        return replace(row, zone_source="assumed") if source == "assumed" else row

    def _keep(self, row: MemberRow) -> None:
        first = self._by_key.setdefault(address_key(row.address), row)
        if first is row:
            self.rows.append(row)
        elif replace(row, line=first.line, address=first.address) == first:
            self.duplicates += 1
        else:
            self._note(
                "email",
                f"line {first.line} has the same address but other details; only that line is used",
            )
            # Of two statuses the one that mails less holds: whoever unsubscribed anywhere in the file is not mailed.
            if (status := strictest((first.status, row.status))) != first.status:
                self._by_key[address_key(row.address)] = self.rows[self.rows.index(first)] = replace(
                    first, status=status
                )

    def _name(self, cells: Sequence[str]) -> str:
        name, first, last = (
            self._text(meaning, cells) or "" for meaning in ("name", "first name", "last name")
        )
        if not name:
            return " ".join(filter(None, (first, last)))
        # With a first name but no last name beside it, `Name` is the last name, as in German forms.
        if first and "last name" not in self._columns and first.casefold() not in name.casefold():
            return f"{first} {name}"
        return name

    def _status(self, cells: Sequence[str]) -> Status:
        """Return the strictest status that the columns give: whether the person may be mailed."""
        statuses: list[Status] = []
        for meaning, indexes in self._columns.items():
            if not meaning.startswith("status "):
                continue
            kind = cast(Kind, meaning.removeprefix("status "))
            for index in indexes:
                text = unguard_cell(cells[index]) if index < len(cells) else ""
                if text.strip():
                    self._filled.add(index)
                elif read_status(kind, text) != "active":
                    self._blank.append(index)
                    continue
                try:
                    statuses.append(read_status(kind, text))
                except Refused as refusal:
                    self.problems.append(RowProblem(self._line, self._headings[index], str(refusal)))
        # Some exports have the status in a column named "state".
        if status := known_status(self._text("state", cells) or ""):
            statuses.append(status)
        return strictest(statuses)

    def _text(self, meaning: str, cells: Sequence[str]) -> str | None:
        """Return the cell with that meaning, empty if there is none; None, with a problem noted, if it is not one line
        of text."""
        indexes = self._columns.get(meaning, ())
        index = next((each for each in indexes if each < len(cells) and cells[each].strip()), None)
        if index is not None:
            self.used.add(index)
            self._index[meaning] = index
        text = unguard_cell(cells[index]).partition(_SEVERAL)[0] if index is not None else ""
        if "\N{REPLACEMENT CHARACTER}" in text:
            self._note(meaning, "a character could not be read; save the file as UTF-8")
            return None
        if "\n" in text.strip() or "\r" in text.strip():
            self._note(
                meaning, "the cell contains a line break; remove it, or close the quotation mark before it"
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
        # Without a zone column, the problem has to be corrected in the country column.
        indexes = self._columns.get(
            "country" if meaning == "zone" and "zone" not in self._columns else meaning
        )
        column = self._headings[self._index.get(meaning, indexes[0])] if indexes else ""
        self.problems.append(RowProblem(self._line, column, reason.removeprefix(":").strip()))

    def _address(self, text: str) -> str:
        if not text:
            raise Refused("there is no address")
        return require_address(text, "")

    def _country(self, text: str) -> str:
        return find_country(text) or self._unknown(require_country, text)

    def _zone(
        self, text: str, country: str | None, *, state: str, city: str
    ) -> tuple[str, Literal["given", "assumed"]]:
        """Return the zone of a row and its source. An IANA name is accepted for any country, since people live abroad;
        anything else in a zone column must agree with the country."""
        if zone := find_zone(text, country):
            zone_country = country_of_link(text)
            if zone_country and country and zone_country != country[:2]:
                raise Refused(f"{quoted(text)} contradicts {country_name(country)}; correct one of the two")
            return zone, "given"
        if text and windows_name(text) and country:
            raise Refused(
                f"Windows has no {quoted(text)} in {country_name(country)}; write the member's zone{_examples(country)}"
            )
        if text:
            country = self._country_as_zone(text, country)
        if country:
            return self._zone_of_country(country, state=state, city=city), "assumed"
        if self._default:
            return self._default, "assumed"
        raise Refused("there is neither a time zone nor a country; write a zone such as Europe/London")

    def _country_as_zone(self, text: str, country: str | None) -> str:
        """Return the country that a zone column names instead of a zone."""
        # EST is also the code of Estonia, but nobody means that in a zone column.
        named = None if has_no_place(text) else find_country(text)
        named = named or self._unknown(require_zone, text)
        if country is None:
            if is_subdivision(text):
                raise Refused(
                    f"{quoted(text)} may be {country_name(named)} or a state; write a zone such as Europe/London"
                )
            return named
        if named[:2] != country[:2]:
            own = primary_zone(named)
            if own is None or not is_zone_of(own, country):
                raise Refused(
                    f"{quoted(text)} is {country_name(named)}, which contradicts {country_name(country)}; "
                    f"write the member's zone{_examples(country)}"
                )
        return country

    def _zone_of_country(self, country: str, *, state: str, city: str) -> str:
        if zone := zone_of_place(country, state=state, city=city) or primary_zone(country):
            return zone
        zones = zones_of_country(country)
        if self._default and (is_zone_of(self._default, country) or not zones):
            return self._default
        if not zones:
            raise Refused(
                f"{country_name(country)} has no time zone of its own; write the member's zone, such as Europe/London"
            )
        raise Refused(
            f"{country_name(country)} has {len(zones)} time zones; write the member's zone{_examples(country)}"
        )

    def _locale(self, text: str, country: str | None) -> str:
        tag = find_locale(text) or self._unknown(require_locale, text)
        # Somebody who writes `English` means the English of their country.
        if country and "-" not in tag and text.casefold() != tag:
            return find_locale(f"{tag}-{country[:2]}") or tag
        return tag

    def _series(self, text: str) -> tuple[str, ...] | None:
        """Return the slugs of the series that a cell names, in the order of the settings; None if it names nothing."""
        parts = [part for part in _NAME_SEPARATOR.split(text) if part.strip()]
        if not parts:
            return None
        if folded(text) == NO_SERIES and not self._find_series(text):
            return ()
        # A title may contain a separator, so find names of one part or more that together are the whole cell.
        rest: list[frozenset[str] | None] = [None] * len(parts) + [frozenset()]
        for start in reversed(range(len(parts))):
            for end in range(start + 1, min(start + self._most_parts, len(parts)) + 1):
                slug, others = self._find_series("".join(parts[start:end])), rest[end]
                if slug and others is not None:
                    rest[start] = others | {slug}
                    break
        if (named := rest[0]) is None:
            unknown = next((part for part in parts if not self._find_series(part)), text)
            raise Refused(f"{quoted(unknown)}: there is no such series; accepted: {', '.join(self._slugs)}")
        return tuple(slug for slug in self._slugs if slug in named)

    def _find_series(self, name: str) -> str | None:
        slug = name.strip().casefold()
        return slug if slug in self._slugs else self._slug_by_name.get(folded(name))

    def _unknown(self, require: Callable[[str, str], str], text: str) -> str:
        if len(self.problems) < _MOST_SUGGESTIONS:
            return require(text, "")
        raise Refused(f"{quoted(text)} is not known")


def _slugs_by_name(all_series: Sequence[Series]) -> dict[str, str]:
    """Return the series by their folded slugs and titles, without the names that several of them have."""
    slugs: dict[str, set[str]] = {}
    for series in all_series:
        for name in (series.slug, series.title):
            slugs.setdefault(folded(name), set()).add(series.slug)
    return {name: having.pop() for name, having in slugs.items() if name and len(having) == 1}


def _examples(country: str) -> str:
    """Return some zones of a country to choose from, as the end of a message."""
    zones = zones_of_country(country)
    return f": {', '.join(zones[:6])}{' …' if len(zones) > 6 else ''}" if zones else ", such as Europe/London"
