"""What a convenor does to a meeting stands in the feeds of any home, to an independent reader."""

from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pytest
import vobject  # type: ignore[import-untyped]

from scheduler.service.feeds import members_feed
from scheduler.service.occurrences import Change, add_extra, amend
from scheduler.service.schedule import feed
from scheduler.store import members
from tests.domain.oracle import instants
from tests.installation import COMMUNITY, SERIES, Installation, address_of, open_installation

HOMES = ["America/New_York", "America/Santiago", "Africa/Casablanca", "Asia/Kolkata", "Australia/Lord_Howe"]


async def read(installation: Installation) -> list[dict[str, Any]]:
    """The events of the public feed and of a member's own, by UID."""
    public = await feed(installation.database, installation.series, COMMUNITY, now=installation.clock.now())
    async with installation.database.read() as connection:
        ann = await members.by_key(connection, address_of("Ann"))
    assert ann
    own = await members_feed(
        installation.database,
        installation.series,
        COMMUNITY,
        ann,
        keys=installation.keys,
        now=installation.clock.now(),
    )
    return [
        {event.uid.value: event for event in vobject.readOne(one.content.decode()).vevent_list}
        for one in (public, own)
    ]


@pytest.mark.parametrize("zone", HOMES)
async def test_extra_moved_cancelled_reinstated_titled_and_with_materials(tmp_path: Path, zone: str) -> None:
    series = replace(SERIES, zone=zone)
    async with open_installation(
        tmp_path, datetime(2026, 11, 4, 12, tzinfo=UTC), series=(series,)
    ) as installation:
        await installation.tick()
        await installation.join(("Ann", "Europe/London"))
        dates = [day for day, _ in zip(series.dates(date(2026, 9, 1)), range(8), strict=False)]
        past, _, titled, cancelled, restored, moved, plain, _ = (f"{series.slug}/{day}" for day in dates)

        async def change(key: str, **values: Any) -> None:
            await amend(
                installation.database,
                installation.by_slug,
                key,
                Change(**values),
                now=installation.clock.now(),
            )

        extra = await add_extra(
            installation.database, series, datetime(2026, 11, 25, 12, 30), now=installation.clock.now()
        )
        await change(past, materials="Notes: https://example.org/notes, by Ama")
        await change(titled, topic='Listening; "really", all of us', speakers="Ngozi Okafor")
        await change(cancelled, cancel=True)
        await change(restored, cancel=True)
        await change(restored, restore=True)
        await change(moved, move_to=datetime(2027, 4, 3, 9, 15))
        walls = {
            **{f"{series.slug}/{day}": datetime.combine(day, time(18)) for day in dates},
            moved: datetime(2027, 4, 3, 9, 15),
            extra.key: datetime(2026, 11, 25, 12, 30),
        }
        wanted = dict(zip(walls, instants(zone, list(walls.values())), strict=True))
        for events in await read(installation):
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
                titled: ("CONFIRMED", "OPAQUE", "0"),
                cancelled: ("CANCELLED", "TRANSPARENT", "1"),
                restored: ("CONFIRMED", "OPAQUE", "2"),
                moved: ("CONFIRMED", "OPAQUE", "1"),
                plain: ("CONFIRMED", "OPAQUE", "0"),
                extra.key: ("CONFIRMED", "OPAQUE", "0"),
            }
            assert event(cancelled).summary.value == f"CANCELLED: {series.title}"
