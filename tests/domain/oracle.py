"""An independent oracle for local times: GNU date on the files of the tzdata package, without Python."""

import os
import subprocess
from collections.abc import Sequence
from datetime import datetime, timedelta
from importlib.resources import files


def shown(zone: str, moments: Sequence[datetime]) -> list[str]:
    """Return `YYYY-MM-DDTHH:MM±HH:MM Weekday` of each instant in `zone`, with one process for all."""
    lines = "".join(f"@{moment.timestamp():.0f}\n" for moment in moments)
    done = subprocess.run(
        ["date", "-f", "-", "+%Y-%m-%dT%H:%M%:z %A"],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TZ": zone, "TZDIR": str(files("tzdata") / "zoneinfo"), "LC_ALL": "C"},
    )
    return done.stdout.splitlines()


def instants(zone: str, walls: Sequence[datetime]) -> list[int]:
    """Return the seconds since 1970 at which the clocks of `zone` show each wall time, with one process for all."""
    done = subprocess.run(
        ["date", "-f", "-", "+%s"],
        input="".join(f"{wall:%Y-%m-%d %H:%M}\n" for wall in walls),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TZ": zone, "TZDIR": str(files("tzdata") / "zoneinfo"), "LC_ALL": "C"},
    )
    return [int(line) for line in done.stdout.split()]


def nine_o_clock(zone: str, start: datetime, days_before: int) -> datetime:
    """Return the instant of 09:00 in `zone` this many days before the date there at `start`."""
    meeting = datetime.fromisoformat(shown(zone, [start])[0].split()[0])
    nine_o_clock_there = f"{(meeting - timedelta(days=days_before)):%Y-%m-%d}T09:00"
    quarters = [
        start - timedelta(days=days_before + 2) + timedelta(minutes=15 * n) for n in range(4 * 24 * 3)
    ]
    return next(
        instant
        for instant, local_time in zip(quarters, shown(zone, quarters), strict=True)
        if local_time.startswith(nine_o_clock_there)
    )
