"""`serve`, when it cannot continue."""

import asyncio
from pathlib import Path

import pytest

from scheduler.bootstrap.serve import Service, serve
from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.wiring import open_parts
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


async def test_a_service_that_starts_while_postgresql_is_away_starts_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    tick, failures = Planner.tick, [DatabaseUnavailable("away"), ConnectionRefusedError()]

    async def fail_first(self: Planner) -> object:
        if failures:
            raise failures.pop()
        return await tick(self)

    monkeypatch.setattr(Planner, "tick", fail_first)
    monkeypatch.setattr("scheduler.store.outage.AGAIN_SECONDS", 0)
    monkeypatch.chdir(tmp_path)
    variables = {
        "THIRD_THURSDAY_DATABASE__URL": postgres_url,
        "THIRD_THURSDAY_SECURITY__KEY": "0123456789abcdef" * 4,
    }
    async with open_parts(load_settings(None, variables)) as parts:
        service = Service(parts)
        await service.start()
        assert not failures and not parts.database.outages.current
        sending = asyncio.create_task(service.send())
        await service.stop(sending)
