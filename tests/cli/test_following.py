"""Which series members follow, on the command line."""

import csv
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import time_machine

from scheduler.bootstrap import settings
from tests.cli import conftest
from tests.cli.conftest import Command, Ended

SERIES = """\
[[series]]
slug = "{slug}"
title = "{title}"
rule = "FREQ=WEEKLY;BYDAY={day}"
start = "15:00"
zone = "UTC"
minutes = 60
first = 2026-01-01
follow = "{follow}"

"""

SETTINGS = (
    SERIES.format(slug="rounds", title="Case Rounds", day="TH", follow="everyone")
    + SERIES.format(slug="journal", title="Journal Club, weekly", day="TU", follow="choice")
    + SERIES.format(slug="ethics-table", title="Ethics Table", day="FR", follow="everyone")
    + """\
[[policies]]
slug = "invitation"
kind = "invitation"
lead = "14d"
"""
)

# The clock stands at 2026-11-10 12:00 UTC.
NEXT = {
    "rounds": "rounds/2026-11-12",
    "journal": "journal/2026-11-10",
    "ethics-table": "ethics-table/2026-11-13",
}


@pytest.fixture
def run(command: Command, folder: Path, clock: time_machine.Traveller) -> Command:
    """Run a command with three series, one of them by choice."""
    (folder / "three.toml").write_text(SETTINGS)
    return partial(command, "--config", "three.toml")


@pytest.fixture
def add(run: Command) -> Callable[..., Ended]:
    def one(name: str, *options: str) -> Ended:
        return run(
            "members",
            "add",
            "--email",
            f"{name}@example.org",
            "--zone",
            "Europe/London",
            *options,
            "--no-invite",
        )

    return one


def follows(run: Command) -> dict[str, list[str]]:
    """The series that each member follows, by the part of their address before the @."""
    members = json.loads(run("members", "list", "--json").out)
    return {one["email"].partition("@")[0]: one["follows"] for one in members}


def error(ended: Ended) -> str:
    assert len(ended.err.splitlines()) == 1, ended
    return ended.err.removeprefix("third-thursday: ").strip()


def test_a_member_added_before_any_serve_is_asked_about_only_what_they_follow(run: Command) -> None:
    add = ["members", "add", "--email", "ann@example.org", "--zone", "Europe/London"]
    refused = run(*add, "--follow", "journal", "--unfollow", "rounds")
    assert refused.code == 2 and "this mails 1 member now; give --yes" in refused.err
    added = run(*add, "--follow", "journal", "--unfollow", "rounds", "--yes")
    assert added.out.splitlines() == [
        "ann@example.org: added, Europe/London, en-GB",
        "ann@example.org: follows journal, ethics-table",
        f"ann@example.org: invited now to {NEXT['journal']}",
        f"ann@example.org: invited now to {NEXT['ethics-table']}",
    ]
    assert follows(run) == {"ann": ["journal", "ethics-table"]}


def test_somebody_who_follows_nothing_is_added_without_a_question(run: Command) -> None:
    ended = run(
        *("members", "add", "--email", "ann@example.org", "--zone", "UTC"),
        *("--unfollow", "rounds", "--unfollow", "ethics-table"),
    )
    assert ended.code == 0 and ended.out.endswith("ann@example.org: follows none\n")
    assert follows(run) == {"ann": []}


def test_the_meetings_named_are_those_the_new_member_is_invited_to(
    run: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, serve_once: Callable[[], None]
) -> None:
    run("members", "add", "--email", "ann@example.org", "--zone", "UTC", "--follow", "journal", "--yes")
    monkeypatch.setattr(
        conftest,
        "load_settings",
        lambda _, environment: settings.load_settings(folder / "three.toml", environment),
    )
    serve_once()
    sent = json.loads(run("deliveries", "--json").out)
    assert sorted(row["occurrence"] for row in sent if row["state"] == "sent") == sorted(NEXT.values())


def test_set_shows_what_changed_and_keeps_a_choice_that_changes_nothing_yet(
    run: Command, add: Callable[..., Ended], folder: Path
) -> None:
    add("ann")
    change = ["members", "set", "ann@example.org"]
    assert run(*change, "--follow", "journal", "--unfollow", "rounds").out == (
        "ann@example.org: follows rounds, ethics-table → journal, ethics-table\n"
    )
    again = run(*change, "--follow", "journal", "--unfollow", "rounds")
    assert again.code == 0 and again.out == "ann@example.org: already so; nothing was changed\n"
    kept = run(*change, "--follow", "ethics-table")
    assert kept.out == "ann@example.org: already follows ethics-table; now stored as their own choice\n"
    assert run(*change, "--follow", "ethics-table").out.endswith("nothing was changed\n")
    # An explicit choice outlives the default.
    (folder / "three.toml").write_text(SETTINGS.replace('"everyone"', '"choice"'))
    assert follows(run) == {"ann": ["journal", "ethics-table"]}
    assert run(*change, "--unfollow", "journal", "--unfollow", "ethics-table").out == (
        "ann@example.org: follows journal, ethics-table → none\n"
    )
    mixed = run(*change, "--name", "Ann", "--follow", "journal").out.splitlines()
    assert mixed == ["ann@example.org: name none → Ann", "ann@example.org: follows none → journal"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--follow", "jurnal"], "--follow 'jurnal': there is no such series; did you mean journal?"),
        (
            ["--unfollow", "ethics"],
            "--unfollow 'ethics': there is no such series; did you mean ethics-table?",
        ),
        (
            ["--follow", "xyz"],
            "--follow 'xyz': there is no such series; accepted: rounds, journal, ethics-table",
        ),
        (
            ["--follow", "journal", "--follow", "rounds", "--unfollow", "rounds"],
            "--follow rounds and --unfollow rounds contradict each other; give one of them",
        ),
        (
            ["--follow", ""],
            "--follow '': there is no such series; accepted: rounds, journal, ethics-table",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["add", "set"])
def test_a_slug_that_cannot_be_meant_gives_one_line_and_changes_nothing(
    run: Command, add: Callable[..., Ended], verb: str, options: list[str], reason: str
) -> None:
    add("ann")
    who = ["--email", "bo@example.org", "--zone", "UTC"] if verb == "add" else ["ann@example.org"]
    ended = run("members", verb, *who, *options, "--name", "Changed")
    assert (ended.code, error(ended)) == (2, reason)
    assert follows(run) == {"ann": ["rounds", "ethics-table"]}
    assert "Changed" not in run("members", "list").out


def test_list_and_show_say_what_members_follow(run: Command, add: Callable[..., Ended]) -> None:
    add("ann", "--follow", "journal")
    add("bo", "--unfollow", "rounds", "--unfollow", "ethics-table")
    heading, ann, bo = (
        next(line for line in run("members", "list").out.splitlines() if word in line)
        for word in ("Follows", "ann@", "bo@")
    )
    assert heading.rstrip().endswith("Follows")
    assert ann.rstrip().endswith("rounds, journal, ethics-table") and bo.rstrip().endswith("none")
    shown = run("members", "show", "ann@example.org").out
    assert "follows     rounds, journal, ethics-table\n" in shown
    # The search is for people, not for series.
    assert json.loads(run("members", "list", "--json", "--search", "journal").out) == []


def test_with_one_series_nobody_reads_of_choices(command: Command, folder: Path) -> None:
    added = command("members", "add", "--email", "ann@example.org", "--zone", "UTC", "--no-invite")
    listed, shown = command("members", "list"), command("members", "show", "ann@example.org")
    exported = command("members", "export", "-")
    for ended in (added, listed, shown, exported):
        assert ended.code == 0 and "ollow" not in ended.out and "series" not in ended.out
    assert json.loads(command("members", "list", "--json").out)[0]["follows"] == ["conversation-for-kindness"]


PEOPLE = """\
email,name,timezone,Series
ann@example.org,Ann,Europe/London,journal;rounds
bo@example.org,Bo,Europe/London,"JOURNAL, ethics-table"
cy@example.org,Cy,Europe/London,
di@example.org,Di,Europe/London,Journal club weekly
ed@example.org,Ed,Europe/London,none
fay@example.org,Fay,Europe/London,journal;pottery
"""


def test_an_import_makes_choices_of_what_a_row_names_and_reports_an_unknown_series(
    run: Command, folder: Path
) -> None:
    (folder / "people.csv").write_text(PEOPLE)
    ended = run("members", "import", "people.csv", "--no-invite")
    assert ended.code == 1
    assert ended.err.splitlines()[0] == (
        "people.csv: line 7, column \"Series\": 'pottery': there is no such series; "
        "accepted: rounds, journal, ethics-table"
    )
    assert "columns ignored" not in ended.out
    expected = {
        "ann": ["rounds", "journal"],
        "bo": ["journal", "ethics-table"],
        "cy": ["rounds", "ethics-table"],
        "di": ["journal"],
        "ed": [],
    }
    assert follows(run) == expected
    # An empty cell made no choice, every other cell did.
    (folder / "three.toml").write_text(SETTINGS.replace('"everyone"', '"choice"'))
    assert follows(run) == {**expected, "cy": []}


def test_an_import_fills_only_series_of_which_a_member_has_said_nothing(
    run: Command, add: Callable[..., Ended], folder: Path
) -> None:
    add("ann", "--unfollow", "journal", "--follow", "ethics-table")
    add("bo")
    (folder / "people.csv").write_text(
        "email,timezone,follows\nann@example.org,Europe/London,journal\nbo@example.org,Europe/London,journal\n"
    )
    first = run("members", "import", "people.csv", "--follow", "ethics-table", "--yes")
    assert first.out.startswith("0 added, 2 filled in, 0 unchanged\n")
    # --follow is for new members.
    assert follows(run) == {"ann": ["ethics-table"], "bo": ["journal"]}
    assert run("members", "import", "people.csv").out.startswith("0 added, 0 filled in, 2 unchanged\n")
    # Who leaves one again is not brought back by the file.
    run("members", "set", "bo@example.org", "--unfollow", "journal")
    assert run("members", "import", "people.csv").out.startswith("0 added, 0 filled in, 2 unchanged\n")
    assert follows(run)["bo"] == []


def test_new_members_of_an_import_may_follow_a_series_beside_what_their_rows_say(
    run: Command, folder: Path
) -> None:
    (folder / "people.csv").write_text(
        "email,timezone,series\nann@example.org,UTC,\nbo@example.org,UTC,rounds\ncy@example.org,UTC,none\n"
    )
    unknown = run("members", "import", "people.csv", "--follow", "jornal", "--no-invite")
    assert (unknown.code, error(unknown)) == (
        2,
        "--follow 'jornal': there is no such series; did you mean journal?",
    )
    assert run("members", "import", "people.csv", "--follow", "journal", "--no-invite").code == 0
    assert follows(run) == {
        "ann": ["rounds", "journal", "ethics-table"],
        "bo": ["rounds", "journal"],
        "cy": ["journal"],
    }


def test_the_preview_counts_only_members_who_follow_a_series_with_an_open_invitation(
    run: Command, folder: Path
) -> None:
    # Of the journal club alone there is an invitation.
    (folder / "three.toml").write_text(SETTINGS + 'series = ["journal"]\n')
    (folder / "people.csv").write_text(PEOPLE.rpartition("fay")[0])
    refused = run("members", "import", "people.csv")
    assert refused.code == 2 and "3 members would be invited now" in refused.err
    refused = run("members", "import", "people.csv", "--follow", "journal")
    assert refused.code == 2 and "5 members would be invited now" in refused.err
    assert run("members", "import", "people.csv", "--dry-run").out.splitlines()[-2] == "invited now: 3"
    assert follows(run) == {}
    assert "invited now: 3" in run("members", "import", "people.csv", "--yes").out


def test_an_import_says_how_many_mails_go_out_and_not_only_to_how_many_members(
    run: Command, folder: Path
) -> None:
    (folder / "people.csv").write_text(PEOPLE.rpartition("fay")[0])
    refused = run("members", "import", "people.csv")
    assert refused.code == 2 and "4 members would be invited now, with 7 mails; give --yes" in refused.err
    assert "invited now: 4, with 7 mails\n" in run("members", "import", "people.csv", "--yes").out


def test_importing_an_export_changes_nothing_here_and_gives_the_same_elsewhere(
    run: Command, add: Callable[..., Ended], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("ann", "--follow", "journal")
    add("bo", "--unfollow", "rounds", "--unfollow", "ethics-table")
    add("cy")
    before = follows(run)
    assert run("members", "export", "out.csv").code == 0
    text = (folder / "out.csv").read_text(encoding="utf-8-sig")
    assert [row["series"] for row in csv.DictReader(io.StringIO(text))] == [
        "rounds;journal;ethics-table",
        "none",
        "rounds;ethics-table",
    ]
    again = run("members", "import", "out.csv")
    assert again.out.startswith("0 added, 0 filled in, 3 unchanged\n") and "series" not in again.out
    (folder / "three.toml").write_text(SETTINGS.replace('"everyone"', '"choice"'))
    # What nobody chose was not turned into a choice.
    assert follows(run) == {"ann": ["journal"], "bo": [], "cy": []}
    (folder / "three.toml").write_text(SETTINGS)
    monkeypatch.setenv("THIRD_THURSDAY_DATABASE__URL", "sqlite:///elsewhere.sqlite")
    assert run("members", "import", "out.csv", "--no-invite").code == 0
    assert follows(run) == before


def test_erasing_says_how_many_choices_went_with_the_member(run: Command, add: Callable[..., Ended]) -> None:
    add("ann", "--follow", "journal", "--unfollow", "rounds")
    assert run("members", "erase", "ann@example.org", "--yes").out.startswith(
        "erased, with 2 choices of series\n"
    )
    add("ann", "--returning")
    assert follows(run) == {"ann": ["rounds", "ethics-table"]}


@pytest.mark.parametrize(
    ("audience", "names"),
    [
        ("series:journal", {"ann", "bo"}),
        ("series:rounds", {"ann", "cy", "di"}),
        ("series:journal,except:series:rounds", {"bo"}),
        ("all,except:series:journal,except:convenors", {"di"}),
        ("all,except:list:some.txt", {"ann", "cy"}),
        ("series:rounds,except:list:some.txt,except:country:NZ", {"ann"}),
        ("except:country:NZ,all", {"ann", "bo", "di"}),
        ("joined-since:2026-11-10", {"ann", "bo", "cy", "di"}),
        ("joined-since:2026-11-11", set()),
        (f"answered:{NEXT['rounds']}", set()),
        (f"declined:{NEXT['rounds']},series:journal", {"ann", "bo"}),
        (f"all,except:unanswered:{NEXT['rounds']}", set()),
    ],
)
def test_an_audience_of_followers_without_the_exceptions(
    run: Command, add: Callable[..., Ended], folder: Path, audience: str, names: set[str]
) -> None:
    add("ann", "--follow", "journal")
    add("bo", "--follow", "journal", "--unfollow", "rounds")
    run(
        "members",
        "add",
        "--email",
        "cy@example.org",
        "--zone",
        "Pacific/Auckland",
        "--convenor",
        "--no-invite",
    )
    add("di")
    (folder / "some.txt").write_text("Bo@example.org\ndi@example.org\n")
    (folder / "body.md").write_text("Hello.")
    send = ["notice", "send", "--subject", "Hello", "--body", "body.md", "--audience", audience]
    plural = "" if len(names) == 1 else "s"
    assert run(*send, "--dry-run").out == f"would go to {len(names)} member{plural}; nothing was sent\n"
    if names:
        assert run(*send, "--yes").code == 0
        rows = json.loads(run("deliveries", "--json").out)
        assert {row["email"].partition("@")[0] for row in rows} == names


@pytest.mark.parametrize(
    ("audience", "code", "reason"),
    [
        (
            "series:pottery",
            2,
            "audience 'series:pottery': there is no such series; accepted: rounds, journal",
        ),
        ("all,except:series:pottery", 2, "audience 'except:series:pottery': there is no such series"),
        ("except:all", 2, "only has exceptions"),
        ("joined-since:yesterday", 2, "'yesterday' is not a date"),
        ("coming:rounds/2026-11-13", 1, "rounds/2026-11-13"),
        ("answered:pottery/2026-11-12", 1, "pottery/2026-11-12"),
        ("all,except:declined:journal/2026-11-18", 1, "journal/2026-11-18"),
    ],
)
def test_a_term_that_means_nobody_there_is_names_itself(
    run: Command, add: Callable[..., Ended], folder: Path, audience: str, code: int, reason: str
) -> None:
    add("ann")
    (folder / "body.md").write_text("Hello.")
    ended = run(
        "notice", "send", "--subject", "Hello", "--body", "body.md", "--audience", audience, "--dry-run"
    )
    assert ended.code == code and reason in error(ended)


def test_the_doctor_names_a_series_by_choice_that_nobody_follows(
    run: Command, add: Callable[..., Ended]
) -> None:
    add("ann")
    assert "nobody follows journal" in run("doctor").out
    run("members", "set", "ann@example.org", "--follow", "journal")
    assert "nobody follows" not in run("doctor").out
    # Somebody who has left gets no mail about it.
    run("members", "remove", "ann@example.org")
    assert "nobody follows journal" in run("doctor").out
