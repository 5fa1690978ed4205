"""Convenors write notices: nothing leaves but by the button with the number, after a pause, and once."""

import re
from datetime import timedelta
from html import unescape

import httpx
import pytest
from sqlalchemy import func, select, update

from scheduler.domain.audience import Audience
from scheduler.store import drafts as draft_store
from scheduler.store import members
from scheduler.store import notices as notice_store
from scheduler.store.ledger import fan_out
from scheduler.store.schema import deliveries
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
    assert "Send to 3 members" in page and "Send a test to" in page
    assert "<strong>tea</strong>" in (await ann.get(f"{path}/mail")).text
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
        all(act in log for act in ("Sent a notice", "Stopped a notice", "to those who missed it"))
        and "Bring" not in log
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


EVERYTHING = """# Big

## Small

Some *emphasis*, **more**, `code`, ~~none~~ and [a link](https://www.example.org/?a=1&b=2).

> a quotation

1. one
2. two
   - inner

| a | b |
|---|--:|
| 1 | 2 |

---

    {name} in code
"""
LONG = "A sentence that is long enough.\n\n" * 1_500
BODIES: tuple[tuple[str, list[str], str], ...] = (
    (EVERYTHING, ["Big</h1>", "<em>emphasis</em>", "<blockquote", ">2</td>", "{name} in code"], ""),
    ("<script>alert(1)</script><b onclick=x>hi</b>", ["&lt;script&gt;", "&lt;b onclick"], ""),
    ("[bad](javascript:alert(1)) <a href='javascript:x'>", ["bad"], ""),
    ("<!-- --></pre></body></html>", ["&lt;/body&gt;"], ""),
    ("{{ name }} {% include 'x' %} ${x} {{ 7 * 7 }}", ["{{ name }} {% include", "{{ 7 * 7 }}"], ""),
    ("one\n\ntwo {nmae}", [], "line 3: {nmae} is not a placeholder (did you mean {name}?)"),
    ("one\n\n- [two]({somewhere})", [], "line 3: {somewhere} is not a placeholder"),
    ("a \\{nmae} in {first name}", ["a {nmae} in {first name}"], ""),
    ("text\n\n![x](https://example.org/x.png)", [], "line 3: images are not sent"),
    ("مرحبا {name}، 👋🏽 שלום {when}", ["مرحبا \u2068Cy\u2069، 👋🏽 שלום <time"], ""),
    (LONG, ["A sentence"], ""),
)


@pytest.mark.parametrize(
    ("body", "shown", "refused"),
    BODIES,
    ids="markdown html scripts closing braces unknown address literal image rtl long".split(),
)
async def test_any_body_is_shown_and_sent_as_meant_or_refused_with_its_line(
    ann: httpx.AsyncClient, installation: Installation, body: str, shown: list[str], refused: str
) -> None:
    path = await saved(ann, body=body)
    page = (await ann.get(path)).text
    frame = await ann.get(f"{path}/mail?for=3")
    if refused:
        assert refused in unescape(page) and frame.status_code == 404
        assert (await press(ann, path)).status_code == 422
        assert await readers(installation) == []
        return
    assert "It cannot be sent" not in page
    await press(ann, path)
    installation.clock.pass_(timedelta(minutes=5))
    assert await readers(installation) == ["Ann", "Bo", "Cy"]
    (mail,) = [mail for mail in installation.mails() if "cy@" in str(mail["To"])]
    part = mail.get_body(("html",))
    assert part
    for html in (frame.text, part.get_content()):
        assert all(words in html for words in shown)
        assert not re.search(r"<(script|img|b |iframe)|<a [^>]*javascript:", html)


async def test_a_text_of_a_megabyte_is_refused_and_its_words_are_kept(ann: httpx.AsyncClient) -> None:
    answer = await ann.post("/convenor/notices/write", data={**FORM, "body": "word " * 200_000})
    assert answer.status_code == 422
    assert "999999 characters" in answer.text and answer.text.count("word word") > 1_000


async def test_a_preview_is_the_mail_that_the_member_gets_but_for_its_links(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    await installation.join(("Dawa <b>", "Asia/Kathmandu"))
    await installation.change(
        "Dawa <b>", locale="en-US", address="dawa@example.org", address_key="dawa@example.org"
    )
    body = (
        "Dear {name}, {when}, {time}.\n\n[Join]({join_link}) {answer_link} [page]({my_page}) {calendar_link}"
    )
    path = await saved(ann, subject="{name}: {when}", body=body)
    page = unescape((await ann.get(f"{path}?for=4")).text)
    span = "Thursday 19 November 2026, 11:45 pm to 12:45 am on Friday in Kathmandu (UTC+5:45)"
    assert "Dawa <b>: Thursday 19 November, 11:45 pm Kathmandu (UTC+5:45)" in page and span in page
    frame = await ann.get(f"{path}/mail?for=4")
    assert "sandbox" in frame.headers["content-security-policy"]
    assert "script" not in frame.headers["content-security-policy"].replace("default-src", "")
    assert await readers(installation) == []
    await press(ann, path)
    installation.clock.pass_(timedelta(minutes=5))
    await installation.tick()
    (mail,) = [mail for mail in installation.mails() if "dawa@" in str(mail["To"])]
    part = mail.get_body(("html",))
    assert part
    sent = part.get_content().replace("<head>", '<head><base target="_blank">')
    tokens = set(re.findall(r"/(?:go|u|me|rsvp|subscribe)/([a-z2-7]{34})", sent))
    assert len(tokens) == 5 and not any(token in frame.text + page for token in tokens)
    token = re.compile(r"/(go|u|me|rsvp|subscribe)/\w+")
    assert token.sub(r"/\1/", frame.text.replace("\r", "")) == token.sub(r"/\1/", sent)
    inert = re.search(r"https://meet\.example\.org(/rsvp/\w+)", frame.text)
    assert inert and (await ann.get(inert[1])).status_code == 404


async def test_a_draft_saves_itself_and_tells_who_was_too_late(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    first = (await ann.post("/convenor/notices/autosave", data={**FORM, "subject": "", "when": "local"})).text
    assert "Saved at 12:" in first and "(your time, London)" in first and "data-announce" in first
    hidden = dict(re.findall(r'name="(\w+)" value="(\d+)"', first))
    path = f"/convenor/drafts/{hidden['draft']}"
    again = (await ann.post("/convenor/notices/autosave", data={**FORM, **hidden})).text
    assert 'name="revision" value="1"' in again
    # Pressing Save while the same words were saved is no conflict; other words are.
    done = await ann.post("/convenor/notices/write", data={**FORM, **hidden})
    assert done.headers["location"].startswith(f"{path}?")
    late = (await ann.post("/convenor/notices/autosave", data={**FORM, **hidden, "body": "Theirs"})).text
    assert "somebody else changed" in late and 'name="revision" value="0"' in late
    assert "Bring **tea**." in (await ann.get(f"{path}/edit")).text
    assert await readers(installation) == []


async def test_a_draft_that_was_sent_meanwhile_is_not_saved_as_another_one(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    path = await saved(ann)
    hidden = {"draft": path.rpartition("/")[2], "revision": "0"}
    await press(ann, path)
    late = (await ann.post("/convenor/notices/autosave", data={**FORM, **hidden, "body": "More"})).text
    assert "Not saved" in late and f'value="{hidden["draft"]}"' in late
    refused = await ann.post("/convenor/notices/write", data={**FORM, **hidden, "body": "More"})
    assert refused.status_code == 422 and "More" in refused.text


async def test_an_audience_is_said_in_words_wherever_it_is_shown(ann: httpx.AsyncClient) -> None:
    who = "country:NZ,country:GB,zone:Asia/Kathmandu,joined-since:2026-11-01,coming:x"
    path = await saved(ann, who=who, **{"except": "declined:conversation-for-kindness/2026-11-19"})
    words = (
        "Everybody in New Zealand and the United Kingdom, everybody in the time zone of Kathmandu (Asia/Kathmandu), "
        "those who joined since 1 November 2026, and coming:x, except those who declined on 19 November 2026"
    )
    assert words in (await ann.get(path)).text and words in (await ann.get("/convenor/notices")).text
    sent = (await press(ann, await saved(ann, **{"except": "convenors"}))).headers["location"]
    for page in (sent, "/convenor/notices"):
        assert "Everybody, except convenors" in (await ann.get(page)).text


async def test_several_groups_are_chosen_one_after_the_other_without_javascript(
    ann: httpx.AsyncClient,
) -> None:
    write, several = "/convenor/notices/write", {**FORM, "who": ["country:NZ"], "except": ["convenors"]}
    page = (await ann.post(write, data={**several, "act": "more"})).text
    assert page.count(" checked> <span>Everybody in New Zealand<") == 1 and "And also to" in page
    assert " checked> <span>Convenors<" in page and "Bring **tea**." in page
    several["who"] = ["country:NZ", "country:GB"]
    path = (await ann.post(write, data=several)).headers["location"].partition("?")[0]
    assert "Everybody in New Zealand and the United Kingdom, except convenors" in (await ann.get(path)).text
    edit = (await ann.get(f"{path}/edit")).text
    assert re.findall(r'checkbox" name="who" value="([^"]+)" checked', edit) == several["who"]
    count = await ann.post("/convenor/notices/count", data={"who": several["who"], "except": "convenors"})
    assert "<strong>2 members</strong>" in count.text
    refused = await ann.post(write, data={**several, "who": ["country:NZ", "all"]})
    assert refused.status_code == 422 and "everybody includes them" in refused.text


async def test_a_list_of_addresses_is_pasted_or_sent_as_a_file_and_says_whom_it_misses(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    begun = await ann.post("/convenor/notices/write", data={**FORM, "act": "list"})
    page = begun.headers["location"]
    pasted = "Bo <BO@example.org>; nobody@example.org"
    asked = (await press(ann, page, "look", addresses=pasted, **{"for": "who"})).text
    assert "1 of these addresses is not a member" in asked and "nobody@example.org" in asked
    assert "Use the 1 who is a member" in asked
    chosen = await press(ann, page, "use", addresses=pasted, **{"for": "who"})
    path = page.removesuffix("/list")
    assert chosen.headers["location"] == f"{path}/edit#audience"
    assert "1 member on a list" in (await ann.get(f"{path}/edit")).text
    revision = re.search(r'name="revision" value="(\d+)"', (await ann.get(page)).text)
    assert revision
    answer = await ann.post(
        page,
        data={"addresses": "bo@example.org", "for": "who", "revision": revision[1]},
        files={"file": ("list.csv", b"Cy,cy@example.org,\nAnn\n")},
    )
    assert answer.status_code == 303
    assert "2 members on a list" in (await ann.get(path)).text
    # What is kept has no addresses: it is there for months, and people are erased meanwhile.
    async with installation.database.read() as connection:
        kept = await draft_store.by_id(connection, int(path.rpartition("/")[2]))
    assert kept and kept.audience == "list:2.3"
    sent = (await press(ann, path)).headers["location"]
    installation.clock.pass_(timedelta(minutes=3))
    assert await readers(installation) == ["Bo", "Cy"]
    assert "for: 2 members on a list" in (await ann.get(sent)).text
    again = (await ann.get(f"/convenor/notices/write?from={sent.rpartition('/')[2]}")).text
    assert '<option value="">Choose who gets it</option>' in again


async def test_a_list_of_whom_nobody_is_known_any_more_goes_to_nobody(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    path = await saved(ann, who="list:99")
    assert "nobody on your list of addresses is known any more" in (await ann.get(path)).text
    async with installation.database.read() as connection:
        assert await members.count_audience(connection, Audience(terms={"address": []})) == 0


async def test_a_test_goes_to_any_convenor_and_to_nobody_else(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    await installation.change("Bo", role="convenor")
    path = await saved(ann)
    assert (
        "The test is on its way to Bo."
        in (await ann.get((await press(ann, path, "test", tester="2")).headers["location"])).text
    )
    assert (await press(ann, path, "test", tester="3")).status_code == 422
    assert await readers(installation) == ["Bo"]


async def test_those_whose_mail_may_surprise_come_first(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    await installation.join(
        ("Dawa", "Asia/Kathmandu"), ("Eve", "Europe/Paris"), ("Fay", "Europe/London"), ("Gil", "Europe/Rome")
    )
    await installation.join(("Hal", "Europe/London"), locale="en-US")
    page = (await ann.get(await saved(ann, body="{when}"))).text
    names = re.findall(r"<li><a [^>]*><bdi>(\w+)</bdi></a>, ([^<]*)</li>", page)
    assert [name for name, _ in names][:4] == ["Bo", "Dawa", "Hal", "Cy"]
    assert names[0][1] == "Friday 20 November 2026, 07:00 in Auckland"
    assert names[2][1] == "Thursday 19 November 2026, 6:00 pm in London"
    found = (await ann.get(f"{await saved(ann)}?q=paris")).text
    assert "eve@example.org, Europe/Paris" in found


async def test_the_page_says_how_fast_it_goes_and_never_that_it_is_done_before_it_is(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    progress = (await press(ann, await saved(ann))).headers["location"]
    installation.clock.pass_(timedelta(minutes=2, seconds=30))
    number = int(progress.rpartition("/")[2])
    async with installation.database.write() as connection:
        two = select(deliveries.c.id).where(deliveries.c.notice == number).limit(2)
        await connection.execute(
            update(deliveries)
            .where(deliveries.c.id.in_(two))
            .values(state="sent", sent_at=installation.clock.now())
        )
    page = (await ann.get(progress)).text
    assert "4 emails a minute" in page and "2 of 3" in page and 'data-announce="60% are done"' in page
    since = re.search(r"\?since=(2-\d+)", page)
    assert since and "Stop sending" in page and "Finished" not in page
    installation.clock.pass_(timedelta(seconds=30))
    assert "emails a minute" not in (await ann.get(f"{progress}?since={since[1]}")).text
    await press(ann, progress, "stop")
    assert "2 have it, 1 will not get it." in (await ann.get(progress)).text
    async with installation.database.write() as connection:
        one = select(func.min(deliveries.c.id)).where(
            deliveries.c.notice == number, deliveries.c.state == "sent"
        )
        await connection.execute(
            update(deliveries).where(deliveries.c.id == one.scalar_subquery()).values(reason="uncertain")
        )
    assert "1 has it, 1 will not get it. 1 may have it:" in (await ann.get(progress)).text
    late = await press(ann, progress, "resend", number="7")
    assert late.status_code == 422 and "it would now go to 1 member, not to 7" in late.text


async def test_the_page_of_what_the_settings_send_does_not_claim_that_it_is_for_everybody(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    installation.clock.pass_(timedelta(days=2))
    await installation.tick()
    found = re.search(r'"(/convenor/notices/\d+)"><bdi>Invitation', (await ann.get("/convenor/notices")).text)
    assert found
    page = (await ann.get(found[1])).text
    assert "3 of 3 emails went out" in page and "the meeting of 19 November 2026</a>." in page
    assert "for: " not in page


async def test_the_number_of_an_audience_is_shown_while_it_is_chosen(ann: httpx.AsyncClient) -> None:
    count = (await ann.post("/convenor/notices/count", data={"who": "all", "except": "convenors"})).text
    assert "2 members" in count
    assert (
        "cannot" not in count
        and "not known" in (await ann.post("/convenor/notices/count", data={"who": "x"})).text
    )
    form = (await ann.get("/convenor/notices/write")).text
    for term in ("zone:Pacific/Auckland", "locale:en-GB", "country:NP", "joined-since:2026-", "unanswered:"):
        assert f'value="{term}' in form


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"subject": ""}, "subject"),
        ({"subject": "a\nb"}, "subject"),
        ({"subject": "a" * 300}, "subject"),
        ({"body": ""}, "body"),
        ({"body": "a\x00b"}, "body"),
        ({"body": "a" * 100_001}, "body"),
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
