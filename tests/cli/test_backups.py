"""`backup`, `restore` and `resume` on the command line."""

from pathlib import Path

from tests.cli.conftest import Command


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
    assert "0 mails were due before the restore" in done.out
    assert "sending is held" not in command("status").out


def test_a_backup_that_is_not_there_is_told_in_one_line(command: Command) -> None:
    done = command("restore", "nowhere")
    assert (done.code, done.err) == (1, "third-thursday: there is no backup nowhere\n")
