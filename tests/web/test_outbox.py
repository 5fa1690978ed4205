"""The outbox: every email as its recipients see it, on this machine and nowhere else."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest
from starlette.applications import Starlette

from tests.installation import Installation
from tests.web.conftest import Arrive


@pytest.fixture
async def invited(installation: Installation) -> Installation:
    """The invitations have gone out."""
    await installation.live(datetime(2026, 11, 6, 12, tzinfo=UTC))
    return installation


async def first_mail(visitor: httpx.AsyncClient) -> str:
    found = re.search(r'href="(/outbox/[^"]+)"', (await visitor.get("/outbox")).text)
    assert found
    return found[1]


async def test_the_list_shows_the_time_in_each_email(
    invited: Installation, visitor: httpx.AsyncClient
) -> None:
    page = (await visitor.get("/outbox")).text
    assert "3 emails" in page
    assert "Friday 20 November, 07:00 Auckland (UTC+13)" in page
    assert "Thursday 19 November, 13:00 New York (UTC-5)" in page
    assert "2026-11-05 20:00 UTC" in page
    assert page.index("bo@example.org") < page.index("ann@example.org")


async def test_a_mail_is_shown_as_text_html_and_calendar(
    invited: Installation, visitor: httpx.AsyncClient
) -> None:
    mail = await first_mail(visitor)
    page = (await visitor.get(mail)).text
    assert "Dear Bo," in page
    assert "METHOD:REQUEST" in page and "DTSTART;TZID=Europe/London:20261119T180000" in page
    frame = re.search(r"<iframe [^>]+>", page)
    assert frame and f'src="{mail}/html"' in frame[0] and "sandbox=" in frame[0]
    assert "allow-scripts" not in frame[0] and "allow-same-origin" not in frame[0]


async def test_the_html_of_a_mail_can_do_nothing(invited: Installation, visitor: httpx.AsyncClient) -> None:
    answer = await visitor.get(f"{await first_mail(visitor)}/html")
    assert "Auckland" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "sandbox" in policy
    assert "script-src" not in policy and "allow-scripts" not in policy and "allow-same-origin" not in policy


async def test_a_hostile_mail_is_text_on_our_page(invited: Installation, visitor: httpx.AsyncClient) -> None:
    (invited.mail / "new" / "hostile").write_bytes(
        b"Delivered-To: a@example.org\nTo: <script>alert(1)</script> <a@example.org>\n"
        b"Subject: </title><script>alert(2)</script>\nContent-Type: text/plain; charset=nonsense\n\n"
        b"<script>alert(3)</script>\xff\n"
    )
    for path in ("/outbox", "/outbox/hostile"):
        page = await visitor.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
    assert (await visitor.get("/outbox/hostile/html")).status_code == 404


async def test_the_source_is_plain_text(invited: Installation, visitor: httpx.AsyncClient) -> None:
    answer = await visitor.get(f"{await first_mail(visitor)}/source")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in answer.text


async def test_no_other_file_can_be_read(invited: Installation, visitor: httpx.AsyncClient) -> None:
    for name in ["nothing", "..;", "%2e%2e%2ftest.sqlite", ".hidden", "%00"]:
        for path in ["", "/html", "/source"]:
            assert (await visitor.get(f"/outbox/{name}{path}")).status_code == 404


async def test_an_empty_outbox_says_so(installation: Installation, visitor: httpx.AsyncClient) -> None:
    assert "No emails have been sent yet" in (await visitor.get("/outbox")).text


async def test_this_machine_sees_it_by_its_own_names(invited: Installation, arrive: Arrive) -> None:
    for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"]:
        for host in ["127.0.0.1:8000", "localhost", "[::1]:8000"]:
            assert (await arrive(peer, host).get("/outbox")).status_code == 200


async def test_nobody_else_learns_that_it_is_there(invited: Installation, arrive: Arrive) -> None:
    mail = await first_mail(arrive())
    strangers: list[tuple[str, str, dict[str, str]]] = [
        ("192.0.2.7", "127.0.0.1:8000", {}),
        ("127.0.0.1", "meet.example.org", {}),
        ("127.0.0.1", "localhost.example.org", {}),
        ("127.0.0.1", "127.0.0.1:8000", {"X-Forwarded-For": "192.0.2.7"}),
        ("127.0.0.1", "127.0.0.1:8000", {"Forwarded": "for=192.0.2.7"}),
        ("127.0.0.1", "127.0.0.1:8000", {"Host": "[::1"}),
        ("127.0.0.1", "127.0.0.1:8000", {"Host": ""}),
    ]
    for peer, host, headers in strangers:
        client = arrive(peer, host)
        for path in ("/outbox", mail, f"{mail}/html", f"{mail}/source"):
            assert (await client.get(path, headers=headers)).status_code == 404


async def test_without_a_maildir_there_is_none(app: Starlette, visitor: httpx.AsyncClient) -> None:
    app.state.site = replace(app.state.site, outbox=None)
    assert (await visitor.get("/outbox")).status_code == 404
    assert "/outbox" not in (await visitor.get("/")).text
