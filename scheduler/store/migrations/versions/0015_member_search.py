"""Search members by their names, and find those with a role."""

import sqlalchemy as sa
from alembic import op

from scheduler.domain.text import folded

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_BATCH = 5_000


def upgrade() -> None:
    op.add_column(
        "members",
        sa.Column(
            "name_key",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="the name without case, accents and punctuation",
        ),
    )
    connection = op.get_bind()
    last = 0
    while True:
        rows = connection.execute(
            sa.text("SELECT id, name FROM members WHERE id > :last ORDER BY id LIMIT :batch"),
            {"last": last, "batch": _BATCH},
        ).all()
        if not rows:
            break
        connection.execute(
            sa.text("UPDATE members SET name_key = :key WHERE id = :id"),
            [{"id": number, "key": folded(name)} for number, name in rows],
        )
        last = rows[-1][0]
    op.create_index("ix_members_search", "members", ["name_key", "address_key", "status", "country", "zone"])
    op.create_index(
        "ix_members_with_role",
        "members",
        ["role"],
        sqlite_where=sa.text("role IS NOT NULL"),
        postgresql_where=sa.text("role IS NOT NULL"),
    )
