"""Convenors write notices: nothing leaves but by the button with the number, after a pause, and once."""

import re
from datetime import timedelta

import httpx
import pytest

from scheduler.store import notices as notice_store
from scheduler.store.ledger import fan_out
from tests.installation import Installation
from tests.web.console.conftest import SignIn

FORM = {"subject": "Tea", "body": "Bring **tea**.", "who": "all", "except": "", "when": "now"}


@pytest.fixture
async def ann(installation: Installation, sign_in: SignIn) -> httpx.AsyncClient:
    return await sign_in("Ann")


async def saved(ann: httpx.AsyncClient, **values: str) -> str:
    """The path of a new draft."""
    answer = await ann.post("/convenor/notices/write", data={**FORM, **values})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].partition("?")[0]


async def press(ann: httpx.AsyncClient, path: str, act: str = "send", **values: str) -> httpx.Response:
    """Press a button of the page at a path, with the fields that it has now."""
    page = (await ann.get(path)).text
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    return await ann.post(path, data={**hidden, "act": act, **values})


async def readers(installation: Installation) -> list[str]:
    """The names of those who were sent a notice, one for each mail."""
    await installation.tick()
    return sorted(row.name for row in await installation.reports(state="sent") if row.kind == "notice")


async def test_a_notice_is_written_looked_at_tested_and_sent_after_a_pause(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    path = await saved(ann)
    page = (await ann.get(path)).text
    assert "<strong>tea</strong>" in page and "Send to 3 members" in page
    assert "Send a test to me" in page
    await press(ann, path, "test")
    assert await readers(installation) == ["Ann"]
    sent = await press(ann, path)
    progress = sent.headers["location"]
    assert "Not sent yet." in (await ann.get(progress)).text
    installation.clock.pass_(timedelta(seconds=100))
    assert await readers(installation) == ["Ann"]
    installation.clock.pass_(timedelta(seconds=21))
    assert await readers(installation) == ["Ann", "Ann", "Bo", "Cy"]
    page = (await ann.get(progress)).text
    assert "Finished." in page and "3 of 3 emails went out" in page and "data-hx-get" not in page
    assert (await ann.get(path)).headers["location"] == progress
    listed = (await ann.get("/convenor/notices")).text
    assert re.search(r'>Tea<.*data-label="Sent">3</td>.*data-label="Members">3</td>', listed)


async def test_pressing_again_reloading_and_two_convenors_send_it_once(
    ann: httpx.AsyncClient, installation: Installation, sign_in: SignIn
) -> None:
    bo = await sign_in("Bo")
    path = await saved(ann)
    page = (await ann.get(path)).text
    form = {**dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page)), "act": "send"}
    answers = [await browser.post(path, data=form) for browser in (ann, bo, ann)]
    assert len({answer.headers["location"] for answer in answers}) == 1
    installation.clock.pass_(timedelta(minutes=3))
    assert await readers(installation) == ["Ann", "Bo", "Cy"]


async def test_a_press_that_was_interrupted_is_completed_by_the_next_and_nobody_gets_it_twice(
    ann: httpx.AsyncClient, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await saved(ann)
    real, calls = fan_out.fan_out, 0

    async def interrupted(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return await real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(fan_out, "fan_out", interrupted)
    with pytest.raises(KeyboardInterrupt):
        await press(ann, path)
    installation.clock.pass_(timedelta(minutes=5))
    assert await readers(installation) == []
    async with installation.database.read() as connection:
        (begun,) = [notice for notice in await notice_store.every(connection) if notice.kind == "notice"]
    assert "interrupted" in (await ann.get(f"/convenor/notices/{begun.id}")).text
    done = await press(ann, path)
    assert done.headers["location"] == f"/convenor/notices/{begun.id}"
    assert await readers(installation) == ["Ann", "Bo", "Cy"]


async def test_a_draft_whose_sending_was_interrupted_at_the_end_cannot_be_sent_with_other_words(
    ann: httpx.AsyncClient, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await saved(ann)

    async def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("scheduler.store.drafts.note_sent", interrupted)
        with pytest.raises(KeyboardInterrupt):
            await press(ann, path)
    installation.clock.pass_(timedelta(minutes=10))
    refused = await ann.post(f"{path}/edit", data={**FORM, "body": "Other words", "revision": "0"})
    assert refused.status_code == 422 and "it has been sent" in refused.text
    assert (await press(ann, path, again="yes")).status_code == 303
    assert await readers(installation) == ["Ann", "Bo", "Cy"]


async def test_it_is_refused_if_the_audience_changed_since_the_page_was_made(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    path = await saved(ann)
    refused = await press(ann, path, number="2")
    assert refused.status_code == 422 and "it would now go to 3 members, not to 2" in refused.text
    assert "Send to 3 members" in refused.text
    installation.clock.pass_(timedelta(minutes=5))
    assert await readers(installation) == []


async def test_a_notice_is_cancelled_in_the_pause_and_sent_to_those_who_missed_it(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    progress = (await press(ann, await saved(ann))).headers["location"]
    assert "Cancel sending" in (await ann.get(progress)).text
    stopped = await ann.post(progress, data={"act": "stop"})
    page = (await ann.get(stopped.headers["location"])).text
    assert "0 have it, 3 will not get it" in page and "Send to the 3 who were missed" in page
    installation.clock.pass_(timedelta(minutes=5))
    assert await readers(installation) == []
    await press(ann, progress, "resend")
    assert await readers(installation) == ["Ann", "Bo", "Cy"]
    log = (await ann.get("/convenor/audit")).text
    assert (
        all(act in log for act in ("Notice sent", "Notice stopped", "Notice resent")) and "Bring" not in log
    )


async def test_the_same_words_on_the_same_day_ask_first(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    await press(ann, await saved(ann))
    path = await saved(ann)
    assert "The same words were sent" in (await ann.get(path)).text
    refused = await press(ann, path)
    assert refused.status_code == 422 and "tick the box" in refused.text
    assert (await press(ann, path, again="yes")).status_code == 303
    installation.clock.pass_(timedelta(minutes=5))
    assert await readers(installation) == ["Ann", "Ann", "Bo", "Bo", "Cy", "Cy"]
    installation.clock.pass_(timedelta(days=1))
    assert "The same words" not in (await ann.get(await saved(ann))).text


async def test_only_words_that_members_got_or_will_get_ask_before_they_are_sent_again(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    cancelled = (await press(ann, await saved(ann))).headers["location"]
    await press(ann, cancelled, "stop")
    path = await saved(ann)
    await press(ann, path, "test")
    assert "The same words" not in (await ann.get(path)).text
    await press(ann, path)
    path = await saved(ann)
    await press(ann, path, "test")
    assert "The same words were sent" in (await ann.get(path)).text


async def test_a_draft_is_changed_by_one_at_a_time_and_deleted(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    path = await saved(ann)
    changed = {**FORM, "body": "Mine", "revision": "0"}
    assert (await ann.post(f"{path}/edit", data=changed)).status_code == 303
    refused = await ann.post(f"{path}/edit", data={**changed, "body": "Theirs"})
    assert refused.status_code == 422 and "Theirs" in refused.text and "somebody else changed" in refused.text
    assert 'name="revision" value="0"' in refused.text
    stale = await press(ann, path, revision="0")
    assert stale.status_code == 422 and "read it again" in stale.text
    await press(ann, path, "delete")
    assert (await ann.get(path)).status_code == 404


async def test_when_names_whose_clock_it_is(ann: httpx.AsyncClient, installation: Installation) -> None:
    at = {"date": "2026-11-10", "time": "09:00"}
    path = await saved(ann, when="local", **at)
    assert "Tuesday 10 November 2026, 09:00 by each member" in (await ann.get(path)).text
    assert 'value="local" checked' in (await ann.get(f"{path}/edit")).text
    path = await saved(ann, when="instant", **at)
    assert "Tuesday 10 November 2026, 09:00 in London" in (await ann.get(path)).text
    edit = (await ann.get(f"{path}/edit")).text
    assert 'value="instant" checked' in edit and 'value="2026-11-10"' in edit and 'value="09:00"' in edit
    past = await saved(ann, when="instant", date="2020-01-01", time="09:00")
    assert "It cannot be sent" in (await ann.get(past)).text
    for wrong in ({"date": "soon"}, {"time": "late"}, {"date": "2027-03-28", "time": "01:30"}):
        answer = await ann.post("/convenor/notices/write", data={**FORM, "when": "instant", **at, **wrong})
        assert answer.status_code == 422 and "date-complaint" in answer.text


@pytest.mark.parametrize(
    ("who", "exception", "words"),
    [
        ("convenors", "", "Send to 1 member"),
        ("all", "convenors", "Send to 2 members"),
        ("country:FJ", "", "it would go to nobody"),
        ("nonsense", "", "It cannot be sent"),
        ("list:/etc/passwd", "", "files can only be named on the command line"),
        ("coming:conversation-for-kindness/2020-01-01", "", "It cannot be sent"),
    ],
)
async def test_an_audience_is_chosen_with_its_number(
    ann: httpx.AsyncClient, who: str, exception: str, words: str
) -> None:
    page = (await ann.get(await saved(ann, who=who, **{"except": exception}))).text
    assert words in page


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("<script>alert(1)</script> hello", "&lt;script&gt;"),
        ("{{ name }} {% include 'x' %} ${x}", "{{ name }}"),
        ("# Heading\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |", "<table"),
        ("[bad](javascript:alert(1))", "bad"),
        ("مرحبا بكم 👋🏽 שלום", "مرحبا بكم 👋🏽 שלום"),
    ],
    ids=["script", "braces", "markdown", "link", "right to left"],
)
async def test_hostile_and_foreign_words_are_shown_as_meant_and_sent_without_an_error(
    ann: httpx.AsyncClient, installation: Installation, body: str, shown: str
) -> None:
    path = await saved(ann, body=body)
    page = (await ann.get(path)).text
    preview = page.partition('<div class="card preview"')[2].partition("</div>")[0]
    assert shown in preview
    assert "<script" not in preview and 'href="javascript' not in preview and "<img" not in preview
    await press(ann, path)
    installation.clock.pass_(timedelta(minutes=5))
    assert len(await readers(installation)) == 3


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"subject": ""}, "subject"),
        ({"subject": "a\nb"}, "subject"),
        ({"subject": "a" * 300}, "subject"),
        ({"body": ""}, "body"),
        ({"body": "a\x00b"}, "body"),
        ({"body": "a" * 50_001}, "body"),
        ({"who": ""}, "who"),
    ],
    ids=range(7),
)
async def test_what_is_wrong_is_said_at_its_field_and_the_words_are_kept(
    ann: httpx.AsyncClient, values: dict[str, str], field: str
) -> None:
    answer = await ann.post("/convenor/notices/write", data={**FORM, **values})
    assert answer.status_code == 422 and f'id="{field}-complaint"' in answer.text
    assert "Tea" in answer.text or "Bring" in answer.text


async def test_an_image_is_refused_with_a_word_why(ann: httpx.AsyncClient) -> None:
    page = (await ann.get(await saved(ann, body="text\n\n![x](https://example.org/x.png)"))).text
    assert "It cannot be sent: body, line 3: images are not sent" in page


async def test_a_notice_is_written_again_from_one_that_was_sent_and_from_a_template(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    progress = (await press(ann, await saved(ann))).headers["location"]
    again = (await ann.get(progress)).text.partition("/convenor/notices/write?from=")[2].partition('"')[0]
    assert "Bring **tea**." in (await ann.get(f"/convenor/notices/write?from={again}")).text
    assert "The recording is here" in (await ann.get("/convenor/notices/write?template=recording")).text
    listed = (await ann.get("/convenor/notices")).text
    assert progress in listed
    for number in ("999", "x"):
        assert (await ann.get(f"/convenor/notices/{number}")).status_code == 404
