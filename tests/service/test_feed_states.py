"""What a convenor does to a meeting stands in the feeds of any home, to an independent reader."""

from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pytest
import vobject  # type: ignore[import-untyped]

from scheduler.service.amending import Change, add_extra, amend
from scheduler.service.publishing import feed
from scheduler.service.subscribing import members_feed
from scheduler.store import members
from tests.domain.oracle import instants
from tests.house import COMMUNITY, SERIES, House, address_of, open_house

HOMES = ["America/New_York", "America/Santiago", "Africa/Casablanca", "Asia/Kolkata", "Australia/Lord_Howe"]


async def read(house: House) -> list[dict[str, Any]]:
    """The events of the public feed and of a member's own, by UID."""
    public = await feed(house.database, house.series, COMMUNITY, now=house.clock.now())
    async with house.database.read() as connection:
        ann = await members.by_key(connection, address_of("Ann"))
    assert ann
    own = await members_feed(
        house.database, house.series, COMMUNITY, ann, keys=house.keys, now=house.clock.now()
    )
    return [
        {event.uid.value: event for event in vobject.readOne(one.content.decode()).vevent_list}
        for one in (public, own)
    ]


@pytest.mark.parametrize("zone", HOMES)
async def test_extra_moved_cancelled_reinstated_titled_and_with_materials(tmp_path: Path, zone: str) -> None:
    series = replace(SERIES, zone=zone)
    async with open_house(tmp_path, datetime(2026, 11, 4, 12, tzinfo=UTC), series=(series,)) as house:
        await house.tick()
        await house.join(("Ann", "Europe/London"))
        dates = [day for day, _ in zip(series.dates(date(2026, 9, 1)), range(8), strict=False)]
        past, _, titled, cancelled, restored, moved, plain, _ = (f"{series.slug}/{day}" for day in dates)

        async def change(key: str, **values: Any) -> None:
            await amend(house.database, house.by_slug, key, Change(**values), now=house.clock.now())

        extra = await add_extra(house.database, series, datetime(2026, 11, 25, 12, 30), now=house.clock.now())
        await change(past, materials="Notes: https://example.org/notes, by Ama")
        await change(titled, topic='Listening; "really", all of us', speakers="Ngozi Okafor")
        await change(cancelled, cancel=True)
        await change(restored, cancel=True)
        await change(restored, restore=True)
        await change(moved, move_to=datetime(2027, 4, 3, 9, 15))
        walls = {
            **{f"{series.slug}/{day}": datetime.combine(day, time(18)) for day in dates},
            moved: datetime(2027, 4, 3, 9, 15), extra.key: datetime(2026, 11, 25, 12, 30),
        }  # fmt: skip
        wanted = dict(zip(walls, instants(zone, list(walls.values())), strict=True))
        for events in await read(house):
            assert len(events) == 38

            def event(key: str, events: dict[str, Any] = events) -> Any:
                return next(one for one in events.values() if one.url.value.endswith(f"/meetings/{key}"))

            for key, second in wanted.items():
                assert event(key).dtstart.value.timestamp() == second, key
                assert (event(key).dtend.value - event(key).dtstart.value) == series.duration
            assert "Materials: Notes: https://example.org/notes, by Ama" in event(past).description.value
            assert event(titled).summary.value == f'{series.title}: Listening; "really", all of us'
            assert "Speakers: Ngozi Okafor" in event(titled).description.value
            states = {
                key: (event(key).status.value, event(key).transp.value, event(key).sequence.value)
                for key in (titled, cancelled, restored, moved, plain, extra.key)
            }
            assert states == {
                titled: ("CONFIRMED", "OPAQUE", "0"), cancelled: ("CANCELLED", "TRANSPARENT", "1"),
                restored: ("CONFIRMED", "OPAQUE", "2"), moved: ("CONFIRMED", "OPAQUE", "1"),
                plain: ("CONFIRMED", "OPAQUE", "0"), extra.key: ("CONFIRMED", "OPAQUE", "0"),
            }  # fmt: skip
            assert event(cancelled).summary.value == f"CANCELLED: {series.title}"
