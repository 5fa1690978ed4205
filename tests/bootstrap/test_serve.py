"""`serve`, when it cannot continue."""

from pathlib import Path

import pytest

from scheduler.bootstrap.serve import Service, serve
from scheduler.bootstrap.settings import load_settings
from scheduler.domain.errors import Problem


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
