"""Return which invitations are open, to invite new members at once, and what is due for an added occurrence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.policy import EVERY_ZONE, Kind, Policy, Wanted, due_in, identity
from scheduler.service.schedule import timeline
from scheduler.service.settings_sync import adoption, applies_to, first_invited, horizon, wanted_notices
from scheduler.store import members, notices, occurrences
from scheduler.store.database import Database
from scheduler.store.ledger import reports


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """The invitation to an occurrence as it is planned, or will be at the next tick.

    `at_once`: it is sent even if it was due before `adopted_at`. `dues` are the stored due instants (UTC) by zone.
    """

    occurrence: Occurrence
    policy: Policy
    adopted_at: datetime
    at_once: bool
    dues: Mapping[str, datetime]

    def is_open_in(self, zone: str, now: datetime) -> bool:
        """Return whether a new member in `zone` is invited at `now`."""
        wants = wanted_notices(
            self.policy,
            [self.occurrence],
            zones=frozenset({zone}),
            adopted_at=self.adopted_at,
            invited_at_once=self.occurrence.key if self.at_once else "",
        )
        due = (due_in(wants[0].dues, zone) if wants else None) or due_in(self.dues, zone)
        return due is not None and due <= now < self.occurrence.starts


async def invitations(
    database: Database, *, series: Sequence[Series], policies: Sequence[Policy], now: datetime
) -> list[Invitation]:
    """Return the invitations to coming meetings that may be open, whether or not a `serve` has ever run."""
    until = now + horizon(policies)
    coming_invitations = []
    async with database.read() as connection:
        adopted_policies = await occurrences.adopted_policies(connection)
        open_notices = {notice.identity: notice for notice in await notices.open_notices(connection)}
        dues = await notices.dues_of_open(connection)
        for each_series in series:
            line = await timeline(connection, [each_series], now=now)
            for policy in policies:
                if policy.kind is not Kind.INVITATION or not applies_to(policy, each_series):
                    continue
                adopted_at, is_first = adoption(adopted_policies, each_series, policy, now)
                planned = list(
                    takewhile(lambda occurrence: occurrence.starts <= until, line.since(min(adopted_at, now)))
                )
                invited_at_once = first_invited(planned, adopted_at, is_first=is_first)
                for occurrence in planned:
                    notice = open_notices.get(identity(policy.kind, occurrence, policy.slug))
                    stopped = notice is not None and notice.stopped_at is not None
                    dropped = occurrence.cancelled or occurrence.orphaned or stopped
                    if occurrence.starts > now and not dropped:
                        stored_dues = dues.get(notice.id, {}) if notice else {}
                        coming_invitations.append(
                            Invitation(
                                occurrence=occurrence,
                                policy=policy,
                                adopted_at=adopted_at,
                                at_once=occurrence.key == invited_at_once,
                                dues={zone: due.due for zone, due in stored_dues.items()},
                            )
                        )
    return coming_invitations


async def wanted_for_added(
    database: Database, added: Occurrence, *, series: Series, policies: Sequence[Policy], now: datetime
) -> list[Wanted]:
    """Return the notices that the policies want of an occurrence that is being added to `series`."""
    wants = []
    async with database.read() as connection:
        adopted_policies = await occurrences.adopted_policies(connection)
        zones = await members.zones(connection)
        line = await timeline(connection, [series], now=now)
        for policy in policies:
            if not applies_to(policy, series):
                continue
            adopted_at, is_first = adoption(adopted_policies, series, policy, now)
            before = takewhile(
                lambda occurrence: occurrence.starts <= added.starts, line.since(min(adopted_at, now))
            )
            wants += wanted_notices(
                policy,
                [added],
                zones=zones,
                adopted_at=adopted_at,
                invited_at_once=first_invited([*before, added], adopted_at, is_first=is_first),
            )
    return wants


async def count_due_now(database: Database, want: Wanted, *, now: datetime) -> int:
    """Return to how many members a notice that does not exist yet would be sent at once."""
    recipients = 0
    async with database.read() as connection:
        for zone, due in want.dues.items():
            if due <= now:
                only = None if zone == EVERY_ZONE else zone
                missing = await reports.missing_by_zone(connection, want, notice=None, due=due, zone=only)
                recipients += sum(missing.values())
    return recipients
