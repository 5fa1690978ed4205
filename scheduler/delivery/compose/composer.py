"""Compose the message of a cohort once, and complete it with the values of each recipient."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from scheduler.delivery.compose.bytes_template import BytesTemplate, quoted_printable_pieces
from scheduler.delivery.compose.calendar_part import CalendarPart
from scheduler.delivery.compose.dkim import CohortSigner, DkimSigner
from scheduler.delivery.compose.links import links_of, purposes_of
from scheduler.delivery.compose.markdown import as_html, as_text
from scheduler.delivery.compose.mime import (
    CALENDAR,
    Recipient,
    header,
    list_id_words,
    mailbox_words,
    mime,
    nameless,
    recipient,
    text_words,
)
from scheduler.delivery.compose.notice_words import isolated_in_subject, words_for_templates
from scheduler.delivery.compose.template_words import words_lang
from scheduler.delivery.compose.templates import Blanks, Templates, TextTemplate
from scheduler.delivery.compose.weekly_words import own_and_home, weekly_values
from scheduler.delivery.compose.wording import Meeting, as_told, describe_meeting
from scheduler.domain.address import ascii_domain
from scheduler.domain.advance_notice import AdvanceNotice, Preflight
from scheduler.domain.calendar import Method, invitation, invitation_uid
from scheduler.domain.clock import require_aware
from scheduler.domain.community import Community
from scheduler.domain.contact import ContactMessage
from scheduler.domain.errors import Problem, Refused
from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import LocalTime, format_date
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.policy import CHANGES, IN_ADVANCE, MEETING, REPLIES, TO_CONVENORS, Kind
from scheduler.domain.text import counted, require_line
from scheduler.domain.token import Purpose, leave_address, leave_by_subject
from scheduler.domain.translation import direction, without_isolates
from scheduler.domain.weekly_report import WeeklyReport
from scheduler.domain.zone import city

WITH_CALENDAR = (Kind.INVITATION, Kind.UPDATE, Kind.CANCELLATION)
"""Kinds of notice whose messages may carry a calendar part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """One notice to all members who share a zone and a locale. Hashable; equal cohorts get the same words.

    `policy` is the slug of the policy behind a planned notice, else empty. `subject` and `body` (Markdown) are written
    by a convenor: a notice needs both and has no occurrence; an update, a cancellation or a service mail may add a
    body. A welcome may have an occurrence, the next meeting; where there are `several_series`, `followed` has each that
    its member follows, with its next meeting, by start. A notice may have a series that it is about, and it may have
    a meeting that it `mentions`: its placeholders show the values of that one. `before` is the occurrence as members
    were last told; `room` is the room's own address, or empty where the message does not show it. `introduces` adds a
    paragraph that says who we are, for a first mail; `again` a line that says that a convenor sent it again. `told` is
    the wall-clock time that these members were told before new zone data changed it; `shown` is the one that mails
    showed for `before`. `about` is what a mail tells convenors, and `contact` what a
    visitor wrote to them, which is never Markdown.

    Raises ValueError where the values do not fit together, so that no message can invite to a cancelled meeting.
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
    several_series: bool = False
    followed: tuple[tuple[Series, Occurrence | None], ...] = ()
    mentions: tuple[Series, Occurrence] | None = None
    again: bool = False
    about: AdvanceNotice | WeeklyReport | None = None
    contact: ContactMessage | None = None

    def __post_init__(self) -> None:
        needs_occurrence = self.kind in (*MEETING, *IN_ADVANCE)
        if (self.about is not None) != (self.kind in TO_CONVENORS):
            raise ValueError(f"{self.kind}: a mail to convenors, and no other, has what it is about")
        if (self.contact is not None) != (self.kind is Kind.CONTACT):
            raise ValueError(f"{self.kind}: the message of a visitor is missing")
        may_have_occurrence = needs_occurrence or self.kind is Kind.WELCOME
        if self.occurrence and not may_have_occurrence:
            raise ValueError(f"{self.kind}: this kind has no occurrence, but got {self.occurrence.key}")
        if needs_occurrence and not self.occurrence:
            raise ValueError(f"{self.kind}: this kind needs an occurrence")
        if (self.series is None) != (self.occurrence is None) and self.kind is not Kind.NOTICE:
            raise ValueError(f"{self.kind}: an occurrence and its series belong together")
        if self.kind is Kind.NOTICE and not (self.subject and self.body):
            raise ValueError(f"{self.kind}: a notice needs a subject and a body")
        if self.occurrence and self.occurrence.cancelled != (self.kind is Kind.CANCELLATION):
            raise ValueError(f"{self.kind}: {self.occurrence.key} is {self.occurrence.status}")
        if self.mentions and (self.kind is not Kind.NOTICE or self.mentions[1].cancelled):
            raise ValueError(f"{self.kind}: it cannot mention {self.mentions[1].key}")

    @property
    def words(self) -> str:
        """The words of a notice, in which placeholders may ask for more links."""
        return f"{self.subject}\n{self.body}"


class RecipientValues(NamedTuple):
    """The values that differ between the members of a cohort. A tuple, because one is made for every message.

    `message` is the left side of the Message-ID; `invited` is that of the member's invitation to this occurrence, or
    empty. `tokens` are in the order of `links.purposes_of` the kind. `uid` is the member's hash in the UID of the
    calendar part; without one the message carries no calendar part. All of these consist of letters and digits.
    `assumed` says that the zone was derived from the country, and that the message asks whether it is right.
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


# The names of the blanks for a member's own values. In a body's order of values the tokens come before them.
_OWN = _NAME, _NAME_IN_HTML, _ADDRESS, _ADDRESS_IN_HTML, _ = (
    "own-name",
    "own-name-in-html",
    "own-address",
    "own-address-in-html",
    CALENDAR,
)
# At most 900 octets, so that every URL fits on a line of its own.
_URL = re.compile(r"(?:https?|webcal)://[!#-;=?-~]{1,900}")


@dataclass(frozen=True, slots=True)
class Preview:
    """How a mail looks to one member: its subject, and its text without the foot."""

    subject: str
    text: str


LINK_IN_PREVIEW = "[each member's own link]"
_NAME_IN_PREVIEW = "\N{OBJECT REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class _CompiledBody:
    """The headers that all messages of a cohort have in common, the body with its blanks, and the signer."""

    headers: bytes
    body: BytesTemplate
    signer: CohortSigner | None


class CohortMessage:
    """The message of one cohort, complete but for the values of each member. `subject` is without a member's name."""

    def __init__(
        self,
        cohort: Cohort,
        community: Community,
        *,
        subject: TextTemplate,
        bodies: Mapping[bool, tuple[TextTemplate, TextTemplate]],
        calendar_part: CalendarPart | None,
        signer: DkimSigner | None,
    ) -> None:
        """`bodies` are text and HTML, by whether the members' zone is assumed."""
        self.subject = subject.literal
        self._own_subject = subject.pieces if len(subject.pieces) > 1 else ()
        self._cohort = cohort
        self._bodies = bodies
        shared_subject = "" if self._own_subject else self.subject
        self._common = b"".join(_common_headers(cohort, community, shared_subject))
        self._boundary = sha256(repr((cohort.zone, cohort.locale, self.subject)).encode()).hexdigest()[:32]
        self._calendar_part = calendar_part
        self._signer = signer
        self._compiled: dict[tuple[bool, bool], _CompiledBody] = {}
        self._date: tuple[datetime | None, bytes] = (None, b"")
        self._language = language_of(cohort, community)
        self._host = ascii_domain(community.domain).encode("ascii")
        self._purposes = purposes_of(cohort.kind, cohort.words)
        self._leave = self._purposes.index(Purpose.LEAVE)
        self._join = self._purposes.index(Purpose.JOIN) if Purpose.JOIN in self._purposes else None
        self._unsubscribe = (
            _unsubscribe_header(cohort, community) if cohort.kind not in (*REPLIES, *TO_CONVENORS) else ()
        )

    def message(self, personal: RecipientValues, *, date: datetime) -> bytes:
        """Return the whole message; see `pieces`."""
        return b"".join(self.pieces(personal, date=date))

    def pieces(self, personal: RecipientValues, *, date: datetime) -> list[bytes]:
        """Return the message in pieces; those that all messages of the cohort share are not copied.

        Joined they are CRLF, 7-bit, with lines of at most 998 octets none of which begins with a dot, and the same
        for the same input. `date` is aware. Raises Refused, naming the member, where a value of theirs cannot be put
        in a message, and ValueError where the member is not in this cohort.
        """
        if personal.zone != self._cohort.zone or personal.locale != self._cohort.locale:
            raise ValueError(
                f"member {personal.member} is not in the cohort {self._cohort.zone}, {self._cohort.locale}"
            )
        try:
            if not b"".join((personal.message, personal.invited, personal.uid, *personal.tokens)).isalnum():
                raise ValueError("a token or an identifier has characters other than letters and digits")
            to = recipient(personal.name, personal.address, self._language)
            own_headers = self._own_headers(personal, to.to, date)
            compiled = self._compile(assumed=personal.assumed, calendar=bool(personal.uid))
            body = compiled.body.pieces(self._values(personal, to))
            signature = (
                compiled.signer.sign(own_headers, b"".join(body), date=date) if compiled.signer else b""
            )
            return [signature, own_headers, compiled.headers, b"\r\n", *body]
        except (Refused, ValueError) as error:
            raise Refused(f"member {personal.member}: {error}") from error

    def _compile(self, *, assumed: bool, calendar: bool) -> _CompiledBody:
        """Return the compiled body for these members; it is made when first needed."""
        if (assumed, calendar) not in self._compiled:
            if calendar and self._calendar_part is None:
                raise ValueError(f"a {self._cohort.kind} carries no calendar part")
            text, html = self._bodies[assumed]
            headers, body = mime(
                quoted_printable_pieces(text.pieces),
                quoted_printable_pieces(html.pieces),
                boundary=self._boundary,
                method=self._calendar_part.method if self._calendar_part and calendar else None,
                order=(*self._purposes, *_OWN),
            )
            headers = self._common + headers
            signer = self._signer.for_cohort(headers) if self._signer else None
            self._compiled[assumed, calendar] = _CompiledBody(headers, body, signer)
        return self._compiled[assumed, calendar]

    def _values(self, personal: RecipientValues, to: Recipient) -> Sequence[bytes]:
        """Return the value of each blank in the body, in the encoding of its part."""
        calendar = b""
        if personal.uid and self._calendar_part:
            token = personal.tokens[self._join] if self._join is not None else b""
            calendar = self._calendar_part.encoded(
                (personal.uid, token, to.calendar_name, to.calendar_address)
            )
        return *personal.tokens, to.name, to.name_in_html, to.address, to.address_in_html, calendar

    def _own_headers(self, personal: RecipientValues, to: bytes, date: datetime) -> bytes:
        if date is not self._date[0]:
            # All messages of a batch share one datetime object, so formatting it once is enough.
            formatted = format_datetime(require_aware(date, "date").astimezone(UTC))
            self._date = date, b"Date: %b\r\n" % formatted.encode()
        headers = b"Message-ID: <%b@%b>\r\n%b%b" % (personal.message, self._host, self._date[1], to)
        if self._own_subject:
            name = isolated_in_subject(require_line(personal.name, "name") or nameless(self._language))
            headers += header("Subject", *text_words(name.join(self._own_subject[::2])))
        if personal.invited:
            invitation_id = b"<%b@%b>\r\n" % (personal.invited, self._host)
            headers += b"In-Reply-To: %bReferences: %b" % (invitation_id, invitation_id)
        if self._unsubscribe:
            headers += personal.tokens[self._leave].join(self._unsubscribe)
        return headers


class Composer:
    """Compose the messages of cohorts, from the templates in `folder`, in the name of `community`; `signer` signs."""

    def __init__(self, folder: Path, community: Community, *, signer: DkimSigner | None = None) -> None:
        self._templates = Templates(folder)
        self._community = community
        self._signer = signer
        # The calendar part is the same for all zones and hour cycles, and expensive to make.
        self._calendar_part = lru_cache(maxsize=256)(partial(_calendar_part, community=community))

    def prepare(self) -> list[Problem]:
        """Load what the first mail would otherwise wait for; return a problem for each template that is wrong."""
        city("Europe/London")  # loads the names of all cities
        return self._templates.load()

    def compose(self, cohort: Cohort) -> CohortMessage:
        """Return the message of `cohort`.

        Raises Problem where a template is wrong, naming file and line, and where subject, text, HTML and calendar
        part do not all show the start of the meeting.
        """
        language = language_of(cohort, self._community)
        cohort = _in_language(cohort, language)
        kind, values = cohort.kind.value, template_values(cohort, self._community)
        if isinstance(cohort.about, Preflight):
            values |= self._preflight_values(cohort, cohort.about)
        text_blanks, html_blanks = _blanks(cohort, self._community)
        in_subject = {"name": text_blanks["name"]} if cohort.kind is Kind.NOTICE else {}
        subject = self._templates.subject(kind, values, in_subject)
        _require_subject(subject, kind)
        values |= {
            "subject": _Title(subject.pieces[::2]) if in_subject else subject.literal,
            "zone": cohort.zone,
            "city_of_zone": city(cohort.zone, language),
        }
        bodies = {
            assumed: (
                self._templates.text(kind, values | {"assumed": assumed}, text_blanks),
                self._templates.html(kind, values | {"assumed": assumed}, html_blanks),
            )
            for assumed in (False, True)
        }
        occurrence, series, calendar_part = _occurrence_shown(cohort), cohort.series, None
        if occurrence and series and cohort.kind in WITH_CALENDAR:
            calendar_part = self._calendar_part(occurrence, series, language=language)
        if isinstance(when := values.get("when"), LocalTime):
            require_agreement(
                kind, when, subject=subject.literal, bodies=bodies.values(), calendar_part=calendar_part
            )
        for meeting in _next_meetings(cohort, self._community)[1:]:
            require_agreement(kind, meeting.when, subject=None, bodies=bodies.values(), calendar_part=None)
        return CohortMessage(
            cohort,
            self._community,
            subject=subject,
            bodies=bodies,
            calendar_part=calendar_part,
            signer=self._signer,
        )

    def _preview(self, cohort: Cohort, *, name: str) -> Preview:
        """Return the subject and the text of a cohort's message to a member with that name, without the foot of the
        text. Words stand for the member's own links. Raises Problem as `compose`."""
        language = language_of(cohort, self._community)
        cohort = _in_language(cohort, language)
        kind, values = cohort.kind.value, template_values(cohort, self._community)
        subject = _require_subject(self._templates.subject(kind, values, {}), kind)
        values |= {
            "subject": subject,
            "zone": cohort.zone,
            "city_of_zone": city(cohort.zone, language),
            "assumed": False,
        }
        blanks: Blanks = {
            word: ("", blank, "") for word, (_, blank, _) in _blanks(cohort, self._community)[0].items()
        }
        pieces = self._templates.text(kind, values, blanks).pieces
        filled = (
            piece if not place % 2 else name or nameless(language) if piece == _NAME else LINK_IN_PREVIEW
            for place, piece in enumerate(pieces)
        )
        return Preview(subject, "".join(filled).rpartition("\n---\n")[0].strip("\n"))

    def _preflight_values(self, cohort: Cohort, about: Preflight) -> dict[str, object]:
        """Return how the mail that is about to be sent looks for a convenor, in pieces between which their name goes,
        or why it cannot be composed."""
        preview, problem = Preview("", ""), ""
        try:
            preview = self._preview(
                replace(cohort, kind=about.kind, policy=about.policy, about=None), name=_NAME_IN_PREVIEW
            )
        except Problem as error:
            problem = str(error)
        return {
            "preview_subject": preview.subject.split(_NAME_IN_PREVIEW),
            "preview_text": preview.text.split(_NAME_IN_PREVIEW),
            "preview_problem": problem,
        }


@dataclass(frozen=True, slots=True)
class _Title:
    """The subject as the title of the HTML part: its pieces, with the member's name between them."""

    pieces: Sequence[str]

    def with_blanks(self, marks: Mapping[str, str]) -> str:
        return marks["name"].join(self.pieces)


def language_of(cohort: Cohort, community: Community) -> str:
    """Return the language of the mail of a cohort. Convenors are written to in English."""
    if cohort.kind in (*TO_CONVENORS, Kind.CONTACT, Kind.CONSOLE_SIGN_IN):
        return "en"
    return community.language_for(cohort.locale)


def _in_language(cohort: Cohort, language: str) -> Cohort:
    """Return the cohort with the titles of its series in a language, where they have one in it."""
    return replace(
        cohort,
        series=cohort.series and cohort.series.in_language(language),
        followed=tuple((series.in_language(language), meeting) for series, meeting in cohort.followed),
    )


def _with_lang(words: Markup, attribute: object) -> Markup:
    return Markup("<div%s>%s</div>") % (attribute, words) if words and attribute else words


def template_values(cohort: Cohort, community: Community) -> dict[str, object]:
    """Return the values that the templates of a cohort may use, but for a member's own."""
    language = language_of(cohort, community)
    values: dict[str, object] = {
        "language": language,
        "direction": direction(language),
        "words_lang": words_lang(community.language, language),
        "community": community,
        "subscribe_url": re.sub("^https?:", "webcal:", community.feed_url),
        "policy": cohort.policy,
        "room": cohort.room,
        "introduces": cohort.introduces,
        "again": cohort.again,
        "several_series": cohort.several_series,
        # A welcome is about all series that its member follows.
        "about_series": cohort.series if cohort.several_series and cohort.kind is not Kind.WELCOME else None,
        "is_change": cohort.kind in CHANGES,
    }
    if cohort.kind is Kind.NOTICE:
        meeting = None
        if cohort.mentions:
            series, occurrence = cohort.mentions
            cycle = hour_cycle(cohort.locale or community.locale)
            # It is part of what a convenor wrote, in the community's language.
            meeting = describe_meeting(
                occurrence,
                series,
                before=None,
                zone=cohort.zone,
                cycle=cycle,
                language=community.own_language,
            )
        return values | words_for_templates(cohort.subject, cohort.body, meeting)
    if cohort.contact:
        values["contact"] = cohort.contact
    if isinstance(cohort.about, WeeklyReport):
        values |= weekly_values(
            cohort.about, community, zone=cohort.zone, cycle=hour_cycle(cohort.locale or community.locale)
        )
    values |= {
        "words_text": as_text(cohort.body),
        "words_html": _with_lang(Markup(as_html(cohort.body)), values["words_lang"]),  # noqa: S704 - as_html has cleaned it
    }
    if cohort.occurrence and cohort.series:
        meeting = describe_meeting(
            cohort.occurrence,
            cohort.series,
            before=cohort.before,
            zone=cohort.zone,
            cycle=hour_cycle(cohort.locale or community.locale),
            language=language,
            told=cohort.told,
            shown=cohort.shown,
        )
        values["meeting"] = meeting
        if cohort.kind is not Kind.PREFLIGHT:
            values["when"] = meeting.when
        if cohort.about and not isinstance(cohort.about, WeeklyReport):
            values |= _convenors_values(cohort, cohort.about, cohort.occurrence, cohort.series, community)
    elif cohort.kind is Kind.WELCOME:
        values["when"] = None
    if cohort.kind is Kind.WELCOME:
        values |= {
            "follows_nothing": cohort.several_series and not cohort.followed,
            "next_meetings": _next_meetings(cohort, community),
            "unplanned": [series.title for series, occurrence in cohort.followed if occurrence is None],
        }
    return values


_WHAT = {
    Kind.INVITATION: "invitation to",
    Kind.REMINDER: "reminder of",
    Kind.FOLLOW_UP: "follow-up to",
}


def _convenors_values(
    cohort: Cohort, about: AdvanceNotice, occurrence: Occurrence, series: Series, community: Community
) -> dict[str, object]:
    """Return what a mail to convenors says in advance, each instant by their own clock and, if it is another, by the
    home clock."""
    cycle = hour_cycle(cohort.locale or community.locale)

    def moment(instant: datetime) -> str:
        return own_and_home(instant, zone=cohort.zone, home=series.zone, cycle=cycle)

    values: dict[str, object] = {
        "about": about,
        "home_date": format_date(occurrence.home_date),
        "meeting_url": f"{community.base_url}/convenor/meetings/{occurrence.key}",
    }
    if isinstance(about, Preflight):
        values |= {
            "recipients": counted(about.recipients, "member"),
            "what": f"{_WHAT[about.kind]} {series.title}",
            "first": moment(about.first),
            "last": moment(about.last) if about.last != about.first else "",
            "missing": missing_details(occurrence, series, about.kind),
            "hold_url": f"{community.base_url}/convenor/planned/{about.notice}",
        }
    return values


def missing_details(occurrence: Occurrence, series: Series, kind: Kind) -> list[str]:
    """Return which details of a meeting a notice of this kind to members would not show."""
    missing = [] if occurrence.topic else ["the topic"]
    if kind is not Kind.FOLLOW_UP and not (occurrence.link or series.link):
        missing.append("the link to the room")
    return missing


def _next_meetings(cohort: Cohort, community: Community) -> list[Meeting]:
    """Return the next meetings of the series that the member of a welcome follows, in words."""
    cycle, language = hour_cycle(cohort.locale or community.locale), language_of(cohort, community)
    return [
        describe_meeting(occurrence, series, before=None, zone=cohort.zone, cycle=cycle, language=language)
        for series, occurrence in cohort.followed
        if occurrence
    ]


def _require_subject(subject: TextTemplate, kind: str) -> str:
    """Return a subject. Raises Refused where it is not one line of text."""
    require_line(without_isolates(subject.literal), f"the subject of a {kind}")
    return subject.literal.strip()


def require_agreement(
    kind: str,
    when: LocalTime,
    *,
    subject: str | None,
    bodies: Collection[tuple[TextTemplate, TextTemplate]],
    calendar_part: CalendarPart | None,
) -> None:
    """Raise Problem unless every part of the message shows the instant at which the meeting starts.

    `subject` is None where it is not about this meeting.
    """
    start = f'datetime="{when.starts_iso}"'
    agreement = {
        "subject": subject is None or when.starts in subject,
        "text": all(when.starts in text.literal and when.day in text.literal for text, _ in bodies),
        "HTML": all(start in html.literal for _, html in bodies),
    }
    if calendar_part:
        agreement["calendar part"] = calendar_part.starts == datetime.fromisoformat(when.starts_iso)
    if wrong := [part for part, agrees in agreement.items() if not agrees]:
        raise Problem(
            f"{kind} for {when.zone}: the {', '.join(wrong)} does not show the start, {when.starts}; "
            f"correct templates/email/{kind}"
        )


def _blanks(cohort: Cohort, community: Community) -> tuple[Blanks, Blanks]:
    """Return the blanks for a member's own values that templates of this kind may use, in text and in HTML.

    Raises Problem where a link is not a plain URL and could break out of its attribute.
    """
    occurrence = cohort.mentions[1] if cohort.mentions else cohort.occurrence
    key = occurrence.key if occurrence else ""
    links: Blanks = {
        word: (link.before, link.purpose.value, link.after)
        for word, link in links_of(cohort.kind, community, occurrence=key, words=cohort.words).items()
    }
    for word, link in links.items():
        if not _URL.fullmatch("".join(link)):
            raise Problem(f"{word} is not of the form {_URL.pattern}; check [web] base_url")
    return (
        {"name": ("", _NAME, ""), "address": ("", _ADDRESS, ""), **links},
        {"name": ("", _NAME_IN_HTML, ""), "address": ("", _ADDRESS_IN_HTML, ""), **links},
    )


def _occurrence_shown(cohort: Cohort) -> Occurrence | None:
    """Return the occurrence at the time that the mail shows: for a cancellation, the time that members know."""
    occurrence = cohort.occurrence
    return as_told(occurrence, cohort.before) if occurrence and occurrence.cancelled else occurrence


def _calendar_part(
    occurrence: Occurrence, series: Series, *, language: str, community: Community
) -> CalendarPart:
    method: Method = "CANCEL" if occurrence.cancelled else "REQUEST"
    asks_for_answer = community.inbox is not None and method == "REQUEST"

    def write(*, uid: str, token: str, attendee_name: str, attendee_address: str) -> bytes:
        return invitation(
            occurrence,
            series,
            community,
            method=method,
            attendee_name=attendee_name,
            attendee_address=attendee_address,
            uid=invitation_uid(occurrence, uid, community.domain),
            join_url=community.join_url(token, occurrence.key),
            rsvp=asks_for_answer,
            language=language,
        )

    return CalendarPart(write, method)


def _common_headers(cohort: Cohort, community: Community, subject: str) -> Iterator[bytes]:
    """Yield the headers that all members of a cohort get; `subject` is empty where each has one of their own."""
    yield header("From", *mailbox_words(community.name, community.address))
    if cohort.contact:
        yield header("Reply-To", *mailbox_words(cohort.contact.name, cohort.contact.address))
    else:
        yield header("Reply-To", ascii_domain(community.reply_to))
    if subject:
        yield header("Subject", *text_words(subject))
    # A reply to a request may go to somebody who is not on the list, and who cannot leave it.
    is_list_mail = cohort.kind not in (*REPLIES, *TO_CONVENORS)
    if is_list_mail:
        yield header("List-ID", *list_id_words(community.name, community.domain))
        yield header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
    yield header("Feedback-ID", _feedback_id(cohort, community))
    if is_list_mail:
        yield header("Precedence", "bulk")
    yield header("Auto-Submitted", "auto-generated")
    yield header("X-Auto-Response-Suppress", "OOF,", "AutoReply")


def _unsubscribe_header(cohort: Cohort, community: Community) -> Sequence[bytes]:
    """Return the header List-Unsubscribe, split where the member's token goes."""
    link, blank = links_of(cohort.kind, community)["leave_url"], "\0"
    addresses = [f"<{link.before}{blank}{link.after}>"]
    if inbox := community.inbox:
        mailto = (
            leave_address(blank, inbox.domain, mailbox=inbox.mailbox)
            if inbox.carries_tokens
            else leave_by_subject(blank, inbox.address)
        )
        addresses.append(f"<mailto:{mailto}>")
    return ("List-Unsubscribe: " + ",\r\n ".join(addresses) + "\r\n").encode().split(blank.encode())


def _feedback_id(cohort: Cohort, community: Community) -> str:
    """Return the Feedback-ID by which Gmail counts complaints: three names of this mail, and a sender of 5 to 15
    characters."""
    series = cohort.series.slug if cohort.series else "none"
    sender = ascii_domain(community.domain).replace(".", "-")[:15].ljust(5, "-")
    return f"{cohort.policy or cohort.kind}:{series}:{cohort.kind}:{sender}"
