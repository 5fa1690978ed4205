"""Store which revisions of its meeting each notice's mails were about: finding out read every delivery until now."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    without_rowid = "" if op.get_bind().dialect.name == "postgresql" else " WITHOUT ROWID"
    op.execute(
        "CREATE TABLE notice_revisions ("
        "notice BIGINT NOT NULL, revision INTEGER NOT NULL, "
        "CONSTRAINT pk_notice_revisions PRIMARY KEY (notice, revision), "
        "CONSTRAINT fk_notice_revisions_notice_notices FOREIGN KEY (notice) REFERENCES notices (id) ON DELETE CASCADE"
        f"){without_rowid}"
    )
    op.execute(
        "INSERT INTO notice_revisions (notice, revision) "
        "SELECT notice, revision FROM deliveries WHERE attempts > 0 AND revision IS NOT NULL "
        "UNION SELECT notice, revision FROM past_deliveries WHERE attempts > 0 AND revision IS NOT NULL"
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "COMMENT ON TABLE notice_revisions IS "
            "'The revisions of its meeting that mails of a notice were about'"
        )
