"""The page of people: what members show of themselves, when others see it, and when they no longer do."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx
import pytest
from starlette.applications import Starlette

from scheduler.domain.actor import SERVICE
from scheduler.domain.errors import Refused
from scheduler.domain.photo import Photo
from scheduler.domain.token import Purpose
from scheduler.service import profiles
from scheduler.service.convenors import dismiss
from scheduler.service.erasure import erase_member
from scheduler.service.photo_process import make_photos
from scheduler.service.profiles import make_words
from scheduler.service.retention import PROFILES_KEPT, forget_old
from scheduler.store import erasures, members
from scheduler.store.profiles import ProfileKind
from tests.installation import RETENTION, Installation, address_of
from tests.pictures import SECRET, phone_photo
from tests.web.test_any_form import own_tokens

PHOTO = phone_photo()
MADE = make_photos(PHOTO)
WORDS = {"name": "Bo", "role": "Keeps bees", "country": "NZ", "act": "save"}


@pytest.fixture(autouse=True)
def quick_decoder(app: Starlette, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode in the tests' own process: starting another takes a moment."""

    async def decode(content: bytes) -> list[Photo]:
        return MADE if content == PHOTO else make_photos(content)

    monkeypatch.setattr(app.state.site.photo_decoder, "decode", decode)


@pytest.fixture
async def page(installation: Installation) -> str:
    """The path of the page on which Bo decides what to show."""
    return f"/wall/{(await own_tokens(installation))[Purpose.PREFERENCES]}"


async def save(visitor: httpx.AsyncClient, page: str, photo: bytes = PHOTO, **words: str) -> httpx.Response:
    files = {"photo": ("me.jpg", photo, "image/jpeg")} if photo else {"photo": ("", b"", "image/jpeg")}
    return await visitor.post(page, data={**WORDS, **words}, files=files)


async def offer(visitor: httpx.AsyncClient, page: str) -> httpx.Response:
    found = re.search(r'name="revision" value="(\d+)"', (await visitor.get(page)).text)
    return await visitor.post(page, data={"act": "offer", "revision": found[1] if found else "0"})


async def put_on_wall(installation: Installation, visitor: httpx.AsyncClient, page: str) -> str:
    """Let Bo be shown; return the path of their photo."""
    assert (await save(visitor, page)).status_code == 303
    assert (await offer(visitor, page)).status_code == 303
    waiting = (await profiles.read_entries(installation.database)).waiting
    await profiles.release(installation.database, waiting[-1].id, by=SERVICE, now=installation.clock.now())
    return await photo_on(visitor)


async def photo_on(visitor: httpx.AsyncClient, page: str = "/people") -> str:
    found = re.search(r'src="([^"]+-192\.jpeg)"', (await visitor.get(page)).text)
    assert found
    return found[1]


async def show_people(installation: Installation) -> int:
    """Show Ann as a convenor and Bo on the wall, each with a photo; return the number of Bo's entry."""
    database, now = installation.database, installation.clock.now()
    await installation.change("Ann", role="convenor")
    words = make_words(name="Ann <Ashe>", role='Hosts & "listens"', organisation="Bee Club", country="GB-WLS")
    await profiles.show_convenor(database, address_of("Ann"), words, photo=MADE, by=SERVICE, now=now)
    await profiles.show_member(
        database, address_of("Bo"), make_words(name="Bo", role="Keeps bees"), photo=MADE, by=SERVICE, now=now
    )
    return (await profiles.read_entries(database)).shown[0].id


async def test_without_anybody_the_page_says_so_and_leads_on(visitor: httpx.AsyncClient) -> None:
    text = (await visitor.get("/people")).text
    assert "No convenor is shown here yet." in text and "No member is shown here yet." in text
    assert 'href="/me"' in text and 'href="/contact"' in text


async def test_only_the_member_sees_an_entry_that_nobody_released(
    visitor: httpx.AsyncClient, page: str, installation: Installation
) -> None:
    assert (await save(visitor, page, role="Keeps bees & <b>listens</b>")).status_code == 303
    seen = (await visitor.get(page)).text
    assert "Keeps bees &amp; &lt;b&gt;listens&lt;/b&gt;" in seen and "New Zealand" in seen
    assert page.removeprefix("/wall/") not in seen, "the address of the page is like a password"
    own = await visitor.get(f"{page}?photo=192.jpeg")
    assert own.content == MADE[1].content and own.headers["Cache-Control"] == "no-store"
    assert own.headers["X-Content-Type-Options"] == "nosniff"
    entry = await profiles.own_entry(installation.database, page.rpartition("/")[2], keys=installation.keys)
    assert entry[1]
    public = f"/photos/{entry[1].photo}-192.jpeg"
    await offer(visitor, page)
    assert "Keeps bees" not in (await visitor.get("/people")).text
    assert (await visitor.get(public)).status_code == 404
    await profiles.release(installation.database, entry[1].id, by=SERVICE, now=installation.clock.now())
    assert "Keeps bees" in (await visitor.get("/people")).text
    assert (await visitor.get(public)).content == MADE[1].content


async def test_a_photo_is_kept_by_browsers_for_an_hour_and_by_nobody_else(
    visitor: httpx.AsyncClient, page: str, installation: Installation
) -> None:
    photo = await put_on_wall(installation, visitor, page)
    answer = await visitor.get(photo)
    assert answer.headers["Cache-Control"] == "private, max-age=3600"
    assert answer.headers["Content-Type"] == "image/jpeg" and SECRET not in answer.content
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    again = await visitor.get(photo, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    best = await visitor.get(photo.replace("-192.jpeg", "-480.avif"))
    assert best.headers["Content-Type"] == "image/avif" and best.headers["ETag"] != answer.headers["ETag"]
    await visitor.post(page, data={"act": "withdraw"})
    gone = await visitor.get(photo, headers={"If-None-Match": answer.headers["ETag"]})
    assert (gone.status_code, gone.headers["Cache-Control"]) == (404, "no-store")


Ending = Callable[[Installation, httpx.AsyncClient, str], Awaitable[object]]
ENDINGS: dict[str, Ending] = {
    "withdrawing": lambda _, visitor, page: visitor.post(page, data={"act": "withdraw"}),
    "changing it": lambda _, visitor, page: save(visitor, page, b"", role="Keeps wasps"),
    "leaving": lambda installation, *_: installation.change("Bo", status="left", active_since=None),
    "being erased": lambda installation, *_: erase_member(
        installation.database,
        address_of("Bo"),
        keys=installation.keys,
        outbox=None,
        now=installation.clock.now(),
    ),
    "a convenor": lambda installation, *_: profiles.remove(
        installation.database, 1, by=SERVICE, now=installation.clock.now()
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_entry_is_gone_from_page_and_address_at_once(
    visitor: httpx.AsyncClient, page: str, installation: Installation, ending: str
) -> None:
    photo = await put_on_wall(installation, visitor, page)
    await ENDINGS[ending](installation, visitor, page)
    assert "Keeps bees" not in (await visitor.get("/people")).text
    assert (await visitor.get(photo)).status_code == 404


async def test_a_page_that_is_kept_in_memory_forgets_a_withdrawn_entry_at_once(
    visitor: httpx.AsyncClient, page: str, installation: Installation, app: Starlette
) -> None:
    photo = await put_on_wall(installation, visitor, page)
    await app.state.site.feed_cache.refresh()
    app.state.site.feed_cache.is_watched = True
    for _ in range(2):
        assert photo in (await visitor.get("/people")).text
    await visitor.post(page, data={"act": "withdraw"})
    assert photo not in (await visitor.get("/people")).text


async def test_an_entry_is_released_only_as_the_convenor_saw_it(
    visitor: httpx.AsyncClient, page: str, installation: Installation
) -> None:
    await save(visitor, page)
    await offer(visitor, page)
    (seen,) = (await profiles.read_entries(installation.database)).waiting
    await save(visitor, page, b"", role="Sells bees")
    await offer(visitor, page)
    with pytest.raises(Refused, match="changed meanwhile"):
        await profiles.release(
            installation.database, seen.id, revision=seen.revision, by=SERVICE, now=installation.clock.now()
        )
    # Nor does a member offer what they did not see.
    await save(visitor, page, b"", role="Buys bees")
    stale = await visitor.post(page, data={"act": "offer", "revision": str(seen.revision)})
    assert stale.status_code == 422 and "changed meanwhile" in stale.text


async def test_a_refused_entry_loses_its_photo_and_says_why(
    visitor: httpx.AsyncClient, page: str, installation: Installation
) -> None:
    await save(visitor, page)
    await offer(visitor, page)
    (entry,) = (await profiles.read_entries(installation.database)).waiting
    await profiles.refuse(
        installation.database, entry.id, "It shows a cat.", by=SERVICE, now=installation.clock.now()
    )
    seen = await visitor.get(page)
    assert "It shows a cat." in seen.text and "<picture>" not in seen.text
    assert (await visitor.get(f"{page}?photo=192.jpeg")).status_code == 404


async def test_what_is_wrong_is_said_beside_its_field_and_nothing_is_saved(
    visitor: httpx.AsyncClient, page: str
) -> None:
    for photo, words, complaint in (
        (PHOTO, {"name": " "}, "You need to say what to call you."),
        (PHOTO, {"role": ""}, "You need to say in a few words what you do."),
        (PHOTO, {"country": "Atlantis"}, "You need to choose a country from the list."),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", {}, "the file is a drawing or a page, not a photo"),
        (PHOTO[:2000], {}, "the picture is damaged"),
        (PHOTO + bytes(5 * 1024 * 1024 - len(PHOTO) + 1), {}, "at most 5 MB are accepted"),
    ):
        answer = await save(visitor, page, photo, **words)
        assert answer.status_code == 422 and complaint in answer.text
    assert "How others see you" not in (await visitor.get(page)).text
    assert (await save(visitor, page, bytes(6 * 1024 * 1024))).status_code == 413


async def test_a_stranger_cannot_send_a_photo(visitor: httpx.AsyncClient) -> None:
    assert (await save(visitor, "/wall/x")).status_code == 404


async def test_a_photo_stays_until_there_is_another_or_it_is_removed(
    visitor: httpx.AsyncClient, page: str
) -> None:
    await save(visitor, page)
    await save(visitor, page, b"", role="Keeps wasps")
    assert "<picture>" in (await visitor.get(page)).text
    await save(visitor, page, b"", without_photo="yes")
    text = (await visitor.get(page)).text
    assert "<picture>" not in text and '<span class="portrait" aria-hidden="true">B</span>' in text


async def test_a_convenor_is_shown_until_they_hide_themselves_or_are_dismissed(
    visitor: httpx.AsyncClient, installation: Installation
) -> None:
    database, now = installation.database, installation.clock.now()
    words = make_words(name="Ann Ashe", role="Hosts the meetings", organisation="Bee Club", country="GB-WLS")
    with pytest.raises(Refused, match="no convenor"):
        await profiles.show_convenor(database, address_of("Ann"), words, photo=MADE, by=SERVICE, now=now)
    for name in ("Ann", "Bo"):
        await installation.change(name, role="convenor")
    await profiles.show_convenor(database, address_of("Ann"), words, photo=MADE, by=SERVICE, now=now)
    photo = await photo_on(visitor)
    assert "Bee Club, Wales" in (await visitor.get("/people")).text
    assert await profiles.hide_convenor(database, address_of("Ann"), by=SERVICE, now=now)
    assert "Ann Ashe" not in (await visitor.get("/people")).text
    await profiles.show_convenor(database, address_of("Ann"), words, photo=MADE, by=SERVICE, now=now)
    photo = await photo_on(visitor)
    await dismiss(database, address_of("Ann"), by=SERVICE, now=now)
    assert "Ann Ashe" not in (await visitor.get("/people")).text
    assert (await visitor.get(photo)).status_code == 404


async def test_a_wall_of_many_has_pages(visitor: httpx.AsyncClient, installation: Installation) -> None:
    count = profiles.PAGE + 2
    await installation.join(*((f"Person {number}", "Europe/London") for number in range(count)))
    for number in range(count):
        await profiles.show_member(
            installation.database,
            address_of(f"Person {number}"),
            make_words(name=f"P{number}", role="Listens"),
            photo=[],
            by=SERVICE,
            now=installation.clock.now(),
        )
    first = await visitor.get("/people")
    assert first.text.count('class="portrait"') == profiles.PAGE
    assert 'href="/people?page=2"' in first.text and f">P{count - 1}<" in first.text
    second = await visitor.get("/people?page=2")
    assert second.text.count('class="portrait"') == 2 and ">P0<" in second.text
    for path in ("/people?page=3", f"/people?page={9**18}"):
        assert (await visitor.get(path)).status_code == 404


async def test_entries_that_nobody_released_are_forgotten(
    visitor: httpx.AsyncClient, page: str, installation: Installation
) -> None:
    await save(visitor, page)
    for kept_for, is_kept in ((PROFILES_KEPT, True), (PROFILES_KEPT + timedelta(seconds=1), False)):
        now = installation.clock.now() + kept_for
        await forget_old(installation.database, RETENTION, keys=installation.keys, outbox=None, now=now)
        assert ("How others see you" in (await visitor.get(page)).text) is is_kept


async def test_what_is_stored_of_a_photo_is_in_the_copy_of_a_members_data(
    visitor: httpx.AsyncClient, page: str, installation: Installation
) -> None:
    await save(visitor, page)
    async with installation.database.read() as connection:
        bo = await members.by_key(connection, address_of("Bo"))
        assert bo
        held = await erasures.rows_about(connection, bo.id)
    assert [row["kind"] for row in held["profiles"]] == [ProfileKind.WALL]
    assert len(held["photos"]) == len(MADE)
