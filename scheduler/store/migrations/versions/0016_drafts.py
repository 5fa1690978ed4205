"""Keep notices that convenors are writing, and tables that they want to import."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "drafts",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False, comment="Markdown"),
        sa.Column("audience", sa.Text(), nullable=False, comment="the terms, as the command line takes them"),
        sa.Column(
            "at",
            sa.String(length=40),
            nullable=False,
            comment="ISO 8601, or local:…; empty for as soon as it is sent",
        ),
        sa.Column("author", number, nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("notice", number, nullable=True, comment="what it was sent as"),
        sa.ForeignKeyConstraint(
            ["author"], ["members.id"], name=op.f("fk_drafts_author"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["notice"], ["notices.id"], name=op.f("fk_drafts_notice"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drafts")),
        sqlite_autoincrement=True,
        comment="Notices that convenors are writing",
    )
    op.create_index("ix_drafts_notice", "drafts", ["notice"])
    op.create_table(
        "uploads",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("author", number, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["author"], ["members.id"], name=op.f("fk_uploads_author"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        sqlite_autoincrement=True,
        comment="Tables that convenors want to import, until they have seen what that would do",
    )
    op.create_index("ix_uploads_author", "uploads", ["author"])
