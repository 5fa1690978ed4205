"""Convenors and helpers who are signed in to the console."""

import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from tests.installation import COMMUNITY, Installation, address_of
from tests.web.conftest import Arrive, make_app, settle
from tests.web.serving import served

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


@pytest.fixture
async def address(installation: Installation) -> AsyncIterator[str]:
    """The console on a port of this machine, by a name, as browsers demand for passkeys."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://localhost:{listener.getsockname()[1]}"
        app = make_app(installation, community=replace(COMMUNITY, base_url=address))
        async with served(app, listener):
            yield address
        await settle(app)
