"""The console: releasing people, a convenor's own profile, and the page about the community with its versions."""

import re
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.applications import Starlette

from scheduler.domain.token import Purpose
from scheduler.service import profiles
from scheduler.service.audit import read_log
from scheduler.service.photo_process import make_photos
from scheduler.service.profiles import make_words
from tests.installation import Installation
from tests.pictures import SECRET, phone_photo
from tests.web.console.conftest import SignIn
from tests.web.console.test_journeys import open_console
from tests.web.test_any_form import own_tokens

if TYPE_CHECKING:
    from playwright.async_api import Browser

PHOTO = phone_photo()
MARK = "Keeps bees in Oslo"


async def acts(installation: Installation) -> list[tuple[str, str, str]]:
    """Who did what to what, the latest last."""
    lines = await read_log(installation.database, all_series=installation.by_slug)
    return [(line.actor, line.act, line.subject) for line in reversed(lines) if line.act != "signed-in"]


@pytest.fixture
async def waiting(installation: Installation) -> int:
    """The number of the entry of Bo, who would like to be shown, with a photo."""
    token = (await own_tokens(installation))[Purpose.PREFERENCES]
    database, keys, now = installation.database, installation.keys, installation.clock.now()
    words = make_words(name="Bo", role=MARK)
    await profiles.save_own_entry(database, token, words, photo=make_photos(PHOTO), keys=keys, now=now)
    _, entry = await profiles.own_entry(database, token, keys=keys)
    assert entry
    await profiles.offer_own_entry(database, token, revision=entry.revision, keys=keys, now=now)
    return entry.id


def revision(page: httpx.Response, name: str = "revision") -> str:
    found = re.search(rf'name="{name}" value="(\d*)"', page.text)
    assert found
    return found[1]


async def test_a_helper_looks_at_an_entry_and_releases_it(
    sign_in: SignIn, installation: Installation, waiting: int, visitor: httpx.AsyncClient
) -> None:
    helper = await sign_in("Cy", "helper")
    assert MARK in (await helper.get("/convenor/people")).text
    assert "1 member to show" in (await helper.get("/convenor/")).text
    page = await helper.get(f"/convenor/people/{waiting}")
    photo = await helper.get(f"/convenor/people/{waiting}/photo/192.jpeg")
    assert photo.headers["Content-Type"] == "image/jpeg" and photo.headers["Cache-Control"] == "no-store"
    assert (await visitor.get(f"/convenor/people/{waiting}/photo/192.jpeg")).status_code == 303
    await helper.post(f"/convenor/people/{waiting}", data={"act": "release", "revision": revision(page)})
    assert MARK in (await visitor.get("/people")).text
    assert await acts(installation) == [("Cy", "profile-released", f"entry {waiting}")]
    again = await helper.post(
        f"/convenor/people/{waiting}", data={"act": "refuse", "revision": "9", "words": "No"}
    )
    assert again.status_code == 409 and "changed meanwhile" in again.text
    await helper.post(f"/convenor/people/{waiting}", data={"act": "remove"})
    assert MARK not in (await visitor.get("/people")).text
    assert (await helper.get(f"/convenor/people/{waiting}")).status_code == 404


async def test_an_entry_is_refused_with_a_word(
    sign_in: SignIn, installation: Installation, waiting: int, visitor: httpx.AsyncClient
) -> None:
    ann = await sign_in("Ann")
    page = await ann.get(f"/convenor/people/{waiting}")
    refuse = {"act": "refuse", "revision": revision(page)}
    silent = await ann.post(f"/convenor/people/{waiting}", data={**refuse, "words": " "})
    assert silent.status_code == 409 and "the member needs to know why" in silent.text
    await ann.post(f"/convenor/people/{waiting}", data={**refuse, "words": "It shows a cat."})
    token = (await own_tokens(installation))[Purpose.PREFERENCES]
    assert "It shows a cat." in (await visitor.get(f"/wall/{token}")).text
    assert "It shows a cat." not in str(
        await read_log(installation.database, all_series=installation.by_slug)
    )


async def test_a_convenor_shows_changes_and_hides_themselves(
    sign_in: SignIn, installation: Installation, visitor: httpx.AsyncClient
) -> None:
    ann = await sign_in("Ann")
    first = await ann.get("/convenor/profile")
    typed = {"act": "save", "name": "Ann Ashe", "role": "Hosts", "organisation": "Bee Club", "country": "NO"}
    files = {"photo": ("ann.jpg", PHOTO, "image/jpeg")}
    done = await ann.post("/convenor/profile", data={**typed, "revision": revision(first)}, files=files)
    assert done.status_code == 303
    assert "Bee Club, Norway" in (await visitor.get("/people")).text
    assert (await ann.get("/convenor/profile/photo/480.avif")).headers["Content-Type"] == "image/avif"
    stale = await ann.post("/convenor/profile", data={**typed, "role": "Sings", "revision": revision(first)})
    assert stale.status_code == 422 and "changed meanwhile" in stale.text and 'value="Sings"' in stale.text
    await ann.post("/convenor/profile", data={"act": "hide"})
    assert "Ann Ashe" not in (await visitor.get("/people")).text
    assert [act for _, act, _ in await acts(installation)] == ["convenor-shown", "convenor-hidden"]


async def test_a_page_that_is_kept_in_memory_shows_a_convenors_photo_no_longer_than_they_want(
    sign_in: SignIn, visitor: httpx.AsyncClient, app: Starlette
) -> None:
    ann, typed = await sign_in("Ann"), {"act": "save", "name": "Ann Ashe", "role": "Hosts"}
    files = {"photo": ("ann.jpg", PHOTO, "image/jpeg")}
    await ann.post("/convenor/profile", data=typed, files=files)
    await app.state.site.feed_cache.refresh()
    app.state.site.feed_cache.is_watched = True
    for _ in range(2):
        assert "/photos/" in (await visitor.get("/people")).text
    seen = revision(await ann.get("/convenor/profile"))
    done = await ann.post("/convenor/profile", data={**typed, "revision": seen, "without_photo": "yes"})
    assert done.status_code == 303
    assert "/photos/" not in (await visitor.get("/people")).text


async def test_the_page_about_us_is_written_changed_and_restored(
    sign_in: SignIn, installation: Installation, visitor: httpx.AsyncClient
) -> None:
    assert "The convenors have not written this page yet." in (await visitor.get("/about")).text
    ann = await sign_in("Ann")
    first = await ann.get("/convenor/about")
    assert "Not written yet" in first.text and "## How it began" in first.text
    made_from = revision(first, "made_from")
    text = "# Why\n\nWe **listen**. <script>alert(1)</script>\n\n### How\n\n[bad](javascript:alert(1))"
    look = await ann.post("/convenor/about", data={"act": "look", "body": text, "made_from": made_from})
    assert "<strong>listen</strong>" in look.text and "not written" in (await visitor.get("/about")).text
    await ann.post("/convenor/about", data={"act": "save", "body": text, "made_from": made_from})
    shown = (await visitor.get("/about")).text
    assert "<h2>Why</h2>" in shown and "<h3>How</h3>" in shown and "<strong>listen</strong>" in shown
    assert "<script>" not in shown and 'href="javascript' not in shown
    stale = await ann.post("/convenor/about", data={"act": "save", "body": "Mine", "made_from": made_from})
    assert stale.status_code == 422 and "somebody else changed it meanwhile" in stale.text
    assert ">\nMine</textarea>" in stale.text
    now = revision(await ann.get("/convenor/about"), "made_from")
    await ann.post("/convenor/about", data={"act": "save", "body": "Second", "made_from": now})
    assert "Second" in (await visitor.get("/about")).text
    old = await ann.get(f"/convenor/about/{now}")
    assert "<strong>listen</strong>" in old.text
    await ann.post(f"/convenor/about/{now}", data={"made_from": revision(old, "made_from")})
    assert "<strong>listen</strong>" in (await visitor.get("/about")).text
    versions = (await ann.get("/convenor/about")).text
    assert [f"Version {number}" in versions for number in (1, 2, 3, 4)] == [True, True, True, False]
    assert [act for _, act, _ in await acts(installation)] == ["about-saved", "about-saved", "about-restored"]


@pytest.mark.proof
@pytest.mark.short
async def test_a_member_is_shown_with_a_photo_and_withdraws_it_and_a_stranger_writes(
    address: str, browser: "Browser", installation: Installation
) -> None:
    """The journey of a photo with GPS data in it, to the page and away from it, and from the database's files."""
    (installation.folder / "bo.jpg").write_bytes(PHOTO)
    console = await open_console(browser, address, installation, width=360)
    page = await (await browser.new_context(viewport={"width": 360, "height": 760})).new_page()
    token = (await own_tokens(installation))[Purpose.PREFERENCES]
    await page.goto(f"{address}/me/{token}")
    await page.get_by_role("button", name="Choose what to show").click()
    await page.get_by_label("What you do").fill(MARK)
    await page.get_by_label("A photo of you (optional)").set_input_files(installation.folder / "bo.jpg")
    await page.get_by_role("button", name="Save and look at it").click()
    await page.get_by_text("This is exactly what everybody on the web will see.").wait_for()
    preview = page.locator(".card .person")
    shown_words = await preview.inner_text()
    await page.get_by_role("button", name="Ask to be shown like this").click()
    await page.get_by_text("Waits for a convenor").wait_for()

    await console.goto(f"{address}/convenor/people")
    await console.get_by_role("link", name="Bo", exact=True).click()
    assert await console.locator(".card .person").inner_text() == shown_words
    await console.get_by_role("button", name="Show it to everybody").click()
    await console.get_by_text("Everybody can see the entry now.").wait_for()

    await page.goto(f"{address}/people")
    card = page.locator(".person", has_text=MARK)
    assert await card.inner_text() == shown_words
    photo = await card.locator("img").evaluate("image => image.decode().then(() => image.currentSrc)")
    answer = await page.request.get(photo)
    content = await answer.body()
    assert SECRET not in content and b"Exif" not in content
    files = [installation.folder / name for name in ("test.sqlite", "test.sqlite-wal")]

    def stored(found: bytes) -> bool:
        return any(found in file.read_bytes() for file in files if file.exists())

    # A photo is spread over pages of the file; this part of it is within one.
    part = content[len(content) // 2 :][:200]
    assert stored(part) and stored(MARK.encode()) and not stored(SECRET)

    await page.goto(f"{address}/wall/{token}")
    await page.get_by_role("button", name="Take my entry off at once").click()
    await page.get_by_text("Your entry and your photo are deleted.").wait_for()
    await page.goto(f"{address}/people")
    assert await page.get_by_text(MARK).count() == 0
    gone = await page.request.get(photo)
    assert (gone.status, gone.headers["cache-control"]) == (404, "no-store")
    assert not stored(part) and not stored(MARK.encode())

    await page.get_by_role("link", name="Contact").click()
    await page.get_by_label("Your name").fill("Vi")
    await page.get_by_label("Email address").fill("vi@example.org")
    await page.get_by_label("Message").fill("May I visit?")
    await page.get_by_role("button", name="Send").click()
    await page.get_by_role("heading", name="Thank you for your message").wait_for()
    await installation.tick()
    mail = installation.mails()[-1]
    assert (mail["To"], mail["Reply-To"]) == ("convenors@conversation.example.org", "Vi <vi@example.org>")
