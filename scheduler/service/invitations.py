"""Return which invitations are open, to invite new members at once, and what is due for an added occurrence."""

from collections.abc import Collection, Mapping, Sequence
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
    late_invitations,
    next_occurrence,
)
from scheduler.domain.text import counted
from scheduler.service.schedule import timeline
from scheduler.service.settings_sync import adoption, applies_to, horizon, wanted_notices
from scheduler.store import members, notices, occurrences
from scheduler.store.database import Database
from scheduler.store.ledger import reports
from scheduler.store.ledger.fan_out import Reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """The invitation to the next occurrence of a series as it is planned, or will be at the next tick.

    `late` is from when it is sent if it was due before `adopted_at`; None: never. `dues` are the stored due instants
    (UTC) by zone.
    """

    occurrence: Occurrence
    policy: Policy
    adopted_at: datetime
    late: datetime | None
    dues: Mapping[str, datetime]

    def is_open_in(self, zone: str, now: datetime) -> bool:
        """Return whether a new member in `zone` is invited at `now`."""
        wants = wanted_notices(
            self.policy,
            [self.occurrence],
            zones=frozenset({zone}),
            adopted_at=self.adopted_at,
            invited_late={self.occurrence.key: self.late} if self.late else {},
        )
        due = (due_in(wants[0].dues, zone) if wants else None) or due_in(self.dues, zone)
        return due is not None and due <= now < self.occurrence.starts


def with_mails(mails: int, members: int) -> str:
    """Return `, with 5 mails` if `members` do not get one each, else nothing."""
    return f", with {counted(mails, 'mail')}" if mails != members else ""


async def invitations(
    database: Database, *, series: Sequence[Series], policies: Sequence[Policy], now: datetime
) -> list[Invitation]:
    """Return the invitation to the next meeting of each series, which may be open, whether or not a `serve` has ever
    run. Invitations to later meetings are sent to new members only when that meeting is over."""
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
                late = late_invitations(planned, adopted_at, is_first=is_first)
                if (occurrence := next_occurrence(planned, now)) is None:
                    continue
                notice = open_notices.get(identity(policy.kind, occurrence, policy.slug))
                if notice is None or notice.stopped_at is None:
                    stored_dues = dues.get(notice.id, {}) if notice else {}
                    coming_invitations.append(
                        Invitation(
                            occurrence=occurrence,
                            policy=policy,
                            adopted_at=adopted_at,
                            late=late.get(occurrence.key),
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
                invited_late=late_invitations([*before, added], adopted_at, is_first=is_first),
            )
    return wants


async def count_due_now(
    database: Database, want: Wanted, *, by_choice: Collection[str], now: datetime
) -> int:
    """Return to how many members a notice that does not exist yet would be sent at once. `by_choice` are the slugs of
    the series that only those members follow who say so."""
    recipients = 0
    async with database.read() as connection:
        for zone, due in want.dues.items():
            if due <= now:
                only = None if zone == EVERY_ZONE else zone
                missing = await reports.missing_by_zone(
                    connection, want, notice=None, due=due, zone=only, reach=Reach(by_choice=by_choice)
                )
                recipients += sum(missing.values())
    return recipients
