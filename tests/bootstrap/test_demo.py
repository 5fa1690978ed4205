"""What the demo makes up, for a database that no service uses."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from structlog.testing import capture_logs

from scheduler.bootstrap.demo import LISTENING, make_up_meetings, make_up_people, make_up_the_rest
from scheduler.bootstrap.demo_content import CONVENORS, PEOPLE, REQUESTS, WALL
from scheduler.bootstrap.demo_portraits import draw_portrait
from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.wiring import Parts, open_parts
from scheduler.service.archive import Request, read_archive
from scheduler.service.join_requests import at_the_desk
from scheduler.service.notices import latest_notices
from scheduler.service.profiles import show_member, shown_people
from scheduler.store.database import Database
from tests.clock import FakeClock

NOW = datetime(2026, 11, 28, 16, 20, tzinfo=UTC)


async def counts(parts: Parts) -> Mapping[str, object]:
    past = await read_archive(parts.database, Request(typed="kind"), now=NOW)
    every = await read_archive(parts.database, Request(year=2026), now=NOW)
    people = await shown_people(parts.database, page=1)
    notices = await latest_notices(parts.database, most=50)
    assert past
    assert every
    return {
        "past": every.total,
        "themes": len(every.themes),
        "found": past.total > 0,
        "convenors": len(people.convenors),
        "wall": people.on_wall,
        "with a portrait": sum(1 for one in people.wall if one.photo),
        "requests": len(await at_the_desk(parts.database)),
        "notices": sorted((notice.kind, sum(states.values())) for notice, states in notices),
    }


async def test_the_demo_makes_up_everything_once_even_if_its_first_start_is_interrupted(
    tmp_path: Path,
) -> None:
    settings = load_settings(None, {"THIRD_THURSDAY_DATABASE__URL": f"sqlite:///{tmp_path / 'demo.sqlite'}"})
    settings = replace(settings, series=(*settings.series, LISTENING))
    async with open_parts(settings, clock=FakeClock(NOW)) as parts:
        await make_up_meetings(parts)
        # The service stops before the people are made up, and starts twice more.
        for _ in range(2):
            await make_up_meetings(parts)
            await make_up_people(parts)
            assert await counts(parts) == {
                "past": 12,
                "themes": 5,
                "found": True,
                "convenors": len(CONVENORS),
                "wall": 20,
                "with a portrait": len(WALL),
                "requests": len(REQUESTS),
                "notices": [("cancellation", 17), ("notice", 40), ("update", 40)],
            }


@pytest.mark.proof
@pytest.mark.short
async def test_a_demo_that_fails_while_it_shows_people_says_so_and_shows_the_rest_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(None, {"THIRD_THURSDAY_DATABASE__URL": f"sqlite:///{tmp_path / 'demo.sqlite'}"})
    shown = list[str]()

    async def fail_at_the_fifth(database: Database, address: str, *arguments: Any, **options: Any) -> None:
        if len(shown) == 4:
            raise OSError("the disk is full")
        await show_member(database, address, *arguments, **options)
        shown.append(address)

    async with open_parts(settings, clock=FakeClock(NOW)) as parts:
        await make_up_meetings(parts)
        with monkeypatch.context() as patched, capture_logs() as logs:
            patched.setattr("scheduler.service.profiles.show_member", fail_at_the_fifth)
            await make_up_the_rest(parts)
        assert [(line["event"], line["error"]) for line in logs if line["log_level"] == "error"] == [
            ("demo-incomplete", "OSError")
        ]
        assert (await shown_people(parts.database, page=1)).on_wall == 4
        with capture_logs() as logs:
            await make_up_meetings(parts)
            await make_up_the_rest(parts)
        people = await shown_people(parts.database, page=1)
        assert (len(people.convenors), people.on_wall) == (len(CONVENORS), len(WALL))
        # Who was shown already was not shown again.
        assert not [one.name for one in (*people.convenors, *people.wall) if one.revision]
        assert not [line for line in logs if line["log_level"] == "error"]


def test_forty_made_up_members_live_in_thirty_zones() -> None:
    zones = [line.split("|")[2] for line in PEOPLE.strip().split("\n")]
    assert (len(zones), len(set(zones))) == (40, 30)


def test_each_portrait_differs_from_the_others() -> None:
    pictures = {
        Image.open(BytesIO(draw_portrait(one.member, one.style))).tobytes() for one in (*CONVENORS, *WALL)
    }
    assert len(pictures) == len(CONVENORS) + len(WALL)
