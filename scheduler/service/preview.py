"""Mails as a member would get them, before anything is sent: composed as when sent, with links that open nothing."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from typing import Any, Literal
from zoneinfo import ZoneInfo

from scheduler.delivery.compose.message_writer import MessageWriter
from scheduler.domain.audience import Audience
from scheduler.domain.locale import hour_cycle
from scheduler.domain.occurrence import Occurrence
from scheduler.domain.policy import Kind
from scheduler.domain.text import require_prose
from scheduler.domain.zone import known_zone
from scheduler.service.notices import require_words
from scheduler.service.occurrences import UnannouncedChange
from scheduler.store import members
from scheduler.store.database import Database
from scheduler.store.ledger import claims
from scheduler.store.ledger.claims import Claim
from scheduler.store.members import Member
from scheduler.store.notices import Notice

MOST_SUGGESTED = 6
_SAMPLE = 200
_SAMPLED_ZONES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A mail as one member would get it."""

    member: Member
    sender: str
    subject: str
    text: str
    html: str
    has_calendar: bool


async def preview_notice(
    database: Database,
    writer: MessageWriter,
    member: Member,
    *,
    subject: str,
    body: str,
    audience: str,
    mentioned: Occurrence | None,
    now: datetime,
) -> Preview:
    """Return what a member would get of an ad-hoc notice; `mentioned` is the meeting of its placeholders.

    Raises Refused where it could not be sent, and Problem where it cannot be written.
    """
    subject, body = require_words(subject, body)
    notice = _notice(Kind.NOTICE, now, subject=subject, body=body, audience=audience)
    return await _preview(database, writer, member, notice, mentioned=mentioned)


async def preview_change(
    database: Database,
    writer: MessageWriter,
    member: Member,
    pending: UnannouncedChange,
    *,
    words: str,
    now: datetime,
) -> Preview:
    """Return what a member would get if members were told the present state of a meeting.

    `words` (Markdown) begin the mail. Raises Refused if they are not allowed.
    """
    occurrence = pending.occurrence
    notice = _notice(
        Kind.CANCELLATION if occurrence.cancelled else Kind.UPDATE,
        now,
        body=require_prose(words, "words"),
        audience=f"series:{occurrence.series}",
        occurrence=occurrence.key,
        starts=occurrence.starts,
        before_revision=pending.told_revision,
    )
    return await _preview(database, writer, member, notice, revision=occurrence.revision)


async def preview_planned(
    database: Database,
    writer: MessageWriter,
    member: Member,
    *,
    kind: Kind,
    policy: str | None,
    occurrence: Occurrence,
    now: datetime,
) -> Preview:
    """Return what a member would get of a notice that a policy sends, or of a follow-up that a convenor sends, about a
    stored meeting. Raises Problem where it cannot be written."""
    notice = _notice(
        kind,
        now,
        policy=policy,
        audience=f"series:{occurrence.series}",
        occurrence=occurrence.key,
        starts=occurrence.starts,
    )
    return await _preview(database, writer, member, notice, revision=occurrence.revision)


async def suggested_recipients(
    database: Database, audience: Audience, *, kind: Kind, home: str, at: datetime
) -> list[Member]:
    """Return a few members of an audience whose mails differ most from what people in the zone `home` get.

    First those whose local date at the instant `at` is another one, then those whose clocks differ by a part of an
    hour or by most hours, and one with the other hour cycle or language than most.
    """
    async with database.read() as connection:
        known = await members.some_in_audience(connection, audience, kind=kind, limit=_SAMPLE)
        if len(known) == _SAMPLE:
            zones = sorted(await members.zones(connection), key=partial(_oddness, home=home, at=at))[::-1]
            fractional = [zone for zone in zones if _is_fractional(zone, at)]
            for zone in dict.fromkeys([*zones[:_SAMPLED_ZONES], *fractional[:_SAMPLED_ZONES]]):
                known += await members.some_in_audience(connection, audience, kind=kind, zone=zone, limit=1)
    by_zone = {member.zone: member for member in sorted(known, key=lambda member: -member.id)}
    zones = sorted(by_zone, key=partial(_oddness, home=home, at=at))[::-1]
    locales = Counter(member.locale for member in known)
    usual = locales.most_common(1)[0][0] if locales else ""
    chosen = [
        *[by_zone[zone] for zone in zones[:2]],
        *[by_zone[zone] for zone in zones if _is_fractional(zone, at)][:2],
        *[member for member in known if hour_cycle(member.locale) != hour_cycle(usual)][:1],
        *[member for member in known if member.locale != usual][:1],
        *[by_zone[zone] for zone in zones[2:]],
    ]
    return list({member.id: member for member in chosen}.values())[:MOST_SUGGESTED]


def _oddness(zone: str, *, home: str, at: datetime) -> tuple[int, float]:
    """Return how much the date and the time of a zone differ from those of the zone `home` at an instant."""
    local, usual = (at.astimezone(ZoneInfo(known_zone(name, home))) for name in (zone, home))
    hours = (local.replace(tzinfo=None) - usual.replace(tzinfo=None)) / timedelta(hours=1)
    return abs((local.date() - usual.date()).days), abs(hours)


def _is_fractional(zone: str, at: datetime) -> bool:
    """Return whether the clocks of a zone differ from UTC by a part of an hour."""
    offset = at.astimezone(ZoneInfo(known_zone(zone, "UTC"))).utcoffset() or timedelta()
    return bool(offset % timedelta(hours=1))


def _notice(kind: Kind, now: datetime, **values: Any) -> Notice:
    """Return a notice that is not stored."""
    nothing: dict[str, Any] = {
        "policy": None,
        "occurrence": None,
        "starts": None,
        "before_revision": None,
        "subject": "",
        "body": "",
        "member": None,
        "address": None,
        "at": None,
        "stopped_at": None,
        "unwanted": None,
        "closed_at": None,
    }
    return Notice(
        **{**nothing, **values},
        id=0,
        identity="preview",
        kind=kind,
        created_at=now,
        expires=now,
        frozen=True,
        ready=False,
    )


async def _preview(
    database: Database,
    writer: MessageWriter,
    member: Member,
    notice: Notice,
    *,
    mentioned: Occurrence | None = None,
    revision: int | None = None,
) -> Preview:
    async with database.read() as connection:
        requested, first = await claims.foresee(connection, member.id, notice.occurrence)
    claim = Claim(
        id=0,
        notice=notice.id,
        member=member.id,
        address=member.address,
        name=member.name,
        zone=member.zone,
        zone_source=member.zone_source,
        locale=member.locale,
        generation=0,
        feed_generation=0,
        attempts=1,
        revision=revision,
        uncertain=False,
        requested=requested,
        first=first,
    )
    content = await writer.preview(notice, claim, mentioned=mentioned)
    message = message_from_bytes(content, _class=EmailMessage, policy=policy.default)
    return Preview(
        member=member,
        sender=str(message["From"]),
        subject=str(message["Subject"]),
        text=_content(message, "plain"),
        html=_content(message, "html"),
        has_calendar=any(part.get_content_type() == "text/calendar" for part in message.walk()),
    )


def _content(message: EmailMessage, subtype: Literal["plain", "html"]) -> str:
    part = message.get_body((subtype,))
    return str(part.get_content()) if part else ""
