"""Give members a role: convenor as before, or helper."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not Alembic's batch mode: it would drop the table, and with it all rows that refer to a member.
    op.execute(
        "ALTER TABLE members ADD COLUMN role VARCHAR(10) "
        "CONSTRAINT ck_members_role_known CHECK (role IN ('convenor', 'helper'))"
    )
    op.execute("UPDATE members SET role = 'convenor' WHERE convenor")
    op.execute("ALTER TABLE members DROP COLUMN convenor")
