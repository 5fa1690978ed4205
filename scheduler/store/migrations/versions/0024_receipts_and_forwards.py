"""Remember every message that was dealt with, and pass on to the convenors what people write."""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_COMMENTS = {
    "TABLE receipts": "Messages that were dealt with: each has its effect in the transaction that inserts it here",
    "COLUMN receipts.digest": "of the message",
    "COLUMN receipts.place": "where it was in a mailbox: a keyed hash of the folder, UIDVALIDITY and UID",
    "COLUMN receipts.kept": "whether a convenor has to read it",
    "COLUMN receipts.writer": "a keyed hash of the writer''s address, if it goes on to the convenors",
    "TABLE forwards": "Letters that go on to the convenors'' address; the message itself is among the returns",
    "COLUMN forwards.gives_up": "when it is too late to try again",
    "COLUMN forwards.reason": "why the last try failed",
}


def upgrade() -> None:
    op.execute(
        "CREATE TABLE receipts ("
        "digest VARCHAR(64) NOT NULL, place VARCHAR(80), kept BOOLEAN NOT NULL, writer VARCHAR(26), "
        "came_at BIGINT NOT NULL, "
        "CONSTRAINT pk_receipts PRIMARY KEY (digest), CONSTRAINT uq_receipts_place UNIQUE (place))"
    )
    op.execute("CREATE INDEX ix_receipts_came_at ON receipts (came_at)")
    op.execute("CREATE INDEX ix_receipts_writer ON receipts (writer, came_at) WHERE writer IS NOT NULL")
    op.execute(
        "CREATE TABLE forwards ("
        "message BIGINT NOT NULL, state VARCHAR(10) NOT NULL, attempts INTEGER DEFAULT '0' NOT NULL, "
        "next_try BIGINT NOT NULL, gives_up BIGINT NOT NULL, reason TEXT DEFAULT '' NOT NULL, "
        "CONSTRAINT pk_forwards PRIMARY KEY (message), "
        "CONSTRAINT ck_forwards_state_known CHECK (state IN ('queued', 'sent', 'failed')), "
        "CONSTRAINT fk_forwards_message_returns FOREIGN KEY (message) REFERENCES returns (id) ON DELETE CASCADE)"
    )
    op.execute("CREATE INDEX ix_forwards_queued ON forwards (next_try) WHERE state = 'queued'")
    # What was received before this version has its digest among the returns, if it left anything there.
    op.execute(
        "INSERT INTO receipts (digest, kept, came_at) SELECT digest, kind = 'review', came_at FROM returns"
    )
    if op.get_bind().dialect.name == "postgresql":
        for what, words in _COMMENTS.items():
            op.execute(f"COMMENT ON {what} IS '{words}'")
