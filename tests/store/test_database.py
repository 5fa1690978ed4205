"""A series of short transactions: each is committed before the next one starts."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, text

from scheduler.store.database import Database, Work


async def names(database: Database) -> list[str]:
    async with database.read() as connection:
        return list((await connection.scalars(text("SELECT name FROM counters ORDER BY name"))).all())


def insert(number: int) -> Work:
    def write(connection: Connection) -> None:
        connection.execute(
            text("INSERT INTO counters (name, value) VALUES (:name, 1)"), {"name": f"the {number}."}
        )

    return Work(write)


def fail(_connection: Connection) -> None:
    raise ValueError("the third write fails")


async def test_writes_before_a_failed_one_stay_committed_and_none_after_it_is_started(
    database: Database,
) -> None:
    started = []

    def works() -> Iterator[Work]:
        for number in range(4):
            started.append(number)
            yield Work(fail) if number == 2 else insert(number)

    with pytest.raises(ValueError, match="the third"):
        await database.run_writes(works())
    assert started == [0, 1, 2]
    assert await names(database) == ["the 0.", "the 1."]
    await database.run_writes([insert(5)])
    assert await names(database) == ["the 0.", "the 1.", "the 5."]
