"""New zone data changes a local time that members were told: operators see it, and members are told."""

import sys
import zoneinfo
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from icalendar import Calendar
from icalendar.timezone import tzp

from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import Series
from scheduler.service import settings_sync
from scheduler.service.alerts import AlertNotifier
from scheduler.service.health import health, unready
from scheduler.service.occurrences import Change, amend, find_unannounced_change, tell_again
from scheduler.store import members
from tests.installation import SERIES, Installation, address_of, open_installation

INVITED = datetime(2026, 11, 10, 12, tzinfo=UTC)
KEY = f"{SERIES.slug}/2026-11-19"
HOME = replace(SERIES, zone="America/Vancouver")
Swap = Callable[[str], None]


@pytest.fixture
def swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Swap]:
    """Give the clocks of Vancouver the rules of another zone, as another version of the zone data does."""
    known = zoneinfo.TZPATH
    number = iter(range(100))

    def clear() -> None:
        ZoneInfo.clear_cache()
        tzp.use_zoneinfo()
        for name, module in list(sys.modules.items()):
            if name.startswith(("scheduler.", "tests.installation")):
                for value in vars(module).values():
                    if hasattr(value, "cache_clear"):
                        value.cache_clear()

    def use(rules: str) -> None:
        folder = tmp_path / f"zones-{next(number)}"
        (folder / "America").mkdir(parents=True)
        data = files("tzdata").joinpath("zoneinfo", *rules.split("/")).read_bytes()
        (folder / "America" / "Vancouver").write_bytes(data)
        zoneinfo.reset_tzpath((str(folder),))
        clear()
        monkeypatch.setattr(settings_sync, "tzdata_version", lambda: folder.name)

    use("America/Los_Angeles")  # an hour back in winter, as Vancouver had it up to 2025b
    yield use
    zoneinfo.reset_tzpath(known)
    clear()


OLD, NEW = "America/Los_Angeles", "America/Phoenix"  # without changes, at UTC-7


async def open_one(tmp_path: Path, series: Series) -> AsyncIterator[Installation]:
    async with open_installation(
        tmp_path, datetime(2026, 11, 1, 12, tzinfo=UTC), series=[series]
    ) as installation:
        await installation.tick()
        await installation.join(
            ("Ann", "Europe/London"),
            ("Kim", "Asia/Kolkata"),
            ("Val", "America/Vancouver"),
            ("Van", "America/Vancouver"),
        )
        await installation.live(INVITED)
        yield installation


@pytest.fixture
async def home(tmp_path: Path, swap: Swap) -> AsyncIterator[Installation]:
    """The home of the meeting is Vancouver; all were invited by the old data, and then the new data was adopted."""
    async for installation in open_one(tmp_path, HOME):
        swap(NEW)
        installation.restart()
        await installation.tick()
        yield installation


@pytest.fixture
async def away(tmp_path: Path, swap: Swap) -> AsyncIterator[Installation]:
    """The home of the meeting is London; two members live in Vancouver."""
    async for installation in open_one(tmp_path, SERIES):
        swap(NEW)
        installation.restart()
        await installation.tick()
        yield installation


async def troubles(installation: Installation) -> list[str]:
    report = await health(installation.database, installation.clock.now())
    return [line for line in report.troubles(installation.clock.now()) if "zone data" in line]


def texts(installation: Installation, name: str) -> list[tuple[str, str]]:
    results = []
    for mail in sorted(installation.mails(), key=lambda mail: parsedate_to_datetime(str(mail["Date"]))):
        if address_of(name) in str(mail["To"]):
            body = mail.get_body(("plain",))
            assert body
            results.append((str(mail["Subject"]), body.get_content()))
    return results


def sequences(mails: list[EmailMessage], name: str) -> list[int]:
    results = []
    for mail in mails:
        for part in mail.walk() if address_of(name) in str(mail["To"]) else ():
            if part.get_content_type() == "text/calendar":
                octets = part.get_payload(decode=True)
                assert isinstance(octets, bytes)
                results.append(int(str(Calendar.from_ical(octets).events[0]["SEQUENCE"])))
    return sorted(results)


async def publish(installation: Installation) -> int:
    published = await tell_again(
        installation.database, installation.by_slug, KEY, now=installation.clock.now()
    )
    await installation.tick()
    return published.recipients


async def test_a_retimed_meeting_is_a_trouble_with_numbers_until_members_are_told(home: Installation) -> None:
    assert await troubles(home) == [
        f"{KEY}: new zone data has changed the local time that 2 members were told (1 in Asia/Kolkata was told "
        f"07:30, now 06:30; 1 in Europe/London was told 02:00, now 01:00); `occurrence tell {KEY}` sends the update"
    ]
    assert await publish(home) == 4
    assert await troubles(home) == []


async def test_the_update_has_a_higher_sequence_and_says_what_was_told(home: Installation) -> None:
    await publish(home)
    subject, body = next(pair for pair in texts(home, "Ann") if "Changed" in pair[0])
    assert "Friday 20 November, 01:00 London" in subject
    assert "has a new time" in body
    assert "We previously told you 02:00. The rules for clocks have changed since then." in body
    assert sequences(home.mails(), "Ann") == [0, 1]
    _, body = next(pair for pair in texts(home, "Val") if "Changed" in pair[0])
    assert (
        "The time has not changed" in body and "We previously told you" not in body and "It was" not in body
    )
    with pytest.raises(Refused, match="nothing to tell"):
        await publish(home)


async def test_the_next_reminder_says_what_was_told_and_once_is_enough(home: Installation) -> None:
    await home.live(datetime(2026, 11, 20, 2, tzinfo=UTC))
    reminders = [body for subject, body in texts(home, "Ann") if "Reminder" in subject]
    assert ["We previously told you 02:00" in body for body in reminders] == [True, False]
    assert not any("We previously told you" in body for _, body in texts(home, "Val"))
    assert await troubles(home) == []


async def test_an_update_that_is_queued_already_is_not_published_again(home: Installation) -> None:
    await tell_again(home.database, home.by_slug, KEY, now=home.clock.now())
    with pytest.raises(Refused, match="already tells members about it"):
        await find_unannounced_change(home.database, home.by_slug, KEY, now=home.clock.now())


async def test_if_only_members_zones_changed_only_those_members_are_told(away: Installation) -> None:
    (trouble,) = await troubles(away)
    assert "2 members were told (2 in America/Vancouver were told 10:00, now 11:00)" in trouble
    before = len(away.mails())
    assert await publish(away) == 2
    assert {str(mail["To"]).split()[0] for mail in away.mails()[before:]} <= {"Val", "Van"}
    assert len(away.mails()) == before + 2
    subject, body = next(pair for pair in texts(away, "Val") if "Changed" in pair[0])
    assert (
        "11:00 Vancouver" in subject
        and "We previously told you 10:00." in body
        and "has not changed" not in body
    )
    assert await troubles(away) == []
    with pytest.raises(Refused, match="nothing to tell"):
        await publish(away)


async def test_if_only_members_zones_changed_their_reminder_says_what_was_told(away: Installation) -> None:
    await away.live(datetime(2026, 11, 19, 18, tzinfo=UTC))
    reminders = [body for subject, body in texts(away, "Van") if "Reminder" in subject]
    assert ["We previously told you 10:00" in body for body in reminders] == [True, False]
    assert not any("We previously told you" in body for _, body in texts(away, "Ann"))


async def test_a_member_invited_later_was_told_nothing_before(home: Installation) -> None:
    await home.join(("Eve", "Europe/London"))
    await home.tick()
    ((_, body),) = texts(home, "Eve")
    assert "We previously told you" not in body
    assert "2 members were told" in (await troubles(home))[0]


async def test_zone_data_that_goes_back_ends_the_trouble(home: Installation, swap: Swap) -> None:
    swap(OLD)
    home.restart()
    await home.tick()
    assert await troubles(home) == []


async def test_a_second_change_counts_from_what_each_was_last_told(away: Installation, swap: Swap) -> None:
    await away.change("Val", zone="Europe/London")
    await publish(away)
    for rules in ("America/Denver", "America/Chicago"):
        away.clock.pass_until(away.clock.now() + timedelta(minutes=1))
        swap(rules)
        away.restart()
        await away.tick()
    (trouble,) = await troubles(away)
    assert "1 in America/Vancouver was told 11:00, now 12:00" in trouble


async def test_members_who_left_are_not_counted_and_those_who_moved_are_told_nothing_about_another_zone(
    away: Installation,
) -> None:
    await away.change("Val", status="left", active_since=None)
    await away.change("Van", zone="America/Toronto")
    assert "1 member was told (1 in America/Vancouver was told 10:00" in (await troubles(away))[0]
    await away.live(datetime(2026, 11, 19, 18, tzinfo=UTC))
    assert not any("We previously told you" in body for _, body in texts(away, "Van"))


async def test_a_cancelled_meeting_is_not_reported(home: Installation) -> None:
    await amend(home.database, home.by_slug, KEY, Change(cancel=True), now=home.clock.now())
    assert await troubles(home) == []


async def test_readiness_and_the_webhook_report_it(home: Installation) -> None:
    notifier = AlertNotifier(
        home.database, home.clock, community="Choir", webhook="", ping="", late=health.__globals__["LATE"]
    )
    await notifier.look()
    assert any("2 members were told" in words for words in await unready(home.database, home.clock.now()))
    await publish(home)
    await notifier.look()
    assert not any("told" in words for words in await unready(home.database, home.clock.now()))


async def test_a_meeting_nobody_was_told_of_or_all_know_is_not_told_again(away: Installation) -> None:
    for key, words in (
        (f"{SERIES.slug}/2026-12-17", "nobody has been told"),
        (f"{SERIES.slug}/2026-12-18", "no meeting"),
    ):
        with pytest.raises(Refused, match=words):
            await find_unannounced_change(away.database, away.by_slug, key, now=away.clock.now())


async def test_a_change_that_was_made_without_telling_can_be_told_later(away: Installation) -> None:
    await amend(
        away.database, away.by_slug, KEY, Change(move_to=datetime(2026, 11, 19, 17)), now=away.clock.now()
    )
    assert await publish(away) == 4
    _, body = next(pair for pair in texts(away, "Ann") if "Changed" in pair[0])
    assert "It was Thursday 19 November 2026, 18:00" in body


async def test_a_stored_zone_that_older_zone_data_does_not_know_stops_neither_ticks_nor_mail(
    tmp_path: Path,
) -> None:
    async with open_installation(tmp_path, datetime(2026, 11, 1, 12, tzinfo=UTC)) as installation:
        await installation.tick()
        await installation.join(("Ann", "Europe/London"), ("Coy", "America/Santiago"))
        installation.clock.pass_until(datetime(2026, 11, 5, 11, 30, tzinfo=UTC))
        await installation.planner.tick()
        async with installation.database.write() as connection:
            for table in ("members", "deliveries"):
                await connection.exec_driver_sql(
                    f"UPDATE {table} SET zone = 'America/Nowhere' WHERE zone = 'America/Santiago'"
                )
        installation.restart()
        await installation.live(INVITED)
        assert {str(mail["To"]).rpartition("<")[2] for mail in installation.mails()} == {
            f"{address_of(name)}>" for name in ("Ann", "Coy")
        }
        (mail,) = [mail for mail in installation.mails() if address_of("Coy") in str(mail["To"])]
        assert "18:00 London" in mail["Subject"], "times are those of the meeting's home"
        async with installation.database.read() as connection:
            assert await members.zones(connection) == {"Europe/London"}
            assert await members.unknown_zones(connection) == {"America/Nowhere": 1}
