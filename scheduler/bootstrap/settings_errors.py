"""What is wrong with the settings, in one line: file or variable, section, key, reason, and what is accepted."""

from collections.abc import Mapping
from datetime import date, time
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from scheduler.bootstrap.settings_schema import Table, Tables, is_array, table_of
from scheduler.bootstrap.settings_sources import Place, Sources, Values, nearest
from scheduler.domain.errors import SettingsProblem

_LONGEST_SHOWN = 60


def complaint(sources: Sources, place: Place, reason: str, *, accepted: str = "") -> SettingsProblem:
    """The problem at `place`: section, key; in an array of tables section, number from 0, key."""
    parts = [sources.name(place) if place else "", _where(place, sources.merged()), reason]
    line = ": ".join(part for part in parts if part) + (f"; accepted: {accepted}" if accepted else "")
    # A quoted key may hold anything, and this has to stay one line on a terminal.
    return SettingsProblem("".join(char if char.isprintable() else "?" for char in line))


def first_complaint(error: ValidationError, sources: Sources) -> SettingsProblem:
    """The first thing that is wrong; unknown keys come first, since a misspelt key is missing too."""
    found = min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    place: Place = found["loc"]
    table, field = _known(place)
    accepted = (field.description or "") if field else ""
    match found["type"]:
        case "extra_forbidden":
            return _unknown(sources, place, table)
        case "missing":
            return complaint(sources, place, "is missing", accepted=accepted)
        case "value_error":
            reason = _reason(found, place, sources.merged())
            return complaint(sources, place, reason, accepted="" if "accepted are" in reason else accepted)
        case "too_short":
            return complaint(sources, place, "there is none", accepted="one or more")
        case "list_type":
            return complaint(sources, place, "is not an array of tables", accepted=f"[[{place[0]}]]")
        case _ if not field or field.description is None:
            return complaint(
                sources, place, f"{_shown(found['input'])} is not accepted", accepted="a table of keys"
            )
    shown = _shown(found["input"]) if field.repr else "its value"
    return complaint(sources, place, f"{shown} is not accepted", accepted=accepted)


def _where(place: Place, values: Values) -> str:
    match place:
        case (str(section), int(number), *key):
            slug = _slug(values, place)
            entry = f"[[{section}]] number {number + 1}" + (f" '{slug}'" if slug else "")
            return ", ".join([entry, *map(str, key)])
        case (section,):
            return f"[[{section}]]" if _is_array(str(section)) else f"[{section}]"
        case (section, *key):
            return f"[{section}] " + ".".join(map(str, key))
    return ""


def _slug(values: Values, place: Place) -> str:
    entry = values[str(place[0])][place[1]]
    slug = entry.get("slug") if isinstance(entry, dict) else None
    return slug[:_LONGEST_SHOWN] if isinstance(slug, str) else ""


def _reason(found: Mapping[str, Any], place: Place, values: Values) -> str:
    """What a check said, without the name of the place, which stands before it already."""
    reason = str(found["ctx"]["error"])
    names = [str(place[-1]), f"{place[0]}.{place[-1]}"]
    if len(place) == 2 and isinstance(place[1], int):
        slug = _slug(values, place)
        names = [f"series {slug}", f"policy {slug}"]
    for name in names:
        reason = reason.removeprefix(f"{name}: ").removeprefix(f"{name} ")
    return reason


def _unknown(sources: Sources, place: Place, table: type[Table]) -> SettingsProblem:
    key, known = str(place[-1]), list(table.model_fields)
    if table is not Tables:
        return complaint(sources, place, f"unknown key{nearest(key, known)}", accepted=", ".join(known))
    homes = [
        f"[{name}]" for name, field in Tables.model_fields.items() if key in table_of(field).model_fields
    ]
    hint = f"; '{key}' belongs in {' or '.join(homes)}" if homes else nearest(key, known)
    return complaint(sources, place, f"unknown section{hint}", accepted=", ".join(known))


def _known(place: Place) -> tuple[type[Table], FieldInfo | None]:
    """The table that the last part of `place` is a key of, and that key where it is known."""
    section, *rest = place
    if not rest:
        return Tables, Tables.model_fields.get(str(section))
    table = table_of(Tables.model_fields[str(section)])
    return table, table.model_fields.get(str(rest[-1]))


def _is_array(section: str) -> bool:
    return section in Tables.model_fields and is_array(Tables.model_fields[section])


def _shown(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f"'{value}'" if len(value) <= _LONGEST_SHOWN else f"'{value[:_LONGEST_SHOWN]}…'"
        case date() | time():
            return value.isoformat()
        case dict():
            return "a table"
        case list():
            return "an array"
    return str(value)
