"""Traces by OpenTelemetry: what a collector receives, and that they cost nothing where nobody asked for them."""

import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from sqlalchemy.exc import OperationalError

from scheduler.bootstrap.tracing import NO_TRACING, start_tracing
from scheduler.store.outage import Outages
from tests.cli.test_service import running

PATIENCE = 30.0


class Collector:
    """A receiver of OTLP over HTTP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    @property
    def spans(self) -> dict[str, Span]:
        """The last span of each name."""
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return {
            span.name: span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield collector
        server.shutdown()


def attributes(span: Span) -> dict[str, object]:
    return {each.key: each.value.int_value or each.value.string_value for each in span.attributes}


def wait_for_mail(folder: Path) -> None:
    ends = time.monotonic() + PATIENCE
    while not (folder.exists() and any(folder.iterdir())):
        if time.monotonic() > ends:
            raise TimeoutError("no mail was sent")
        time.sleep(0.05)


@pytest.mark.proof
@pytest.mark.short
def test_a_running_service_exports_its_requests_ticks_and_chunks_without_addresses(
    collector: Collector, tmp_path: Path, free_port: int
) -> None:
    (tmp_path / "my.toml").write_text('[convenors]\nfirst = ["ann@example.org"]\n')
    mails = tmp_path / "var" / "mail" / "new"
    site = f"http://127.0.0.1:{free_port}"
    with running(tmp_path, free_port, "--config", "my.toml", "serve"):
        page = httpx.get(f"{site}/u/aVeryPrivateToken")
        httpx.post(f"{site}/convenor/sign-in", data={"email": "ann@example.org"}).raise_for_status()
        wait_for_mail(mails)
    spans = collector.spans
    assert {"tick", "chunk", "GET /u/{token}", "POST /convenor/sign-in"} <= spans.keys()
    assert attributes(spans["GET /u/{token}"]) == {
        "http.request.method": "GET",
        "http.route": "/u/{token}",
        "http.response.status_code": page.status_code,
        "request_id": page.headers["X-Request-Id"],
    }
    assert "chunk" in attributes(spans["chunk"])
    whole = b"".join(collector.bodies)
    assert b"third-thursday" in whole
    assert b"ann@" not in whole and b"aVeryPrivateToken" not in whole


def test_an_outage_of_the_database_is_a_span_from_its_beginning_to_its_end(collector: Collector) -> None:
    tracing, outages = start_tracing(), Outages()
    outages.watcher = tracing.note_outage
    error = OperationalError("", {}, Exception("database or disk is full"))
    outages.begin("tick", error)
    outages.begin("tick", error)
    outages.end("tick")
    with pytest.raises(ValueError, match="ann@"), tracing.span("work"):
        raise ValueError("ann@example.org")
    tracing.close()
    span = collector.spans["database outage"]
    assert attributes(span) == {"work": "tick", "problem": "the disk is full"}
    assert span.end_time_unix_nano > span.start_time_unix_nano
    assert attributes(collector.spans["work"]) == {"error.type": "ValueError"}
    assert b"ann@" not in b"".join(collector.bodies)


def test_nothing_of_opentelemetry_is_imported_where_no_collector_is_named() -> None:
    code = (
        "import sys; from scheduler.bootstrap import serve, tracing, web_process\n"
        "assert tracing.start_tracing({}) is tracing.NO_TRACING\n"
        "assert tracing.start_tracing({'OTEL_SERVICE_NAME': 'x'}) is tracing.NO_TRACING\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_collector_that_is_named_without_the_extra_is_reported_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert start_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}) is NO_TRACING
    assert "install third-thursday[otel]" in capsys.readouterr().out
