"""Record who did what."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "audit_entries",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(length=20), nullable=False),
        sa.Column("actor", number, nullable=True, comment="the member who did it, if known"),
        sa.Column("actor_name", sa.Text(), nullable=False),
        sa.Column("act", sa.String(length=40), nullable=False),
        sa.Column(
            "subject",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="an occurrence's key, a notice's number, …",
        ),
        sa.Column("about", number, nullable=True, comment="the member it was done to"),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("after", sa.JSON(), nullable=False),
        sa.CheckConstraint(
            "channel IN ('console', 'command line', 'service')", name=op.f("ck_audit_entries_channel_known")
        ),
        sa.ForeignKeyConstraint(
            ["actor"], ["members.id"], name=op.f("fk_audit_entries_actor"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["about"], ["members.id"], name=op.f("fk_audit_entries_about"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
        sqlite_autoincrement=True,
        comment="The audit log: who did what, when, from what to what; never the text of a mail",
    )
    op.create_index("ix_audit_entries_at", "audit_entries", ["at"])
    op.create_index("ix_audit_entries_actor_id", "audit_entries", ["actor", "id"])
    op.create_index("ix_audit_entries_act_id", "audit_entries", ["act", "id"])
    op.create_index("ix_audit_entries_subject_id", "audit_entries", ["subject", "id"])
    op.create_index("ix_audit_entries_about", "audit_entries", ["about"])
