"""Decide what counts as trouble, and report the health of the service to convenors, monitoring and `doctor`."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.text import counted
from scheduler.service.form_limits import form_limit_problem
from scheduler.service.scheduled_backups import backup_trouble
from scheduler.service.sending_pause import BY_CLOCK, SendingPaused, current_pause
from scheduler.store import forwards, members, notices, occurrences, returns, service_state
from scheduler.store.database import OUTAGES, Database
from scheduler.store.ledger import corrections, reports
from scheduler.store.ledger.corrections import WronglyTold
from scheduler.store.notices import Notice
from scheduler.store.outage import Outage, outage_of

TICK_OVERDUE = timedelta(seconds=90)
LATE = timedelta(minutes=15)
POLICY_REMEMBERED = timedelta(days=1)
MAILBOX_PATIENCE = timedelta(minutes=10)
"""How long the mailbox may be away, as while its server restarts, before that counts as trouble."""
ZONES_NAMED = 5
LONGEST_READ = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHealth:
    """The state of the service at one instant. All instants are in UTC.

    `relay` is why the relay takes no mail, `unwritable` why the database cannot be written; both are empty if all is
    well. `served` is whether a `serve` is running although its tick is overdue (SQLite only). `oldest_waiting` is the
    earliest due instant of the queued mail, `ready_since` since when some of it could have been tried. `suppressed`
    counts the members whose address takes no mail, `to_review` the returned mails that wait for review, `unkept` those
    that were only counted because too many wait, `turned_away` the recent ones that were refused for the sender's
    reputation or policy. `wrongly_told` is a line for each meeting whose local time was changed by new zone data after
    members were told. `forms_limited` says that visitors asked for too much mail by forms; empty if not. `unbacked`
    says that no backup has succeeded for too long; empty if one has, or if none are made. `mailbox` says that the
    mailbox cannot be read; empty if it can, or if there is none; `mailbox_read` is when it last could. `unforwarded`
    counts the letters that did not reach the convenors' address. `on_hold` are the notices that convenors hold.
    """

    last_tick: datetime | None
    pause: SendingPaused | None
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
    wrongly_told: tuple["WrongHour", ...] = ()
    forms_limited: str = ""
    unbacked: str = ""
    mailbox: str = ""
    mailbox_read: datetime | None = None
    unforwarded: int = 0
    last_backup: datetime | None = None
    rehearsed: datetime | None = None
    on_hold: tuple[Notice, ...] = ()

    def is_overdue(self, now: datetime) -> bool:
        """Return whether the work of `serve` is not getting done; a wrong clock stops it on purpose."""
        by_clock = self.pause is not None and self.pause.reason in BY_CLOCK
        return not by_clock and _is_overdue(self.last_tick, now)

    def lag(self, now: datetime) -> timedelta:
        """Return how long mail that could be sent has been waiting."""
        return now - self.ready_since if self.ready_since else timedelta()

    def troubles(self, now: datetime, *, late: timedelta = LATE) -> list[str]:
        """Return what is wrong, a line each; empty if all is well. A lag above `late` counts as wrong."""
        lines = [self.unwritable] if self.unwritable else []
        if self.is_overdue(now):
            lines.append(
                "`serve` is running, but its work is not getting done: see its log"
                if self.served
                else "no `serve` is running: nothing is being sent"
            )
        if self.pause:
            lines.append(f"sending is held ({self.pause.reason}): {self.pause.advice}")
        if self.relay:
            lines.append(f"the relay takes no mail: {self.relay}")
        if self.turned_away:
            lines.append(_turned_away(self.turned_away))
        if self.unkept:
            lines.append(f"{_RETURNS_FULL}; so far {self.unkept} were only counted")
        lines += map(str, self.wrongly_told)
        if self.forms_limited:
            lines.append(self.forms_limited)
        if self.unbacked:
            lines.append(self.unbacked)
        if self.mailbox:
            lines.append(self.mailbox)
        if self.unforwarded:
            lines.append(_unforwarded(self.unforwarded))
        if self.lag(now) > late:
            lines.append(_lateness(self.lag(now)))
        return lines


_RETURNS_FULL = (
    "returned mail is no longer kept, because too much waits for review: `returns list` shows it, and "
    "`returns drop --from`, `--older-than` or `--containing` makes room"
)


def _turned_away(count: int) -> str:
    return (
        f"mails returned since yesterday because the receiving server distrusts this sender (5.7): {count}; "
        "`returns list --all` shows why, and `doctor` checks SPF, DKIM and DMARC"
    )


def mailbox_trouble(state: Mapping[str, Any] | None, now: datetime) -> str:
    """Return that the mailbox cannot be read, from its stored state; empty if it can, or not for long."""
    since = service_state.as_instant((state or {}).get("since"))
    if state is None or since is None or (not state.get("lasting") and now - since < MAILBOX_PATIENCE):
        return ""
    return f"the mailbox cannot be read since {since:%Y-%m-%d %H:%M} UTC: {state.get('reason', '')}"


def _unforwarded(count: int) -> str:
    letters = "a letter" if count == 1 else f"{count} letters"
    return f"{letters} could not be forwarded to the convenors' address; read what people wrote with `returns list`"


async def _turned_away_lately(connection: AsyncConnection, now: datetime) -> int:
    return await returns.count(connection, "policy", since=now - POLICY_REMEMBERED)


@dataclass(frozen=True, slots=True)
class WrongHour:
    """A coming meeting whose local time members were told before new zone data changed it. Its text says what to do on
    the command line, too."""

    occurrence: str
    words: str

    def __str__(self) -> str:
        return f"{self.words}; `occurrence tell {self.occurrence}` sends the update"


async def _wrongly_told(connection: AsyncConnection, now: datetime) -> list[WrongHour]:
    """Return a line for each coming meeting whose local time members were told before new zone data changed it."""
    lines = []
    for key in await corrections.outdated_occurrences(connection):
        occurrence = await occurrences.occurrence_by_key(connection, key)
        if occurrence is None or occurrence.starts <= now or occurrence.cancelled:
            continue
        if groups := await corrections.wrongly_told(connection, occurrence):
            lines.append(_say_wrongly_told(key, groups))
    return lines


def _say_wrongly_told(key: str, groups: Sequence[WronglyTold]) -> WrongHour:
    count_by_change: Counter[tuple[str, str, str]] = Counter()
    for group in groups:
        count_by_change[group.zone, group.told, group.right] += group.members

    def hour(local: str, beside: str) -> str:
        """Return the time of day of `local`, with its date if that differs from the one of `beside`."""
        day, _, clock = local.partition("T")
        return clock if day == beside.partition("T")[0] else f"{day} {clock}"

    changes = [
        f"{counted(count, f'in {zone} was', f'in {zone} were')} told {hour(told, right)}, now {hour(right, told)}"
        for (zone, told, right), count in count_by_change.most_common(ZONES_NAMED)
    ]
    if others := len(count_by_change) - len(changes):
        changes.append(f"and those of {counted(others, 'more zone')}")
    total = count_by_change.total()
    return WrongHour(
        key,
        f"{key}: new zone data has changed the local time that {counted(total, 'member was', 'members were')} "
        f"told ({'; '.join(changes)})",
    )


def _is_overdue(last_tick: datetime | None, now: datetime) -> bool:
    return last_tick is None or now - last_tick > TICK_OVERDUE


def _lateness(lag: timedelta) -> str:
    return (
        f"mail is {lag // timedelta(minutes=1)} minutes behind what could be sent; see `status` and `doctor`"
    )


async def troubles(connection: AsyncConnection, now: datetime, *, late: timedelta) -> dict[str, str]:
    """Return what is wrong with a service that ticks, by kind, in words without addresses; so is a lag above `late`."""
    troubles_by_kind = {}
    if pause := await current_pause(connection):
        troubles_by_kind["held"] = f"sending is held ({pause.reason}): {pause.advice}"
    if relay := await service_state.read(connection, service_state.RELAY):
        troubles_by_kind["relay"] = f"{_in_brief(relay)}; `third-thursday status` says more"
    if count := await _turned_away_lately(connection, now):
        troubles_by_kind["policy"] = _turned_away(count)
    if await returns.discarded(connection):
        troubles_by_kind["returns"] = _RETURNS_FULL
    if lines := await _wrongly_told(connection, now):
        troubles_by_kind["told"] = "; ".join(map(str, lines))
    if words := form_limit_problem(await service_state.read(connection, service_state.FORMS_LIMITED), now):
        troubles_by_kind["forms"] = words
    if words := backup_trouble(await service_state.read(connection, service_state.BACKUPS), now):
        troubles_by_kind["backup"] = words
    if words := mailbox_trouble(await service_state.read(connection, service_state.MAILBOX), now):
        troubles_by_kind["mailbox"] = words
    if count := await forwards.count_failed(connection):
        troubles_by_kind["letters"] = _unforwarded(count)
    since = await reports.ready_since(connection, now)
    if since and now - since > late:
        troubles_by_kind["late"] = _lateness(now - since)
    return troubles_by_kind


def _in_brief(relay: Mapping[str, str]) -> str:
    """Leave out the relay's reply: it may contain an address."""
    return ": ".join(filter(None, ("the relay takes no mail", relay.get("brief"))))


async def is_served(connection: AsyncConnection, now: datetime) -> bool:
    """Return whether a `serve` has ticked within TICK_OVERDUE."""
    return not _is_overdue(await service_state.read_instant(connection, service_state.LAST_TICK), now)


async def try_writing(database: Database, now: datetime) -> Outage | None:
    """Try a small write, and return the outage if it fails. Waits only a few seconds for other writers."""
    hurried = database.with_short_timeout()
    try:
        async with hurried.write() as connection:
            await service_state.write(connection, service_state.TRIED, now)
    except OUTAGES as error:
        return outage_of(error)
    finally:
        await hurried.close()
    return None


async def health(database: Database, now: datetime, *, unwritable: Outage | None = None) -> ServiceHealth:
    """Return the health of the service; `unwritable` is the result of `try_writing`, if it was called."""
    faults = dict.fromkeys([*([unwritable] if unwritable else []), *database.outages.current])
    async with database.read() as connection:
        relay = await service_state.read(connection, service_state.RELAY)
        last_tick = await service_state.read_instant(connection, service_state.LAST_TICK)
        unkept = await returns.discarded(connection)
        backups, rehearsed, mailbox = await service_state.read_several(
            connection, service_state.BACKUPS, service_state.REHEARSED, service_state.MAILBOX
        )
        return ServiceHealth(
            last_tick=last_tick,
            pause=await current_pause(connection),
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
            unbacked=backup_trouble(backups, now),
            mailbox=mailbox_trouble(mailbox, now),
            mailbox_read=service_state.as_instant((mailbox or {}).get("read")),
            unforwarded=await forwards.count_failed(connection),
            last_backup=service_state.as_instant((backups or {}).get("succeeded")),
            rehearsed=service_state.as_instant(rehearsed),
            on_hold=tuple(await notices.on_hold(connection, now)),
        )


async def unready(database: Database, now: datetime) -> list[str]:
    """Return why the service does not do its work, a few words each; empty if it does. Reads very little."""
    faults = [outage.words for outage in database.outages.current]
    try:
        async with asyncio.timeout(LONGEST_READ.total_seconds()), database.read() as connection:
            served = await is_served(connection, now)
            pause = await current_pause(connection)
            relay = await service_state.read(connection, service_state.RELAY)
            reported = await service_state.read(connection, service_state.TROUBLES) or {}
    except OUTAGES:
        return faults or ["the database does not answer"]
    reasons = faults if served else ["there was no tick lately", *faults]
    if pause:
        reasons.append(f"sending is held: {pause.reason}")
    if relay:
        reasons.append(_in_brief(relay))
    if "late" in reported:
        reasons.append("mail is late")
    if "told" in reported:
        reasons.append(reported["told"])
    return reasons
