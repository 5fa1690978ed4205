"""The `notice` commands."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import time_machine

from scheduler.cli import notices
from tests.cli.conftest import Command

KEY = "conversation-for-kindness/2026-11-19"

pytestmark = pytest.mark.usefixtures("members")


@pytest.fixture
def body(folder: Path) -> str:
    (folder / "body.md").write_text("It was **good**.")
    return "body.md"


@pytest.fixture
def send(command: Command, body: str) -> Callable[..., Any]:
    return lambda *options: command("notice", "send", "--subject", "Thank you", "--body", body, *options)


def deliveries(command: Command, *options: str) -> dict[str, str]:
    """Return the state of each delivery, by address."""
    rows = json.loads(command("deliveries", "--json", *options).out)
    return {row["email"].partition("@")[0]: row["state"] for row in rows if row["kind"] == "notice"}


def dues(command: Command) -> dict[str | None, tuple[str, str, int]]:
    """Return due time, expiry and number of recipients of the notice in the plan, by zone."""
    rows = json.loads(command("plan", "--json").out)
    return {
        row["zone"]: (row["due_utc"], row["expires_utc"], row["recipients"])
        for row in rows
        if row["kind"] == "notice"
    }


@pytest.mark.parametrize(
    ("audience", "count"),
    [
        ("all", 4),
        ("convenors", 1),
        ("country:NZ", 1),
        ("country:GB", 2),
        ("country:gb-sct", 1),
        ("zone:Europe/London", 2),
        ("zone:US/Eastern", 1),
        ("locale:en-GB", 2),
        (f"unanswered:{KEY}", 4),
        (f"coming:{KEY}", 0),
        ("list:list.txt", 2),
        ("convenors,country:US", 2),
        ("country:GB,zone:Europe/London", 2),
        ("list:list.txt, convenors ,locale:en-NZ", 3),
    ],
)
def test_an_audience_is_the_union_of_its_terms(
    folder: Path, send: Callable[..., Any], audience: str, count: int
) -> None:
    (folder / "list.txt").write_text("BO@example.org\nDi <di@example.org>;Scotland\nnobody@example.org\n\n")
    done = send("--audience", audience, "--dry-run")
    assert (done.code, done.out) == (
        0,
        f"would go to {count} member{'s' if count != 1 else ''}; nothing was sent\n",
    )


def test_a_notice_goes_to_those_counted_and_a_dry_run_to_nobody(
    command: Command, send: Callable[..., Any], serve_once: Callable[[], None]
) -> None:
    assert send("--dry-run").code == 0
    assert deliveries(command) == {}
    assert send("--audience", "country:GB", "--yes").out == "notice 1 goes to 2 members\n"
    serve_once()
    assert deliveries(command) == {"ann": "sent", "di": "sent"}
    # Each press is a notice of its own.
    assert send("--audience", "convenors", "--yes").out.endswith(" goes to 1 member\n")


def test_a_test_goes_to_one_member_without_a_question(command: Command, send: Callable[..., Any]) -> None:
    assert send("--test-to", "BO@example.org").out == "notice 1 goes to 1 member\n"
    assert deliveries(command) == {"bo": "queued"}
    refused = send("--test-to", "nobody@example.org")
    assert refused.code == 1
    assert "no active member" in refused.err


def test_placeholders_are_filled_in_and_previewed_as_for_one_member(
    command: Command, folder: Path, send: Callable[..., Any], serve_once: Callable[[], None]
) -> None:
    (folder / "body.md").write_text("Dear {name}, until {when}: {join_link}")
    shown = send("--preview-for", "bo@example.org")
    assert "Until" not in shown.err and "nothing was sent" in shown.err
    assert "Dear Bo, until Friday 20 November 2026, 7:00 am to 8:00 am in Auckland (UTC+13): " in shown.out
    assert "/go/preview0preview0" in shown.out and deliveries(command) == {}
    assert send("--audience", "country:NZ", "--meeting", f"{KEY[:-2]}20", "--yes").code == 1
    assert send("--audience", "country:NZ", "--yes").code == 0
    serve_once()
    assert deliveries(command) == {"bo": "sent"}
    (folder / "body.md").write_text("Dear\n{nmae}")
    refused = send("--yes")
    assert (refused.code, "body, line 2: {nmae} is not a placeholder" in refused.err) == (1, True)


def test_an_instant_is_one_for_all_and_a_local_hour_each_zones_own(
    command: Command, send: Callable[..., Any], clock: time_machine.Traveller
) -> None:
    assert send("--at", "2026-11-12T10:00+02:00", "--expires", "2h", "--yes").code == 0
    assert dues(command) == {None: ("2026-11-12T08:00:00+00:00", "2026-11-12T10:00:00+00:00", 4)}
    command("notice", "stop", "1")
    assert send("--at", "local:2026-11-12T09:00", "--yes").code == 0
    assert {zone: (due, count) for zone, (due, _, count) in dues(command).items()} == {
        "America/New_York": ("2026-11-12T14:00:00+00:00", 1),
        "Europe/London": ("2026-11-12T09:00:00+00:00", 2),
        "Pacific/Auckland": ("2026-11-11T20:00:00+00:00", 1),
    }
    # Forty-eight hours from the last due instant, unless another length is named.
    assert {expires for _, expires, _ in dues(command).values()} == {"2026-11-14T14:00:00+00:00"}


def test_a_held_notice_can_be_stopped_and_sent_to_the_missed(
    command: Command,
    send: Callable[..., Any],
    serve_once: Callable[[], None],
    clock: time_machine.Traveller,
) -> None:
    send("--audience", "country:NZ", "--hold", "60", "--yes")
    serve_once()
    assert deliveries(command) == {"bo": "queued"}
    assert command("notice", "stop", "1").out == "stopped: 1 withdrawn, 0 already sent\n"
    clock.shift(120)
    serve_once()
    assert deliveries(command) == {"bo": "withdrawn"}
    assert command("notice", "resend-missed", "1").out == "1 mail is queued again\n"
    serve_once()
    assert deliveries(command, "--notice", "1") == {"bo": "sent"}


def test_what_is_shown_of_a_notice(command: Command, send: Callable[..., Any]) -> None:
    send("--audience", "convenors", "--yes")
    (row,) = json.loads(command("notice", "list", "--json").out)
    assert row.keys() == {
        "id",
        "notice",
        "kind",
        "policy",
        "occurrence",
        "subject",
        "audience",
        "created_utc",
        "expires_utc",
        "stopped",
        "on_hold",
        "withdrawn",
        "deliveries",
    }
    assert (row["audience"], row["deliveries"]) == ("convenors", {"queued": 1})
    assert json.loads(command("notice", "show", "1", "--json").out) == {
        **row,
        "answers": {},
        "body": "It was **good**.",
        "uncertain": 0,
    }
    assert "Thank you: 1 queued" in command("notice", "list").out
    assert "It was **good**." in command("notice", "show", "1").out


def test_the_body_may_come_from_standard_input(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Hello")))
    assert command("notice", "send", "--subject", "Hi", "--body", "-", "--yes").code == 0
    assert "Hello" in command("notice", "show", "1").out


def test_waiting_without_a_service_says_so_and_the_notice_stays(
    command: Command, send: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "POLL_SECONDS", 0)
    done = send("--yes", "--wait")
    assert done.code == 1
    assert "no `serve` is running" in done.err
    assert set(deliveries(command).values()) == {"queued"}


def test_on_a_terminal_the_number_is_asked(
    send: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setattr("scheduler.cli.command.is_terminal", lambda: True)
    asked: list[str] = []

    def refuse(question: str, **_: object) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr("typer.confirm", refuse)
    assert send("--audience", "country:GB").code == 1
    assert asked == ["Send 'Thank you' to 2 members?"]
    assert deliveries(command) == {}


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 2, "--yes"),
        (["--yes", "--audience", "mars"], 2, "accepted: all, convenors"),
        (["--yes", "--audience", ","], 2, "empty"),
        (["--yes", "--audience", "list:missing.txt"], 2, "missing.txt"),
        (["--yes", "--audience", "coming:nope"], 2, "SERIES/YYYY-MM-DD"),
        (["--yes", "--audience", f"coming:{KEY}"], 1, "no active member"),
        (["--yes", "--at", "2026-11-12T10:00"], 2, "--at"),
        (["--yes", "--at", "local:2026-11-12"], 2, "--at"),
        (["--yes", "--at", "local:2026-11-12T10:00+00:00"], 2, "--at"),
        (["--yes", "--at", ""], 2, "--at"),
        (["--yes", "--at", "2026-11-01T10:00Z"], 1, "in the past"),
        (["--yes", "--at", "9999-01-01T00:00Z"], 2, "2199"),
        (["--yes", "--expires", "soon"], 2, "90m"),
        (["--yes", "--expires", "0h"], 2, "--expires"),
        (["--yes", "--hold", "-1"], 2, "--hold"),
        (["--yes", "--hold", "9999999999"], 2, "--hold"),
        (["--dry-run", "--subject", " "], 1, "a subject and a body"),
        (["--yes", "--subject", "a\r\nBcc: x@example.org"], 1, "U+000D"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_nobody_is_told(
    command: Command, send: Callable[..., Any], options: list[str], code: int, words: str
) -> None:
    done = send(*options)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert "Traceback" not in done.err
    assert json.loads(command("notice", "list", "--json").out) == []


@pytest.mark.parametrize("audience", ["country:FJ", "zone:Asia/Tokyo", "locale:fr-FR", f"coming:{KEY}"])
def test_an_audience_of_nobody_is_said_before_anything_is_asked(
    command: Command, body: str, audience: str
) -> None:
    refused = command("notice", "send", "--subject", "x", "--body", body, "--audience", audience)
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (1, "", 1)
    assert f"'{audience}' has no active member" in refused.err


@pytest.mark.parametrize("kind", ["coming", "unanswered"])
@pytest.mark.parametrize("key", ["conversation-for-kindness/2026-11-20", "choir/2026-11-19"])
def test_an_audience_of_a_meeting_that_does_not_exist_names_it(
    command: Command, body: str, kind: str, key: str
) -> None:
    refused = command(
        "notice", "send", "--subject", "x", "--body", body, "--audience", f"{kind}:{key}", "--yes"
    )
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (1, "", 1)
    assert key in refused.err


def test_a_country_is_known_by_a_zone_that_is_that_countrys_alone(command: Command, body: str) -> None:
    for email, zone in (
        ("ed@example.org", "Pacific/Chatham"),
        ("flo@example.org", "Pacific/Auckland"),
        ("gus@example.org", "Asia/Calcutta"),
    ):
        assert command("members", "add", "--email", email, "--zone", zone, "--no-invite").code == 0

    def reach(country: str) -> str:
        return command(
            "notice",
            "send",
            "--subject",
            "x",
            "--body",
            body,
            "--audience",
            f"country:{country}",
            "--dry-run",
        ).out

    assert "would go to 3 members" in reach("NZ")
    assert "would go to 1 member;" in reach("IN")
    assert "would go to 2 members" in reach("GB")


@pytest.mark.parametrize("image", ["![a rose](https://example.org/r.png)", '<img src="r.png">'])
def test_an_image_in_a_notice_is_refused_with_its_line(
    folder: Path, command: Command, send: Callable[..., Any], image: str
) -> None:
    (folder / "body.md").write_text(f"Look:\n\nhere {image}")
    refused = send("--yes")
    assert refused.code == 1
    assert "line 3: images are not sent" in refused.err
    assert not deliveries(command)


def test_a_placeholder_in_a_notice_is_pointed_out(folder: Path, send: Callable[..., Any]) -> None:
    (folder / "body.md").write_text("Dear {{name}}")
    assert "'{{name}}' is sent as you typed it" in send("--dry-run").err
