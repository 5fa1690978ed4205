"""The alert rules and the dashboard: they use metrics that exist, and Prometheus shows their data."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from scheduler.delivery.send.maildir import MaildirTransport
from scheduler.delivery.send.metrics import MeteredTransport
from scheduler.web.metrics import Metrics
from tests.cli.test_service import running
from tests.installation import Installation
from tests.postgres import free_loopback_port
from tests.web.conftest import installation as installation
from tests.web.conftest import make_app

ROOT = Path(__file__).parents[2]
RULES = ROOT / "config" / "monitoring" / "alerts.yml"
DASHBOARD = json.loads((ROOT / "config" / "monitoring" / "dashboard.json").read_text(encoding="utf-8"))
PATIENCE = 30.0

_SELECTOR = re.compile(r"(third_thursday_\w+)(?:\{([^}]*)\})?")
_GROUPED_BY = re.compile(r"by \(([^)]*)\)")
_FROM_PROMETHEUS = {"instance", "job"}


@pytest.fixture
def promtool() -> str:
    if found := shutil.which("promtool"):
        return found
    pytest.skip("needs promtool (Debian's package prometheus)")


def panels() -> dict[str, list[str]]:
    """The expressions of each panel, by its title."""
    return {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in DASHBOARD["panels"]}


async def test_rules_and_dashboard_use_only_metrics_and_labels_that_are_shown(
    installation: Installation,
) -> None:
    transport = MeteredTransport(MaildirTransport(installation.mail))

    async def collect() -> bytes:
        return generate_latest(transport.registry)

    app = make_app(installation, metrics=Metrics(collect=collect, token="t" * 16))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1"
    ) as client:
        answer = await client.get("/metrics", headers={"Authorization": f"Bearer {'t' * 16}"})
    shown: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            shown.setdefault(sample.name, []).append(sample.labels)
    used = [expression for expressions in panels().values() for expression in expressions]
    used.append(RULES.read_text(encoding="utf-8"))
    names = set()
    for expression in used:
        grouped = {label.strip() for found in _GROUPED_BY.findall(expression) for label in found.split(",")}
        assert grouped - _FROM_PROMETHEUS <= {
            label for labels in shown.values() for one in labels for label in one
        }
        for name, selector in _SELECTOR.findall(expression):
            names.add(name)
            wanted = dict(re.findall(r'(\w+)="([^"]*)"', selector))
            assert any(wanted.items() <= labels.items() for labels in shown.get(name, [])), (name, wanted)
    series_of_histogram = {"third_thursday_relay_seconds_count", "third_thursday_relay_seconds_sum"}
    assert set(shown) - series_of_histogram == names, "what is shown is also looked at"


def test_each_alert_fires_after_its_time_and_none_where_all_is_well(promtool: str) -> None:
    tested = subprocess.run(
        [promtool, "test", "rules", str(Path(__file__).parent / "alerts_test.yml")],
        capture_output=True,
        text=True,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_expression_of_the_dashboard_can_be_parsed(promtool: str, tmp_path: Path) -> None:
    expressions = [expression for found in panels().values() for expression in found]
    rules = [{"record": f"one:{number}", "expr": each} for number, each in enumerate(expressions)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    checked = subprocess.run(
        [promtool, "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@contextmanager
def prometheus(folder: Path, metrics: str) -> Iterator[httpx.Client]:
    """Run Debian's Prometheus with the configuration of docs/monitoring.md, but with its own places, and scraping
    often."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("needs Prometheus (Debian's package prometheus)")
    (settings,) = re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8"), re.DOTALL
    )
    for theirs, ours in (
        ("127.0.0.1:9464", metrics),
        ("/etc/prometheus/third-thursday.yml", str(RULES)),
        (
            "scrape_interval: 15s",
            "scrape_interval: 300ms\n  scrape_timeout: 300ms\n  evaluation_interval: 300ms",
        ),
    ):
        assert theirs in settings
        settings = settings.replace(theirs, ours)
    (folder / "prometheus.yml").write_text(settings)
    place = f"127.0.0.1:{free_loopback_port()}"
    process = subprocess.Popen(
        [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={place}",
            "--log.level=error",
        ]
    )
    try:
        with httpx.Client(base_url=f"http://{place}/api/v1") as client:
            yield client
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


def wait_for_data(client: httpx.Client, expression: str, *, ends: float) -> list[dict[str, Any]]:
    while True:
        with suppress(httpx.TransportError):
            answer = client.get("/query", params={"query": expression})
            if answer.status_code == 200 and (found := answer.json()["data"]["result"]):
                assert isinstance(found, list)
                return found
        if time.monotonic() > ends:
            raise TimeoutError(f"no data for {expression}")
        time.sleep(0.1)


@pytest.mark.proof
@pytest.mark.short
def test_each_panel_has_data_when_prometheus_scrapes_the_demo(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = f"127.0.0.1:{free_loopback_port()}"
    monkeypatch.setenv("THIRD_THURSDAY_WATCH__METRICS_LISTEN", metrics)
    with running(tmp_path, free_port, "demo"), prometheus(tmp_path, metrics) as client:
        ends = time.monotonic() + PATIENCE
        found = {
            title: [wait_for_data(client, expression, ends=ends) for expression in expressions]
            for title, expressions in panels().items()
        }
        (active,) = found["Active members"][0]
        assert float(active["value"][1]) > 30
        states = {row["metric"]["state"] for row in found["Emails of open notices"][0]}
        assert {"queued", "sent", "failed"} <= states
        groups = client.get("/rules").json()["data"]["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
        assert not any(rule["state"] == "firing" for group in groups for rule in group["rules"])
