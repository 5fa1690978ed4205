"""Keep what members were sent and let it be sent again, filter the list of members, and find duplicates."""

import sqlalchemy as sa
from alembic import op

from scheduler.domain.address import mailbox_key
from scheduler.store.migrations.constraints import change_check

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_PERSONAL = (
    "kind IN ('confirmation', 'already-member', 'decline', 'sign-in', 'console-sign-in', 'address-change', "
    "'address-changed', 'welcome')"
)


def upgrade() -> None:
    _filter_members()
    _keep_renderings()
    _send_again()
    _find_duplicates()


def _filter_members() -> None:
    op.drop_index("ix_members_search", "members")
    op.create_index(
        "ix_members_search",
        "members",
        ["name_key", "address_key", "status", "country", "zone", "role", "suppressed_at"],
    )


def _keep_renderings() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column(
        "deliveries",
        sa.Column(
            "assumed",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="its text, as last composed, asks whether the assumed time zone is right",
        ),
    )
    op.add_column(
        "deliveries",
        sa.Column(
            "rendering",
            sa.BigInteger(),
            nullable=True,
            comment="its rendering; null if it is the first with its revision, zone, locale, introduces and assumed",
        ),
    )
    op.add_column(
        "past_deliveries",
        sa.Column("rendering", sa.BigInteger(), nullable=True, comment="its rendering, if one was kept"),
    )
    op.create_table(
        "renderings",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("notice", number, nullable=False),
        sa.Column("zone", sa.String(length=60), nullable=False),
        sa.Column("locale", sa.String(length=40), nullable=False),
        sa.Column(
            "revision", sa.Integer(), nullable=False, comment="the occurrence's revision; -1 without one"
        ),
        sa.Column("introduces", sa.Boolean(), nullable=False),
        sa.Column("assumed", sa.Boolean(), nullable=False),
        sa.Column(
            "variant",
            sa.String(length=64),
            nullable=False,
            comment="empty for the first rendering of these; a hash of the content for others",
        ),
        sa.Column(
            "content",
            sa.LargeBinary(),
            nullable=False,
            comment="the message, compressed, with marks for names",
        ),
        sa.ForeignKeyConstraint(
            ["notice"], ["notices.id"], name=op.f("fk_renderings_notice"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_renderings")),
        sa.UniqueConstraint(
            "notice",
            "zone",
            "locale",
            "revision",
            "introduces",
            "assumed",
            "variant",
            name=op.f("uq_renderings_wording"),
        ),
        sqlite_autoincrement=True,
        comment="The messages of cohorts as they were sent, without anything of a member's own",
    )


def _send_again() -> None:
    op.add_column(
        "notices",
        sa.Column(
            "again",
            sa.BigInteger(),
            nullable=True,
            comment="the number of the notice that a convenor sent again to the member",
        ),
    )
    op.create_index(
        "ix_notices_again",
        "notices",
        ["again"],
        sqlite_where=sa.text("again IS NOT NULL"),
        postgresql_where=sa.text("again IS NOT NULL"),
    )
    change_check(
        "notices",
        "ck_notices_personal_has_member",
        f"({_PERSONAL}) = (member IS NOT NULL)",
        f"({_PERSONAL} OR again IS NOT NULL) = (member IS NOT NULL)",
    )


_BATCH = 5_000


def _find_duplicates() -> None:
    op.add_column(
        "members",
        sa.Column(
            "mailbox_key",
            sa.Text(),
            nullable=True,
            comment="the key of the plainest address of the same mailbox; null if that is their own",
        ),
    )
    connection = op.get_bind()
    last = 0
    # Only these have a key that differs from that of their address.
    query = sa.text(
        "SELECT id, address_key FROM members WHERE id > :last AND (address_key LIKE '%+%' OR "
        "address_key LIKE '%@gmail.com' OR address_key LIKE '%@googlemail.com') ORDER BY id LIMIT :batch"
    )
    while rows := connection.execute(query, {"last": last, "batch": _BATCH}).all():
        connection.execute(
            sa.text("UPDATE members SET mailbox_key = :key WHERE id = :id"),
            [{"id": number, "key": mailbox_key(key)} for number, key in rows],
        )
        last = rows[-1][0]
    op.create_index(
        "ix_members_mailbox_key",
        "members",
        ["mailbox_key"],
        sqlite_where=sa.text("mailbox_key IS NOT NULL"),
        postgresql_where=sa.text("mailbox_key IS NOT NULL"),
    )
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "different_people",
        sa.Column("member", number, nullable=False),
        sa.Column("other", number, nullable=False),
        sa.CheckConstraint("member < other", name=op.f("ck_different_people_lower_first")),
        sa.ForeignKeyConstraint(
            ["member"], ["members.id"], name=op.f("fk_different_people_member"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["other"], ["members.id"], name=op.f("fk_different_people_other"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("member", "other", name=op.f("pk_different_people")),
        comment="Pairs of members who look like one person, and are two",
    )
    op.create_index("ix_different_people_other", "different_people", ["other"])
