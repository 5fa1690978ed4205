"""Notices that follow a meeting."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_planned = "'invitation', 'reminder', 'follow-up'"
_meeting = f"{_planned}, 'update', 'cancellation'"
_personal = (
    "'confirmation', 'already-member', 'decline', 'sign-in', 'address-change', 'address-changed', 'welcome'"
)
_checks = {
    "kind_known": f"kind IN ({_meeting}, 'notice', {_personal})",
    "meeting_has_occurrence": f"(kind IN ({_meeting})) = (occurrence IS NOT NULL)",
    "planned_has_policy": f"(kind IN ({_planned})) = (policy IS NOT NULL)",
}


def upgrade() -> None:
    with op.batch_alter_table("notices", table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        for name, text in _checks.items():
            batch_op.drop_constraint(batch_op.f(f"ck_notices_{name}"), type_="check")
            batch_op.create_check_constraint(batch_op.f(f"ck_notices_{name}"), text)
