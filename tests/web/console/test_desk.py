"""Convenors and helpers answer requests to join; two of them cannot both answer one."""

from datetime import timedelta

import httpx

from tests.installation import Installation
from tests.service.test_join_requests import wait_at_the_desk
from tests.web.console.conftest import SignIn


async def open_request(installation: Installation, browser: httpx.AsyncClient) -> str:
    """The path of a request that has just been confirmed, opened from the desk."""
    number = await wait_at_the_desk(installation)
    assert f"/convenor/desk/{number}" in (await browser.get("/convenor/desk")).text
    return f"/convenor/desk/{number}"


async def test_a_helper_takes_and_accepts_a_request_with_a_message(
    installation: Installation, sign_in: SignIn
) -> None:
    helper, other = await sign_in("Bo", "helper"), await sign_in("Ann")
    path = await open_request(installation, helper)
    taken = await helper.post(path, data={"act": "take"})
    assert "The request is yours now." in (await helper.get(taken.headers["location"])).text
    assert "<bdi>Bo</bdi> took this request" in (await other.get(path)).text
    assert "<bdi>Bo</bdi> is answering it" in (await other.get("/convenor/desk")).text
    assert "You are answering it." in (await helper.get("/convenor/desk")).text
    refused = await other.post(path, data={"act": "accept", "message": "Hello!"})
    assert refused.status_code == 409 and "was taken by Bo" in refused.text and "Hello!" in refused.text
    accepted = await helper.post(path, data={"act": "accept", "message": "Bring *tea*."})
    assert accepted.headers["location"] == "/convenor/desk?done=accepted"
    again = await helper.post(path, data={"act": "accept", "message": "Bring *tea*."})
    assert again.status_code == 409 and "already accepted" in again.text
    assert "Nobody is waiting" in (await helper.get("/convenor/desk")).text
    assert "Accepted" in (await helper.get("/convenor/desk?all=1")).text
    installation.clock.pass_(timedelta(minutes=1))
    await installation.tick()
    welcomes = [row for row in await installation.reports(state="sent") if row.kind == "welcome"]
    assert len(welcomes) == 1
    log = (await other.get("/convenor/audit")).text.partition("<ol")[2]
    assert "Accepted a request to join" in log and "Bring" not in log


async def test_a_request_that_was_taken_and_forgotten_is_free_again_and_shows_its_age(
    installation: Installation, sign_in: SignIn
) -> None:
    helper, other = await sign_in("Bo", "helper"), await sign_in("Ann")
    path = await open_request(installation, helper)
    await helper.post(path, data={"act": "take"})
    refused = await other.post(path, data={"act": "take"})
    assert refused.status_code == 409 and "was taken by Bo" in refused.text
    installation.clock.pass_(timedelta(days=6))
    desk = (await other.get("/convenor/desk")).text
    assert "has not answered. Anybody can now." in desk and "waiting for more than 5 days" in desk
    taken = await other.post(path, data={"act": "take"})
    assert "The request is yours now." in (await other.get(taken.headers["location"])).text
    assert (await helper.post(path, data={"act": "accept"})).status_code == 409


async def test_declining_writes_to_the_person_or_not(installation: Installation, sign_in: SignIn) -> None:
    ann = await sign_in("Ann")
    path = await open_request(installation, ann)
    await ann.post(path, data={"act": "decline-silently", "message": "not sent"})
    installation.clock.pass_(timedelta(minutes=1))
    await installation.tick()
    assert not [row for row in await installation.reports() if row.kind == "decline"]
    assert "not sent" not in (await ann.get(path)).text


async def test_a_request_that_does_not_exist_is_not_found(
    installation: Installation, sign_in: SignIn
) -> None:
    ann = await sign_in("Ann")
    for number in ("7", "x", "9" * 30):
        assert (await ann.get(f"/convenor/desk/{number}")).status_code == 404
