"""`doctor`: looks at the installation as it is, and says what to mend."""

import os
import zoneinfo
from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from scheduler.bootstrap.dns_check import Finding, Level, look_at_sender
from scheduler.bootstrap.settings import Settings
from scheduler.bootstrap.settings_sources import bundled
from scheduler.bootstrap.web_process import connection_limits, raise_descriptor_limit
from scheduler.bootstrap.wiring import Parts, load_signer, open_parts
from scheduler.bootstrap.worker import make_transport
from scheduler.delivery.compose.templates import Templates
from scheduler.delivery.send.transport import ConnectProblem, MaildirAddress, SmtpAddress
from scheduler.domain.address import is_loopback
from scheduler.domain.errors import Problem
from scheduler.domain.policy import next_occurrence
from scheduler.domain.zone import is_known_zone, tzdata_version
from scheduler.service.forecast import LOOK_AHEAD
from scheduler.service.health import health, try_writing
from scheduler.service.send_schedule import LateNotice, late_notices, schedule_sends
from scheduler.service.settings_sync import check_frozen
from scheduler.store import members, notices, occurrences
from scheduler.store.ledger import reports
from scheduler.web.public import shown_time
from scheduler.web.site import read_templates

_PAGE_ZONES = ("Asia/Kolkata", "Pacific/Auckland")
"""Zones, beside a series' own, in which to check the pages: a half-hour offset, and often another date."""


async def examine(settings: Settings, show: Callable[[Finding], None], *, resolver: str = "") -> bool:
    """Show one finding after the other; returns whether anything is wrong. `resolver` is the IP address (and port) of
    the DNS server to ask, in place of the machine's own."""
    wrong = False

    def note(level: Level, text: str) -> None:
        nonlocal wrong
        wrong |= level is Level.WRONG
        show(Finding(level, text))

    note(Level.FINE, f"settings: {len(settings.series)} series, {len(settings.policies)} policies")
    _look_at_zones(note)
    _look_at_templates(note)
    _check_pages(settings, note)
    await _look_at_relay(settings, note)
    await _look_at_signature(settings, note, resolver)
    _look_at_links(settings, note)
    _look_at_web(settings, note)
    try:
        async with open_parts(settings) as parts:
            await _look_at_database(parts, note)
            await _look_at_pace(parts, note)
    except Problem as problem:
        note(Level.WRONG, str(problem))
    return wrong


def _look_at_zones(note: Callable[[Level, str], None]) -> None:
    """The packaged data is the only one, unless something put another folder before it."""
    version = tzdata_version()
    if zoneinfo.TZPATH:
        note(
            Level.WRONG,
            f"zone data: {zoneinfo.TZPATH[0]} stands before the tzdata package ({version}); "
            "remove what calls zoneinfo.reset_tzpath",
        )
    elif os.environ.get("PYTHONTZPATH"):
        note(Level.FINE, f"zone data: IANA {version}, from the tzdata package; PYTHONTZPATH is not followed")
    else:
        note(Level.FINE, f"zone data: IANA {version}, from the tzdata package; the system's is not used")


def _look_at_templates(note: Callable[[Level, str], None]) -> None:
    wrong = Templates(bundled("templates/email")).load()
    for problem in wrong:
        note(Level.WRONG, f"template: {problem}")
    if not wrong:
        note(Level.FINE, "templates: the mails' can be read")


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


async def _look_at_relay(settings: Settings, note: Callable[[Level, str], None]) -> None:
    try:
        await (await make_transport(settings).connect()).close()
    except ConnectProblem as problem:
        note(Level.WRONG, f"mail: {problem}")
        return
    if isinstance(settings.mail.address, MaildirAddress):
        note(Level.NOTE, "mail: goes to a folder, not to members; name a relay in [mail] transport")
    else:
        note(Level.FINE, "mail: the relay answers")


async def _look_at_signature(settings: Settings, note: Callable[[Level, str], None], resolver: str) -> None:
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
        await look_at_sender(
            settings.community.address, signer, note, inbox=settings.community.inbox, resolver=resolver
        )


def _look_at_links(settings: Settings, note: Callable[[Level, str], None]) -> None:
    host = settings.community.base_url.partition("://")[2].partition("/")[0].rpartition(":")[0]
    if is_loopback(host or settings.community.base_url.partition("://")[2]):
        note(
            Level.NOTE,
            f"links: {settings.community.base_url} is reached from this machine only; set [web] base_url",
        )
    elif settings.community.base_url.startswith("http://"):
        note(Level.NOTE, "links: [web] base_url is http; members' personal links want https")
    else:
        note(Level.FINE, f"links: {settings.community.base_url}")


def _look_at_web(settings: Settings, note: Callable[[Level, str], None]) -> None:
    """How many connections the web may have, and what it shows that is not for everybody."""
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
            "outbox: /outbox shows every member's personal links to whoever uses this machine, or a proxy on it; "
            "set [web] outbox = false",
        )
    place = settings.watch.metrics_listen
    if place and not is_loopback(place.rpartition(":")[0].strip("[]")):
        note(
            Level.NOTE,
            f"metrics: whoever reaches {place} may read /metrics; let only your Prometheus reach it",
        )


async def _look_at_pace(parts: Parts, note: Callable[[Level, str], None]) -> None:
    """Whether at the relay's rate all is sent while it is of use."""
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
    for one in late:
        note(Level.WRONG if one.misses else Level.NOTE, _say_late(one, rate))
    if not late:
        note(Level.FINE, f"rate: at {rate:g} a second all that is due within six weeks leaves in time")


def _say_late(one: LateNotice, rate: float) -> str:
    how = (
        f"but it expires at {one.expires:%Y-%m-%d %H:%M}: some will not get it"
        if one.misses
        else "less than half of the time before it expires is then left"
    )
    remedy = ", or give its policy a longer lead" if one.of_policy else ""
    return (
        f"rate: {one.about}: {one.recipients} mails at {rate:g} a second leave from {one.start:%Y-%m-%d %H:%M} to "
        f"{one.finish:%Y-%m-%d %H:%M} UTC; {how}; raise [mail] rate{remedy}"
    )


async def _look_at_database(parts: Parts, note: Callable[[Level, str], None]) -> None:
    now = parts.clock.now()
    note(Level.FINE, f"database: {parts.database.shown} has this version's shape")
    secret = parts.database.path.parent / "secret" if parts.database.path else None
    if secret and not parts.settings.security.key and secret.stat().st_mode & 0o077:
        note(Level.WRONG, f"key: others may read {secret}; run `chmod 600 {secret}`")
    found = await health(parts.database, now, unwritable=await try_writing(parts.database, now))
    for trouble in found.troubles(now):
        note(Level.NOTE if trouble.startswith("no `serve`") else Level.WRONG, trouble)
    if found.suppressed:
        note(
            Level.NOTE,
            f"members: {found.suppressed} member{' has' if found.suppressed == 1 else 's have'} an address that sends "
            "mail back; `members show` says why",
        )
    if found.to_review:
        note(Level.NOTE, f"inbox: {found.to_review} that came back to be looked at; see `returns list`")
    note(Level.FINE, f"members: {found.members.get('active', 0)} active")
    async with parts.database.read() as connection:
        for zone, count in sorted((await members.unknown_zones(connection)).items()):
            note(
                Level.WRONG,
                f"zone data: {count} member{' lives' if count == 1 else 's live'} in {zone}, which IANA "
                f"{tzdata_version()} does not know: they get no reminder; install a newer tzdata package",
            )
        await check_frozen(connection, parts.series, parts.community.domain)
        kept = await occurrences.all_occurrences(connection, since=now)
        for series in parts.series:
            following = next_occurrence((one for one in kept if one.series == series.slug), now)
            if following and not (following.link or series.link):
                note(
                    Level.NOTE,
                    f"room: {following.key} has none yet; set it with `occurrence amend … --link URL`",
                )
        for one in kept:
            if one.orphaned:
                note(
                    Level.NOTE,
                    f"{one.key} is no longer given by the rule; keep it (any `occurrence amend`) or cancel it",
                )
            for zone, starts, local in await notices.told_hours(connection, one.key):
                if not is_known_zone(zone):
                    continue
                shown = f"{starts.astimezone(ZoneInfo(zone)):%Y-%m-%dT%H:%M}"
                if starts == one.starts and shown != local and starts > now:
                    count = await reports.count_mailed(connection, one.key, zone)
                    note(Level.WRONG, _told_wrong(one.key, zone, local=local, right=shown, count=count))


def _told_wrong(key: str, zone: str, *, local: str, right: str, count: int) -> str:
    return (
        f"{key}: {count} members in {zone} were told {datetime.fromisoformat(local):%H:%M}, but new zone data says "
        f"{datetime.fromisoformat(right):%H:%M}; once `serve` runs, `occurrence tell {key}` tells them"
    )
