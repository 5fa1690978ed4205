"""`serve`, when it cannot continue."""

import asyncio
from pathlib import Path

import pytest

from scheduler.bootstrap.serve import Service, serve
from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.wiring import open_parts
from scheduler.delivery.send.dispatcher import Dispatcher
from scheduler.domain.errors import Problem
from scheduler.service.planner import Planner
from scheduler.store.outage import DatabaseUnavailable


async def test_a_service_whose_sending_fails_ends_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    async def break_off(_: Service) -> None:
        raise RuntimeError("out of paper")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Service, "send", break_off)
    printed: list[str] = []
    with pytest.raises(Problem, match=r"stopped unexpectedly \(out of paper\); start it again"):
        await serve(load_settings(None, {"THIRD_THURSDAY_WEB__PORT": str(free_port)}), say=printed.append)
    assert printed == [f"Third Thursday is at http://127.0.0.1:{free_port}/"]


async def test_a_service_that_starts_while_the_database_is_away_starts_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away_once(part: type, method: str) -> None:
        works, failures = getattr(part, method), [DatabaseUnavailable("away"), ConnectionRefusedError()]

        async def fail_first(self: object) -> object:
            if failures:
                raise failures.pop()
            return await works(self)

        monkeypatch.setattr(part, method, fail_first)

    away_once(Dispatcher, "take_over")
    away_once(Planner, "tick")
    monkeypatch.setattr("scheduler.store.outage.AGAIN_SECONDS", 0)
    monkeypatch.chdir(tmp_path)
    async with open_parts(load_settings(None, {})) as parts:
        service = Service(parts)
        await service.start()
        assert not parts.database.outages.current
        sending = asyncio.create_task(service.send())
        await service.stop(sending)
