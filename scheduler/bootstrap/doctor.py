"""`doctor`: check the installation, and say what to fix."""

import os
import zoneinfo
from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from scheduler.bootstrap.dns_check import Finding, Level, check_sender
from scheduler.bootstrap.inbox import check_mailbox, oauth_login
from scheduler.bootstrap.settings import Settings
from scheduler.bootstrap.settings_sources import bundled
from scheduler.bootstrap.web_process import connection_limits, raise_descriptor_limit
from scheduler.bootstrap.wiring import Parts, backup_plan, load_signer, open_parts
from scheduler.bootstrap.worker import make_transport
from scheduler.delivery.compose.templates import Templates
from scheduler.delivery.send.transport import ConnectProblem, MaildirAddress, SmtpAddress
from scheduler.domain.address import is_loopback
from scheduler.domain.errors import Problem
from scheduler.domain.occurrence import slugs_by_choice
from scheduler.domain.policy import next_occurrence
from scheduler.domain.text import counted
from scheduler.domain.translation import available_languages, broken_catalogues, is_available
from scheduler.domain.zone import tzdata_version
from scheduler.service.forecast import LOOK_AHEAD
from scheduler.service.health import health, try_writing
from scheduler.service.inbound import own_addresses
from scheduler.service.scheduled_backups import backup_warnings, setup_problem
from scheduler.service.send_schedule import LateNotice, late_notices, schedule_sends
from scheduler.service.settings_sync import check_frozen
from scheduler.store import follows, members, notices, occurrences
from scheduler.store.ledger import reports
from scheduler.web.public import shown_time
from scheduler.web.site import read_templates

_PAGE_ZONES = ("Asia/Kolkata", "Pacific/Auckland")
"""Zones, beside a series' own, in which to check the pages: a half-hour offset, and often another date."""


async def examine(settings: Settings, show: Callable[[Finding], None], *, resolver: str = "") -> bool:
    """Show one finding after the other, and return whether anything is wrong.

    `resolver` is the IP address (and port) of the DNS server to ask, instead of the machine's own.
    """
    wrong = False

    def note(level: Level, text: str) -> None:
        nonlocal wrong
        wrong |= level is Level.WRONG
        show(Finding(level, text))

    note(
        Level.FINE,
        f"settings: {len(settings.series)} series, {counted(len(settings.policies), 'policy', 'policies')}",
    )
    _check_zones(note)
    _check_templates(note)
    _check_languages(settings, note)
    _check_pages(settings, note)
    await _check_relay(settings, note)
    await _check_signature(settings, note, resolver)
    _check_links(settings, note)
    _check_web(settings, note)
    try:
        async with open_parts(settings) as parts:
            await _check_database(parts, note)
            await _check_backups(parts, note)
            await _check_mailbox(parts, note)
            await _check_pace(parts, note)
    except Problem as problem:
        note(Level.WRONG, str(problem))
    return wrong


def _check_zones(note: Callable[[Level, str], None]) -> None:
    """Check that zone data comes only from the tzdata package."""
    version = tzdata_version()
    if zoneinfo.TZPATH:
        note(
            Level.WRONG,
            f"zone data: {zoneinfo.TZPATH[0]} is used instead of the tzdata package ({version}); "
            "remove the code that calls zoneinfo.reset_tzpath",
        )
    elif os.environ.get("PYTHONTZPATH"):
        note(Level.FINE, f"zone data: IANA {version}, from the tzdata package; PYTHONTZPATH is not followed")
    else:
        note(Level.FINE, f"zone data: IANA {version}, from the tzdata package; the system's is not used")


def _check_templates(note: Callable[[Level, str], None]) -> None:
    wrong = Templates(bundled("templates/email")).load()
    for problem in wrong:
        note(Level.WRONG, f"template: {problem}")
    if not wrong:
        note(Level.FINE, "templates: all mail templates can be read")


def _check_languages(settings: Settings, note: Callable[[Level, str], None]) -> None:
    wrong = broken_catalogues()
    if not is_available(settings.community.language):
        wrong.append(
            f"{settings.community.language}, of [community] language, has no catalogue; English is used instead"
        )
    for problem in wrong:
        note(Level.WRONG, f"language: {problem}")
    if not wrong:
        note(Level.FINE, f"languages: {', '.join(available_languages())}")


def _check_pages(settings: Settings, note: Callable[[Level, str], None]) -> None:
    """Check that the page of a meeting shows the instant at which it starts, as every email about it does."""
    templates, problems = read_templates(bundled("templates/web")), []
    for series in settings.series:
        date = next(series.dates(series.first), None)
        if date is None:
            continue
        occurrence = series.occurrence(date, series.starts_on(date))
        for zone in sorted({series.zone, *_PAGE_ZONES}):
            starts = occurrence.starts.astimezone(ZoneInfo(zone))
            try:
                agrees = f'datetime="{starts.isoformat()}"' in shown_time(templates, occurrence, series, zone)
            except Problem as problem:
                problems.append(str(problem))
                continue
            if not agrees:
                problems.append(
                    f"templates/web/_when.html does not show the start of {occurrence.key} in {zone}, "
                    f"{starts:%Y-%m-%d %H:%M}; correct the template"
                )
    for text in dict.fromkeys(problems):
        note(Level.WRONG, f"pages: {text}")
    if not problems:
        note(Level.FINE, "pages: they show the same times as the emails")


async def _check_relay(settings: Settings, note: Callable[[Level, str], None]) -> None:
    try:
        await (await make_transport(settings).connect()).close()
    except ConnectProblem as problem:
        note(Level.WRONG, f"mail: {problem}")
        return
    if isinstance(settings.mail.address, MaildirAddress):
        note(Level.NOTE, "mail: goes to a folder, not to members; name a relay in [mail] transport")
    else:
        note(Level.FINE, "mail: the relay answers")


async def _check_signature(settings: Settings, note: Callable[[Level, str], None], resolver: str) -> None:
    try:
        signer = load_signer(settings)
    except Problem as problem:
        note(Level.WRONG, str(problem))
        return
    if signer:
        note(Level.FINE, f'DKIM: publish at {signer.name} the TXT record "{signer.record}"')
    sends = isinstance(settings.mail.address, SmtpAddress) and not is_loopback(
        urlsplit(settings.community.base_url).hostname or ""
    )
    if sends or resolver:
        await check_sender(
            settings.community.address,
            signer,
            note,
            inbox=settings.community.inbox.domain if settings.community.inbox else "",
            resolver=resolver,
        )


def _check_links(settings: Settings, note: Callable[[Level, str], None]) -> None:
    host = settings.community.base_url.partition("://")[2].partition("/")[0].rpartition(":")[0]
    if is_loopback(host or settings.community.base_url.partition("://")[2]):
        note(
            Level.NOTE,
            f"links: {settings.community.base_url} can be opened on this machine only; set [web] base_url",
        )
    elif settings.community.base_url.startswith("http://"):
        note(Level.NOTE, "links: [web] base_url is http; members' personal links should be https")
    else:
        note(Level.FINE, f"links: {settings.community.base_url}")


def _check_web(settings: Settings, note: Callable[[Level, str], None]) -> None:
    """Check the limit on connections, and that private pages are closed."""
    descriptors = raise_descriptor_limit()
    limits = connection_limits(settings, descriptors)
    fewer = limits.connections < settings.web.connections
    note(
        Level.NOTE if fewer else Level.FINE,
        f"web: {descriptors} open files are allowed, {limits.connections} connections at once"
        + (
            f", not the {settings.web.connections} of [web] connections; raise the limit of open files"
            if fewer
            else ""
        ),
    )
    if settings.web.outbox:
        note(
            Level.WRONG if settings.community.base_url.startswith("https:") else Level.NOTE,
            "outbox: /outbox shows every member's personal links to anyone on this machine or behind a proxy on it; "
            "set [web] outbox = false",
        )
    place = settings.watch.metrics_listen
    if place and not is_loopback(place.rpartition(":")[0].strip("[]")):
        note(
            Level.NOTE,
            f"metrics: anyone who can reach {place} can read /metrics; allow only your Prometheus",
        )


async def _check_backups(parts: Parts, note: Callable[[Level, str], None]) -> None:
    """Check that backups can be made, and that one has been made and rehearsed."""
    if (plan := backup_plan(parts.settings)) is None:
        return
    if problem := setup_problem(parts.database, plan):
        note(Level.WRONG, problem)
        return
    now = parts.clock.now()
    newest = plan.place.newest(now)
    if newest:
        encrypted = ", encrypted" if plan.recipient else ""
        note(
            Level.FINE,
            f"backups: {len(plan.place.backups())} in {plan.folder}, the newest of "
            f"{newest.made_at:%Y-%m-%d %H:%M} UTC{encrypted}",
        )
    else:
        note(
            Level.NOTE, f"backups: there is none in {plan.folder} yet; `serve` makes the first when it starts"
        )
    async with parts.database.read() as connection:
        for warning in await backup_warnings(connection, now):
            note(Level.NOTE, f"backups: {warning}")


async def _check_mailbox(parts: Parts, note: Callable[[Level, str], None]) -> None:
    """Check that mail comes back, and that the mailbox can be read."""
    community = parts.community
    if parts.settings.inbox.imap:
        try:
            waiting = await check_mailbox(parts.settings, oauth_login(parts))
        except Problem as problem:
            note(Level.WRONG, str(problem))
        else:
            few = {0: "no message waits", 1: "one message waits"}
            note(Level.FINE, f"mailbox: it can be read; {few.get(waiting, f'{waiting} messages wait')}")
    if community.inbox and own_addresses(community) is None:
        note(
            Level.NOTE,
            f"inbox: letters are not forwarded, because [community] reply_to is the inbox itself, {community.reply_to}",
        )


async def _check_pace(parts: Parts, note: Callable[[Level, str], None]) -> None:
    """Check that, at the configured rate, all mail is sent before it expires."""
    rate, now = parts.settings.mail.rate, parts.clock.now()
    if not rate:
        return
    rows = await schedule_sends(
        parts.database,
        series=parts.series,
        policies=parts.policies,
        rate=rate,
        until=now + LOOK_AHEAD,
        now=now,
    )
    late = late_notices(rows)
    for notice in late:
        note(Level.WRONG if notice.misses else Level.NOTE, _describe_late(notice, rate))
    if not late:
        note(Level.FINE, f"rate: at {rate:g} a second all that is due within six weeks leaves in time")


def _describe_late(notice: LateNotice, rate: float) -> str:
    how = (
        f"but it expires at {notice.expires:%Y-%m-%d %H:%M}: some will not get it"
        if notice.misses
        else "less than half of the time before it expires is then left"
    )
    pace = f"at {rate:g} a second"
    mails = counted(notice.recipients, f"mail {pace} leaves", f"mails {pace} leave")
    remedy = ", or give its policy a longer lead" if notice.of_policy else ""
    return (
        f"rate: {notice.about}: {mails} from "
        f"{notice.start:%Y-%m-%d %H:%M} to {notice.finish:%Y-%m-%d %H:%M} UTC; {how}; raise [mail] rate{remedy}"
    )


async def _check_database(parts: Parts, note: Callable[[Level, str], None]) -> None:
    now = parts.clock.now()
    note(Level.FINE, f"database: {parts.database.shown} has this version's shape")
    secret = parts.database.path.parent / "secret" if parts.database.path else None
    if secret and not parts.settings.security.key and secret.stat().st_mode & 0o077:
        note(Level.WRONG, f"key: others may read {secret}; run `chmod 600 {secret}`")
    state = await health(parts.database, now, unwritable=await try_writing(parts.database, now))
    for trouble in state.troubles(now):
        note(Level.NOTE if trouble.startswith("no `serve`") else Level.WRONG, trouble)
    if state.suppressed:
        note(
            Level.NOTE,
            f"members: {counted(state.suppressed, 'member has', 'members have')} an address that sends "
            "mail back; `members show` says why",
        )
    if state.to_review:
        note(Level.NOTE, f"inbox: {state.to_review} returned messages to review; see `returns list`")
    note(Level.FINE, f"members: {state.members.get('active', 0)} active")
    async with parts.database.read() as connection:
        for zone, count in sorted((await members.unknown_zones(connection)).items()):
            note(
                Level.WRONG,
                f"zone data: {counted(count, 'member lives', 'members live')} in {zone}, which IANA "
                f"{tzdata_version()} does not know: they get no reminder; install a newer tzdata package",
            )
        for slug in sorted(slugs_by_choice(parts.series)):
            if not await follows.has_follower(connection, slug):
                note(
                    Level.NOTE,
                    f"series: nobody follows {slug}, so its meetings are announced to nobody; members choose it on "
                    f"their own pages, or run `members set EMAIL --follow {slug}`",
                )
        await check_frozen(connection, parts.series, parts.community.domain)
        upcoming = await occurrences.all_occurrences(connection, since=now)
        for series in parts.series:
            following = next_occurrence(
                (occurrence for occurrence in upcoming if occurrence.series == series.slug), now
            )
            if following and not (following.link or series.link):
                note(
                    Level.NOTE,
                    f"room: {following.key} has none yet; set it with `occurrence amend … --link URL`",
                )
        for occurrence in upcoming:
            if occurrence.orphaned:
                note(
                    Level.NOTE,
                    f"{occurrence.key} no longer fits the rule; keep it (any `occurrence amend`) or cancel it",
                )
            for zone, starts, local in await notices.told_local_starts(connection, occurrence.key):
                shown = f"{starts.astimezone(ZoneInfo(zone)):%Y-%m-%dT%H:%M}"
                if starts == occurrence.starts and shown != local and starts > now:
                    count = await reports.count_mailed(connection, occurrence.key, zone)
                    note(
                        Level.WRONG, _told_wrong(occurrence.key, zone, local=local, right=shown, count=count)
                    )


def _told_wrong(key: str, zone: str, *, local: str, right: str, count: int) -> str:
    return (
        f"{key}: {counted(count, f'member in {zone} was', f'members in {zone} were')} told "
        f"{datetime.fromisoformat(local):%H:%M}, but new zone data says "
        f"{datetime.fromisoformat(right):%H:%M}; once `serve` runs, `occurrence tell {key}` tells them"
    )
