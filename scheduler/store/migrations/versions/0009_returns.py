"""Mail that comes back: addresses that take none, answers of calendar programs, and what waits for a look."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_suppressed = "suppressed_at IS NOT NULL"


def upgrade() -> None:
    op.add_column(
        "members",
        sa.Column(
            "suppressed_at",
            sa.BigInteger(),
            nullable=True,
            comment="since when nothing is mailed, for the address sends mail back",
        ),
    )
    op.add_column(
        "members",
        sa.Column(
            "suppressed_for", sa.String(length=100), nullable=True, comment="what their address answered"
        ),
    )
    op.create_index(
        "ix_members_suppressed",
        "members",
        ["suppressed_at"],
        unique=False,
        sqlite_where=sa.text(_suppressed),
        postgresql_where=sa.text(_suppressed),
    )
    op.add_column(
        "answers",
        sa.Column(
            "sequence", sa.Integer(), nullable=True, comment="that a calendar program's answer named last"
        ),
    )
    op.add_column(
        "answers",
        sa.Column(
            "stamped_at",
            sa.BigInteger(),
            nullable=True,
            comment="when a calendar program says that it was given; null for one by our pages",
        ),
    )
    op.create_table(
        "returns",
        sa.Column("id", _number, autoincrement=True, nullable=False),
        sa.Column(
            "digest", sa.String(length=64), nullable=False, comment="of the message, so that it counts once"
        ),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("member", _number, nullable=True, comment="whose it is, where that is known"),
        sa.Column("came_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "words", sa.Text(), nullable=False, comment="what it says, or why somebody has to look at it"
        ),
        sa.Column(
            "content",
            sa.LargeBinary(),
            nullable=True,
            comment="the message itself, where somebody has to look at it",
        ),
        sa.CheckConstraint(
            "kind IN ('hard', 'soft', 'policy', 'complaint', 'review')", name=op.f("ck_returns_kind_known")
        ),
        sa.CheckConstraint(
            "(kind = 'review') = (content IS NOT NULL)", name=op.f("ck_returns_review_has_content")
        ),
        sa.CheckConstraint("kind = 'review' OR member IS NOT NULL", name=op.f("ck_returns_known_has_member")),
        sa.ForeignKeyConstraint(
            ["member"], ["members.id"], name=op.f("fk_returns_member"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_returns")),
        sa.UniqueConstraint("digest", name=op.f("uq_returns_digest")),
        sqlite_autoincrement=True,
        comment="Mail that came back: bounces, complaints, and what nobody but a convenor can understand",
    )
    op.create_index(op.f("ix_returns_member"), "returns", ["member"], unique=False)
    op.create_index(op.f("ix_returns_kind_came_at"), "returns", ["kind", "came_at"], unique=False)
