"""Short transactions: each of a row of them stands before the next one is asked for."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, text

from scheduler.store.database import Database, Work


async def kept(database: Database) -> list[str]:
    async with database.read() as connection:
        return list((await connection.scalars(text("SELECT name FROM counters ORDER BY name"))).all())


def note(number: int) -> Work:
    def write(connection: Connection) -> None:
        connection.execute(
            text("INSERT INTO counters (name, value) VALUES (:name, 1)"), {"name": f"the {number}."}
        )

    return Work(write)


def fail(_connection: Connection) -> None:
    raise ValueError("the third cannot be written")


async def test_of_a_row_of_writes_all_before_the_one_that_fails_stand_and_none_after_it_is_asked_for(
    database: Database,
) -> None:
    asked = []

    def works() -> Iterator[Work]:
        for number in range(4):
            asked.append(number)
            yield Work(fail) if number == 2 else note(number)

    with pytest.raises(ValueError, match="the third"):
        await database.run_writes(works())
    assert asked == [0, 1, 2]
    assert await kept(database) == ["the 0.", "the 1."]
    await database.run_writes([note(5)])
    assert await kept(database) == ["the 0.", "the 1.", "the 5."]
