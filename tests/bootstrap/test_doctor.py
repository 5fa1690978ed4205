"""What `doctor` reports."""

import stat
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import time_machine

from scheduler.bootstrap import doctor, settings_sources
from scheduler.bootstrap.dns_check import Finding, Level
from scheduler.bootstrap.doctor import examine
from scheduler.bootstrap.serve import make_planner
from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.wiring import open_parts
from scheduler.domain.errors import Problem
from scheduler.service.occurrences import Change, amend
from scheduler.store import members, notices, occurrences
from tests.installation import SERIES
from tests.languages import catalogues_in
from tests.store.test_members import row

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
START = datetime(2026, 11, 19, 18, tzinfo=UTC)
KEY = f"{SERIES.slug}/2026-11-19"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with time_machine.travel(NOW, tick=False):
        yield tmp_path


async def examined(**environment: str) -> tuple[bool, list[Finding]]:
    findings: list[Finding] = []
    wrong = await examine(load_settings(None, environment), findings.append)
    assert wrong == any(finding.level is Level.WRONG for finding in findings)
    return wrong, findings


def texts(findings: list[Finding], level: Level) -> str:
    return "\n".join(finding.text for finding in findings if finding.level is level)


async def test_a_fresh_installation_is_fine_and_learns_what_is_missing() -> None:
    wrong, findings = await examined()
    assert not wrong
    assert "from the tzdata package" in texts(findings, Level.FINE)
    notes = texts(findings, Level.NOTE)
    for words in ("goes to a folder", "this machine only", "no `serve` is running"):
        assert words in notes


async def test_a_template_that_cannot_be_read_is_wrong(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "templates: all mail templates can be read" in texts((await examined())[1], Level.FINE)
    (folder / "subject.txt").write_text("{{ when.line", encoding="utf-8")
    monkeypatch.setattr(doctor, "bundled", lambda _name: folder)
    wrong, findings = await examined()
    assert wrong
    assert f"template: {folder / 'subject.txt'}, line 1: " in texts(findings, Level.WRONG)


async def test_a_broken_catalogue_is_named(folder: Path) -> None:
    path = folder / "sv" / "LC_MESSAGES" / "messages.mo"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"broken")
    with catalogues_in(folder):
        wrong, findings = await examined(THIRD_THURSDAY_COMMUNITY__LANGUAGE="da")
    assert wrong
    assert f"language: sv: {path} cannot be read" in texts(findings, Level.WRONG)
    assert "language: da, of [community] language, has no catalogue; English is used instead" in texts(
        findings, Level.WRONG
    )


async def test_a_page_that_shows_another_hour_than_the_mails_is_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "pages: they show the same times as the emails" in texts((await examined())[1], Level.FINE)
    (folder / "_when.html").write_text(
        '{% macro hour(when) %}<time datetime="{{ when.ends_iso }}">{% endmacro %}', encoding="utf-8"
    )
    monkeypatch.setattr(
        doctor, "bundled", lambda name: folder if name == "templates/web" else settings_sources.bundled(name)
    )
    wrong, findings = await examined()
    assert wrong
    problem = (
        "does not show the start of conversation-for-kindness/2020-07-16 in Asia/Kolkata, 2020-07-16 22:30"
    )
    assert problem in texts(findings, Level.WRONG)


async def test_zone_data_found_before_the_package_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoneinfo, "TZPATH", ("/usr/share/zoneinfo",))
    wrong, findings = await examined()
    assert wrong
    assert "/usr/share/zoneinfo is used instead of the tzdata package" in texts(findings, Level.WRONG)


async def test_a_key_that_other_users_can_read_is_wrong(folder: Path) -> None:
    await examined()
    secret = folder / "var" / "secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    secret.chmod(0o644)
    _, findings = await examined()
    assert "chmod 600" in texts(findings, Level.WRONG)


async def test_the_key_is_created_once_and_a_broken_one_is_never_replaced(folder: Path) -> None:
    settings = load_settings(None, {})
    async with open_parts(settings) as first, open_parts(settings) as second:
        assert first.keys.name("message", "x") == second.keys.name("message", "x")
    (folder / "var" / "secret").write_text("not hexadecimal")
    with pytest.raises(Problem, match="restore it from a backup"):
        async with open_parts(settings):
            pass
    assert (folder / "var" / "secret").read_text() == "not hexadecimal"


async def test_a_changed_domain_or_series_is_wrong() -> None:
    async with open_parts(load_settings(None, {})) as parts:
        await make_planner(parts).tick()
    wrong, findings = await examined(THIRD_THURSDAY_COMMUNITY__DOMAIN="other.example.org")
    assert wrong
    assert "set it back to 'conversation.example.org'" in texts(findings, Level.WRONG)


async def test_members_whose_stated_time_new_zone_data_has_changed_are_counted() -> None:
    settings = load_settings(None, {})
    async with open_parts(settings) as parts:
        by_slug = {series.slug: series for series in parts.series}
        await amend(parts.database, by_slug, KEY, Change(topic="Hope"), now=NOW)
        async with parts.database.write() as connection:
            await members.add(connection, [row("ann@example.org", zone="America/Vancouver")])
            await notices.note_local_start(
                connection, KEY, "America/Vancouver", starts=START, local_start="2026-11-19T10:00"
            )
            await notices.note_local_start(
                connection, KEY, "Europe/London", starts=START, local_start="2026-11-19T18:00"
            )
            assert await occurrences.occurrence_by_key(connection, KEY)
    wrong, findings = await examined()
    assert wrong
    warnings = texts(findings, Level.WRONG)
    assert "members in America/Vancouver were told 10:00, but new zone data says 11:00" in warnings
    assert "Europe/London" not in warnings
    assert "members: 1 active" in texts(findings, Level.FINE)


async def test_members_in_a_zone_that_the_zone_data_does_not_know_are_counted() -> None:
    async with open_parts(load_settings(None, {})) as parts, parts.database.write() as connection:
        await members.add(connection, [row("ann@example.org", zone="America/Nowhere")])
    wrong, findings = await examined()
    assert wrong
    assert "1 member lives in America/Nowhere, which IANA" in texts(findings, Level.WRONG)


async def test_doctor_warns_of_an_outbox_that_shows_everybodys_links() -> None:
    assert "outbox" not in texts((await examined())[1], Level.NOTE)
    shown = {"THIRD_THURSDAY_WEB__OUTBOX": "true"}
    wrong, findings = await examined(**shown)
    assert not wrong and "/outbox shows every member's personal links" in texts(findings, Level.NOTE)
    wrong, findings = await examined(**shown, THIRD_THURSDAY_WEB__BASE_URL="https://meet.example.org")
    assert wrong and "/outbox shows every member's personal links" in texts(findings, Level.WRONG)


async def test_doctor_reports_the_allowed_open_files_of_which_half_stay_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "open files are allowed, 1000 connections" in texts((await examined())[1], Level.FINE)
    monkeypatch.setattr(doctor, "raise_descriptor_limit", lambda: 1024)
    notes = texts((await examined())[1], Level.NOTE)
    assert "1024 open files are allowed, 512 connections at once, not the 1000" in notes


@pytest.mark.parametrize("place", ["0.0.0.0:9464", "[::]:9464", "metrics.example.org:9464"])
async def test_doctor_reports_metrics_that_others_can_reach(place: str) -> None:
    _, findings = await examined(THIRD_THURSDAY_WATCH__METRICS_LISTEN=place)
    assert f"anyone who can reach {place} can read /metrics" in texts(findings, Level.NOTE)
