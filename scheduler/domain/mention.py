"""Find out whether a text names a person: by one of their addresses, or by their name in any spelling."""

import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property


def folded(text: str) -> str:
    """Return a text for comparing spellings: without case, accents, invisible characters and line breaks."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).translate(
            _without_marks()
        )
    return " ".join(text.lower().split())


@cache
def _without_marks() -> dict[int, None]:
    """Return a table that removes combining accents and invisible characters, such as a soft hyphen."""
    return {code: None for code in range(sys.maxunicode) if unicodedata.category(chr(code)) in ("Mn", "Cf")}


@dataclass(frozen=True)
class Person:
    """The person to look for: a member, with all addresses that they have or had."""

    addresses: Sequence[str]
    name: str
    shares_name: bool = False

    @property
    def is_distinctive(self) -> bool:
        """Whether the name identifies this person: a single word such as Kim, or another member's name, does not."""
        return not self.shares_name and len(folded(self.name).split()) > 1

    def is_addressed_in(self, text: str) -> bool:
        """Return whether the folded `text` contains one of their addresses."""
        return any(pattern.search(text) for pattern in self._addresses)

    def is_named_in(self, text: str) -> bool:
        """Return whether the folded `text` contains their name as whole words, also as `Last, First`."""
        return self._name is not None and self._name.search(text) is not None

    @cached_property
    def _addresses(self) -> list[re.Pattern[str]]:
        addresses = {folded(address) for address in self.addresses if "@" in address}
        return [re.compile(rf"(?<![\w.+-]){re.escape(text)}(?!\.?[\w-])") for text in sorted(addresses)]

    @cached_property
    def _name(self) -> re.Pattern[str] | None:
        words = folded(self.name).split()
        if not words:
            return None
        forms = [r"\s".join(map(re.escape, words))]
        if len(words) > 1:
            forms.append(rf"{re.escape(words[-1])},?\s" + r"\s".join(map(re.escape, words[:-1])))
        return re.compile(rf"(?<!\w)(?:{'|'.join(forms)})(?!\w)")
