"""Let a notice mention a meeting, whose time, topic and links its placeholders show."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE notices ADD COLUMN mentions VARCHAR(60)")
    op.execute("CREATE INDEX ix_notices_mentions ON notices (mentions) WHERE mentions IS NOT NULL")
    op.execute("CREATE INDEX ix_members_locale ON members (locale)")
    op.execute("ALTER TABLE drafts ADD COLUMN meeting VARCHAR(60) DEFAULT '' NOT NULL")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "COMMENT ON COLUMN notices.mentions IS "
            "'the meeting whose time, topic and links its placeholders show'"
        )
        op.execute(
            "COMMENT ON COLUMN drafts.meeting IS "
            "'the meeting that its placeholders are about; empty for the next one'"
        )
