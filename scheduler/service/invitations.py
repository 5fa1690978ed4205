"""Which invitations are open already, so that who comes onto the list now is invited at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.policy import (
    EVERY_ZONE,
    Kind,
    Policy,
    Wanted,
    due_in,
    identity,
    next_occurrence,
    wanted,
)
from scheduler.service.schedule import timeline
from scheduler.service.settings_sync import adoption, holds_for, horizon
from scheduler.store import members, notices, occurrences
from scheduler.store.database import Database
from scheduler.store.ledger import reports


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """The invitation to an occurrence as the plan has it, or would have it at its next tick.

    `at_once`: it is sent even where it was due before `adopted_at`. `dues` are the instants, by zone, that stand.
    """

    occurrence: Occurrence
    policy: Policy
    adopted_at: datetime
    at_once: bool
    dues: Mapping[str, datetime]

    def is_open_in(self, zone: str, now: datetime) -> bool:
        """Whether a new member in `zone` would get it at `now`."""
        want = wanted(
            self.occurrence,
            self.policy,
            zones=frozenset({zone}),
            adopted_at=self.adopted_at,
            invite_now=self.at_once,
        )
        due = (due_in(want.dues, zone) if want else None) or due_in(self.dues, zone)
        return due is not None and due <= now < self.occurrence.starts


async def invitations(
    database: Database, *, series: Sequence[Series], policies: Sequence[Policy], now: datetime
) -> list[Invitation]:
    """The invitations to meetings still to come that may be open, whether or not a `serve` has ever run."""
    until = now + horizon(policies)
    found = []
    async with database.read() as connection:
        adopted = await occurrences.adopted_policies(connection)
        standing = {one.identity: one for one in await notices.open_notices(connection)}
        dues = await notices.dues_of_open(connection)
        for its, policy in ((one, policy) for one in series for policy in policies if holds_for(policy, one)):
            if policy.kind is not Kind.INVITATION:
                continue
            line = await timeline(connection, [its], now=now)
            adopted_at, first = adoption(adopted, its, policy, now)
            since = list(takewhile(lambda one: one.starts <= until, line.since(min(adopted_at, now))))
            following = next_occurrence(since, adopted_at) if first else None
            for one in since:
                notice = standing.get(identity(policy.kind, one, policy.slug))
                stopped = notice is not None and notice.stopped_at is not None
                if one.starts > now and not one.cancelled and not one.orphaned and not stopped:
                    kept = dues.get(notice.id, {}) if notice else {}
                    found.append(
                        Invitation(
                            occurrence=one,
                            policy=policy,
                            adopted_at=adopted_at,
                            at_once=following is not None and one.key == following.key,
                            dues={zone: due.due for zone, due in kept.items()},
                        )
                    )
    return found


async def wanted_of(
    database: Database, new: Occurrence, *, series: Series, policies: Sequence[Policy], now: datetime
) -> list[Wanted]:
    """What the policies want told about an occurrence that is being added."""
    found = []
    async with database.read() as connection:
        adopted = await occurrences.adopted_policies(connection)
        zones = await members.zones(connection)
        line = await timeline(connection, [series], now=now)
        for policy in (one for one in policies if holds_for(one, series)):
            adopted_at, first = adoption(adopted, series, policy, now)
            held = takewhile(lambda one: one.starts <= new.starts, line.since(min(adopted_at, now)))
            following = next_occurrence([*held, new], adopted_at) if first else None
            want = wanted(
                new,
                policy,
                zones=zones,
                adopted_at=adopted_at,
                invite_now=following is not None and following.key == new.key,
            )
            if want:
                found.append(want)
    return found


async def count_due(database: Database, want: Wanted, *, now: datetime) -> int:
    """To how many members a notice that does not exist yet would go at once."""
    number = 0
    async with database.read() as connection:
        for zone, due in want.dues.items():
            if due <= now:
                only = None if zone == EVERY_ZONE else zone
                number += sum(
                    (
                        await reports.missing_by_zone(connection, want, notice=None, due=due, zone=only)
                    ).values()
                )
    return number
