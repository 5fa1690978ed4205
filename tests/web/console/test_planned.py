"""A convenor who gets a mail in advance holds what is planned, and releases or drops it; looking changes nothing."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from starlette.applications import Starlette

from tests.installation import Installation
from tests.web.conftest import Arrive, settle
from tests.web.console.conftest import SignIn, sign_in_link

LINK = re.compile(r"https://meet\.example\.org(/convenor/planned/\d+)")


@pytest.fixture
async def link(installation: Installation) -> str:
    """The path in the mail that Ann got a day before the reminder."""
    await installation.change("Ann", role="convenor")
    installation.preflight = timedelta(days=1)
    installation.restart()
    await installation.live(datetime(2026, 11, 17, 12, tzinfo=UTC))
    (body,) = [
        mail.get_body(("plain",))
        for mail in installation.mails()
        if "Before it goes out: the reminder" in str(mail["Subject"])
    ]
    assert body
    match = LINK.search(body.get_content())
    assert match
    return match[1]


async def test_a_mail_in_advance_leads_by_signing_in_to_a_page_that_holds_and_releases(
    app: Starlette, installation: Installation, link: str, arrive: Arrive
) -> None:
    browser = arrive(host="meet.example.org", scheme="https")
    asked = await browser.get(link)
    assert asked.status_code == 303
    await browser.get(asked.headers["location"])
    signed_in = await browser.post(await sign_in_link(installation, browser, "Ann"))
    assert signed_in.headers["location"] == link
    page = (await browser.get(link)).text
    assert (
        "Reminder (on the day before, at 09:00 their time), 19 November 2026" in page and "3 members" in page
    )
    assert (
        "from Wednesday 18 November 2026, 09:00 in London to " in page
        and "<strong>Still missing:</strong> the topic." in page
    )
    assert "Reminder: Conversation for Kindness: Thursday 19 November, 18:00 London (UTC)" in page
    bo = unescape((await browser.get(f"{link}?for=2")).text)
    assert "How it looks for Bo" in bo and "Friday 20 November, 07:00 Auckland (UTC+13)" in bo
    assert f'src="{link}/mail?for=2" sandbox' in bo
    assert "Friday 20 November 2026" in (await browser.get(f"{link}/mail?for=2")).text
    held = await browser.post(link, data={"act": "hold"})
    assert "It is on hold." in (await browser.get(held.headers["location"])).text
    installation.clock.pass_(timedelta(seconds=30))
    await browser.get("/convenor/")
    await settle(app)
    home = (await browser.get("/convenor/")).text
    assert "is on hold: nobody gets it." in home and f'href="{link}">Release it or drop it' in home
    assert '<span class="tag caution">On hold</span>' in home
    for path in ("/convenor/notices", link.replace("planned", "notices")):
        assert "On hold" in (await browser.get(path)).text
    await installation.live(datetime(2026, 11, 19, 10, tzinfo=UTC))
    assert not await installation.reports(policy="day-before", state="sent")
    assert "what is due leaves at once" in (await browser.get(link)).text
    await browser.post(link, data={"act": "release"})
    await installation.tick()
    assert len(await installation.reports(policy="day-before", state="sent")) == 3
    again = await browser.post(link, data={"act": "release"})
    assert again.status_code == 422 and "is not on hold" in again.text
    assert "See what became of it" in (await browser.get(link)).text


async def test_what_is_dropped_is_shown_as_stopped_and_a_helper_cannot_even_look(
    installation: Installation, link: str, sign_in: SignIn
) -> None:
    ann, helper = await sign_in("Ann"), await sign_in("Bo", "helper")
    for answer in (await helper.get(link), await helper.post(link, data={"act": "hold"})):
        assert answer.status_code == 403
    for number in ("0", "99999", "x", "9" * 30):
        assert (await ann.get(f"/convenor/planned/{number}")).status_code == 404
    assert (await ann.post(link, data={"act": "nonsense"})).status_code == 200
    assert (await ann.post(link, data={"act": "drop"})).status_code == 422
    await ann.post(link, data={"act": "hold"})
    await ann.post(link, data={"act": "drop"})
    page = (await ann.get(link)).text
    assert '<span class="tag bad">Stopped</span>' in page and "Hold it" not in page
    log = (await ann.get("/convenor/audit")).text
    assert "Put an email on hold" in log and "Dropped an email that was on hold" in log
