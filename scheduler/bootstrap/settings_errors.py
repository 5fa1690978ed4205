"""Describe a problem with the settings in one line: file or variable, section, key, reason, and what is accepted."""

from collections.abc import Mapping
from datetime import date, time
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from scheduler.bootstrap.settings_schema import Table, Tables, is_array, table_of
from scheduler.bootstrap.settings_sources import Place, Sources, Values, nearest
from scheduler.domain.errors import SettingsProblem

_LONGEST_SHOWN = 60


def settings_problem(sources: Sources, place: Place, reason: str, *, accepted: str = "") -> SettingsProblem:
    """Return the problem at `place`."""
    parts = [sources.name(place) if place else "", _where(place, sources.merged()), reason]
    line = ": ".join(part for part in parts if part) + (f"; accepted: {accepted}" if accepted else "")
    # A quoted key may contain line breaks or control characters.
    return SettingsProblem("".join(char if char.isprintable() else "?" for char in line))


def first_problem(error: ValidationError, sources: Sources) -> SettingsProblem:
    """Return the first problem. Unknown keys come first, because a misspelt key is also reported as missing."""
    details = min(error.errors(include_url=False), key=lambda entry: entry["type"] != "extra_forbidden")
    place: Place = details["loc"]
    table, field = _known(place)
    accepted = (field.description or "") if field else ""
    match details["type"]:
        case "extra_forbidden":
            return _unknown(sources, place, table)
        case "missing":
            return settings_problem(sources, place, "is missing", accepted=accepted)
        case "value_error":
            reason = _reason(details, place, sources.merged())
            return settings_problem(
                sources, place, reason, accepted="" if "accepted are" in reason else accepted
            )
        case "too_short":
            return settings_problem(sources, place, "there is none", accepted="one or more")
        case "list_type":
            return settings_problem(sources, place, "is not an array of tables", accepted=f"[[{place[0]}]]")
        case _ if not field or field.description is None:
            return settings_problem(
                sources, place, f"{_shown(details['input'])} is not accepted", accepted="a table of keys"
            )
    shown = _shown(details["input"]) if field.repr else "its value"
    return settings_problem(sources, place, f"{shown} is not accepted", accepted=accepted)


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


def _reason(details: Mapping[str, Any], place: Place, values: Values) -> str:
    """Return the message of a check without the key's name, which the line already has."""
    reason = str(details["ctx"]["error"])
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
        return settings_problem(
            sources, place, f"unknown key{nearest(key, known)}", accepted=", ".join(known)
        )
    homes = [
        f"[{name}]" for name, field in Tables.model_fields.items() if key in table_of(field).model_fields
    ]
    hint = f"; '{key}' belongs in {' or '.join(homes)}" if homes else nearest(key, known)
    return settings_problem(sources, place, f"unknown section{hint}", accepted=", ".join(known))


def _known(place: Place) -> tuple[type[Table], FieldInfo | None]:
    """Return the table that contains `place`, and its field, or None if the key is unknown."""
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
