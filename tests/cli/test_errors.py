"""Every error is one line on standard error, with the right exit code and no stack trace."""

import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Ended

SERIES = "conversation-for-kindness"
CODE = {"failed": 1, "usage": 2}


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `third-thursday ARGUMENTS` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "scheduler", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
        env={**os.environ, **environment},
    )


def require_one_line(done: Ended | subprocess.CompletedProcess[str], kind: str, *words: str) -> None:
    code, err = (done.code, done.err) if isinstance(done, Ended) else (done.returncode, done.stderr)
    lines = [line for line in err.splitlines() if not line.startswith("timestamp=")]
    assert code == CODE[kind], err
    assert len(lines) == 1
    assert lines[0].startswith("third-thursday: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (["shedule"], "usage", ["'schedule'", "third-thursday --help"]),
        (["schedule", "--form", "2026-01-01"], "usage", ["--from", "third-thursday schedule --help"]),
        (["notice", "send"], "usage", ["--subject"]),
        (["schedule", "--count", "many"], "usage", ["--count"]),
        (["members", "show"], "usage", ["EMAIL"]),
        (["schedule", "--zone", "EST"], "usage", ["--zone", "EST"]),
        (["schedule", "--zone", "Etc/GMT+5"], "usage", ["Etc/GMT+5"]),
        (["schedule", "--from", "2026-02-30"], "usage", ["--from", "YYYY-MM-DD"]),
        (["schedule", "--series", "nope"], "usage", ["conversation-for-kindness"]),
        (["plan", "--from", "2026-12-01", "--to", "2026-11-01"], "usage", ["--to"]),
        (["occurrence", "amend", "nope", "--cancel", "--no-tell"], "usage", ["SERIES/YYYY-MM-DD"]),
        (["occurrence", "amend", f"{SERIES}/2027-01-20", "--cancel", "--no-tell"], "failed", ["no meeting"]),
        (["occurrence", "amend", f"{SERIES}/2099-01-15", "--topic", "x"], "usage", ["--tell"]),
        (["occurrence", "add", "--at", "tomorrow"], "usage", ["YYYY-MM-DD HH:MM"]),
        (["notice", "send", "--subject", "x", "--body", "missing.md", "--yes"], "failed", ["missing.md"]),
        (
            ["notice", "send", "--subject", "x", "--body", "-", "--audience", "zone:Mars", "--yes"],
            "usage",
            ["Mars"],
        ),
        (["notice", "send", "--subject", "x", "--body", "-", "--at", "2026-11-19"], "usage", ["--at"]),
        (["notice", "show", "99"], "failed", ["no notice 99"]),
        (["deliveries", "--state", "lost"], "usage", ["queued"]),
        (["members", "show", "nobody@example.org"], "failed", ["nobody@example.org"]),
        (["members", "import", "missing.csv"], "failed", ["missing.csv"]),
        (["--config", "missing.toml", "plan"], "usage", ["missing.toml"]),
        (["worker"], "usage", ["PostgreSQL", "serve"]),
    ],
)
def test_a_wrong_word_is_told_in_one_line(
    command: Command, arguments: list[str], kind: str, words: list[str]
) -> None:
    require_one_line(command(*arguments), kind, *words)


def test_a_wrong_setting_names_file_section_and_key(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("[web]\nprot = 80\n")
    require_one_line(
        run(tmp_path, "--config", "my.toml", "plan"), "usage", "my.toml", "[web]", "prot", "port"
    )


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        require_one_line(run(tmp_path, "serve", THIRD_THURSDAY_WEB__PORT=port), "failed", port)


def test_a_newer_database_is_refused_by_all(command: Command, folder: Path) -> None:
    assert command("migrate").code == 0
    with sqlite3.connect(folder / "var" / "third-thursday.sqlite") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    for name in ("plan", "migrate", "status"):
        require_one_line(command(name), "failed", "newer version")


def test_a_file_that_is_no_database_is_refused(command: Command, folder: Path) -> None:
    (folder / "var").mkdir()
    (folder / "var" / "third-thursday.sqlite").write_text("what is this? " * 100)
    require_one_line(command("plan"), "failed", "third-thursday.sqlite")


def test_a_folder_that_cannot_be_made_is_named(command: Command, folder: Path) -> None:
    (folder / "var").write_text("a file is in the way")
    require_one_line(command("plan"), "failed", "var")


def test_a_mail_folder_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("a file is in the way")
    port = str(_free_port())
    done = run(
        tmp_path, "serve", THIRD_THURSDAY_MAIL__TRANSPORT="maildir:mail", THIRD_THURSDAY_WEB__PORT=port
    )
    require_one_line(done, "failed", "mail")


def test_a_relay_that_cannot_be_reached_is_named_by_doctor(command: Command) -> None:
    done = command("doctor", THIRD_THURSDAY_MAIL__TRANSPORT=f"smtp://127.0.0.1:{_free_port()}")
    assert done.code == 1
    assert "cannot be reached" in done.out
    assert "Traceback" not in done.out + done.err


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_what_a_command_logs_never_stands_on_standard_output(command: Command, folder: Path) -> None:
    assert command("migrate").code == 0
    with sqlite3.connect(folder / "var" / "third-thursday.sqlite") as database:
        hold = '{"reason": "clock-jumped", "since": "2026-11-01T00:00:00+00:00"}'
        database.execute("INSERT INTO facts (name, value) VALUES ('hold', ?)", (hold,))
    database.close()
    done = run(folder, "resume")
    assert done.stdout == "sending continues; it was held (clock-jumped) since 2026-11-01 00:00 UTC\n"
    assert "sending-resumed" in done.stderr


def test_the_database_and_the_key_are_for_nobody_else_to_read(command: Command, folder: Path) -> None:
    assert command("plan").code == 0
    modes = {path.name: path.stat().st_mode & 0o077 for path in [folder / "var", *(folder / "var").iterdir()]}
    assert modes == dict.fromkeys(("var", "third-thursday.sqlite", "secret"), 0)
