"""Record which mail was a member's first, which local starts new zone data changed, and count the mails of forms."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "deliveries",
        sa.Column(
            "introduces",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="its text, as last composed, introduces itself as our first mail",
        ),
    )
    _add_local_start_to_key()
    op.create_table(
        "form_counts",
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "visitor",
            sa.String(length=26),
            nullable=False,
            comment="a keyed hash of the network; empty for all visitors together",
        ),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "visitor", name=op.f("pk_form_counts")),
        comment="How many mails forms have caused in the current hour; earlier hours are deleted",
    )


def _add_local_start_to_key() -> None:
    """Rebuild the table `told`: SQLite cannot change a primary key in place."""
    op.rename_table("told", "told_before")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE told_before DROP CONSTRAINT pk_told")
        op.execute("ALTER TABLE told_before DROP CONSTRAINT fk_told_occurrence")
    op.create_table(
        "told",
        sa.Column("occurrence", sa.String(length=60), nullable=False),
        sa.Column("zone", sa.String(length=60), nullable=False),
        sa.Column("starts", sa.BigInteger(), nullable=False, comment="the start at that time"),
        sa.Column(
            "local_start", sa.String(length=16), nullable=False, comment="the local start that mails showed"
        ),
        sa.Column(
            "until", sa.BigInteger(), nullable=True, comment="when new zone data changed the local start"
        ),
        sa.ForeignKeyConstraint(
            ["occurrence"], ["occurrences.key"], name=op.f("fk_told_occurrence"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("occurrence", "zone", "starts", "local_start", name=op.f("pk_told")),
        comment="The local starts that mails showed, to find the members to correct after new zone data",
    )
    op.execute(
        "INSERT INTO told (occurrence, zone, starts, local_start) "
        "SELECT occurrence, zone, starts, local_start FROM told_before"
    )
    op.drop_table("told_before")
    op.create_index(
        "ix_told_outdated",
        "told",
        ["occurrence"],
        unique=False,
        sqlite_where=sa.text("until IS NOT NULL"),
        postgresql_where=sa.text("until IS NOT NULL"),
    )
