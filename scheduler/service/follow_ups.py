"""Send the follow-up of a meeting that is over, with its recording and notes, to the followers of its series, once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.actor import SERVICE, Actor
from scheduler.domain.audience import Audience
from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import Occurrence, Series, slugs_by_choice
from scheduler.domain.policy import EVERY_ZONE, FOLLOW_UP_LASTS, Kind, Policy
from scheduler.domain.text import counted
from scheduler.service.notices import PublishedNotice, publish_notice
from scheduler.service.occurrences import require_occurrence
from scheduler.service.settings_sync import applies_to
from scheduler.store import meeting_records, members, notices
from scheduler.store.database import Database
from scheduler.store.notices import Notice

_NO_POLICY = "follow-up"
"""What stands for the policy of a follow-up in a series for which there is none."""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A meeting whose follow-up can be sent, and to how many members it would go."""

    occurrence: Occurrence
    recipients: int


async def notice_of(database: Database, key: str) -> Notice | None:
    """Return the notice that is the follow-up of a meeting, if there is one; it is the only one."""
    async with database.read() as connection:
        notice = await notices.by_identity(connection, _identity(key))
    return notice if notice and notice.ready else None


async def find_follow_up(
    database: Database, all_series: Mapping[str, Series], key: str, *, now: datetime
) -> FollowUp:
    """Return whom the follow-up of a meeting would go to.

    Raises Refused if the meeting is not over or has no materials, and if its follow-up is planned or was sent.
    """
    async with database.read() as connection:
        occurrence = await _require_ready(connection, all_series, key, now)
        audience = _followers(occurrence, all_series)
        recipients = await members.count_audience(connection, audience, kind=Kind.FOLLOW_UP)
    if not recipients:
        raise Refused(f"{key}: its follow-up would go to nobody")
    return FollowUp(occurrence, recipients)


async def send_follow_up(
    database: Database,
    all_series: Mapping[str, Series],
    policies: Sequence[Policy],
    key: str,
    *,
    now: datetime,
    hold: timedelta = timedelta(),
    recipients: int | None = None,
    by: Actor = SERVICE,
) -> PublishedNotice:
    """Send the follow-up of a meeting; the first mail leaves after `hold`.

    However often it is called, and wherever an earlier call was interrupted, each member gets one mail. Raises Refused
    as `find_follow_up`, and if their number is not the `recipients` that the convenor was shown.
    """
    found = await find_follow_up(database, all_series, key, now=now)
    if recipients is not None and found.recipients != recipients:
        raise Refused(f"it would now go to {counted(found.recipients, 'member')}, not to {recipients:,}")
    occurrence = found.occurrence
    return await publish_notice(
        database,
        audience=_followers(occurrence, all_series),
        audience_text=f"series:{occurrence.series}",
        dues={EVERY_ZONE: now + hold},
        now=now,
        identity=_identity(key),
        kind=Kind.FOLLOW_UP,
        policy=_policy_slug(policies, all_series[occurrence.series]),
        occurrence=key,
        starts=occurrence.starts,
        expires=now + hold + FOLLOW_UP_LASTS,
        by=by,
        act="follow-up-sent",
    )


async def _require_ready(
    connection: AsyncConnection, all_series: Mapping[str, Series], key: str, now: datetime
) -> Occurrence:
    occurrence = await require_occurrence(connection, all_series, key, now)
    if not occurrence.is_held:
        raise Refused(f"{key} was not held; there is nothing to follow up")
    if occurrence.ends > now:
        raise Refused(f"{key} is not over yet")
    if not occurrence.materials:
        raise Refused(f"{key} has no recording, slides or notes yet; add them first")
    if (await meeting_records.record_of(connection, key)).month_only:
        raise Refused(f"{key}: only its month is known; move it to the day on which it was held first")
    notice = await notices.by_identity(connection, _identity(key))
    if notice and notice.ready:
        raise Refused(f"{key}: notice {notice.id} is its follow-up", command="`notice show` shows it")
    return occurrence


def _followers(occurrence: Occurrence, all_series: Mapping[str, Series]) -> Audience:
    return Audience(terms={"series": [occurrence.series]}, by_choice=slugs_by_choice(all_series.values()))


def _policy_slug(policies: Sequence[Policy], series: Series) -> str:
    """Return the slug of the series' follow-up policy: members switch the follow-up off by kind, not by policy."""
    slugs = [
        policy.slug for policy in policies if policy.kind is Kind.FOLLOW_UP and applies_to(policy, series)
    ]
    return slugs[0] if slugs else _NO_POLICY


def _identity(key: str) -> str:
    return f"{Kind.FOLLOW_UP}:{key}"
