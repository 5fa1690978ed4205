"""Convenors sign in with a passkey, in a real browser with a virtual authenticator; forged answers are refused."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from scheduler.domain.errors import Refused
from scheduler.domain.token import Keys
from scheduler.service.passkeys import PasskeyServer
from tests.installation import COMMUNITY, Installation
from tests.web.console.conftest import SignIn, sign_in_link

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

KEYS = Keys(b"k" * 32)


@pytest.fixture
async def page(browser: "Browser") -> AsyncIterator["Page"]:
    """A telephone with an authenticator; at the end nothing may have been blocked."""
    context = await browser.new_context(viewport={"width": 360, "height": 640})
    page = await context.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    devtools = await context.new_cdp_session(page)
    await devtools.send("WebAuthn.enable")
    authenticator = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": authenticator})
    yield page
    await context.close()
    assert [message for message in messages if "422" not in message] == []


async def test_a_convenor_signs_in_by_mail_adds_a_passkey_and_signs_in_with_it(
    address: str, page: "Page", installation: Installation
) -> None:
    await installation.change("Ann", role="convenor")
    async with httpx.AsyncClient(base_url=address) as asking:
        link = await sign_in_link(installation, asking, "Ann")
    await page.goto(address + link)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(f"{address}/convenor/")
    await page.goto(f"{address}/convenor/passkeys")
    await page.get_by_role("button", name="Add a passkey").click()
    await page.get_by_text("You can now sign in with this passkey.").wait_for()
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_text("You have signed out.").wait_for()
    installation.clock.pass_(timedelta(hours=1))
    await page.goto(f"{address}/convenor/team")
    answers: list[str] = []
    page.on("request", lambda request: answers.append(request.post_data or ""))
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await page.wait_for_url(f"{address}/convenor/team")
    await page.get_by_role("heading", name="Team").wait_for()
    # Somebody who recorded the answer cannot use it again.
    async with httpx.AsyncClient(base_url=address) as thief:
        recorded = next(filter(None, answers))
        answer = await thief.post(
            "/convenor/sign-in/passkey",
            content=recorded,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert answer.status_code == 422 and "was not accepted" in answer.text
    await installation.change("Ann", role=None)
    await page.goto(f"{address}/convenor/sign-in")
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await page.get_by_text("this passkey was not accepted").wait_for()


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        "{",
        json.dumps({"rawId": "AAAA"}),
        json.dumps({"rawId": 7, "response": {}}),
        json.dumps({"rawId": "AAAA", "response": {"clientDataJSON": "e30"}}),
        json.dumps({"id": "AAAA", "rawId": "AAAA", "response": None, "type": "public-key"}),
        "{" * 10_000,
    ],
    ids=range(8),
)
async def test_an_answer_that_no_passkey_gave_is_refused(
    installation: Installation, sign_in: SignIn, answer: str
) -> None:
    ann = await sign_in("Ann")
    assert (await ann.post("/convenor/sign-in/passkey", data={"answer": answer})).status_code == 422
    assert (await ann.post("/convenor/passkeys", data={"answer": answer})).status_code == 422


def test_a_challenge_is_ours_and_lasts_a_few_minutes() -> None:
    server, now = PasskeyServer(COMMUNITY, KEYS), datetime(2026, 11, 4, 12, tzinfo=UTC)
    challenge = server._challenge(now)
    server._require_challenge(challenge, now + timedelta(minutes=4))
    forged = PasskeyServer(COMMUNITY, Keys(b"x" * 32))._challenge(now)
    for wrong, moment in ((challenge, now + timedelta(minutes=6)), (forged, now), (b"", now)):
        with pytest.raises(Refused):
            server._require_challenge(wrong, moment)


@pytest.mark.parametrize(
    ("base_url", "possible"),
    [
        ("https://meet.example.org", True),
        ("http://localhost:8000", True),
        ("http://127.0.0.1:8000", False),
        ("http://meet.example.org", False),
        ("https://192.0.2.7", False),
        ("https://[2001:db8::1]", False),
    ],
)
def test_passkeys_are_offered_where_browsers_accept_them(base_url: str, possible: bool) -> None:
    assert PasskeyServer(replace(COMMUNITY, base_url=base_url), KEYS).is_possible is possible
