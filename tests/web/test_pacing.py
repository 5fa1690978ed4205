"""How often one network may ask for mail."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from starlette.requests import Request

from scheduler.web.pacing import Pace, network_of
from tests.clock import FakeClock

START = datetime(2026, 11, 1, tzinfo=UTC)


def asked(host: str, forwarded: str = "") -> Request:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    return Request({"type": "http", "client": (host, 1), "headers": headers})


def test_a_network_that_asks_too_often_waits_for_the_next_hour_and_no_other_does() -> None:
    clock = FakeClock(START)
    pace = Pace(clock, most_an_hour=2)
    assert [pace.allows(asked("198.51.100.1")) for _ in range(3)] == [True, True, False]
    assert not pace.allows(asked("198.51.100.200"))
    assert pace.allows(asked("203.0.113.1"))
    clock.pass_until(START + timedelta(hours=1))
    assert pace.allows(asked("198.51.100.1"))


def test_behind_a_proxy_of_our_own_the_visitor_counts_and_what_a_visitor_writes_does_not() -> None:
    pace = Pace(FakeClock(START), most_an_hour=1)
    assert pace.allows(asked("127.0.0.1", "9.9.9.9"))
    assert pace.allows(asked("127.0.0.1", "8.8.8.8"))
    assert not pace.allows(asked("127.0.0.1", "1.2.3.4, 8.8.8.8"))
    assert pace.allows(asked("1.1.1.1", "9.9.9.9"))
    assert not pace.allows(asked("1.1.1.1", "7.7.7.7"))


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("198.51.100.7", "198.51.100.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_a_network_is_a_site_as_they_are_given_out(host: str, network: str) -> None:
    assert network_of(host) == network


def test_counting_leaves_no_thread_behind_that_would_outlive_a_stopped_service() -> None:
    before = set(threading.enumerate())
    Pace(FakeClock(START)).allows(asked("198.51.100.1"))
    assert set(threading.enumerate()) == before
