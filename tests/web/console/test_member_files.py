"""Convenors import a table after a look at what it would do, once, and export the list."""

import httpx
import pytest

from tests.installation import Installation
from tests.service.test_workbook import rows, xlsx
from tests.web.console.conftest import SignIn
from tests.web.console.forms import send_form

PEOPLE = (
    ("Name", "Email", "Country"),
    ("Åsa", "asa@example.org", "Sweden"),
    ("Wrong", "no address", "Sweden"),
    ("Bo", "bo@example.org", "New Zealand"),
)
CSV = "\n".join(",".join(row) for row in PEOPLE).encode()
PATH = "/convenor/members/import"


@pytest.fixture
async def ann(sign_in: SignIn) -> httpx.AsyncClient:
    return await sign_in("Ann")


@pytest.mark.parametrize(("name", "content"), [("people.csv", CSV), ("people.xlsx", xlsx(rows(*PEOPLE)))])
async def test_a_table_is_looked_at_first_and_imported_once(
    ann: httpx.AsyncClient, installation: Installation, name: str, content: bytes
) -> None:
    kept = await ann.post(PATH, files={"file": (name, content)})
    path = kept.headers["location"]
    page = (await ann.get(path)).text
    assert "<dt>New members</dt><dd>1</dd>" in page and "Import 1 new member" in page
    assert "1 row is wrong and left out" in page
    assert 'data-label="Column">Email' in page and '<th scope="row">3</th>' in page
    assert "Åsa" not in (await ann.get("/convenor/members")).text
    done = await send_form(ann, path)
    assert "The import is done." in done.text and "<dt>New members</dt><dd>1</dd>" in done.text
    assert "Åsa" in (await ann.get("/convenor/members")).text
    again = await ann.post(path, data={"invite": "yes"})
    assert again.headers["location"] == f"{PATH}?gone=1"
    assert "has been imported" in (await ann.get(f"{PATH}?gone=1")).text
    assert "<li>Added: <bdi>1</bdi></li>" in (await ann.get("/convenor/audit?act=members-imported")).text


async def test_a_table_is_seen_only_by_who_sent_it(ann: httpx.AsyncClient, sign_in: SignIn) -> None:
    bo = await sign_in("Bo")
    path = (await ann.post(PATH, files={"file": ("a.csv", CSV)})).headers["location"]
    assert (await bo.get(path)).status_code == 303
    assert (await ann.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "You need to choose a file."),
        (b"colour\nred\n", "no heading for the address"),
        (b"PK\x03\x04rubbish", "cannot be read as a spreadsheet"),
        (b"a" * (5 * 1024 * 1024 + 1), "too long"),
    ],
    ids=["empty", "no people", "rubbish", "too large"],
)
async def test_what_is_no_table_of_people_is_refused_in_a_line(
    ann: httpx.AsyncClient, content: bytes, words: str
) -> None:
    answer = await ann.post(PATH, files={"file": ("x", content)})
    assert answer.status_code in (413, 422) and words in answer.text
    assert (await ann.post(PATH, data={"file": "text"})).status_code == 422


async def test_the_list_is_exported_and_that_is_recorded(ann: httpx.AsyncClient) -> None:
    assert "Keep it safe" in (await ann.get("/convenor/members/export")).text
    file = await ann.post("/convenor/members/export")
    assert file.headers["content-type"].startswith("text/csv") and '"bo@example.org"' in file.text
    assert file.headers["cache-control"] == "no-store"
    assert "Exported the list of members" in (await ann.get("/convenor/audit")).text
