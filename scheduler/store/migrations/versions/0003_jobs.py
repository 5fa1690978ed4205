"""Chunks become jobs that any sender may take (PostgreSQL)."""

from alembic import op

from scheduler.store.ledger.jobs import install

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        install(op.get_bind())
