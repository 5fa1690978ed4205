"""Mail convenors a report each week."""

from scheduler.store.migrations.constraints import change_check

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_BEFORE = "'preflight', 'room-missing'"
_AFTER = "'preflight', 'room-missing', 'weekly'"
_KINDS = (
    "kind IN ('invitation', 'reminder', 'follow-up', 'update', 'cancellation', 'notice', {}, 'confirmation', "
    "'already-member', 'decline', 'sign-in', 'console-sign-in', 'address-change', 'address-changed', 'contact', "
    "'welcome')"
)
_DETAILS = "(kind IN ({})) = (details IS NOT NULL)"


def upgrade() -> None:
    for name, condition in (
        ("ck_notices_kind_known", _KINDS),
        ("ck_notices_to_convenors_has_details", _DETAILS),
    ):
        change_check("notices", name, condition.format(_BEFORE), condition.format(_AFTER))
