"""The first shape of the database."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
        comment="`change` counts what people changed, so that a running service notices; `chunk` numbers chunks",
    )
    op.create_table(
        "erasures",
        sa.Column("address_hash", sa.String(length=64), nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("address_hash", name=op.f("pk_erasures")),
        comment="Keyed hashes of addresses that asked to be forgotten, so that no import brings them back",
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_facts")),
        comment="What the service knows of itself: its last tick, what is frozen, a hold",
    )
    op.create_table(
        "members",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
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
            comment="since when without a break; null while not active",
        ),
        sa.Column("paused_until", sa.BigInteger(), nullable=True),
        sa.Column(
            "uninvited_at",
            sa.BigInteger(),
            nullable=True,
            comment="invitations open at this instant are not for them",
        ),
        sa.Column("generation", sa.Integer(), server_default="0", nullable=False, comment="of their links"),
        sa.Column("feed_generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "changed", sa.BigInteger(), nullable=False, comment="the counter `change` at their last change"
        ),
        sa.CheckConstraint(
            "(status = 'active') = (active_since IS NOT NULL)", name=op.f("ck_members_active_has_since")
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'active', 'paused', 'left')", name=op.f("ck_members_status_known")
        ),
        sa.CheckConstraint(
            "zone_source IN ('given', 'assumed', 'confirmed')", name=op.f("ck_members_zone_source_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_members")),
        sa.UniqueConstraint("address_key", name=op.f("uq_members_address_key")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("members", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_members_changed"), ["changed"], unique=False)
        batch_op.create_index(batch_op.f("ix_members_zone_id"), ["zone", "id"], unique=False)

    op.create_table(
        "series",
        sa.Column("slug", sa.String(length=40), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("adopted_at", sa.BigInteger(), nullable=False),
        sa.Column("derived_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("slug", name=op.f("pk_series")),
    )
    op.create_table(
        "occurrences",
        sa.Column("key", sa.String(length=60), nullable=False),
        sa.Column("series", sa.String(length=40), nullable=False),
        sa.Column("date", sa.String(length=10), nullable=False),
        sa.Column("zone", sa.String(length=60), nullable=False),
        sa.Column("wall", sa.String(length=16), nullable=False, comment="original start by the home clock"),
        sa.Column(
            "moved_to",
            sa.String(length=16),
            nullable=True,
            comment="start by the home clock, where a convenor moved it",
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
    with op.batch_alter_table("occurrences", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_occurrences_series_starts"), ["series", "starts"], unique=False)

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
            comment="the first of its kind in the series: it may invite to the next occurrence at once",
        ),
        sa.ForeignKeyConstraint(
            ["series"], ["series.slug"], name=op.f("fk_policies_series"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("series", "slug", name=op.f("pk_policies")),
    )
    op.create_table(
        "answers",
        sa.Column("occurrence", sa.String(length=60), nullable=False),
        sa.Column("member", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("answer", sa.String(length=10), nullable=False),
        sa.Column("answered_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("answer IN ('coming', 'declined', 'maybe')", name=op.f("ck_answers_answer_known")),
        sa.ForeignKeyConstraint(
            ["member"], ["members.id"], name=op.f("fk_answers_member"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["occurrence"], ["occurrences.key"], name=op.f("fk_answers_occurrence"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("occurrence", "member", name=op.f("pk_answers")),
    )
    with op.batch_alter_table("answers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_answers_member"), ["member"], unique=False)

    op.create_table(
        "notices",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("identity", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("policy", sa.String(length=40), nullable=True),
        sa.Column("occurrence", sa.String(length=60), nullable=True),
        sa.Column("starts", sa.BigInteger(), nullable=True, comment="the start it speaks of"),
        sa.Column(
            "before_revision",
            sa.Integer(),
            nullable=True,
            comment="what members were last told, for a change",
        ),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("body", sa.Text(), server_default="", nullable=False),
        sa.Column("audience", sa.Text(), server_default="all", nullable=False),
        sa.Column(
            "at", sa.String(length=40), nullable=True, comment="local:… where the hour is each member's own"
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column(
            "frozen",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="its deliveries were made at the press of the button; nobody is added",
        ),
        sa.Column(
            "ready",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="false while its deliveries are being made: nothing is sent",
        ),
        sa.Column("stopped_at", sa.BigInteger(), nullable=True),
        sa.Column(
            "unwanted",
            sa.String(length=20),
            nullable=True,
            comment="why the plan no longer wants it: cancelled, moved, policy",
        ),
        sa.Column("closed_at", sa.BigInteger(), nullable=True, comment="expired and nothing left to do"),
        sa.CheckConstraint(
            "(kind = 'notice') = (occurrence IS NULL)", name=op.f("ck_notices_notice_or_occurrence")
        ),
        sa.CheckConstraint(
            "(kind IN ('invitation', 'reminder')) = (policy IS NOT NULL)",
            name=op.f("ck_notices_planned_has_policy"),
        ),
        sa.CheckConstraint(
            "kind IN ('invitation', 'reminder', 'update', 'cancellation', 'notice')",
            name=op.f("ck_notices_kind_known"),
        ),
        sa.CheckConstraint(
            "(occurrence IS NULL) = (starts IS NULL)", name=op.f("ck_notices_occurrence_has_start")
        ),
        sa.ForeignKeyConstraint(
            ["occurrence"], ["occurrences.key"], name=op.f("fk_notices_occurrence"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint("identity", name=op.f("uq_notices_identity")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_notices_closed_at"), ["closed_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_notices_occurrence"), ["occurrence"], unique=False)

    op.create_table(
        "revisions",
        sa.Column("occurrence", sa.String(length=60), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("starts", sa.BigInteger(), nullable=False),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False, comment="the whole occurrence as it stood"),
        sa.ForeignKeyConstraint(
            ["occurrence"], ["occurrences.key"], name=op.f("fk_revisions_occurrence"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("occurrence", "revision", name=op.f("pk_revisions")),
    )
    op.create_table(
        "told",
        sa.Column("occurrence", sa.String(length=60), nullable=False),
        sa.Column("zone", sa.String(length=60), nullable=False),
        sa.Column("starts", sa.BigInteger(), nullable=False, comment="the instant as it was known then"),
        sa.Column(
            "local_start", sa.String(length=16), nullable=False, comment="the local hour that mails showed"
        ),
        sa.ForeignKeyConstraint(
            ["occurrence"], ["occurrences.key"], name=op.f("fk_told_occurrence"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("occurrence", "zone", "starts", name=op.f("pk_told")),
        comment="What hour each zone was told, so that new zone data can name those who were told a wrong one",
    )
    op.create_table(
        "deliveries",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("notice", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("member", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("zone", sa.String(length=60), nullable=False),
        sa.Column("locale", sa.String(length=40), nullable=False),
        sa.Column("chunk", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("next_try", sa.BigInteger(), nullable=False),
        sa.Column("run", sa.String(length=32), nullable=True, comment="who is sending it"),
        sa.Column(
            "uncertain",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="a try ended without an answer: it may have arrived",
        ),
        sa.Column("revision", sa.Integer(), nullable=True, comment="of the occurrence, as last composed"),
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
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_deliveries_member"), ["member"], unique=False)
        batch_op.create_index(batch_op.f("ix_deliveries_notice_state"), ["notice", "state"], unique=False)
        batch_op.create_index(
            "ix_deliveries_sending",
            ["run"],
            unique=False,
            sqlite_where=sa.text("state = 'sending'"),
            postgresql_where=sa.text("state = 'sending'"),
        )
        batch_op.create_index(
            "ix_deliveries_waiting",
            ["chunk", "next_try"],
            unique=False,
            sqlite_where=sa.text("state = 'queued'"),
            postgresql_where=sa.text("state = 'queued'"),
        )

    op.create_table(
        "dues",
        sa.Column("notice", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "zone", sa.String(length=60), nullable=False, comment="* where one instant serves all zones"
        ),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("fanned_at", sa.BigInteger(), nullable=True, comment="when its deliveries were made"),
        sa.ForeignKeyConstraint(["notice"], ["notices.id"], name=op.f("fk_dues_notice"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("notice", "zone", name=op.f("pk_dues")),
    )
    with op.batch_alter_table("dues", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_dues_due"), ["due"], unique=False)
