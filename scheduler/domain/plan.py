"""What the policies want told about an occurrence: the derivation that planning reconciles the ledger with."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from scheduler.domain.occurrence import Occurrence
from scheduler.domain.policy import EVERY_ZONE, FOLLOW_UP_LASTS, Kind, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A notice that a policy wants. `dues` holds the due instant (UTC) by zone, `*` for all zones at once; it is
    empty where every due instant lies before the policy was adopted."""

    kind: Kind
    policy: str
    occurrence: str
    identity: str
    starts: datetime
    expires: datetime
    dues: Mapping[str, datetime]


def identity(kind: Kind, occurrence: Occurrence, policy: str) -> str:
    """What makes two notices one. A reminder's holds the start, so that a moved meeting reminds anew."""
    if kind is Kind.REMINDER:
        return f"{kind}:{occurrence.key}:{policy}:{occurrence.starts.astimezone(UTC):%Y%m%dT%H%MZ}"
    return f"{kind}:{occurrence.key}"


def wanted(
    occurrence: Occurrence, policy: Policy, *, zones: frozenset[str], adopted_at: datetime, invite_now: bool
) -> Wanted | None:
    """Return what `policy` wants told about `occurrence` to members in `zones`, or None where nothing.

    A due instant before `adopted_at` creates nothing, but for an invitation where `invite_now` says that this is
    the next occurrence of a series new to invitations. A follow-up is wanted of a meeting that has materials, if they
    were there while it would have been of use.
    """
    if occurrence.cancelled or occurrence.orphaned:
        return None
    at_once = invite_now and policy.kind is Kind.INVITATION
    dues = {zone: policy.due_about(occurrence, zone) for zone in policy.zones(zones)}
    expires = occurrence.starts
    if policy.kind is Kind.FOLLOW_UP:
        expires = max(dues.values(), default=occurrence.ends) + FOLLOW_UP_LASTS
        if not occurrence.materials or occurrence.changed_at >= expires:
            return None
    return Wanted(
        kind=policy.kind, policy=policy.slug, occurrence=occurrence.key,
        identity=identity(policy.kind, occurrence, policy.slug),
        starts=occurrence.starts, expires=expires,
        dues={zone: due for zone, due in dues.items() if at_once or due >= adopted_at},
    )  # fmt: skip


def next_occurrence(occurrences: Iterable[Occurrence], after: datetime) -> Occurrence | None:
    """The first of `occurrences` that is held and starts after `after`."""
    held = (one for one in occurrences if not one.cancelled and not one.orphaned and one.starts > after)
    return min(held, key=lambda one: (one.starts, one.key), default=None)


def due_in(dues: Mapping[str, datetime], zone: str) -> datetime | None:
    """The due instant for a member in `zone`, or None where there is none."""
    return dues.get(zone, dues.get(EVERY_ZONE))
