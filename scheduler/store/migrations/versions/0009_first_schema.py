"""The whole schema as the first users have it; it replaces nine migrations of the unreleased product."""

import sqlalchemy as sa
from alembic import op

from scheduler.store.ledger.jobs import install

revision = "0009"
down_revision = None
branch_labels = None
depends_on = None

# SQLite numbers rows automatically only in a column of type INTEGER.
_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "asks",
        sa.Column("id", _number, autoincrement=True, nullable=False),
        sa.Column("what", sa.String(length=10), nullable=False),
        sa.Column("said", sa.JSON(), nullable=False, comment="all fields in order, as they were typed"),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("what IN ('join', 'link')", name=op.f("ck_asks_what_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_asks")),
        comment="Submitted forms that were answered but not processed yet",
        sqlite_autoincrement=True,
    )

    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
        comment="`change` counts changes by people, so that a running service notices them; `chunk` numbers chunks",
    )

    op.create_table(
        "erasures",
        sa.Column("address_hash", sa.String(length=64), nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("address_hash", name=op.f("pk_erasures")),
        comment="Keyed hashes of the addresses of erased people, so that no import adds them again",
    )

    op.create_table(
        "facts",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_facts")),
        comment="The service's own state by name: its last tick, a pause of sending, …",
    )

    op.create_table(
        "members",
        sa.Column("id", _number, autoincrement=True, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("address_key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("country", sa.String(length=6), nullable=True),
        sa.Column("zone", sa.String(length=60), nullable=False),
        sa.Column("zone_source", sa.String(length=10), nullable=False),
        sa.Column("locale", sa.String(length=40), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("convenor", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "active_since",
            sa.BigInteger(),
            nullable=True,
            comment="active without a break since then; null while not active",
        ),
        sa.Column("paused_until", sa.BigInteger(), nullable=True),
        sa.Column(
            "uninvited_at",
            sa.BigInteger(),
            nullable=True,
            comment="they are not sent the invitations that were open at this instant",
        ),
        sa.Column(
            "generation",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="of their links; raised to revoke all earlier ones",
        ),
        sa.Column("feed_generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "feed_alarm_minutes",
            sa.Integer(),
            nullable=True,
            comment="minutes before each start in their own feed; null for no alarm",
        ),
        sa.Column(
            "feed_answers",
            sa.Boolean(),
            server_default=sa.true(),
            nullable=False,
            comment="their own feed shows their answers",
        ),
        sa.Column(
            "feed_changed_at",
            sa.BigInteger(),
            nullable=True,
            comment="when they last changed or ended their own feed",
        ),
        sa.Column(
            "invitation_by",
            sa.String(length=10),
            server_default="mail",
            nullable=False,
            comment="feed: no invitation is mailed, because the meeting is in their calendar already",
        ),
        sa.Column(
            "suppressed_at",
            sa.BigInteger(),
            nullable=True,
            comment="since when nothing is mailed, because the address bounces",
        ),
        sa.Column(
            "suppressed_for", sa.String(length=100), nullable=True, comment="the words of the last bounce"
        ),
        sa.Column(
            "changed", sa.BigInteger(), nullable=False, comment="the counter `change` at their last change"
        ),
        sa.CheckConstraint(
            "(status = 'active') = (active_since IS NOT NULL)", name=op.f("ck_members_active_has_since")
        ),
        sa.CheckConstraint("invitation_by IN ('mail', 'feed')", name=op.f("ck_members_invitation_by_known")),
        sa.CheckConstraint(
            "status IN ('pending', 'active', 'paused', 'left')", name=op.f("ck_members_status_known")
        ),
        sa.CheckConstraint(
            "zone_source IN ('given', 'assumed', 'confirmed')", name=op.f("ck_members_zone_source_known")
        ),
        sa.CheckConstraint("feed_alarm_minutes >= 0", name=op.f("ck_members_feed_alarm_before")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_members")),
        sa.UniqueConstraint("address_key", name=op.f("uq_members_address_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_members_changed"), "members", ["changed"], unique=False)
    op.create_index(
        "ix_members_pausing",
        "members",
        ["paused_until"],
        unique=False,
        sqlite_where=sa.text("paused_until IS NOT NULL"),
        postgresql_where=sa.text("paused_until IS NOT NULL"),
    )
    op.create_index(
        "ix_members_suppressed",
        "members",
        ["suppressed_at"],
        unique=False,
        sqlite_where=sa.text("suppressed_at IS NOT NULL"),
        postgresql_where=sa.text("suppressed_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_members_zone_id"), "members", ["zone", "id"], unique=False)
    op.create_index(
        op.f("ix_members_zone_status_invitation_by"),
        "members",
        ["zone", "status", "invitation_by"],
        unique=False,
    )

    op.create_table(
        "series",
        sa.Column("slug", sa.String(length=40), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("adopted_at", sa.BigInteger(), nullable=False),
        sa.Column("derived_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("slug", name=op.f("pk_series")),
    )

    op.create_table(
        "mutes",
        sa.Column("member", _number, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column(
            "policy",
            sa.String(length=40),
            server_default="",
            nullable=False,
            comment="which reminder; empty for other kinds",
        ),
        sa.CheckConstraint("(kind = 'reminder') = (policy <> '')", name=op.f("ck_mutes_reminder_has_policy")),
        sa.ForeignKeyConstraint(["member"], ["members.id"], name=op.f("fk_mutes_member"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("member", "kind", "policy", name=op.f("pk_mutes")),
        comment="The kinds of notice that a member does not want to be mailed",
    )

    op.create_table(
        "occurrences",
        sa.Column("key", sa.String(length=60), nullable=False),
        sa.Column("series", sa.String(length=40), nullable=False),
        sa.Column("date", sa.String(length=10), nullable=False),
        sa.Column("zone", sa.String(length=60), nullable=False),
        sa.Column("wall", sa.String(length=16), nullable=False, comment="original start in the home zone"),
        sa.Column(
            "moved_to",
            sa.String(length=16),
            nullable=True,
            comment="start in the home zone, if a convenor moved it",
        ),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("original", sa.BigInteger(), nullable=False),
        sa.Column("starts", sa.BigInteger(), nullable=False),
        sa.Column("ends", sa.BigInteger(), nullable=False),
        sa.Column("cancelled", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("extra", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("orphaned", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("topic", sa.Text(), server_default="", nullable=False),
        sa.Column("speakers", sa.Text(), server_default="", nullable=False),
        sa.Column("link", sa.Text(), server_default="", nullable=False),
        sa.Column("materials", sa.Text(), server_default="", nullable=False),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sequence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reinstated", sa.Integer(), server_default="0", nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("ends > starts", name=op.f("ck_occurrences_ends_after_start")),
        sa.CheckConstraint("sequence <= revision", name=op.f("ck_occurrences_sequence_within_revision")),
        sa.ForeignKeyConstraint(["series"], ["series.slug"], name=op.f("fk_occurrences_series")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_occurrences")),
    )
    op.create_index(op.f("ix_occurrences_series_starts"), "occurrences", ["series", "starts"], unique=False)

    op.create_table(
        "policies",
        sa.Column("series", sa.String(length=40), nullable=False),
        sa.Column("slug", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("adopted_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "first",
            sa.Boolean(),
            nullable=False,
            comment="the first of its kind in the series: it may invite to the next occurrence immediately",
        ),
        sa.ForeignKeyConstraint(
            ["series"], ["series.slug"], name=op.f("fk_policies_series"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("series", "slug", name=op.f("pk_policies")),
    )

    op.create_table(
        "requests",
        sa.Column("id", _number, autoincrement=True, nullable=False),
        sa.Column("member", _number, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("country", sa.String(length=6), nullable=False),
        sa.Column("zone", sa.String(length=60), nullable=False),
        sa.Column("locale", sa.String(length=40), nullable=False),
        sa.Column("words", sa.Text(), server_default="", nullable=False, comment="why they want to join"),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column(
            "asked_at",
            sa.BigInteger(),
            nullable=False,
            comment="when they agreed to the storage of their data",
        ),
        sa.Column("confirmed_at", sa.BigInteger(), nullable=True),
        sa.Column("taken_by", _number, nullable=True, comment="the convenor, if known"),
        sa.Column("taken_at", sa.BigInteger(), nullable=True),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.Column(
            "message",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="the convenor's message to the person",
        ),
        sa.CheckConstraint(
            "(state = 'unconfirmed') = (confirmed_at IS NULL)", name=op.f("ck_requests_confirmed_has_instant")
        ),
        sa.CheckConstraint(
            "(state IN ('accepted', 'declined')) = (answered_at IS NOT NULL)",
            name=op.f("ck_requests_answered_has_instant"),
        ),
        sa.CheckConstraint(
            "state IN ('unconfirmed', 'waiting', 'taken', 'accepted', 'declined')",
            name=op.f("ck_requests_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["member"], ["members.id"], name=op.f("fk_requests_member"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["taken_by"], ["members.id"], name=op.f("fk_requests_taken_by"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_requests")),
        comment="Requests to join and their answers; at most one of each person is open",
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_requests_member"), "requests", ["member"], unique=False)
    op.create_index(
        op.f("ix_requests_state_confirmed_at"), "requests", ["state", "confirmed_at"], unique=False
    )
    op.create_index(
        "uq_requests_open",
        "requests",
        ["member"],
        unique=True,
        sqlite_where=sa.text("state IN ('unconfirmed', 'waiting', 'taken')"),
        postgresql_where=sa.text("state IN ('unconfirmed', 'waiting', 'taken')"),
    )

    op.create_table(
        "returns",
        sa.Column("id", _number, autoincrement=True, nullable=False),
        sa.Column(
            "digest",
            sa.String(length=64),
            nullable=False,
            comment="of the message, so that it is counted once",
        ),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("member", _number, nullable=True, comment="the member it is about, if known"),
        sa.Column("came_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "words", sa.Text(), nullable=False, comment="what it says, or why a convenor has to review it"
        ),
        sa.Column(
            "content",
            sa.LargeBinary(),
            nullable=True,
            comment="the message, if a convenor has to review it",
        ),
        sa.CheckConstraint(
            "(kind = 'review') = (content IS NOT NULL)", name=op.f("ck_returns_review_has_content")
        ),
        sa.CheckConstraint("kind = 'review' OR member IS NOT NULL", name=op.f("ck_returns_known_has_member")),
        sa.CheckConstraint(
            "kind IN ('hard', 'soft', 'policy', 'complaint', 'review')", name=op.f("ck_returns_kind_known")
        ),
        sa.ForeignKeyConstraint(
            ["member"], ["members.id"], name=op.f("fk_returns_member"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_returns")),
        sa.UniqueConstraint("digest", name=op.f("uq_returns_digest")),
        comment="Returned mail: bounces, complaints, and messages that a convenor has to review",
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_returns_kind_came_at"), "returns", ["kind", "came_at"], unique=False)
    op.create_index(op.f("ix_returns_member"), "returns", ["member"], unique=False)

    op.create_table(
        "answers",
        sa.Column("occurrence", sa.String(length=60), nullable=False),
        sa.Column("member", _number, nullable=False),
        sa.Column("answer", sa.String(length=10), nullable=False),
        sa.Column("answered_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "sequence",
            sa.Integer(),
            nullable=True,
            comment="the SEQUENCE of the last answer by a calendar program",
        ),
        sa.Column(
            "stamped_at",
            sa.BigInteger(),
            nullable=True,
            comment="the DTSTAMP of an answer by a calendar program; null for one on our pages",
        ),
        sa.CheckConstraint("answer IN ('coming', 'declined', 'maybe')", name=op.f("ck_answers_answer_known")),
        sa.ForeignKeyConstraint(
            ["member"], ["members.id"], name=op.f("fk_answers_member"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["occurrence"], ["occurrences.key"], name=op.f("fk_answers_occurrence"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("occurrence", "member", name=op.f("pk_answers")),
    )
    op.create_index(op.f("ix_answers_member"), "answers", ["member"], unique=False)

    op.create_table(
        "notices",
        sa.Column("id", _number, autoincrement=True, nullable=False),
        sa.Column("identity", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("policy", sa.String(length=40), nullable=True),
        sa.Column("occurrence", sa.String(length=60), nullable=True),
        sa.Column("starts", sa.BigInteger(), nullable=True, comment="the start that it announces"),
        sa.Column(
            "before_revision",
            sa.Integer(),
            nullable=True,
            comment="the revision that members were last told, for a change",
        ),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("body", sa.Text(), server_default="", nullable=False),
        sa.Column("audience", sa.Text(), server_default="all", nullable=False),
        sa.Column("member", _number, nullable=True, comment="the recipient of a service mail"),
        sa.Column(
            "address", sa.Text(), nullable=True, comment="the recipient, if not the member's own address"
        ),
        sa.Column(
            "at", sa.String(length=40), nullable=True, comment="local:… for a time in each member's own zone"
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column(
            "frozen",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="its deliveries were created when it was sent; no member is added later",
        ),
        sa.Column(
            "ready",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="false while its deliveries are being created: nothing is sent yet",
        ),
        sa.Column("stopped_at", sa.BigInteger(), nullable=True),
        sa.Column(
            "unwanted",
            sa.String(length=20),
            nullable=True,
            comment="why the plan no longer includes it: cancelled, moved, policy, …",
        ),
        sa.Column("closed_at", sa.BigInteger(), nullable=True, comment="when nothing was left to do for it"),
        sa.Column(
            "archived_at",
            sa.BigInteger(),
            nullable=True,
            comment="when its last delivery was moved to past_deliveries",
        ),
        sa.Column(
            "tally",
            sa.JSON(),
            nullable=True,
            comment="the counts of its deliveries by state when it was closed",
        ),
        sa.CheckConstraint(
            "(kind IN ('confirmation', 'already-member', 'decline', 'sign-in', 'address-change', 'address-changed', 'welcome')) = (member IS NOT NULL)",
            name=op.f("ck_notices_personal_has_member"),
        ),
        sa.CheckConstraint(
            "(kind IN ('invitation', 'reminder', 'follow-up')) = (policy IS NOT NULL)",
            name=op.f("ck_notices_planned_has_policy"),
        ),
        sa.CheckConstraint(
            "(kind IN ('invitation', 'reminder', 'follow-up', 'update', 'cancellation')) = (occurrence IS NOT NULL)",
            name=op.f("ck_notices_meeting_has_occurrence"),
        ),
        sa.CheckConstraint(
            "kind IN ('invitation', 'reminder', 'follow-up', 'update', 'cancellation', 'notice', 'confirmation', 'already-member', 'decline', 'sign-in', 'address-change', 'address-changed', 'welcome')",
            name=op.f("ck_notices_kind_known"),
        ),
        sa.CheckConstraint(
            "(occurrence IS NULL) = (starts IS NULL)", name=op.f("ck_notices_occurrence_has_start")
        ),
        sa.CheckConstraint(
            "address IS NULL OR member IS NOT NULL", name=op.f("ck_notices_address_of_member")
        ),
        sa.ForeignKeyConstraint(
            ["member"], ["members.id"], name=op.f("fk_notices_member"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["occurrence"], ["occurrences.key"], name=op.f("fk_notices_occurrence"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint("identity", name=op.f("uq_notices_identity")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_notices_closed_at"), "notices", ["closed_at"], unique=False)
    op.create_index(
        op.f("ix_notices_member_kind_created_at"), "notices", ["member", "kind", "created_at"], unique=False
    )
    op.create_index(op.f("ix_notices_occurrence"), "notices", ["occurrence"], unique=False)
    op.create_index(
        "ix_notices_over",
        "notices",
        ["expires"],
        unique=False,
        sqlite_where=sa.text("closed_at IS NOT NULL AND archived_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NOT NULL AND archived_at IS NULL"),
    )

    op.create_table(
        "revisions",
        sa.Column("occurrence", sa.String(length=60), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("starts", sa.BigInteger(), nullable=False),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False, comment="the whole occurrence at this revision"),
        sa.ForeignKeyConstraint(
            ["occurrence"], ["occurrences.key"], name=op.f("fk_revisions_occurrence"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("occurrence", "revision", name=op.f("pk_revisions")),
    )

    op.create_table(
        "told",
        sa.Column("occurrence", sa.String(length=60), nullable=False),
        sa.Column("zone", sa.String(length=60), nullable=False),
        sa.Column("starts", sa.BigInteger(), nullable=False, comment="the start at that time"),
        sa.Column(
            "local_start", sa.String(length=16), nullable=False, comment="the local start that mails showed"
        ),
        sa.ForeignKeyConstraint(
            ["occurrence"], ["occurrences.key"], name=op.f("fk_told_occurrence"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("occurrence", "zone", "starts", name=op.f("pk_told")),
        comment="The local starts that mails showed, to find the members to correct after new zone data",
    )

    op.create_table(
        "deliveries",
        sa.Column("id", _number, autoincrement=True, nullable=False),
        sa.Column("notice", _number, nullable=False),
        sa.Column("member", _number, nullable=False),
        sa.Column("zone", sa.String(length=60), nullable=False),
        sa.Column("locale", sa.String(length=40), nullable=False),
        sa.Column("chunk", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("next_try", sa.BigInteger(), nullable=False),
        sa.Column("run", sa.String(length=32), nullable=True, comment="the run that is sending it"),
        sa.Column(
            "uncertain",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="a try ended without a reply: it may have arrived",
        ),
        sa.Column(
            "revision",
            sa.Integer(),
            nullable=True,
            comment="the occurrence's revision that it was last composed from",
        ),
        sa.Column("tried_at", sa.BigInteger(), nullable=True),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(state = 'sending') = (run IS NOT NULL)", name=op.f("ck_deliveries_sending_has_run")
        ),
        sa.CheckConstraint(
            "(state = 'sent') = (sent_at IS NOT NULL)", name=op.f("ck_deliveries_sent_has_instant")
        ),
        sa.CheckConstraint(
            "(state IN ('failed', 'expired', 'withdrawn', 'skipped')) <= (reason <> '')",
            name=op.f("ck_deliveries_ended_has_reason"),
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'sending', 'sent', 'failed', 'expired', 'withdrawn', 'skipped')",
            name=op.f("ck_deliveries_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["member"], ["members.id"], name=op.f("fk_deliveries_member"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["notice"], ["notices.id"], name=op.f("fk_deliveries_notice"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("notice", "member", name=op.f("uq_deliveries_notice_member")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_deliveries_member"), "deliveries", ["member"], unique=False)
    op.create_index(op.f("ix_deliveries_notice_state"), "deliveries", ["notice", "state"], unique=False)
    op.create_index(
        "ix_deliveries_sending",
        "deliveries",
        ["run"],
        unique=False,
        sqlite_where=sa.text("state = 'sending'"),
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index(
        "ix_deliveries_waiting",
        "deliveries",
        ["chunk", "next_try"],
        unique=False,
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )

    op.create_table(
        "dues",
        sa.Column("notice", _number, nullable=False),
        sa.Column(
            "zone", sa.String(length=60), nullable=False, comment="* if all zones have the same instant"
        ),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("fanned_at", sa.BigInteger(), nullable=True, comment="when its deliveries were created"),
        sa.ForeignKeyConstraint(["notice"], ["notices.id"], name=op.f("fk_dues_notice"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("notice", "zone", name=op.f("pk_dues")),
    )
    op.create_index(op.f("ix_dues_due"), "dues", ["due"], unique=False)

    op.create_table(
        "past_deliveries",
        sa.Column("notice", _number, nullable=False),
        sa.Column("member", _number, nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("uncertain", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('sent', 'failed', 'expired', 'withdrawn', 'skipped')",
            name=op.f("ck_past_deliveries_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["member"], ["members.id"], name=op.f("fk_past_deliveries_member"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["notice"], ["notices.id"], name=op.f("fk_past_deliveries_notice"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("notice", "member", name=op.f("pk_past_deliveries")),
        comment="The archive: finished deliveries",
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_past_deliveries_member"), "past_deliveries", ["member"], unique=False)

    if op.get_bind().dialect.name == "postgresql":
        install(op.get_bind())
