"""One of each kind of mail, as the tests send them: made-up people, a real evening in November."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from icalendar import Calendar, Event

from scheduler.delivery.compose.composer import WITH_CALENDAR, Cohort, Composer, RecipientValues
from scheduler.delivery.compose.links import links_of, purposes_of
from scheduler.domain.advance_notice import Preflight, RoomMissing
from scheduler.domain.community import Community
from scheduler.domain.contact import ContactMessage
from scheduler.domain.occurrence import Series
from scheduler.domain.policy import PERSONAL, TO_CONVENORS, Kind
from scheduler.domain.weekly_report import Certificate, NextMeeting, WeeklyReport

TEMPLATES = Path(__file__).parents[2] / "templates" / "email"
DATE = datetime(2026, 11, 19, 17, tzinfo=UTC)

COMMUNITY = Community(
    name="Conversation for Kindness",
    description="People from many countries who meet every month to talk.",
    address="hello@kindness.example.org",
    reply_to="convenors@kindness.example.org",
    domain="kindness.example.org",
    website="https://www.kindness.example.org/",
    base_url="https://meet.kindness.example.org",
)
SERIES = Series(
    slug="conversation-for-kindness",
    title="Conversation for Kindness",
    rule="FREQ=MONTHLY;BYDAY=3TH",
    start=time(18),
    zone="Europe/London",
    duration=timedelta(hours=1),
    first=date(2020, 7, 16),
    link="https://rooms.example.org/kindness",
)
NOVEMBER = replace(
    SERIES.occurrence(date(2026, 11, 19), datetime(2026, 1, 1, tzinfo=UTC)),
    topic="Small kindnesses at work",
    speakers="Amara Okafor and Tomás Ruiz",
    revision=1,
)
MOVED = replace(
    NOVEMBER,
    starts=NOVEMBER.starts + timedelta(days=7),
    ends=NOVEMBER.ends + timedelta(days=7),
    topic="Kindness to strangers",
    revision=2,
    sequence=1,
    changed_at=datetime(2026, 11, 10, 9, tzinfo=UTC),
)
CANCELLED = replace(
    NOVEMBER, cancelled=True, revision=2, sequence=1, changed_at=datetime(2026, 11, 10, 9, tzinfo=UTC)
)

TOKEN = "aaaaaaarabcdefghijklmnopqrstuvwxyz"
MEI = RecipientValues(
    member=17,
    name="Mei Lin",
    address="mei@example.org",
    zone="Australia/Sydney",
    locale="en-GB",
    assumed=False,
    message=b"",
    tokens=(),
)

INVITATION = Cohort(
    kind=Kind.INVITATION,
    policy="invitation",
    zone=MEI.zone,
    locale=MEI.locale,
    occurrence=NOVEMBER,
    series=SERIES,
)
REMINDER = replace(INVITATION, kind=Kind.REMINDER, policy="day-before")
FOLLOW_UP = replace(
    INVITATION,
    kind=Kind.FOLLOW_UP,
    policy="follow-up",
    occurrence=replace(
        NOVEMBER,
        materials="The recording: https://www.kindness.example.org/november\nNotes & links: ask Amara",
        revision=2,
    ),
)
UPDATE = replace(
    INVITATION,
    kind=Kind.UPDATE,
    policy="",
    occurrence=MOVED,
    before=NOVEMBER,
    body="Tomás is ill, so we wait a week for him. **Thank you** for your patience.",
)
CANCELLATION = replace(
    INVITATION,
    kind=Kind.CANCELLATION,
    policy="",
    occurrence=CANCELLED,
    before=NOVEMBER,
    body="Both of our speakers have had to travel home.",
)
NOTICE = Cohort(
    kind=Kind.NOTICE,
    zone=MEI.zone,
    locale=MEI.locale,
    subject="A walk in March, and two questions",
    body=(Path(__file__).parent / "golden" / "notice.md").read_text(encoding="utf-8"),
)
FILLED_NOTICE = Cohort(
    kind=Kind.NOTICE,
    zone=MEI.zone,
    locale=MEI.locale,
    subject="{name}: {when}",
    body=(
        "Dear {name}, {meeting} is on **{when}**: {topic}.\n\n"
        "{day} {time} [Join]({join_link}) {answer_link} {my_page} {calendar_link}"
    ),
    mentions=(SERIES, NOVEMBER),
)
"""A notice with every placeholder."""

COHORTS = {
    cohort.kind.value: cohort for cohort in (INVITATION, REMINDER, FOLLOW_UP, UPDATE, CANCELLATION, NOTICE)
}
MESSAGE = ContactMessage(
    name="Viktória O'Hara",
    address="vi@example.org",
    words="May I visit?\n\n[Click here](https://example.com) <b>or</b> <a href='https://example.com'>here</a>.",
)
SERVICE_MAILS = (
    {
        kind.value: Cohort(kind=kind, zone=MEI.zone, locale=MEI.locale)
        for kind in PERSONAL
        if kind not in (Kind.WELCOME, Kind.CONTACT)
    }
    | {"contact": Cohort(kind=Kind.CONTACT, zone=MEI.zone, locale=MEI.locale, contact=MESSAGE)}
    | {"welcome": replace(REMINDER, kind=Kind.WELCOME, policy="", body="We begin on time, and end on time.")}
)
CONVENORS_MAILS = {
    "preflight": replace(
        INVITATION,
        kind=Kind.PREFLIGHT,
        policy="",
        occurrence=replace(NOVEMBER, topic=""),
        about=Preflight(
            notice=12,
            kind=Kind.REMINDER,
            policy="day-before",
            timing="on the day before, at 09:00",
            occurrence=NOVEMBER.key,
            revision=1,
            recipients=1372,
            first=datetime(2026, 11, 17, 20, tzinfo=UTC),
            last=datetime(2026, 11, 18, 19, tzinfo=UTC),
            on_hold=False,
        ),
    ),
    "room-missing": replace(
        INVITATION,
        kind=Kind.ROOM_MISSING,
        policy="",
        series=replace(SERIES, link=""),
        about=RoomMissing(occurrence=NOVEMBER.key, revision=1, hours=24),
    ),
    "weekly": Cohort(
        kind=Kind.WEEKLY,
        zone=MEI.zone,
        locale=MEI.locale,
        about=WeeklyReport(
            since=datetime(2026, 11, 9, 8, tzinfo=UTC),
            until=datetime(2026, 11, 16, 8, tzinfo=UTC),
            zone="Europe/London",
            members=1372,
            joined=12,
            left=1,
            sent=1402,
            waiting=3,
            not_sent=(("the address does not exist", 4), ("it would have come too late", 1)),
            requests=1,
            to_review=2,
            to_show=0,
            meetings=(NextMeeting(title=SERIES.title, starts=NOVEMBER.starts, zone=SERIES.zone),),
            ending=("Case rounds <2026> ends soon: only one more meeting is planned.",),
            certificates=(
                Certificate(host="meet.example.org", expires=datetime(2027, 1, 20, tzinfo=UTC)),
                Certificate(
                    host="relay.example.org", problem="could not be checked: it did not answer in time"
                ),
            ),
            backups=True,
            backed_up=datetime(2026, 11, 16, 3, tzinfo=UTC),
            rehearsed=None,
        ),
    ),
}
EVERY_MAIL = COHORTS | SERVICE_MAILS | CONVENORS_MAILS

ROUNDS, JOURNAL, ETHICS = (
    replace(SERIES, slug=slug, title=title, rule=rule, start=start, zone=zone)
    for slug, title, rule, start, zone in (
        ("case-rounds", "Case rounds", "FREQ=WEEKLY;BYDAY=TU", time(12, 30), "America/New_York"),
        ("journal-club", "Journal club", "FREQ=MONTHLY;BYDAY=1MO", time(9), "Europe/London"),
        ("ethics-table", "Ethics table", "FREQ=MONTHLY;BYDAY=1SU", time(20), "Pacific/Auckland"),
    )
)
"""The other series of a community with four."""
_ADOPTED = datetime(2026, 1, 1, tzinfo=UTC)
FOLLOWED = (
    (SERIES, NOVEMBER),
    (ROUNDS, replace(ROUNDS.occurrence(date(2026, 11, 24), _ADOPTED), topic="A cough that stayed")),
    (ETHICS, ETHICS.occurrence(date(2026, 12, 6), _ADOPTED)),
)
WELCOME_OF_SEVERAL = replace(SERVICE_MAILS["welcome"], several_series=True, followed=FOLLOWED)
OF_SEVERAL = {
    "invitation-of-several": replace(INVITATION, several_series=True, introduces=True),
    "cancellation-of-several": replace(CANCELLATION, several_series=True),
    "welcome-of-several": WELCOME_OF_SEVERAL,
    "welcome-of-none": Cohort(kind=Kind.WELCOME, zone=MEI.zone, locale=MEI.locale, several_series=True),
}
"""Mails of a community that has several series."""


def composer(templates: Path = TEMPLATES, community: Community = COMMUNITY) -> Composer:
    return Composer(templates, community)


def at(cohort: Cohort, zone: str, locale: str) -> Cohort:
    return replace(cohort, zone=zone, locale=locale)


def personal(cohort: Cohort, member: RecipientValues = MEI) -> RecipientValues:
    """What is the member's own in a mail of the cohort: with a calendar part where its kind can have one."""
    occurrence = cohort.occurrence
    calendar = occurrence and cohort.kind in WITH_CALENDAR
    first = cohort.kind in (Kind.INVITATION, Kind.NOTICE, *PERSONAL, *TO_CONVENORS)
    return member._replace(
        zone=cohort.zone,
        locale=cohort.locale,
        message=f"{cohort.kind}17".replace("-", "").encode(),
        tokens=(TOKEN.encode(),) * len(purposes_of(cohort.kind, cohort.words)),
        invited=b"" if first else b"invitation17",
        uid=b"a" * 26 if calendar else b"",
    )


def links(cohort: Cohort, community: Community = COMMUNITY) -> dict[str, str]:
    """The links of `personal`, by the words of the templates."""
    key = cohort.occurrence.key if cohort.occurrence else ""
    return {
        word: f"{link.before}{TOKEN}{link.after}"
        for word, link in links_of(cohort.kind, community, occurrence=key).items()
    }


def message(cohort: Cohort, member: RecipientValues = MEI) -> bytes:
    """The whole mail of the cohort to the member."""
    return composer().compose(cohort).message(personal(cohort, member), date=DATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A mail as its reader's program takes it apart. `calendar` is the event in its calendar part."""

    subject: str
    text: str
    html: str
    whole: EmailMessage
    calendar: Event | None


def received(content: bytes) -> Received:
    """Read a mail with the standard library's parser and the calendar library's."""
    whole = message_from_bytes(content, policy=policy.default)
    assert isinstance(whole, EmailMessage)
    parts = {part.get_content_type(): part for part in whole.walk() if not part.is_multipart()}
    events = []
    if "text/calendar" in parts:
        calendar = parts["text/calendar"].get_payload(decode=True)
        assert isinstance(calendar, bytes)
        events = Calendar.from_ical(calendar).events
    return Received(
        subject=whole["Subject"],
        text=parts["text/plain"].get_content().replace("\r\n", "\n"),
        html=parts["text/html"].get_content().replace("\r\n", "\n"),
        whole=whole,
        calendar=events[0] if events else None,
    )
