"""`schedule` and `feed`."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from icalendar import Calendar

from scheduler.cli import main
from scheduler.domain.zone import zone_tab_zones

SERIES = "conversation-for-kindness"
FIELDS = {"key", "series", "starts_utc", "ends_utc", "status", "topic", "local"}
LOCAL_FIELDS = {"starts", "ends", "weekday", "day_shift", "shift_minutes", "note"}


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: bytes
    stderr: bytes


Command = Callable[..., Done]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Command:
    """Return a function that runs the command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["third-thursday", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsysbinary.readouterr()
        return Done(int(ended.value.code or 0), shown.out, shown.err)

    return run


def schedule(command: Command, *arguments: str) -> list[dict[str, Any]]:
    done = command("schedule", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def told_by_date(program: str, zone: str, instants: list[datetime]) -> list[tuple[str, str]]:
    """Return local time and English weekday of instants, from GNU date with the packaged zone files."""
    done = subprocess.run(
        [program, "-f", "-", "+%Y-%m-%dT%H:%M:%S%:z %A"],
        capture_output=True,
        text=True,
        check=True,
        input="\n".join(f"@{instant.timestamp():.0f}" for instant in instants),
        env={"TZDIR": str(files("tzdata") / "zoneinfo"), "TZ": zone, "LC_ALL": "C"},
    )
    return [(time, day) for time, _, day in (line.partition(" ") for line in done.stdout.splitlines())]


@pytest.mark.proof
@pytest.mark.short
def test_ten_years_in_every_zone_agree_with_gnu_date(command: Command, program: Callable[[str], str]) -> None:
    date = program("date")
    if b"GNU" not in subprocess.run([date, "--version"], capture_output=True, check=False).stdout:
        pytest.skip("needs GNU date")
    zones = zone_tab_zones()
    asked = [part for zone in zones for part in ("--zone", zone)]
    rows = schedule(command, "--from", "2026-11-01", "--count", "120", *asked)
    assert len(rows) == 120
    starts = [datetime.fromisoformat(row["starts_utc"]) for row in rows]
    ends = [datetime.fromisoformat(row["ends_utc"]) for row in rows]
    with ThreadPoolExecutor(max_workers=2) as pool:
        told = dict(
            zip(zones, pool.map(lambda zone: told_by_date(date, zone, starts + ends), zones), strict=True)
        )
    for zone in zones:
        ours = [(row["local"][zone]["starts"], row["local"][zone]["weekday"]) for row in rows]
        assert ours == told[zone][:120]
        assert [row["local"][zone]["ends"] for row in rows] == [time for time, _ in told[zone][120:]]
        for row in rows:
            here, home = row["local"][zone]["starts"], row["local"]["Europe/London"]["starts"]
            days = datetime.fromisoformat(here).date() - datetime.fromisoformat(home).date()
            assert row["local"][zone]["day_shift"] == days.days


def test_the_document_has_the_fields_promised_and_zones_as_they_were_asked_for(command: Command) -> None:
    rows = schedule(command, "--from", "2026-11-19", "--zone", "Asia/Calcutta", "--zone", "UTC")
    assert len(rows) == 12
    assert [row["starts_utc"] for row in rows] == sorted(row["starts_utc"] for row in rows)
    assert rows[0]["key"] == f"{SERIES}/2026-11-19"
    assert set(rows[0]) == FIELDS
    assert list(rows[0]["local"]) == ["Asia/Calcutta", "UTC"]
    assert set(rows[0]["local"]["UTC"]) == LOCAL_FIELDS
    assert rows[0]["local"]["Asia/Calcutta"]["starts"] == "2026-11-19T23:30:00+05:30"


def test_without_a_zone_the_home_zone_is_shown(command: Command) -> None:
    assert list(schedule(command, "--count", "1")[0]["local"]) == ["Europe/London"]


def test_people_get_a_table_with_the_home_hour_theirs_and_the_notes(command: Command) -> None:
    shown = command("schedule", "--from", "2027-04-15", "--count", "1", "--zone", "Pacific/Auckland")
    words = " ".join(shown.stdout.decode().split())
    assert f"Thu 15 Apr 2027 18:00 London (UTC+1) {SERIES}/2027-04-15" in words
    assert "Fri 16 Apr 2027 05:00 Auckland (UTC+12) Friday for you; 05:00 this month" in words


def test_a_cancelled_and_a_moved_meeting_are_shown_as_such(command: Command) -> None:
    for key, *change in (
        ("2099-01-15", "--cancel"),
        ("2099-02-19", "--move-to", "2099-02-26 19:00", "--topic", "Listening [b]"),
    ):
        done = command("occurrence", "amend", f"{SERIES}/{key}", *change, "--no-tell")
        assert done.returncode == 0, done.stderr
    shown = command("schedule", "--from", "2099-01-01", "--count", "2").stdout.decode()
    assert "CANCELLED" in shown and "MOVED" in shown and "Listening [b]" in shown
    rows = schedule(command, "--from", "2099-01-01", "--count", "2")
    assert [(row["status"], row["topic"]) for row in rows] == [("cancelled", ""), ("moved", "Listening [b]")]
    assert rows[1]["starts_utc"] == "2099-02-26T19:00:00+00:00"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["schedule", "--count", "0"], "--count 0"),
        (["schedule", "--count", "99999"], "--count 99999"),
        (["schedule", "--from", "9999-12-31"], "--from 9999-12-31"),
        (["schedule", "--from", ""], "--from ''"),
        (["schedule", "--zone", "Europe/Lodnon"], "Europe/London"),
        (["schedule", "--zone", ""], "--zone ''"),
        (["feed", "--series", "other"], SERIES),
    ],
)
def test_a_wrong_option_is_wrong_usage_told_in_one_line(
    command: Command, arguments: list[str], words: str
) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1 and words in lines[0]


def test_a_date_before_the_first_meeting_begins_with_it(command: Command) -> None:
    assert schedule(command, "--from", "0001-01-01", "--count", "1")[0]["key"] == f"{SERIES}/2020-07-16"


def test_the_feed_goes_to_standard_output_or_whole_into_a_file(command: Command, tmp_path: Path) -> None:
    printed = command("feed")
    assert printed.returncode == 0
    assert len(Calendar.from_ical(printed.stdout).events) >= 36
    (tmp_path / "calendar.ics").write_text("an older one")
    written = command("feed", "--series", SERIES, "--output", "calendar.ics")
    assert (written.returncode, written.stdout) == (0, b"")
    content = (tmp_path / "calendar.ics").read_bytes()
    assert content.startswith(b"BEGIN:VCALENDAR\r\n")
    assert f"/calendar/{SERIES}.ics".encode() in content.replace(b"\r\n ", b"")
    assert not list(tmp_path.glob(".calendar*"))


@pytest.mark.parametrize("target", ["missing/calendar.ics", "."])
def test_a_file_that_cannot_be_written_fails_in_one_line(command: Command, target: str) -> None:
    done = command("feed", "--output", target)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert b"cannot be written" in done.stderr


def test_the_feed_can_go_into_a_pipe(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scheduler", "feed", "--output", "/dev/stdout"],
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith(b"BEGIN:VCALENDAR")
