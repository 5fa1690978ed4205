"""The form to join, from the first visit to the button behind the link in the email."""

import re
from datetime import timedelta

import httpx
import pytest

from scheduler.domain.token import Purpose
from scheduler.store import join_requests, members
from tests.installation import Installation, address_of
from tests.web.conftest import Arrive

GOOD = {
    "name": "Maya",
    "email": "maya@example.org",
    "country": "NZ",
    "zone": "Pacific/Auckland",
    "locale": "en",
    "words": "I like to listen.",
    "consent": "yes",
}
SURE = {**GOOD, "confirmed": "Pacific/Auckland"}


async def rows(installation: Installation) -> int:
    async with installation.database.read() as connection:
        return sum((await members.counts(connection)).values())


async def test_the_form_asks_and_preselects_what_the_browser_says(visitor: httpx.AsyncClient) -> None:
    page = await visitor.get("/join?zone=Asia/Kolkata", headers={"Accept-Language": "cy-GB,fr;q=0.5"})
    assert '<option value="Asia/Kolkata" selected>Kolkata</option>' in page.text
    assert re.search(r'<option value="cy" lang="cy" selected>', page.text)
    assert '<option value="GB-WLS">Cymru</option>' in page.text
    assert "Set-Cookie" not in page.headers


async def test_before_anything_is_sent_the_visitor_sees_their_own_hour(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    page = await visitor.post("/join", data=GOOD)
    assert page.status_code == 200 and "Is this the right time for you?" in page.text
    assert '<time datetime="2026-11-20T07:00:00+13:00">7:00 am</time>' in page.text
    again = await visitor.post("/join", data={**GOOD, "act": "back"})
    assert 'value="maya@example.org"' in again.text and "Continue" in again.text
    assert await rows(installation) == 3


async def test_without_a_zone_the_country_offers_its_own(visitor: httpx.AsyncClient) -> None:
    page = await visitor.post("/join", data={**GOOD, "zone": ""})
    assert "Which is your time zone?" in page.text
    assert 'value="Pacific/Chatham">Chatham' in page.text and "7:45 am" in page.text
    one = await visitor.post("/join", data={**GOOD, "zone": "", "country": "GB-SCT"})
    assert "Is this the right time for you?" in one.text and 'value="Europe/London"' in one.text
    none = await visitor.post("/join", data={**GOOD, "zone": "", "country": "XK"})
    assert none.status_code == 422 and "nearest to you" in none.text


async def test_the_answer_is_the_same_for_whoever_asks(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await installation.join(("Dan", "Europe/London"), status="left", active_since=None)
    answers = {}
    for email in ("new@example.org", address_of("Ann"), address_of("Dan")):
        answer = await visitor.post("/join", data={**SURE, "email": email})
        assert answer.status_code == 200
        answers[email] = (answer.text.replace(email, "X"), sorted(set(answer.headers) - {"content-length"}))
    assert len({str(one) for one in answers.values()}) == 1
    await installation.tick()
    kinds = {
        one.address: one.kind
        for one in await installation.reports()
        if one.kind in ("confirmation", "already-member")
    }
    assert kinds == {
        "new@example.org": "confirmation",
        address_of("Ann"): "already-member",
        address_of("Dan"): "confirmation",
    }


async def test_a_link_followed_confirms_nothing_and_its_button_does(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await visitor.post("/join", data=SURE)
    await installation.tick()
    async with installation.database.read() as connection:
        member = await members.by_key(connection, "maya@example.org")
        assert member
    link = "/confirm/" + installation.keys.token(
        Purpose.CONFIRM, member.id, generation=0, expires=installation.clock.now() + timedelta(days=2)
    )
    for _ in range(2):
        page = await visitor.get(link)
        assert "Would you like to join?" in page.text and "I like to listen." in page.text
        assert page.headers["Referrer-Policy"] == "same-origin"
    async with installation.database.read() as connection:
        assert await join_requests.waiting(connection) == []
    for _ in range(2):
        assert "We have your request" in (await visitor.post(link)).text
    async with installation.database.read() as connection:
        assert len(await join_requests.waiting(connection)) == 1
    installation.clock.pass_(timedelta(days=2))
    expired = await visitor.get(link)
    assert expired.status_code == 410 and "has expired" in expired.text
    assert (await visitor.get("/confirm/" + "a" * 40)).status_code == 404


async def test_a_machine_that_fills_in_everything_is_answered_and_not_heard(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    answer = await visitor.post("/join", data={**SURE, "homepage": "http://spam.example.org"})
    assert "Check your email" in answer.text
    assert await rows(installation) == 3


async def test_one_network_asks_only_so_often_and_others_go_on(
    installation: Installation, arrive: Arrive
) -> None:
    crowd = [arrive(peer=f"2001:db8:1:2::{number}") for number in range(3)]
    codes = [
        (await crowd[number % 3].post("/join", data={**SURE, "email": f"m{number}@example.org"})).status_code
        for number in range(31)
    ]
    assert codes == [200] * 30 + [429]
    assert (await arrive(peer="198.51.100.1").post("/join", data=SURE)).status_code == 200


@pytest.mark.proof
async def test_ten_thousand_attempts_from_many_networks_bring_one_address_two_mails(
    installation: Installation, arrive: Arrive
) -> None:
    crowd = [arrive(peer=f"203.{number // 200}.{number % 200}.9") for number in range(400)]
    for number in range(10_000):
        answer = await crowd[number % 400].post("/join", data={**SURE, "name": f"Maya {number}"})
        assert answer.status_code == 200
        installation.clock.pass_(timedelta(seconds=8))
    await installation.tick()
    assert len([one for one in installation.mails() if "maya@" in str(one["To"])]) == 2
    assert await rows(installation) == 4


@pytest.mark.parametrize("field", [*GOOD, "zone"])
@pytest.mark.parametrize(
    "value",
    [
        "\0",
        "\r\nBcc: x@example.org",
        "\u202eevil",
        "x" * 60_000,
        "<script>alert(1)</script>",
        "' OR 1=1 --",
        "🌍",
        "Аnn",
    ],
)
async def test_the_form_keeps_what_was_typed_and_shows_errors_beside_the_fields(
    installation: Installation, visitor: httpx.AsyncClient, field: str, value: str
) -> None:
    page = await visitor.post("/join", data={**GOOD, field: value})
    assert page.status_code in (200, 422) and "<script>alert" not in page.text
    if page.status_code == 422:
        assert f'id="{field}-complaint"' in page.text and page.text.count('-complaint">') == 1
        assert all(
            f'value="{value}"' in page.text
            for name, value in GOOD.items()
            if name not in (field, "words", "consent")
        )
    assert await rows(installation) == 3


async def test_the_card_may_be_framed_by_the_sites_named_and_no_other_page_is(
    visitor: httpx.AsyncClient,
) -> None:
    card = await visitor.get("/embed/next?zone=Asia/Tokyo")
    assert "Friday 20 November 2026" in card.text and "03:00" in card.text
    assert "frame-ancestors 'self' https://www.example.org" in card.headers["Content-Security-Policy"]
    for path in ("/", "/join", "/next"):
        assert "frame-ancestors 'none'" in (await visitor.get(path)).headers["Content-Security-Policy"]


async def test_counts_that_could_identify_members_are_not_shown(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    assert "<span>members" not in (await visitor.get("/")).text
    await installation.join(*((f"Member {number}", "Europe/London") for number in range(9)))
    assert "12 <span>members</span>" in (await visitor.get("/")).text
