"""The rows of a meeting's form, for speakers and materials; they need no JavaScript."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scheduler.domain.address import require_url
from scheduler.domain.errors import Refused
from scheduler.domain.meeting_record import (
    LONGEST_WORDS,
    MOST_MATERIALS,
    MOST_SPEAKERS,
    Material,
    MaterialKind,
    MeetingRecord,
    Speaker,
    material_kind,
)
from scheduler.domain.text import require_prose
from scheduler.web.forms import last

BLANK_ROWS = 2
_SPEAKER = ("name", "role", "organisation", "link")
_MATERIAL = ("kind", "title", "link")
KINDS = (
    ("", "By its title"),
    *((kind.value, kind.value.capitalize()) for kind in MaterialKind),
)

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordForm:
    """What a form has of a record: the rows as they were typed, the texts, and the slugs of the themes.

    `complaints` are by the id of the field.
    """

    speakers: Sequence[Row] = ()
    materials: Sequence[Row] = ()
    summary: str = ""
    insights: str = ""
    themes: Sequence[str] = ()
    complaints: dict[str, str] = field(default_factory=dict)
    change: Mapping[str, Any] = field(default_factory=dict)

    def with_blank_rows(self) -> "RecordForm":
        """Return the form with rows to fill in."""
        return replace(
            self,
            speakers=[*self.speakers, *[dict.fromkeys(_SPEAKER, "")] * BLANK_ROWS][:MOST_SPEAKERS],
            materials=[*self.materials, *[dict.fromkeys(_MATERIAL, "")] * BLANK_ROWS][:MOST_MATERIALS],
        )


def form_of(record: MeetingRecord) -> RecordForm:
    """Return the form of a record as it is stored."""
    return RecordForm(
        speakers=[{name: getattr(speaker, name) for name in _SPEAKER} for speaker in record.speakers],
        materials=[
            {"kind": material.kind.value, "title": material.title, "link": material.link}
            for material in record.materials
        ],
        summary=record.summary,
        insights=record.insights,
        themes=record.themes,
    )


def read_form(sent: Mapping[str, Sequence[str]], record: MeetingRecord) -> RecordForm:
    """Return what was sent of a record, with what is wrong, and the change that it makes of the stored `record`."""
    complaints: dict[str, str] = {}
    speaker_rows = _rows(sent, "speaker", _SPEAKER, MOST_SPEAKERS)
    material_rows = _rows(sent, "material", _MATERIAL, MOST_MATERIALS)
    speakers = [_speaker(row, number, complaints) for number, row in enumerate(speaker_rows, start=1)]
    without_link = {material.title for material in record.materials if not material.link}
    materials = [
        _material(row, number, without_link, complaints) for number, row in enumerate(material_rows, start=1)
    ]
    texts = {}
    for name in ("summary", "insights"):
        texts[name] = last(sent, name).strip("\r\n")
        try:
            require_prose(texts[name], "", longest=LONGEST_WORDS)
        except Refused as refusal:
            complaints[name] = _advice(refusal)
    themes = tuple(filter(None, sent.get("theme", ())))
    return RecordForm(
        speakers=[row for row in speaker_rows if any(row.values())],
        materials=[row for row in material_rows if any(row.values())],
        themes=themes,
        complaints=complaints,
        change={
            "speaker_rows": tuple(filter(None, speakers)),
            "material_rows": tuple(filter(None, materials)),
            "themes": themes,
            **texts,
        },
        **texts,
    )


def _rows(
    sent: Mapping[str, Sequence[str]], what: str, names: Sequence[str], most: int
) -> list[dict[str, str]]:
    rows = [
        {name: last(sent, f"{what}-{number}-{name}").strip() for name in names}
        for number in range(1, most + 1)
    ]
    while rows and not any(value for name, value in rows[-1].items() if name != "kind"):
        rows.pop()
    return [
        row if any(value for name, value in row.items() if name != "kind") else dict.fromkeys(names, "")
        for row in rows
    ]


def _speaker(row: Row, number: int, complaints: dict[str, str]) -> Speaker | None:
    if not any(row.values()):
        return None
    id_ = f"speaker-{number}-"
    if not row["name"]:
        complaints[f"{id_}name"] = "You need to enter the name of the speaker, or empty the whole row."
        return None
    if _check_link(row["link"], f"{id_}link", complaints):
        return None
    try:
        return Speaker(**row)
    except Refused as refusal:
        complaints[f"{id_}name"] = _advice(refusal)
        return None


def _material(row: Row, number: int, without_link: set[str], complaints: dict[str, str]) -> Material | None:
    if not any(row.values()):
        return None
    id_ = f"material-{number}-"
    if not row["link"] and row["title"] not in without_link:
        complaints[f"{id_}link"] = "You need to enter the link, or empty the whole row."
        return None
    if _check_link(row["link"], f"{id_}link", complaints):
        return None
    known = row["kind"] in {kind.value for kind in MaterialKind}
    kind = MaterialKind(row["kind"]) if known else material_kind(row["title"], row["link"])
    try:
        return Material(kind=kind, title=row["title"], link=row["link"])
    except Refused as refusal:
        complaints[f"{id_}title"] = _advice(refusal)
        return None


def _check_link(link: str, id_: str, complaints: dict[str, str]) -> bool:
    """Note what is wrong with a link, and return whether anything is."""
    try:
        if link:
            require_url(link, "")
    except Refused as refusal:
        complaints[id_] = _advice(refusal)
    return id_ in complaints


def _advice(refusal: Refused) -> str:
    return f"You need to change this: {refusal.message.removeprefix(':').strip()}."
