"""How many mails visitors have forms send in an hour."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "form_counts",
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "visitor",
            sa.String(length=26),
            nullable=False,
            comment="a keyed hash of the network; empty for everybody",
        ),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "visitor", name=op.f("pk_form_counts")),
        comment="How many mails forms were asked for in the present hour; earlier hours are deleted",
    )
