"""A form that was made before somebody else changed what it shows does nothing, and says so."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import NamedTuple

import httpx
import pytest

from scheduler.web.access import OPEN
from scheduler.web.routes import ENTRIES
from tests.installation import Installation
from tests.service.test_join_requests import wait_at_the_desk
from tests.web.console.conftest import SignIn
from tests.web.console.forms import form_with, forms, send_form
from tests.web.console.test_member_files import CSV

MEETING = "/convenor/meetings/conversation-for-kindness/2026-11-19"
MEETINGS = "/convenor/meetings/{series}/{date}"
EXTRA = {"series": "conversation-for-kindness", "date": "2026-12-03", "time": "18:00"}
NOTICE = {"subject": "Tea", "body": "Bring tea.", "who": "all", "except": "", "when": "now"}


class Console(NamedTuple):
    """Two convenors who are signed in, each with a browser of their own."""

    installation: Installation
    ann: httpx.AsyncClient
    bo: httpx.AsyncClient


@pytest.fixture
async def console(installation: Installation, sign_in: SignIn) -> Console:
    """After the invitations went out."""
    installation.clock.pass_(timedelta(days=2))
    await installation.tick()
    return Console(installation, await sign_in("Ann"), await sign_in("Bo"))


async def changed(browser: httpx.AsyncClient, path: str, act: str = "", **values: str) -> str:
    """Send a form of the page at a path; return the path of the page that comes next."""
    answer = await send_form(browser, path, act, **values)
    assert answer.status_code == 303, (path, act, answer.status_code)
    return answer.headers["location"].partition("?")[0]


def at(path: str) -> Callable[[Console], Awaitable[str]]:
    async def page(_: Console) -> str:
        return path

    return page


async def a_change_to_tell(console: Console) -> str:
    await changed(console.ann, MEETING, "save", topic="Tea")
    return f"{MEETING}/tell"


async def a_cancelled_meeting(console: Console) -> str:
    await changed(console.ann, f"{MEETING}/cancel")
    return MEETING


async def an_extra(console: Console) -> str:
    looked = await console.ann.post("/convenor/meetings/add", data={**EXTRA, "act": "look"})
    (form,) = forms(looked.text, "/convenor/meetings/add")
    added = await console.ann.post("/convenor/meetings/add", data=form.values | {"act": "add"})
    return added.headers["location"].partition("?")[0]


async def a_draft(console: Console) -> str:
    saved = await console.ann.post("/convenor/notices/write", data=NOTICE)
    return saved.headers["location"].partition("?")[0]


async def a_draft_to_edit(console: Console) -> str:
    return f"{await a_draft(console)}/edit"


async def a_draft_list(console: Console) -> str:
    return f"{await a_draft(console)}/list"


async def a_stopped_notice(console: Console) -> str:
    path = await changed(console.ann, await a_draft(console), "send")
    await changed(console.ann, path, "stop")
    return path


async def an_upload(console: Console) -> str:
    kept = await console.ann.post("/convenor/members/import", files={"file": ("a.csv", CSV)})
    return kept.headers["location"]


async def a_request(console: Console) -> str:
    return f"/convenor/desk/{await wait_at_the_desk(console.installation)}"


async def a_paused_member(console: Console) -> str:
    await changed(console.ann, "/convenor/members/3", "pause")
    return "/convenor/members/3"


async def a_helper(console: Console) -> str:
    await changed(console.ann, "/convenor/team/appoint", email="cy@example.org", role="helper")
    return "/convenor/team/3"


async def a_theme(console: Console) -> str:
    await changed(console.ann, "/convenor/themes", name="Listening")
    return "/convenor/themes/listening"


async def a_speaker(console: Console) -> str:
    await changed(console.ann, MEETING, "save", **{"speaker-1-name": "Amara Okafor"})
    return "/convenor/speakers/amara-okafor"


async def a_sheet(console: Console) -> str:
    sheet = {"file": ("sheet.csv", b"month,title\nNovember 2026,Hope\n")}
    sent = await console.ann.post("/convenor/archive/import", files=sheet)
    return sent.headers["location"]


class Case(NamedTuple):
    """A form: its page, what somebody else does after it was opened, what is pressed and typed, and the answer."""

    page: Callable[[Console], Awaitable[str]]
    meanwhile: Callable[[Console, str], Awaitable[object]]
    act: str = ""
    typed: dict[str, str] = {}  # noqa: RUF012 - nobody changes it
    words: str = "somebody else"


async def saves_another_topic(console: Console, path: str) -> None:
    await changed(console.bo, path.removesuffix("/cancel").removesuffix("/tell"), "save", topic="Theirs")


async def saves_other_words(console: Console, path: str) -> None:
    await changed(console.bo, f"{path.removesuffix('/edit').removesuffix('/list')}/edit", body="Theirs")


async def resends(console: Console, path: str) -> None:
    await changed(console.bo, path, "resend")


async def adds_a_member(console: Console, _: str) -> None:
    await console.installation.join(("Asa", "Europe/London"))


async def declines(console: Console, path: str) -> None:
    await changed(console.bo, path, "decline-silently")


async def saves_another_name(console: Console, path: str) -> None:
    await changed(console.bo, path, name="Theirs")


async def removes_them(console: Console, path: str) -> None:
    await changed(console.bo, path, "remove")


async def appoints_cy(console: Console, _: str) -> None:
    await changed(console.bo, "/convenor/team/appoint", email="cy@example.org", role="helper")


async def makes_them_a_convenor(console: Console, path: str) -> None:
    await changed(console.bo, path, role="convenor")


async def saves_the_topic_of_the_sheet(console: Console, _: str) -> None:
    await changed(console.bo, MEETING, "save", topic="Hope")


async def drops_it(console: Console, path: str) -> None:
    await changed(console.bo, path, "drop")


async def an_old_version(console: Console) -> str:
    for body in ("One", "Two"):
        await changed(console.ann, "/convenor/about", "save", body=body)
    return "/convenor/about/1"


async def saves_another_text(console: Console, _: str) -> None:
    await changed(console.bo, "/convenor/about", "save", body="Theirs")


CASES = {
    MEETINGS: [
        Case(at(MEETING), saves_another_topic, "save", {"topic": "Mine"}),
        Case(an_extra, saves_another_topic, "remove"),
        Case(a_cancelled_meeting, saves_another_topic, "restore"),
    ],
    f"{MEETINGS}/cancel": [Case(at(f"{MEETING}/cancel"), saves_another_topic, typed={"reason": "Ill"})],
    f"{MEETINGS}/tell": [Case(a_change_to_tell, saves_another_topic, typed={"message": "Mine"})],
    "/convenor/drafts/{number}": [
        Case(a_draft, saves_other_words, act) for act in ("test", "send", "delete")
    ],
    "/convenor/drafts/{number}/edit": [Case(a_draft_to_edit, saves_other_words, typed={"body": "Mine"})],
    "/convenor/drafts/{number}/list": [
        Case(a_draft_list, saves_other_words, "look", {"addresses": "bo@example.org", "for": "who"})
    ],
    "/convenor/notices/{number}": [
        Case(a_stopped_notice, resends, "resend", words="it would now go to 0 members, not to 3")
    ],
    "/convenor/members/{number}": [Case(a_paused_member, removes_them, "activate")],
    "/convenor/members/{number}/edit": [
        Case(at("/convenor/members/3/edit"), saves_another_name, typed={"zone": "Asia/Tokyo"})
    ],
    "/convenor/members/add": [
        Case(
            at("/convenor/members/add"),
            adds_a_member,
            typed={"email": "asa@example.org", "country": "SE"},
            words="is already on the list",
        )
    ],
    "/convenor/members/import/{number}": [
        Case(an_upload, adds_a_member, words="the list of members has changed meanwhile")
    ],
    "/convenor/team/appoint": [
        Case(
            at("/convenor/team/appoint"),
            appoints_cy,
            typed={"email": "cy@example.org", "role": "convenor"},
            words="is a helper already",
        )
    ],
    "/convenor/themes/{theme}": [Case(a_theme, saves_another_name, "save", {"name": "Mine"})],
    "/convenor/speakers/{speaker}": [Case(a_speaker, saves_another_name, "save", {"role": "Poet"})],
    "/convenor/archive/import/{number}": [
        Case(a_sheet, saves_the_topic_of_the_sheet, words="the meetings have changed meanwhile")
    ],
    "/convenor/team/{number}": [Case(a_helper, makes_them_a_convenor, typed={"role": "helper"})],
    "/convenor/about": [Case(at("/convenor/about"), saves_another_text, "save", {"body": "Mine"})],
    "/convenor/about/{number}": [Case(an_old_version, saves_another_text, "restore")],
    "/convenor/desk/{number}": [Case(a_request, declines, "accept", words="was already declined")],
}
ELSEWHERE = {
    f"{MEETINGS}/move": "the test of what was shown",
    "/convenor/meetings/add": "the test of what was shown",
    "/convenor/people/{number}": "test_people_to_show: an entry is released or refused as it was shown",
    "/convenor/profile": "test_people_to_show: a convenor's own profile that was changed is not saved",
    "/convenor/returns/{number}": "test_returns: a message that was dealt with is gone",
    f"{MEETINGS}/follow-up": "test_planned: a follow-up is sent once, to the number that was shown",
    "/convenor/planned/{number}": "holding, releasing and dropping are refused where they make no sense",
    "/convenor/notices/autosave": "test_notices: a draft that somebody else changed is not saved",
    "/convenor/members/duplicates": "it notes that a pair are different people, which stays true",
    "/convenor/members/{number}/mails/{notice}/again": "test_sent_mails: a press counts once for what was shown",
    "/convenor/sign-out": "it ends one's own session",
    "/convenor/sessions": "it ends sessions by a number that is never used again",
    "/convenor/passkeys": "it removes passkeys by a number that is never used again",
    "/convenor/notices/count": "it changes nothing",
    "/convenor/notices/write": "it makes something new",
    "/convenor/members/import": "it makes something new",
    "/convenor/themes": "it makes something new",
    "/convenor/archive/import": "it makes something new",
    "/convenor/members/export": "it changes nothing",
    "/convenor/members/{number}/erase": "it removes whatever is there",
}
"""Why the other forms are not here."""


def test_every_form_of_the_console_is_tried_or_has_a_reason_not_to_be() -> None:
    posting = {
        entry.path
        for entry in ENTRIES
        if entry.path.startswith("/convenor") and entry.access not in OPEN and "POST" in entry.methods
    }
    assert posting == {*CASES, *ELSEWHERE}


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=f"{path} {case.act}") for path, cases in CASES.items() for case in cases],
)
async def test_a_form_from_before_a_change_by_somebody_else_is_refused(console: Console, case: Case) -> None:
    path = await case.page(console)
    form = await form_with(console.ann, path, case.act)
    await case.meanwhile(console, path)
    before = await notices_of(console.installation)
    sent = form.values | case.typed | ({"act": case.act} if case.act else {})
    refused = await console.ann.post(path, data=sent)
    assert refused.status_code in (409, 422) and case.words in refused.text
    assert await notices_of(console.installation) == before, "nobody is mailed"


async def notices_of(installation: Installation) -> set[int]:
    """The numbers of the notices that have been made for anybody."""
    await installation.tick()
    return {row.notice for row in await installation.reports()}


async def test_a_time_that_was_changed_after_it_was_shown_is_shown_again_first(console: Console) -> None:
    for path, act, day in (
        (f"{MEETING}/move", "move", "2026-12-03"),
        ("/convenor/meetings/add", "add", "2026-12-04"),
    ):
        wanted = {"date": day, "time": "18:00"}
        form = await form_with(console.ann, path, "look")
        shown = await console.ann.post(path, data=form.values | wanted | {"act": "look"})
        (form,) = forms(shown.text, path)
        other = await console.ann.post(path, data=form.values | {"time": "09:00", "act": act})
        assert other.status_code == 200 and f"{int(day[-2:])} December 2026, 09:00" in other.text
        (form,) = forms(other.text, path)
        assert (await console.ann.post(path, data=form.values | {"act": act})).status_code == 303


async def test_a_move_from_before_a_change_and_an_extra_meeting_for_others_are_refused(
    console: Console,
) -> None:
    path = f"{MEETING}/move"
    form = await form_with(console.ann, path, "look")
    shown = await console.ann.post(path, data=form.values | {"date": "2026-11-26", "act": "look"})
    (form,) = forms(shown.text, path)
    await saves_another_topic(console, MEETING)
    refused = await console.ann.post(path, data=form.values | {"act": "move"})
    assert refused.status_code == 422 and "somebody else" in refused.text
    path = "/convenor/meetings/add"
    form = await form_with(console.ann, path, "look")
    soon = {"date": "2026-11-10", "time": "18:00", "act": "look"}
    (form,) = forms((await console.ann.post(path, data=form.values | soon)).text, path)
    await adds_a_member(console, "")
    refused = await console.ann.post(path, data=form.values | {"act": "add"})
    assert refused.status_code == 422 and "4 members would be invited now, not 3" in refused.text
