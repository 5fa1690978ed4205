"""Every command that the documentation shows in full is run, page by page, in the order of the page."""

import asyncio
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

import pyrage
import pytest
import time_machine
import typer

from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.wiring import backup_plan, open_parts
from scheduler.service.scheduled_backups import ScheduledBackups
from tests.cli.conftest import PEOPLE, Command
from tests.cli.test_documented_commands import BLOCK, PAGES, ROOT, SPAN, commands_of, require_known
from tests.cli.test_people import offer
from tests.cli.test_requests import ask_to_join
from tests.pictures import phone_photo
from tests.service.test_workbook import rows, xlsx

PAGES_WITH_OWN = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/backups.md",
    "docs/console.md",
    "docs/design/archive.md",
    "docs/importing.md",
    "docs/installing.md",
    "docs/scaling.md",
]
"""The pages with a command that no page above has."""

NOT_RUN = {
    "setup": "asks questions in a terminal: tests/cli/test_setup.py",
    "worker": "needs PostgreSQL, and runs until it is stopped: tests/bootstrap/test_worker.py",
    "demo": "runs until it is stopped: tests/bootstrap/test_demo.py",
    "--install-completion": "changes the user's shell: tests/cli/test_completion.py",
    "convenors profile EMAIL": "is named without its options: the README has them",
}
"""Commands, or the first words of commands, that are not run, and why. `serve` does what is due now, and ends."""

UPCOMING, PAST = "ward-round-choir/2026-11-30", "ward-round-choir/2026-10-26"
STAND_INS = {
    "EMAIL": "bo@example.org",
    "ADDRESS": "meetings@choir.example.org",
    "FILE": "backup.sqlite",
    "TEXT": "writer@example.org",
    "KEY": UPCOMING,
}
"""What words in capitals stand for, unless OTHERS has something else for the command."""
OTHERS = {
    "occurrence import": {"FILE": "sheet.xlsx"},
    "occurrence follow-up": {"KEY": PAST},
    "occurrence amend --summary": {"KEY": PAST},
    "members erase": {"ADDRESS": "di@example.org"},
    "returns settle": {"EMAIL": "cy@example.org"},
}
LETTER = b"""\
From: Writer <writer@example.org>
To: meetings@choir.example.org
Subject: Hello
Message-ID: <letter@example.org>

May I bring a friend?
"""
NUMBERED = ("notice", "about", "wall", "requests", "returns")
"""Commands in whose examples a number is an ID."""

USAGE_ERROR: type[Exception] = typer.BadParameter.mro()[1]
"""What a wrong command line raises; typer exports only a subclass of it."""


def steps(page: Path) -> list[str]:
    """Return the commands of a page that can be run as they are, in its order, each once.

    In a table, `show 3` after `requests list` means `requests show 3`.
    """
    text, found, group = page.read_text(encoding="utf-8"), dict[str, None](), ""
    for match in re.finditer(f"{BLOCK.pattern}|{SPAN.pattern}", text, BLOCK.flags):
        if (span := match[3]) is None:
            shown = commands_of(match[2].replace("\\\n", " "))
        else:
            span = " ".join(span.split())
            in_row = text[text.rfind("\n", 0, match.start()) + 1] == "|"
            shown = commands_of(span) or [span, *([f"{group} {span}"] if in_row and group else [])]
        for command in shown:
            if is_complete(command):
                found[command.strip()] = None
                group = command.split()[0]
    return list(found)


def to_run(page: Path) -> list[str]:
    """Return those of a page's commands that this test runs."""
    return [line for line in steps(page) if not {line, line.split()[0]} & set(NOT_RUN)]


def is_complete(command: str) -> bool:
    """Return whether it is a command with all its arguments, and not the mention of one or of several."""
    if "…" in command.replace('"…"', "") or " | " in command:
        return False
    try:
        called, arguments = require_known(command)
        if hasattr(called, "commands"):
            return command.startswith("--") and "--config" not in command
        called.make_context(called.name, list(arguments))
    except (AssertionError, ValueError, USAGE_ERROR):
        return False
    return True


class Scratch:
    """An installation with members, a meeting that is over and one to which they were invited."""

    def __init__(self, folder: Path, command: Command, serve_once: Callable[[], None]) -> None:
        self._folder = folder
        self._command = command
        self._serve_once = serve_once
        self._number = ""

    def do(self, *words: str, **options: Any) -> str:
        """Run a command, which must succeed, and return what it has written."""
        ended = self._command(*words, **options)
        assert ended.code == 0, (words, ended)
        return ended.out

    def run(self, line: str) -> None:
        """Run a documented command, with names and numbers that exist here. Raises AssertionError if it fails."""
        words = shlex.split(line)
        if words[0] == "--config":
            words = words[2:] + words[:2]
        group = " ".join([*words[:2], *(["--summary"] if "--summary" in words else [])])
        options: dict[str, Any] = {}
        match words:
            case ["serve", *_]:
                self._serve_once()
                return
            case ["ingest", *_]:
                options["stdin"] = LETTER
            case ["members", "set", _, "--follow", *_]:
                options["THIRD_THURSDAY_CONFIG"] = "several.toml"
        self._prepare(words)
        stand_ins = STAND_INS | OTHERS.get(group, {})
        words = [
            self._number if word.isdigit() and words[0] in NUMBERED else stand_ins.get(word, word)
            for word in words
        ]
        if "--config" in words:
            words = words[-2:] + words[:-2]
        if _asks(line):
            words.append("--yes")
        self.do(*words, **options)

    def _prepare(self, words: Sequence[str]) -> None:
        """Make what a command needs: a notice, an entry, a letter, a backup."""
        match words:
            case ["occurrence", "tell", *_]:
                self.do("occurrence", "amend", UPCOMING, "--move-to", "2026-12-07 20:00", "--no-tell")
            case ["notice", "stop", *_]:
                at = ("--at", "2026-11-19T17:00+00:00", "--yes")
                self.do("notice", "send", "--subject", "Hello", "--body", "words.md", *at)
                self._newest("notice")
            case ["notice", "hold", *_]:
                rows = json.loads(self.do("notice", "list", "--json"))
                self._number = str(next(row["id"] for row in rows if row["policy"] == "day-before"))
            case ["notice", "drop", *_]:
                self.do("notice", "hold", self._number)
            case ["about", "restore", *_]:
                self.do("about", "set", "-", stdin=b"Another text.")
                self._number = "1"
            case ["wall", "release" | "refuse", *_]:
                asyncio.run(offer(f"Keeps bees, and likes to {words[1]} them"))
                self._newest("wall")
            case ["convenors", "profile", *_]:
                self.do("convenors", "add", STAND_INS["EMAIL"])
            case ["requests", "show" | "decline", *_]:
                asyncio.run(ask_to_join(words[1].title()))
                self._newest("requests")
            case ["returns", "show" | "drop", *_]:
                self.do("ingest", stdin=LETTER.replace(b"letter", "".join(words[1:]).encode()))
                self._newest("returns")
            case ["status"]:
                self._serve_once()
            case ["rehearse"]:
                self._make_backup()
            case ["rehearse", "--identity", *_]:
                identity = pyrage.x25519.Identity.generate()
                (self._folder / "key.txt").write_text(str(identity))
                shutil.rmtree("keep")
                self._make_backup(THIRD_THURSDAY_BACKUP__RECIPIENT=str(identity.to_public()))

    def _newest(self, group: str) -> None:
        self._number = str(max(row["id"] for row in json.loads(self.do(group, "list", "--json"))))

    def _make_backup(self, **environment: str) -> None:
        async def make() -> None:
            settings = load_settings(Path("my.toml"), {**os.environ, **environment})
            async with open_parts(settings) as parts:
                plan = backup_plan(settings)
                assert plan
                await ScheduledBackups(parts.database, parts.clock, plan, keys=parts.keys).make_now()

        asyncio.run(make())


def _asks(line: str) -> bool:
    """Return whether a command takes --yes, without which it would ask here."""
    called, _ = require_known(line)
    return any("--yes" in parameter.opts for parameter in called.params)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which `scratch` was first made, to be copied; empty until then."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture
def scratch(
    folder: Path,
    command: Command,
    serve_once: Callable[[], None],
    clock: time_machine.Traveller,
    monkeypatch: pytest.MonkeyPatch,
    filled: Path,
) -> Scratch:
    monkeypatch.setenv("THIRD_THURSDAY_CONFIG", "my.toml")
    monkeypatch.setenv("THIRD_THURSDAY_MAIL__TRANSPORT", "maildir:var/mail")
    monkeypatch.setenv("THIRD_THURSDAY_INBOX__DOMAIN", "bounces.choir.example.org")
    monkeypatch.setenv("THIRD_THURSDAY_BACKUP__FOLDER", "keep")
    made = Scratch(folder, command, serve_once)
    if not any(filled.iterdir()):
        _write_files(folder)
        clock.move_to(datetime(2026, 10, 20, 12, tzinfo=UTC))
        made.do("members", "import", "members.csv", "--no-invite")
        made.do("convenors", "add", "ann@example.org")
        made.do("themes", "add", "Listening")
        made.do("occurrence", "amend", PAST, "--materials", "Slides: https://example.org/slides", "--no-tell")
        clock.move_to(datetime(2026, 11, 17, 12, tzinfo=UTC))
        serve_once()
        shutil.copytree(folder, filled, dirs_exist_ok=True)
    clock.move_to(datetime(2026, 11, 17, 12, tzinfo=UTC))
    shutil.copytree(filled, folder, dirs_exist_ok=True)
    return made


def _write_files(folder: Path) -> None:
    """Write the settings that the README shows, and the files that the documentation names."""
    (toml,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (folder / "my.toml").write_text(dedent(toml))
    series = dedent(toml).partition("[[series]]")[2]
    others = [series.replace("ward-round-choir", slug) for slug in ("journal-club", "case-rounds")]
    (folder / "several.toml").write_text(
        "[[series]]".join([dedent(toml), *(f'{other}follow = "choice"\n' for other in others)])
    )
    for name in ("members.csv", "FILE.csv"):
        (folder / name).write_text(PEOPLE)
    for name in ("words.md", "about.md", "FILE.md"):
        (folder / name).write_text("Dear all, we meet soon.\n")
    (folder / "me.jpg").write_bytes(phone_photo())
    (folder / "sheet.xlsx").write_bytes(xlsx(rows(("Date", "Topic"), ("2026-10-26", "Grace"))))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.proof, pytest.mark.short] if name == "README.md" else [])
        for name in PAGES_WITH_OWN
    ],
)
def test_every_command_of_a_page_can_be_run_in_its_order(name: str, scratch: Scratch) -> None:
    for line in to_run(ROOT / name):
        scratch.run(line)


def test_all_other_pages_have_only_commands_that_these_have() -> None:
    run = {line for name in PAGES_WITH_OWN for line in to_run(ROOT / name)}
    starting = ROOT / "docs" / "starting.md"  # it is followed by a test in test_documented_commands.py
    others = [page for page in PAGES if page != starting and not set(to_run(page)) <= run]
    assert not others, others


def test_a_command_is_complete_only_with_its_arguments() -> None:
    assert is_complete("members list --search ann") and is_complete("--version")
    for command in (
        "members",
        "members add",
        "notice send … --yes",
        "wall list | release ID",
        "--config FILE",
    ):
        assert not is_complete(command)
