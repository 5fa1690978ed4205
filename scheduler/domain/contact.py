"""What a visitor writes to the convenors."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactMessage:
    """The words of a visitor, and where to answer."""

    name: str
    address: str
    words: str
