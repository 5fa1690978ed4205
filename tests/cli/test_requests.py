"""The `requests` commands."""

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest

from scheduler.bootstrap.wiring import open_parts
from scheduler.domain.token import Purpose
from scheduler.service import form_queue, join_requests
from scheduler.service.join_requests import JoinForm
from scheduler.store import members
from tests.cli.conftest import NOW, Command, own_settings

pytestmark = pytest.mark.usefixtures("members")


async def ask_to_join(name: str, follows: Mapping[str, bool] | None = None) -> None:
    """Let a person ask to join, and confirm it."""
    email = f"{name.lower()}@example.org"
    said = JoinForm(
        name=name,
        email=email,
        country="GB-WLS",
        zone="Europe/London",
        locale="cy-GB",
        words="Tea.\nAnd talk.",
        follows=follows,
    )
    async with open_parts(own_settings()) as parts:
        await form_queue.process_form(
            parts.database, await form_queue.ask_to_join(parts.database, said, now=NOW), now=NOW
        )
        async with parts.database.read() as connection:
            member = await members.by_key(connection, email)
        assert member
        token = parts.keys.token(Purpose.CONFIRM, member.id, generation=0, expires=NOW + timedelta(days=2))
        await join_requests.confirm(
            parts.database, token, keys=parts.keys, admits=False, all_series=parts.series, now=NOW
        )


@pytest.fixture
def ask(command: Command) -> Callable[..., None]:
    """Return a function that lets a person ask to join."""
    return lambda name, follows=None: asyncio.run(ask_to_join(name, follows))


def test_a_convenor_sees_takes_and_answers_who_asks(
    command: Command, ask: Callable[[str], None], serve_once: Callable[[], None]
) -> None:
    assert command("requests", "list").out == "nobody is waiting for an answer\n"
    assert command("requests", "list", "--json").out == "[]\n"
    ask("Maya")
    ask("Noor")
    listed = command("requests", "list").out.splitlines()
    assert len(listed) == 2 and "Maya <maya@example.org>  Wales, Europe/London" in listed[0]
    shown = command("requests", "show", "1")
    assert "    And talk." in shown.out and "0 hours" in shown.out
    assert command("requests", "take", "1", "--by", "ann@example.org").code == 0
    again = command("requests", "take", "1", "--by", "ann@example.org")
    assert again.code == 1 and "was taken by Ann at 2026-11-10 12:00 UTC" in again.err
    assert "now a member" in command("requests", "accept", "1", "--message", "Welcome, **Maya**!").out
    assert "will get a mail" in command("requests", "decline", "2").out
    twice = command("requests", "accept", "2")
    assert twice.code == 1 and twice.err.count("\n") == 1 and "already declined" in twice.err
    serve_once()
    kinds = [(one["email"], one["kind"]) for one in json.loads(command("deliveries", "--json").out)]
    assert ("maya@example.org", "welcome") in kinds and ("noor@example.org", "decline") in kinds
    found = json.loads(command("requests", "list", "--all", "--json").out)
    assert [(one["name"], one["state"], one["message"]) for one in found] == [
        ("Maya", "accepted", "Welcome, **Maya**!"),
        ("Noor", "declined", ""),
    ]
    assert "welcome" not in command("notice", "list").out


def test_a_convenor_sees_which_series_a_person_would_like_to_follow(
    command: Command, ask: Callable[..., None]
) -> None:
    ask("Maya", {"rounds": True, "ethics": False, "journal": True})
    ask("Noor")
    assert "  would like to follow: rounds, journal\n" in command("requests", "show", "1").out
    assert json.loads(command("requests", "show", "1", "--json").out)["follows"] == ["rounds", "journal"]
    assert "follow" not in command("requests", "show", "2").out
    assert json.loads(command("requests", "list", "--json").out)[1]["follows"] is None
    # None of these series is in the settings now.
    assert command("requests", "accept", "1").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("show", "9"), 1, "there is no request 9"),
        (("take", "x"), 2, "'x' is not the ID of a request"),
        (("accept", "9" * 40), 2, "is not the ID of a request"),
        (("accept", "1", "--by", "bo@example.org"), 1, "neither a convenor nor a helper"),
        (("decline", "1", "--by", "zed@example.org"), 1, "no member"),
        (("decline", "1", "--no-tell", "--message", "Sorry"), 1, "give --message or --no-tell, not both"),
        (("accept", "1", "--message", "\u202e"), 1, "U+202E"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line_and_changes_nothing(
    command: Command, ask: Callable[[str], None], arguments: tuple[str, ...], code: int, words: str
) -> None:
    ask("Maya")
    ended = command("requests", *arguments)
    assert ended.code == code and words in ended.err and ended.err.count("\n") == 1
    assert json.loads(command("requests", "show", "1", "--json").out)["state"] == "waiting"
