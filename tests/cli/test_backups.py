"""`backup`, `restore` and `resume` on the command line."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine

from tests.cli.conftest import NOW, Command


def test_backup_restore_and_resume_each_say_what_they_did(command: Command, folder: Path) -> None:
    command("members", "add", "--email", "ann@example.org", "--zone", "Europe/London", "--yes")
    assert command("resume").out == "sending was not held\n"
    done = command("backup", "keep/one")
    assert (done.code, done.err) == (0, "")
    assert "holds all data and the key" in done.out
    command("members", "remove", "ann@example.org", "--yes")
    done = command("restore", "keep/one")
    assert done.code == 0
    assert "sending is held" in done.out
    assert "1 active" in command("status").out
    assert "sending is held (restored)" in command("status").out
    done = command("resume")
    assert done.code == 0
    assert "0 mails due before the restore" in done.out
    assert "sending is held" not in command("status").out


def test_a_backup_that_is_not_there_is_told_in_one_line(command: Command) -> None:
    done = command("restore", "nowhere")
    assert (done.code, done.err) == (1, "third-thursday: there is no backup nowhere; check the name\n")


@pytest.mark.usefixtures("members")
def test_send_missed_says_how_many_it_mails_and_asks(
    command: Command, clock: time_machine.Traveller, serve_once: Callable[[], None]
) -> None:
    notice = ("notice", "send", "--subject", "News", "--body", "people.csv", "--audience", "country:GB")
    assert command(*notice, "--hold", "3600", "--yes").code == 0
    serve_once()
    assert command("backup", "keep/one").code == 0
    clock.move_to(NOW + timedelta(hours=2))
    assert command("restore", "keep/one").code == 0
    refused = command("resume", "--send-missed")
    assert refused.code == 2
    assert "this mails 2 members now; give --yes" in refused.err
    assert "sending is held (restored)" in command("status").out
    done = command("resume", "--send-missed", "--yes")
    assert done.code == 0
    assert "2 mails due before the restore will be sent now" in done.out
    assert "sending is held" not in command("status").out
