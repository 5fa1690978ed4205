"""Service mails: notices for one person, whatever their status."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_meeting = "'invitation', 'reminder', 'update', 'cancellation'"
_personal = (
    "'confirmation', 'already-member', 'decline', 'sign-in', 'address-change', 'address-changed', 'welcome'"
)
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
