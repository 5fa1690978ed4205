"""Let convenors sign in to the console."""

import sqlalchemy as sa
from alembic import op

from scheduler.store.migrations.constraints import change_check

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_MEETING = "'invitation', 'reminder', 'follow-up', 'update', 'cancellation'"
_BEFORE = (
    "'confirmation', 'already-member', 'decline', 'sign-in', 'address-change', 'address-changed', 'welcome'"
)
_AFTER = _BEFORE.replace("'sign-in',", "'sign-in', 'console-sign-in',")


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    change_check(
        "notices",
        "ck_notices_kind_known",
        f"kind IN ({_MEETING}, 'notice', {_BEFORE})",
        f"kind IN ({_MEETING}, 'notice', {_AFTER})",
    )
    change_check(
        "notices",
        "ck_notices_personal_has_member",
        f"(kind IN ({_BEFORE})) = (member IS NOT NULL)",
        f"(kind IN ({_AFTER})) = (member IS NOT NULL)",
    )
    op.create_table(
        "sessions",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("member", number, nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False, comment="of the cookie's value"),
        sa.Column(
            "sign_in_hash",
            sa.String(length=64),
            nullable=False,
            comment="of the mailed link or the passkey's challenge that it began with, so that each works once",
        ),
        sa.Column("generation", sa.Integer(), nullable=False, comment="of the member's links when it began"),
        sa.Column("browser", sa.String(length=60), nullable=False, comment="such as Firefox on Android"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False, comment="to within a few minutes"),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["member"], ["members.id"], name=op.f("fk_sessions_member"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_sessions_secret_hash")),
        sa.UniqueConstraint("sign_in_hash", name=op.f("uq_sessions_sign_in_hash")),
        sqlite_autoincrement=True,
        comment="Convenors and helpers who are signed in to the console, and those who were until lately",
    )
    op.create_index("ix_sessions_member_created_at", "sessions", ["member", "created_at"])
    op.create_index("ix_sessions_used_at", "sessions", ["used_at"])
    op.create_table(
        "passkeys",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("member", number, nullable=False),
        sa.Column("credential", sa.LargeBinary(), nullable=False, comment="the ID of the credential"),
        sa.Column(
            "key_data", sa.LargeBinary(), nullable=False, comment="its attested data, with the public key"
        ),
        sa.Column("name", sa.String(length=60), nullable=False, comment="the browser that it was made with"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["member"], ["members.id"], name=op.f("fk_passkeys_member"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkeys")),
        sa.UniqueConstraint("credential", name=op.f("uq_passkeys_credential")),
        sqlite_autoincrement=True,
        comment="Passkeys with which convenors and helpers sign in (Web Authentication)",
    )
    op.create_index("ix_passkeys_member", "passkeys", ["member"])
