"""`ingest`, as a mail server runs it, and the `returns` commands."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import time_machine

from scheduler.domain.token import Keys, Purpose, bounce_address, leave_address
from tests import inbound_mail as returned
from tests.cli.conftest import Command

CLIENT = [sys.executable, "-m", "scheduler"]
ROOT = Path(__file__).parents[2]
BO = 2


@dataclass(frozen=True, slots=True)
class Piped:
    code: int
    out: bytes
    lines: list[str]


Ingest = Callable[..., Piped]


@pytest.fixture
def ingest(command: Command) -> Ingest:
    """Return a function that runs `third-thursday ingest < file` in this process."""

    def piped(octets: bytes, *arguments: str, **environment: str) -> Piped:
        ended = command("ingest", *arguments, stdin=octets, **environment)
        return Piped(ended.code, ended.out.encode(), ended.err.splitlines())

    return piped


def ingest_in_a_process(octets: bytes, *arguments: str, **environment: str) -> Piped:
    """Run `third-thursday ingest < file` in a process of its own, as a mail server does."""
    ended = subprocess.run(
        [*CLIENT, "ingest", *arguments],
        input=octets,
        capture_output=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    return Piped(ended.returncode, ended.stdout, ended.stderr.decode().splitlines())


@pytest.fixture
def keys(members: None, folder: Path) -> Keys:
    return Keys(bytes.fromhex((folder / "var" / "secret").read_text().strip()))


def verp(keys: Keys) -> str:
    return bounce_address(keys, BO, "bo@example.org", "bounces.example.org")


def test_a_bounce_a_wish_to_leave_and_a_letter_each_do_what_they_say_in_one_line(
    keys: Keys, command: Command, ingest: Ingest
) -> None:
    for octets, arguments, line in (
        (
            returned.postfix(verp(keys), "bo@example.org"),
            (),
            f"hard bounce (5.1.1) of member {BO}: suppressed",
        ),
        (
            b"From: bo@example.org\r\n\r\n",
            ("--recipient", leave_address(keys.token(Purpose.LEAVE, BO, generation=0), "example.org")),
            f"member {BO} has left",
        ),
        (returned.absence("x@example.org", "Precedence: bulk"), (), "an automatic reply: discarded"),
        (
            b"From: Zed <zed@example.org>\r\nSubject: \x1b[31mhello\r\n\r\nwords \x1b[2J",
            (),
            "kept for review: `third-thursday returns show 2`",
        ),
    ):
        ended = ingest(octets, *arguments)
        assert (ended.code, ended.out, ended.lines) == (0, b"", [line])
    shown = command("members", "show", "bo@example.org").out
    assert "left" in shown and "because the address returns it (5.1.1: smtp; 550 5.1.1" in shown
    listed = command("returns", "list").out
    assert "hello" in listed and "hard" not in listed and "1 message" in listed
    found = json.loads(command("returns", "list", "--all", "--json").out)
    assert [(one["kind"], one["email"]) for one in found] == [("hard", "bo@example.org"), ("review", None)]
    whole = command("returns", "show", "2").out
    assert "| From: Zed <zed@example.org>" in whole and "\x1b" not in whole
    assert "to_review" in command("status", "--json").out
    assert command("returns", "drop", "2").code == 0
    assert command("returns", "list").out == "no message needs review\n"
    for wrong, code in (("2", 1), ("x", 2), ("9" * 30, 2)):
        assert command("returns", "show", wrong).code == command("returns", "drop", wrong).code == code


def test_a_suppressed_address_is_shown_and_lifted(
    keys: Keys, command: Command, ingest: Ingest, clock: time_machine.Traveller
) -> None:
    ingest(returned.postfix(verp(keys), "bo@example.org"))
    assert "suppressed:  1 member, " in command("status").out
    assert json.loads(command("status", "--json").out)["suppressed"] == 1
    assert "1 member has an address that sends mail back" in command("doctor").out
    assert "active, no mail" in command("members", "list").out
    done = command("members", "set", "bo@example.org", "--deliverable")
    assert (done.code, done.out) == (0, "bo@example.org: gets mail again\n")
    assert "nothing was changed" in command("members", "set", "bo@example.org", "--deliverable").out
    assert "suppressed:" not in command("status").out


def test_what_cannot_be_done_now_is_one_line_and_may_come_again(keys: Keys, ingest: Ingest) -> None:
    octets = returned.postfix(verp(keys), "bo@example.org")
    ended = ingest(octets, THIRD_THURSDAY_DATABASE__URL="sqlite:///var")
    assert (ended.code, len(ended.lines)) == (1, 1)
    ended = ingest(octets, THIRD_THURSDAY_INBOX__DOMAIN="no domain")
    assert (ended.code, len(ended.lines)) == (2, 1)
    assert ended.lines[0].endswith('accepted: a domain in lower case, as bounces.example.org, or ""')
    ended = ingest(b"")
    assert (ended.code, ended.lines) == (1, ["third-thursday: there is no message on standard input"])
    assert ingest(octets).lines == [f"hard bounce (5.1.1) of member {BO}: suppressed"]


def test_whoever_pipes_in_more_than_is_read_is_not_cut_off(keys: Keys) -> None:
    ended = ingest_in_a_process(b"Subject: long\r\n\r\n" + b"words\r\n" * 1_000_000)
    assert (ended.code, len(ended.lines)) == (0, 1)


def test_a_flooded_queue_costs_no_mail_server_an_error_and_is_dropped_in_bulk(
    keys: Keys, command: Command, ingest: Ingest
) -> None:
    big = b"x" * 250_000
    several = [
        ingest(
            b"From: Zed <zed@spam.example>\r\nSubject: %d\r\n\r\n" % number + big,
            THIRD_THURSDAY_INBOX__QUEUE_MEGABYTES="1",
        )
        for number in range(5)
    ]
    assert {ended.code for ended in several} == {0}
    assert several[-1].lines[0].startswith("not kept, only counted")
    ingest(b"From: Ann <ann@example.org>\r\nSubject: hello\r\n\r\nPlease see this.")
    assert "2 were only counted" in command("status").out
    for wrong in ((), ("1", "--from", "zed"), ("--older-than", "soon", "--yes")):
        assert command("returns", "drop", *wrong).code == 2
    asked = command("returns", "drop", "--from", "zed@spam")
    assert (asked.code, asked.err) == (
        2,
        "third-thursday: give --yes to delete 3 messages without being asked\n",
    )
    assert command("returns", "drop", "--containing", "nothing of it", "--yes").code == 1
    assert command("returns", "drop", "--older-than", "1d", "--from", "zed", "--yes").code == 1
    done = command("returns", "drop", "--from", "zed@spam", "--yes")
    assert (done.code, done.out) == (0, "3 messages deleted\n")
    assert "hello" in command("returns", "list").out and "only counted" not in command("status").out
