"""Convenors and helpers sign in by mail; nobody else gets in, and everybody can end their sessions."""

from datetime import timedelta

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from scheduler.domain.actor import Actor
from scheduler.domain.token import Purpose
from scheduler.service import convenors, sessions
from scheduler.service.sessions import browser_name
from scheduler.store import audit
from scheduler.web.access import CONVENORS_ONLY, OPEN, RECENTLY, Access, safe_next
from scheduler.web.routes import ENTRIES
from tests.installation import Installation, address_of
from tests.web.conftest import Arrive
from tests.web.console.conftest import SignIn, sign_in_link

BY = Actor(channel="command line", name="root")
VALUES = {
    "token": "a" * 40,
    "series": "monthly",
    "date": "2026-11-19",
    "number": "1",
    "notice": "1",
    "name": "x",
    "theme": "hope",
    "speaker": "amara-okafor",
    "file": "192.jpeg",
}
CONSOLE = [entry for entry in ENTRIES if entry.path.startswith("/convenor")]
GUARDED = [entry for entry in CONSOLE if entry.access not in OPEN]


def address(path: str) -> str:
    """A path with made-up values in it."""
    for name, value in VALUES.items():
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path, path
    return path


def test_every_route_is_on_the_map(app: Starlette) -> None:
    paths = {route.path for route in app.routes if isinstance(route, Route)}
    assert paths - {"/favicon.ico", "/metrics"} == {entry.path for entry in ENTRIES}
    assert all("token" in entry.path for entry in ENTRIES if entry.access is Access.LINK)
    assert [entry.path for entry in CONSOLE if entry not in GUARDED] == [
        "/convenor/sign-in",
        "/convenor/sign-in/passkey",
        "/convenor/sign-in/challenge",
        "/convenor/sign-in/{token}",
    ]


async def test_no_page_of_the_console_opens_without_a_session(
    arrive: Arrive, installation: Installation
) -> None:
    await installation.change("Ann", role="convenor")
    visitor = arrive(host="meet.example.org", scheme="https")
    member_token = installation.keys.token(Purpose.PREFERENCES, 1, generation=0)
    for cookie in ("", "rubbish", member_token):
        visitor.cookies.set("__Host-session", cookie, domain="meet.example.org")
        for entry in GUARDED:
            path = address(entry.path)
            if "GET" in entry.methods:
                answer = await visitor.get(path)
                assert answer.status_code == 303
                assert answer.headers["location"].startswith("/convenor/sign-in?next=/convenor")
            if "POST" in entry.methods:
                assert (await visitor.post(path)).status_code == 401


async def test_a_helper_and_a_convenor_who_signed_in_long_ago_cannot_open_what_is_not_for_them(
    installation: Installation, sign_in: SignIn
) -> None:
    helper, convenor = await sign_in("Bo", "helper"), await sign_in("Ann")
    installation.clock.pass_(timedelta(minutes=16))
    for entry in GUARDED:
        for method in entry.methods:
            if entry.access in CONVENORS_ONLY:
                assert (await helper.request(method, address(entry.path))).status_code == 403
            if entry.access in RECENTLY:
                refused = await convenor.request(method, address(entry.path))
                assert refused.status_code == (401 if method == "POST" else 303)


async def test_the_answer_is_the_same_for_everybody_and_only_convenors_get_a_link(
    installation: Installation, arrive: Arrive
) -> None:
    await installation.change("Ann", role="convenor")
    await installation.change("Cy", role="helper", status="left", active_since=None)
    visitor = arrive(host="meet.example.org", scheme="https")
    answers = [
        (await visitor.post("/convenor/sign-in", data={"email": address_of(name)})).text
        for name in ("Ann", "Bo", "Cy", "Nobody")
    ]
    assert len(set(answers)) == 1 and "Check your email" in answers[0]
    installation.clock.pass_(timedelta(seconds=2))
    await installation.tick()
    assert [str(mail["To"]) for mail in installation.mails()] == ["Ann <ann@example.org>"]
    wrong = await visitor.post("/convenor/sign-in", data={"email": "ann@@example"})
    assert wrong.status_code == 422 and "email-complaint" in wrong.text


async def test_a_link_signs_in_once_within_15_minutes_and_opening_it_changes_nothing(
    installation: Installation, arrive: Arrive
) -> None:
    await installation.change("Ann", role="convenor")
    browser, other = (arrive(host="meet.example.org", scheme="https") for _ in range(2))
    await browser.get("/convenor/sign-in?next=/convenor/sessions")
    link = await sign_in_link(installation, browser, "Ann")
    for _ in range(3):
        assert "signing in as" in (await browser.get(link)).text
    signed_in = await browser.post(link)
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/convenor/sessions")
    (cookie,) = [
        line for line in signed_in.headers.get_list("set-cookie") if line.startswith("__Host-session=")
    ]
    assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=lax", "Path=/;"))
    assert "Domain" not in cookie
    assert (await browser.get("/convenor")).status_code == 200
    assert (await other.post(link)).status_code == 410
    installation.clock.pass_(timedelta(minutes=2))
    late = await sign_in_link(installation, other, "Ann")
    installation.clock.pass_(timedelta(minutes=15))
    assert (await other.get(late)).status_code == (await other.post(late)).status_code == 410


async def test_two_who_press_the_button_of_one_link_at_once_get_one_session(
    installation: Installation, arrive: Arrive
) -> None:
    await installation.change("Ann", role="convenor")
    browser = arrive(host="meet.example.org", scheme="https")
    link = await sign_in_link(installation, browser, "Ann")
    await browser.post(link)
    await browser.post("/convenor/sign-out")
    assert (await browser.post(link)).status_code == 410, "a link works once, even after signing out"


async def test_a_session_ends_after_14_days_without_use_and_after_90_in_any_case(
    installation: Installation, sign_in: SignIn
) -> None:
    browser, unused = await sign_in("Ann"), await sign_in("Bo", "helper")
    for _ in range(6):
        installation.clock.pass_(timedelta(days=13))
        assert (await browser.get("/convenor")).status_code == 200
    assert (await unused.get("/convenor")).status_code == 303
    installation.clock.pass_(timedelta(days=13))
    assert (await browser.get("/convenor")).status_code == 303, "after 91 days"


@pytest.mark.parametrize(
    "end", ["dismissed", "another role", "left", "links ended", "signed out", "elsewhere"]
)
async def test_a_session_ends_at_once_when_its_member_may_not_use_it_any_more(
    installation: Installation, sign_in: SignIn, end: str
) -> None:
    browser, other = await sign_in("Ann"), await sign_in("Ann")
    await installation.change("Bo", role="convenor")
    assert (await browser.get("/convenor")).status_code == 200
    now = installation.clock.now()
    match end:
        case "dismissed":
            await convenors.dismiss(installation.database, address_of("Ann"), by=BY, now=now)
        case "another role":
            await convenors.change_role(installation.database, address_of("Ann"), "helper", by=BY, now=now)
        case "left":
            await installation.change("Ann", status="left", active_since=None)
        case "links ended":
            await installation.change("Ann", generation=1)
        case "signed out":
            assert (await browser.post("/convenor/sign-out")).status_code == 303
        case "elsewhere":
            page = await other.get("/convenor/sessions")
            assert page.text.count("Sign out everywhere else") == 1
            assert (await other.post("/convenor/sessions", data={"end": "others"})).status_code == 303
            assert (await other.get("/convenor")).status_code == 200
    assert (await browser.get("/convenor")).status_code == 303


async def test_nobody_ends_the_session_of_another(installation: Installation, sign_in: SignIn) -> None:
    ann, bo = await sign_in("Ann"), await sign_in("Bo", "helper")
    for number in range(1, 4):
        await bo.post("/convenor/sessions", data={"end": str(number)})
    assert (await ann.get("/convenor")).status_code == 200


async def test_old_sessions_are_forgotten(installation: Installation, sign_in: SignIn) -> None:
    await sign_in("Ann")
    async with installation.database.write() as connection:
        assert await sessions.forget_sessions(connection, installation.clock.now()) == 0
        later = installation.clock.now() + timedelta(days=15)
        assert await sessions.forget_sessions(connection, later) == 1
        assert [entry.act for entry in await audit.entries(connection)] == ["signed-in"]


@pytest.mark.parametrize(
    ("wanted", "page"),
    [
        ("/convenor/meetings?from=2026", "/convenor/meetings?from=2026"),
        ("/convenor", "/convenor"),
        ("", "/convenor/"),
        ("https://evil.example.org", "/convenor/"),
        ("//evil.example.org", "/convenor/"),
        ("/convenor\\evil", "/convenor/"),
        ("/convenor/\r\nSet-Cookie: a=b", "/convenor/"),
        ("/convenors-of-evil", "/convenor/"),
        ("/convenor/sign-in/x", "/convenor/"),
        ("/me", "/convenor/"),
    ],
)
def test_after_signing_in_only_a_page_of_the_console_opens(wanted: str, page: str) -> None:
    assert safe_next(wanted) == page


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0) AppleWebKit/605 Version/17.0 Safari/604.1",
            "Safari on iPhone",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537 Chrome/126.0 Safari/537 Edg/126.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 14) AppleWebKit/605 Version/17 Safari/605",
            "Safari on a Mac",
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/126.0 Safari/537.36",
            "Chrome on Linux",
        ),
        ("curl/8", "a browser"),
        ("", "a browser"),
        ("<script>" * 1000, "a browser"),
    ],
)
def test_a_browser_has_the_name_that_people_know(user_agent: str, name: str) -> None:
    assert browser_name(user_agent) == name
