"""What members want of their own feed, and whether they are invited by mail or by the feed alone."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Columns are added in place: copying the table, as batch mode does, would take its rows' deliveries along.
    for column in (
        "feed_alarm_minutes INTEGER CONSTRAINT ck_members_feed_alarm_before CHECK (feed_alarm_minutes >= 0)",
        "feed_answers BOOLEAN DEFAULT true NOT NULL",
        "feed_changed_at BIGINT",
        "invitation_by VARCHAR(10) DEFAULT 'mail' NOT NULL CONSTRAINT ck_members_invitation_by_known CHECK (invitation_by IN ('mail', 'feed'))",
    ):
        op.execute(f"ALTER TABLE members ADD COLUMN {column}")
