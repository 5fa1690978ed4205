"""Catalogues for tests: a language that nobody speaks, whose words are easy to tell from English and 40 % longer."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from scheduler.domain import translation
from scheduler.domain.translation import LANGUAGES, language_for
from scheduler.web import forms

TEMPLATE = Path(__file__).parents[1] / "locales" / "messages.pot"
_LEFT_ALONE = re.compile(r"(%\(\w+\)s|<[^<>]+>)")
_ACCENTED = str.maketrans("AEIOUYaeiouycnsCNS", "ÂÊÎÔÛŶâêîôûŷçñšÇÑŠ")


def pseudo(message: str) -> str:
    """Return a message with accents on its letters, and 40 % longer; placeholders and tags are left alone."""
    pieces = _LEFT_ALONE.split(message)
    length = sum(map(len, pieces[::2]))
    words = [piece.translate(_ACCENTED) if not place % 2 else piece for place, piece in enumerate(pieces)]
    text = "".join(words)
    # A sentence ends as before, so that what is put together keeps its full stop.
    end = len(text.rstrip(" .:,?"))
    return f"{text[:end]}{'·' * (length * 2 // 5)}{text[end:]}" if re.search(r"\w", message) else text


def write_catalogue(folder: Path, language: str, translate: Callable[[str], str] = pseudo) -> None:
    """Write the compiled catalogue of a language, with all our messages."""
    locale = language.replace("-", "_")
    with TEMPLATE.open("rb") as opened:
        messages = list(read_po(opened))
    catalogue = Catalog(locale=locale)
    for message in messages:
        if isinstance(message.id, str):
            if message.id:
                catalogue.add(message.id, translate(message.id), context=message.context)
        else:
            forms = (translate(message.id[-1]),) * catalogue.num_plurals
            catalogue.add(message.id, forms, context=message.context)
    path = folder / locale / "LC_MESSAGES" / "messages.mo"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as output:
        write_mo(output, catalogue)


def forget() -> None:
    """Forget the catalogues that were read."""
    for function in (
        translation._catalogue,
        translation._translator,
        translation.offered_languages,
        language_for,
        forms.zones,
    ):
        function.cache_clear()


@contextmanager
def catalogues_in(folder: Path) -> Iterator[None]:
    """Use the catalogues in a folder instead of ours."""
    usual = translation._folder
    translation._folder = lambda: folder
    forget()
    try:
        yield
    finally:
        translation._folder = usual
        forget()


def others() -> list[str]:
    """Return all languages but English."""
    return [language for language in LANGUAGES if language != "en"]
