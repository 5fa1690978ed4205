"""Helpers record what was said: rows of speakers and materials, themes, speakers, and a sheet of the past."""

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.installation import Installation
from tests.service.test_workbook import rows, xlsx
from tests.web.console.conftest import SignIn, sign_in_link
from tests.web.console.forms import form_with, forms, send_form

if TYPE_CHECKING:
    from playwright.async_api import Browser

PATH = "/convenor/meetings/conversation-for-kindness/2021-05-20"
PUBLIC = "/meetings/conversation-for-kindness/2021-05-20"
IMPORT = "/convenor/archive/import"
SPELLINGS = (
    "{month} {year}",
    "{year}-{number:02}",
    "{short}-{two:02}",
    "{number:02}/{year}",
    "{month} '{two:02}",
)


def messy_sheet() -> list[tuple[object, ...]]:
    """Sixty months in many spellings, with years as rows of their own, cells that span rows, and remarks."""
    names = "January February March April May June July August September October November December".split()
    sheet: list[tuple[object, ...]] = [
        ("Month", "Title", "Who led", "Link to summary", "Recording (YouTube)", "Slides", "Remarks")
    ]
    for number in range(60):
        year, month = 2020 + (number + 6) // 12, (number + 6) % 12 + 1
        if month == 1:
            sheet.append((year, "", "", "", "", "", ""))
        spelling = SPELLINGS[number % len(SPELLINGS)]
        when = spelling.format(
            month=names[month - 1], short=names[month - 1][:3], number=month, year=year, two=year % 100
        )
        topic = "Clean language" if number == 10 else f"Conversation {number}"
        recording = f"https://youtu.be/{number}" if number % 3 else "n/a"
        sheet.append((when, topic, f"Leader {chr(65 + number % 26)}x", "", recording, "-", "nice"))
        if number % 20 == 5:
            sheet.append(("", f"Another {number}", "Ann Lee and Bo Ray", "tbc", "", "", ""))
    sheet.append(("Smarch 2021", "Nobody knows when", "", "", "", "", ""))
    return sheet


@pytest.fixture
async def helper(sign_in: SignIn) -> httpx.AsyncClient:
    return await sign_in("Bo", role="helper")


async def test_rows_are_filled_in_changed_and_emptied_without_javascript(
    helper: httpx.AsyncClient,
) -> None:
    form = await form_with(helper, PATH, "save")
    assert {"speaker-1-name", "speaker-2-name", "material-2-link"} <= set(form.values)
    assert "speaker-3-name" not in form.values, "two blank rows"
    saved = await send_form(
        helper,
        PATH,
        "save",
        topic="Clean language",
        summary="What we **said**",
        **{
            "speaker-2-name": "Amara Okafor",
            "speaker-2-role": "poet",
            "material-1-kind": "slides",
            "material-1-title": "Metaphors",
            "material-1-link": "https://example.org/s",
            "material-2-link": "https://youtu.be/x",
        },
    )
    assert saved.status_code == 303
    form = await form_with(helper, PATH, "save")
    assert form.values["speaker-1-name"] == "Amara Okafor" and "speaker-3-name" in form.values
    assert form.values["material-2-kind"] == "recording", "by its address"
    page = (await helper.get(PUBLIC)).text
    assert "Amara Okafor" in page and "<strong>said</strong>" in page and "Metaphors" in page
    await send_form(helper, PATH, "save", **{"material-1-link": "", "material-1-title": ""})
    assert "Metaphors" not in (await helper.get(PUBLIC)).text
    # Pressing save on the page as it is changes nothing.
    before = (await form_with(helper, PATH, "save")).values
    await send_form(helper, PATH, "save")
    after = (await form_with(helper, PATH, "save")).values
    assert after == before


async def test_what_is_wrong_with_a_row_is_said_at_its_field_and_nothing_is_lost(
    helper: httpx.AsyncClient,
) -> None:
    wrong = await send_form(
        helper,
        PATH,
        "save",
        summary="Kept \x08",
        **{
            "speaker-1-role": "poet",
            "speaker-2-name": "Ann",
            "speaker-2-link": "javascript:alert(1)",
            "material-1-title": "No link",
            "material-2-link": "nowhere",
        },
    )
    assert wrong.status_code == 422
    for field in ("speaker-1-name", "speaker-2-link", "material-1-link", "material-2-link", "summary"):
        assert f'href="#{field}"' in wrong.text and f'id="{field}-complaint"' in wrong.text, field
    assert (
        'value="No link"' in wrong.text and "Kept" in wrong.text and "Nothing has been saved." in wrong.text
    )


async def test_themes_and_speakers_are_kept_by_helpers(helper: httpx.AsyncClient) -> None:
    assert "There are no themes yet." in (await helper.get("/convenor/themes")).text
    for name in ("Listening", "Lisening"):
        assert (await helper.post("/convenor/themes", data={"name": name})).status_code == 303
    assert (await helper.post("/convenor/themes", data={"name": "LISTENING"})).status_code == 422
    await send_form(helper, PATH, "save", theme="lisening", **{"speaker-1-name": "Amara Okafor"})
    await send_form(helper, "/convenor/themes/listening", "merge", other="lisening")
    await send_form(helper, "/convenor/themes/listening", "save", words="Hearing *all*")
    assert "/themes/listening" in (await helper.get(PUBLIC)).text
    assert "<em>all</em>" in (await helper.get("/themes/listening")).text
    await send_form(helper, PATH, "save", **{"speaker-2-name": "Dr Amara Okafor", "theme": ""})
    assert "Perhaps one person" in (await helper.get("/convenor/speakers")).text
    await send_form(helper, "/convenor/speakers/amara-okafor", "merge", other="dr-amara-okafor")
    await send_form(helper, "/convenor/speakers/amara-okafor", "save", role="poet")
    assert "Dr Amara" not in (page := (await helper.get(PUBLIC)).text) and "poet" in page


@pytest.mark.parametrize("act", ["merge", "remove"])
async def test_after_a_theme_was_not_merged_or_deleted_it_could_not_be_saved(
    helper: httpx.AsyncClient, act: str
) -> None:
    await helper.post("/convenor/themes", data={"name": "Listening"})
    await send_form(helper, PATH, "save", theme="listening")
    path = "/convenor/themes/listening"
    refused = await helper.post(path, data={"act": act, "other": "listening"})
    assert refused.status_code == 422
    (form,) = (one for one in forms(refused.text, path) if ("act", "save") in one.buttons)
    saved = await helper.post(form.path, data={**form.values, "name": "Hearing", "act": "save"})
    assert saved.headers["location"] == "/convenor/themes?done=saved"


async def test_after_a_speaker_was_not_merged_they_could_not_be_saved(helper: httpx.AsyncClient) -> None:
    await send_form(helper, PATH, "save", **{"speaker-1-name": "Ann Lee"})
    path = "/convenor/speakers/ann-lee"
    refused = await helper.post(path, data={"act": "merge", "other": "gone"})
    assert refused.status_code == 422
    (form,) = (one for one in forms(refused.text, path) if ("act", "save") in one.buttons)
    saved = await helper.post(form.path, data={**form.values, "role": "poet", "act": "save"})
    assert saved.headers["location"] == "/convenor/speakers?done=saved"


async def test_a_sheet_is_looked_at_row_by_row_and_imported_once(
    helper: httpx.AsyncClient, installation: Installation
) -> None:
    content = xlsx(rows(*messy_sheet()[:8]))
    kept = await helper.post(IMPORT, files={"file": ("sheet.xlsx", content)})
    path = kept.headers["location"]
    page = (await helper.get(path)).text
    assert "6 found and changed, 1 added" in page and "These columns are not used: Remarks" in page
    assert "Found by its month: topic" in page and "Import 7 meetings" in page
    assert "Conversation 3" not in (await helper.get("/archive?year=2020")).text
    done = await send_form(helper, path)
    assert "The import is done. Nobody was told." in done.text
    assert "Conversation 3" in (await helper.get("/archive?year=2020")).text
    assert (await helper.post(path)).headers["location"] == f"{IMPORT}?gone=1"
    refused = await helper.post(IMPORT, files={"file": ("a.csv", b"colour\nred\n")})
    assert refused.status_code == 422 and "no column says which meeting" in refused.text


@pytest.mark.proof
@pytest.mark.short
async def test_sixty_messy_months_come_in_and_clean_language_is_found_by_a_mistyped_search(
    address: str, browser: "Browser", installation: Installation
) -> None:
    await installation.change("Ann", role="helper")
    async with httpx.AsyncClient(base_url=address) as asking:
        link = await sign_in_link(installation, asking, "Ann")
    page = await (await browser.new_context()).new_page()
    await page.goto(address + link)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("link", name="Meetings").first.click()
    await page.get_by_role("link", name="Import a sheet of meetings").click()
    sheet = {
        "name": "meetings.xlsx",
        "mimeType": "application/octet-stream",
        "buffer": xlsx(rows(*messy_sheet())),
    }
    await page.get_by_label("File").set_input_files(sheet)  # type: ignore[arg-type]
    await page.get_by_role("button", name="Look at it").click()
    await page.get_by_text("60 found and changed, 3 added, 0 with nothing new, 1 refused.").wait_for()
    await page.get_by_role("button", name="Import 63 meetings").click()
    await page.get_by_text("The import is done. Nobody was told.").wait_for()
    await page.get_by_role("link", name="See the archive").click()
    await page.get_by_label("Search past meetings").fill("clen langage")
    await page.get_by_role("button", name="Search").click()
    await page.get_by_text("We found nothing for “clen langage”.").wait_for()
    assert await page.locator("mark").all_inner_texts() == ["Clean", "language"]
    await page.get_by_role("link", name="Clean language").click()
    await page.get_by_role("heading", name="Clean language").wait_for()
    assert (
        await page.get_by_role("link", name="Watch the recording").get_attribute("href")
        == "https://youtu.be/10"
    )
    await page.get_by_role("link", name="Leader Kx").click()
    await page.get_by_role("heading", name="Leader Kx").wait_for()


async def test_a_stale_form_of_a_meeting_took_back_the_new_link_of_a_speaker(
    helper: httpx.AsyncClient,
) -> None:
    await send_form(helper, PATH, "save", **{"speaker-1-name": "Ann Lee"})
    stale = await form_with(helper, PATH, "save")
    await send_form(helper, "/convenor/speakers/ann-lee", "save", link="https://ann.example.org/")
    late = await helper.post(stale.path, data={**stale.values, "topic": "Tea", "act": "save"})
    assert late.status_code == 422 and "changed by somebody else" in late.text
    assert "https://ann.example.org/" in (await helper.get("/speakers/ann-lee")).text
