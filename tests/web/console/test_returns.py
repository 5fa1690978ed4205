"""Convenors and helpers read mail that was not understood, safely, and do what it asks for once."""

from collections.abc import Awaitable, Callable

import httpx
import pytest

from scheduler.service.inbound import ingest
from scheduler.store import answers, forwards, members, returns
from tests.inbound_mail import crlf
from tests.installation import COMMUNITY, Installation, address_of
from tests.web.console.conftest import SignIn

KEY = "conversation-for-kindness/2026-11-19"
HOSTILE = crlf("""
    From: =?utf-8?q?C=C3=BD?= <cy@example.org>
    To: convenors@conversation.example.org
    Subject: <b>Please</b> call me
    MIME-Version: 1.0
    Content-Type: text/html; charset=utf-8

    <style>p { color: red }</style><p onclick="steal()">I cannot come.</p>
    <script>alert(1)</script><img src="https://evil.example.org/pixel.gif">
    <a href="javascript:alert(2)">Click &lt;here&gt;</a>
    """)

Receive = Callable[[bytes], Awaitable[str]]


@pytest.fixture
def receive(installation: Installation) -> Receive:
    """Takes in a message that nobody understands, and returns the path of its page."""

    async def receive(octets: bytes) -> str:
        await ingest(
            installation.database,
            octets,
            keys=installation.keys,
            domain=COMMUNITY.domain,
            now=installation.clock.now(),
        )
        async with installation.database.read() as connection:
            return f"/convenor/returns/{(await returns.every(connection, ('review',)))[-1].id}"

    return receive


@pytest.fixture
async def helper(sign_in: SignIn) -> httpx.AsyncClient:
    return await sign_in("Bo", "helper")


async def test_a_hostile_message_is_shown_as_text_and_loads_nothing(
    helper: httpx.AsyncClient, receive: Receive
) -> None:
    path = await receive(HOSTILE)
    listed, page = (await helper.get("/convenor/returns")).text, (await helper.get(path)).text
    assert path in listed and "Cý &lt;cy@example.org&gt;" in page
    assert "&lt;b&gt;Please&lt;/b&gt; call me" in page
    assert "I cannot come." in page and "Click &lt;here&gt;" in page
    for text in ("<img", "onclick", "javascript:", "alert(", "evil.example.org", "color: red"):
        assert text not in page, text


@pytest.mark.parametrize("act", ["leave", "suppress", "lift", "declined"])
async def test_what_a_message_asks_for_is_done_once_and_recorded(
    helper: httpx.AsyncClient, receive: Receive, installation: Installation, act: str
) -> None:
    await installation.tick()
    path = await receive(HOSTILE)
    form = {"act": act, "email": "Cy@example.org", "meeting": KEY}
    done = await helper.post(path, data=form)
    assert done.status_code == 303
    assert "dealt with" in (await helper.get(done.headers["location"])).text
    assert (await helper.post(path, data=form)).status_code == 404
    async with installation.database.read() as connection:
        cy = await members.by_key(connection, address_of("Cy"))
        assert cy
        answer = await answers.answer_of(connection, cy.id, KEY)
    assert (cy.status == "left") is (act == "leave")
    assert (cy.suppressed_at is not None) is (act == "suppress")
    assert answer == ("declined" if act == "declined" else "")


async def test_a_message_stays_if_the_form_is_wrong(helper: httpx.AsyncClient, receive: Receive) -> None:
    path = await receive(HOSTILE)
    for form in (
        {"act": "leave"},
        {"act": "leave", "email": "nobody@example.org"},
        {"act": "nonsense", "email": "cy@example.org"},
        {"act": "coming", "email": "cy@example.org", "meeting": "conversation-for-kindness/2020-01-01"},
        {"act": "coming", "email": "cy@example.org"},
    ):
        assert (await helper.post(path, data=form)).status_code == 422, form
    assert (await helper.get(path)).status_code == 200
    await helper.post(path, data={"act": "drop"})
    assert (await helper.get(path)).status_code == 404


async def test_a_helper_is_not_shown_the_address_of_a_member_who_is_called_nearly_the_same(
    helper: httpx.AsyncClient, receive: Receive
) -> None:
    page = await helper.post(await receive(b"x"), data={"act": "leave", "email": "cyn@example.org"})
    assert page.status_code == 422 and "there is no member" in page.text
    assert "cy@example.org" not in page.text


@pytest.mark.parametrize(
    "octets", [b"x", b"\xff\xfe\x00", b"Subject: =?broken", b"x\r\n" * 5_000], ids=range(4)
)
async def test_rubbish_can_be_read_and_dropped(
    helper: httpx.AsyncClient, receive: Receive, octets: bytes
) -> None:
    path = await receive(octets)
    assert (await helper.get(path)).status_code == 200


async def test_a_letter_says_that_it_went_to_the_convenors_address_too(
    helper: httpx.AsyncClient, installation: Installation, receive: Receive
) -> None:
    path = await receive(HOSTILE)
    number, now = int(path.rpartition("/")[2]), installation.clock.now()
    assert "convenors’ address" not in (await helper.get(path)).text
    async with installation.database.write() as connection:
        await forwards.add(connection, number, now=now, gives_up=now)
        await forwards.settle(connection, number, "sent")
    assert "It was sent to the convenors’ address, too." in (await helper.get(path)).text
    assert "also sent to the convenors’ address" in (await helper.get("/convenor/returns")).text
