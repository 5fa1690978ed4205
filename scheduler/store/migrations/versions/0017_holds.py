"""Let convenors hold a notice, mail them what they need to know before it, and describe each meeting."""

from alembic import op

from scheduler.store.migrations.constraints import change_check

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_MEETING = "'invitation', 'reminder', 'follow-up', 'update', 'cancellation'"
_PERSONAL = (
    "'confirmation', 'already-member', 'decline', 'sign-in', 'console-sign-in', 'address-change', 'address-changed', "
    "'welcome'"
)
_TO_CONVENORS = "'preflight', 'room-missing'"


def upgrade() -> None:
    change_check(
        "notices",
        "ck_notices_kind_known",
        f"kind IN ({_MEETING}, 'notice', {_PERSONAL})",
        f"kind IN ({_MEETING}, 'notice', {_TO_CONVENORS}, {_PERSONAL})",
    )
    op.execute("ALTER TABLE notices ADD COLUMN held_at BIGINT")
    # Not Alembic's batch mode: it would drop the table, and with it all rows that refer to a notice.
    op.execute(
        "ALTER TABLE notices ADD COLUMN details JSON CONSTRAINT ck_notices_to_convenors_has_details "
        f"CHECK ((kind IN ({_TO_CONVENORS})) = (details IS NOT NULL))"
    )
    op.execute("ALTER TABLE occurrences ADD COLUMN description TEXT DEFAULT '' NOT NULL")
