"""Show who we are: the page about the community, people with their photos, and messages to the convenors."""

import sqlalchemy as sa
from alembic import op

from scheduler.store.migrations.constraints import change_check

revision = "0022"
down_revision = "0020"
branch_labels = None
depends_on = None

_MEETING = "'invitation', 'reminder', 'follow-up', 'update', 'cancellation'"
_CONVENORS = "'preflight', 'room-missing'"
_BEFORE = (
    "'confirmation', 'already-member', 'decline', 'sign-in', 'console-sign-in', 'address-change', "
    "'address-changed', 'welcome'"
)
_AFTER = _BEFORE.replace("'address-changed',", "'address-changed', 'contact',")


def upgrade() -> None:
    _take_messages()
    _keep_about_page()
    _show_people()


def _take_messages() -> None:
    change_check(
        "notices",
        "ck_notices_kind_known",
        f"kind IN ({_MEETING}, 'notice', {_CONVENORS}, {_BEFORE})",
        f"kind IN ({_MEETING}, 'notice', {_CONVENORS}, {_AFTER})",
    )
    change_check(
        "notices",
        "ck_notices_personal_has_member",
        f"(kind IN ({_BEFORE}) OR again IS NOT NULL) = (member IS NOT NULL)",
        f"(kind IN ({_AFTER}) OR again IS NOT NULL) = (member IS NOT NULL)",
    )
    change_check(
        "asks", "ck_asks_what_known", "what IN ('join', 'link')", "what IN ('join', 'link', 'contact')"
    )
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "contact_messages",
        sa.Column("notice", number, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("address_key", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("came_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["notice"], ["notices.id"], name=op.f("fk_contact_messages_notice"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("notice", name=op.f("pk_contact_messages")),
        comment="Messages to the convenors from the contact form, until they have certainly been mailed",
    )
    op.create_index("ix_contact_messages_address_key", "contact_messages", ["address_key"])
    op.create_index("ix_contact_messages_came_at", "contact_messages", ["came_at"])


def _keep_about_page() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "about_versions",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("body", sa.Text(), nullable=False, comment="Markdown"),
        sa.Column("author", number, nullable=True, comment="the member, if known"),
        sa.Column("author_name", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["author"], ["members.id"], name=op.f("fk_about_versions_author"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_about_versions")),
        sqlite_autoincrement=True,
        comment="The page about the community, as it was each time it was saved; the newest is shown",
    )
    op.create_index("ix_about_versions_author", "about_versions", ["author"])


def _show_people() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "profiles",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("member", number, nullable=False),
        sa.Column(
            "kind", sa.String(length=10), nullable=False, comment="convenor, or wall for any other member"
        ),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False, comment="what they do, in their own words"),
        sa.Column("organisation", sa.Text(), server_default="", nullable=False),
        sa.Column("country", sa.String(length=6), nullable=True),
        sa.Column(
            "photo",
            sa.String(length=32),
            nullable=True,
            comment="the name of their photo in its address; null for none",
        ),
        sa.Column(
            "photo_format",
            sa.String(length=5),
            nullable=True,
            comment="the better format of their photo; the other is JPEG",
        ),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.Column(
            "refusal",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="what a convenor said to the member",
        ),
        sa.CheckConstraint("kind IN ('convenor', 'wall')", name=op.f("ck_profiles_kind_known")),
        sa.CheckConstraint(
            "state IN ('draft', 'waiting', 'released', 'refused')", name=op.f("ck_profiles_state_known")
        ),
        sa.CheckConstraint(
            "(state = 'released') = (released_at IS NOT NULL)", name=op.f("ck_profiles_released_has_instant")
        ),
        sa.CheckConstraint(
            "state = 'refused' OR refusal = ''", name=op.f("ck_profiles_only_refused_has_words")
        ),
        sa.CheckConstraint(
            "(photo IS NULL) = (photo_format IS NULL)", name=op.f("ck_profiles_photo_has_format")
        ),
        sa.ForeignKeyConstraint(
            ["member"], ["members.id"], name=op.f("fk_profiles_member"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profiles")),
        sa.UniqueConstraint("photo", name=op.f("uq_profiles_photo")),
        sa.UniqueConstraint("member", "kind", name=op.f("uq_profiles_member_kind")),
        sqlite_autoincrement=True,
        comment="What members and convenors want to show of themselves on the page of people",
    )
    op.create_index("ix_profiles_kind_state_released_at", "profiles", ["kind", "state", "released_at"])
    op.create_index("ix_profiles_state_changed_at", "profiles", ["state", "changed_at"])
    op.create_table(
        "photos",
        sa.Column("member", number, nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False, comment="pixels on each side"),
        sa.Column("format", sa.String(length=5), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["member"], ["members.id"], name=op.f("fk_photos_member"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["member", "kind"],
            ["profiles.member", "profiles.kind"],
            name=op.f("fk_photos_profile"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("member", "kind", "size", "format", name=op.f("pk_photos")),
        comment="The photos of profiles, as they are served; what was sent to us is not kept",
    )
