"""Who gets one wording, and what in it is each one's own."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from scheduler.delivery.compose.bytes_template import BytesTemplate, quoted_pieces
from scheduler.delivery.compose.calendar_part import CalendarPart
from scheduler.delivery.compose.dkim import CohortSigner, DkimSigner
from scheduler.delivery.compose.links import links_of, purposes_of
from scheduler.delivery.compose.markdown import as_html, as_text
from scheduler.delivery.compose.mime import (
    CALENDAR,
    ascii_domain,
    header,
    list_id_words,
    mailbox_words,
    mime,
    text_words,
)
from scheduler.delivery.compose.recipient import Recipient, recipient
from scheduler.delivery.compose.templates import Blanks, Templates, TextTemplate
from scheduler.delivery.compose.wording import When, as_told, describe_meeting
from scheduler.domain.calendar import Method, invitation, invitation_uid
from scheduler.domain.clock import require_aware
from scheduler.domain.community import Community
from scheduler.domain.errors import Problem, Refused
from scheduler.domain.locale import hour_cycle
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.policy import MEETING, REPLIES, Kind
from scheduler.domain.text import require_line
from scheduler.domain.token import Purpose
from scheduler.domain.verp import leave_address
from scheduler.domain.zone import city

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


class RecipientValues(NamedTuple):
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


def require_agreement(
    kind: str,
    when: When,
    *,
    subject: str,
    bodies: Collection[tuple[TextTemplate, TextTemplate]],
    invite: CalendarPart | None,
) -> None:
    """Raise Problem unless every part of the message shows the instant at which the meeting starts."""
    iso = f'datetime="{when.starts_iso}"'
    shown = {
        "subject": when.starts in subject,
        "text": all(when.starts in text.printed and when.day in text.printed for text, _ in bodies),
        "HTML": all(iso in html.printed for _, html in bodies),
    }
    if invite:
        shown["calendar part"] = invite.starts == datetime.fromisoformat(when.starts_iso)
    if silent := [name for name, agrees in shown.items() if not agrees]:
        raise Problem(
            f"{kind} for {when.zone}: the {', '.join(silent)} does not show the start, {when.starts}; "
            f"correct templates/email/{kind}"
        )


# Blanks, in the order of their values; before them stand the tokens by their purposes.
_OWN = _NAME, _NAME_IN_HTML, _ADDRESS, _ADDRESS_IN_HTML, _ = (
    "own-name",
    "own-name-in-html",
    "own-address",
    "own-address-in-html",
    CALENDAR,
)
# Of at most 900 octets, so that each fits on a line of its own.
_URL = re.compile(r"(?:https?|webcal)://[!#-;=?-~]{1,900}")


@dataclass(frozen=True, slots=True)
class _CompiledBody:
    """Of the messages of a cohort the headers that are the same in all, the body with its blanks, and who signs."""

    headers: bytes
    body: BytesTemplate
    seal: CohortSigner | None


class Composed:
    """The message of one cohort, ready but for what is a member's own. `subject` is that of all its members."""

    def __init__(
        self,
        cohort: Cohort,
        community: Community,
        *,
        subject: str,
        bodies: Mapping[bool, tuple[TextTemplate, TextTemplate]],
        invite: CalendarPart | None,
        signer: DkimSigner | None,
    ) -> None:
        self.subject = subject
        self._cohort = cohort
        self._bodies = bodies
        self._common = b"".join(_common_headers(cohort, community, subject))
        self._boundary = sha256(repr((cohort.zone, cohort.locale, subject)).encode()).hexdigest()[:32]
        self._invite = invite
        self._signer = signer
        self._forms: dict[tuple[bool, bool], _CompiledBody] = {}
        self._date: tuple[datetime | None, bytes] = (None, b"")
        self._host = ascii_domain(community.domain).encode("ascii")
        self._purposes = purposes_of(cohort.kind)
        self._leave = self._purposes.index(Purpose.LEAVE)
        self._join = self._purposes.index(Purpose.JOIN) if Purpose.JOIN in self._purposes else None
        self._leaving = _leaving(cohort, community) if cohort.kind not in REPLIES else ()

    def message(self, personal: RecipientValues, *, date: datetime) -> bytes:
        """The whole message; see `pieces`."""
        return b"".join(self.pieces(personal, date=date))

    def pieces(self, personal: RecipientValues, *, date: datetime) -> list[bytes]:
        """Return what joined is the whole message: CRLF, 7-bit, lines within 998 octets, none of which begins with a
        dot; the same for the same input. What is common to all messages is no copy of its own.

        `date` is aware. Raises Refused, naming the member, where a value of theirs cannot be carried, and
        ValueError where they are not of this cohort.
        """
        if personal.zone != self._cohort.zone or personal.locale != self._cohort.locale:
            raise ValueError(
                f"member {personal.member} is not of the cohort {self._cohort.zone}, {self._cohort.locale}"
            )
        try:
            if not b"".join((personal.message, personal.invited, personal.uid, *personal.tokens)).isalnum():
                raise ValueError("a token or a name is not of letters and digits")
            to = recipient(personal.name, personal.address)
            own = self._own_headers(personal, to.to, date)
            form = self._form(personal.assumed, invites=bool(personal.uid))
            body = form.body.pieces(self._values(personal, to))
            signature = form.seal.sign(own, b"".join(body), date=date) if form.seal else b""
            return [signature, own, form.headers, b"\r\n", *body]
        except (Refused, ValueError) as error:
            raise Refused(f"member {personal.member}: {error}") from error

    def _form(self, assumed: bool, *, invites: bool) -> _CompiledBody:  # noqa: FBT001
        """What is common to all; made when it is first needed."""
        if (assumed, invites) not in self._forms:
            if invites and self._invite is None:
                raise ValueError(f"a {self._cohort.kind} carries no calendar part")
            text, html = self._bodies[assumed]
            headers, body = mime(
                quoted_pieces(text.pieces),
                quoted_pieces(html.pieces),
                boundary=self._boundary,
                method=self._invite.method if self._invite and invites else None,
                order=(*self._purposes, *_OWN),
            )
            headers = self._common + headers
            seal = self._signer.seal(headers) if self._signer else None
            self._forms[assumed, invites] = _CompiledBody(headers, body, seal)
        return self._forms[assumed, invites]

    def _values(self, personal: RecipientValues, to: Recipient) -> Sequence[bytes]:
        """What stands in each blank of the body, in the encoding of its part."""
        calendar = b""
        if personal.uid and self._invite:
            token = personal.tokens[self._join] if self._join is not None else b""
            calendar = self._invite.encoded((personal.uid, token, to.calendar_name, to.calendar_address))
        return *personal.tokens, to.name, to.name_in_html, to.address, to.address_in_html, calendar

    def _own_headers(self, personal: RecipientValues, to: bytes, date: datetime) -> bytes:
        if date is not self._date[0]:
            # All of a batch have one date.
            said = format_datetime(require_aware(date, "date").astimezone(UTC))
            self._date = date, b"Date: %b\r\n" % said.encode()
        own = b"Message-ID: <%b@%b>\r\n%b%b" % (personal.message, self._host, self._date[1], to)
        if personal.invited:
            invited = b"<%b@%b>\r\n" % (personal.invited, self._host)
            own += b"In-Reply-To: %bReferences: %b" % (invited, invited)
        if self._leaving:
            own += personal.tokens[self._leave].join(self._leaving)
        return own


class Composer:
    """Writes the messages of every cohort, from the templates in `folder` and as `community`.

    `signer` signs them; `page` is what the web shows of a meeting's time, for the check that both agree.
    """

    def __init__(
        self,
        folder: Path,
        community: Community,
        *,
        signer: DkimSigner | None = None,
    ) -> None:
        self._templates = Templates(folder)
        self._community = community
        self._signer = signer
        # It is the same for all zones and locales, and dear to make.
        self._invite = lru_cache(maxsize=64)(partial(_invite, community=community))

    def prepare(self) -> list[Problem]:
        """Load what the first mail would wait for; return what is wrong with any template."""
        city("Europe/London")  # loads the names of all cities
        return self._templates.load()

    def cohort(self, cohort: Cohort) -> Composed:
        """Return what is common to the messages of `cohort`.

        Raises Problem where a template is wrong, naming file and line, and where subject, text, HTML, calendar part
        and web page do not all show the meeting's start.
        """
        kind, values = cohort.kind.value, words_for(cohort, self._community)
        subject = require_line(self._templates.subject(kind, values), f"the subject of a {kind}")
        values |= {"subject": subject, "zone": cohort.zone, "city_of_zone": city(cohort.zone)}
        in_text, in_html = _blanks(cohort, self._community)
        bodies = {
            assumed: (
                self._templates.text(kind, values | {"assumed": assumed}, in_text),
                self._templates.html(kind, values | {"assumed": assumed}, in_html),
            )
            for assumed in (False, True)
        }
        occurrence, series, invite = _shown(cohort), cohort.series, None
        if occurrence and series and cohort.kind in WITH_CALENDAR:
            invite = self._invite(occurrence, series)
        if isinstance(when := values.get("when"), When):
            require_agreement(kind, when, subject=subject, bodies=bodies.values(), invite=invite)
        return Composed(
            cohort, self._community, subject=subject, bodies=bodies, invite=invite, signer=self._signer
        )


def words_for(cohort: Cohort, community: Community) -> dict[str, object]:
    """What the templates of a cohort are told."""
    values: dict[str, object] = {
        "community": community,
        "subscribe_url": re.sub("^https?:", "webcal:", community.feed_url),
        "policy": cohort.policy,
        "room": cohort.room,
        "introduces": cohort.introduces,
        "words_subject": cohort.subject,
        "words_text": as_text(cohort.body),
        "words_html": Markup(as_html(cohort.body)),  # noqa: S704 - it is cleaned there
    }
    if cohort.occurrence and cohort.series:
        meeting = describe_meeting(
            cohort.occurrence,
            cohort.series,
            before=cohort.before,
            zone=cohort.zone,
            cycle=hour_cycle(cohort.locale or community.locale),
            told=cohort.told,
            shown=cohort.shown,
        )
        values |= {"meeting": meeting, "when": meeting.when}
    elif cohort.kind is Kind.WELCOME:
        values["when"] = None
    return values


def _blanks(cohort: Cohort, community: Community) -> tuple[Blanks, Blanks]:
    """What templates of this kind may use of a single member, in text and in HTML. Raises Problem where a link could
    break out of its place."""
    key = cohort.occurrence.key if cohort.occurrence else ""
    links: Blanks = {
        word: (link.before, link.purpose.value, link.after)
        for word, link in links_of(cohort.kind, community, occurrence=key).items()
    }
    for word, link in links.items():
        if not _URL.fullmatch("".join(link)):
            raise Problem(f"{word} is not of the form {_URL.pattern}")
    return (
        {"name": ("", _NAME, ""), "address": ("", _ADDRESS, ""), **links},
        {"name": ("", _NAME_IN_HTML, ""), "address": ("", _ADDRESS_IN_HTML, ""), **links},
    )


def _shown(cohort: Cohort) -> Occurrence | None:
    """The occurrence with the time that the mail names."""
    one = cohort.occurrence
    return as_told(one, cohort.before) if one and one.cancelled else one


def _invite(occurrence: Occurrence, series: Series, *, community: Community) -> CalendarPart:
    method: Method = "CANCEL" if occurrence.cancelled else "REQUEST"
    asks = bool(community.inbox) and method == "REQUEST"

    def write(*, uid: str, token: str, attendee_name: str, attendee_address: str) -> bytes:
        return invitation(
            occurrence,
            series,
            community,
            method=method,
            attendee_name=attendee_name,
            attendee_address=attendee_address,
            uid=invitation_uid(occurrence, uid, community.domain),
            join_url=community.way_in(token, occurrence.key),
            rsvp=asks,
        )

    return CalendarPart(write, method)


def _common_headers(cohort: Cohort, community: Community, subject: str) -> Iterator[bytes]:
    yield header("From", *mailbox_words(community.name, community.address))
    yield header("Reply-To", ascii_domain(community.reply_to))
    yield header("Subject", *text_words(subject))
    # Who has only asked for something is on no list that they could leave.
    listed = cohort.kind not in REPLIES
    if listed:
        yield header("List-ID", *list_id_words(community.name, community.domain))
        yield header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
    yield header("Feedback-ID", _feedback_id(cohort, community))
    if listed:
        yield header("Precedence", "bulk")
    yield header("Auto-Submitted", "auto-generated")
    yield header("X-Auto-Response-Suppress", "OOF,", "AutoReply")


def _leaving(cohort: Cohort, community: Community) -> Sequence[bytes]:
    """The header with the ways to leave, in pieces between which the member's token stands."""
    link, blank = links_of(cohort.kind, community)["leave_url"], "\0"
    ways = [f"<{link.before}{blank}{link.after}>"]
    if community.inbox:
        ways.append(f"<mailto:{leave_address(blank, community.inbox)}>")
    return ("List-Unsubscribe: " + ",\r\n ".join(ways) + "\r\n").encode().split(blank.encode())


def _feedback_id(cohort: Cohort, community: Community) -> str:
    """Three names of what this is and one of 5 to 15 characters for the sender, as Gmail counts complaints."""
    series = cohort.series.slug if cohort.series else "none"
    sender = ascii_domain(community.domain).replace(".", "-")[:15].ljust(5, "-")
    return f"{cohort.policy or cohort.kind}:{series}:{cohort.kind}:{sender}"
