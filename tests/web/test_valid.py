"""Every page in every state and every email is valid HTML by the W3C's validator."""

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from scheduler.domain.actor import SERVICE
from scheduler.domain.token import Purpose
from scheduler.service.about import save_about
from scheduler.service.occurrences import Change, amend
from tests.delivery import mails
from tests.installation import SERIES, Installation
from tests.readers.tools import npm_folder
from tests.web.conftest import make_app
from tests.web.test_accessible import pages, record_past
from tests.web.test_any_form import KEY, own_tokens
from tests.web.test_follows import link_to_confirm
from tests.web.test_join import GOOD, SURE
from tests.web.test_member_page import DETAILS, fresh_token

pytestmark = [pytest.mark.proof, pytest.mark.short]

VALIDATOR = "vnu-jar@26.9.27"
NASTY = replace(SERIES, title='Tea & "talk" <b>', description='Bring "tea" & <cake>.\nCome as you are.')


@pytest.fixture
def validate(program: Callable[[str], str], tmp_path: Path) -> Callable[[Mapping[str, str]], list[str]]:
    """Returns what the validator says of documents, by their names."""
    java, _ = program("java"), program("npm")
    jar = npm_folder("vnu", [VALIDATOR]) / "node_modules" / "vnu-jar" / "build" / "dist" / "vnu.jar"

    def run(documents: Mapping[str, str]) -> list[str]:
        folder = tmp_path / "html"
        folder.mkdir()
        names = {}
        for number, (name, html) in enumerate(documents.items()):
            names[f"{number}.html"] = name
            (folder / f"{number}.html").write_text(html, encoding="utf-8")
        done = subprocess.run(
            [java, "-Xss1m", "-jar", str(jar), "--format", "json", "--exit-zero-always", str(folder)],
            capture_output=True,
            text=True,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        messages = json.loads(done.stderr)["messages"]
        return [
            f"{names[Path(message['url']).name]}: {message['message']} {message.get('extract', '')!r}"
            for message in messages
        ]

    return run


def test_the_validator_finds_what_is_wrong(validate: Callable[[Mapping[str, str]], list[str]]) -> None:
    wrong = '<!DOCTYPE html><html lang="en"><head><title>x</title></head><body><form action=""></form></body></html>'
    messages = validate({"a form": wrong, "a page": wrong.replace(' action=""', "")})
    assert messages and all(message.startswith("a form: ") and "action" in message for message in messages)


async def test_every_page_is_valid_in_every_state(
    installation: Installation, validate: Callable[[Mapping[str, str]], list[str]]
) -> None:
    installation.series = (NASTY,)
    own = await own_tokens(installation)
    found: dict[str, str] = {}
    transport = httpx.ASGITransport(make_app(installation), client=("127.0.0.1", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as visitor:

        async def get(path: str, note: str = "") -> None:
            answer = await visitor.get(path)
            if answer.headers.get("Content-Type", "").startswith("text/html"):
                found[f"GET {path} {note}"] = answer.text

        async def post(path: str, data: Mapping[str, object], note: str = "") -> None:
            answer = await visitor.post(path, data=data)
            if answer.headers.get("Content-Type", "").startswith("text/html"):
                found[f"POST {path} {sorted(data)} {note}"] = answer.text

        await installation.live(datetime(2026, 11, 6, 12, tzinfo=UTC))
        change = Change(
            topic='<Listening> & "hearing"', speakers="Ann", materials="https://example.org/?a=1&b=2"
        )
        await amend(installation.database, installation.by_slug, KEY, change, now=installation.clock.now())
        await record_past(installation)
        moved = "conversation-for-kindness/2026-12-17"
        await amend(
            installation.database,
            installation.by_slug,
            moved,
            Change(move_to=datetime(2026, 12, 17, 19)),
            now=installation.clock.now(),
        )
        me, fresh = f"/me/{own[Purpose.PREFERENCES]}", f"/sign-in/{await fresh_token(installation)}"
        rsvp, leave = f"/rsvp/{own[Purpose.RSVP]}", f"/u/{own[Purpose.LEAVE]}"
        for path in [
            *await pages(installation),
            "/me",
            fresh,
            "/next",
            "/archive?year=2020",
            "/sign-in/x",
            "/address/x",
        ]:
            await get(path)
        outbox = (await visitor.get("/outbox")).text
        await get("/outbox/" + outbox.partition('href="/outbox/')[2].partition('"')[0])
        for data in (
            {**DETAILS, "name": "a\u202e<b", "zone": "x", "locale": "?", "cycle": "h99"},
            {**DETAILS, "zone": "Asia/Tokyo"},
            {"act": "notices", "invitation_by": "?"},
            {"act": "pause", "until": "?"},
            {"act": "feed", "alarm": "?"},
            {"act": "else"},
        ):
            await post(me, data)
        for form in (
            {},
            {**GOOD, "zone": ""},
            GOOD,
            SURE,
            {**GOOD, "email": "?", "zone": "x", "locale": "?"},
        ):
            await post("/join", form, str(len(form.get("zone", ""))))
        await post("/contact", {"name": "<b>", "email": "?", "words": ""})
        await post("/contact", {"name": '<b> "x"', "email": "vi@example.org", "words": "<b>"}, "sent")
        wall = f"/wall/{own[Purpose.PREFERENCES]}"
        await post(wall, {"act": "save", "name": "", "role": "<b>", "country": "?"})
        about = "# One\n\n<b> [x](https://example.org/?a=1&b=2)\n\n#### Two\n\n| a |\n|---|\n| b |"
        await save_about(installation.database, about, by=SERVICE, now=installation.clock.now())
        await get("/about", "written")
        await post("/me", {"email": "?"})
        await post("/me", {"email": "bo@example.org"})
        await post(rsvp, {"answer": "?"})
        for answer in ("coming", "maybe", "declined", "none"):
            await post(rsvp, {"answer": answer}, answer)
        for data in (
            {"act": "address", "email": "?"},
            {"act": "erase"},
            {"act": "address", "email": "new@example.org"},
        ):
            await post(fresh, data, str(data))
        await post("/join", {"name": "x" * 100_000})
        subscribe = f"/subscribe/{own[Purpose.SUBSCRIBE]}"
        await post(subscribe, {"invitation_by": "feed"}, "feed")
        await post(subscribe, {"invitation_by": "mail"}, "mail")
        for locale in ("en-FR", "sm-WS", "zh-Hant-HK"):
            await installation.change("Bo", locale=locale, zone_source="assumed")
            await get(me, locale)
        await installation.change("Bo", locale="en-GB", suppressed_at=installation.clock.now())
        await get(me, "bounced")
        await post(me, {"act": "links"}, "bounced")
        await installation.change("Bo", suppressed_at=None)
        await amend(
            installation.database,
            installation.by_slug,
            moved,
            Change(cancel=True),
            now=installation.clock.now(),
        )
        await get(f"/meetings/{moved}", "cancelled")
        await get("/", "with a cancelled meeting")
        await post(leave, {}, "leaving")
        await post(f"{leave}?pause=3", {}, "after leaving")
        for path in (me, rsvp, leave, subscribe, fresh, f"/go/{own[Purpose.JOIN]}/{KEY}"):
            await get(path, "after leaving")
        installation.clock.pass_until(datetime(2026, 11, 20, 12, tzinfo=UTC))
        for path in ("/archive", f"/meetings/{KEY}", fresh):
            await get(path, "later")
    assert len(found) > 70
    assert validate(found) == []


async def test_every_page_of_several_series_is_valid_in_every_state(
    installation: Installation, validate: Callable[[Mapping[str, str]], list[str]]
) -> None:
    ended = replace(NASTY, slug="ended", rule="FREQ=WEEKLY;BYDAY=TU;UNTIL=20261103")
    installation.series = (NASTY, replace(NASTY, slug="weekly", rule="every Tuesday", by_choice=True), ended)
    own = await own_tokens(installation)
    me, leave = f"/me/{own[Purpose.PREFERENCES]}", f"/u/{own[Purpose.LEAVE]}"
    slugs = ["weekly", "ended"]
    found: dict[str, str] = {}
    transport = httpx.ASGITransport(make_app(installation), client=("127.0.0.1", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as visitor:
        for path in (
            "/",
            "/?zone=Asia/Kathmandu",
            "/series/weekly",
            "/series/weekly?zone=Asia/Kathmandu",
            "/series/ended",
            f"/series/{SERIES.slug}?year=2025",
            "/series/nothing",
            f"/meetings/{KEY}",
            "/archive",
            "/subscribe",
            "/subscribe?series=weekly",
            f"/subscribe/{own[Purpose.SUBSCRIBE]}",
            "/join",
            "/join?series=weekly",
            me,
            f"{me}?done=series",
            leave,
            f"{leave}?series={SERIES.slug}",
        ):
            found[f"GET {path}"] = (await visitor.get(path)).text
        for state, path, form in (
            ("no series", "/join", SURE),
            ("hours", "/join", {**GOOD, "zone": "", "follows": slugs}),
            ("hour", "/join", {**GOOD, "follows": slugs}),
            ("back", "/join", {**GOOD, "follows": slugs, "act": "back"}),
            ("asked", "/join", {**SURE, "follows": slugs}),
            ("unfollowed", f"{leave}?unfollow={SERIES.slug}", {}),
            ("unfollowed all", f"{leave}?unfollow=ended", {}),
            ("unknown", f"{leave}?unfollow=nothing", {}),
            ("zone", me, {**DETAILS, "zone": "Asia/Tokyo"}),
        ):
            found[state] = (await visitor.post(path, data=form)).text
        found["follows nothing"] = (await visitor.get(me)).text
        found["nothing to unfollow"] = (await visitor.get(leave)).text
        await installation.tick()
        found["confirm"] = (await visitor.get(await link_to_confirm(installation))).text
    assert len(found) > 25
    assert validate(found) == []


def test_every_mail_is_valid(validate: Callable[[Mapping[str, str]], list[str]]) -> None:
    found: dict[str, str] = {}
    for kind, cohort in mails.EVERY_MAIL.items():
        for note, one in {
            "": cohort,
            "first": replace(cohort, introduces=kind in mails.COHORTS),
            "room": replace(cohort, room="https://r.example.org"),
        }.items():
            if one.series:
                one = replace(one, series=replace(one.series, title=NASTY.title))
            member = mails.MEI._replace(name='Mei "M" <Lin> &', assumed=note == "first")
            found[f"{kind} {note}"] = mails.received(mails.message(one, member)).html
    found["ended links"] = mails.received(
        mails.message(replace(mails.EVERY_MAIL["sign-in"], body="All links have ended."))
    ).html
    # The headings of a notice are those that its convenor wrote.
    assert [
        one for one in validate(found) if not (one.startswith("notice ") and "heading level of 1" in one)
    ] == []
