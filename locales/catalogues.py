"""Compile the catalogues, `messages.po`, to what the program reads, `messages.mo`: a build hook of Hatch."""

from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).resolve().parent


def sources(folder: Path = FOLDER) -> list[Path]:
    """Return the catalogue of each language."""
    return sorted(folder.glob("*/LC_MESSAGES/messages.po"))


def compile_catalogues(folder: Path = FOLDER) -> None:
    """Write the `.mo` beside each `.po`; a message without a translation is left out, so it is shown in English.

    A language without any translation has no `.mo`: it is not offered yet.
    """
    for source in sources(folder):
        compiled = source.with_suffix(".mo")
        with source.open("rb") as opened:
            catalogue = read_po(opened, locale=source.parts[-3], abort_invalid=True)
        for message in list(catalogue):
            if message.id and not (all(message.string) if message.pluralizable else message.string):
                catalogue.delete(message.id, message.context)
        if len(catalogue):
            with compiled.open("wb") as output:
                write_mo(output, catalogue)
        else:
            compiled.unlink(missing_ok=True)


class CompileCatalogues(BuildHookInterface[Any]):
    """Compile before a wheel or an editable installation is made."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        compile_catalogues(Path(self.root) / "locales")
