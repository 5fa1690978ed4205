"""Convenors find members, see what they were sent, and change, pause, remove and erase them."""

import re
from dataclasses import replace
from datetime import timedelta
from html import unescape

import httpx
import pytest

from scheduler.domain.token import Purpose
from scheduler.service.members import find_members, read_search
from scheduler.store import follows, members
from tests.installation import SERIES, Installation, address_of
from tests.web.console.conftest import SignIn
from tests.web.console.forms import form_with, send_form


@pytest.fixture
async def ann(installation: Installation, sign_in: SignIn) -> httpx.AsyncClient:
    """A convenor who is signed in, on a list with people from many countries."""
    await installation.join(
        ("Åsa Lindström", "Europe/Stockholm"), ("عائشة", "Africa/Cairo"), ("李小明", "Asia/Taipei")
    )
    await installation.change("Bo", country="NZ")
    return await sign_in("Ann")


def listed(page: str) -> list[str]:
    """The names in a list of members."""
    return re.findall(r'<a href="/convenor/members/\d+"><bdi>([^<]+)</bdi>', page)


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
    page = (await ann.get("/convenor/members", params={"q": query, "status": ""})).text
    assert listed(page) == names
    assert ("Nobody matches." in page) is not bool(names)


async def test_a_long_list_continues_where_it_ended(
    ann: httpx.AsyncClient, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.web.console.members.PAGE", 2)
    seen, path = list[str](), "/convenor/members"
    for _ in range(3):
        page = (await ann.get(path)).text
        seen += listed(page)
        path = unescape(page.partition('<li class="next"><a href="')[2].partition('"')[0])
    assert seen == ["Ann", "Åsa Lindström", "Bo", "Cy", "عائشة", "李小明"]


async def test_the_list_is_filtered_by_each_menu_and_the_search_together(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    await installation.change("Cy", status="paused", active_since=None)
    await installation.change("Bo", role="helper", suppressed_at=installation.clock.now())
    for query, found in (
        ("status=paused", ["Cy"]),
        ("country=NZ", ["Bo"]),
        ("zone=Africa/Cairo", ["عائشة"]),
        ("role=convenor", ["Ann"]),
        ("role=helper&mail=returned&q=bo", ["Bo"]),
        ("role=helper&status=paused", []),
    ):
        page = (await ann.get(f"/convenor/members?{query}")).text
        assert listed(page) == found, query
        assert "<details open>" in page


@pytest.mark.parametrize("few", [0, 20_000])
async def test_the_list_is_filtered_by_the_series_that_members_follow(
    ann: httpx.AsyncClient, installation: Installation, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr("scheduler.store.members._FEW", few)
    chosen = replace(SERIES, slug="chosen", by_choice=True)
    for name, slug, yes in (("Bo", "chosen", True), ("Cy", "chosen", False), ("Ann", SERIES.slug, False)):
        async with installation.database.write() as connection:
            member = await members.by_key(connection, address_of(name))
            assert member
            await follows.store(connection, {member.id: {slug: yes}})
    for slug, names in (("chosen", ["Bo"]), (SERIES.slug, ["Åsa Lindström", "Bo", "Cy", "عائشة", "李小明"])):
        search = read_search("", series=slug, all_series=[SERIES, chosen])
        found = await find_members(installation.database, search, limit=10)
        assert [member.name for member in found] == names


async def test_an_address_keeps_its_order_beside_a_name_in_any_script(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    await installation.change("Bo", name="", address="عائشة@example.org")
    for path in ("/convenor/members?q=auckland", "/convenor/members/2"):
        assert '<bdi dir="ltr">عائشة@example.org</bdi>' in (await ann.get(path)).text


async def test_the_index_has_everything_that_a_search_reads(installation: Installation) -> None:
    search = read_search("asa", status="active", country="GB", suppressed=True)
    plans: list[str] = []
    async with installation.database.read() as connection:
        statement = members.found(search, after="a\tb", limit=10).compile(
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
    assert "Name: from “<bdi>Bo</bdi>” to “<bdi>Bo Berg</bdi>”" in log
    assert all(
        words in log
        for words in ("Paused a member’s emails", "Removed a member from", "Ended a member’s old links")
    )


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


async def test_a_country_with_several_zones_asks_for_one_at_the_field_of_the_zone(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    await installation.change("Bo", zone_source="assumed")
    form = {
        "name": "Bo",
        "email": "bo@example.org",
        "country": "BR",
        "zone": "Pacific/Auckland",
        "locale": "",
    }
    form = (await form_with(ann, "/convenor/members/2/edit")).values | form
    words = "You need to choose a time zone, because Brazil has several."
    refused = await ann.post("/convenor/members/2/edit", data=form)
    assert refused.status_code == 422 and f'<a href="#zone">{words}</a>' in refused.text
    assert "email-complaint" not in refused.text and 'name="asked" value="zone"' in refused.text
    # The zone that they have is as good an answer as any other.
    saved = await ann.post("/convenor/members/2/edit", data={**form, "asked": "zone"})
    assert saved.status_code == 303
    async with installation.database.read() as connection:
        bo = await members.by_key(connection, address_of("Bo"))
    assert bo and (bo.country, bo.zone, bo.zone_source) == ("BR", "Pacific/Auckland", "given")
    added = await ann.post("/convenor/members/add", data={**form, "email": "di@example.org", "zone": ""})
    assert added.status_code == 422 and words in added.text


async def test_two_who_may_be_one_are_shown_side_by_side_and_told_apart_or_removed(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    await installation.join(("", "Asia/Taipei"), address="bo+x@example.org", address_key="bo+x@example.org")
    await installation.join(("李小明", "Asia/Taipei"), address="li@example.org", address_key="li@example.org")
    page = (await ann.get("/convenor/members/duplicates")).text
    assert page.count("They are different people") == 2
    assert "lead to the same mailbox" in page and "They have the same name" in page
    pair = {"one": "bo@example.org", "other": "bo+x@example.org"}
    done = await ann.post("/convenor/members/duplicates", data=pair)
    page = (await ann.get(done.headers["location"])).text
    assert "We will not point these two out again." in page and "bo+x@example.org" not in page
    form = re.search(r'action="(/convenor/members/\d+)"', page)
    assert form
    await ann.post(form[1], data={"act": "remove"})
    page = (await ann.get("/convenor/members/duplicates")).text
    assert "Nobody seems to be on the list twice." in page
    assert "two members are different people" in (await ann.get("/convenor/audit")).text


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
    assert "Invitation, 19 November 2026" in page and ">Sent</td>" in page
    for purpose in (Purpose.PREFERENCES, Purpose.FEED, Purpose.LEAVE):
        assert installation.keys.token(purpose, 2, generation=0) not in page


async def test_a_mail_is_read_as_it_was_sent_and_sent_again_once(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    installation.clock.pass_(timedelta(days=2))
    await installation.tick()
    page = (await ann.get("/convenor/members/2")).text
    path = re.search(r'href="(/convenor/members/2/mails/\d+)">Invitation', page)
    assert path
    mail = await ann.get(path[1])
    assert "Dear Bo" in mail.text and "It puts this meeting into their calendar" in mail.text
    assert '<iframe src="' in mail.text and " sandbox referrerpolicy" in mail.text
    frame = await ann.get(f"{path[1]}/html")
    policy = frame.headers["content-security-policy"]
    assert "default-src 'none'" in policy and policy.endswith("sandbox")
    tokens = [
        installation.keys.token(purpose, 2, generation=0)
        for purpose in Purpose
        if purpose is not Purpose.ADDRESS
    ]
    for text in (mail.text, frame.text):
        assert "Bo" in text and not any(token in text for token in tokens)
    assert "…" in mail.text and 'href="https://meet.example.org/me/' not in frame.text
    asked = await ann.get(f"{path[1]}/again")
    assert "goes to" in asked.text
    before = len(installation.mails())
    for _ in range(2):
        done = await ann.post(f"{path[1]}/again", data={"times": "0"})
        assert "on its way to them again" in (await ann.get(done.headers["location"])).text
        await installation.tick()
    assert len(installation.mails()) == before + 1
    assert "Invitation, 19 November 2026, sent again</a>" in (await ann.get("/convenor/members/2")).text
    await installation.change("Bo", status="left", active_since=None)
    refused = await ann.post(f"{path[1]}/again", data={"times": "1"})
    assert refused.status_code == 422 and "they have left the list." in refused.text
    assert (await ann.get("/convenor/members/2/mails/999")).status_code == 404
