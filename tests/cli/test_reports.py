"""`plan` and `deliveries`; and that every command creates an empty database."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import time_machine

from tests.cli.conftest import Command

SERIES = "conversation-for-kindness"
KEY = f"{SERIES}/2026-11-19"


def plan(command: Command, *options: str) -> list[dict[str, Any]]:
    done = command("plan", "--json", *options)
    assert (done.code, done.err) == (0, "")
    found: list[dict[str, Any]] = json.loads(done.out)
    return found


@pytest.mark.usefixtures("members")
def test_the_plan_has_one_entry_for_each_due_instant_by_time_and_sends_nothing(
    command: Command, folder: Path
) -> None:
    rows = plan(command, "--to", "2026-11-30")
    assert all(
        list(row)
        == ["notice", "kind", "policy", "occurrence", "due_utc", "expires_utc", "zone", "recipients"]
        for row in rows
    )
    assert [(row["policy"], row["zone"], row["due_utc"], row["recipients"]) for row in rows] == [
        ("day-before", "Europe/London", "2026-11-18T09:00:00+00:00", 2),
        ("day-before", "America/New_York", "2026-11-18T14:00:00+00:00", 1),
        ("day-before", "Pacific/Auckland", "2026-11-18T20:00:00+00:00", 1),
        ("hour-before", None, "2026-11-19T17:00:00+00:00", 4),
    ]
    assert {(row["kind"], row["occurrence"], row["expires_utc"]) for row in rows} == {
        ("reminder", KEY, "2026-11-19T18:00:00+00:00")
    }
    assert not (folder / "var" / "mail").exists()
    assert json.loads(command("deliveries", "--json").out) == []


@pytest.mark.usefixtures("clock")
def test_an_open_invitation_stands_in_the_plan_as_due_and_not_for_those_imported_without(
    command: Command,
) -> None:
    command("members", "add", "--email", "ed@example.org", "--zone", "Asia/Tokyo", "--yes")
    (row,) = plan(command, "--to", "2026-11-10")
    assert (row["kind"], row["recipients"], row["due_utc"]) == ("invitation", 1, "2026-11-06T00:00:00+00:00")
    assert row["notice"] == f"invitation:{KEY}"


@pytest.mark.usefixtures("members")
def test_the_plan_and_the_tick_agree_before_and_after_it(
    command: Command, serve_once: Callable[[], None], clock: time_machine.Traveller
) -> None:
    before = plan(command)
    serve_once()
    assert plan(command) == before
    command("occurrence", "amend", KEY, "--cancel", "--no-tell")
    assert {row["occurrence"] for row in plan(command)} == {f"{SERIES}/2026-12-17"}
    assert plan(command, "--from", "2026-12-10")[0]["policy"] == "day-before"
    command("members", "remove", "bo@example.org")
    assert plan(command)[-1]["recipients"] == 3


@pytest.mark.usefixtures("members")
def test_a_delivery_is_shown_with_what_became_of_it(command: Command, serve_once: Callable[[], None]) -> None:
    command("members", "add", "--email", "ed@example.org", "--name", "Ed", "--zone", "Asia/Tokyo", "--yes")
    serve_once()
    (row,) = json.loads(command("deliveries", "--json").out)
    message = row.pop("message_id")
    assert message.startswith("<")
    assert message.endswith("@conversation.example.org>")
    assert row == {
        "notice": f"invitation:{KEY}",
        "kind": "invitation",
        "policy": "invitation",
        "occurrence": KEY,
        "member": "Ed",
        "email": "ed@example.org",
        "state": "sent",
        "attempts": 1,
        "due_utc": "2026-11-06T00:00:00+00:00",
        "sent_utc": "2026-11-10T12:00:00+00:00",
        "reason": "",
    }
    for narrowed, count in (
        (("--state", "sent"), 1),
        (("--state", "queued"), 0),
        (("--member", "ED@example.org"), 1),
        (("--member", "ann@example.org"), 0),
        (("--notice", f"invitation:{KEY}"), 1),
        (("--notice", "1"), 1),
    ):
        assert len(json.loads(command("deliveries", "--json", *narrowed).out)) == count
    assert "1 delivery" in command("deliveries").out


def test_a_filter_that_names_nothing_is_said(command: Command) -> None:
    for option, value in (("--member", "nobody@example.org"), ("--notice", "7"), ("--notice", "²")):
        done = command("deliveries", option, value)
        assert (done.code, done.out, value in done.err) == (1, "", True)


@pytest.mark.parametrize(
    "words",
    [
        "schedule --json",
        "plan --json",
        "deliveries --json",
        "members list --json",
        "notice list --json",
        "feed",
        "doctor",
        "migrate",
        "members export out.csv",
        f"occurrence amend {KEY} --topic x --no-tell",
    ],
)
def test_every_command_creates_an_empty_database(command: Command, folder: Path, words: str) -> None:
    assert command(*words.split()).code == 0
    assert (folder / "var" / "third-thursday.sqlite").stat().st_size
    assert command("status", "--json").code == 1


@pytest.mark.usefixtures("members")
def test_the_plan_is_one_line_for_each_notice_and_names_no_past_date(
    command: Command, clock: time_machine.Traveller, folder: Path
) -> None:
    lines = command("plan", "--to", "2026-11-30").out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        f"2026-11-18 09:00 to 2026-11-18 20:00 UTC 4 day-before of {KEY} 3 zones",
        f"2026-11-19 17:00 UTC 4 hour-before of {KEY} all zones",
        "8 mails in all; nothing was sent",
    ]
    each = command("plan", "--to", "2026-11-30", "--zones").out.splitlines()
    assert len(each) == 5
    assert [line.split()[-1] for line in each[:3]] == [
        "Europe/London",
        "America/New_York",
        "Pacific/Auckland",
    ]
    for email, zone in (("ed@example.org", "Asia/Tokyo"), ("flo@example.org", "Asia/Dhaka")):
        command("members", "add", "--email", email, "--zone", zone, "--yes")
    text = command("plan", "--to", "2026-11-30").out
    assert f"2  invitation of {KEY}  2 zones" in text
    assert text.startswith("now ")
    assert "2026-11-06" not in text
    (folder / "words.md").write_text("Hello")
    send = ["notice", "send", "--subject", "Hello there", "--body", "words.md", "--yes"]
    command(*send, "--at", "2026-11-12T10:00+00:00")
    assert "notice 1: Hello there" in command("plan").out
    assert "notice 1" in command("deliveries").out
    listed = command("notice", "list").out
    assert "2026-11-12 10:00 UTC" in listed


@pytest.mark.usefixtures("members")
def test_the_list_of_notices_shows_policy_and_due_instant(
    command: Command, serve_once: Callable[[], None]
) -> None:
    serve_once()
    lines = command("notice", "list").out.splitlines()
    assert any("reminder hour-before" in line and "2026-11-19 17:00 UTC" in line for line in lines)
    assert any("2026-11-18 09:00 to 2026-11-18 20:00 UTC" in line for line in lines)


@pytest.mark.usefixtures("members")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ann", ["ann"]),
        ("ANN@EXAMPLE", ["ann"]),
        ("new zealand", ["bo"]),
        ("auckland", ["bo"]),
        ("nobody", []),
        ("Zéaland", ["bo"]),
        ("di london", ["di"]),
    ],
)
def test_members_are_found_by_name_address_country_or_zone(
    command: Command, text: str, found: list[str]
) -> None:
    rows = json.loads(command("members", "list", "--search", text, "--json").out)
    assert [row["email"].partition("@")[0] for row in rows] == found
    assert f"{len(found)} member" in command("members", "list", "--search", text).out.splitlines()[-1]


@pytest.mark.usefixtures("members")
def test_numbers_are_shown_by_place_and_month(command: Command) -> None:
    shown = command("numbers").out.splitlines()
    assert shown[0] == "4 members on the list; months are by the clock of Europe/London"
    document = json.loads(command("numbers", "--json").out)
    assert document["members"] == sum(row["members"] for row in document["countries"]) == 4
    assert document["months"][-1] == {"month": "2026-11", "joined": 4, "left": 0}
