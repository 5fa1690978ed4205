"""`audit`: who did what on the command line, and in the console."""

import json

from tests.cli.conftest import Command

BO = "bo@example.org"


def test_what_is_done_on_the_command_line_is_recorded_and_shown(command: Command, members: object) -> None:
    command("convenors", "add", BO, "--role", "helper")
    command("members", "set", BO, "--name", "Bo Berg")
    newest, oldest, *_ = json.loads(command("audit", "--json").out)
    assert (newest["act"], newest["about"], newest["channel"]) == (
        "member-changed",
        "Bo Berg",
        "command line",
    )
    assert newest["changes"] == {"name": {"before": "Bo", "after": "Bo Berg"}}
    assert oldest["act"] == "role-changed"
    shown = command("audit", "--act", "role-changed").out
    assert (
        "Changed somebody’s role: Bo Berg" in shown
        and "Role: nothing → helper" in shown
        and "details" not in shown
    )
    assert command("audit", "--by", BO).out == "there is no entry\n"
    assert "no member" in command("audit", "--by", "nobody@example.org").err
