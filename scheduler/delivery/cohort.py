"""Who gets one wording, and what in it is each one's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.policy import MEETING, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """A member as a mail needs them. `assumed`: we took the zone from the country, and ask whether it is right."""

    member: int
    name: str
    address: str
    zone: str
    locale: str
    assumed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """What one notice says to all who share a zone and a locale. Hashable, and equal where the words are.

    `policy` is the slug of the policy behind a planned notice, else empty. `subject` and `body` (Markdown) are a
    convenor's words: a notice needs both and speaks of no occurrence; an update or a cancellation may add a body.
    `before` is the occurrence as members were last told; `room` its room's own address, where that is to be named;
    `introduces` says who we are, in a first mail. A service mail may add a body; a welcome speaks of the next
    occurrence, where there is one. Raises ValueError where these do not fit together; so nobody can be called to a
    meeting that is cancelled.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    """What differs from member to member within a cohort.

    `message_id` and `in_reply_to` (the member's invitation to this occurrence, or empty) are of the form `<…@…>`.
    `join_url` is needed wherever the mail shows a way in, and `links` holds the others by their blanks. With `uid`,
    from `calendar.invitation_uid`, the message carries a calendar part.
    """

    recipient: Recipient
    message_id: str
    leave_url: str
    join_url: str = ""
    in_reply_to: str = ""
    uid: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
