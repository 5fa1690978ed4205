"""Whether a text names a person: by an address of theirs, or by their name however it is written."""

import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property


def folded(text: str) -> str:
    """Text in the form in which spellings are compared: without case, accents, unseen characters and line breaks."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).translate(
            _unseen()
        )
    return " ".join(text.lower().split())


@cache
def _unseen() -> dict[int, None]:
    """Accents that stand alone, and what nobody sees, as a soft hyphen."""
    return {code: None for code in range(sys.maxunicode) if unicodedata.category(chr(code)) in ("Mn", "Cf")}


@dataclass(frozen=True)
class Person:
    """Who is looked for: a member with the addresses that are or were theirs."""

    addresses: Sequence[str]
    name: str
    shares_name: bool = False

    @property
    def is_distinctive(self) -> bool:
        """Whether the name means nobody else: one word, as Kim, and a name that another member has names others too."""
        return not self.shares_name and len(folded(self.name).split()) > 1

    def is_addressed_in(self, text: str) -> bool:
        """Whether `text`, which is folded, holds an address of theirs."""
        return any(one.search(text) for one in self._addresses)

    def is_named_in(self, text: str) -> bool:
        """Whether `text`, which is folded, holds their name as whole words, also as `Last, First`."""
        return self._name is not None and self._name.search(text) is not None

    @cached_property
    def _addresses(self) -> list[re.Pattern[str]]:
        found = {folded(one) for one in self.addresses if "@" in one}
        return [re.compile(rf"(?<![\w.+-]){re.escape(one)}(?!\.?[\w-])") for one in sorted(found)]

    @cached_property
    def _name(self) -> re.Pattern[str] | None:
        words = folded(self.name).split()
        if not words:
            return None
        forms = [r"\s".join(map(re.escape, words))]
        if len(words) > 1:
            forms.append(rf"{re.escape(words[-1])},?\s" + r"\s".join(map(re.escape, words[:-1])))
        return re.compile(rf"(?<!\w)(?:{'|'.join(forms)})(?!\w)")
