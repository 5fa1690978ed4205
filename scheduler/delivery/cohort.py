"""Who gets one wording, and what in it is each one's own."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.policy import MEETING, Kind

WITH_CALENDAR = (Kind.INVITATION, Kind.UPDATE, Kind.CANCELLATION)
"""Kinds of which a message may carry a calendar part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """What one notice says to all who share a zone and a locale. Hashable, and equal where the words are.

    `policy` is the slug of the policy behind a planned notice, else empty. `subject` and `body` (Markdown) are a
    convenor's words: a notice needs both and speaks of no occurrence; an update or a cancellation may add a body.
    `before` is the occurrence as members were last told; `room` its room's own address, where that is to be named;
    `introduces` says who we are, in a first mail. `told` is the wall time that they were told before new zone data
    changed it, `shown` the one that mails showed them for `before`. A service mail may add a body; a welcome speaks of
    the next occurrence, where there is one. Raises ValueError where these do not fit together; so nobody can be called
    to a meeting that is cancelled.
    """

    kind: Kind
    zone: str
    locale: str
    policy: str = ""
    subject: str = ""
    body: str = ""
    occurrence: Occurrence | None = None
    before: Occurrence | None = None
    series: Series | None = None
    room: str = ""
    introduces: bool = False
    told: datetime | None = None
    shown: datetime | None = None

    def __post_init__(self) -> None:
        may, must = self.kind in (*MEETING, Kind.WELCOME), self.kind in MEETING
        if (
            (self.occurrence and not may)
            or (must and not self.occurrence)
            or (self.series is None) != (self.occurrence is None)
        ):
            raise ValueError(
                f"{self.kind}: a notice has no occurrence; what speaks of a meeting has one and its series"
            )
        if self.kind is Kind.NOTICE and not (self.subject and self.body):
            raise ValueError("a notice needs a subject and a body")
        if self.occurrence and self.occurrence.cancelled != (self.kind is Kind.CANCELLATION):
            raise ValueError(f"{self.kind}: {self.occurrence.key} is {self.occurrence.status}")


class Personal(NamedTuple):
    """What differs from member to member within a cohort. A tuple, since one is made for every message.

    `message` is the left side of the Message-ID, `invited` that of the member's invitation to this occurrence, or
    empty; `tokens` are for `links.purposes_of` their kind. With `uid`, the keyed name in the UID, it carries a calendar
    part. These are letters and digits. `assumed`: we took the zone from the country, and ask whether it is right.
    """

    member: int
    name: str
    address: str
    zone: str
    locale: str
    assumed: bool
    message: bytes
    tokens: tuple[bytes, ...]
    invited: bytes = b""
    uid: bytes = b""
