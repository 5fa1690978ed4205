"""`about`, `wall` and `convenors profile`: who we are, from the command line."""

import asyncio
import json
from pathlib import Path

import pytest

from scheduler.bootstrap.wiring import open_parts
from scheduler.domain.token import Purpose
from scheduler.service import profiles
from scheduler.service.profiles import make_words
from scheduler.store import members
from tests.cli.conftest import NOW, Command, own_settings
from tests.pictures import phone_photo

pytestmark = pytest.mark.usefixtures("members")


async def offer(role: str) -> None:
    """Let Bo ask to be shown."""
    async with open_parts(own_settings()) as parts:
        async with parts.database.read() as connection:
            bo = await members.by_key(connection, "bo@example.org")
        assert bo
        token, keys = parts.keys.token(Purpose.PREFERENCES, bo.id, generation=0), parts.keys
        words = make_words(name="Bo", role=role, country="NZ")
        await profiles.save_own_entry(parts.database, token, words, photo=None, keys=keys, now=NOW)
        _, entry = await profiles.own_entry(parts.database, token, keys=keys)
        assert entry
        await profiles.offer_own_entry(parts.database, token, revision=entry.revision, keys=keys, now=NOW)


def test_members_who_want_to_be_shown_are_released_refused_and_removed(command: Command) -> None:
    assert command("wall", "list").out == "nobody is shown, and nobody waits to be shown\n"
    asyncio.run(offer("Keeps bees"))
    assert command("wall", "list").out == "    1  waiting   Bo, Keeps bees, New Zealand\n"
    assert command("wall", "refuse", "1").code == 2
    assert command("wall", "refuse", "1", "--because", " ").err.endswith("the member needs to know why\n")
    refused = command("wall", "refuse", "1", "--because", "Which bees?")
    assert refused.out == "Bo: the entry is not shown, and its photo is deleted\n"
    again = command("wall", "release", "1")
    assert (again.code, again.err) == (1, "third-thursday: entry 1 does not wait: it is refused\n")
    asyncio.run(offer("Keeps honey bees"))
    assert command("wall", "release", "1", "--by", "ann@example.org").code == 0
    (entry,) = json.loads(command("wall", "list", "--json").out)
    assert (entry["state"], entry["role"], entry["photo"]) == ("released", "Keeps honey bees", False)
    assert command("wall", "remove", "1").out == "Bo: the entry and its photo are deleted\n"
    assert command("wall", "remove", "1").code == 1
    acts = [entry["act"] for entry in json.loads(command("audit", "--json").out)]
    assert acts[:3] == ["profile-removed", "profile-released", "profile-refused"]


def test_a_convenor_who_agrees_is_shown_and_hidden(command: Command, folder: Path) -> None:
    (folder / "ann.jpg").write_bytes(phone_photo())
    (folder / "ann.txt").write_text("Ann")
    show = ("convenors", "profile", "ann@example.org", "--role", "Hosts", "--photo")
    assert "that we know" in command(*show, "ann.txt").err
    assert "cannot be read" in command(*show, "nowhere.jpg").err
    shown = command(*show, "ann.jpg")
    assert shown.out == "ann@example.org: everybody can see them on the page of people now\n"
    assert "is no convenor" in command("convenors", "profile", "bo@example.org", "--role", "Helps").err
    assert command("convenors", "profile", "ann@example.org").code == 2
    hide = ("convenors", "profile", "ann@example.org", "--hide")
    assert [command(*hide).out for _ in range(2)] == [
        "ann@example.org: is not shown any more\n",
        "ann@example.org: was not shown\n",
    ]


def test_the_page_about_the_community_is_set_shown_and_restored(command: Command, folder: Path) -> None:
    assert command("about", "show").err == "nobody has written it yet\n"
    assert command("about", "versions").out == "nobody has written it yet\n"
    (folder / "about.md").write_text("# Why\n\nWe listen.\n")
    assert command("about", "set", "about.md").out == "everybody can see it now\n"
    assert command("about", "set", "about.md").out == "nothing was changed: the text is the same\n"
    assert command("about", "set", "-", stdin=b"Second\n").code == 0
    assert command("about", "set", "-", stdin=b"\n").err == "third-thursday: the text is empty\n"
    assert command("about", "show").out == "Second\n"
    assert command("about", "show", "1").out == "# Why\n\nWe listen.\n"
    assert command("about", "restore", "1").out == "version 1 is shown again\n"
    assert command("about", "restore", "7").code == 1
    assert [one["version"] for one in json.loads(command("about", "versions", "--json").out)] == [3, 2, 1]
