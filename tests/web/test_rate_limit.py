"""The rate limit on forms, and who a visitor is behind a proxy."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import Request

from scheduler.domain.errors import Refused
from scheduler.domain.token import Keys
from scheduler.domain.visitor import NO_NETWORKS, Networks, network_of
from scheduler.service.form_limits import FormLimits, allow_form
from scheduler.service.health import health, troubles
from scheduler.store.database import Database
from scheduler.web.security import RateLimiter
from tests.clock import FakeClock
from tests.installation import Installation
from tests.web.conftest import make_app

START = datetime(2026, 11, 1, 10, 59, tzinfo=UTC)
KEYS = Keys(b"k" * 32)
PROXIES = Networks.of(["127.0.0.1", "10.0.0.0/8", "2001:db8:ffff::/48"])
REAL = "198.51.100.7"
FORGED = "203.0.113.66"


def request(peer: str, *headers: tuple[str, str]) -> Request:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "client": (peer, 1), "headers": raw})


def visitor(peer: str, *headers: tuple[str, str], trusted: Networks = PROXIES) -> str:
    return trusted.visitor(request(peer, *headers).scope)


XFF, FORWARDED = "X-Forwarded-For", "Forwarded"


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([(XFF, REAL)], REAL),
        ([(XFF, f"{FORGED}, {REAL}")], REAL),
        ([(XFF, FORGED), (XFF, REAL)], REAL),
        ([(XFF, f"{FORGED}, {FORGED}"), (XFF, f"{FORGED},{REAL}")], REAL),
        ([(XFF, f"{FORGED}, {REAL}, 10.1.2.3")], REAL),
        ([(XFF, f"{FORGED}, {REAL}"), (XFF, "10.1.2.3, 2001:db8:ffff::9")], REAL),
        ([(XFF, f"{REAL}:51234")], REAL),
        ([(XFF, "[2001:db8:1:2::3]:51234")], "2001:db8:1:2::3"),
        ([(XFF, "[2001:db8:1:2::3]")], "2001:db8:1:2::3"),
        ([(XFF, "2001:db8:1:2::3")], "2001:db8:1:2::3"),
        ([(XFF, f"::ffff:{REAL}")], REAL),
        ([(XFF, "fe80::1%eth0")], "fe80::1"),
        ([(XFF, f"{REAL},")], REAL),
        ([(XFF, ""), (XFF, REAL)], REAL),
        ([(FORWARDED, f"for={REAL};proto=https")], REAL),
        ([(FORWARDED, f'for="{REAL}:4711";by=10.0.0.1')], REAL),
        ([(FORWARDED, f'For="[2001:db8:1:2::3]:80", for={REAL}')], REAL),
        ([(FORWARDED, f"for={FORGED}"), (FORWARDED, f"proto=http; for={REAL}")], REAL),
        ([(FORWARDED, f"for={FORGED}, for={REAL}, for=10.0.0.9")], REAL),
        ([(FORWARDED, f'host="a,b;for={FORGED}";for={REAL}')], REAL),
        ([(XFF, REAL), (FORWARDED, f"for={REAL}")], REAL),
    ],
)
def test_behind_trusted_proxies_the_first_untrusted_hop_from_the_right_is_the_visitor(
    headers: list[tuple[str, str]], found: str
) -> None:
    assert visitor("127.0.0.1", *headers) == found


@pytest.mark.parametrize(
    "headers",
    [
        [(XFF, "10.0.0.0/8")],
        [(XFF, "unknown")],
        [(XFF, f"{FORGED}, unknown")],
        [(XFF, "127.0.0.1; drop table members")],
        [(XFF, "1.2.3")],
        [(XFF, "::::")],
        [(XFF, "[::1")],
        [(XFF, "256.1.1.1:99999")],
        [(XFF, "\xff\xfe")],
        [(XFF, ",,,")],
        [(FORWARDED, "for=unknown")],
        [(FORWARDED, "for=_hidden")],
        [(FORWARDED, f"for={FORGED}, proto=https")],
        [(FORWARDED, f'for="{FORGED}')],
        [(FORWARDED, "=;=,")],
        # One of the two was written by the visitor; which, nobody can tell.
        [(XFF, REAL), (FORWARDED, f"for={FORGED}")],
        [(XFF, FORGED), (FORWARDED, f"for={REAL}")],
    ],
)
def test_rubbish_from_a_proxy_counts_as_the_proxy_and_is_no_error(headers: list[tuple[str, str]]) -> None:
    assert visitor("127.0.0.1", *headers) == "127.0.0.1"


def test_where_every_hop_is_a_trusted_proxy_the_farthest_is_the_visitor() -> None:
    assert visitor("127.0.0.1", (XFF, "10.0.0.9, 10.0.0.8")) == "10.0.0.9"


def test_a_hop_behind_rubbish_is_not_read() -> None:
    assert visitor("127.0.0.1", (XFF, f"{FORGED}, rubbish, 10.0.0.9")) == "10.0.0.9"


@pytest.mark.parametrize("peer", ["198.51.100.9", "127.0.0.1", "192.168.1.1", "::1", "", "testclient"])
def test_without_trusted_proxies_what_is_forwarded_is_ignored(peer: str) -> None:
    assert visitor(peer, (XFF, FORGED), (FORWARDED, f"for={FORGED}"), trusted=NO_NETWORKS) == peer


def test_what_an_untrusted_peer_forwards_is_ignored() -> None:
    assert visitor("198.51.100.9", (XFF, FORGED)) == "198.51.100.9"


def test_a_long_forged_header_is_read_in_no_time_and_without_effect() -> None:
    forged = '"\\' * 15_000
    assert visitor("127.0.0.1", (XFF, f"{forged}, {REAL}")) == REAL
    assert visitor("127.0.0.1", (FORWARDED, forged), (FORWARDED, f"for={REAL}")) == REAL


@pytest.mark.parametrize("wrong", ["proxy.example.org", "10.0.0.1/8", "10.0.0.0/33", "", "0.0.0.0/0", "::/0"])
def test_what_is_no_network_or_is_everybody_is_no_trusted_proxy(wrong: str) -> None:
    with pytest.raises(Refused):
        Networks.of([wrong])


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2::3", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::3", "2001:db8:1:3::/64"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_a_visitor_is_an_ipv4_address_or_an_ipv6_network(host: str, network: str) -> None:
    assert network_of(host) == network


@pytest.mark.both_databases
async def test_a_visitor_that_asks_too_often_waits_for_the_next_hour_and_no_other_does(
    database: Database,
) -> None:
    clock = FakeClock(START)
    limiter = RateLimiter(database, clock, KEYS, limits=FormLimits(per_visitor=2, total=10), trusted=PROXIES)
    assert [await limiter.allows(request(REAL)) for _ in range(3)] == [True, True, False]
    assert not await limiter.allows(request("10.0.0.1", (XFF, f"{FORGED}, {REAL}:99")))
    assert await limiter.allows(request("10.0.0.1", (XFF, f"{REAL}, {FORGED}")))
    clock.pass_until(START + timedelta(minutes=1))
    assert await limiter.allows(request(REAL))


@pytest.mark.both_databases
async def test_the_limit_over_all_visitors_holds_and_is_a_trouble_for_an_hour(database: Database) -> None:
    limits = FormLimits(per_visitor=30, total=5)
    asked = [
        await allow_form(database, f"198.51.100.{number}", keys=KEYS, limits=limits, now=START)
        for number in range(7)
    ]
    assert asked == [True] * 5 + [False] * 2
    found = await health(database, START)
    assert any(
        one.startswith("forms: 5 mails were asked for within an hour") for one in found.troubles(START)
    )
    async with database.read() as connection:
        assert "forms" in await troubles(connection, START, late=timedelta(minutes=15))
        stored = (await connection.execute(text("SELECT visitor FROM form_counts"))).scalars().all()
        assert not [visitor for visitor in stored if "198.51.100" in visitor]  # no address is kept
    later = START + timedelta(minutes=61)
    assert not (await health(database, later)).forms_limited
    assert await allow_form(database, "198.51.100.9", keys=KEYS, limits=limits, now=later)
    async with database.read() as connection:
        assert len((await connection.execute(text("SELECT * FROM form_counts"))).all()) == 2


@pytest.mark.both_databases
async def test_counts_hold_over_several_serve_that_ask_at_once(database_url: str) -> None:
    limits = FormLimits(per_visitor=7, total=100)
    several = [Database(database_url) for _ in range(3)]
    answers = await asyncio.gather(
        *(allow_form(one, REAL, keys=KEYS, limits=limits, now=START) for one in several for _ in range(5))
    )
    for one in several:
        await one.close()
    assert sum(answers) == 7


@pytest.fixture
def app(installation: Installation) -> Starlette:
    return make_app(installation, trusted_proxies=PROXIES, form_limits=FormLimits(per_visitor=2, total=4))


async def test_one_visitor_behind_a_proxy_cannot_have_2000_mails_sent(
    app: Starlette, installation: Installation
) -> None:
    """Only the first X-Forwarded-For line was read, so that the visitor wrote it."""
    transport = httpx.ASGITransport(app, client=("10.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="https://meet.example.org") as client:

        async def ask(number: int, real: str = REAL) -> int:
            headers = [(XFF, f"203.0.113.{number}"), (XFF, real)]
            answer = await client.post("/me", data={"email": f"a{number}@example.org"}, headers=headers)
            return answer.status_code

        assert [await ask(number) for number in range(5)] == [200, 200, 429, 429, 429]
        # Others are counted separately, until all together are too many.
        assert [await ask(number, f"198.51.100.{number}") for number in range(20, 24)] == [200, 200, 429, 429]
    assert any(
        "forms" in one
        for one in (await health(installation.database, installation.clock.now())).troubles(
            installation.clock.now()
        )
    )
