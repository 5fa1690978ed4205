"""Convenors change meetings: nothing mails anybody but the button that says how many, and that once."""

import asyncio
import re
from dataclasses import replace
from datetime import datetime, timedelta
from html import unescape

import httpx
import pytest
from icalendar import Calendar

from scheduler.domain.errors import Refused
from scheduler.service.follow_ups import find_follow_up
from scheduler.service.occurrence_import import import_sheet, read_sheet
from scheduler.service.occurrences import DETAILS, LONGEST_DESCRIPTION, Change, amend, read_file
from scheduler.store.ledger import fan_out
from tests.installation import SERIES, Installation
from tests.web.conftest import make_app
from tests.web.console.conftest import SignIn
from tests.web.console.forms import send_form

KEY = "conversation-for-kindness/2026-11-19"
PATH = f"/convenor/meetings/{KEY}"


@pytest.fixture
async def ann(installation: Installation, sign_in: SignIn) -> httpx.AsyncClient:
    """A convenor who is signed in after the invitations went out."""
    browser = await sign_in("Ann")
    installation.clock.pass_(timedelta(days=2))
    await installation.tick()
    return browser


async def form(installation: Installation, **values: str) -> dict[str, str]:
    """The fields of a form made now."""
    file = await read_file(installation.database, installation.by_slug, KEY, now=installation.clock.now())
    assert file
    details = {name: getattr(file.occurrence, name) for name in DETAILS}
    for number, material in enumerate(file.record.materials, start=1):
        details |= {f"material-{number}-title": material.title, f"material-{number}-link": material.link}
    revisions = {"revision": str(file.occurrence.revision), "record_revision": str(file.record.revision)}
    return {**details, **revisions, **values}


async def mailed(installation: Installation) -> list[str]:
    """The kinds and recipients of the mails about changes, once their hold is over."""
    installation.clock.pass_(timedelta(minutes=2, seconds=1))
    await installation.tick()
    return sorted(
        f"{row.kind} {row.name}"
        for row in await installation.reports(state="sent")
        if row.kind in ("update", "cancellation")
    )


async def test_details_are_saved_and_nobody_is_mailed_until_the_button_with_the_number(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    assert "No topic yet" in (await ann.get("/convenor/meetings")).text
    saved = await ann.post(PATH, data=await form(installation, topic="Kindness & tea", act="save"))
    page = (await ann.get(saved.headers["location"])).text
    assert "Nobody has been told" in page and 'value="Kindness &amp; tea"' in page
    assert "3 members do not know about the latest change." in page
    assert await mailed(installation) == []
    tell = (await ann.get(f"{PATH}/tell")).text
    assert "Tell 3 members" in tell
    wrong = await ann.post(f"{PATH}/tell", data=await form(installation, number="2", message="Hello"))
    assert wrong.status_code == 422 and "it would now go to 3 members, not to 2" in wrong.text
    assert "Hello" in wrong.text
    words = await form(installation, number="3", message="A **topic** at last")
    told = await ann.post(f"{PATH}/tell", data=words)
    progress = (await ann.get(told.headers["location"])).text
    assert "Update, 19 November 2026</h1>" in progress and "Cancel sending" in progress
    for _ in range(2):
        again = await ann.post(f"{PATH}/tell", data=words)
        assert again.status_code == 422
    assert await mailed(installation) == ["update Ann", "update Bo", "update Cy"]
    assert "There is nobody to tell" in (await ann.get(f"{PATH}/tell")).text
    log = (await ann.get("/convenor/audit")).text
    assert "Told members about a change" in log and "at last" not in log


async def test_who_edits_an_older_state_is_told_and_loses_nothing(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    old = await form(installation, topic="Mine", act="save")
    await ann.post(PATH, data=await form(installation, topic="Theirs", act="save"))
    refused = await ann.post(PATH, data=old)
    assert refused.status_code == 422 and "changed by somebody else meanwhile" in refused.text
    assert 'value="Mine"' in refused.text and "look at the meeting as it is now" in refused.text
    assert f'name="revision" value="{old["revision"]}"' in refused.text, "pressing again overwrites nothing"
    assert "Theirs" in (await ann.get("/convenor/meetings")).text


async def test_a_move_shows_first_what_it_means_and_then_happens_once(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    await installation.change("Cy", country="US")
    wanted = await form(installation, date="2026-11-26", time="09:00", act="look")
    looked = await ann.post(f"{PATH}/move", data=wanted)
    assert looked.status_code == 200
    assert "Thursday, 22:00" in looked.text, "Auckland"
    assert "Thursday, 04:00 (night)" in looked.text, "New York"
    assert "For 1 of 3 members at least a part of it is at night" in looked.text
    assert "<li>United States: 1</li>" in looked.text
    assert "United States, Thursday 26 November 2026: Thanksgiving Day, 1 member<" in looked.text
    assert "2026-11-26" not in (await ann.get(PATH)).text
    moved = await ann.post(f"{PATH}/move", data={**wanted, "act": "move", "shown": "2026-11-26 09:00"})
    assert "has been moved" in (await ann.get(moved.headers["location"])).text
    again = await ann.post(f"{PATH}/move", data={**wanted, "act": "move", "shown": "2026-11-26 09:00"})
    assert again.status_code == 422
    for bad in (
        {"date": "soon"},
        {"time": "late"},
        {"date": "2020-01-01"},
        {"date": "2027-03-28", "time": "01:30"},
        {"date": "9999-12-31"},
    ):
        answer = await ann.post(f"{PATH}/move", data={**wanted, **bad})
        assert answer.status_code == 422 and "-complaint" in answer.text, bad
    assert await mailed(installation) == []


async def test_telling_is_cancelled_in_the_hold_and_begun_anew(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    await ann.post(f"{PATH}/cancel", data=await form(installation, reason="Ill"))
    told = (await send_form(ann, f"{PATH}/tell", "tell")).headers["location"]
    await installation.tick()
    await send_form(ann, told, "stop")
    assert "0 have it, 3 will not get it" in (await ann.get(told)).text
    assert await mailed(installation) == []
    assert "3 members do not know about the latest change." in (await ann.get(PATH)).text
    await send_form(ann, f"{PATH}/tell", "tell", message="We are well")
    assert await mailed(installation) == ["cancellation Ann", "cancellation Bo", "cancellation Cy"]


async def test_a_meeting_is_cancelled_with_a_reason_told_and_held_after_all(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    cancelled = await ann.post(f"{PATH}/cancel", data=await form(installation, reason="We are ill & sorry"))
    tell = (await ann.get(cancelled.headers["location"])).text
    assert "We are ill &amp; sorry" in tell and "Tell 3 members" in tell
    await ann.post(f"{PATH}/tell", data=await form(installation, number="3", message="We are ill & sorry"))
    assert await mailed(installation) == ["cancellation Ann", "cancellation Bo", "cancellation Cy"]
    assert "This meeting is cancelled." in (await ann.get(PATH)).text
    restored = await ann.post(PATH, data=await form(installation, act="restore"))
    assert "takes place again" in (await ann.get(restored.headers["location"])).text


async def test_what_members_are_told_is_seen_first_as_one_of_them_gets_it(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    before = len(installation.mails())
    move = Change(move_to=datetime(2026, 11, 20, 18))
    await amend(installation.database, installation.by_slug, KEY, move, now=installation.clock.now())
    form = {"act": "preview", "message": "We are **ill**", "for": "2"}
    page = unescape((await ann.post(f"{PATH}/tell", data=form)).text)
    assert "How it looks for Bo" in page and "Saturday 21 November, 07:00 Auckland (UTC+13)" in page
    assert "It also carries the meeting for their calendar." in page and "We are *ill*" in page
    frame = re.search(r'<iframe src="([^"]+)" sandbox ', page)
    assert frame
    shown = await ann.get(frame[1])
    assert "We are <strong>ill</strong>" in shown.text and "Friday 20 November 2026" in shown.text
    assert (await ann.get(frame[1], headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403
    refused = await ann.post(f"{PATH}/tell", data={"number": "3", "message": "Dear {name}"})
    assert refused.status_code == 422 and "{name} is filled in only in notices" in refused.text
    await installation.tick()
    assert len(installation.mails()) == before
    await send_form(ann, f"{PATH}/tell", "tell", message="We are **ill**")
    await mailed(installation)
    (mail,) = [
        mail
        for mail in installation.mails()
        if "bo@" in str(mail["To"]) and str(mail["Subject"]).startswith("Changed")
    ]
    part = mail.get_body(("html",))
    assert part
    token = re.compile(r"/(go|u|me|rsvp)/\w+")
    html = shown.text.replace("\r", "").replace('<base target="_blank">', "")
    assert token.sub("", html) == token.sub("", part.get_content())


async def test_a_newcomer_who_is_invited_after_a_move_does_not_hide_that_the_others_know_the_old_time(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    wanted = {"date": "2026-11-19", "time": "20:00", "shown": "2026-11-19 20:00", "act": "move"}
    await ann.post(f"{PATH}/move", data=await form(installation, **wanted))
    await installation.join(("Di", "Europe/London"))
    await installation.tick()
    assert (await installation.states(kind="invitation"))["Di"] == "sent"
    assert "3 members do not know about the latest change." in (await ann.get(PATH)).text
    await send_form(ann, f"{PATH}/tell")
    assert await mailed(installation) == ["update Ann", "update Bo", "update Cy"]
    assert "There is nobody to tell" in (await ann.get(f"{PATH}/tell")).text


async def test_after_a_cancellation_that_nobody_was_told_about_and_its_undoing_there_is_nothing_to_tell(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    await send_form(ann, f"{PATH}/cancel")
    assert "3 members do not know about the latest change." in (await ann.get(PATH)).text
    await send_form(ann, PATH, "restore")
    assert "do not know about the latest change" not in (await ann.get(PATH)).text
    assert "There is nobody to tell" in (await ann.get(f"{PATH}/tell")).text


async def test_two_who_tell_at_once_and_one_who_was_interrupted_tell_each_member_once(
    ann: httpx.AsyncClient, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ann.post(PATH, data=await form(installation, topic="Tea", act="save"))
    tell = await form(installation, number="3", message="First words")
    real = fan_out.fan_out

    async def interrupted(*arguments: object, **options: object) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fan_out, "fan_out", interrupted)
        with pytest.raises(KeyboardInterrupt):
            await ann.post(f"{PATH}/tell", data=tell)
    assert await mailed(installation) == []

    async def slow(*arguments: object, **options: object) -> object:
        await asyncio.sleep(0.01)
        return await real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(fan_out, "fan_out", slow)
    answers = await asyncio.gather(
        *(ann.post(f"{PATH}/tell", data={**tell, "message": f"Words {number}"}) for number in range(3))
    )
    assert {answer.status_code for answer in answers} <= {303, 422}
    assert await mailed(installation) == ["update Ann", "update Bo", "update Cy"]
    log = (await ann.get("/convenor/audit?act=change-told")).text.partition("<ol")[2]
    assert log.count("<strong>Told members") == 1


async def test_a_meeting_is_added_and_removed_while_nobody_knows_about_it(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    wanted = {"series": "conversation-for-kindness", "date": "2027-03-04", "time": "18:00", "act": "look"}
    looked = (await ann.post("/convenor/meetings/add", data={**wanted, "invite": "yes"})).text
    assert "Thursday 4 March 2027, 18:00" in looked and "Nobody gets an email now" in looked
    shown = {**wanted, "act": "add", "shown": "conversation-for-kindness 2027-03-04 18:00", "number": "0"}
    added = await ann.post("/convenor/meetings/add", data=shown)
    path = added.headers["location"].partition("?")[0]
    assert "added by mistake" in (await ann.get(path)).text
    again = await ann.post("/convenor/meetings/add", data=shown)
    assert again.status_code == 422 and "exists already" in again.text
    removed = await send_form(ann, path, "remove")
    assert "has been removed" in (await ann.get(removed.headers["location"])).text
    assert (await ann.get(path)).status_code == 404
    regular = await ann.post(PATH, data=await form(installation, act="remove"))
    assert regular.status_code == 422 and "given by the rule of its series." in regular.text
    past = await ann.post("/convenor/meetings/add", data={**wanted, "date": "2020-01-01"})
    assert "choose a later time." in past.text and "--at" not in past.text


async def test_answers_are_listed_by_name_and_country_and_safe_in_a_spreadsheet(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    await installation.change("Bo", country="NZ")
    await installation.answer("Bo", KEY, "coming")
    await send_form(ann, "/convenor/members/2/edit", name="=cmd|' /C calc'!A0")
    page = (await ann.get(f"{PATH}/answers")).text
    assert "Coming: 1" in page and "New Zealand" in page
    sheet = await ann.get(f"{PATH}/answers.csv")
    assert sheet.headers["content-disposition"].startswith("attachment") and "'=cmd" in sheet.text
    assert "1 coming" in (await ann.get(PATH)).text


async def test_a_helper_edits_and_moves_but_cannot_tell(installation: Installation, sign_in: SignIn) -> None:
    helper = await sign_in("Bo", "helper")
    saved = await helper.post(PATH, data=await form(installation, topic="Tea", act="save"))
    assert saved.status_code == 303
    assert (await helper.get(PATH)).text.count("/tell") == 0
    for path in ("tell", "answers", "answers.csv"):
        assert (await helper.get(f"{PATH}/{path}")).status_code == 403


@pytest.mark.parametrize(
    "key", ["nothing/2026-11-19", "conversation-for-kindness/2026-11-20", "a/b", "a/%2e%2e"]
)
async def test_a_meeting_that_does_not_exist_is_not_found(ann: httpx.AsyncClient, key: str) -> None:
    for rest in ("", "/move", "/tell", "/answers"):
        assert (await ann.get(f"/convenor/meetings/{key}{rest}")).status_code == 404


async def test_what_is_wrong_in_the_details_is_said_at_the_field(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    wrong = await form(
        installation,
        topic="a\x00b",
        link="javascript:alert(1)",
        description="x" * (LONGEST_DESCRIPTION + 1),
        act="save",
    )
    answer = await ann.post(PATH, data=wrong)
    assert answer.status_code == 422
    for name in ("topic", "link", "description"):
        assert f"{name}-complaint" in answer.text
    assert "4001 characters; at most 4000 are accepted" in answer.text


HOSTILE = "Come & <script>alert(1)</script>\n{{ community }} {% include 'x' %}\nhttps://www.example.org/more"


async def test_a_description_is_shown_to_visitors_in_feeds_and_in_mails_and_never_taken_for_code(
    installation: Installation, sign_in: SignIn
) -> None:
    ann = await sign_in("Ann")
    saved = await ann.post(PATH, data=await form(installation, description=HOSTILE, act="save"))
    assert saved.status_code == 303
    assert "Come &amp; &lt;script&gt;" in (await ann.get(PATH)).text
    page = (await ann.get(f"/meetings/{KEY}")).text
    assert (
        "Come &amp; &lt;script&gt;alert(1)&lt;/script&gt;\n{{ community }} {% include &#39;x&#39; %}" in page
    )
    assert '<a href="https://www.example.org/more"' in page and "<script>alert" not in page
    feed = Calendar.from_ical((await ann.get("/calendar.ics")).text)
    event = next(one for one in feed.events if "2026-11-19" in str(one.start))
    assert HOSTILE in str(event["DESCRIPTION"]) and event.get("SEQUENCE", 0) == 0
    installation.clock.pass_(timedelta(days=2))
    await installation.tick()
    mail = next(mail for mail in installation.mails() if "Bo" in str(mail["To"]))
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text and HOSTILE in text.get_content().replace("\r\n", "\n")
    assert html and "&lt;script&gt;alert(1)" in html.get_content() and "<script" not in html.get_content()


async def test_the_list_shows_past_meetings_or_those_of_one_series(
    ann: httpx.AsyncClient, installation: Installation
) -> None:
    rounds = replace(SERIES, slug="rounds", title="Case rounds", rule="FREQ=MONTHLY;BYDAY=1MO")
    installation.series = (SERIES, rounds)
    app = make_app(installation)
    ann._transport = ann._transport.__class__(app, client=("127.0.0.1", 50_000))  # type: ignore[call-arg]
    for query, shown in (("", (True, True)), ("series=rounds", (False, True)), ("series=x", (True, True))):
        page = (await ann.get(f"/convenor/meetings?{query}")).text
        found = (f'href="/convenor/meetings/{KEY}"' in page, "/convenor/meetings/rounds/2026-12-07" in page)
        assert found == shown, query
    # Links are told apart if two meetings are on the same day.
    page = (await ann.get("/convenor/meetings")).text
    assert 'Monday 7 December 2026<span class="unseen">, Case rounds</span></a>' in page
    past = (await ann.get("/convenor/meetings?past=1&series=rounds")).text
    assert 'aria-current="page">Past' in past and "There are no past meetings yet." in past


async def test_a_meeting_whose_day_is_not_known_is_shown_by_its_month_and_is_not_followed_up(
    installation: Installation, ann: httpx.AsyncClient
) -> None:
    rows = b"month,title,recording\nMarch 2016,Before it began,https://youtu.be/x\n"
    sheet = read_sheet(rows, series=installation.series)
    now = installation.clock.now()
    (row,) = (await import_sheet(installation.database, installation.series, sheet, now=now)).rows
    page = (await ann.get(f"/convenor/meetings/{row.key}")).text
    for shown in (page, (await ann.get("/convenor/meetings?past=1&all=1")).text):
        assert "March 2016" in shown and "17 March 2016" not in shown
    assert "Send the recording and notes" not in page
    with pytest.raises(Refused, match="only its month is known; move it to the day"):
        await find_follow_up(installation.database, installation.by_slug, row.key, now=now)
