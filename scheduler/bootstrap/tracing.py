"""Optional traces by OpenTelemetry: of requests, ticks, chunks that are sent, and outages of the database.

They are made if the environment names a collector, by OTEL_EXPORTER_OTLP_ENDPOINT or
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT. Otherwise nothing of OpenTelemetry is imported.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import structlog

from scheduler.store.outage import Outage

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

log = structlog.get_logger()

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_LONGEST_EXPORT = 3.0
"""Seconds: stopping waits for the last export. The standard variables may set another time."""


class Tracing:
    """Makes spans and exports them in a thread of its own; without a provider it does nothing.

    A span has no exception's message, because that may contain an address or a token.
    """

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("third-thursday") if provider else None
        self._outages: dict[str, Span] = {}

    def span(self, name: str, **attributes: str | int) -> "AbstractContextManager[Span | None]":
        """Return a span around a piece of work."""
        return self._recorded(name, attributes) if self._tracer else nullcontext()

    def chunk(self, number: int) -> AbstractContextManager[object]:
        """Return a span around the sending of a chunk."""
        return self.span("chunk", chunk=number)

    def note_outage(self, work: str, outage: Outage | None) -> None:
        """Begin a span when a piece of work begins to fail because of the database, and end it when it works again."""
        if before := self._outages.pop(work, None):
            before.end()
        if self._tracer and outage:
            self._outages[work] = self._tracer.start_span(
                "database outage", attributes={"work": work, "problem": outage.words}
            )

    def close(self) -> None:
        """Export what is left. It may wait for the collector."""
        for span in self._outages.values():
            span.end()
        if self._provider:
            self._provider.shutdown()

    @contextmanager
    def _recorded(self, name: str, attributes: Mapping[str, str | int]) -> "Iterator[Span]":
        from opentelemetry.trace import StatusCode

        assert self._tracer
        with self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(StatusCode.ERROR)
                raise


NO_TRACING = Tracing()


def start_tracing(environment: Mapping[str, str] = os.environ) -> Tracing:
    """Return what makes spans: nothing, unless the environment asks for traces and the extra `otel` is installed."""
    wanted = any(map(environment.get, _ENDPOINTS)) and environment.get("OTEL_TRACES_EXPORTER") != "none"
    if not wanted:
        return NO_TRACING
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning(
            "tracing-impossible", problem="install third-thursday[otel], or unset OTEL_EXPORTER_OTLP_*"
        )
        return NO_TRACING
    named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": "third-thursday"}
    timed = any(environment.get(f"OTEL_EXPORTER_OTLP_{kind}TIMEOUT") for kind in ("", "TRACES_"))
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(timeout=None if timed else _LONGEST_EXPORT))
    )
    return Tracing(provider)
