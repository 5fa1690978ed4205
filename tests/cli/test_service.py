"""`serve` and the commands that look after it, in real processes where that matters."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from importlib.resources import files
from pathlib import Path

import pytest
import time_machine
from alembic.script import ScriptDirectory

from scheduler import __version__
from scheduler.cli.app import COMMANDS, load_command
from scheduler.store import upgrades
from tests.cli.conftest import Command
from tests.cli.test_errors import run


@contextmanager
def running(folder: Path, port: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `serve` or `demo`, from when it says that it is ready until it has stopped."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scheduler", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "THIRD_THURSDAY_WEB__PORT": str(port)},
    )
    assert process.stdout
    assert process.stderr
    try:
        assert process.stdout.readline() == f"Third Thursday is at http://127.0.0.1:{port}/\n", (
            process.stderr.read()
        )
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_running_service_sends_what_another_command_makes_and_stops_when_told(
    command: Command, tmp_path: Path, free_port: int
) -> None:
    (tmp_path / "people.csv").write_text(
        "email,time zone\nann@example.org,Europe/London\nbo@example.org,Asia/Tokyo\n"
    )
    (tmp_path / "body.md").write_text("Hello")
    assert command("members", "import", "people.csv", "--no-invite").code == 0
    with running(tmp_path, free_port, "serve"):
        sent = run(tmp_path, "notice", "send", "--subject", "Hi", "--body", "body.md", "--yes", "--wait")
        assert (sent.returncode, sent.stdout.splitlines()[-1]) == (0, "2 sent")
        status = command("status", "--json")
        assert (status.code, json.loads(status.out)["healthy"]) == (0, True)
        second = run(tmp_path, "serve", THIRD_THURSDAY_WEB__PORT=str(free_port + 1))
        assert (second.returncode, second.stdout) == (1, "")
        assert "another `serve` uses" in second.stderr
    assert len(list((tmp_path / "var" / "mail" / "new").iterdir())) == 2


@pytest.mark.proof
@pytest.mark.short
def test_the_demo_invites_its_forty_members_within_a_moment(
    command: Command, tmp_path: Path, free_port: int
) -> None:
    with running(tmp_path, free_port, "demo"):
        demo = {"THIRD_THURSDAY_DATABASE__URL": "sqlite:///var/demo/third-thursday.sqlite"}
        for _ in range(600):
            rows = json.loads(command("deliveries", "--json", **demo).out)
            about_the_next = [
                row["state"]
                for row in rows
                if row["kind"] == "invitation" and row["occurrence"].startswith("conversation-for-kindness/")
            ]
            assert len(about_the_next) == 40
            if set(about_the_next) == {"sent"}:
                break
        assert not (tmp_path / "var" / "third-thursday.sqlite").exists()
    mails = (tmp_path / "var" / "demo" / "mail" / "new").iterdir()
    invited = {message_from_bytes(mail.read_bytes())["To"] for mail in mails}
    assert len(invited) == 40


def test_zone_data_put_before_the_package_changes_nothing(tmp_path: Path) -> None:
    package = Path(str(files("tzdata") / "zoneinfo"))
    (tmp_path / "America").mkdir()
    shutil.copy(package / "UTC", tmp_path / "America" / "Vancouver")
    shadowed = {"PYTHONTZPATH": str(tmp_path)}
    told = run(
        tmp_path,
        "schedule",
        "--from",
        "2026-11-19",
        "--count",
        "1",
        "--json",
        "--zone",
        "America/Vancouver",
        **shadowed,
    )
    (row,) = json.loads(told.stdout)
    assert row["local"]["America/Vancouver"]["starts"] == "2026-11-19T11:00:00-07:00"
    assert "PYTHONTZPATH is not followed" in run(tmp_path, "doctor", **shadowed).stdout


def test_only_serve_and_migrate_upgrade_an_older_database(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("plan").code == 0
    mark = _with_a_later_revision(folder, monkeypatch)
    for words in ("plan", "members list", "status", "doctor", "feed"):
        done = command(*words.split())
        assert done.code == 1
        assert f"older schema ({mark})" in done.err + done.out
    assert command("migrate").code == 0
    assert command("plan").code == 0


def _with_a_later_revision(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Add a later schema revision, as the next version will, and return the current one."""
    head = ScriptDirectory.from_config(upgrades._config()).get_current_head()
    assert head
    shutil.copytree(Path(upgrades.__file__).parent / "migrations", folder / "migrations")
    (folder / "migrations" / "versions" / "9000_later.py").write_text(
        f"revision = '9000'\ndown_revision = {head!r}\n\n\ndef upgrade() -> None:\n    pass\n"
    )
    later = upgrades._config()
    later.set_main_option("script_location", str(folder / "migrations"))
    monkeypatch.setattr(upgrades, "_config", lambda: later)
    return head


def test_a_database_of_something_else_is_left_alone(command: Command, folder: Path) -> None:
    (folder / "var").mkdir()
    with sqlite3.connect(folder / "var" / "third-thursday.sqlite") as database:
        database.execute("CREATE TABLE recipes (name TEXT)")
    database.close()
    for words in ("plan", "migrate"):
        done = command(words)
        assert (done.code, "contains another program's tables" in done.err) == (1, True)


def test_help_loads_nothing_heavy() -> None:
    heavy = (
        "asyncio",
        "alembic",
        "babel",
        "icalendar",
        "jinja2",
        "pydantic",
        "rich",
        "sqlalchemy",
        "structlog",
        "tzdata",
    )
    code = (
        "import sys; from scheduler.cli import main; sys.argv = ['third-thursday', '--help']\n"
        "try: main()\n"
        f"finally: print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Show when the meetings are." in done.stdout
    assert done.stdout.endswith("\n[]\n")


def test_help_lists_each_command_with_the_whole_first_line_of_its_own_help(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = re.findall(r"^  (\w+)  +(.+)$", command("--help").out.partition("Commands:\n")[2], re.MULTILINE)
    assert dict(listed) == {name: lazy.help for name, lazy in COMMANDS.items()}
    assert dict(listed) == {name: load_command(name).help.partition("\n")[0] for name in COMMANDS}


def test_an_unknown_command_is_refused_with_the_one_that_was_probably_meant(command: Command) -> None:
    done = command("shedule")
    assert (done.code, done.out) == (2, "")
    assert "Did you mean 'schedule'?" in done.err


@pytest.mark.parametrize(
    "text",
    ["[community]\nname = 'Choir'\n", "[[series]]\nslug = \u201cx\u201d\n", "[mail]\nrate = 1\n"],
)
def test_a_settings_file_that_is_not_named_is_pointed_out(command: Command, folder: Path, text: str) -> None:
    (folder / "my.toml").write_text(text, encoding="utf-8")
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.mail]\n")
    for arguments in (
        ["members", "add", "--email", "a@example.org", "--zone", "UTC", "--no-invite"],
        ["migrate"],
    ):
        done = command(*arguments)
        assert done.code == 0
        assert done.err.startswith("third-thursday: my.toml: a settings file that is not read")
        assert "--config my.toml" in done.err
    for arguments in (["schedule"], ["members", "list", "--json"], ["notice", "list"], ["plan"]):
        assert command(*arguments).err == ""
    (folder / "my.toml").write_text("[web]\nport = 8001\n")
    assert "not read" not in command("--config", "my.toml", "migrate").err


def test_a_variable_names_the_settings_file_and_the_option_wins(command: Command, folder: Path) -> None:
    for name, town in (("one", "Dublin"), ("two", "Lisbon")):
        (folder / f"{name}.toml").write_text(
            f'[[series]]\nslug = "m"\ntitle = "M"\nrule = "third Thursday"\nstart = "18:00"\n'
            f'zone = "Europe/{town}"\nminutes = 60\nfirst = 2026-01-15\n'
        )
    named = {"THIRD_THURSDAY_CONFIG": "one.toml"}
    assert "Dublin" in command("schedule", **named).out
    assert "Lisbon" in command("--config", "two.toml", "schedule", **named).out
    assert command("migrate", **named).err == ""
    assert "a settings file that is not read" in command("migrate", THIRD_THURSDAY_CONFIG="").err
    missing = command("plan", THIRD_THURSDAY_CONFIG="none.toml")
    assert (missing.code, "none.toml" in missing.err) == (2, True)
    misspelt = command("plan", THIRD_THURSDAY_CONFIGS="one.toml")
    assert (misspelt.code, "did you mean 'THIRD_THURSDAY_CONFIG'?" in misspelt.err) == (2, True)


def test_the_version_is_shown(command: Command) -> None:
    done = command("--version")
    assert (done.code, done.out) == (0, f"third-thursday {__version__}\n")


def test_status_warns_of_a_meeting_without_a_room(
    command: Command, clock: time_machine.Traveller, serve_once: Callable[[], None]
) -> None:
    serve_once()
    assert "warning" not in command("status").out
    clock.shift(6 * 86_400)
    serve_once()
    warned = command("status")
    assert "no room is set for conversation-for-kindness/2026-11-19" in warned.out
    assert len(json.loads(command("status", "--json").out)["warnings"]) == 1
    key = "conversation-for-kindness/2026-11-19"
    command("occurrence", "amend", key, "--link", "https://r.example.org/", "--no-tell")
    assert "warning" not in command("status").out
