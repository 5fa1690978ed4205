"""Change a constraint of a table in a migration, without rebuilding the table."""

from alembic import op
from sqlalchemy import text


def change_check(table: str, name: str, before: str, after: str) -> None:
    """Replace the condition `before` of a CHECK constraint by `after`.

    SQLite cannot change a constraint in place, and rebuilding a table would delete the rows that refer to it. So its
    definition is edited, as SQLite's documentation describes for constraints ("ALTER TABLE", section 7).
    """
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        op.drop_constraint(op.f(name), table, type_="check")
        op.create_check_constraint(op.f(name), table, after)
        return
    version = connection.scalar(text("PRAGMA schema_version"))
    connection.execute(text("PRAGMA writable_schema = ON"))
    edited = connection.execute(
        text(
            "UPDATE sqlite_master SET sql = replace(sql, :before, :after)"
            " WHERE type = 'table' AND name = :table AND instr(sql, :before) > 0"
        ),
        {
            "table": table,
            "before": f"CONSTRAINT {name} CHECK ({before})",
            "after": f"CONSTRAINT {name} CHECK ({after})",
        },
    )
    if edited.rowcount != 1:
        raise RuntimeError(f"the table {table} has no constraint {name} with the condition {before}")
    connection.execute(text(f"PRAGMA schema_version = {version + 1}"))
    connection.execute(text("PRAGMA writable_schema = OFF"))
