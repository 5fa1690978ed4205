"""How the service is: what a convenor, a monitor and `doctor` are told."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.service.form_limits import form_limit_problem
from scheduler.service.sending_pause import BY_CLOCK, SendingPaused, held
from scheduler.store import members, notices, occurrences, returns, service_state
from scheduler.store.database import OUTAGES, Database
from scheduler.store.ledger import corrections, reports
from scheduler.store.ledger.corrections import WronglyTold
from scheduler.store.outage import Outage, outage_of

TICK_OVERDUE = timedelta(seconds=90)
LATE = timedelta(minutes=15)
POLICY_REMEMBERED = timedelta(days=1)
ZONES_NAMED = 5
LONGEST_READ = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHealth:
    """The state of the service at one instant.

    `relay` is why the relay takes no mail, or empty, `unwritable` why nothing can be written; `served` whether a
    `serve` is running that should have ticked (SQLite). `oldest_waiting` is the earliest due instant of what waits,
    `ready_since` since when the longest could have been tried. `suppressed` is how many members' addresses take no
    mail, `to_review` how many returns wait for a look, `unkept` how many more there was no room for, `turned_away` how
    many mails came back of late because the other side does not want them from us; `wrongly_told` says, a line for each
    meeting, how many were told an hour that new zone data has changed; `forms_limited` says that forms were asked for
    too much mail, or is empty.
    """

    last_tick: datetime | None
    hold: SendingPaused | None
    relay: str
    unwritable: str
    served: bool
    members: dict[str, int]
    deliveries: dict[str, int]
    next_due: datetime | None
    oldest_waiting: datetime | None
    ready_since: datetime | None
    failures: dict[str, int]
    suppressed: int
    to_review: int
    turned_away: int
    unkept: int = 0
    wrongly_told: tuple[str, ...] = ()
    forms_limited: str = ""

    def lag(self, now: datetime) -> timedelta:
        """How far sending is behind what it may send."""
        return now - self.ready_since if self.ready_since else timedelta()

    def troubles(self, now: datetime, *, late: timedelta = LATE) -> list[str]:
        """What is wrong, a line each; empty where all is well. `late` is from which lag on it is a trouble."""
        found = [self.unwritable] if self.unwritable else []
        # A wrong clock holds the ticks too.
        by_clock = self.hold is not None and self.hold.reason in BY_CLOCK
        if not by_clock and _is_overdue(self.last_tick, now):
            found.append(
                "`serve` is running, but does not get its work done: see its log"
                if self.served
                else "no `serve` is running: nothing is being sent"
            )
        if self.hold:
            found.append(f"sending is held ({self.hold.reason}): {self.hold.advice}")
        if self.relay:
            found.append(f"the relay takes no mail: {self.relay}")
        if self.turned_away:
            found.append(_turned_away(self.turned_away))
        if self.unkept:
            found.append(f"{_RETURNS_FULL}; so far {self.unkept} were only counted")
        found += self.wrongly_told
        if self.forms_limited:
            found.append(self.forms_limited)
        if self.lag(now) > late:
            found.append(_lateness(self.lag(now)))
        return found


_RETURNS_FULL = (
    "what came back by mail is no longer kept, since too much waits for a look: `returns list` shows it, and "
    "`returns drop --from`, `--older-than` or `--containing` makes room"
)


def _turned_away(count: int) -> str:
    return (
        f"mail that came back since yesterday for what the other side thinks of us (5.7): {count}; "
        "`returns list --all` says what, and `doctor` whether SPF, DKIM and DMARC are right"
    )


async def _turned_away_lately(connection: AsyncConnection, now: datetime) -> int:
    return await returns.count(connection, "policy", since=now - POLICY_REMEMBERED)


async def _wrongly_told(connection: AsyncConnection, now: datetime) -> list[str]:
    """A line for each meeting to come of which members were told an hour that new zone data has changed."""
    found = []
    for key in await corrections.outdated_occurrences(connection):
        one = await occurrences.one_occurrence(connection, key)
        if one is None or one.starts <= now or one.cancelled:
            continue
        if wrong := await corrections.wrongly_told(connection, one):
            found.append(_say_wrongly_told(one.key, wrong))
    return found


def _say_wrongly_told(key: str, wrong: Sequence[WronglyTold]) -> str:
    of_hour: Counter[tuple[str, str, str]] = Counter()
    for one in wrong:
        of_hour[one.zone, one.told, one.right] += one.members

    def hour(local: str, beside: str) -> str:
        day, _, clock = local.partition("T")
        return clock if day == beside.partition("T")[0] else f"{day} {clock}"

    named = [
        f"{count} in {zone} were told {hour(told, right)}, now {hour(right, told)}"
        for (zone, told, right), count in of_hour.most_common(ZONES_NAMED)
    ]
    if others := len(of_hour) - len(named):
        named.append(f"and those of {others} more zone{'' if others == 1 else 's'}")
    total = of_hour.total()
    return (
        f"{key}: new zone data has changed the hour that {total} member{' was' if total == 1 else 's were'} told "
        f"({'; '.join(named)}); `occurrence tell {key}` sends the update"
    )


def _is_overdue(last_tick: datetime | None, now: datetime) -> bool:
    return last_tick is None or now - last_tick > TICK_OVERDUE


def _lateness(lag: timedelta) -> str:
    return (
        f"mail is {lag // timedelta(minutes=1)} minutes behind what could be sent; see `status` and `doctor`"
    )


async def troubles(connection: AsyncConnection, now: datetime, *, late: timedelta) -> dict[str, str]:
    """What is wrong, by kind, in words that hold no address; for a service that ticks."""
    found = {}
    if standing := await held(connection):
        found["held"] = f"sending is held ({standing.reason}): {standing.advice}"
    if relay := await service_state.read(connection, service_state.RELAY):
        found["relay"] = f"{_in_brief(relay)}; `third-thursday status` says more"
    if count := await _turned_away_lately(connection, now):
        found["policy"] = _turned_away(count)
    if await returns.unkept(connection):
        found["returns"] = _RETURNS_FULL
    if lines := await _wrongly_told(connection, now):
        found["told"] = "; ".join(lines)
    if words := form_limit_problem(await service_state.read(connection, service_state.FORMS_LIMITED), now):
        found["forms"] = words
    since = await reports.ready_since(connection, now)
    if since and now - since > late:
        found["late"] = _lateness(now - since)
    return found


def _in_brief(relay: Mapping[str, str]) -> str:
    """Without what the relay said: that may hold an address."""
    return ": ".join(filter(None, ("the relay takes no mail", relay.get("brief"))))


async def is_served(connection: AsyncConnection, now: datetime) -> bool:
    """Whether a `serve` has ticked lately."""
    return not _is_overdue(await service_state.read_instant(connection, service_state.LAST_TICK), now)


async def try_writing(database: Database, now: datetime) -> Outage | None:
    """Write a little, and return what is wrong where that fails. Waits no more than some seconds for others."""
    hurried = database.in_a_hurry()
    try:
        async with hurried.write() as connection:
            await service_state.write(connection, service_state.TRIED, now)
    except OUTAGES as error:
        return outage_of(error)
    finally:
        await hurried.close()
    return None


async def health(database: Database, now: datetime, *, unwritable: Outage | None = None) -> ServiceHealth:
    """How the service is; `unwritable` is what `try_writing` found, if it was asked."""
    faults = dict.fromkeys([*([unwritable] if unwritable else []), *database.faults.standing])
    async with database.read() as connection:
        relay = await service_state.read(connection, service_state.RELAY)
        last_tick = await service_state.read_instant(connection, service_state.LAST_TICK)
        unkept = await returns.unkept(connection)
        return ServiceHealth(
            last_tick=last_tick,
            hold=await held(connection),
            relay=f"{relay['reason']} (since {relay['since']})" if relay else "",
            unwritable="; ".join(map(str, faults)),
            served=_is_overdue(last_tick, now) and database.is_served,
            members=await members.counts(connection),
            deliveries=await reports.states(connection),
            next_due=await notices.next_due(connection, now),
            oldest_waiting=await reports.oldest_waiting(connection, now),
            ready_since=await reports.ready_since(connection, now),
            failures=await reports.failures(connection),
            suppressed=await members.suppressed(connection),
            to_review=await returns.count(connection, "review"),
            turned_away=await _turned_away_lately(connection, now),
            unkept=unkept[0] if unkept else 0,
            wrongly_told=tuple(await _wrongly_told(connection, now)),
            forms_limited=form_limit_problem(
                await service_state.read(connection, service_state.FORMS_LIMITED), now
            ),
        )


async def unready(database: Database, now: datetime) -> list[str]:
    """Why the service does not do its work, a few words each; empty where it does. Reads next to nothing."""
    faults = [one.words for one in database.faults.standing]
    try:
        async with asyncio.timeout(LONGEST_READ.total_seconds()), database.read() as connection:
            served = await is_served(connection, now)
            standing = await held(connection)
            relay = await service_state.read(connection, service_state.RELAY)
            known = await service_state.read(connection, service_state.TROUBLES) or {}
    except OUTAGES:
        return faults or ["the database does not answer"]
    found = faults if served else ["there was no tick lately", *faults]
    if standing:
        found.append(f"sending is held: {standing.reason}")
    if relay:
        found.append(_in_brief(relay))
    if "late" in known:
        found.append("mail is late")
    if "told" in known:
        found.append(known["told"])
    return found
