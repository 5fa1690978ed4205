"""Requests to join, and service mails: notices for one person, whatever their status."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_meeting = "'invitation', 'reminder', 'update', 'cancellation'"
_personal = (
    "'confirmation', 'already-member', 'decline', 'sign-in', 'address-change', 'address-changed', 'welcome'"
)
_open = "state IN ('unconfirmed', 'waiting', 'taken')"
_checks = {
    "kind_known": f"kind IN ({_meeting}, 'notice', {_personal})",
    "meeting_has_occurrence": f"(kind IN ({_meeting})) = (occurrence IS NOT NULL)",
    "personal_has_member": f"(kind IN ({_personal})) = (member IS NOT NULL)",
    "address_of_member": "address IS NULL OR member IS NOT NULL",
}


def upgrade() -> None:
    with op.batch_alter_table("notices", table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.add_column(
            sa.Column("member", _number, nullable=True, comment="the one person whom it is for")
        )
        batch_op.add_column(
            sa.Column(
                "address",
                sa.Text(),
                nullable=True,
                comment="where it goes, if not to the member's own address",
            )
        )
        batch_op.create_foreign_key(
            batch_op.f("fk_notices_member"), "members", ["member"], ["id"], ondelete="CASCADE"
        )
        batch_op.create_index(
            batch_op.f("ix_notices_member_kind_created_at"), ["member", "kind", "created_at"], unique=False
        )
        batch_op.drop_constraint(batch_op.f("ck_notices_notice_or_occurrence"), type_="check")
        batch_op.drop_constraint(batch_op.f("ck_notices_kind_known"), type_="check")
        for name, text in _checks.items():
            batch_op.create_check_constraint(batch_op.f(f"ck_notices_{name}"), text)

    op.create_table(
        "requests",
        sa.Column("id", _number, autoincrement=True, nullable=False),
        sa.Column("member", _number, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("country", sa.String(length=6), nullable=False),
        sa.Column("zone", sa.String(length=60), nullable=False),
        sa.Column("locale", sa.String(length=40), nullable=False),
        sa.Column("words", sa.Text(), server_default="", nullable=False, comment="what brings them here"),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column(
            "asked_at", sa.BigInteger(), nullable=False, comment="when they agreed to what is kept of them"
        ),
        sa.Column("confirmed_at", sa.BigInteger(), nullable=True),
        sa.Column("taken_by", _number, nullable=True, comment="the convenor, where known"),
        sa.Column("taken_at", sa.BigInteger(), nullable=True),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.Column(
            "message",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="what a convenor wrote to the person",
        ),
        sa.CheckConstraint(
            "state IN ('unconfirmed', 'waiting', 'taken', 'accepted', 'declined')",
            name=op.f("ck_requests_state_known"),
        ),
        sa.CheckConstraint(
            "(state = 'unconfirmed') = (confirmed_at IS NULL)", name=op.f("ck_requests_confirmed_has_instant")
        ),
        sa.CheckConstraint(
            "(state IN ('accepted', 'declined')) = (answered_at IS NOT NULL)",
            name=op.f("ck_requests_answered_has_instant"),
        ),
        sa.ForeignKeyConstraint(
            ["member"], ["members.id"], name=op.f("fk_requests_member"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["taken_by"], ["members.id"], name=op.f("fk_requests_taken_by"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_requests")),
        sqlite_autoincrement=True,
        comment="Who asked to join, and what became of it; at most one of each person is open",
    )
    with op.batch_alter_table("requests") as batch_op:
        batch_op.create_index(batch_op.f("ix_requests_member"), ["member"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_requests_state_confirmed_at"), ["state", "confirmed_at"], unique=False
        )
    op.create_index(
        "uq_requests_open",
        "requests",
        ["member"],
        unique=True,
        sqlite_where=sa.text(_open),
        postgresql_where=sa.text(_open),
    )
