"""The tables and their invariants: what must be true is a constraint here, not an `if` elsewhere."""

from datetime import UTC, datetime, timedelta
from operator import eq, ne
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    literal_column,
    text,
    true,
)
from sqlalchemy.sql.operators import OperatorType

from scheduler.domain.meeting_record import MaterialKind
from scheduler.domain.occurrence import ANSWERS
from scheduler.domain.policy import MEETING, PERSONAL, PLANNED, TO_CONVENORS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(TypeDecorator[datetime]):
    """An aware datetime, stored as microseconds since 1970-01-01 UTC: it sorts the same in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone cannot be stored; give it one")
        return (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class State(String):
    """One of a few words, written into the SQL as a constant when it is compared with one.

    With a parameter, SQLite cannot know in advance whether it may use a partial index, and plans the whole statement
    again each time it runs.
    """

    class comparator_factory(String.Comparator[str]):  # noqa: N801 - SQLAlchemy expects this name
        def operate(self, op: OperatorType, *other: Any, **options: Any) -> ColumnElement[Any]:
            if op in (eq, ne) and isinstance(other[0], str) and other[0].isalpha():
                other = (literal_column(f"'{other[0]}'"),)
            return super().operate(op, *other, **options)


# SQLite numbers rows automatically only in a column of type INTEGER.
Number = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


_PLANNED_KINDS = tuple(kind.value for kind in PLANNED)
_MEETING_KINDS = tuple(kind.value for kind in MEETING)
_PERSONAL_KINDS = tuple(kind.value for kind in PERSONAL)
_CONVENORS_KINDS = tuple(kind.value for kind in TO_CONVENORS)


_FINAL_STATES = ("sent", "failed", "expired", "withdrawn", "skipped")
STATES = ("queued", "sending", *_FINAL_STATES)
"""All states of a delivery."""


def _where(condition: str) -> Any:
    """Return the arguments that make an index partial, for either database."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


def _sql_list(*values: str) -> str:
    return ", ".join(repr(value) for value in values)


def _one_of(column: str, *values: str) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({_sql_list(*values)})", name=f"{column}_known")


facts = Table(
    "facts",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", JSON, nullable=False),
    comment="The service's own state by name: its last tick, a pause of sending, …",
)

counters = Table(
    "counters",
    metadata,
    Column("name", String(20), primary_key=True),
    Column("value", BigInteger, nullable=False),
    comment="`change` counts changes by people, so that a running service notices them; `chunk` numbers chunks",
)

series = Table(
    "series",
    metadata,
    Column("slug", String(40), primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("adopted_at", Instant, nullable=False),
    Column("derived_until", Instant, nullable=False),
)

policies = Table(
    "policies",
    metadata,
    Column("series", ForeignKey("series.slug", ondelete="CASCADE"), primary_key=True),
    Column("slug", String(40), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("definition", Text, nullable=False),
    Column("adopted_at", Instant, nullable=False),
    Column(
        "first",
        Boolean,
        nullable=False,
        comment="the first of its kind in the series: it may invite to the next occurrence immediately",
    ),
)

occurrences = Table(
    "occurrences",
    metadata,
    Column("key", String(60), primary_key=True),
    Column("series", ForeignKey("series.slug"), nullable=False),
    Column("date", String(10), nullable=False),
    Column("zone", String(60), nullable=False),
    Column("wall", String(16), nullable=False, comment="original start in the home zone"),
    Column("moved_to", String(16), comment="start in the home zone, if a convenor moved it"),
    Column("minutes", Integer, nullable=False),
    Column("original", Instant, nullable=False),
    Column("starts", Instant, nullable=False),
    Column("ends", Instant, nullable=False),
    Column("cancelled", Boolean, nullable=False, server_default=false()),
    Column("extra", Boolean, nullable=False, server_default=false()),
    Column(
        "added_when_over",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="an extra that was added for the archive: nobody is mailed about it",
    ),
    Column("orphaned", Boolean, nullable=False, server_default=false()),
    Column("topic", Text, nullable=False, server_default=""),
    Column(
        "speakers", Text, nullable=False, server_default="", comment="those of meeting_speakers, in one line"
    ),
    Column("description", Text, nullable=False, server_default=""),
    Column("link", Text, nullable=False, server_default=""),
    Column("materials", Text, nullable=False, server_default="", comment="meeting_materials, one a line"),
    Column("revision", Integer, nullable=False, server_default="0"),
    Column("sequence", Integer, nullable=False, server_default="0"),
    Column("reinstated", Integer, nullable=False, server_default="0"),
    Column("changed_at", Instant, nullable=False),
    CheckConstraint("ends > starts", name="ends_after_start"),
    CheckConstraint("sequence <= revision", name="sequence_within_revision"),
    Index(None, "series", "starts"),
    Index(None, "series", "date"),
    Index(None, "ends"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("occurrence", ForeignKey("occurrences.key", ondelete="CASCADE"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("starts", Instant, nullable=False),
    Column("cancelled", Boolean, nullable=False),
    Column("state", JSON, nullable=False, comment="the whole occurrence at this revision"),
)

speakers = Table(
    "speakers",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("slug", String(40), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column(
        "name_key", Text, nullable=False, unique=True, comment="the name without case, accents and spaces"
    ),
    Column("role", Text, nullable=False, server_default=""),
    Column("organisation", Text, nullable=False, server_default=""),
    Column("link", Text, nullable=False, server_default=""),
    sqlite_autoincrement=True,
    comment="People who led or spoke at meetings; deleted with the last meeting that names them",
)

meeting_speakers = Table(
    "meeting_speakers",
    metadata,
    Column("occurrence", ForeignKey("occurrences.key", ondelete="CASCADE"), primary_key=True),
    Column("speaker", ForeignKey("speakers.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, nullable=False),
    Index(None, "speaker"),
    sqlite_with_rowid=False,
)

meeting_materials = Table(
    "meeting_materials",
    metadata,
    Column("occurrence", ForeignKey("occurrences.key", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("kind", String(10), nullable=False),
    Column("title", Text, nullable=False, server_default=""),
    Column("link", Text, nullable=False, server_default=""),
    _one_of("kind", *(kind.value for kind in MaterialKind)),
    CheckConstraint("title <> '' OR link <> ''", name="has_title_or_link"),
    sqlite_with_rowid=False,
)

themes = Table(
    "themes",
    metadata,
    Column("slug", String(40), primary_key=True),
    Column("name", Text, nullable=False),
    Column(
        "name_key", Text, nullable=False, unique=True, comment="the name without case, accents and spaces"
    ),
    Column("words", Text, nullable=False, server_default="", comment="a paragraph about it, in Markdown"),
)

meeting_themes = Table(
    "meeting_themes",
    metadata,
    Column("occurrence", ForeignKey("occurrences.key", ondelete="CASCADE"), primary_key=True),
    Column("theme", ForeignKey("themes.slug", ondelete="CASCADE", onupdate="CASCADE"), primary_key=True),
    Index(None, "theme"),
    sqlite_with_rowid=False,
)

meeting_records = Table(
    "meeting_records",
    metadata,
    Column("occurrence", ForeignKey("occurrences.key", ondelete="CASCADE"), primary_key=True),
    Column("summary", Text, nullable=False, server_default="", comment="Markdown"),
    Column("insights", Text, nullable=False, server_default="", comment="Markdown"),
    Column(
        "month_only",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="the day is not known: pages name the month",
    ),
    Column("revision", Integer, nullable=False, server_default="0"),
    comment="What is recorded about a meeting, beside its details in calendars",
)

archive_entries = Table(
    "archive_entries",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("occurrence", ForeignKey("occurrences.key", ondelete="CASCADE"), nullable=False, unique=True),
    Column("series", String(40), nullable=False),
    Column("starts", Instant, nullable=False),
    Column("ends", Instant, nullable=False),
    Column("year", Integer, nullable=False, comment="of the home date"),
    Column("month_only", Boolean, nullable=False, server_default=false()),
    Column("changed_at", Instant, nullable=False),
    Column("excerpt", Text, nullable=False, comment="summary and insights as plain text"),
    # The texts to search: words without case and accents, separated by spaces. Triggers copy them into the table
    # archive_search on SQLite; on PostgreSQL the generated column `vector` holds them.
    Column("topic", Text, nullable=False),
    Column("names", Text, nullable=False, comment="of speakers and themes"),
    Column("titles", Text, nullable=False, comment="of materials"),
    Column("words", Text, nullable=False, comment="of summary, insights and description"),
    # The years are read from these two indexes alone.
    Index(None, "year", "starts", "ends"),
    Index(None, "series", "year", "starts", "ends"),
    Index(None, "starts"),
    sqlite_autoincrement=True,
    comment="The meetings in the archive: those that are not cancelled and have anything recorded",
)

archive_words = Table(
    "archive_words",
    metadata,
    Column("word", String(60), primary_key=True),
    Column("entries", Integer, nullable=False, comment="how many entries have it"),
    sqlite_with_rowid=False,
    comment="The words of the archive, to find those that somebody mistyped",
)

archive_misspellings = Table(
    "archive_misspellings",
    metadata,
    Column("form", String(60), primary_key=True, comment="the word, or the word without one letter"),
    Column("word", ForeignKey("archive_words.word", ondelete="CASCADE"), primary_key=True),
    Index(None, "word"),
    sqlite_with_rowid=False,
)

members = Table(
    "members",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("address", Text, nullable=False),
    Column("address_key", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column(
        "name_key",
        Text,
        nullable=False,
        server_default="",
        comment="the name without case, accents and punctuation",
    ),
    Column(
        "search_key",
        Text,
        nullable=False,
        server_default="",
        comment="name_key and address_key, with a tab between them",
    ),
    Column(
        "mailbox_key",
        Text,
        comment="the key of the plainest address of the same mailbox; null if that is their own",
    ),
    Column("country", String(6)),
    Column("zone", String(60), nullable=False),
    Column("zone_source", String(10), nullable=False),
    Column("locale", String(40), nullable=False),
    Column("status", String(10), nullable=False),
    Column("role", String(10), comment="convenor or helper; null for other members"),
    Column("created_at", Instant, nullable=False),
    Column("active_since", Instant, comment="active without a break since then; null while not active"),
    Column("paused_until", Instant),
    Column(
        "uninvited_at", Instant, comment="they are not sent the invitations that were open at this instant"
    ),
    Column(
        "generation",
        Integer,
        nullable=False,
        server_default="0",
        comment="of their links; raised to revoke all earlier ones",
    ),
    Column("feed_generation", Integer, nullable=False, server_default="0"),
    Column(
        "feed_alarm_minutes",
        Integer,
        comment="minutes before each start in their own feed; null for no alarm",
    ),
    Column(
        "feed_answers",
        Boolean,
        nullable=False,
        server_default=true(),
        comment="their own feed shows their answers",
    ),
    Column("feed_changed_at", Instant, comment="when they last changed or ended their own feed"),
    Column(
        "invitation_by",
        String(10),
        nullable=False,
        server_default="mail",
        comment="feed: no invitation is mailed, because the meeting is in their calendar already",
    ),
    Column("suppressed_at", Instant, comment="since when nothing is mailed, because the address bounces"),
    Column("suppressed_for", String(100), comment="the words of the last bounce"),
    Column("changed", BigInteger, nullable=False, comment="the counter `change` at their last change"),
    _one_of("status", "pending", "active", "paused", "left"),
    _one_of("zone_source", "given", "assumed", "confirmed"),
    _one_of("role", "convenor", "helper"),
    _one_of("invitation_by", "mail", "feed"),
    CheckConstraint("feed_alarm_minutes >= 0", name="feed_alarm_before"),
    CheckConstraint("(status = 'active') = (active_since IS NOT NULL)", name="active_has_since"),
    Index(None, "zone", "id"),
    Index(None, "zone", "status", "invitation_by"),
    Index(None, "changed"),
    Index(None, "locale"),
    # A search reads all of this index, and nothing else.
    Index(
        "ix_members_search",
        "search_key",
        "status",
        "country",
        "zone",
        "role",
        "suppressed_at",
    ),
    Index("ix_members_namesakes", "name_key", "status", "country", "zone"),
    Index("ix_members_mailbox_key", "mailbox_key", **_where("mailbox_key IS NOT NULL")),
    Index("ix_members_with_role", "role", **_where("role IS NOT NULL")),
    Index("ix_members_pausing", "paused_until", **_where("paused_until IS NOT NULL")),
    Index("ix_members_suppressed", "suppressed_at", **_where("suppressed_at IS NOT NULL")),
    sqlite_autoincrement=True,
)

different_people = Table(
    "different_people",
    metadata,
    Column("member", ForeignKey("members.id", ondelete="CASCADE"), primary_key=True),
    Column("other", ForeignKey("members.id", ondelete="CASCADE"), primary_key=True),
    CheckConstraint("member < other", name="lower_first"),
    Index(None, "other"),
    comment="Pairs of members who look like one person, and are two",
)

erasures = Table(
    "erasures",
    metadata,
    Column("address_hash", String(64), primary_key=True),
    Column("erased_at", Instant, nullable=False),
    comment="Keyed hashes of the addresses of erased people, so that no import adds them again",
)

answers = Table(
    "answers",
    metadata,
    Column("occurrence", ForeignKey("occurrences.key", ondelete="CASCADE"), primary_key=True),
    Column("member", ForeignKey("members.id", ondelete="CASCADE"), primary_key=True),
    Column("answer", String(10), nullable=False),
    Column("answered_at", Instant, nullable=False),
    Column("sequence", Integer, comment="the SEQUENCE of the last answer by a calendar program"),
    Column(
        "stamped_at",
        Instant,
        comment="the DTSTAMP of an answer by a calendar program; null for one on our pages",
    ),
    _one_of("answer", *sorted(ANSWERS)),
    Index(None, "member"),
)

follows = Table(
    "follows",
    metadata,
    Column("member", ForeignKey("members.id", ondelete="CASCADE"), primary_key=True),
    # The settings may name a series that no occurrence has been stored of yet.
    Column("series", String(40), primary_key=True),
    Column("follows", Boolean, nullable=False),
    Column("since", Instant, comment="when they chose this; null if it changed nothing"),
    Index(None, "series", "follows", "member"),
    sqlite_with_rowid=False,
    comment="The members' explicit choices; without a row the default of the series counts",
)

mutes = Table(
    "mutes",
    metadata,
    Column("member", ForeignKey("members.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column(
        "policy",
        String(40),
        primary_key=True,
        server_default="",
        comment="which reminder; empty for other kinds",
    ),
    CheckConstraint("(kind = 'reminder') = (policy <> '')", name="reminder_has_policy"),
    comment="The kinds of notice that a member does not want to be mailed",
)

requests = Table(
    "requests",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("member", ForeignKey("members.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("country", String(6), nullable=False),
    Column("zone", String(60), nullable=False),
    Column("locale", String(40), nullable=False),
    Column("words", Text, nullable=False, server_default="", comment="why they want to join"),
    Column(
        "follows",
        JSON(none_as_null=True),
        comment="the choice of series by slug; null if they were not asked",
    ),
    Column("state", State(12), nullable=False),
    Column("asked_at", Instant, nullable=False, comment="when they agreed to the storage of their data"),
    Column("confirmed_at", Instant),
    Column("taken_by", ForeignKey("members.id", ondelete="SET NULL"), comment="the convenor, if known"),
    Column("taken_at", Instant),
    Column("answered_at", Instant),
    Column(
        "message", Text, nullable=False, server_default="", comment="the convenor's message to the person"
    ),
    _one_of("state", "unconfirmed", "waiting", "taken", "accepted", "declined"),
    CheckConstraint("(state = 'unconfirmed') = (confirmed_at IS NULL)", name="confirmed_has_instant"),
    CheckConstraint(
        "(state IN ('accepted', 'declined')) = (answered_at IS NOT NULL)", name="answered_has_instant"
    ),
    Index(None, "member"),
    Index(None, "state", "confirmed_at"),
    Index(
        "uq_requests_open", "member", unique=True, **_where("state IN ('unconfirmed', 'waiting', 'taken')")
    ),
    sqlite_autoincrement=True,
    comment="Requests to join and their answers; at most one of each person is open",
)

asks = Table(
    "asks",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("what", String(10), nullable=False),
    Column("said", JSON, nullable=False, comment="all fields in order, as they were typed"),
    Column("asked_at", Instant, nullable=False),
    _one_of("what", "join", "link", "contact"),
    sqlite_autoincrement=True,
    comment="Submitted forms that were answered but not processed yet",
)

form_counts = Table(
    "form_counts",
    metadata,
    Column("hour", Instant, primary_key=True),
    Column(
        "visitor",
        String(26),
        primary_key=True,
        comment="a keyed hash of the network; empty for all visitors together",
    ),
    Column("count", Integer, nullable=False),
    comment="How many mails forms have caused in the current hour; earlier hours are deleted",
)

returns = Table(
    "returns",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column(
        "digest",
        String(64),
        nullable=False,
        unique=True,
        comment="of the message, so that it is counted once",
    ),
    Column("kind", String(10), nullable=False),
    Column(
        "member", ForeignKey("members.id", ondelete="CASCADE"), comment="the member it is about, if known"
    ),
    Column("came_at", Instant, nullable=False),
    Column("words", Text, nullable=False, comment="what it says, or why a convenor has to review it"),
    Column("content", LargeBinary, comment="the message, if a convenor has to review it"),
    _one_of("kind", "hard", "soft", "policy", "complaint", "review"),
    CheckConstraint("(kind = 'review') = (content IS NOT NULL)", name="review_has_content"),
    CheckConstraint("kind = 'review' OR member IS NOT NULL", name="known_has_member"),
    Index(None, "member"),
    Index(None, "kind", "came_at"),
    sqlite_autoincrement=True,
    comment="Returned mail: bounces, complaints, and messages that a convenor has to review",
)

receipts = Table(
    "receipts",
    metadata,
    Column("digest", String(64), primary_key=True, comment="of the message"),
    Column(
        "place",
        String(80),
        unique=True,
        comment="where it was in a mailbox: a keyed hash of the folder, UIDVALIDITY and UID",
    ),
    Column("kept", Boolean, nullable=False, comment="whether a convenor has to read it"),
    Column(
        "writer",
        String(26),
        comment="a keyed hash of the writer's address, if it goes on to the convenors",
    ),
    Column("came_at", Instant, nullable=False),
    Index(None, "came_at"),
    Index("ix_receipts_writer", "writer", "came_at", **_where("writer IS NOT NULL")),
    comment="Messages that were dealt with: each has its effect in the transaction that inserts it here",
)

forwards = Table(
    "forwards",
    metadata,
    Column("message", ForeignKey("returns.id", ondelete="CASCADE"), primary_key=True),
    Column("state", State(10), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_try", Instant, nullable=False),
    Column("gives_up", Instant, nullable=False, comment="when it is too late to try again"),
    Column("reason", Text, nullable=False, server_default="", comment="why the last try failed"),
    _one_of("state", "queued", "sent", "failed"),
    Index("ix_forwards_queued", "next_try", **_where("state = 'queued'")),
    comment="Letters that go on to the convenors' address; the message itself is among the returns",
)

notices = Table(
    "notices",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("identity", String(200), nullable=False, unique=True),
    Column("kind", String(20), nullable=False),
    Column("policy", String(40)),
    Column("occurrence", ForeignKey("occurrences.key", ondelete="CASCADE")),
    Column("starts", Instant, comment="the start that it announces"),
    Column("before_revision", Integer, comment="the revision that members were last told, for a change"),
    Column("subject", Text, nullable=False, server_default=""),
    Column("body", Text, nullable=False, server_default=""),
    Column("audience", Text, nullable=False, server_default="all"),
    Column(
        "member",
        ForeignKey("members.id", ondelete="CASCADE"),
        comment="the recipient of a service mail, or of a mail that is sent again",
    ),
    Column("address", Text, comment="the recipient, if not the member's own address"),
    Column("at", String(40), comment="local:… for a time in each member's own zone"),
    Column("created_at", Instant, nullable=False),
    Column("expires", Instant, nullable=False),
    Column(
        "frozen",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="its deliveries were created when it was sent; no member is added later",
    ),
    Column(
        "ready",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="false while its deliveries are being created: nothing is sent yet",
    ),
    Column("stopped_at", Instant),
    Column("held_at", Instant, comment="since when a convenor holds it: nothing of it is sent meanwhile"),
    Column("unwanted", String(20), comment="why the plan no longer includes it: cancelled, moved, policy, …"),
    Column("closed_at", Instant, comment="when nothing was left to do for it"),
    Column("archived_at", Instant, comment="when its last delivery was moved to past_deliveries"),
    Column(
        "tally",
        JSON(none_as_null=True),
        comment="the counts of its deliveries by state when it was closed",
    ),
    Column(
        "details",
        JSON(none_as_null=True),
        comment="what a mail to convenors says, as it was when the mail was planned",
    ),
    Column(
        "mentions",
        String(60),
        comment="the meeting whose time, topic and links its placeholders show",
    ),
    Column("again", BigInteger, comment="the number of the notice that a convenor sent again to the member"),
    _one_of("kind", *_MEETING_KINDS, "notice", *_CONVENORS_KINDS, *_PERSONAL_KINDS),
    CheckConstraint(
        f"(kind IN ({_sql_list(*_CONVENORS_KINDS)})) = (details IS NOT NULL)",
        name="to_convenors_has_details",
    ),
    CheckConstraint(
        f"(kind IN ({_sql_list(*_MEETING_KINDS)})) = (occurrence IS NOT NULL)", name="meeting_has_occurrence"
    ),
    CheckConstraint(
        f"(kind IN ({_sql_list(*_PERSONAL_KINDS)}) OR again IS NOT NULL) = (member IS NOT NULL)",
        name="personal_has_member",
    ),
    CheckConstraint("address IS NULL OR member IS NOT NULL", name="address_of_member"),
    CheckConstraint("(occurrence IS NULL) = (starts IS NULL)", name="occurrence_has_start"),
    CheckConstraint(
        f"(kind IN ({_sql_list(*_PLANNED_KINDS)})) = (policy IS NOT NULL)", name="planned_has_policy"
    ),
    Index(None, "occurrence"),
    Index(None, "closed_at"),
    Index("ix_notices_mentions", "mentions", **_where("mentions IS NOT NULL")),
    Index("ix_notices_again", "again", **_where("again IS NOT NULL")),
    Index("ix_notices_over", "expires", **_where("closed_at IS NOT NULL AND archived_at IS NULL")),
    Index(None, "member", "kind", "created_at"),
    sqlite_autoincrement=True,
)

dues = Table(
    "dues",
    metadata,
    Column("notice", ForeignKey("notices.id", ondelete="CASCADE"), primary_key=True),
    Column("zone", String(60), primary_key=True, comment="* if all zones have the same instant"),
    Column("due", Instant, nullable=False),
    Column("fanned_at", Instant, comment="when its deliveries were created"),
    Index(None, "due"),
)

told = Table(
    "told",
    metadata,
    Column("occurrence", ForeignKey("occurrences.key", ondelete="CASCADE"), primary_key=True),
    Column("zone", String(60), primary_key=True),
    Column("starts", Instant, primary_key=True, comment="the start at that time"),
    Column("local_start", String(16), primary_key=True, comment="the local start that mails showed"),
    Column("until", Instant, comment="when new zone data changed the local start"),
    Index("ix_told_outdated", "occurrence", **_where("until IS NOT NULL")),
    comment="The local starts that mails showed, to find the members to correct after new zone data",
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("notice", ForeignKey("notices.id", ondelete="CASCADE"), nullable=False),
    Column("member", ForeignKey("members.id", ondelete="CASCADE"), nullable=False),
    Column("zone", String(60), nullable=False),
    Column("locale", String(40), nullable=False),
    Column("chunk", BigInteger, nullable=False),
    Column("state", State(10), nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("due", Instant, nullable=False),
    Column("next_try", Instant, nullable=False),
    Column("run", String(32), comment="the run that is sending it"),
    Column(
        "uncertain",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="a try ended without a reply: it may have arrived",
    ),
    Column("revision", Integer, comment="the occurrence's revision that it was last composed from"),
    Column(
        "introduces",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="its text, as last composed, introduces itself as our first mail",
    ),
    Column(
        "assumed",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="its text, as last composed, asks whether the assumed time zone is right",
    ),
    Column(
        "rendering",
        BigInteger,
        comment="its rendering; null if it is the first with its revision, zone, locale, introduces and assumed",
    ),
    Column("tried_at", Instant),
    Column("sent_at", Instant),
    UniqueConstraint("notice", "member"),
    _one_of("state", *STATES),
    CheckConstraint("(state = 'sending') = (run IS NOT NULL)", name="sending_has_run"),
    CheckConstraint("(state = 'sent') = (sent_at IS NOT NULL)", name="sent_has_instant"),
    CheckConstraint(
        "(state IN ('failed', 'expired', 'withdrawn', 'skipped')) <= (reason <> '')", name="ended_has_reason"
    ),
    Index(None, "member"),
    Index("ix_deliveries_waiting", "chunk", "next_try", **_where("state = 'queued'")),
    Index("ix_deliveries_sending", "run", **_where("state = 'sending'")),
    Index("ix_deliveries_uncertain", "notice", **_where("state = 'sent' AND reason = 'uncertain'")),
    Index(None, "notice", "state", "zone", "next_try"),
    sqlite_autoincrement=True,
)

notice_revisions = Table(
    "notice_revisions",
    metadata,
    Column("notice", ForeignKey("notices.id", ondelete="CASCADE"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    sqlite_with_rowid=False,
    comment="The revisions of its meeting that mails of a notice were about",
)

renderings = Table(
    "renderings",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("notice", ForeignKey("notices.id", ondelete="CASCADE"), nullable=False),
    Column("zone", String(60), nullable=False),
    Column("locale", String(40), nullable=False),
    Column("revision", Integer, nullable=False, comment="the occurrence's revision; -1 without one"),
    Column("introduces", Boolean, nullable=False),
    Column("assumed", Boolean, nullable=False),
    Column(
        "variant",
        String(64),
        nullable=False,
        comment="empty for the first rendering of these; a hash of the content for others",
    ),
    Column("content", LargeBinary, nullable=False, comment="the message, compressed, with marks for names"),
    UniqueConstraint(
        "notice",
        "zone",
        "locale",
        "revision",
        "introduces",
        "assumed",
        "variant",
        name="uq_renderings_wording",
    ),
    sqlite_autoincrement=True,
    comment="The messages of cohorts as they were sent, without anything of a member's own",
)

past_deliveries = Table(
    "past_deliveries",
    metadata,
    Column("notice", ForeignKey("notices.id", ondelete="CASCADE"), primary_key=True),
    Column("member", ForeignKey("members.id", ondelete="CASCADE"), primary_key=True),
    Column("state", State(10), nullable=False),
    Column("reason", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due", Instant, nullable=False),
    Column("uncertain", Boolean, nullable=False),
    Column("revision", Integer),
    Column("sent_at", Instant),
    Column("rendering", BigInteger, comment="its rendering, if one was kept"),
    _one_of("state", *_FINAL_STATES),
    Index(None, "member"),
    Index("ix_past_deliveries_uncertain", "notice", **_where("state = 'sent' AND reason = 'uncertain'")),
    sqlite_with_rowid=False,
    comment="The archive: finished deliveries",
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("channel", String(20), nullable=False),
    Column("actor", ForeignKey("members.id", ondelete="SET NULL"), comment="the member who did it, if known"),
    Column("actor_name", Text, nullable=False),
    Column("act", String(40), nullable=False),
    Column(
        "subject",
        Text,
        nullable=False,
        server_default="",
        comment="an occurrence's key, a notice's number, …",
    ),
    Column("about", ForeignKey("members.id", ondelete="SET NULL"), comment="the member it was done to"),
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
    _one_of("channel", "console", "command line", "service"),
    Index(None, "at"),
    Index(None, "actor", "id"),
    Index(None, "act", "id"),
    Index(None, "subject", "id"),
    Index(None, "about"),
    sqlite_autoincrement=True,
    comment="The audit log: who did what, when, from what to what; never the text of a mail",
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("member", ForeignKey("members.id", ondelete="CASCADE"), nullable=False),
    Column("secret_hash", String(64), nullable=False, unique=True, comment="of the cookie's value"),
    Column(
        "sign_in_hash",
        String(64),
        nullable=False,
        unique=True,
        comment="of the mailed link or the passkey's challenge that it began with, so that each works once",
    ),
    Column("generation", Integer, nullable=False, comment="of the member's links when it began"),
    Column("browser", String(60), nullable=False, comment="such as Firefox on Android"),
    Column("created_at", Instant, nullable=False),
    Column("used_at", Instant, nullable=False, comment="to within a few minutes"),
    Column("ended_at", Instant),
    Index(None, "member", "created_at"),
    Index(None, "used_at"),
    sqlite_autoincrement=True,
    comment="Convenors and helpers who are signed in to the console, and those who were until lately",
)

passkeys = Table(
    "passkeys",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("member", ForeignKey("members.id", ondelete="CASCADE"), nullable=False),
    Column("credential", LargeBinary, nullable=False, unique=True, comment="the ID of the credential"),
    Column("key_data", LargeBinary, nullable=False, comment="its attested data, with the public key"),
    Column("name", String(60), nullable=False, comment="the browser that it was made with"),
    Column("created_at", Instant, nullable=False),
    Column("used_at", Instant),
    Index(None, "member"),
    sqlite_autoincrement=True,
    comment="Passkeys with which convenors and helpers sign in (Web Authentication)",
)

drafts = Table(
    "drafts",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False, comment="Markdown"),
    Column("audience", Text, nullable=False, comment="the terms, as the command line takes them"),
    Column("at", String(40), nullable=False, comment="ISO 8601, or local:…; empty for as soon as it is sent"),
    Column("author", ForeignKey("members.id", ondelete="SET NULL")),
    Column("changed_at", Instant, nullable=False),
    Column("revision", Integer, nullable=False, server_default="0"),
    Column("notice", ForeignKey("notices.id", ondelete="CASCADE"), comment="what it was sent as"),
    Column(
        "meeting",
        String(60),
        nullable=False,
        server_default="",
        comment="the meeting that its placeholders are about; empty for the next one",
    ),
    Index(None, "notice"),
    sqlite_autoincrement=True,
    comment="Notices that convenors are writing",
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("author", ForeignKey("members.id", ondelete="CASCADE"), nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Index(None, "author"),
    sqlite_autoincrement=True,
    comment="Tables that convenors want to import, until they have seen what that would do",
)

about_versions = Table(
    "about_versions",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("body", Text, nullable=False, comment="Markdown"),
    Column("author", ForeignKey("members.id", ondelete="SET NULL"), comment="the member, if known"),
    Column("author_name", Text, nullable=False),
    Column("saved_at", Instant, nullable=False),
    Index(None, "author"),
    sqlite_autoincrement=True,
    comment="The page about the community, as it was each time it was saved; the newest is shown",
)

profiles = Table(
    "profiles",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("member", ForeignKey("members.id", ondelete="CASCADE"), nullable=False),
    Column("kind", State(10), nullable=False, comment="convenor, or wall for any other member"),
    Column("state", State(10), nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False, comment="what they do, in their own words"),
    Column("organisation", Text, nullable=False, server_default=""),
    Column("country", String(6)),
    Column("photo", String(32), unique=True, comment="the name of their photo in its address; null for none"),
    Column("photo_format", String(5), comment="the better format of their photo; the other is JPEG"),
    Column("revision", Integer, nullable=False, server_default="0"),
    Column("changed_at", Instant, nullable=False),
    Column("released_at", Instant),
    Column("refusal", Text, nullable=False, server_default="", comment="what a convenor said to the member"),
    UniqueConstraint("member", "kind"),
    _one_of("kind", "convenor", "wall"),
    _one_of("state", "draft", "waiting", "released", "refused"),
    CheckConstraint("(state = 'released') = (released_at IS NOT NULL)", name="released_has_instant"),
    CheckConstraint("state = 'refused' OR refusal = ''", name="only_refused_has_words"),
    CheckConstraint("(photo IS NULL) = (photo_format IS NULL)", name="photo_has_format"),
    Index(None, "kind", "state", "released_at"),
    Index(None, "state", "changed_at"),
    sqlite_autoincrement=True,
    comment="What members and convenors want to show of themselves on the page of people",
)

photos = Table(
    "photos",
    metadata,
    Column("member", ForeignKey("members.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", State(10), primary_key=True),
    Column("size", Integer, primary_key=True, comment="pixels on each side"),
    Column("format", String(5), primary_key=True),
    Column("content", LargeBinary, nullable=False),
    ForeignKeyConstraint(
        ["member", "kind"], ["profiles.member", "profiles.kind"], name="fk_photos_profile", ondelete="CASCADE"
    ),
    comment="The photos of profiles, as they are served; what was sent to us is not kept",
)

contact_messages = Table(
    "contact_messages",
    metadata,
    Column("notice", ForeignKey("notices.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("address_key", Text, nullable=False),
    Column("words", Text, nullable=False),
    Column("came_at", Instant, nullable=False),
    Index(None, "address_key"),
    Index(None, "came_at"),
    comment="Messages to the convenors from the contact form, until they have certainly been mailed",
)
