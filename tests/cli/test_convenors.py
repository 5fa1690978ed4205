"""`convenors`: show, appoint and dismiss those who run the community."""

import json

import pytest

from tests.cli.conftest import Command

ANN, BO = "ann@example.org", "bo@example.org"


def team(command: Command) -> list[tuple[str, str]]:
    return [
        (person["email"], person["role"]) for person in json.loads(command("convenors", "list", "--json").out)
    ]


def test_convenors_and_helpers_are_appointed_changed_and_dismissed(command: Command, members: object) -> None:
    """Ann is one from the start."""
    assert command("convenors", "list").out == f"convenor  Ann <{ANN}>\n"
    assert command("convenors", "add", BO.upper(), "--role", "helper").out == f"{BO}: is now a helper\n"
    assert team(command) == [(ANN, "convenor"), (BO, "helper")]
    assert command("convenors", "role", BO, "convenor").out == f"{BO}: is now a convenor\n"
    assert command("convenors", "role", BO, "convenor").out == f"{BO}: is already a convenor\n"
    assert (
        command("convenors", "remove", ANN).out
        == f"{ANN}: has no role any more, and is still a member (active)\n"
    )
    assert team(command) == [(BO, "convenor")]
    everybody = json.loads(command("members", "list", "--json").out)
    assert [person["email"] for person in everybody if person["convenor"]] == [BO]
    assert "Bo <bo@example.org>" in command("convenors", "list").out


def test_nobody_else_is_suggested_as_convenor_for_an_address_that_is_unknown(
    command: Command, members: object
) -> None:
    refused = command("convenors", "add", "bob@example.org")
    assert refused.code == 1 and "there is no member 'bob@example.org'" in refused.err
    assert BO not in refused.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("convenors", "remove", ANN),
        ("convenors", "role", ANN, "helper"),
        ("members", "set", ANN, "--no-convenor"),
    ],
)
def test_the_last_convenor_cannot_be_dismissed(
    command: Command, members: object, arguments: tuple[str, ...]
) -> None:
    command("convenors", "add", BO, "--role", "helper")
    done = command(*arguments)
    assert (done.code, done.err) == (
        1,
        f"third-thursday: {ANN} is the only convenor; appoint another with `convenors add` first\n",
    )
    assert team(command) == [(ANN, "convenor"), (BO, "helper")]
    command("convenors", "role", BO, "convenor")
    assert command(*arguments).code == 0


def test_a_convenor_who_gets_no_mail_does_not_count_as_another(command: Command, members: object) -> None:
    command("convenors", "add", BO)
    command("members", "pause", BO)
    assert command("convenors", "remove", ANN).code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("add", "nobody@example.org"), 1, "there is no member"),
        (("add", ANN), 1, "is a convenor already; `convenors role` changes it"),
        (("add", BO, "--role", "owner"), 2, "--role 'owner' is not a role; give one of convenor, helper"),
        (("role", BO, "helper"), 1, "has no role; `convenors add` appoints a member"),
        (("role", ANN, "boss"), 2, "ROLE 'boss' is not a role"),
        (("remove", BO), 1, "has no role"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    command: Command, members: object, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = command("convenors", *arguments)
    assert done.code == code
    assert done.err.count("\n") == 1 and words in done.err


def test_somebody_who_left_cannot_be_appointed(command: Command, members: object) -> None:
    command("members", "remove", ANN)
    assert "is not on the list (left)" in command("convenors", "add", ANN).err


def test_notices_to_convenors_do_not_go_to_helpers(command: Command, members: object) -> None:
    command("convenors", "add", BO, "--role", "helper")
    arguments = (
        "notice",
        "send",
        "--subject",
        "Hello",
        "--body",
        "-",
        "--audience",
        "convenors",
        "--dry-run",
    )
    assert "would go to 1 member" in command(*arguments, stdin=b"Hi").out


def test_an_installation_without_convenors_says_how_to_appoint_one(command: Command) -> None:
    assert "`convenors add EMAIL` appoints a member" in command("convenors", "list").out
