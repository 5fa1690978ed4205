"""What `doctor` finds: one line, and how bad it is."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    FINE = "ok"
    NOTE = "note"
    WRONG = "WRONG"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    text: str
