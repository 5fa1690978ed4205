"""From a cohort to the messages of its members: what is common is written once, what is a member's own is filled in."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path

from markupsafe import Markup, escape

from scheduler.delivery.agreement import require_agreement
from scheduler.delivery.cohort import Cohort, Personal
from scheduler.delivery.invite import Invite
from scheduler.delivery.links import blanks_of
from scheduler.delivery.markdown import as_html, as_text
from scheduler.delivery.message import ascii_domain, header, list_id_words, mailbox_words, mime, text_words
from scheduler.delivery.pattern import Pattern, quoted, quoted_pieces
from scheduler.delivery.signing import Seal, Signer
from scheduler.delivery.template import Form, Templates
from scheduler.delivery.wording import When, as_told, describe_meeting
from scheduler.domain.calendar import Method, invitation
from scheduler.domain.clock import require_aware
from scheduler.domain.community import Community
from scheduler.domain.locale_tag import hour_cycle
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.policy import REPLIES, Kind
from scheduler.domain.problem import Refused
from scheduler.domain.text import require_line
from scheduler.domain.zone import city

NAMELESS = "friend"
"""How a member is greeted whose name we do not know."""

_WAYS_IN = (Kind.INVITATION, Kind.REMINDER, Kind.UPDATE)
_WITHOUT_CALENDAR = (Kind.REMINDER, Kind.WELCOME, Kind.FOLLOW_UP)
_SPECIAL_IN_HTML = re.compile("[&<>'\"]")
# Of at most 900 octets, so that each fits on a line of its own.
_URL = re.compile(r"(?:https?|webcal)://[!#-;=?-~]{1,900}")
_UID = re.compile(r"[A-Za-z0-9._@-]{1,100}")
_MESSAGE_ID = re.compile(r"<[!-;=?A-~]{1,650}@[!-;=?-~]{1,255}>")


@dataclass(frozen=True, slots=True)
class _Form:
    """Of the messages of a cohort the headers that are the same in all, the body with its blanks, and who signs."""

    headers: bytes
    body: Pattern
    seal: Seal | None


class Composed:
    """The message of one cohort, ready but for what is a member's own. `subject` is that of all its members."""

    def __init__(
        self, cohort: Cohort, community: Community, *,
        subject: str, bodies: Mapping[bool, tuple[Form, Form]], invite: Invite | None, signer: Signer | None,
    ) -> None:  # fmt: skip
        self.subject = subject
        self._cohort = cohort
        self._blanks = _blanks(cohort)
        self._listed = cohort.kind not in REPLIES
        self._bodies = bodies
        self._common = b"".join(_common_headers(cohort, community, subject))
        self._boundary = sha256(repr((cohort.zone, cohort.locale, subject)).encode()).hexdigest()[:32]
        self._invite = invite
        self._signer = signer
        self._forms: dict[tuple[bool, bool], _Form] = {}
        self._date: tuple[datetime | None, str] = (None, "")

    def message(self, personal: Personal, *, date: datetime) -> bytes:
        """Return the whole message: CRLF, 7-bit, lines within 998 octets, none of which begins with a dot; the same
        for the same input.

        `date` is aware. Raises Refused, naming the member, where a value of theirs cannot be carried, and
        ValueError where they are not of this cohort.
        """
        to = personal.recipient
        if to.zone != self._cohort.zone or to.locale != self._cohort.locale:
            raise ValueError(
                f"member {to.member} is not of the cohort {self._cohort.zone}, {self._cohort.locale}"
            )
        try:
            name = require_line(to.name, "name")
            address = ascii_domain(require_line(to.address, "address"))
            own = self._own_headers(personal, name, address, date)
            form = self._form(to.assumed, invites=bool(personal.uid))
            body = form.body.fill(self._values(personal, name, address))
            signature = form.seal.sign(own, body, date=date) if form.seal else b""
            return b"".join((signature, own, form.headers, b"\r\n", body))
        except (Refused, ValueError) as error:
            raise Refused(f"member {to.member}: {error}") from error

    def _form(self, assumed: bool, *, invites: bool) -> _Form:  # noqa: FBT001
        """What is common to all; made when it is first needed."""
        if (assumed, invites) not in self._forms:
            if invites and self._invite is None:
                raise ValueError(f"a {self._cohort.kind} carries no calendar part")
            text, html = self._bodies[assumed]
            headers, body = mime(
                quoted_pieces(text.pieces), quoted_pieces(html.pieces, _in_html), boundary=self._boundary,
                method=self._invite.method if self._invite and invites else None,
            )  # fmt: skip
            headers = self._common + headers
            seal = self._signer.seal(headers) if self._signer else None
            self._forms[assumed, invites] = _Form(headers, body, seal)
        return self._forms[assumed, invites]

    def _values(self, personal: Personal, name: str, address: str) -> Mapping[str, bytes]:
        """What stands in each blank of the body, in the encoding of its part."""
        links = {"leave_url": personal.leave_url, **personal.links}
        if "join_url" in self._blanks:
            links["join_url"] = personal.join_url
        encoded: dict[str, bytes] = {}
        for blank, value in (("name", name or NAMELESS), ("address", address), *links.items()):
            if blank in links:
                _require(_URL, value, blank)
            plain = encoded[blank] = quoted(value)
            # Most values hold nothing that HTML reads in another way.
            encoded[_in_html(blank)] = quoted(str(escape(value))) if _SPECIAL_IN_HTML.search(value) else plain
        if personal.uid and self._invite:
            encoded["calendar"] = self._invite.encoded(
                uid=_require(_UID, personal.uid, "uid"),
                name=name,
                address=address,
                join_url=personal.join_url,
            )
        return encoded

    def _own_headers(self, personal: Personal, name: str, address: str, date: datetime) -> bytes:
        if date is not self._date[0]:
            # All of a batch have one date.
            said = format_datetime(require_aware(date, "date").astimezone(UTC))
            self._date = date, f"Date: {said}\r\n"
        thread = ""
        if personal.in_reply_to:
            invited = _require(_MESSAGE_ID, personal.in_reply_to, "in_reply_to")
            thread = f"In-Reply-To: {invited}\r\nReferences: {invited}\r\n"
        leaving = ""
        if self._listed:
            leaving = f"List-Unsubscribe: <{_require(_URL, personal.leave_url, 'leave_url')}>\r\n"
        return b"".join((
            f"Message-ID: {_require(_MESSAGE_ID, personal.message_id, 'message_id')}\r\n{self._date[1]}".encode(),
            header("To", *mailbox_words(name, address)),
            f"{thread}{leaving}".encode(),
        ))  # fmt: skip


Page = Callable[[Occurrence, Series, str], str]
"""What the web shows of the time of a meeting to somebody in a zone."""


class Composer:
    """Writes the messages of every cohort, from the templates in `folder` and as `community`.

    `signer` signs them; `page` is what the web shows of a meeting's time, for the check that both agree.
    """

    def __init__(
        self, folder: Path, community: Community, *, signer: Signer | None = None, page: Page | None = None
    ) -> None:
        self._templates = Templates(folder)
        self._community = community
        self._signer = signer
        self._page = page
        # It is the same for all zones and locales, and dear to make.
        self._invite = lru_cache(maxsize=64)(partial(_invite, community=community))

    def cohort(self, cohort: Cohort) -> Composed:
        """Return what is common to the messages of `cohort`.

        Raises Problem where a template is wrong, naming file and line, and where subject, text, HTML, calendar part
        and web page do not all show the meeting's start.
        """
        kind, values = cohort.kind.value, words_for(cohort, self._community)
        subject = require_line(self._templates.subject(kind, values), f"the subject of a {kind}")
        values |= {"subject": subject, "zone": cohort.zone, "city_of_zone": city(cohort.zone)}
        blanks = _blanks(cohort)
        bodies = {
            assumed: (
                self._templates.text(kind, values | {"assumed": assumed}, blanks),
                self._templates.html(kind, values | {"assumed": assumed}, blanks),
            )
            for assumed in (False, True)
        }
        occurrence, series, invite, page = _shown(cohort), cohort.series, None, None
        if occurrence and series:
            if cohort.kind not in _WITHOUT_CALENDAR:
                invite = self._invite(occurrence, series)
            if self._page:
                page = self._page(occurrence, series, cohort.zone)
        if isinstance(when := values.get("when"), When):
            require_agreement(kind, when, subject=subject, bodies=bodies.values(), invite=invite, page=page)
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
            cohort.occurrence, cohort.series, before=cohort.before, zone=cohort.zone,
            cycle=hour_cycle(cohort.locale or community.locale),
        )  # fmt: skip
        values |= {"meeting": meeting, "when": meeting.when}
    elif cohort.kind is Kind.WELCOME:
        values["when"] = None
    return values


def _blanks(cohort: Cohort) -> tuple[str, ...]:
    """What a template of this kind may use of a single member."""
    way_in = ["join_url"] if cohort.kind in _WAYS_IN else []
    return ("name", "address", "leave_url", *way_in, *blanks_of(cohort.kind))


def _in_html(blank: str) -> str:
    return f"{blank} in HTML"


def _shown(cohort: Cohort) -> Occurrence | None:
    """The occurrence with the time that the mail names."""
    one = cohort.occurrence
    return as_told(one, cohort.before) if one and one.cancelled else one


def _invite(occurrence: Occurrence, series: Series, *, community: Community) -> Invite:
    method: Method = "CANCEL" if occurrence.cancelled else "REQUEST"
    return Invite(partial(invitation, occurrence, series, community, method=method), method)


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


def _feedback_id(cohort: Cohort, community: Community) -> str:
    """Three names of what this is and one of 5 to 15 characters for the sender, as Gmail counts complaints."""
    series = cohort.series.slug if cohort.series else "none"
    sender = ascii_domain(community.domain).replace(".", "-")[:15].ljust(5, "-")
    return f"{cohort.policy or cohort.kind}:{series}:{cohort.kind}:{sender}"


def _require(pattern: re.Pattern[str], value: str, what: str) -> str:
    if not pattern.fullmatch(value):
        raise ValueError(f"{what} is not of the form {pattern.pattern}")
    return value
