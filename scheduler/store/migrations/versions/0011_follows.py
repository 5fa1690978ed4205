"""Let members follow the series they choose. Without a row, everybody follows what they did.

Count what waits by an index.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "follows",
        sa.Column("member", number, nullable=False),
        sa.Column("series", sa.String(length=40), nullable=False),
        sa.Column("follows", sa.Boolean(), nullable=False),
        sa.Column(
            "since",
            sa.BigInteger(),
            nullable=True,
            comment="when they chose this; null if it changed nothing",
        ),
        sa.ForeignKeyConstraint(
            ["member"], ["members.id"], name=op.f("fk_follows_member"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("member", "series", name=op.f("pk_follows")),
        sqlite_with_rowid=False,
        comment="The members' explicit choices; without a row the default of the series counts",
    )
    op.create_index("ix_follows_series_follows_member", "follows", ["series", "follows", "member"])
    # `plan` counts what waits in each zone.
    op.drop_index("ix_deliveries_notice_state", "deliveries")
    op.create_index(
        "ix_deliveries_notice_state_zone_next_try", "deliveries", ["notice", "state", "zone", "next_try"]
    )
    op.add_column(
        "requests",
        sa.Column(
            "follows",
            sa.JSON(none_as_null=True),
            nullable=True,
            comment="the choice of series by slug; null if they were not asked",
        ),
    )
