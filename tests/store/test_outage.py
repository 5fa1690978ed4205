"""How database failures are described and logged."""

import sqlite3

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from structlog.testing import capture_logs

from scheduler.domain.errors import Refused
from scheduler.store.outage import Outages, is_outage, outage_of

READ_ONLY = "the database is read-only: make its file, folder and file system writable"


def failed(cause: str) -> OperationalError:
    return OperationalError(
        "UPDATE members …", {"address": "maya@example.org"}, sqlite3.OperationalError(cause)
    )


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (
            failed("database is locked"),
            "another program holds the database: end it, or wait until it has finished",
        ),
        (failed("database or disk is full"), "the disk is full: make space on it"),
        (OSError(28, "No space left on device", "x"), "the disk is full: make space on it"),
        (OSError(30, "Read-only file system"), READ_ONLY),
        (failed("attempt to write a readonly database"), READ_ONLY),
        (
            failed("disk I/O error"),
            "the disk fails or is read-only: read the system's log, and repair what it names",
        ),
        (
            failed("unable to open database file"),
            "the database cannot be opened: its folder must be there and writable",
        ),
        (failed("no such table: x\nmore"), "the database or a file cannot be used: no such table: x"),
        (ConnectionRefusedError(), "the database or a file cannot be used: ConnectionRefusedError"),
        (Refused("the domain is frozen\nmore"), "work is refused: the domain is frozen"),
    ],
)
def test_each_failure_is_described_in_one_line_that_says_what_to_do(
    error: Exception, description: str
) -> None:
    assert str(outage_of(error)) == description


def test_a_failure_is_logged_when_it_begins_when_its_cause_changes_and_when_it_ends() -> None:
    outages = Outages()
    with capture_logs() as logs:
        outages.end("tick")
        for _ in range(3):
            outages.begin("tick", failed("database is locked"))
        outages.begin("settling", failed("disk is full"), deliveries=4)
        outages.begin("tick", failed("disk is full"))
        assert [outage.words for outage in outages.current] == ["the disk is full"]
        outages.end("tick")
        assert outages.current
        outages.end("settling")
        assert not outages.current
    assert [entry["event"] for entry in logs] == [
        "tick-failed",
        "settling-failed",
        "tick-failed",
        "tick-works-again",
        "settling-works-again",
    ]
    assert logs[1] == {
        "event": "settling-failed",
        "log_level": "error",
        "error": "OperationalError",
        "deliveries": 4,
        "problem": "the disk is full: make space on it",
    }


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (failed("database is locked"), True),
        (ConnectionRefusedError(), True),
        (PoolTimeoutError(), True),
        (IntegrityError("INSERT", {}, sqlite3.IntegrityError("UNIQUE")), False),
        (ValueError(), False),
    ],
)
def test_an_error_of_our_own_is_not_an_outage(error: Exception, outage: bool) -> None:
    assert is_outage(error) is outage
