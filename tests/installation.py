"""A whole installation for a test, without web or command line: database, planner and dispatcher under a fake clock."""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import lru_cache
from pathlib import Path

from scheduler.delivery.compose.composer import Composer
from scheduler.delivery.compose.dkim import DkimSigner
from scheduler.delivery.compose.message_writer import MessageWriter
from scheduler.delivery.send.dispatcher import Dispatcher
from scheduler.delivery.send.maildir import MaildirTransport, read_message, read_outbox
from scheduler.delivery.send.send_queue import RateLimits
from scheduler.delivery.send.transport import Transport
from scheduler.domain.community import Community
from scheduler.domain.occurrence import Series
from scheduler.domain.policy import Kind, Policy
from scheduler.domain.token import Keys
from scheduler.service import form_queue
from scheduler.service.advance_notices import AdvanceNotices
from scheduler.service.inbound import count_refusals
from scheduler.service.join_requests import remind_convenors
from scheduler.service.planner import Planner, Tick
from scheduler.service.retention import Retention, forget_old
from scheduler.service.schedule import next_meetings_of
from scheduler.store import answers, members
from scheduler.store.database import Database
from scheduler.store.ledger import reports
from scheduler.store.ledger.reports import Report
from scheduler.store.upgrades import open_database
from tests.clock import FakeClock

TEMPLATES = Path(__file__).parent.parent / "templates" / "email"

COMMUNITY = Community(
    name="Conversation for Kindness",
    description="An hour of conversation about kindness.",
    address="meetings@conversation.example.org",
    reply_to="convenors@conversation.example.org",
    domain="conversation.example.org",
    website="https://conversation.example.org/",
    base_url="https://meet.example.org",
)

SERIES = Series(
    slug="conversation-for-kindness",
    title="Conversation for Kindness",
    rule="FREQ=MONTHLY;BYDAY=3TH",
    start=time(18),
    zone="Europe/London",
    duration=timedelta(hours=1),
    first=date(2020, 7, 16),
    link="https://room.example.org/kindness",
)

RETENTION = Retention(
    declined_requests=timedelta(days=30),
    left_members=timedelta(days=365),
    deliveries=timedelta(days=400),
    archive=timedelta(days=60),
    audit=timedelta(days=730),
)

LONGEST_OUTAGE = timedelta(days=30)

INVITATION = Policy(slug="invitation", kind=Kind.INVITATION, days_before=14, at=time(9))
DAY_BEFORE = Policy(slug="day-before", kind=Kind.REMINDER, days_before=1, at=time(9))
HOUR_BEFORE = Policy(slug="hour-before", kind=Kind.REMINDER, lead=timedelta(hours=1))
POLICIES = (INVITATION, DAY_BEFORE, HOUR_BEFORE)


@lru_cache(maxsize=8)
def composer(community: Community, signer: DkimSigner | None) -> Composer:
    """Shared by all tests, because loading its templates takes 40 ms."""
    return Composer(TEMPLATES, community, signer=signer)


@dataclass
class Installation:
    """Use `tick` for one tick and its sending, `live` to let time pass as a running service would."""

    database: Database
    clock: FakeClock
    folder: Path
    series: Sequence[Series] = (SERIES,)
    policies: Sequence[Policy] = POLICIES
    transport: Transport | None = None
    signer: DkimSigner | None = None
    rate: float = 0
    community: Community = COMMUNITY
    limits: RateLimits | None = None
    preflight: timedelta | None = None

    def __post_init__(self) -> None:
        self.keys = Keys(b"k" * 32)
        self.mail = self.folder / "mail"
        self.restart()

    def restart(self) -> None:
        """Build the parts as a new process would, with nothing but the database."""
        self.message_writer = MessageWriter(
            self.database,
            composer(self.community, self.signer),
            self.clock,
            community=self.community,
            series={series.slug: series for series in self.series},
            keys=self.keys,
            room_policies=self.policies,
            next_meetings=lambda connection, member, now: next_meetings_of(
                connection, member, self.series, now=now
            ),
        )
        self.runs = getattr(self, "runs", 0) + 1
        self.dispatcher = Dispatcher(
            self.database,
            self.transport or MaildirTransport(self.mail),
            self.message_writer,
            self.clock,
            run=f"run-{self.runs}",
            limits=self.limits or RateLimits(rate=self.rate),
        )
        self.planner = Planner(
            self.database,
            self.clock,
            series=self.series,
            policies=self.policies,
            domain=COMMUNITY.domain,
            archive_after=RETENTION.archive,
            longest_outage=LONGEST_OUTAGE,
            rate=self.rate,
            tell_convenors=AdvanceNotices(
                self.database, series=self.series, policies=self.policies, preflight=self.preflight
            ).plan,
            daily=self._daily,
        )

    async def _daily(self, now: datetime) -> None:
        await remind_convenors(self.database, now=now)
        await count_refusals(self.database, now=now)
        await forget_old(self.database, RETENTION, keys=self.keys, outbox=self.mail, now=now)

    @property
    def by_slug(self) -> dict[str, Series]:
        return {series.slug: series for series in self.series}

    async def join(self, *people: tuple[str, str], **values: object) -> None:
        """Add active members, each a name and a zone; the address follows from the name."""
        async with self.database.write() as connection:
            await members.add(
                connection,
                [
                    {
                        "address": address_of(name),
                        "address_key": address_of(name),
                        "name": name,
                        "country": "GB",
                        "zone": zone,
                        "zone_source": "given",
                        "locale": "en-GB",
                        "status": "active",
                        "role": None,
                        "created_at": self.clock.now(),
                        "active_since": self.clock.now(),
                        "paused_until": None,
                        "uninvited_at": None,
                        **values,
                    }
                    for name, zone in people
                ],
            )

    async def change(self, name: str, /, **values: object) -> None:
        """Change a member's columns."""
        async with self.database.write() as connection:
            member = await members.by_key(connection, address_of(name))
            assert member
            await members.change(connection, member.id, **values)

    async def answer(self, name: str, occurrence: str, answer: str) -> None:
        """Let a member answer an invitation."""
        async with self.database.write() as connection:
            member = await members.by_key(connection, address_of(name))
            assert member
            await answers.set_answer(connection, member.id, occurrence, answer=answer, now=self.clock.now())

    async def tick(self) -> Tick:
        """Carry out what visitors asked for, tick once, and send what is due."""
        await form_queue.process_forms(self.database, now=self.clock.now())
        ticked = await self.planner.tick()
        await self.dispatcher.send_due()
        return ticked

    async def live(self, until: datetime, *, idle: timedelta = timedelta(days=1)) -> None:
        """Tick at every due instant from now to `until`, as a running service does; if nothing is due, every `idle`."""
        while True:
            ticked = await self.tick()
            following = min(ticked.next_due or until, self.clock.now() + idle)
            if following >= until:
                break
            # Sending at a rate takes its time.
            self.clock.pass_until(max(following, self.clock.now()))
        self.clock.pass_until(max(until, self.clock.now()))
        await self.tick()

    async def reports(self, **narrowed: object) -> list[Report]:
        async with self.database.read() as connection:
            return [
                row
                async for row in reports.reports(connection)
                if all(getattr(row, name) == value for name, value in narrowed.items())
            ]

    async def states(self, **narrowed: object) -> dict[str, str]:
        """Return the state, with its reason, of the matching deliveries by member's name."""
        return {
            row.name: row.state + (f": {row.reason}" if row.reason else "")
            for row in await self.reports(**narrowed)
        }

    def mails(self) -> list[EmailMessage]:
        """Return the messages in the Maildir."""
        messages = [
            message_from_bytes(
                read_message(self.mail, entry.name), _class=EmailMessage, policy=policy.default
            )
            for entry in (read_outbox(self.mail, newest=100_000) if self.mail.exists() else [])
        ]
        return sorted(messages, key=lambda mail: (mail["Date"].datetime, str(mail["To"])))


def address_of(name: str) -> str:
    return f"{name.lower().replace(' ', '.')}@example.org"


@asynccontextmanager
async def open_installation(
    folder: Path,
    now: datetime,
    *,
    url: str = "",
    series: Sequence[Series] = (SERIES,),
    policies: Sequence[Policy] = POLICIES,
    transport: Transport | None = None,
    rate: float = 0,
    clock: FakeClock | None = None,
) -> AsyncIterator[Installation]:
    """Open a new installation at `now`, with an empty database: `url`, or else SQLite in `folder`."""
    path = folder / "test.sqlite"
    if not url and not path.exists():
        path.write_bytes(await empty_database())
    database = Database(url or f"sqlite:///{path}")
    await open_database(database, upgrade=True)
    installation = Installation(
        database,
        clock or FakeClock(now),
        folder,
        series=series,
        policies=policies,
        transport=transport,
        rate=rate,
    )
    try:
        yield installation
    finally:
        # A test may have replaced it with another one.
        await installation.database.close()


_empty: list[bytes] = []


async def make_tables(url: str) -> None:
    """Give an empty database this version's tables."""
    database = Database(url)
    await open_database(database, upgrade=True)
    await database.close()


async def empty_database() -> bytes:
    """Return a SQLite file with this version's tables. Made once, because the migrations take a third of a second."""
    if not _empty:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "empty.sqlite"
            await make_tables(f"sqlite:///{path}")
            _empty.append(path.read_bytes())
    return _empty[0]
