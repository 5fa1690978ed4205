"""Counting members without looking at each."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        op.f("ix_members_zone_status_invitation_by"),
        "members",
        ["zone", "status", "invitation_by"],
        unique=False,
    )
    op.create_index(
        "ix_members_pausing",
        "members",
        ["paused_until"],
        unique=False,
        sqlite_where=sa.text("paused_until IS NOT NULL"),
        postgresql_where=sa.text("paused_until IS NOT NULL"),
    )
