"""What members do not want to be mailed."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "mutes",
        sa.Column("member", _number, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column(
            "policy",
            sa.String(length=40),
            server_default="",
            nullable=False,
            comment="which reminder; else empty",
        ),
        sa.CheckConstraint("(kind = 'reminder') = (policy <> '')", name=op.f("ck_mutes_reminder_has_policy")),
        sa.ForeignKeyConstraint(["member"], ["members.id"], name=op.f("fk_mutes_member"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("member", "kind", "policy", name=op.f("pk_mutes")),
        comment="What a member does not want to be mailed",
    )
