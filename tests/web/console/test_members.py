"""Convenors find members, see what they were sent, and change, pause, remove and erase them."""

from datetime import timedelta

import httpx
import pytest

from scheduler.domain.token import Purpose
from scheduler.service.members import find_members, read_search
from scheduler.store import members
from tests.installation import Installation, address_of
from tests.web.console.conftest import SignIn
from tests.web.console.forms import send_form


@pytest.fixture
async def ann(installation: Installation, sign_in: SignIn) -> httpx.AsyncClient:
    """A convenor who is signed in, on a list with people from many countries."""
    await installation.join(
        ("Åsa Lindström", "Europe/Stockholm"), ("عائشة", "Africa/Cairo"), ("李小明", "Asia/Taipei")
    )
    await installation.change("Bo", country="NZ")
    return await sign_in("Ann")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["Ann", "Åsa Lindström", "Bo", "Cy", "عائشة", "李小明"]),
        ("asa", ["Åsa Lindström"]),
        ("LIND stock", ["Åsa Lindström"]),
        ("bo@example", ["Bo"]),
        ("new zealand", ["Bo"]),
        ("小明", ["李小明"]),
        ("عائشة", ["عائشة"]),
        ("auckland", ["Bo"]),
        ("nobody", []),
        ("%", []),
        ("_", ["Cy"]),
        ("—", []),
    ],
)
async def test_members_are_found_by_any_part_of_name_address_country_and_zone(
    ann: httpx.AsyncClient, installation: Installation, query: str, names: list[str]
) -> None:
    found = await find_members(installation.database, read_search(query), limit=10)
    assert [member.name for member in found] == names
    page = (await ann.get("/convenor/members", params={"q": query})).text
    assert all(f"<bdi>{name}</bdi></a>" in page for name in names)
    assert ("Nobody matches." in page) is not bool(names)


async def test_a_long_list_continues_where_it_ended(
    ann: httpx.AsyncClient, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.web.console.members.PAGE", 2)
    seen, path = list[str](), "/convenor/members"
    for _ in range(3):
        page = (await ann.get(path)).text
        seen += [name for name in ("Ann", "Åsa", "Bo", "Cy", "عائشة", "李小明") if f"<bdi>{name}" in page]
        path = "/convenor/members" + page.partition('href="/convenor/members?')[2].partition('"')[0].join(
            ("?", "")
        )
        path = path.replace("&amp;", "&")
    assert seen == ["Ann", "Åsa", "Bo", "Cy", "عائشة", "李小明"]


async def test_the_index_has_everything_that_a_search_reads(installation: Installation) -> None:
    search = read_search("asa", status="active", country="GB")
    plans: list[str] = []
    async with installation.database.read() as connection:
        statement = members.found(search, after=("a", "b"), limit=10).compile(
            connection.engine, compile_kwargs={"literal_binds": True}
        )
        rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")
        plans += [str(row[-1]) for row in rows]
    assert any("COVERING INDEX ix_members_search" in plan for plan in plans), plans


async def test_a_member_is_changed_paused_removed_and_put_back_and_it_is_recorded(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    form = {
        "name": "Bo Berg",
        "email": "bo@example.org",
        "country": "NZ",
        "zone": "Pacific/Auckland",
        "locale": "sv-SE",
    }
    assert 'value="Bo"' in (await ann.get("/convenor/members/2/edit")).text
    saved = await send_form(ann, "/convenor/members/2/edit", **form)
    assert "The details have been saved." in (await ann.get(saved.headers["location"])).text
    for act, words in (
        ("pause", "paused"),
        ("activate", "active"),
        ("links", "active"),
        ("remove", "left"),
        ("activate", "active"),
    ):
        done = await send_form(ann, "/convenor/members/2", act)
        assert done.status_code == 303, act
        assert f"<dd>{words}" in (await ann.get(done.headers["location"])).text
    async with installation.database.read() as connection:
        bo = await members.by_key(connection, address_of("Bo"))
    assert bo and (bo.name, bo.locale, bo.generation) == ("Bo Berg", "sv-SE", 1)
    log = (await ann.get("/convenor/audit")).text
    assert "name: from “<bdi>Bo</bdi>” to “<bdi>Bo Berg</bdi>”" in log
    assert all(words in log for words in ("Member paused", "Member removed", "Member links ended"))


async def test_what_is_wrong_in_a_form_is_said_at_its_field_and_nothing_is_changed(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    wrong = {"name": "A\x00", "email": "no address", "country": "ZZ", "zone": "Mars/One", "locale": "??"}
    for path in ("/convenor/members/2/edit", "/convenor/members/add"):
        answer = await ann.post(path, data=wrong)
        assert answer.status_code == 422
        assert all(f'id="{name}-complaint"' in answer.text for name in wrong)
    taken = {
        "name": "Bo",
        "email": "ann@example.org",
        "country": "NZ",
        "zone": "Pacific/Auckland",
        "locale": "",
    }
    assert "another member&#39;s address." in (await send_form(ann, "/convenor/members/2/edit", **taken)).text
    assert "already on the list (active)." in (await ann.post("/convenor/members/add", data=taken)).text
    several = {**taken, "email": "di@example.org", "country": "AU", "zone": ""}
    assert "zone-complaint" in (await ann.post("/convenor/members/add", data=several)).text
    for until in ("2020-01-01", "soon"):
        late = await ann.post("/convenor/members/2", data={"act": "pause", "until": until})
        assert late.status_code == 422 and "until-complaint" in late.text and "--until" not in late.text
    assert not installation.mails() or len(await installation.reports()) == 1


async def test_a_member_is_added_and_erased(ann: httpx.AsyncClient, installation: Installation) -> None:
    form = {
        "name": "Dee",
        "email": "dee@example.org",
        "country": "NZ",
        "zone": "",
        "locale": "",
        "invite": "yes",
    }
    added = await ann.post("/convenor/members/add", data=form)
    page = (await ann.get(added.headers["location"])).text
    assert "guessed from the country" in page and "They have been added." in page
    path = added.headers["location"].partition("?")[0]
    unsure = await ann.post(f"{path}/erase")
    assert unsure.status_code == 422 and "I am sure" in unsure.text
    erased = await ann.post(f"{path}/erase", data={"sure": "yes"})
    assert "They have been erased" in (await ann.get(erased.headers["location"])).text
    assert (await ann.get(path)).status_code == 404
    assert "Dee" not in (await ann.get("/convenor/audit")).text
    again = await ann.post("/convenor/members/add", data=form)
    assert again.status_code == 422 and "erased" in again.text


async def test_the_page_of_a_member_says_what_they_were_sent_and_no_secret(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    installation.clock.pass_(timedelta(days=2))
    await installation.tick()
    page = (await ann.get("/convenor/members/2")).text
    assert "Invitation, 19 November 2026" in page and ">sent</td>" in page
    for purpose in (Purpose.PREFERENCES, Purpose.FEED, Purpose.LEAVE):
        assert installation.keys.token(purpose, 2, generation=0) not in page
