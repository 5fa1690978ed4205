"""Any form input gets a proper answer, and is saved completely or not at all."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Route

from scheduler.domain.token import Purpose
from scheduler.store import members
from tests.installation import Installation, address_of

KEY = "conversation-for-kindness/2026-11-19"
NASTY = [
    "",
    " ",
    "x" * 5_000,
    "\x00",
    "a\x07b",
    "\u202egnirts",
    "<script>alert(1)</script>",
    "' OR '1'='1' --",
    "a\r\nBcc: everybody@example.org",
    "🎉👩🏽‍🚀",
    "раураl Ünal 李",
    "{{ 7 * 7 }}",
    "%s%n",
    "../../etc/passwd",
    "1e400",
    "-1",
    "9" * 400,
    "\ud83d".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
    "2027-02-30",
    "NaN",
]
NAMES = [
    "act",
    "answer",
    "name",
    "zone",
    "locale",
    "cycle",
    "wanted",
    "until",
    "alarm",
    "answers",
    "invitation_by",
    "address",
    "email",
    "country",
    "language",
    "consent",
    "reason",
    "website",
    "confirmed",
    "sure",
    "pause",
    "months",
    "words",
    "homepage",
    "follows",
]
ACTS = [
    "series",
    "details",
    "notices",
    "pause",
    "resume",
    "feed",
    "rotate",
    "fresh",
    "links",
    "address",
    "erase",
    "coming",
    "none",
]
VALUES = st.one_of(st.sampled_from(NASTY), st.sampled_from(ACTS), st.text(max_size=40))
WHOLE = [
    {
        "act": "details",
        "name": "Bo",
        "zone": "Asia/Kolkata",
        "confirmed": "Asia/Kolkata",
        "locale": "en",
        "cycle": "",
    },
    {"act": "series", "follows": "conversation-for-kindness"},
    {"act": "notices", "wanted": "notice", "invitation_by": "mail"},
    {"act": "pause", "until": "2026-12-01"},
    {"act": "feed", "alarm": "60", "answers": "yes"},
    {"act": "address", "email": "new@example.org"},
    {"answer": "maybe"},
    {"email": "bo@example.org"},
    {
        "name": "Di",
        "email": "di@example.org",
        "country": "NZ",
        "zone": "Pacific/Auckland",
        "locale": "en",
        "consent": "yes",
        "confirmed": "Pacific/Auckland",
    },
]
"""Forms as honest people send them, in which one field is then spoiled."""

ANY = st.lists(st.tuples(st.sampled_from(NAMES) | st.text(max_size=12), VALUES), max_size=12)
SPOILED = st.builds(
    lambda form, name, value: list({**form, name: value}.items()),
    st.sampled_from(WHOLE),
    st.sampled_from(NAMES),
    VALUES,
)
FORMS = st.one_of(ANY, SPOILED)
KINDS = [
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    "text/plain",
    "",
    "application/x-www-form-urlencoded; charset=utf-7",
    "multipart/form-data; boundary=",
]


def form_routes(app: Starlette) -> list[str]:
    """The paths of every form that there is, so that none is left out."""
    return sorted(
        route.path for route in app.routes if isinstance(route, Route) and "POST" in (route.methods or ())
    )


async def own_tokens(installation: Installation) -> dict[str, str]:
    """A good token for each purpose, of Bo."""
    async with installation.database.read() as connection:
        bo = await members.by_key(connection, address_of("Bo"))
    assert bo
    return {
        purpose: installation.keys.token(
            purpose, bo.id, generation=bo.generation, about=KEY if purpose is Purpose.RSVP else ""
        )
        for purpose in Purpose
    }


_OF_PATH = {
    "/u/": Purpose.LEAVE,
    "/me/": Purpose.PREFERENCES,
    "/wall/": Purpose.PREFERENCES,
    "/rsvp/": Purpose.RSVP,
    "/subscribe/": Purpose.SUBSCRIBE,
    "/sign-in/": Purpose.SIGN_IN,
}


async def test_no_form_can_be_made_to_fail(
    installation: Installation, app: Starlette, visitor: httpx.AsyncClient
) -> None:
    paths, tokens = form_routes(app), await own_tokens(installation)
    async with installation.database.read() as connection:
        cy = await members.by_key(connection, address_of("Cy"))
    assert cy
    soon = installation.clock.now() + timedelta(hours=1)
    tokens[Purpose.SIGN_IN] = installation.keys.token(Purpose.SIGN_IN, cy.id, generation=0, expires=soon)
    assert {"/me/{token}", "/rsvp/{token}", "/u/{token}"} <= set(paths)
    loop = asyncio.get_running_loop()

    def address(path: str) -> str:
        purpose = next((purpose for start, purpose in _OF_PATH.items() if path.startswith(start)), None)
        return path.replace("{token}", tokens[purpose] if purpose else "x" * 34).replace("{id}", "1")

    @given(st.sampled_from(paths), FORMS, st.sampled_from(KINDS), st.binary(max_size=60), st.booleans())
    @settings(max_examples=200, suppress_health_check=list(HealthCheck))
    def attack(path: str, form: list[tuple[str, str]], kind: str, raw: bytes, whole: bool) -> None:
        body = httpx.Request("POST", "http://x/", data=_grouped(form)).read() if whole else raw
        if whole and kind.startswith("multipart"):
            request = httpx.Request(
                "POST", "http://x/", files=[(name, (None, value)) for name, value in form] or None
            )
            body, kind = request.read(), request.headers.get("Content-Type", kind)
        sent = visitor.post(address(path), content=body, headers={"Content-Type": kind})
        answer = asyncio.run_coroutine_threadsafe(sent, loop).result(60)
        assert answer.status_code < 500, (path, form, kind, raw)
        assert "<script>alert" not in answer.text and "{{" not in answer.text

    await asyncio.to_thread(attack)
    async with installation.database.read() as connection:
        bo = await members.by_key(connection, address_of("Bo"))
    assert bo and not any(char in bo.name + bo.address for char in "\r\n\x00\u202e")
    assert not (installation.mail / "new").exists() or not list(Path(installation.mail / "new").iterdir())


def _grouped(form: list[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, list[str]] = {}
    for name, value in form:
        found.setdefault(name, []).append(value)
    return found
