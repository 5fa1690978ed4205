"""What convenors are told in advance: what is about to be sent to members, and that a meeting has no room."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from scheduler.domain.clock import require_aware
from scheduler.domain.policy import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """A notice that a policy sends soon, as it was when the mail about it was planned: its number and kind, when its
    policy says it is due (`timing`, in words), its meeting and that meeting's revision, to how many it goes, when the
    first and the last mail are due (UTC), and whether it is on hold."""

    notice: int
    kind: Kind
    policy: str
    timing: str
    occurrence: str
    revision: int
    recipients: int
    first: datetime
    last: datetime
    on_hold: bool

    def __post_init__(self) -> None:
        require_aware(self.first, "first")
        require_aware(self.last, "last")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomMissing:
    """A meeting, at a revision, that begins in less than `hours` and has no link to its room."""

    occurrence: str
    revision: int
    hours: int


AdvanceNotice = Preflight | RoomMissing


def as_details(about: AdvanceNotice) -> dict[str, Any]:
    """Return the values for storing them as JSON."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(about).items()
    }


def read_details(kind: Kind, details: Mapping[str, Any]) -> AdvanceNotice:
    """Return what a mail of this kind was stored with."""
    if kind is Kind.ROOM_MISSING:
        return RoomMissing(**details)
    values = dict(details)
    values["kind"] = Kind(values["kind"])
    for name in ("first", "last"):
        values[name] = datetime.fromisoformat(values[name])
    return Preflight(**values)
