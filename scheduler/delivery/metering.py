"""A transport whose connections are counted and timed, as Prometheus reads it; it sends as the one within it does."""

import asyncio
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from scheduler.delivery.transport import Connection, Envelope, Feed, Outcome, Transport, Verdict

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class Metered:
    """Counts since the process began, in `registry`; a rate is what the reader makes of two readings."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.connections = transport.connections
        self.registry = CollectorRegistry()
        self.tries = Counter(
            "third_thursday_tries", "Messages tried, by outcome: sent, permanent or temporary.", ["outcome"],
            registry=self.registry,
        )  # fmt: skip
        # Looked up once: that takes as long as counting.
        self.by_verdict = {one: self.tries.labels(one.name.lower()) for one in Verdict}
        self.latency = Histogram(
            "third_thursday_relay_seconds",
            "From offering a message to the relay, or where it was offered ahead its content, to the answer.",
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.open = Gauge(
            "third_thursday_relay_connections", "Connections to the relay that are open.",
            registry=self.registry,
        )  # fmt: skip

    async def connect(self) -> Connection:
        connection = await self._transport.connect()
        self.open.inc()
        return _MeteredConnection(self, connection)


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

    async def send(self, envelope: Envelope, *, feed: Feed) -> Outcome:
        metered = _MeteredFeed(self._meter, feed)
        outcome = await self._connection.send(envelope, feed=metered)
        metered.observe(outcome.verdict)
        return outcome

    async def close(self) -> None:
        if self._counted:
            self._counted = False
            self._meter.open.dec()
        await self._connection.close()


class _MeteredFeed:
    """Waiting for our own database is not the relay's time."""

    def __init__(self, meter: Metered, feed: Feed) -> None:
        self._meter = meter
        self._feed = feed
        self._begun: float | None = time.perf_counter()

    @property
    def following(self) -> Envelope | None:
        return self._feed.following

    async def before_dot(self) -> None:
        begun, self._begun = self._begun or 0, None
        paused = time.perf_counter()
        await self._feed.before_dot()
        self._begun = begun + time.perf_counter() - paused

    def check(self) -> None:
        self._feed.check()

    def taken(self) -> "asyncio.Future[None] | None":
        settled = self._feed.taken()
        if settled is not None:
            self.observe(Verdict.SENT)
            self._begun = None
            settled.add_done_callback(self._begin)
        return settled

    def observe(self, verdict: Verdict) -> None:
        self._meter.by_verdict[verdict].inc()
        if self._begun is not None:
            self._meter.latency.observe(time.perf_counter() - self._begun)

    def _begin(self, _settled: "asyncio.Future[None]") -> None:
        self._begun = time.perf_counter()
