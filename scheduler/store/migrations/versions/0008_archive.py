"""The archive of deliveries, and counting members without looking at each."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_over = "closed_at IS NOT NULL AND archived_at IS NULL"


def upgrade() -> None:
    op.create_index(
        op.f("ix_members_zone_status_invitation_by"),
        "members",
        ["zone", "status", "invitation_by"],
        unique=False,
    )
    op.create_index(
        "ix_members_pausing",
        "members",
        ["paused_until"],
        unique=False,
        sqlite_where=sa.text("paused_until IS NOT NULL"),
        postgresql_where=sa.text("paused_until IS NOT NULL"),
    )
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
            ["notice"], ["notices.id"], name=op.f("fk_past_deliveries_notice"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["member"], ["members.id"], name=op.f("fk_past_deliveries_member"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("notice", "member", name=op.f("pk_past_deliveries")),
        sqlite_with_rowid=False,
        comment="The archive: what became of deliveries of which nothing is to be done any more",
    )
    op.create_index(op.f("ix_past_deliveries_member"), "past_deliveries", ["member"], unique=False)
    op.add_column(
        "notices",
        sa.Column(
            "archived_at",
            sa.BigInteger(),
            nullable=True,
            comment="when the last of its deliveries had moved to past_deliveries",
        ),
    )
    op.add_column(
        "notices",
        sa.Column(
            "tally",
            sa.JSON(),
            nullable=True,
            comment="how many of its deliveries had which state when it was closed",
        ),
    )
    op.create_index(
        "ix_notices_over",
        "notices",
        ["expires"],
        unique=False,
        sqlite_where=sa.text(_over),
        postgresql_where=sa.text(_over),
    )
    _count_closed()


def _count_closed() -> None:
    connection = op.get_bind()
    tallies: dict[int, dict[str, int]] = {}
    counted = sa.text(
        "SELECT notice, state, count(*) FROM deliveries WHERE notice IN "
        "(SELECT id FROM notices WHERE closed_at IS NOT NULL AND member IS NULL) GROUP BY notice, state"
    )
    for notice, state, count in connection.execute(counted):
        tallies.setdefault(notice, {})[state] = count
    for notice, tally in tallies.items():
        connection.execute(
            sa.text("UPDATE notices SET tally = :tally WHERE id = :id").bindparams(
                sa.bindparam("tally", tally, type_=sa.JSON()), id=notice
            )
        )
