"""What visitors asked for, until it is carried out."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "asks",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("what", sa.String(length=10), nullable=False),
        sa.Column("said", sa.JSON(), nullable=False, comment="what was typed, whole and in order"),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("what IN ('join', 'link')", name=op.f("ck_asks_what_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_asks")),
        sqlite_autoincrement=True,
        comment="What somebody asked for and was answered, until it is carried out: then it goes",
    )
