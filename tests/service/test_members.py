"""The list by a convenor's hand."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from scheduler.domain.errors import Refused
from scheduler.service.erasure import erase_member
from scheduler.service.members import (
    Changed,
    Details,
    add_member,
    change_member,
    find_member,
    pause_member,
    remove_member,
    rotate_member,
)
from scheduler.store.database import Database
from scheduler.store.members import Member
from tests.service.people import KEYS, NOW, change_mark, everybody, one, row, take

ANN = "ann@example.org"
LATER = NOW + timedelta(days=1)


async def add(database: Database, *, returning: bool = False, **details: Any) -> Member:
    return await add_member(
        database,
        Details(**{"address": ANN, "zone": "Europe/London", **details}),
        keys=KEYS,
        locale="en-IE",
        now=NOW,
        returning=returning,
    )


async def change(database: Database, who: str = ANN, *, now: datetime = LATER, **details: Any) -> Changed:
    return await change_member(database, who, Details(**details), keys=KEYS, now=now)


async def test_a_member_added_by_hand_is_active_at_once(database: Database) -> None:
    await add(
        database, name=" Ann ", address="Ann@Example.ORG", country="Scotland", locale="en_gb", convenor=True
    )
    ann = await one(database, "Ann@example.org")
    assert (ann.name, ann.country, ann.locale, ann.convenor) == ("Ann", "GB-SCT", "en-GB", True)
    assert (ann.status, ann.active_since, ann.zone_source) == ("active", NOW, "given")


async def test_without_a_locale_the_communitys_holds(database: Database) -> None:
    assert (await add(database)).locale == "en-IE"


async def test_the_zone_of_a_country_with_one_above_the_others_is_assumed(database: Database) -> None:
    ann = await add(database, zone=None, country="Germany")
    assert (ann.zone, ann.zone_source) == ("Europe/Berlin", "assumed")


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"address": None}, "--email is missing"),
        ({"address": "ann"}, "--email 'ann' is not an email address"),
        ({"name": "Ann\nBcc: x"}, "--name: character U\\+000A"),
        ({"name": "A" * 201}, "--name: 201 characters; at most 200"),
        ({"country": "Nowhere"}, "--country 'Nowhere' is not known"),
        ({"zone": "Europe/Lodnon"}, "--zone 'Europe/Lodnon' .*Europe/London"),
        ({"zone": None}, "--zone is missing"),
        ({"zone": None, "country": "USA"}, "United States has 29 time zones; give --zone too"),
        ({"locale": "xx-YY"}, "--locale 'xx-YY' is not known"),
        ({"status": "pending"}, "--status 'pending' is not accepted; give one of active, paused, left"),
    ],
)
async def test_what_is_wrong_is_named(database: Database, details: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        await add(database, **details)
    assert not await everybody(database)


async def test_zone_names_are_read_as_an_import_reads_them(database: Database) -> None:
    assert (await add(database, zone="GMT Standard Time")).zone == "Europe/London"
    assert Details(zone="Pacific Standard Time", country="Canada").zone == "America/Vancouver"
    with pytest.raises(Refused, match="Windows has no such zone in United Kingdom"):
        Details(zone="Greenwich Standard Time", country="UK")


async def test_who_is_on_the_list_is_not_added_again(database: Database) -> None:
    await add(database)
    await remove_member(database, ANN, now=NOW)
    with pytest.raises(Refused, match=r"ann@example.org is already on the list \(left\)"):
        await add(database, address="ANN@example.org")
    assert [member.status for member in await everybody(database)] == ["left"]


async def outcomes(*acts: Awaitable[object]) -> list[str]:
    """What became of acts at the same time: the refusals, and `done` for each of the others."""
    ended = await asyncio.gather(*acts, return_exceptions=True)
    assert all(isinstance(one, Refused) or not isinstance(one, BaseException) for one in ended)
    return sorted(str(one) if isinstance(one, Refused) else "done" for one in ended)


async def test_the_same_address_added_twice_at_once_is_added_once(database: Database) -> None:
    ended = await outcomes(*(add(database) for _ in range(4)))
    assert len(await everybody(database)) == 1 and ended.count("done") == 1
    assert all(
        "ann@example.org" in reason and "on the list" in reason for reason in ended if reason != "done"
    )


async def test_two_members_who_take_the_same_new_address_at_once_do_not_both_get_it(
    database: Database,
) -> None:
    await take(database, [row("bo@example.org"), row("cy@example.org")])
    ended = await outcomes(*(change(database, f"{name}@example.org", address=ANN) for name in ("bo", "cy")))
    assert ended.count("done") == 1
    assert [member.address for member in await everybody(database)].count(ANN) == 1


async def test_who_was_erased_is_added_only_when_they_asked_to_come_back(database: Database) -> None:
    await add(database)
    await erase_member(database, ANN, keys=KEYS, outbox=None, now=NOW)
    with pytest.raises(Refused, match=r"was erased; .*--returning"):
        await add(database)
    await add(database, returning=True)
    await remove_member(database, ANN, now=NOW)
    assert [member.status for member in await everybody(database)] == ["left"]


@pytest.mark.both_databases
async def test_only_what_is_said_changes(database: Database) -> None:
    before = await add(database, name="Ann", country="GB")
    done = await change(database, name="Anne", convenor=True)
    assert done.before == before and done.changed
    after = await one(database, ANN)
    assert after == done.after
    assert (after.name, after.convenor, after.country, after.active_since) == ("Anne", True, "GB", NOW)


async def test_what_is_so_already_wakes_nobody(database: Database) -> None:
    await add(database, name="Ann")
    mark = await change_mark(database)
    assert not (
        await change(database, name="Ann", zone="Europe/London", status="active", convenor=False)
    ).changed
    assert await change_mark(database) == mark


async def test_every_change_is_noticed_by_a_running_service(database: Database) -> None:
    marks = [await change_mark(database)]
    await add(database)
    for act in (
        change(database, name="Anne"),
        pause_member(database, ANN, until=None, now=NOW),
        change(database, status="active"),
        rotate_member(database, ANN, now=NOW),
        remove_member(database, ANN, now=NOW),
        erase_member(database, ANN, keys=KEYS, outbox=None, now=NOW),
    ):
        marks.append(await change_mark(database))
        await act
    marks.append(await change_mark(database))
    assert marks == sorted(set(marks))


@pytest.mark.both_databases
async def test_a_zone_set_by_hand_is_given(database: Database) -> None:
    await add(database, zone=None, country="GB")
    await change(database, zone="Europe/London")
    assert (await one(database, ANN)).zone_source == "given"


@pytest.mark.both_databases
async def test_an_assumed_zone_follows_a_new_country_and_a_given_one_does_not(database: Database) -> None:
    await take(database, [row(ANN, zone_source="assumed"), row("bo@example.org")])
    for address in (ANN, "bo@example.org"):
        await change(database, address, country="New Zealand")
    assert [(one.zone, one.zone_source) for one in await everybody(database)] == [
        ("Pacific/Auckland", "assumed"),
        ("Europe/London", "given"),
    ]
    with pytest.raises(Refused, match="Brazil has 16 time zones; give --zone too"):
        await change(database, country="Brazil")
    await change(database, country="Brazil", zone="America/Manaus")
    assert (await one(database, ANN)).zone == "America/Manaus"


@pytest.mark.both_databases
async def test_another_address_may_not_be_somebody_elses(database: Database) -> None:
    await take(database, [row(ANN), row("bo@example.org")])
    with pytest.raises(Refused, match="another member's address"):
        await change(database, address="BO@example.org")
    await change(database, address="Ann@Example.org")
    await change(database, address="anne@example.org")
    assert (await find_member(database, "ANNE@example.org")).address == "anne@example.org"


async def test_another_address_may_not_be_one_that_was_erased(database: Database) -> None:
    await take(database, [row(ANN), row("bo@example.org")])
    await erase_member(database, "bo@example.org", keys=KEYS, outbox=None, now=NOW)
    with pytest.raises(Refused, match="was erased"):
        await change(database, address="bo@example.org")


@pytest.mark.parametrize("status", ["paused", "left"])
async def test_set_active_brings_back_who_paused_or_left(database: Database, status: str) -> None:
    await add(database)
    await change(database, status=status)
    assert (await one(database, ANN)).active_since is None
    await change(database, status="active")
    ann = await one(database, ANN)
    assert (ann.status, ann.active_since, ann.paused_until) == ("active", LATER, None)


@pytest.mark.both_databases
async def test_a_pause_lasts_until_the_day_begins_where_the_member_is(database: Database) -> None:
    await add(database, zone="Pacific/Auckland")
    await pause_member(database, ANN, until=date(2026, 11, 20), now=NOW)
    ann = await one(database, ANN)
    assert (ann.status, ann.active_since) == ("paused", None)
    assert ann.paused_until == datetime(2026, 11, 19, 11, tzinfo=UTC)
    await pause_member(database, ANN, until=None, now=NOW)
    assert (await one(database, ANN)).paused_until is None


async def test_a_pause_until_a_day_that_has_begun_is_refused(database: Database) -> None:
    await add(database, zone="Pacific/Auckland")
    with pytest.raises(Refused, match="--until 2026-11-02 has already begun"):
        await pause_member(database, ANN, until=date(2026, 11, 2), now=NOW)  # past midnight there


@pytest.mark.parametrize(("status", "reason"), [("left", "has left"), ("pending", "has not confirmed yet")])
async def test_who_gets_no_mail_cannot_pause(database: Database, status: str, reason: str) -> None:
    await take(database, [row(ANN, status=status)])
    with pytest.raises(Refused, match=reason):
        await pause_member(database, ANN, until=None, now=NOW)


async def test_removing_is_leaving_and_may_be_done_twice(database: Database) -> None:
    await add(database)
    assert (await remove_member(database, ANN, now=NOW)).changed
    assert not (await remove_member(database, ANN, now=NOW)).changed
    ann = await one(database, ANN)
    assert (ann.status, ann.active_since) == ("left", None)


@pytest.mark.both_databases
async def test_rotating_makes_all_links_new(database: Database) -> None:
    await add(database)
    await rotate_member(database, ANN, now=NOW)
    await rotate_member(database, ANN, now=NOW)
    ann = await one(database, ANN)
    assert (ann.generation, ann.feed_generation) == (2, 2)


@pytest.mark.parametrize(
    "email", ["ANN@Example.org", "mailto:ann@example.org", "Ann <ann@example.org>", " ann@example.org "]
)
async def test_an_address_is_known_however_it_is_written(database: Database, email: str) -> None:
    await add(database)
    assert (await find_member(database, email)).address == ANN


@pytest.mark.both_databases
async def test_an_unknown_address_names_one_that_is_like_it(database: Database) -> None:
    await take(database, [row("member1@example.org"), row("someone@other.example.org")])
    with pytest.raises(Refused, match="no member 'membre1@example.org'; did you mean member1@example.org"):
        await find_member(database, "membre1@example.org")
    with pytest.raises(Refused, match="no member 'Ann'; `members list` shows them"):
        await find_member(database, "Ann")
