"""Read settings from their sources: the bundled defaults, then a settings file, then the environment."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from scheduler.domain.errors import Problem, SettingsProblem

_PACKAGE = Path(__file__).resolve().parent.parent


def bundled(name: str) -> Path:
    """Return the path of a file or folder such as `templates/email` or `config/third-thursday.toml`.

    Raises Problem where it is missing: the installation is incomplete.
    """
    inside = _PACKAGE / "_bundled"
    path = (inside if inside.is_dir() else _PACKAGE.parent) / name
    if not path.exists():
        raise Problem(f"{path} is missing: the installation is incomplete; install third-thursday again")
    return path


PREFIX = "THIRD_THURSDAY_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
"""Names the settings file where --config does not; it is not a setting."""
# Variables of the tests are not settings.
_TEST_PREFIX = f"{PREFIX}TEST_"

Values = dict[str, Any]
Place = tuple[str | int, ...]
"""The path of a value: section and key; in an array of tables section, index from 0, and key."""


def variable(section: str, key: str) -> str:
    """Return the environment variable that sets a key."""
    return f"{PREFIX}{section}__{key}".upper()


def file_variable(section: str, key: str) -> str:
    """Return the environment variable that names a file with the value of a key, as containers keep secrets."""
    return f"{variable(section, key)}_FILE"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'port'?`, or "" if no known word is similar."""
    matches = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{matches[0]}'?" if matches else ""


LONGEST_EXAMPLE = 40
LONGEST_FILE = 1_000_000
MOST_FILES = 100
_SECTION = re.compile(r"^[ \t]*\[{1,2}[ \t]*([\w-]+)", re.MULTILINE)
_TYPOGRAPHIC = re.compile(
    "[\u2018-\u201f\u2032\u2033\u00ab\u00bb\u2039\u203a\u300c-\u300f\uff02\uff07`\u00b4]"
)
_UNUSUAL_SPACE = re.compile("[\u00a0\u2000-\u200b\u202f\u3000\ufeff]")


@dataclass(frozen=True, slots=True)
class Sources:
    """The values of all sources with the sources' names for messages; later ones override earlier ones."""

    layers: tuple[tuple[str, Values], ...]

    def merged(self) -> Values:
        """Return the merged values: tables key by key, anything else as a whole. The last source wins."""
        merged: Values = {}
        for _, values in self.layers:
            for section, value in values.items():
                existing = merged.get(section)
                if isinstance(existing, dict) and isinstance(value, dict):
                    value = {**existing, **value}
                merged[section] = value
        return merged

    def rank(self, place: Place) -> int:
        """Return the index of the layer that sets `place`, or of the last layer if none does."""
        section, key = place[0], place[1] if len(place) > 1 else None
        for number in reversed(range(len(self.layers))):
            table = self.layers[number][1].get(str(section))
            if table is not None and (key is None or not isinstance(table, dict) or key in table):
                return number
        return len(self.layers) - 1

    def name(self, place: Place) -> str:
        """Return the name of the file or environment variable that sets `place`."""
        return self.layers[self.rank(place)][0]


def read_sources(
    files: Iterable[Path], environment: Mapping[str, str], *, kinds: Mapping[str, Mapping[str, Any]]
) -> Sources:
    """Read `files`, in order of rising priority, and then the environment.

    `kinds` are the types of the keys that the environment may set, by section. Raises SettingsProblem if a file cannot
    be read or a variable sets no key.
    """
    layers = [(str(path), read_file(path)) for path in files]
    for name, value in sorted(environment.items()):
        if name == CONFIG_VARIABLE or not name.startswith(PREFIX) or name.startswith(_TEST_PREFIX):
            continue
        section, key = _key(name, kinds)
        if name == file_variable(section, key):
            if variable(section, key) in environment:
                raise SettingsProblem(
                    f"environment variable {name}: {variable(section, key)} is set too; remove one of the two"
                )
            value = _read_value_file(name, value)
        layers.append((f"environment variable {name}", {section: {key: _read(value, kinds[section][key])}}))
    return Sources(tuple(layers))


def settings_files(folder: Path, sections: Iterable[str]) -> list[Path]:
    """Return the files in a folder that look like settings files, even wrong ones: they have no sections but these."""
    known, matches = set(sections), []
    for path in sorted(folder.glob("*.toml"))[:MOST_FILES]:
        try:
            text = path.read_text("utf-8-sig")[:LONGEST_FILE]
        except (OSError, UnicodeDecodeError):
            continue
        named = {match[1] for match in _SECTION.finditer(text)}
        if named and named <= known:
            matches.append(path)
    return matches


def read_file(path: Path) -> Values:
    """Return the values of a TOML file. Raises SettingsProblem, with the line number if there is one."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise SettingsProblem(
            f"{path}: cannot be read: {error.strerror}; give the path of a settings file in TOML"
        ) from None
    except UnicodeDecodeError as error:
        raise SettingsProblem(f"{path}: is not UTF-8 (octet {error.start + 1}); save it as UTF-8") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.fullmatch(r"(?P<why>.*) \(at (?P<where>line .*)\)", str(error), re.DOTALL)
        where = match["where"] if match else f"line {text.rstrip().count(chr(10)) + 1}"
        why = match["why"] if match else str(error).removesuffix(" (at end of document)")
        raise SettingsProblem(
            f"{path}: {where}: not TOML: {' '.join(why.split())}{_toml_hint(text, where)}"
        ) from None


def _read_value_file(name: str, path: str) -> str:
    """Return the content of the file that a variable names, without the line end. Raises SettingsProblem."""
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            text = file.read(LONGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsProblem(
            f"environment variable {name}: the file '{path}' cannot be read: {reason}; "
            "name a file that contains only the value, and that this user may read"
        ) from None
    value = text.rstrip("\r\n")
    if not value or len(text) > LONGEST_FILE:
        raise SettingsProblem(
            f"environment variable {name}: the file '{path}' is {'too large' if value else 'empty'}; "
            "name a file that contains only the value"
        )
    return value


def _toml_hint(text: str, where: str) -> str:
    """Return a hint for a common mistake on the line that is not TOML, or ""."""
    number = re.search(r"line (\d+)", where)
    lines = text.splitlines()
    line = lines[int(number[1]) - 1] if number and int(number[1]) <= len(lines) else ""
    key, _, value = (part.strip() for part in line.partition("="))
    if curly := _TYPOGRAPHIC.search(line):
        return f"; it has a typographic quotation mark ({curly[0]}): write straight ones, as {_quoted(key, value)}"
    if _UNUSUAL_SPACE.search(line):
        return "; it has an unusual space, perhaps copied from a web page: write plain ones"
    if line.count('"') == 1:
        return '; a quotation mark (") is missing on that line'
    if re.fullmatch(r"[A-Za-z_-]+", key) and re.match(r"[\w@./:+;-]", value) and not value.isdecimal():
        return f"; put text between quotation marks, as {_quoted(key, value)}"
    return ""


def _quoted(key: str, value: str) -> str:
    words = _TYPOGRAPHIC.sub("", value.partition(" #")[0]).strip("\"' ").replace('"', "")
    return f'{key} = "{words if len(words) <= LONGEST_EXAMPLE else words[:LONGEST_EXAMPLE] + "…"}"'


def _read(text: str, kind: Any) -> Any:
    """Convert the text of an environment variable to a number or boolean if the key wants one and `text` is one."""
    if kind is bool and text in ("true", "false"):
        return text == "true"
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _key(name: str, kinds: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    section, _, key = (part.lower() for part in name.removeprefix(PREFIX).partition("__"))
    if key in kinds.get(section, ()) and name == variable(section, key):
        return section, key
    key = key.removesuffix("_file")
    if key in kinds.get(section, ()) and name == file_variable(section, key):
        return section, key
    if section in ("series", "policies"):
        raise SettingsProblem(
            f"environment variable {name}: [[{section}]] can only be set in a file; name one with --config"
        )
    known = [variable(section, key) for section, keys in kinds.items() for key in keys]
    known += [*(f"{one}_FILE" for one in known), CONFIG_VARIABLE]
    raise SettingsProblem(
        f"environment variable {name}: sets no known key{nearest(name, known)}; "
        f"accepted: {PREFIX} + section + __ + key, of the sections {', '.join(kinds)}"
    )
