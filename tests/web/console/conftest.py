"""Convenors and helpers who are signed in to the console."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx
import pytest

from tests.installation import Installation, address_of
from tests.web.conftest import Arrive

SignIn = Callable[..., Awaitable[httpx.AsyncClient]]

LINK = re.compile(r"https://meet\.example\.org(/convenor/sign-in/\S+)")


async def sign_in_link(installation: Installation, browser: httpx.AsyncClient, name: str) -> str:
    """The path of the link to sign in that a convenor has just asked for, out of their mail."""
    installation.clock.pass_(timedelta(minutes=2))
    await browser.post("/convenor/sign-in", data={"email": address_of(name)})
    await installation.tick()
    mails = [mail for mail in installation.mails() if address_of(name) in str(mail["To"])]
    body = mails[-1].get_body(("plain",))
    assert body
    match = LINK.search(body.get_content())
    assert match
    return match[1]


@pytest.fixture
def sign_in(installation: Installation, arrive: Arrive) -> SignIn:
    """Signs a member in with a role, by mail, in a browser of their own."""

    async def sign_in(name: str, role: str = "convenor", host: str = "meet.example.org") -> httpx.AsyncClient:
        await installation.change(name, role=role)
        browser = arrive(host=host, scheme="https")
        link = await sign_in_link(installation, browser, name)
        assert (await browser.post(link)).status_code == 303
        return browser

    return sign_in
