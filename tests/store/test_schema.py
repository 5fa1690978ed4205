"""Column types that influence how the database plans statements."""

from sqlalchemy import select
from sqlalchemy.dialects import sqlite

from scheduler.store.schema import deliveries


def test_a_state_is_compared_as_a_constant_so_that_a_partial_index_can_be_used() -> None:
    queued = select(deliveries.c.id).where(
        deliveries.c.state == "queued", deliveries.alias().c.state != "sent"
    )
    compiled = queued.compile(dialect=sqlite.dialect())
    assert not compiled.params
    assert "deliveries.state = 'queued'" in str(compiled)


def test_a_value_that_is_not_a_single_word_stays_a_parameter() -> None:
    strange = select(deliveries.c.id).where(deliveries.c.state == "sent' OR 'a'='a")
    assert list(strange.compile(dialect=sqlite.dialect()).params.values()) == ["sent' OR 'a'='a"]
