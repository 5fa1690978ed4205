"""Taking the settings' series and policies into the database, and deriving occurrences from the rules."""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.errors import SettingsProblem
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.policy import Policy, next_occurrence
from scheduler.domain.zone import tzdata_version
from scheduler.store import occurrences, service_state
from scheduler.store.ledger import corrections
from scheduler.store.occurrences import AdoptedPolicy

log = structlog.get_logger()


def horizon(policies: Sequence[Policy]) -> timedelta:
    """How far ahead of the present occurrences and notices are kept."""
    return max((policy.longest_lead for policy in policies), default=timedelta()) + timedelta(days=2)


def holds_for(policy: Policy, series: Series) -> bool:
    return policy.series is None or policy.series == series.slug


async def check_frozen(connection: AsyncConnection, all_series: Sequence[Series], domain: str) -> None:
    """Refuse settings that would duplicate everybody's calendar. Raises SettingsProblem."""
    known = await service_state.read(connection, service_state.UID_DOMAIN)
    _refuse_changed(await occurrences.adopted_series(connection), all_series, known=known, domain=domain)


def _refuse_changed(
    adopted: Collection[str], all_series: Sequence[Series], *, known: str | None, domain: str
) -> None:
    if known is not None and known != domain:
        raise SettingsProblem(
            f"[community] domain is '{domain}' but calendars were given '{known}'; a change would make every meeting "
            f"stand twice in everybody's calendar: set it back to '{known}'"
        )
    if missing := sorted(set(adopted) - {one.slug for one in all_series}):
        raise SettingsProblem(
            f"[[series]] '{missing[0]}' is gone or renamed but its meetings stand in everybody's calendar; "
            "keep the slug (to end the series, give its rule an UNTIL)"
        )


async def adopt(
    connection: AsyncConnection,
    all_series: Sequence[Series],
    policies: Sequence[Policy],
    *,
    domain: str,
    now: datetime,
) -> bool:
    """Bring series, policies and occurrences up to the settings; returns whether any occurrence changed."""
    known_domain, known_version = await service_state.read_several(
        connection, service_state.UID_DOMAIN, service_state.TZDATA
    )
    known_series = await occurrences.adopted_series(connection)
    _refuse_changed(known_series, all_series, known=known_domain, domain=domain)
    if known_domain is None:
        await service_state.write(connection, service_state.UID_DOMAIN, domain)
    known_policies = await occurrences.adopted_policies(connection)
    until = now + horizon(policies)
    changed = False
    for series in all_series:
        known = known_series.get(series.slug)
        if known is None:
            await occurrences.adopt_series(connection, series, now)
            known = (await occurrences.adopted_series(connection))[series.slug]
        elif known.fingerprint != series.fingerprint:
            await _follow_rule(connection, series, now)
            changed = True
            known = (await occurrences.adopted_series(connection))[series.slug]
        changed |= await _derive(
            connection, series, since=known.derived_until, until=until, adopted_at=known.adopted_at
        )
        mine = [policy for policy in policies if holds_for(policy, series)]
        for policy in mine:
            adopted = known_policies.get((series.slug, policy.slug))
            if adopted is None or adopted.definition != policy.definition:
                await occurrences.adopt_policy(connection, series.slug, policy, now)
        kept = {policy.slug for policy in mine}
        if any(of == series.slug and slug not in kept for of, slug in known_policies):
            await occurrences.drop_policies(connection, series.slug, kept)
    version = tzdata_version()
    if known_version != version:
        await service_state.write(connection, service_state.TZDATA, version)
        changed |= await _take_zone_data(connection, now)
    return changed


async def _take_zone_data(connection: AsyncConnection, now: datetime) -> bool:
    """Re-time what is to come by new zone data, and mark the hours that were told and are now others."""
    former = {one.key: one.starts for one in await occurrences.all_occurrences(connection, since=now)}
    retimed = await occurrences.retime(connection, now)
    for one in await occurrences.all_occurrences(connection, since=now):
        if count := await corrections.mark_outdated(connection, one, former.get(one.key, one.starts), now):
            log.error("told-hours-changed", occurrence=one.key, zones=count)
    return bool(retimed)


async def _derive(
    connection: AsyncConnection, series: Series, *, since: datetime, until: datetime, adopted_at: datetime
) -> bool:
    """Keep the occurrences that the rule gives with a start after `since` and up to `until`."""
    if until <= since:
        return False
    new = []
    # A day's room: a home date and its instant may lie on different sides of midnight UTC.
    for day in series.dates(since.date() - timedelta(days=1)):
        starts = series.starts_on(day)
        if starts > until:
            break
        if starts > since:
            new.append(series.occurrence(day, adopted_at))
    if new:
        await occurrences.add(connection, *new)
        await occurrences.readopt_series(connection, series, until)
    return bool(new)


async def _follow_rule(connection: AsyncConnection, series: Series, now: datetime) -> None:
    told = await occurrences.mailed_occurrences(connection)
    kept = await occurrences.all_occurrences(connection, series=series.slug)
    standing, replaced = settled(series, kept, told=told, now=now)
    was_orphaned = {one.key: one.orphaned for one in kept}
    for one in standing:
        if one.orphaned != was_orphaned[one.key]:
            await occurrences.mark_orphaned(connection, one.key, one.orphaned)
    await occurrences.forget(connection, replaced)
    await occurrences.readopt_series(connection, series, now)


def settled(
    series: Series, kept: Sequence[Occurrence], *, told: Set[str], now: datetime
) -> tuple[list[Occurrence], list[str]]:
    """What a changed rule leaves of the kept occurrences of `series`, and the keys of those that it replaces.

    It holds for meetings to come of which nobody was told; the others keep their wall time, and are orphaned where
    it does not give them.
    """
    standing, replaced = [], []
    for one in kept:
        if one.starts <= now or one.revision or one.extra or one.key in told:
            orphaned = one.starts > now and not one.extra and not series.gives(one.date)
            standing.append(replace(one, orphaned=orphaned) if orphaned != one.orphaned else one)
        else:
            replaced.append(one.key)
    return standing, replaced


def adoption(
    adopted: Mapping[tuple[str, str], AdoptedPolicy], series: Series, policy: Policy, now: datetime
) -> tuple[datetime, bool]:
    """Since when the policy holds for the series, and whether it is the first of its kind there."""
    known = adopted.get((series.slug, policy.slug))
    if known and known.definition == policy.definition:
        return known.adopted_at, known.first
    others = {one.kind for (slug, _), one in adopted.items() if slug == series.slug}
    return now, policy.kind not in others


async def invites_now(connection: AsyncConnection, series: Series, adopted: AdoptedPolicy) -> str:
    """The key of the occurrence to which a policy new to its series invites at once, or empty.

    It is the one that was next when the policy was adopted, and stays so when that is over.
    """
    if not adopted.first:
        return ""
    since = await occurrences.all_occurrences(connection, since=adopted.adopted_at, series=series.slug)
    following = next_occurrence(since, adopted.adopted_at)
    return following.key if following else ""


def derived(
    series: Series,
    kept: Sequence[Occurrence],
    *,
    until: datetime,
    after: datetime | None,
    adopted_at: datetime,
) -> list[Occurrence]:
    """The occurrences of a series up to `until` by start: those that are kept, and behind `after` (where the kept
    ones end; None for all) those that the rule gives."""
    keys = {one.key for one in kept}
    found = [one for one in kept if one.series == series.slug and one.starts <= until]
    for day in series.dates(after.date() - timedelta(days=1) if after else series.first):
        starts = series.starts_on(day)
        if starts > until:
            break
        if (after is None or starts > after) and f"{series.slug}/{day}" not in keys:
            found.append(series.occurrence(day, adopted_at))
    return sorted(found, key=lambda one: (one.starts, one.key))
