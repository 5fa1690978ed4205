"""Commands and settings that the documentation shows exist: they are read by the real parser and the real loader."""

import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from typer.main import get_group

from scheduler.bootstrap.settings import load_settings
from scheduler.cli.app import COMMANDS, app, load_command
from tests.cli.conftest import Command

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

BLOCK = re.compile(r"^ *```([^\n`]*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
_OURS = re.compile(r"(?:^|[\s/])third-thursday +((?:--)?[a-z](?:(?!\s(?:\|\||&&)\s)[^\n])*)")
"""One of our commands, up to the next command or the end of the line."""
_REST = re.compile(r"\s(?:#|>).*|\"\s*$")
"""What is no longer a part of the command: a comment, where the output goes."""


def commands_in(page: Path) -> tuple[list[str], list[str]]:
    """Return the commands that a page shows in full, and those that its text mentions without `third-thursday`.

    Neither begins with `third-thursday`.
    """
    text = page.read_text(encoding="utf-8")
    blocks = [block.replace("\\\n", " ") for _, block in BLOCK.findall(text)]
    spans = [" ".join(span.split()) for span in SPAN.findall(BLOCK.sub("", text))]
    full = [found for shown in (*blocks, *spans) for found in commands_of(shown)]
    return full, [span for span in spans if span.partition(" ")[0] in COMMANDS]


def commands_of(shown: str) -> list[str]:
    """Return what follows `third-thursday` in each of our commands in what a page shows as code."""
    return [_REST.sub("", found) for found in _OURS.findall(shown)]


def require_known(command: str) -> tuple[Any, list[str]]:
    """Return what a command line calls, and its arguments.

    Raises AssertionError if there is no such command, or if it does not have an option that is shown.
    """
    node: Any = _whole_command()
    group, options, own = node, _options(node), list[str]()
    words = iter(shlex.split(command.replace("\\|", "|").replace("'", "")))
    for word in words:
        own.append(word)
        if word.startswith("--"):
            assert word in options, f"`third-thursday {command}`: there is no {word}"
            if options[word]:
                own += [next(words, "")]
        elif word == "|":  # list | add EMAIL
            node = group
        elif word != "…" and hasattr(node, "commands"):
            choices = word.split("|")
            found = COMMANDS if node.name == "third-thursday" else node.commands
            assert set(choices) <= set(found), f"`third-thursday {command}`: there is no {word}"
            group = node
            node = load_command(word) if node.name == "third-thursday" else found[choices[0]]
            options, own = _options(node), []
    return node, own


@cache
def _whole_command() -> Any:
    return get_group(app)


def _options(node: Any) -> dict[str, bool]:
    """Return the options of a command, and whether a value follows."""
    names = {
        name: not (parameter.is_flag or parameter.count)
        for parameter in node.params
        if parameter.param_type_name == "option"
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    return names | dict.fromkeys(("--help", "--install-completion", "--show-completion"), False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_shows_is_accepted(page: Path) -> None:
    """What the text only mentions, such as `notice send … --preview-for`, may leave out arguments."""
    full, mentioned = commands_in(page)
    for command in mentioned:
        require_known(command)
    for command in full:
        called, arguments = require_known(command)
        if not hasattr(called, "commands"):
            called.make_context(called.name, arguments)


@pytest.mark.parametrize(
    "command", ["membres list", "members lst", "members list --serach ann", "status --all", "themes list|ad"]
)
def test_a_command_that_does_not_exist_is_found(command: str) -> None:
    with pytest.raises(AssertionError, match="there is no"):
        require_known(command)


def test_commands_are_found_in_blocks_and_in_the_text(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Run `plan --zones`, or `x`.\n\n    ```sh\n    A=1 .venv/bin/third-thursday --config my.toml \\\n"
        "        status   # now\n    third-thursday serve || exit 75\n    ```\n"
        "\n```sh root\nthird-thursday migrate && third-thursday doctor > found\n```\n"
    )
    full, mentioned = commands_in(page)
    assert [shlex.split(command) for command in full] == [
        ["--config", "my.toml", "status"],
        ["serve"],
        ["migrate"],
        ["doctor"],
    ]
    assert mentioned == ["plan --zones"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_all_settings_that_a_page_shows_are_accepted(page: Path, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language.split()[:1] == ["toml"] or re.match(r"\s*\[\w+\]\n", block):
            file.write_text(dedent(block), encoding="utf-8")
            load_settings(file, {})


def test_whoever_follows_the_page_about_the_first_mail_gets_it(
    command: Command, folder: Path, serve_once: Callable[[], None]
) -> None:
    full, _ = commands_in(ROOT / "docs" / "starting.md")
    (folder / "hello.md").write_text("Dear {name}, our next meeting is {when}.")
    for line in full:
        words = shlex.split(line)
        if words[0] == "serve":
            serve_once()
        elif words[:2] == ["notice", "send"]:
            assert command(*words, "--yes").code == 0
            serve_once()
        elif words[0] not in ("setup", "doctor"):  # they ask questions, and the DNS
            ended = command(*words)
            assert ended.code == 0, ended
    (mail,) = (folder / "var" / "mail" / "new").iterdir()
    assert "Subject: Hello" in mail.read_text()
