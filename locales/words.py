"""`make words`: bring the catalogues up to date with the sources, compile them, and name what is missing in each.

With --check, change nothing, and fail if a catalogue is not up to date.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po
from catalogues import FOLDER, compile_catalogues

from scheduler.domain.translation import LANGUAGES

_ROOT = FOLDER.parent
_TEMPLATE = FOLDER / "messages.pot"
# The console, the command line and the mails to convenors are in English only.
_METHODS = [
    ("**/console/**", "ignore"),
    ("bootstrap/**", "ignore"),
    ("cli/**", "ignore"),
    ("**.py", "python"),
    ("**.html", "jinja2.ext:babel_extract"),
    ("**.txt", "jinja2.ext:babel_extract"),
]
_TEMPLATES = {
    "extensions": "jinja2.ext.i18n",
    "trim_blocks": "true",
    "lstrip_blocks": "true",
    "trimmed": "true",
    "newstyle_gettext": "true",
    "silent": "false",
}
_OPTIONS = {"**.html": _TEMPLATES, "**.txt": _TEMPLATES}
_KEYWORDS = {
    "_": None,
    "gettext": None,
    "say": None,
    "N_": None,
    "ngettext": (1, 2),
    "pgettext": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}
_PLACEHOLDER = re.compile(r"%\(\w+\)s")
_TAG = re.compile(r"</?\w[^<>]*>")
_HEADER = """\
# The words of Third Thursday. docs/languages.md says how to translate them.
# `make words` updates this file."""
_NEVER_THE_SAME = (
    b'"POT-Creation-Date:',
    b'"PO-Revision-Date:',
    b'"Generated-By:',
    b'"Report-Msgid-Bugs-To:',
)


def _extract() -> Catalog:
    catalogue = Catalog(project="Third Thursday", version="", copyright_holder="", fuzzy=False)
    catalogue.header_comment = _HEADER
    for folder in ("scheduler", "templates"):
        for file, line, words, comments, context in extract_from_dir(
            _ROOT / folder,
            _METHODS,
            _OPTIONS,
            _KEYWORDS,
            comment_tags=("Translators:",),
            strip_comment_tags=True,
        ):
            catalogue.add(words, None, [(f"{folder}/{file}", line)], auto_comments=comments, context=context)
    return catalogue


def _read(path: Path) -> Catalog:
    """Return the catalogue of a language, which is empty if there is none yet."""
    if not path.exists():
        return Catalog(locale=path.parts[-3], project="Third Thursday", version="", fuzzy=False)
    with path.open("rb") as opened:
        return read_po(opened, locale=path.parts[-3])


def _as_bytes(catalogue: Catalog) -> bytes:
    """Return a catalogue as a file that changes only where its messages do."""
    output = BytesIO()
    write_po(output, catalogue, include_lineno=False, ignore_obsolete=True, width=120)
    return b"".join(
        line for line in output.getvalue().splitlines(keepends=True) if not line.startswith(_NEVER_THE_SAME)
    )


def _faults(catalogue: Catalog) -> Iterator[str]:
    """Yield what is wrong with the messages of a language."""
    for message in catalogue:
        if not message.id:
            continue
        strings = message.string if isinstance(message.string, (tuple, list)) else (message.string,)
        if not all(strings):
            yield f"not translated: {message.id!r}"
        elif message.fuzzy:
            yield f"fuzzy, so look whether it is still right: {message.id!r}"
        else:
            for problem in _problems(message, strings):
                yield f"{problem}: {message.id!r}"


def _problems(message: Message, strings: Sequence[str]) -> Iterator[str]:
    """Yield where a translation differs from the message in its placeholders, its tags or its ends."""
    source = message.id if isinstance(message.id, str) else message.id[-1]
    for string in strings:
        missing = set(_PLACEHOLDER.findall(source)) - set(_PLACEHOLDER.findall(string))
        unknown = set(_PLACEHOLDER.findall(string)) - set(_PLACEHOLDER.findall(source))
        # A form for exactly one or two things may say the number in a word.
        if unknown or missing - ({"%(count)s"} if message.pluralizable else set()) or _stray_percent(string):
            yield "other placeholders"
        if sorted(_TAG.findall(source)) != sorted(_TAG.findall(string)) or _stray_markup(string):
            yield "other tags"
        if string != string.strip() and source == source.strip():
            yield "space at an end"


def _stray_percent(string: str) -> bool:
    return "%" in _PLACEHOLDER.sub("", string)


def _stray_markup(string: str) -> bool:
    return any(character in _TAG.sub("", string) for character in "<>&")


_SHOWN = 3
"""The number of faults of a language that are shown."""


def main() -> int:
    """Return the exit code."""
    only_check = "--check" in sys.argv
    template, stale, faults = _extract(), [], []
    files = {_TEMPLATE: _as_bytes(template)}
    for language in LANGUAGES:
        if language == "en":
            continue
        path = FOLDER / language.replace("-", "_") / "LC_MESSAGES" / "messages.po"
        catalogue = _read(path)
        catalogue.update(template)
        for message in catalogue:
            # Babel takes a new message for a changed one, even for one that was not translated either.
            source = template.get(message.id, message.context)
            if source and not (message.string and any(message.string)):
                message.flags = set(source.flags)
        catalogue.header_comment = template.header_comment
        files[path] = _as_bytes(catalogue)
        found = list(_faults(catalogue))
        faults += [f"{path.relative_to(_ROOT)}: {fault}" for fault in found[:_SHOWN]]
        if len(found) > _SHOWN:
            faults.append(f"{path.relative_to(_ROOT)}: and {len(found) - _SHOWN} more")
    for path, content in files.items():
        if not path.exists() or path.read_bytes() != content:
            stale.append(str(path.relative_to(_ROOT)))
            if not only_check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    if only_check:
        if stale:
            print(f"not up to date with the sources, so run `make words`: {', '.join(stale)}")
        return 1 if stale else 0
    compile_catalogues()
    print("\n".join(faults) or "All messages are translated.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
