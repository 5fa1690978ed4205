"""Adopt the series and policies of the settings into the database, and derive occurrences from the rules."""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.errors import SettingsProblem
from scheduler.domain.occurrence import Occurrence, Series, slugs_by_choice
from scheduler.domain.policy import Policy, Wanted, late_invitations, wanted
from scheduler.domain.zone import tzdata_version
from scheduler.store import occurrences, service_state
from scheduler.store.ledger import corrections
from scheduler.store.occurrences import AdoptedPolicy

log = structlog.get_logger()


def horizon(policies: Sequence[Policy]) -> timedelta:
    """Return how far ahead of the present occurrences and notices are stored."""
    return max((policy.longest_lead for policy in policies), default=timedelta()) + timedelta(days=2)


def applies_to(policy: Policy, series: Series) -> bool:
    return policy.series is None or series.slug in policy.series


async def check_frozen(connection: AsyncConnection, all_series: Sequence[Series], domain: str) -> None:
    """Raise SettingsProblem for settings that would duplicate the meetings in everybody's calendar."""
    used_domain = await service_state.read(connection, service_state.UID_DOMAIN)
    adopted = await occurrences.adopted_series(connection)
    _refuse_duplicates(adopted, all_series, used_domain=used_domain, domain=domain)


def _refuse_duplicates(
    adopted: Collection[str], all_series: Sequence[Series], *, used_domain: str | None, domain: str
) -> None:
    if used_domain is not None and used_domain != domain:
        raise SettingsProblem(
            f"[community] domain is '{domain}', but calendars already use '{used_domain}'; with another domain every "
            f"meeting would appear twice in everybody's calendar: set it back to '{used_domain}'"
        )
    if missing := sorted(set(adopted) - {series.slug for series in all_series}):
        raise SettingsProblem(
            f"[[series]] '{missing[0]}' was removed or renamed, but its meetings are in everybody's calendar; "
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
    """Bring the stored series, policies and occurrences up to date with the settings.

    Returns whether any occurrence changed. Raises SettingsProblem as `check_frozen`.
    """
    used_domain, used_version = await service_state.read_several(
        connection, service_state.UID_DOMAIN, service_state.TZDATA
    )
    adopted_series = await occurrences.adopted_series(connection)
    _refuse_duplicates(adopted_series, all_series, used_domain=used_domain, domain=domain)
    if used_domain is None:
        await service_state.write(connection, service_state.UID_DOMAIN, domain)
    adopted_policies = await occurrences.adopted_policies(connection)
    until = now + horizon(policies)
    changed = False
    for series in all_series:
        adopted = adopted_series.get(series.slug)
        if adopted is None:
            await occurrences.adopt_series(connection, series, now)
            adopted = (await occurrences.adopted_series(connection))[series.slug]
        elif adopted.fingerprint != series.fingerprint:
            await _adopt_changed_rule(connection, series, now)
            changed = True
            adopted = (await occurrences.adopted_series(connection))[series.slug]
        changed |= await _derive(
            connection, series, since=adopted.derived_until, until=until, adopted_at=adopted.adopted_at
        )
        await _adopt_policies(connection, series, policies, adopted_policies, now=now)
    if await _default_changed(connection, all_series):
        changed = True
    version = tzdata_version()
    if used_version != version:
        await service_state.write(connection, service_state.TZDATA, version)
        changed |= await _apply_zone_data(connection, now)
    return changed


async def _default_changed(connection: AsyncConnection, all_series: Sequence[Series]) -> bool:
    """Store which series are followed by choice. If that has changed, let the next look at members be a full one."""
    former, present = (
        await service_state.read(connection, service_state.BY_CHOICE),
        sorted(slugs_by_choice(all_series)),
    )
    if (former or []) == present:
        return False
    await service_state.write(connection, service_state.BY_CHOICE, present)
    await service_state.write(connection, service_state.SWEPT, None)
    return True


async def _adopt_policies(
    connection: AsyncConnection,
    series: Series,
    policies: Sequence[Policy],
    adopted: Mapping[tuple[str, str], AdoptedPolicy],
    *,
    now: datetime,
) -> None:
    applying = [policy for policy in policies if applies_to(policy, series)]
    for policy in applying:
        known = adopted.get((series.slug, policy.slug))
        if known is None or known.definition != policy.definition:
            await occurrences.adopt_policy(connection, series.slug, policy, now)
    slugs = {policy.slug for policy in applying}
    if any(series_slug == series.slug and slug not in slugs for series_slug, slug in adopted):
        await occurrences.drop_policies(connection, series.slug, slugs)


async def _apply_zone_data(connection: AsyncConnection, now: datetime) -> bool:
    """Re-time coming occurrences by new zone data, and mark the local times that members were told and that are now
    wrong. Returns whether any occurrence was re-timed."""
    former_starts = {
        occurrence.key: occurrence.starts
        for occurrence in await occurrences.all_occurrences(connection, since=now)
    }
    retimed = await occurrences.retime(connection, now)
    for occurrence in await occurrences.all_occurrences(connection, since=now):
        former = former_starts.get(occurrence.key, occurrence.starts)
        if count := await corrections.mark_outdated(connection, occurrence, former, now):
            log.error("told-hours-changed", occurrence=occurrence.key, zones=count)
    return bool(retimed)


async def _derive(
    connection: AsyncConnection, series: Series, *, since: datetime, until: datetime, adopted_at: datetime
) -> bool:
    """Store the occurrences that the rule gives with a start after `since` and up to `until`; return whether there are
    any."""
    if until <= since:
        return False
    new = []
    # A day earlier: a home date and its instant may be on different sides of midnight UTC.
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


async def _adopt_changed_rule(connection: AsyncConnection, series: Series, now: datetime) -> None:
    kept_occurrences = await occurrences.kept_occurrences(connection)
    stored = await occurrences.all_occurrences(connection, series=series.slug)
    remaining, replaced = apply_rule(series, stored, kept_occurrences=kept_occurrences, now=now)
    was_orphaned = {occurrence.key: occurrence.orphaned for occurrence in stored}
    for occurrence in remaining:
        if occurrence.orphaned != was_orphaned[occurrence.key]:
            await occurrences.mark_orphaned(connection, occurrence.key, occurrence.orphaned)
    await occurrences.forget(connection, replaced)
    await occurrences.readopt_series(connection, series, now)


def apply_rule(
    series: Series, stored: Sequence[Occurrence], *, kept_occurrences: Set[str], now: datetime
) -> tuple[list[Occurrence], list[str]]:
    """Return the stored occurrences of `series` that remain under a changed rule, and the keys of those it replaces.

    The rule replaces coming occurrences that nobody was told of; `kept_occurrences` are the keys of the others. They
    keep their wall time, and are orphaned if the rule does not give them.
    """
    remaining, replaced = [], []
    for occurrence in stored:
        if (
            occurrence.starts <= now
            or occurrence.revision
            or occurrence.extra
            or occurrence.key in kept_occurrences
        ):
            orphaned = occurrence.starts > now and not occurrence.extra and not series.gives(occurrence.date)
            remaining.append(
                replace(occurrence, orphaned=orphaned) if orphaned != occurrence.orphaned else occurrence
            )
        else:
            replaced.append(occurrence.key)
    return remaining, replaced


def adoption(
    adopted: Mapping[tuple[str, str], AdoptedPolicy], series: Series, policy: Policy, now: datetime
) -> tuple[datetime, bool]:
    """Return since when a policy applies to a series, and whether it is the first of its kind there."""
    known = adopted.get((series.slug, policy.slug))
    if known and known.definition == policy.definition:
        return known.adopted_at, known.first
    kinds = {other.kind for (slug, _), other in adopted.items() if slug == series.slug}
    return now, policy.kind not in kinds


async def stored_late_invitations(
    connection: AsyncConnection, series: Series, adopted: AdoptedPolicy
) -> dict[str, datetime]:
    """Return `late_invitations` of the stored occurrences."""
    since_adoption = await occurrences.all_occurrences(
        connection, since=adopted.adopted_at, series=series.slug
    )
    return late_invitations(since_adoption, adopted.adopted_at, is_first=adopted.first)


def wanted_notices(
    policy: Policy,
    candidates: Iterable[Occurrence],
    *,
    zones: frozenset[str],
    adopted_at: datetime,
    invited_late: Mapping[str, datetime],
) -> list[Wanted]:
    """Return the notices that a policy wants of some occurrences of one series.

    `zones` are those of members; `invited_late` is the result of `late_invitations`.
    """
    wants = (
        wanted(
            occurrence,
            policy,
            zones=zones,
            adopted_at=adopted_at,
            invited_late=invited_late,
        )
        for occurrence in candidates
    )
    return [want for want in wants if want]


def with_derived(
    series: Series,
    stored: Sequence[Occurrence],
    *,
    until: datetime,
    after: datetime | None,
    adopted_at: datetime,
) -> list[Occurrence]:
    """Return the occurrences of a series with a start up to `until`, by start: the stored ones, and those that the rule
    gives after `after` (the end of the stored ones; None: from the first)."""
    stored_keys = {occurrence.key for occurrence in stored}
    all_occurrences = [
        occurrence for occurrence in stored if occurrence.series == series.slug and occurrence.starts <= until
    ]
    for day in series.dates(after.date() - timedelta(days=1) if after else series.first):
        starts = series.starts_on(day)
        if starts > until:
            break
        if (after is None or starts > after) and f"{series.slug}/{day}" not in stored_keys:
            all_occurrences.append(series.occurrence(day, adopted_at))
    return sorted(all_occurrences, key=lambda occurrence: (occurrence.starts, occurrence.key))
