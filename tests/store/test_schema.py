"""The columns that decide how the database plans its statements."""

import pytest
from sqlalchemy import select
from sqlalchemy.dialects import sqlite

from scheduler.store.schema import deliveries


def test_a_state_is_said_as_a_constant_so_that_a_partial_index_holds_whatever_is_asked() -> None:
    queued = select(deliveries.c.id).where(
        deliveries.c.state == "queued", deliveries.alias().c.state != "sent"
    )
    compiled = queued.compile(dialect=sqlite.dialect())
    assert not compiled.params
    assert "deliveries.state = 'queued'" in str(compiled)


def test_nothing_but_a_word_is_said_as_a_constant() -> None:
    with pytest.raises(ValueError, match="word"):
        deliveries.c.state == "sent' OR 'a'='a"  # noqa: B015 - comparing is the act
