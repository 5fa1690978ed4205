"""Filter the list of members by role and by whether their mail comes back."""

from alembic import op

revision = "0019"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_members_search", "members")
    op.create_index(
        "ix_members_search",
        "members",
        ["name_key", "address_key", "status", "country", "zone", "role", "suppressed_at"],
    )
