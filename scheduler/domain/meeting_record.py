"""What is recorded about a meeting: its speakers and materials, a summary, insights and themes; also read from text.

Speakers and materials also appear as texts, in mails, calendars and on the command line. Both directions are here.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from urllib.parse import urlsplit

from scheduler.domain.address import require_url
from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import LONGEST_SLUG
from scheduler.domain.text import folded, plain, require_line, require_prose

LONGEST_NAME = 120
LONGEST_WORDS = 50_000
"""In characters: the longest summary, and the longest insights."""

LONGEST_PARAGRAPH = 5_000
MOST_SPEAKERS = 30
MOST_MATERIALS = 50
MOST_THEMES = 20


class MaterialKind(StrEnum):
    RECORDING = "recording"
    SLIDES = "slides"
    SUMMARY = "summary"
    PAPER = "paper"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Somebody who led or spoke at meetings. `slug` is empty until they are stored."""

    name: str
    role: str = ""
    organisation: str = ""
    link: str = ""
    slug: str = ""

    def __post_init__(self) -> None:
        for name in ("name", "role", "organisation"):
            value = require_line(getattr(self, name), f"the {name} of a speaker", longest=LONGEST_NAME)
            object.__setattr__(self, name, value)
        if not folded(self.name):
            raise Refused("a speaker needs a name")
        if self.link:
            object.__setattr__(self, "link", require_url(self.link, f"the link of {self.name}"))

    @property
    def key(self) -> str:
        """What makes two spellings one person: the name without case, accents and spaces."""
        return folded(self.name)

    @property
    def fingerprint(self) -> str:
        """A text that changes whenever anything about them does."""
        return _fingerprint(self.name, self.role, self.organisation, self.link)

    @property
    def text(self) -> str:
        """The name, role and organisation in one line."""
        return ", ".join(filter(None, (self.name, self.about)))

    @property
    def about(self) -> str:
        """The role and organisation."""
        return ", ".join(filter(None, (self.role, self.organisation)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Something to watch or read after a meeting. Only a line of a text from before links were required has none."""

    kind: MaterialKind
    title: str = ""
    link: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", require_line(self.title, "the title of a material"))
        if self.link:
            object.__setattr__(self, "link", require_url(self.link, "the link of a material"))
        elif not self.title:
            raise Refused("a material needs a link")

    @property
    def text(self) -> str:
        """Title and link in one line."""
        return ": ".join(filter(None, (self.title, self.link)))

    @property
    def host(self) -> str:
        """The site that it is on."""
        return (urlsplit(self.link).hostname or "").removeprefix("www.")

    @property
    def words(self) -> str:
        """What to call it on a page: its title, or its kind, or the site that it is on."""
        return self.title or (self.host if self.kind is MaterialKind.OTHER else self.kind.capitalize())


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """A subject that meetings share. `words` is a paragraph about it, in Markdown."""

    slug: str
    name: str
    words: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", require_line(self.name, "the name", longest=LONGEST_NAME))
        object.__setattr__(self, "words", require_prose(self.words, "the text", longest=LONGEST_PARAGRAPH))
        if not folded(self.name):
            raise Refused("a theme needs a name")

    @property
    def key(self) -> str:
        return folded(self.name)

    @property
    def fingerprint(self) -> str:
        """A text that changes whenever the name or the words do."""
        return _fingerprint(self.name, self.words)


def _fingerprint(*texts: str) -> str:
    return sha256("\n".join(texts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeetingRecord:
    """What is recorded about one meeting. `themes` are slugs. `revision` counts its changes.

    With `month_only` the day is not known: pages name the month.
    """

    speakers: tuple[Speaker, ...] = ()
    materials: tuple[Material, ...] = ()
    summary: str = ""
    insights: str = ""
    themes: tuple[str, ...] = ()
    month_only: bool = False
    revision: int = 0

    def __post_init__(self) -> None:
        for name in ("summary", "insights"):
            value = require_prose(getattr(self, name), name, longest=LONGEST_WORDS)
            object.__setattr__(self, name, value)
        for name, most in (
            ("speakers", MOST_SPEAKERS),
            ("materials", MOST_MATERIALS),
            ("themes", MOST_THEMES),
        ):
            if len(getattr(self, name)) > most:
                raise Refused(f"a meeting has at most {most} {name}")


EMPTY = MeetingRecord()


def speakers_text(speakers: Iterable[Speaker]) -> str:
    """Return the line that mails and calendars show of speakers; `read_speakers` reads it."""
    return "; ".join(speaker.text for speaker in speakers)


def materials_text(materials: Iterable[Material]) -> str:
    """Return the lines that mails and calendars show of materials; `read_materials` reads them."""
    return "\n".join(material.text for material in materials)


def read_speakers(text: str) -> tuple[Speaker, ...]:
    """Read `Name, role, organisation; Name 2`, or names with "and" between them. Raises Refused.

    Whoever is named twice is one speaker.
    """
    if not re.search(r"[;,\n]", text):
        pieces = [piece.strip() for piece in _AND.split(text) if piece.strip()]
        if len(pieces) > 1 and all(_is_name(piece, 1) for piece in pieces):
            return without_repeats(Speaker(name=piece) for piece in pieces)
    speakers = []
    for part in filter(None, (part.strip(" ,") for part in re.split(r"[;\n]", text))):
        name, role, organisation = (*(piece.strip() for piece in part.split(",", 2)), "", "")[:3]
        speakers.append(Speaker(name=name, role=role, organisation=organisation))
    return without_repeats(speakers)


def without_repeats(speakers: Iterable[Speaker]) -> tuple[Speaker, ...]:
    """Return each speaker once, in order."""
    by_key: dict[str, Speaker] = {}
    for speaker in speakers:
        by_key.setdefault(speaker.key, speaker)
    return tuple(by_key.values())


_PARTICLES = frozenset("al bin bint da de del della den der di dos du el ibn la le ten ter van von y".split())
_NOT_NAMES = frozenset(
    "academy adviser advisor africa america artist asia assistant associate association author builder "
    "centre center chair charity chief church coach college committee community company consultant coordinator "
    "council dean department designer development director editor education engineer europe executive facilitator "
    "faculty fellow foundation founder free global government group head health hospital institute international "
    "journalist kindness leader lecturer library ltd manager member minister ministry museum network nurse officer "
    "open organiser organisation organization partner poet practice president priest principal professor programme "
    "project psychologist representative research researcher school scientist senior service services society "
    "specialist student studies studio teacher team therapist trainer trust university volunteer vice writer".split()
)
_LEAD = re.compile(
    r"^(led by|hosted by|facilitated by|presented by|with|speakers?:|host:|by)\s+", re.IGNORECASE
)
_AND = re.compile(r"\s+(?:and|und|et|y|&|\+|with)\s+|\s*[/|]\s*", re.IGNORECASE)


def read_people(text: str) -> tuple[Speaker, ...]:
    """Read who led a meeting as people write it: also `Ann Lee, Bo Ray and Cy Fox`. Raises Refused.

    Commas and "and" separate people only where every part looks like a name; else it is read as `read_speakers` does.
    """
    text = _LEAD.sub("", text.strip())
    if not re.search(r"[;\n]", text):
        pieces = [piece.strip() for part in _AND.split(text) for piece in part.split(",")]
        pieces = [piece for piece in pieces if piece]
        shortest = 1 if _AND.search(text) and len(pieces) > 2 else 2
        if len(pieces) > 1 and all(_is_name(piece, shortest) for piece in pieces):
            return without_repeats(Speaker(name=piece) for piece in pieces)
    return read_speakers(text)


def _is_name(text: str, shortest: int) -> bool:
    words = text.split()
    return shortest <= len(words) <= 5 and all(
        word.casefold() in _PARTICLES
        or (
            word.casefold().strip(".") not in _NOT_NAMES
            and not any(char.isdigit() for char in word)
            and not word[0].islower()
            and word[0].isalpha()
        )
        for word in words
    )


_LINK = re.compile(r"https?://[^\s<>\"]+", re.IGNORECASE)
_TRAILING = ".,;:!?)]}'*_>"
_KIND_WORDS = (
    (
        MaterialKind.RECORDING,
        re.compile(r"record|video|watch|film|audio|podcast|aufzeichnung", re.IGNORECASE),
    ),
    (MaterialKind.SLIDES, re.compile(r"slide|presentation|folien|deck|\bppt", re.IGNORECASE)),
    (
        MaterialKind.SUMMARY,
        re.compile(r"summary|notes?\b|minutes|report|zusammenfassung|resum", re.IGNORECASE),
    ),
    (MaterialKind.PAPER, re.compile(r"paper|article|chapter|book|essay|journal", re.IGNORECASE)),
)
_KIND_HOSTS = (
    (MaterialKind.RECORDING, re.compile(r"youtu\.?be|vimeo\.com|zoom\.us|soundcloud|\.(mp4|mp3|m4a|webm)$")),
    (
        MaterialKind.SLIDES,
        re.compile(r"slideshare|speakerdeck|docs\.google\.com/presentation|\.(pptx?|odp|key)$"),
    ),
    (MaterialKind.PAPER, re.compile(r"doi\.org|arxiv\.org")),
)


def material_kind(title: str, link: str) -> MaterialKind:
    """Return which kind a material probably is: by the words of its title, else by its address."""
    for kind, pattern in _KIND_WORDS:
        if pattern.search(title):
            return kind
    place = link.split("?", 1)[0].casefold()
    return next((kind for kind, pattern in _KIND_HOSTS if pattern.search(place)), MaterialKind.OTHER)


def read_materials(text: str, kind: MaterialKind | None = None) -> tuple[Material, ...]:
    """Read lines such as `Slides: https://example.org/slides`; the other words of a line are the title of its link.

    `kind` is that of all of them; None: of each what it probably is. A line without a link is a material without one. A
    link that is given twice is one material. Raises Refused.
    """
    materials: dict[str, Material] = {}
    for line in text.splitlines():
        links = [(match.start(), _link_at(match[0])) for match in _LINK.finditer(line)]
        place = 0
        for number, (start, link) in enumerate(links):
            title = _title(line[place:start])
            place = start + len(link)
            if number == len(links) - 1:
                title = " – ".join(filter(None, (title, _title(line[place:]))))
            materials.setdefault(
                link, Material(kind=kind or material_kind(title, link), title=title, link=link)
            )
        if not links and (title := _title(line)):
            materials.setdefault(title, Material(kind=kind or material_kind(title, ""), title=title))
    return tuple(materials.values())


def _link_at(text: str) -> str:
    """Return the link that `text` begins with, without the punctuation of the sentence around it."""
    link = text.rstrip(_TRAILING)
    return link + ")" if text[len(link) :].startswith(")") and link.count("(") > link.count(")") else link


def _title(words: str) -> str:
    words = words.strip(" \t-–—•*·,;.:()[]<>|")
    return re.sub(r"^(and|und|et|&)\s+|\s+(at|here|on)$", "", words, flags=re.IGNORECASE).strip(" :–—-")


def slug_for(name: str, *, taken: Collection[str], otherwise: str) -> str:
    """Return a slug for a name that is not `taken`. A name without Latin letters gets `otherwise` and a number."""
    words = plain(name.replace("'", "").replace("’", ""))
    stem = "-".join(re.findall(r"[a-z0-9]+", words))[: LONGEST_SLUG - 4].strip("-")
    has_letters = bool(re.search(r"[a-z]", stem))
    stem = stem if has_letters else otherwise
    candidates = ([stem] if has_letters else []) + [
        f"{stem}-{number}" for number in range(2 if has_letters else 1, len(taken) + 3)
    ]
    return next(slug for slug in candidates if slug not in taken)
