"""Search members by one column, and count uncertain deliveries by an index."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "members",
        sa.Column(
            "search_key",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="name_key and address_key, with a tab between them",
        ),
    )
    op.execute("UPDATE members SET search_key = name_key || '\t' || address_key")
    op.drop_index("ix_members_search", "members")
    op.create_index(
        "ix_members_search", "members", ["search_key", "status", "country", "zone", "role", "suppressed_at"]
    )
    # The former index began with the name, by which two members who may be one person are found.
    op.create_index("ix_members_namesakes", "members", ["name_key", "status", "country", "zone"])
    is_uncertain = sa.text("state = 'sent' AND reason = 'uncertain'")
    for table in ("deliveries", "past_deliveries"):
        op.create_index(
            f"ix_{table}_uncertain",
            table,
            ["notice"],
            sqlite_where=is_uncertain,
            postgresql_where=is_uncertain,
        )
