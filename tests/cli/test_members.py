"""The `members` commands on the command line."""

import json
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import time_machine

from tests.cli.conftest import Command, Ended
from tests.cli.terminal import Terminal

LIST = """\
Email Address,First Name,Last Name,Time zone,Country,Notes
ann@example.org,Ann,Smith,Europe/London,Scotland,x
bo@example.org,Bo,,,New Zealand,
cy@example.org,Cy,,Europe/Atlantis,,
not-an-address,Di,,,USA,
ann@example.org,Ann,Smith,Europe/London,Scotland,x
"""

# A meeting each day, to which who comes is always invited at once.
DAILY = """\
[[series]]
slug = "daily"
title = "Daily"
rule = "FREQ=DAILY"
start = "12:00"
zone = "UTC"
minutes = 10
first = 2026-01-01

[[policies]]
slug = "invitation"
kind = "invitation"
lead = "3d"
"""


@pytest.fixture
def people(folder: Path) -> str:
    (folder / "people.csv").write_text(LIST)
    return "people.csv"


@pytest.fixture
def daily(folder: Path) -> str:
    (folder / "daily.toml").write_text(DAILY)
    return "daily.toml"


def listed(command: Command) -> list[dict[str, object]]:
    ended = command("members", "list", "--json")
    assert ended.code == 0 and not ended.err
    found: list[dict[str, object]] = json.loads(ended.out)
    return found


def one_line(ended: Ended) -> str:
    """Return the error of a failed command: one line without a stack trace."""
    assert ended.code and not ended.out
    (line,) = ended.err.splitlines()
    return line.removeprefix("third-thursday: ")


def test_an_import_takes_the_good_rows_and_lists_all_bad_ones(command: Command, people: str) -> None:
    ended = command("members", "import", people, "--no-invite")
    assert ended.code == 1
    assert ended.out.splitlines() == [
        "2 added, 0 filled in, 0 unchanged",
        "duplicates: 1 (the first row of each address is used)",
        "rows that are wrong and were left out: 2",
        "columns ignored: Notes",
        "invited now: 0; later invitations are sent as planned",
    ]
    zone, address, country, last = ended.err.splitlines()
    assert zone.startswith('people.csv: line 4, column "Time zone": ') and "Atlantis" in zone
    assert address.startswith('people.csv: line 5, column "Email Address": ')
    assert country.startswith('people.csv: line 5, column "Time zone": United States has')
    assert last == "third-thursday: people.csv: 2 rows were not imported; correct and import again"


def test_the_list_in_json_has_exactly_the_promised_keys(command: Command, people: str) -> None:
    command("members", "import", people, "--no-invite")
    assert listed(command) == [
        {
            "name": "Ann Smith",
            "email": "ann@example.org",
            "country": "GB-SCT",
            "zone": "Europe/London",
            "zone_source": "given",
            "locale": "en-GB",
            "status": "active",
            "convenor": False,
            "follows": ["conversation-for-kindness"],
        },
        {
            "name": "Bo",
            "email": "bo@example.org",
            "country": "NZ",
            "zone": "Pacific/Auckland",
            "zone_source": "assumed",
            "locale": "en-GB",
            "status": "active",
            "convenor": False,
            "follows": ["conversation-for-kindness"],
        },
    ]


def test_an_empty_list_is_an_empty_document(command: Command) -> None:
    assert listed(command) == []


def test_the_list_for_people_shows_everybody_and_the_counts(command: Command, people: str) -> None:
    command("members", "import", people, "--no-invite")
    command("members", "remove", "bo@example.org")
    ended = command("members", "list")
    assert "Ann Smith" in ended.out and "Pacific/Auckland (assumed)" in ended.out
    assert ended.out.splitlines()[-1] == "2 members: 1 active, 1 left"


def test_a_dry_run_says_what_would_happen_and_changes_nothing(command: Command, people: str) -> None:
    ended = command("members", "import", people, "--dry-run")
    assert ended.code == 1 and ended.out.startswith("2 added,")
    assert ended.out.splitlines()[-1] == "this is what would happen; nothing was changed"
    assert listed(command) == []


def test_without_a_terminal_and_yes_nobody_is_imported_where_invitations_would_go_out(
    command: Command, people: str, daily: str
) -> None:
    ended = command("--config", daily, "members", "import", people)
    assert ended.code == 2 and not ended.out
    assert "2 members would be invited now; give --yes to do so, or --no-invite" in ended.err.splitlines()[-1]
    assert listed(command) == []
    assert (
        "invited now: 2" in command("--config", daily, "members", "import", people, "--yes").out.splitlines()
    )


def test_without_a_terminal_an_import_that_invites_nobody_needs_no_yes(
    command: Command, people: str, daily: str
) -> None:
    command("--config", daily, "members", "import", people, "--no-invite")
    assert "0 added" in command("--config", daily, "members", "import", people).out
    assert command("--config", daily, "members", "import", people, "--dry-run").out.startswith("0 added")


def test_a_guessed_code_page_is_shown_and_another_may_be_named(command: Command, folder: Path) -> None:
    (folder / "x.csv").write_bytes("email,name,country\no@example.org,Ольга Сергеева,UA\n".encode("cp1251"))
    wrong = command("members", "import", "x.csv", "--no-invite", "--encoding", "windows-1252")
    assert wrong.code == 0 and [one["name"] for one in listed(command)] == ["Îëüãà Ñåðãååâà"]
    right = command("members", "import", "x.csv", "--no-invite")
    assert "x.csv: read as Windows-1251: Ольга Сергеева" in right.err
    assert "names repaired that had been imported in the wrong encoding: 1" in right.out
    assert [one["name"] for one in listed(command)] == ["Ольга Сергеева"]
    ended = command("members", "import", "x.csv", "--encoding", "klingon")
    assert ended.code == 2 and "--encoding 'klingon' is not known" in one_line(ended)


def test_on_a_terminal_a_guessed_code_page_is_asked_about(command: Command, folder: Path) -> None:
    (folder / "x.csv").write_bytes("email,name,country\ny@example.org,山田太郎,JP\n".encode("cp932"))
    code, shown = on_a_terminal(folder, "n", "members", "import", "x.csv", "--no-invite")
    assert code == 1 and "read as Shift JIS: 山田太郎" in shown and "Do the names look right?" in shown
    assert listed(command) == []
    code, _ = on_a_terminal(folder, "y", "members", "import", "x.csv", "--no-invite")
    assert code == 0 and [one["name"] for one in listed(command)] == ["山田太郎"]


def test_a_zone_is_assumed_of_rows_that_say_none(command: Command, folder: Path) -> None:
    (folder / "x.csv").write_text("email\na@example.org\n")
    assert "--zone" in one_line(command("members", "import", "x.csv"))
    assert command("members", "import", "x.csv", "--no-invite", "--zone", "Europe/Rome").code == 0
    assert [(one["zone"], one["zone_source"]) for one in listed(command)] == [("Europe/Rome", "assumed")]
    assert command("members", "import", "x.csv", "--zone", "EST").code == 2


def test_whoever_may_not_be_mailed_elsewhere_is_not_invited_here(
    command: Command, folder: Path, daily: str
) -> None:
    (folder / "x.csv").write_text(
        "email,status,country\na@example.org,enabled,NZ\nb@example.org,blocklisted,NZ\nc@example.org,disabled,NZ\n"
        "d@example.org,unconfirmed,NZ\ne@example.org,Lurking,NZ\n"
    )
    ended = command("--config", daily, "members", "import", "x.csv", "--yes")
    assert ended.code == 1 and "invited now: 1" in ended.out.splitlines()
    assert "not mailed because the file says paused or unconfirmed: 2" in ended.out
    assert "line 6, column \"status\": 'Lurking' is not known" in ended.err


def test_no_invite_says_that_later_invitations_go_out(command: Command, people: str, daily: str) -> None:
    ended = command("--config", daily, "members", "import", people, "--no-invite")
    assert "invited now: 0; later invitations are sent as planned" in ended.out.splitlines()


def on_a_terminal(folder: Path, answer: str, *arguments: str) -> tuple[int, str]:
    """Run a command on a terminal, type `answer`, and return the exit code and the terminal's output."""
    terminal = Terminal(folder, *arguments, environment={"TERM": "dumb"})
    terminal.answer([("?", answer)] if answer else [])
    return terminal.end(), terminal.shown


def test_on_a_terminal_the_convenor_is_asked_before_anybody_is_invited(
    command: Command, folder: Path, people: str, daily: str
) -> None:
    asked = "Import 2 members, and invite 2 of them now?"
    code, shown = on_a_terminal(folder, "n", "--config", daily, "members", "import", people)
    assert code == 1 and asked in shown and "nothing was done" in shown
    assert listed(command) == []
    code, shown = on_a_terminal(folder, "y", "--config", daily, "members", "import", people)
    assert asked in shown and "importing" in shown and "invited now: 2" in shown
    assert len(listed(command)) == 2


def test_yes_is_not_asked(command: Command, folder: Path, people: str, daily: str) -> None:
    _, shown = on_a_terminal(folder, "", "--config", daily, "members", "import", people, "--yes")
    assert "?" not in shown and "invited now: 2" in shown


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file"),
        (b"", "the file is empty"),
        (b"colour,shape\nred,round\n", "no heading for the address"),
        (b"PK\x03\x04abc", "cannot be read as a spreadsheet; save the sheet as CSV"),
    ],
)
def test_a_file_that_is_no_list_gives_one_line(
    command: Command, folder: Path, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (folder / "x.csv").write_bytes(content)
    line = one_line(command("members", "import", "x.csv"))
    assert line.startswith("x.csv") and reason in line


def test_a_member_is_added_changed_paused_removed_and_shown(command: Command) -> None:
    added = command(
        "members",
        "add",
        "--email",
        "Ann@Example.org",
        "--name",
        "Ann",
        "--country",
        "Germany",
        "--locale",
        "en-GB",
        "--yes",
    )
    assert added.code == 0
    assert added.out == "Ann@example.org: added, Europe/Berlin, assumed from the country, en-GB\n"
    ended = command("members", "set", "ann@example.org", "--zone", "Asia/Kolkata", "--convenor")
    assert ended.out.splitlines() == [
        "Ann@example.org: zone Europe/Berlin → Asia/Kolkata",
        "Ann@example.org: zone_source assumed → given",
        "Ann@example.org: convenor no → yes",
    ]
    again = command("members", "set", "ann@example.org", "--convenor")
    assert again.code == 0 and "nothing was changed" in again.out
    assert "until 2199-01-01" in command("members", "pause", "ann@example.org", "--until", "2199-01-01").out
    assert "paused until 2198-12-31 18:30 UTC" in command("members", "show", "ann@example.org").out
    assert "--status active" in command("members", "pause", "ann@example.org").out
    assert "has left" in command("members", "remove", "ann@example.org").out
    assert "had already left" in command("members", "remove", "ann@example.org").out
    assert "status left → active" in command("members", "set", "ann@example.org", "--status", "active").out
    assert command("members", "rotate", "ann@example.org").code == 0
    shown = command("members", "show", "ANN@example.org").out
    assert "Germany (DE)" in shown and "Asia/Kolkata (given)" in shown and "mails       none yet" in shown


def test_who_is_added_while_an_invitation_is_open_is_said_to_be_invited(command: Command, daily: str) -> None:
    ended = command(
        "--config", daily, "members", "add", "--email", "ann@example.org", "--zone", "UTC", "--yes"
    )
    assert "ann@example.org: invited now to daily/" in ended.out


@pytest.mark.parametrize("verb", ["show", "set", "pause", "remove", "rotate", "erase"])
def test_an_unknown_address_gives_one_line_with_one_like_it(command: Command, people: str, verb: str) -> None:
    command("members", "import", people, "--no-invite")
    options = ["--name", "X"] if verb == "set" else []
    ended = command("members", verb, "anne@example.org", *options)
    assert one_line(ended) == "there is no member 'anne@example.org'; did you mean ann@example.org?"


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["set", "ann@example.org"], 2, "nothing to change; give --name"),
        (["set", "ann@example.org", "--status", "pending"], 2, "--status 'pending' is not accepted"),
        (["pause", "ann@example.org", "--until", "tomorrow"], 2, "--until 'tomorrow' is not a date"),
        (["pause", "ann@example.org", "--until", "2020-01-01"], 1, "--until 2020-01-01 has already begun"),
        (
            ["add", "--email", "ann@example.org", "--zone", "UTC"],
            1,
            "ann@example.org is already on the list (active)",
        ),
        (["add", "--email", "di@example.org"], 2, "--zone is missing"),
        (["export", "no/such/folder/x.csv"], 1, "no/such/folder/x.csv cannot be written: No such file"),
        (["erase", "ann@example.org"], 2, "give --yes to erase without being asked"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    command: Command, people: str, arguments: list[str], code: int, reason: str
) -> None:
    command("members", "import", people, "--no-invite")
    ended = command("members", *arguments)
    assert ended.code == code and one_line(ended).startswith(reason)


def test_an_export_opens_only_for_its_owner_and_comes_back_unchanged(
    command: Command, folder: Path, people: str
) -> None:
    command("members", "import", people, "--no-invite")
    command("members", "set", "ann@example.org", "--name", "=cmd")
    ended = command("members", "export", "out.csv")
    assert ended.code == 0 and ended.err == "2 members written to out.csv\n"
    assert (folder / "out.csv").stat().st_mode & 0o077 == 0
    content = (folder / "out.csv").read_bytes()
    assert content.startswith(b'\xef\xbb\xbf"name","email"') and b'"\'=cmd"' in content
    before = listed(command)
    again = command("members", "import", "out.csv", "--no-invite")
    assert again.code == 0 and again.out.startswith("0 added, 0 filled in, 2 unchanged\n")
    assert listed(command) == before


def test_an_export_may_go_to_standard_output(command: Command, people: str) -> None:
    command("members", "import", people, "--no-invite")
    ended = command("members", "export", "-")
    assert ended.out.splitlines()[1].startswith('"Ann Smith","ann@example.org","GB-SCT"')


def test_whoever_was_erased_is_nowhere_and_stays_so(command: Command, folder: Path, people: str) -> None:
    command("members", "import", people, "--no-invite")
    (folder / people).unlink()
    ended = command("members", "erase", "ANN@example.org", "--yes")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "erased",
        "kept: a keyed hash of the address, so that no import adds the person again",
        "older backups, and mails in other people's mailboxes, still contain the person's data",
    ]
    assert not [path for path in folder.rglob("*") if path.is_file() and b"ann@" in path.read_bytes().lower()]
    (folder / people).write_text(LIST)
    again = command("members", "import", people, "--no-invite")
    assert "not added again: 0 who left, 1 who were erased" in again.out.splitlines()
    assert [one["email"] for one in listed(command)] == ["bo@example.org"]
    assert "already erased" in command("members", "erase", "ann@example.org", "--yes").out
    refused = one_line(command("members", "add", "--email", "ann@example.org", "--zone", "UTC", "--yes"))
    assert refused.startswith("ann@example.org was erased")
    assert (
        command("members", "add", "--email", "ann@example.org", "--zone", "UTC", "--returning", "--yes").code
        == 0
    )


def test_adding_somebody_asks_before_it_invites_them(command: Command, clock: time_machine.Traveller) -> None:
    add = ["members", "add", "--email", "ann@example.org", "--zone", "Europe/London"]
    refused = command(*add)
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
    assert "this mails 1 member now; give --yes" in refused.err
    assert json.loads(command("members", "list", "--json").out) == []
    added = command(*add, "--no-invite")
    assert added.code == 0
    assert "invited" not in added.out
    assert "already" in command(*add).err
    assert "invited now" in command(*add[:3], "bo@example.org", *add[4:], "--yes").out


def test_erasing_says_what_was_removed_and_where_the_name_still_is(
    command: Command, folder: Path, people: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("members", "import", people)
    letter = b"From: Zed <zed@example.org>\nContent-Transfer-Encoding: base64\n\n" + b64encode(
        b"Ask Ann Smith!"
    )
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=BytesIO(letter), isatty=lambda: False))
    assert command("ingest").code == 0
    key = json.loads(command("schedule", "--count", "1", "--json").out)[0]["key"]
    assert command("occurrence", "amend", key, "--speakers", "Ann Smith", "--no-tell").code == 0
    said = command("members", "erase", "ann@example.org", "--yes").out.splitlines()
    assert said[0] == "erased, with 1 returned message naming them"
    assert f"still named in: the topic, speakers, description or materials of {key}" in said
    assert "no message needs review" in command("returns", "list").out
