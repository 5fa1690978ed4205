"""A transport that counts and times another one, for Prometheus."""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from scheduler.delivery.send.transport import Connection, Envelope, Outcome, SendPipeline, Transport, Verdict

_BUCKET_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class MeteredTransport(Collector):
    """Sends as `transport` does, and counts since the process began, in `registry`.

    The counts are plain numbers that become metrics when they are read: the metrics of prometheus_client take a lock
    for each change, which cost a tenth of the sending time.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.connections = transport.connections
        self._open_connections = 0
        self._tries = dict.fromkeys(Verdict, 0)
        self._buckets = [0] * (len(_BUCKET_SECONDS) + 1)
        self._total_seconds = 0.0
        self.registry = CollectorRegistry()
        self.registry.register(self)

    async def connect(self) -> Connection:
        connection = await self._transport.connect()
        self._open_connections += 1
        return _MeteredConnection(self, connection)

    def record_close(self) -> None:
        """Count a connection as closed."""
        self._open_connections -= 1

    def record_try(self, verdict: Verdict, seconds: float | None) -> None:
        """Count a try, and how long the relay took; None if we were not waiting for the relay."""
        self._tries[verdict] += 1
        if seconds is not None:
            self._buckets[bisect_left(_BUCKET_SECONDS, seconds)] += 1
            self._total_seconds += seconds

    def collect(self) -> Iterator[Metric]:
        tries = CounterMetricFamily(
            "third_thursday_tries",
            "Messages tried, by outcome: sent, permanent or temporary.",
            labels=["outcome"],
        )
        for verdict, count in self._tries.items():
            tries.add_metric([verdict.name.lower()], count)
        yield tries
        buckets = zip([*map(str, _BUCKET_SECONDS), "+Inf"], accumulate(self._buckets), strict=True)
        yield HistogramMetricFamily(
            "third_thursday_relay_seconds",
            "Seconds until the relay replied to a message: from its commands, or from its content if these were "
            "pipelined.",
            buckets=list(buckets),
            sum_value=self._total_seconds,
        )
        yield GaugeMetricFamily(
            "third_thursday_relay_connections", "Open connections to the relay.", self._open_connections
        )


class _MeteredConnection:
    def __init__(self, metrics: MeteredTransport, connection: Connection) -> None:
        self._metrics = metrics
        self._connection = connection
        self._is_open = True

    @property
    def pipelined(self) -> Envelope | None:
        return self._connection.pipelined

    @property
    def needs_reconnect(self) -> bool:
        return self._connection.needs_reconnect

    async def send(self, envelope: Envelope, *, pipeline: SendPipeline) -> Outcome:
        metered = _MeteredPipeline(self._metrics, pipeline)
        outcome = await self._connection.send(envelope, pipeline=metered)
        metered.record_try(outcome.verdict)
        return outcome

    async def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._metrics.record_close()
        await self._connection.close()


class _MeteredPipeline:
    """Times each message, without the time in which we wait for our own database."""

    def __init__(self, metrics: MeteredTransport, pipeline: SendPipeline) -> None:
        self._metrics = metrics
        self._pipeline = pipeline
        self._begun: float | None = time.perf_counter()

    @property
    def next_envelope(self) -> Envelope | None:
        return self._pipeline.next_envelope

    async def before_final_dot(self) -> None:
        begun, paused = self._begun or 0, time.perf_counter()
        await self._pipeline.before_final_dot()
        self._begun = begun + time.perf_counter() - paused

    def check_deadline(self) -> None:
        self._pipeline.check_deadline()
        self._begun = time.perf_counter()

    def advance(self) -> "asyncio.Future[None] | None":
        settled = self._pipeline.advance()
        if settled is not None:
            self.record_try(Verdict.SENT)
            self._begun = None
        return settled

    def record_try(self, verdict: Verdict) -> None:
        """Record the outcome of the current message."""
        self._metrics.record_try(verdict, None if self._begun is None else time.perf_counter() - self._begun)
