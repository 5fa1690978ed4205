"""A filled-in message equals the message that the standard library would write for that member."""

import quopri
import re
from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from functools import cache
from html import unescape

import css_inline
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from icalendar import Calendar
from jinja2 import Environment, FileSystemLoader, select_autoescape

from scheduler.delivery.compose import mime
from scheduler.delivery.compose.bytes_template import quoted_printable
from scheduler.delivery.compose.composer import CohortMessage, Composer, RecipientValues, template_values
from scheduler.delivery.compose.template_words import install_translations
from scheduler.delivery.compose.templates import tidy
from scheduler.domain import calendar
from scheduler.domain.community import Community
from scheduler.domain.errors import Refused
from scheduler.domain.text import require_line
from tests.delivery.mails import COMMUNITY, DATE, EVERY_MAIL, MEI, TEMPLATES, composer, links, personal

# Characters that matter to lines, dots, spaces, quotes, tags, folds and fields, and texts longer than a line.
AWKWARD = st.text(st.sampled_from(".. =\\<>@,;:?_&'\"^{}%\u00a0日שЖ👩🏽‍🚀ab"), max_size=90)
NAMES = (
    (AWKWARD | st.text(st.characters(codec="utf-8"), max_size=500))
    .filter(lambda name: _accepted(name))
    .map(lambda name: require_line(name, "name"))
)
LOCAL_PARTS = st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,30}(\.[a-z0-9%?-]{1,20})?", fullmatch=True)
COMMUNITIES = [
    COMMUNITY,
    replace(COMMUNITY, base_url="https://meet.example.org/..a=1&amp;b=2,3;4'(5)%20" + "." * 90),
]
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=select_autoescape(("html",)),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
install_translations(_ENVIRONMENT)
_BARE_CN = re.compile(r';CN=([^";:,]+);')
_INLINER = css_inline.CSSInliner(load_remote_stylesheets=False)


@cache
def composed(kind: str, community: Community) -> CohortMessage:
    return composer(community=community).compose(EVERY_MAIL[kind])


def _accepted(name: str) -> bool:
    try:
        return bool(require_line(name, "name"))
    except Refused:
        return False


def message_of_library(kind: str, community: Community, recipient: RecipientValues) -> EmailMessage:
    """Return the message written for one member: every template rendered with all values, every part
    encoded by the standard library, the calendar by the calendar's."""
    cohort = EVERY_MAIL[kind]
    shown = links(cohort, community)
    values = template_values(cohort, community) | {
        "subject": composed(kind, community).subject,
        "zone": cohort.zone,
        "assumed": recipient.assumed,
        "name": recipient.name,
        "address": recipient.address,
        **shown,
    }
    whole = EmailMessage()
    whole.set_content(tidy(_ENVIRONMENT.get_template(f"{kind}/body.txt").render(values)))
    html = _INLINER.inline(_ENVIRONMENT.get_template(f"{kind}/body.html").render(values))
    whole.add_alternative(html, subtype="html", cte="quoted-printable")
    if recipient.uid:
        assert cohort.occurrence and cohort.series
        octets = calendar.invitation(
            cohort.occurrence,
            cohort.series,
            community,
            method="CANCEL" if cohort.occurrence.cancelled else "REQUEST",
            attendee_name=recipient.name,
            attendee_address=recipient.address,
            join_url=shown.get("join_url", ""),
            uid=calendar.invitation_uid(cohort.occurrence, recipient.uid.decode(), COMMUNITY.domain),
        )
        whole.add_alternative(octets, maintype="text", subtype="calendar")
    return whole


def contents(content: bytes) -> list[tuple[str, str]]:
    """Return content type and decoded content of each part, as a reader sees it."""
    parts = []
    for part in message_from_bytes(content).walk():
        octets = part.get_payload(decode=True)
        if isinstance(octets, bytes):
            kind, text = part.get_content_type(), octets.decode().replace("\r\n", "\n")
            if kind == "text/html":
                text = unescape(text)
            if kind in ("text/calendar", "application/ics"):
                assert all(len(line) <= 75 for line in octets.split(b"\r\n"))
                assert Calendar.from_ical(octets).events
                # A CN that needs no quotation marks may have them (RFC 5545 section 3.2).
                text = _BARE_CN.sub(r';CN="\1";', octets.replace(b"\r\n ", b"").decode())
            parts.append((kind, text.rstrip("\n")))
    return parts


def fits_the_wire(content: bytes) -> bool:
    head, _, body = content.partition(b"\r\n\r\n")
    lines = body.split(b"\r\n")
    return (
        content.isascii()
        and content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")
        and content.endswith(b"\r\n")
        and max(map(len, head.split(b"\r\n"))) <= 998
        and max(map(len, lines)) <= 78
        and not any(line.startswith(b".") for line in content.split(b"\r\n"))
        # The canonical form of DKIM (RFC 6376 section 3.4.4): a signature is made over the body as it stands.
        and not any(b"  " in line or b"\t" in line or line.endswith(b" ") for line in lines)
        and not body.endswith(b"\r\n\r\n")
    )


@settings(max_examples=150, deadline=None)
@given(
    # A preflight mail contains another mail, whose text only the composer knows.
    kind=st.sampled_from(sorted(EVERY_MAIL.keys() - {"preflight"})),
    name=NAMES,
    local=LOCAL_PARTS,
    community=st.sampled_from(COMMUNITIES),
    assumed=st.booleans(),
    invites=st.booleans(),
)
@example(kind="invitation", name=".", local="a", community=COMMUNITIES[1], assumed=True, invites=True)
@example(
    kind="update", name="Ж" * 500, local="o'neil%x", community=COMMUNITIES[1], assumed=False, invites=True
)
@example(
    kind="cancellation", name="a^n^'b^^,c;d", local="a", community=COMMUNITY, assumed=False, invites=True
)
@example(kind="invitation", name="Ann", local="a", community=COMMUNITY, assumed=False, invites=True)
@example(
    kind="reminder", name="a  b " * 30 + ".", local="a", community=COMMUNITY, assumed=False, invites=False
)
def test_a_filled_in_message_is_the_one_written_for_that_member(
    *, kind: str, name: str, local: str, community: Community, assumed: bool, invites: bool
) -> None:
    member = MEI._replace(name=name, address=f"{local}@example.org", assumed=assumed)
    own = personal(EVERY_MAIL[kind], member)
    if not invites:
        own = own._replace(uid=b"")
    filled = composed(kind, community).message(own, date=DATE)
    parts = contents(filled)
    assert fits_the_wire(filled), filled
    assert parts[:3] == contents(bytes(message_of_library(kind, community, own)))
    assert parts[3:] == ([("application/ics", parts[2][1])] if own.uid else [])


@settings(max_examples=300, deadline=None)
@given(
    name=st.from_regex(r"[A-Za-z0-9]{1,9}([ -][A-Za-z0-9]{1,20}){0,4}", fullmatch=True)
    | st.text(st.sampled_from("aB -ÅéñßŵāØþ李伟عائشةОльгаकि’\u0301々ﷺ"), min_size=1, max_size=60).map(
        lambda name: require_line(name, "name") or "x"
    ),
    local=st.from_regex(r"[a-z0-9_-]{1,20}(\.[a-z0-9_-]{1,12}){0,2}", fullmatch=True),
    domain=st.from_regex(r"[a-z0-9-]{1,12}(\.[a-z0-9]{1,12}){1,3}", fullmatch=True),
)
@example(name="A", local="a", domain=f"{'b' * 60}.org")
@example(name="A", local="a", domain=f"{'b' * 61}.org")
@example(name="n" * 60, local="a", domain="example.org")
@example(name="عائشة بنت أحمد", local="a" * 20, domain=f"{'b' * 12}.org")
@example(name="Ольга Петрова", local="olga", domain="example.org")
def test_the_shortcut_for_plain_names_and_addresses_gives_the_same_result(
    name: str, local: str, domain: str
) -> None:
    address = f"{local}@{domain}"
    assert mime.recipient(name, address) == mime._encode(name, address, "en")


@settings(max_examples=200, deadline=None)
@given(AWKWARD | st.text(st.sampled_from(". \n=é"), max_size=300) | st.text(max_size=200))
def test_quoted_printable_decodes_to_the_same_text_and_no_line_needs_dot_stuffing(text: str) -> None:
    content = quoted_printable(text)
    lines = content.split(b"\r\n")
    unix = text.replace("\r\n", "\n").replace("\r", "\n").encode()
    assert quopri.decodestring(content).replace(b"\r\n", b"\n") == unix
    assert max(map(len, lines)) <= 76 and len(lines[-1]) <= 75
    assert not any(line.startswith(b".") or line.endswith((b" ", b"\t")) or b"  " in line for line in lines)


def test_filling_in_renders_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    invitation = composer().compose(EVERY_MAIL["invitation"])
    own = personal(EVERY_MAIL["invitation"])
    first = invitation.message(own, date=DATE)
    for module, name in ((Composer, "compose"), (calendar, "event"), (Environment, "get_template")):
        monkeypatch.setattr(module, name, None)
    second = invitation.message(own._replace(name="Ada"), date=DATE)
    assert first != second and b"\r\nAda=\r\n" in second
