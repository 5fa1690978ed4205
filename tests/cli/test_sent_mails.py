"""`members mail`, `members resend` and `members duplicates`: what the pages of a member do, on the command line."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine

from tests.cli.conftest import NOW, Command

BO = "bo@example.org"


@pytest.fixture
def notice(command: Command, folder: Path, members: object, serve_once: Callable[[], None]) -> str:
    """The number of a notice that was sent to Bo."""
    (folder / "body.md").write_text("Dear {name}, bring **tea**: {my_page}")
    sent = command(
        "notice", "send", "--subject", "Tea", "--body", "body.md", "--audience", "country:NZ", "--yes"
    )
    number = re.search(r"notice (\d+)", sent.out)
    assert sent.code == 0 and number, sent
    serve_once()
    return number[1]


def test_a_mail_is_read_as_it_was_sent_without_the_members_links(command: Command, notice: str) -> None:
    shown = command("members", "mail", BO, notice)
    assert shown.code == 0
    assert "subject     Tea" in shown.out and "bring *tea*" in shown.out and f"Bo <{BO}>" in shown.out
    assert "<strong>tea</strong>" in command("members", "mail", BO, notice, "--html").out
    document = json.loads(command("members", "mail", BO, notice, "--json").out)
    assert (document["state"], document["subject"], document["sent_again"]) == ("sent", "Tea", 0)
    (mail,) = Path("var/mail/new").iterdir()
    (token,) = set(re.findall(r"/me/(\w{30,})", mail.read_text().replace("=\n", "")))
    assert all(token not in text for text in (shown.out, document["text"], document["html"]))
    for wrong, words in (("999", "999"), ("x", "is not the number of a notice")):
        refused = command("members", "mail", BO, wrong)
        assert refused.code != 0 and words in refused.err and refused.err.count("\n") == 1
    assert command("members", "mail", "ann@example.org", notice).code == 1


def test_a_mail_is_sent_again_to_that_member_only_and_says_so(
    command: Command, notice: str, serve_once: Callable[[], None], clock: time_machine.Traveller
) -> None:
    clock.move_to(NOW + timedelta(minutes=5))
    again = command("members", "resend", BO, notice)
    assert again.out == f"{BO}: notice {notice} is sent again by the running `serve`\n"
    serve_once()
    mails = [mail.read_text() for mail in Path("var/mail/new").iterdir()]
    assert len(mails) == 2 and all(f"To: Bo <{BO}>" in mail for mail in mails)
    assert "sent again  1 time\n" in command("members", "mail", BO, notice).out
    log = command("audit", "--act", "mail-sent-again").out
    assert "Sent an email to a member again: Bo" in log and "What: Notice" in log
    assert command("members", "remove", BO).code == 0
    refused = command("members", "resend", BO, notice)
    assert (
        refused.code == 1 and refused.err.count("\n") == 1 and len(list(Path("var/mail/new").iterdir())) == 2
    )


def test_members_who_may_be_one_person_are_listed_until_they_are_told_apart(
    command: Command, members: object
) -> None:
    assert command("members", "duplicates").out == "0 pairs\n"
    added = command("members", "add", "--email", "bo+meet@example.org", "--country", "NZ", "--no-invite")
    assert added.code == 0, added.err
    shown = command("members", "duplicates").out
    assert f"{BO}  bo+meet@example.org  Bo (same mailbox)\n1 pair\n" == shown
    (pair,) = json.loads(command("members", "duplicates", "--json").out)
    assert pair["because"] == "mailbox" and [one["email"] for one in pair["members"]] == [
        BO,
        "bo+meet@example.org",
    ]
    apart = command("members", "duplicates", "--different", BO, "bo+meet@example.org")
    assert apart.code == 0 and "not shown again" in apart.out
    assert command("members", "duplicates").out == "0 pairs\n"
    unknown = command("members", "duplicates", "--different", BO, "nobody@example.org")
    assert unknown.code == 1 and "nobody@example.org" in unknown.err
