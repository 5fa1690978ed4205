"""What a convenor's list of people says: rows come out checked, or with what to mend in them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, ParamSpec, TypeVar, cast

from scheduler.domain.address import address_key, require_address
from scheduler.domain.code_page import Guess
from scheduler.domain.country import country_name, find_country, require_country
from scheduler.domain.errors import Refused
from scheduler.domain.locale import find_locale, require_locale
from scheduler.domain.mail_status import Kind, Status, known_status, read_status, status_kind, strictest
from scheduler.domain.place import is_subdivision, zone_of_place
from scheduler.domain.table import Record, open_table, unguard_cell
from scheduler.domain.text import folded, quoted, require_line
from scheduler.domain.windows_zone import windows_name
from scheduler.domain.zone import (
    country_of_link,
    find_zone,
    has_no_place,
    is_zone_of,
    primary_zone,
    require_zone,
    zones_of_country,
)

P = ParamSpec("P")
T = TypeVar("T")

# Headings as people and programs write them, folded, without what `_AFFIXES` takes off.
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
}
_MEANINGS = {
    folded(heading): meaning for meaning, headings in _HEADINGS.items() for heading in headings.split()
}
# Headings that may mean something else: used where no other column has that meaning.
_WEAK = {
    "subscriber": "email",
    "address": "email",
    "cc": "country",
    "region": "state",
    "username": "name",
    "nickname": "name",
}
# Which of several addresses of a person: of the same meaning the first that is filled holds.
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
}
_NOT_ZONES = re.compile(r"offset|abbreviation|source|utc|gmt|differ|birth", re.IGNORECASE)
_NOTE = re.compile(r"\([^)]*\)|\[[^]]*\]")
# Google Contacts puts several values of a person into one cell.
_SEVERAL = " ::: "

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
    """All that a file says: the good rows and problems in their order, the headings of columns that mean nothing
    here,
    and how many rows only repeat an earlier one."""

    rows: tuple[MemberRow, ...]
    problems: tuple[RowProblem, ...]
    ignored: tuple[str, ...]
    duplicates: int
    guess: Guess | None = None


def read_members(data: bytes, *, encoding: str | None = None, zone: str | None = None) -> Reading:
    """Read a list of people from the bytes of a file (`open_table` says which, and how `encoding` is used).

    Headings may stand in any order and case and under the names that other programs and languages have for them; only
    the address and one of zone and country must be among them, or `zone` given: it is assumed of everybody for whom
    the file says none. A row with any problem is left out, and each of its problems told; no row costs another. Of
    rows with the same address the first holds. Raises Refused where the file as a whole is none.
    """
    table = open_table(data, known=lambda heading: _meaning(heading) is not None, encoding=encoding)
    columns = _columns(table.headings, has_zone=zone is not None)
    reader = _Reader(table.headings, columns, zone)
    for record in table.records:
        reader.take(record)
    used = reader.used
    return Reading(
        rows=reader.finish(),
        problems=tuple(reader.problems),
        ignored=tuple(
            heading for index, heading in enumerate(table.headings) if heading and index not in used
        ),
        duplicates=reader.duplicates,
        guess=table.guess,
    )


def _meaning(heading: str) -> str | None:
    """What a column is about: one of `_HEADINGS`, or `status` with its kind; None where that is nothing to us."""
    bare = _NOTE.sub("", heading)
    plain, short = folded(bare), _without_affixes(heading)
    if found := _MEANINGS.get(plain) or _MEANINGS.get(short) or _WEAK.get(short):
        return found
    if kind := status_kind(bare):
        return f"status {kind}"
    for meaning, question in _QUESTIONS.items():
        if question.search(bare) and not (meaning == "zone" and _NOT_ZONES.search(bare)):
            return meaning
    return None


def _without_affixes(heading: str) -> str:
    return _AFFIXES.sub("", folded(_NOTE.sub("", heading)))


def _columns(headings: Sequence[str], *, has_zone: bool) -> Mapping[str, Sequence[int]]:
    """Meaning to indexes, in the order of the file; those that may mean something else only where there is no
    other."""
    columns: dict[str, list[int]] = {}
    weak: dict[str, list[int]] = {}
    for index, heading in enumerate(headings):
        if meaning := _meaning(heading):
            among = weak if _without_affixes(heading) in _WEAK else columns
            among.setdefault(meaning, []).append(index)
    columns = weak | columns
    found = ", ".join(quoted(heading) for heading in headings[:20])
    if "email" not in columns:
        raise Refused(
            f"no heading means the address: there are {found}; write email, e-mail, email address or mail"
        )
    if not has_zone and not columns.keys() & {"zone", "country"}:
        raise Refused(
            f"no heading means a zone or country: there are {found}; write timezone, or country, or both, or give "
            "--zone for everybody"
        )
    return columns


class _Reader:
    """Turns record after record into rows and problems."""

    def __init__(
        self, headings: Sequence[str], columns: Mapping[str, Sequence[int]], default: str | None
    ) -> None:
        self._headings = headings
        self._columns = columns
        self._default = default
        self._line = 0
        # The column that each meaning was last read from.
        self._index: dict[str, int] = {}
        # Columns that say who agreed: those that say it of anybody, the blank ones of this row, and those of all rows.
        self._filled: set[int] = set()
        self._blank: list[int] = []
        self._unsaid: dict[int, tuple[int, ...]] = {}
        # Of several columns with one meaning those that no row needs are not used.
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
        """The rows. A blank cell in a column that says who agreed is not yet a yes, unless all are blank there."""
        return tuple(
            replace(row, status="pending")
            if self._filled.intersection(self._unsaid.get(row.line, ()))
            else row
            for row in self.rows
        )

    def _read(self, cells: Sequence[str]) -> MemberRow | None:
        """The row, or None where problems were noted. Every cell is looked at, whatever was wrong with others."""
        before = len(self.problems)
        name = self._name(cells)
        address = self._text("email", cells)
        email = self._try("email", self._address, address) if address is not None else None
        land = self._text("country", cells)
        country = self._try("country", self._country, land) if land else None
        place = self._text("zone", cells)
        known = place or (place == "" and (country or land == ""))
        state, city = self._text("state", cells) or "", self._text("city", cells) or ""
        zone = self._try("zone", self._zone, place or "", country, state=state, city=city) if known else None
        tongue = self._text("locale", cells)
        locale = self._try("locale", self._locale, tongue, country) if tongue else None
        status = self._status(cells)
        source = self._text("zone source", cells)
        if len(self.problems) > before or email is None or zone is None:
            return None
        row = MemberRow(self._line, name, email, country, *zone, locale, status)
        if self._blank and status == "active":
            self._unsaid[self._line] = tuple(self._blank)
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

    def _name(self, cells: Sequence[str]) -> str:
        name, first, last = (self._text(one, cells) or "" for one in ("name", "first name", "last name"))
        if not name:
            return " ".join(filter(None, (first, last)))
        # Beside a first name and no family name, `Name` is that, as in German forms.
        if first and "last name" not in self._columns and first.casefold() not in name.casefold():
            return f"{first} {name}"
        return name

    def _status(self, cells: Sequence[str]) -> Status:
        """What all columns together say of whether the person may be mailed."""
        found: list[Status] = []
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
                    found.append(read_status(kind, text))
                except Refused as refusal:
                    self.problems.append(RowProblem(self._line, self._headings[index], str(refusal)))
        # Some exports call the status so.
        if status := known_status(self._text("state", cells) or ""):
            found.append(status)
        return strictest(found)

    def _text(self, meaning: str, cells: Sequence[str]) -> str | None:
        """The cell of that meaning, empty where there is none; None where it is no line of text."""
        indexes = self._columns.get(meaning, ())
        index = next((one for one in indexes if one < len(cells) and cells[one].strip()), None)
        if index is not None:
            self.used.add(index)
            self._index[meaning] = index
        text = unguard_cell(cells[index]).partition(_SEVERAL)[0] if index is not None else ""
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
        """The zone of a row. An IANA name is a clear word, whatever the country: people live abroad. What else a zone
        column says must agree with the country."""
        if zone := find_zone(text, country):
            named = country_of_link(text)
            if named and country and named != country[:2]:
                raise Refused(
                    f"{quoted(text)} contradicts {country_name(country)}; write a zone of one of them"
                )
            return zone, "given"
        if text and windows_name(text) and country:
            raise Refused(
                f"Windows has no {quoted(text)} in {country_name(country)}; write the member's{_some(country)}"
            )
        if text:
            country = self._country_as_zone(text, country)
        if country:
            return self._zone_of_country(country, state=state, city=city), "assumed"
        if self._default:
            return self._default, "assumed"
        raise Refused("there is neither a time zone nor a country; write a zone as Europe/London")

    def _country_as_zone(self, text: str, country: str | None) -> str:
        """The country that a zone column names in place of a zone."""
        # EST is Estonia's code too, but in this column it is not meant.
        named = None if has_no_place(text) else find_country(text)
        named = named or self._unknown(require_zone, text)
        if country is None:
            if is_subdivision(text):
                raise Refused(
                    f"{quoted(text)} may be {country_name(named)} or a state; write a zone as Europe/London"
                )
            return named
        if named[:2] != country[:2]:
            own = primary_zone(named)
            if own is None or not is_zone_of(own, country):
                raise Refused(
                    f"{quoted(text)} is {country_name(named)}, which contradicts {country_name(country)}; "
                    f"write the member's zone{_some(country)}"
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
                f"{country_name(country)} has no time zone of its own; write the member's, as Europe/London"
            )
        raise Refused(
            f"{country_name(country)} has {len(zones)} time zones; write the member's{_some(country)}"
        )

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


def _some(country: str) -> str:
    """Some zones of a country, to choose from."""
    zones = zones_of_country(country)
    return f": {', '.join(zones[:6])}{' …' if len(zones) > 6 else ''}" if zones else ", as Europe/London"
