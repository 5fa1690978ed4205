"""Record speakers, materials, summaries, insights and themes of meetings, and make the archive searchable.

The texts of speakers and materials that meetings have stay as they are, so that calendars and mails do not change;
what they say is recorded too.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from alembic import op

from scheduler.domain.errors import Refused
from scheduler.domain.meeting_record import read_materials, read_people, slug_for
from scheduler.domain.search import as_text, forms, search_words

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_TEXTS = ("topic", "names", "titles", "words")


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column(
        "occurrences",
        sa.Column(
            "added_when_over",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="an extra that was added for the archive: nobody is mailed about it",
        ),
    )
    op.create_index("ix_occurrences_ends", "occurrences", ["ends"])
    op.create_index("ix_occurrences_series_date", "occurrences", ["series", "date"])
    op.create_table(
        "speakers",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("slug", sa.String(length=40), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False, comment="the name without case, accents and spaces"),
        *(_text(name) for name in ("role", "organisation", "link")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_speakers")),
        sa.UniqueConstraint("slug", name=op.f("uq_speakers_slug")),
        sa.UniqueConstraint("name_key", name=op.f("uq_speakers_name_key")),
        sqlite_autoincrement=True,
        comment="People who led or spoke at meetings; deleted with the last meeting that names them",
    )
    op.create_table(
        "meeting_speakers",
        _occurrence(),
        sa.Column("speaker", number, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        _of_occurrence("meeting_speakers"),
        sa.ForeignKeyConstraint(
            ["speaker"],
            ["speakers.id"],
            name=op.f("fk_meeting_speakers_speaker"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("occurrence", "speaker", name=op.f("pk_meeting_speakers")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_meeting_speakers_speaker", "meeting_speakers", ["speaker"])
    op.create_table(
        "meeting_materials",
        _occurrence(),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        *(_text(name) for name in ("title", "link")),
        sa.CheckConstraint(
            "kind IN ('recording', 'slides', 'summary', 'paper', 'other')",
            name=op.f("ck_meeting_materials_kind_known"),
        ),
        sa.CheckConstraint("title <> '' OR link <> ''", name=op.f("ck_meeting_materials_has_title_or_link")),
        _of_occurrence("meeting_materials"),
        sa.PrimaryKeyConstraint("occurrence", "position", name=op.f("pk_meeting_materials")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "themes",
        sa.Column("slug", sa.String(length=40), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False, comment="the name without case, accents and spaces"),
        _text("words", comment="a paragraph about it, in Markdown"),
        sa.PrimaryKeyConstraint("slug", name=op.f("pk_themes")),
        sa.UniqueConstraint("name_key", name=op.f("uq_themes_name_key")),
    )
    op.create_table(
        "meeting_themes",
        _occurrence(),
        sa.Column("theme", sa.String(length=40), nullable=False),
        _of_occurrence("meeting_themes"),
        sa.ForeignKeyConstraint(
            ["theme"],
            ["themes.slug"],
            name=op.f("fk_meeting_themes_theme"),
            ondelete="CASCADE",
            onupdate="CASCADE",
        ),
        sa.PrimaryKeyConstraint("occurrence", "theme", name=op.f("pk_meeting_themes")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_meeting_themes_theme", "meeting_themes", ["theme"])
    op.create_table(
        "meeting_records",
        _occurrence(),
        *(_text(name, comment="Markdown") for name in ("summary", "insights")),
        sa.Column(
            "month_only",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="the day is not known: pages name the month",
        ),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        _of_occurrence("meeting_records"),
        sa.PrimaryKeyConstraint("occurrence", name=op.f("pk_meeting_records")),
        comment="What is recorded about a meeting, beside its details in calendars",
    )
    _create_archive(number)
    _record_texts(op.get_bind())


def _create_archive(number: sa.types.TypeEngine[int]) -> None:
    op.create_table(
        "archive_entries",
        sa.Column("number", number, autoincrement=True, nullable=False),
        _occurrence(),
        sa.Column("series", sa.String(length=40), nullable=False),
        sa.Column("starts", sa.BigInteger(), nullable=False),
        sa.Column("ends", sa.BigInteger(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False, comment="of the home date"),
        sa.Column("month_only", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("excerpt", sa.Text(), nullable=False, comment="summary and insights as plain text"),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("names", sa.Text(), nullable=False, comment="of speakers and themes"),
        sa.Column("titles", sa.Text(), nullable=False, comment="of materials"),
        sa.Column("words", sa.Text(), nullable=False, comment="of summary, insights and description"),
        _of_occurrence("archive_entries"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_archive_entries")),
        sa.UniqueConstraint("occurrence", name=op.f("uq_archive_entries_occurrence")),
        sqlite_autoincrement=True,
        comment="The meetings in the archive: those that are not cancelled and have anything recorded",
    )
    op.create_index("ix_archive_entries_year_starts_ends", "archive_entries", ["year", "starts", "ends"])
    op.create_index("ix_archive_entries_starts", "archive_entries", ["starts"])
    op.create_index(
        "ix_archive_entries_series_year_starts_ends", "archive_entries", ["series", "year", "starts", "ends"]
    )
    op.create_table(
        "archive_words",
        sa.Column("word", sa.String(length=60), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False, comment="how many entries have it"),
        sa.PrimaryKeyConstraint("word", name=op.f("pk_archive_words")),
        sqlite_with_rowid=False,
        comment="The words of the archive, to find those that somebody mistyped",
    )
    op.create_table(
        "archive_misspellings",
        sa.Column(
            "form", sa.String(length=60), nullable=False, comment="the word, or the word without one letter"
        ),
        sa.Column("word", sa.String(length=60), nullable=False),
        sa.ForeignKeyConstraint(
            ["word"],
            ["archive_words.word"],
            name=op.f("fk_archive_misspellings_word"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("form", "word", name=op.f("pk_archive_misspellings")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_archive_misspellings_word", "archive_misspellings", ["word"])
    if op.get_bind().dialect.name == "postgresql":
        vector = " || ".join(
            f"setweight(to_tsvector('simple'::regconfig, {column}), '{weight}')"
            for column, weight in zip(_TEXTS, "ABCD", strict=True)
        )
        op.execute(
            f"ALTER TABLE archive_entries ADD COLUMN vector tsvector GENERATED ALWAYS AS ({vector}) STORED"
        )
        op.execute("CREATE INDEX ix_archive_entries_vector ON archive_entries USING gin (vector)")
        return
    columns = ", ".join(_TEXTS)
    op.execute(
        f"CREATE VIRTUAL TABLE archive_search USING fts5({columns}, content='archive_entries', "
        "content_rowid='number', tokenize='unicode61 remove_diacritics 2', prefix='2 3')"
    )
    # Triggers also run for rows that a foreign key deletes.
    into = f"INSERT INTO archive_search (rowid, {columns}"
    insert = f"{into}) VALUES (new.number, {_of('new')});"
    delete = f"{into}, archive_search) VALUES (old.number, {_of('old')}, 'delete');"
    for name, event, acts in (
        ("inserted", "INSERT", insert),
        ("deleted", "DELETE", delete),
        ("updated", "UPDATE", f"{delete} {insert}"),
    ):
        op.execute(f"CREATE TRIGGER archive_entry_{name} AFTER {event} ON archive_entries BEGIN {acts} END")


def _of(row: str) -> str:
    return ", ".join(f"{row}.{column}" for column in _TEXTS)


def _text(name: str, comment: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default="", nullable=False, comment=comment)


def _occurrence() -> sa.Column[str]:
    return sa.Column("occurrence", sa.String(length=60), nullable=False)


def _of_occurrence(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["occurrence"],
        ["occurrences.key"],
        name=op.f(f"fk_{table}_occurrence"),
        ondelete="CASCADE",
    )


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BATCH = 500


def _record_texts(connection: sa.Connection) -> None:
    """Record what the texts of meetings say, and enter the meetings into the archive. A text that cannot be read, such
    as one with a name that is too long, stays only a text.

    A copy of the functions that read the texts would be wrong here: names and words must be stored as the version that
    upgrades will look them up.
    """
    slugs: dict[str, int] = {}
    numbers: dict[str, int] = {}
    counts: Counter[str] = Counter()
    rows = connection.execute(
        sa.text(
            "SELECT key, series, zone, starts, ends, cancelled, changed_at, topic, speakers, description, materials "
            "FROM occurrences WHERE topic <> '' OR speakers <> '' OR description <> '' OR materials <> '' "
            "ORDER BY starts, key"
        )
    ).all()
    for row in rows:
        try:
            people = read_people(row.speakers)
        except Refused:
            people = ()
        try:
            materials = read_materials(row.materials)
        except Refused:
            materials = ()
        for position, speaker in enumerate(people):
            if speaker.key not in numbers:
                slug = slug_for(speaker.name, taken=slugs, otherwise="speaker")
                slugs[slug] = numbers[speaker.key] = _insert(
                    connection,
                    "speakers",
                    "id",
                    slug=slug,
                    name=speaker.name,
                    name_key=speaker.key,
                    role=speaker.role,
                    organisation=speaker.organisation,
                )
            _insert(
                connection,
                "meeting_speakers",
                "speaker",
                occurrence=row.key,
                speaker=numbers[speaker.key],
                position=position,
            )
        for position, material in enumerate(materials):
            _insert(
                connection,
                "meeting_materials",
                "position",
                occurrence=row.key,
                position=position,
                kind=material.kind.value,
                title=material.title,
                link=material.link,
            )
        if row.cancelled:
            continue
        texts = (
            row.topic,
            row.speakers,
            "\n".join(material.title for material in materials),
            row.description,
        )
        words = [search_words(text) for text in texts]
        starts = _EPOCH + timedelta(microseconds=row.starts)
        _insert(
            connection,
            "archive_entries",
            "number",
            occurrence=row.key,
            series=row.series,
            starts=row.starts,
            ends=row.ends,
            year=starts.astimezone(ZoneInfo(row.zone)).year,
            changed_at=row.changed_at,
            excerpt="",
            **{name: as_text(found) for name, found in zip(_TEXTS, words, strict=True)},
        )
        counts.update({word for found in words for word in found})
    known = [{"word": word, "entries": count} for word, count in sorted(counts.items())]
    misspelt = [{"form": form, "word": word} for word in sorted(counts) for form in sorted(forms(word))]
    for statement, values in (
        ("INSERT INTO archive_words (word, entries) VALUES (:word, :entries)", known),
        ("INSERT INTO archive_misspellings (form, word) VALUES (:form, :word)", misspelt),
    ):
        for start in range(0, len(values), _BATCH):
            connection.execute(sa.text(statement), values[start : start + _BATCH])


def _insert(connection: sa.Connection, table: str, returned: str, **values: object) -> int:
    target = sa.table(table, *map(sa.column, values))
    statement: sa.Executable = sa.insert(target).values(**values).returning(sa.column(returned))
    return int(connection.execute(statement).scalar_one())
