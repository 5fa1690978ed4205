"""A transport whose connections are counted and timed, as Prometheus reads it; it sends as the one within it does."""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from scheduler.delivery.send.transport import Connection, Envelope, Outcome, SendPipeline, Transport, Verdict

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class Metered(Collector):
    """Counts since the process began, in `registry`; a rate is what the reader makes of two readings.

    Plain numbers, made into metrics when they are read: prometheus_client's own, with a lock each, took a tenth of the
    time of sending.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.connections = transport.connections
        self._open = 0
        self._tries = dict.fromkeys(Verdict, 0)
        self._answers = [0] * (len(_SECONDS) + 1)
        self._waited = 0.0
        self.registry = CollectorRegistry()
        self.registry.register(self)

    async def connect(self) -> Connection:
        connection = await self._transport.connect()
        self._open += 1
        return _MeteredConnection(self, connection)

    def closed(self) -> None:
        self._open -= 1

    def tried(self, verdict: Verdict, seconds: float | None) -> None:
        """Count a try, and how long the relay took for it where it was its turn."""
        self._tries[verdict] += 1
        if seconds is not None:
            self._answers[bisect_left(_SECONDS, seconds)] += 1
            self._waited += seconds

    def collect(self) -> Iterator[Metric]:
        tries = CounterMetricFamily(
            "third_thursday_tries",
            "Messages tried, by outcome: sent, permanent or temporary.",
            labels=["outcome"],
        )
        for verdict, count in self._tries.items():
            tries.add_metric([verdict.name.lower()], count)
        yield tries
        up_to = zip([*map(str, _SECONDS), "+Inf"], accumulate(self._answers), strict=True)
        yield HistogramMetricFamily(
            "third_thursday_relay_seconds",
            "From offering a message to the relay, or where it was offered ahead its content, to the answer.",
            buckets=list(up_to),
            sum_value=self._waited,
        )
        yield GaugeMetricFamily(
            "third_thursday_relay_connections", "Connections to the relay that are open.", self._open
        )


class _MeteredConnection:
    def __init__(self, meter: Metered, connection: Connection) -> None:
        self._meter = meter
        self._connection = connection
        self._counted = True

    @property
    def offered(self) -> Envelope | None:
        return self._connection.offered

    @property
    def spent(self) -> bool:
        return self._connection.spent

    async def send(self, envelope: Envelope, *, feed: SendPipeline) -> Outcome:
        metered = _MeteredFeed(self._meter, feed)
        outcome = await self._connection.send(envelope, feed=metered)
        metered.tried(outcome.verdict)
        return outcome

    async def close(self) -> None:
        if self._counted:
            self._counted = False
            self._meter.closed()
        await self._connection.close()


class _MeteredFeed:
    """Waiting for our own database is not the relay's time."""

    def __init__(self, meter: Metered, feed: SendPipeline) -> None:
        self._meter = meter
        self._feed = feed
        self._begun: float | None = time.perf_counter()

    @property
    def following(self) -> Envelope | None:
        return self._feed.following

    async def before_dot(self) -> None:
        begun, paused = self._begun or 0, time.perf_counter()
        await self._feed.before_dot()
        self._begun = begun + time.perf_counter() - paused

    def check(self) -> None:
        self._feed.check()
        self._begun = time.perf_counter()

    def taken(self) -> "asyncio.Future[None] | None":
        settled = self._feed.taken()
        if settled is not None:
            self.tried(Verdict.SENT)
            self._begun = None
        return settled

    def tried(self, verdict: Verdict) -> None:
        """Note that the relay has answered to the present message, or that it cannot."""
        self._meter.tried(verdict, None if self._begun is None else time.perf_counter() - self._begun)
