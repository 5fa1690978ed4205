"""Requests that another site makes a visitor's browser send have no effect."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from scheduler.domain.token import Purpose
from tests.installation import Installation
from tests.web.conftest import Arrive

OURS = "https://meet.example.org"
CROSS = [
    {"Origin": "https://evil.example.org"},
    {"Origin": "http://meet.example.org"},
    {"Origin": "https://meet.example.org:8443"},
    {"Origin": "https://meet.example.org.evil.example.org"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "file://"},
    {"Origin": "https://[::1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "rubbish"},
    {"Origin": OURS, "Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://evil.example.org", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
]
OWN = [
    {},
    {"Origin": OURS},
    {"Origin": OURS, "Sec-Fetch-Site": "same-origin"},
    {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": f"{OURS}:443"},
]


def posting_paths(app: Starlette) -> list[str]:
    """The paths of all routes that take a POST, with made-up values in them."""
    found = [
        route.path for route in app.routes if isinstance(route, Route) and "POST" in (route.methods or ())
    ]
    return [path.replace("{token}", "a" * 34) for path in found]


@pytest.fixture
def visitor(arrive: Arrive) -> httpx.AsyncClient:
    return arrive(peer="198.51.100.7", host="meet.example.org")


@pytest.mark.parametrize("headers", CROSS, ids=str)
async def test_every_post_but_the_one_click_address_is_refused_to_another_site(
    app: Starlette, visitor: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    paths = posting_paths(app)
    assert len(paths) >= 8
    for path in paths:
        code = (await visitor.post(path, headers=headers)).status_code
        assert (code == 403) is not path.startswith("/u/"), path


@pytest.mark.parametrize("headers", OWN, ids=str)
async def test_our_own_pages_and_what_is_no_browser_are_let_through(
    app: Starlette, visitor: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    for path in posting_paths(app):
        assert (await visitor.post(path, headers=headers)).status_code != 403, path


async def test_under_another_name_of_this_server_its_own_pages_work(arrive: Arrive) -> None:
    local_visitor = arrive(host="127.0.0.1:8000")
    assert (await local_visitor.post("/me", headers={"Origin": "http://127.0.0.1:8000"})).status_code == 422
    assert (await local_visitor.post("/me", headers={"Origin": "http://127.0.0.1:9000"})).status_code == 403


async def test_a_mail_program_leaves_by_one_click_from_anywhere(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    token = installation.keys.token(Purpose.LEAVE, 1, generation=0)
    answer = await visitor.post(
        f"/u/{token}",
        data={"List-Unsubscribe": "One-Click"},
        headers={"Origin": "https://mail.example.org", "Sec-Fetch-Site": "cross-site"},
    )
    assert answer.status_code == 200
    async with installation.database.read() as connection:
        row = await connection.exec_driver_sql("SELECT status FROM members WHERE id = 1")
        assert row.scalar_one() == "left"


async def test_a_get_from_another_site_is_a_plain_visit(visitor: httpx.AsyncClient) -> None:
    for headers in CROSS:
        assert (await visitor.get("/", headers=headers)).status_code == 200
