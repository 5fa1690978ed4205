"""The `occurrence` commands."""

import asyncio
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import time_machine

from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.wiring import open_parts
from scheduler.store import answers, members
from tests.cli.conftest import Command, Ended

SERIES = "conversation-for-kindness"
KEY = f"{SERIES}/2026-11-19"

pytestmark = pytest.mark.usefixtures("members")


@pytest.fixture
def amend(command: Command) -> Callable[..., Ended]:
    return lambda *options, key=KEY: command("occurrence", "amend", key, *options)


def meeting(command: Command, key: str = KEY) -> tuple[str, str, str]:
    """Return start, status and topic, as the schedule shows them."""
    rows: list[dict[str, Any]] = json.loads(
        command("schedule", "--from", "2020-07-01", "--count", "120", "--json").out
    )
    (found,) = [row for row in rows if row["key"] == key]
    return found["starts_utc"], found["status"], found["topic"]


def notices(command: Command) -> list[tuple[str, dict[str, int]]]:
    return [(row["kind"], row["deliveries"]) for row in json.loads(command("notice", "list", "--json").out)]


def test_a_change_shows_at_once_and_mails_nobody(command: Command, amend: Callable[..., Ended]) -> None:
    done = amend("--topic", "Hope", "--speakers", "Ann", "--link", "https://room.example.org/1", "--no-tell")
    assert (done.code, done.out.splitlines()[-1]) == (0, "nobody was told")
    assert meeting(command) == ("2026-11-19T18:00:00+00:00", "scheduled", "Hope")
    assert notices(command) == []


def test_a_description_is_one_more_revision_and_may_be_taken_away_again(
    command: Command, amend: Callable[..., Ended]
) -> None:
    assert amend("--description", "An hour on hope.", "--no-tell").code == 0
    assert "An hour on hope." in command("feed").out
    assert amend("--description", "", "--no-tell").code == 0
    assert "An hour on hope." not in command("feed").out
    refused = amend("--description", "x" * 4001, "--no-tell")
    assert refused.code == 2 and "at most 4000" in refused.err


def test_a_move_is_by_the_home_clock_and_keeps_the_key(command: Command, amend: Callable[..., Ended]) -> None:
    assert amend("--move-to", "2026-11-26 19:30", "--no-tell").code == 0
    assert meeting(command) == ("2026-11-26T19:30:00+00:00", "moved", "")
    assert amend("--move-to", "2026-11-19 18:00", "--no-tell").code == 0
    assert meeting(command)[1] == "scheduled"


def test_the_same_time_is_no_change_and_tells_nobody(command: Command, amend: Callable[..., Ended]) -> None:
    done = amend("--move-to", "2026-11-19 18:00", "--tell", "--yes")
    assert done.code == 0
    assert "nothing was changed" in done.out
    assert notices(command) == []


def test_telling_makes_one_notice_to_all_active_members_and_prints_how_many(
    command: Command, amend: Callable[..., Ended], serve_once: Callable[[], None]
) -> None:
    command("members", "remove", "di@example.org")
    done = amend("--topic", "Hope", "--tell", "--yes")
    assert done.code == 0
    assert "tells 3 members" in done.out
    serve_once()
    # Who joins afterwards was not there at the press.
    command("members", "add", "--email", "ed@example.org", "--zone", "Europe/London", "--yes")
    serve_once()
    assert ("update", {"sent": 3}) in notices(command)


def test_a_cancellation_is_undone_by_a_restoration_and_a_move_is_not(
    command: Command, amend: Callable[..., Ended]
) -> None:
    assert amend("--move-to", "2026-11-26 18:00", "--no-tell").code == 0
    assert "nothing to restore" in amend("--restore", "--no-tell").err
    assert amend("--cancel", "--no-tell").code == 0
    assert meeting(command)[1] == "cancelled"
    assert amend("--restore", "--no-tell").code == 0
    assert meeting(command)[:2] == ("2026-11-26T18:00:00+00:00", "moved")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--move-to", "2027-03-28 01:30", "--no-tell"], 1, "skip that time"),
        (["--move-to", "2026-11-09 18:00", "--no-tell"], 1, "in the past"),
        (["--move-to", "next week", "--no-tell"], 2, "YYYY-MM-DD HH:MM"),
        (["--move-to", "9999-12-31 23:59", "--no-tell"], 2, "2199"),
        (["--restore", "--no-tell"], 1, "not cancelled"),
        (["--topic", "Hope"], 2, "--tell"),
        (["--no-tell"], 2, "--topic"),
        (["--cancel", "--move-to", "2026-11-26 18:00", "--no-tell"], 2, "give only one of these"),
        (["--topic", "a\r\nb", "--no-tell"], 2, "U+000D"),
        (["--link", "javascript:x", "--no-tell"], 2, "link"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_changes_nothing(
    command: Command, amend: Callable[..., Ended], options: list[str], code: int, words: str
) -> None:
    done = amend(*options)
    assert (done.code, done.out, len(done.err.splitlines())) == (code, "", 1)
    assert words in done.err
    assert meeting(command) == ("2026-11-19T18:00:00+00:00", "scheduled", "")


def test_a_past_target_is_for_a_past_meeting_only(command: Command, amend: Callable[..., Ended]) -> None:
    past = f"{SERIES}/2026-10-15"
    assert amend("--move-to", "2026-10-16 18:00", "--no-tell", key=past).code == 0
    assert meeting(command, past)[:2] == ("2026-10-16T17:00:00+00:00", "moved")
    assert amend("--cancel", "--no-tell", key=past).code == 1


def test_a_change_that_comes_too_late_to_be_told_is_refused_before_it_is_made(
    command: Command, amend: Callable[..., Ended], clock: time_machine.Traveller
) -> None:
    clock.shift(9 * 86_400 + 6.5 * 3_600)  # half past six on the evening
    done = amend("--topic", "Hope", "--tell", "--yes")
    assert done.code == 1
    assert "has begun; it is too late to tell anybody" in done.err
    assert meeting(command)[2] == ""
    assert amend("--topic", "Hope", "--no-tell").code == 0
    assert "tells 4 members" in amend("--cancel", "--tell", "--yes").out


def test_on_a_terminal_the_number_is_asked(
    command: Command, amend: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.cli.occurrences.is_terminal", lambda: True)
    asked: list[str] = []

    def refuse(question: str, **_: object) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr("typer.confirm", refuse)
    assert amend("--topic", "Hope").code == 0
    assert asked == ["Tell 4 members?"]
    assert notices(command) == []
    assert meeting(command)[2] == "Hope"


def test_an_extra_has_its_hour_in_its_key(command: Command) -> None:
    assert command("occurrence", "add", "--at", "2026-11-25 12:00").code == 0
    assert meeting(command, f"{SERIES}/2026-11-25T1200") == ("2026-11-25T12:00:00+00:00", "scheduled", "")
    assert "exists already" in command("occurrence", "add", "--at", "2026-11-25 12:00").err
    assert "skip that time" in command("occurrence", "add", "--at", "2027-03-28 01:30").err
    assert "in the past" in command("occurrence", "add", "--at", "2026-11-01 12:00").err


def test_a_programme_is_taken_row_by_row_and_its_bad_rows_are_told(command: Command, folder: Path) -> None:
    (folder / "programme.csv").write_bytes(
        "Date;Topic;Speakers\r\n2026-11-19;Größe;Ann\r\n2026-11-20;Nothing;\r\n2026-12-17;;\r\nx;y;z\r\n".encode(
            "cp1252"
        )
    )
    done = command("occurrence", "import", "programme.csv")
    assert done.code == 1
    assert "1 meeting changed, 1 unchanged" in done.out
    assert [line.partition(": ")[2][:6] for line in done.err.splitlines()[1:3]] == ["line 3", "line 5"]
    assert meeting(command)[2] == "Größe"
    assert notices(command) == []


@pytest.mark.parametrize(
    "change",
    [
        ["--cancel"],
        ["--move-to", "2026-11-26 18:00"],
        ["--topic", "Hope"],
        ["--link", "https://r.example.org/"],
    ],
)
def test_telling_without_a_terminal_wants_yes_and_changes_nothing_without(
    command: Command, amend: Callable[..., Ended], change: list[str]
) -> None:
    refused = amend(*change, "--tell")
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
    assert "this mails 4 members now; give --yes" in refused.err
    assert (meeting(command), notices(command)) == (("2026-11-19T18:00:00+00:00", "scheduled", ""), [])
    dry = amend(*change, "--tell", "--dry-run")
    assert dry.code == 0
    assert "4 members would be told; nothing was changed" in dry.out
    assert (meeting(command), notices(command)) == (("2026-11-19T18:00:00+00:00", "scheduled", ""), [])
    assert amend(*change, "--tell", "--yes").code == 0
    assert len(notices(command)) == 1


def test_on_a_terminal_telling_is_asked_and_a_no_changes_nothing(
    command: Command, amend: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.cli.occurrences.is_terminal", lambda: True)
    monkeypatch.setattr("scheduler.cli.command.is_terminal", lambda: True)
    asked: list[str] = []

    def refuse(question: str, **_: object) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr("typer.confirm", refuse)
    assert amend("--cancel", "--tell").code == 1
    assert asked == [f"{KEY}: cancelled, 2026-11-19 18:00 Europe/London. Tell 4 members?"]
    assert (meeting(command)[1], notices(command)) == ("scheduled", [])


def body_of(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part
    return str(part.get_content())


@pytest.mark.parametrize("change", [["--cancel"], ["--topic", "Hope"]])
def test_a_convenors_words_begin_the_mail_escaped_and_the_mail_waits_to_be_stopped(
    command: Command,
    amend: Callable[..., Ended],
    serve_once: Callable[[], None],
    clock: time_machine.Traveller,
    folder: Path,
    change: list[str],
) -> None:
    told = amend(
        *change, "--tell", "--yes", "--hold", "300", "--message", "The **hall** is <flooded> & cold."
    )
    assert "the first mail is sent in 300 seconds; `notice stop 1` stops it" in told.out
    serve_once()
    assert not list(folder.glob("var/mail/new/*"))
    clock.shift(301)
    serve_once()
    mails = [
        message_from_bytes(one.read_bytes(), policy=policy.default) for one in folder.glob("var/mail/new/*")
    ]
    mails = [one for one in mails if one["Subject"].startswith(("Cancelled", "Changed"))]
    assert len(mails) == 4
    for mail in mails:
        text, page = body_of(mail, "plain"), body_of(mail, "html")
        assert (
            text.index("Dear ") < text.index("is <flooded> & cold.") < text.index("Conversation for Kindness")
        )
        assert "<strong>hall</strong> is &lt;flooded&gt; &amp; cold." in page


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--no-tell", "--message", "x"], "--tell"),
        (["--no-tell", "--hold", "5"], "--tell"),
        (["--tell", "--message", "  "], "--message"),
        (["--tell", "--message", "a\x1bb"], "U+001B"),
    ],
)
def test_words_and_a_wait_are_for_a_mail(amend: Callable[..., Ended], options: list[str], words: str) -> None:
    refused = amend("--cancel", *options)
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert words in refused.err


def test_adding_a_meeting_asks_before_it_invites_anybody(
    command: Command, clock: time_machine.Traveller, serve_once: Callable[[], None]
) -> None:
    serve_once()
    clock.shift(14 * 86_400)  # the 24th: an invitation to the 30th was due on the 16th, when all were members
    at = ["occurrence", "add", "--at", "2026-11-30 12:00"]
    before = notices(command)
    refused = command(*at)
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
    assert "this mails 4 members now; give --yes" in refused.err
    assert "--no-invite" in refused.err
    assert "4 members invited now; nothing was changed" in command(*at, "--dry-run").out
    assert (notices(command), f"{SERIES}/2026-11-30T1200" in command("schedule", "--json").out) == (
        before,
        False,
    )
    assert command(*at, "--no-invite").code == 0
    serve_once()
    (invitation,) = [
        row
        for row in json.loads(command("notice", "list", "--json").out)
        if row["occurrence"] == f"{SERIES}/2026-11-30T1200" and row["kind"] == "invitation"
    ]
    assert (invitation["stopped"], invitation["deliveries"]) == (True, {})
    assert command("occurrence", "add", "--at", "2026-12-01 12:00", "--yes").code == 0
    serve_once()
    assert ("invitation", {"sent": 4}) in notices(command)


def test_adding_a_meeting_that_is_soon_counts_the_mails_of_a_reminder_too(
    command: Command, members: object, clock: time_machine.Traveller, serve_once: Callable[[], None]
) -> None:
    command("members", "add", "--email", "new@example.org", "--zone", "UTC", "--yes")
    serve_once()
    clock.shift(86_400)
    at = ["occurrence", "add", "--at", "2026-11-11 12:30"]
    # Those of before are not sent invitations that were open when they were imported.
    added = "5 members invited now, with 6 mails"
    assert added in command(*at, "--dry-run").out
    assert added in command(*at, "--yes").out
    serve_once()
    sent = json.loads(command("deliveries", "--state", "sent", "--json").out)
    assert len([row for row in sent if row["occurrence"] == f"{SERIES}/2026-11-11T1230"]) == 6


def test_a_meeting_is_not_added_where_one_is_held_already(
    command: Command, amend: Callable[..., Ended]
) -> None:
    assert (
        f"{KEY} is held at that time already" in command("occurrence", "add", "--at", "2026-11-19 18:00").err
    )
    far = f"{SERIES}/2028-03-16"
    assert (
        f"{far} is held at that time already" in command("occurrence", "add", "--at", "2028-03-16 18:00").err
    )
    amend("--cancel", "--no-tell")
    assert "--restore` restores it" in command("occurrence", "add", "--at", "2026-11-19 18:00").err
    amend("--restore", "--move-to", "2026-11-26 18:00", "--no-tell")
    assert (
        f"{KEY} is held at that time already" in command("occurrence", "add", "--at", "2026-11-26 18:00").err
    )
    assert command("occurrence", "add", "--at", "2026-11-19 18:00").code == 0


def test_an_added_meeting_that_nobody_was_told_of_is_taken_back(
    command: Command, serve_once: Callable[[], None]
) -> None:
    key = f"{SERIES}/2026-12-12T1100"
    assert command("occurrence", "add", "--at", "2026-12-12 11:00").code == 0
    assert command("occurrence", "remove", key).code == 0
    assert f"{key}" not in command("schedule", "--json").out
    assert "no meeting" in command("occurrence", "remove", key).err
    assert "--cancel` cancels it" in command("occurrence", "remove", KEY).err
    assert command("occurrence", "remove", KEY).code == 1
    assert command("occurrence", "add", "--at", "2026-12-12 11:00").code == 0
    assert command("occurrence", "amend", key, "--topic", "Hope", "--tell", "--yes").code == 0
    serve_once()
    refused = command("occurrence", "remove", key)
    assert refused.code == 1
    assert "members were told" in refused.err


def test_who_answered_what_is_named(command: Command, serve_once: Callable[[], None]) -> None:
    serve_once()

    async def answer() -> None:
        async with open_parts(load_settings(None, os.environ)) as parts, parts.database.write() as connection:
            for key, word in (("ann@example.org", "coming"), ("bo@example.org", "declined")):
                member = await members.by_key(connection, key)
                assert member
                await answers.set_answer(connection, member.id, KEY, answer=word, now=parts.clock.now())

    asyncio.run(answer())
    assert command("occurrence", "answers", KEY, "--names").out.splitlines() == [
        f"{KEY}: 1 coming, 0 maybe, 1 declined",
        "  coming    Ann <ann@example.org>",
        "  declined  Bo <bo@example.org>",
    ]
    document = json.loads(command("occurrence", "answers", KEY, "--names", "--json").out)
    assert document["names"]["coming"] == [{"name": "Ann", "email": "ann@example.org"}]
    assert "names" not in json.loads(command("occurrence", "answers", KEY, "--json").out)


def test_telling_later_of_a_change_says_how_many_and_asks(
    command: Command, amend: Callable[..., Ended], serve_once: Callable[[], None]
) -> None:
    refused = command("occurrence", "tell", KEY)
    assert refused.code == 1 and "nobody has been told about it yet" in refused.err
    amend("--topic", "Hope", "--tell", "--yes")
    serve_once()
    assert "nothing to tell" in command("occurrence", "tell", KEY).err
    amend("--topic", "Grace", "--no-tell")
    assert "would go to 4 members" in command("occurrence", "tell", KEY, "--dry-run").out
    asked = command("occurrence", "tell", KEY)
    assert asked.code == 2 and "this mails 4 members; give --yes" in asked.err
    assert command("occurrence", "tell", KEY, "--yes", "--message", " ").code == 2
    told = command("occurrence", "tell", KEY, "--yes", "--message", "We found a *topic*.")
    assert "tells 4 members" in told.out
    assert "We found a *topic*." in command("notice", "show", told.out.split()[1]).out
    assert "already tells members about it" in command("occurrence", "tell", KEY, "--yes").err


def test_the_follow_up_is_sent_once_when_the_meeting_is_over_and_has_materials(
    command: Command, folder: Path, serve_once: Callable[[], None], clock: time_machine.Traveller
) -> None:
    (folder / "recordings.csv").write_text(f"occurrence,materials\n{KEY},https://www.example.org/recording\n")
    assert command("occurrence", "import", "recordings.csv").code == 0
    assert "not over yet" in command("occurrence", "follow-up", KEY, "--yes").err
    clock.move_to(datetime(2026, 11, 20, 12, tzinfo=UTC))
    serve_once()
    assert "would go to 4 members" in command("occurrence", "follow-up", KEY, "--dry-run").out
    assert command("occurrence", "follow-up", KEY).code == 2
    assert "goes to 4 members" in command("occurrence", "follow-up", KEY, "--yes").out
    again = command("occurrence", "follow-up", KEY, "--yes")
    assert again.code == 1 and "is its follow-up" in again.err


def test_what_an_hour_means_is_shown_by_country(command: Command) -> None:
    assert (
        command("members", "set", "bo@example.org", "--country", "NZ", "--zone", "Pacific/Auckland").code == 0
    )
    assert command("occurrence", "add", "--at", "2027-03-25 18:00", "--no-invite").code == 0
    key = f"{SERIES}/2027-03-25T1800"
    shown = command("occurrence", "hours", key)
    assert "  New Zealand, 2027-03-26: Good Friday, 1 member" in shown.out.splitlines()
    document = json.loads(command("occurrence", "hours", key, "--json").out)
    assert document["at_night"] == 0
    assert document["holidays"] == [
        {
            "country": "NZ",
            "date": "2027-03-26",
            "members": 1,
            "holidays": [{"name": "Good Friday", "estimated": False}],
        }
    ]


def test_what_was_said_is_recorded_by_commands_and_mailed_to_nobody(
    command: Command, amend: Callable[..., Ended], folder: Path
) -> None:
    (folder / "summary.md").write_text("# What we said\n", encoding="utf-8")
    unknown = amend("--theme", "Listening", "--summary", "summary.md")
    assert unknown.code == 1 and "there is no theme 'Listening'" in unknown.err
    assert "listening: added" in command("themes", "add", "Listening").out
    # Without a terminal, and without --no-tell: there is nothing to tell.
    done = amend("--theme", "Listening", "--summary", "summary.md", "--insights", "summary.md")
    assert done.code == 0 and "nobody was told" in done.out
    assert "already so" in amend("--theme", "listening", "--summary", "summary.md").out
    assert "are not mailed" in amend("--summary", "summary.md", "--tell").err
    assert "cannot be read" in amend("--summary", "missing.md").err
    assert json.loads(command("themes", "list", "--json").out) == [
        {"slug": "listening", "name": "Listening", "meetings": 1}
    ]
    speakers = "Amara Okafor, poet, Example Org; Dr Amara Okafor"
    assert amend("--speakers", speakers, "--materials", "https://youtu.be/x", "--no-tell").code == 0
    listed = command("speakers", "list").out
    assert "perhaps one person: amara-okafor and dr-amara-okafor" in listed
    assert command("speakers", "merge", "amara-okafor", "dr-amara-okafor").code == 0
    assert (
        "Amara Okafor, coach, Example Org"
        in command("speakers", "set", "amara-okafor", "--role", "coach").out
    )
    assert "is a theme of 1 meeting" in command("themes", "remove", "listening").err
    assert "listening: changed" in command("themes", "set", "listening", "--name", "Hearing").out
    assert amend("--theme", "").code == 0
    assert "deleted" in command("themes", "remove", "Hearing").out
    assert notices(command) == []
    acts = {row["act"] for row in json.loads(command("audit", "--json").out)}
    assert acts >= {"theme-added", "theme-changed", "theme-removed", "speakers-merged", "speaker-changed"}


def test_a_sheet_of_the_past_says_row_by_row_what_it_would_do_and_does_it_once(
    command: Command, folder: Path
) -> None:
    sheet = "Month,Title,Who led,Recording\nMay 2021,Hope,Ann Lee,https://youtu.be/x\nMay 2019,Before,Bo,-\nx,y,,\n"
    (folder / "sheet.csv").write_text(sheet, encoding="utf-8")
    foreseen = command("occurrence", "import", "sheet.csv", "--dry-run")
    assert (
        f"line 2: {SERIES}/2021-05-20: found by its month: topic, speakers, materials ('Hope')"
        in foreseen.out
    )
    assert f"line 3: {SERIES}/2019-05-16T1800: added a past meeting ('Before')" in foreseen.out
    assert "1 meeting would be changed, 0 unchanged, 1 added; nothing was changed" in foreseen.out
    assert "sheet.csv: line 4: column 'Month': 'x' is not a date or a month" in foreseen.err
    assert foreseen.code == 1
    done = command("occurrence", "import", "sheet.csv")
    assert "1 meeting changed, 0 unchanged, 1 added; nobody was told" in done.out
    assert "0 meetings changed, 2 unchanged, 0 added" in command("occurrence", "import", "sheet.csv").out
    assert notices(command) == []
