"""Requests to join: received, confirmed by email, and accepted or declined by a convenor."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.act import Act
from scheduler.domain.actor import Actor
from scheduler.domain.address import address_key, require_address
from scheduler.domain.audience import Audience
from scheduler.domain.errors import Refused
from scheduler.domain.locale import find_locale, hour_cycle, require_country, require_locale
from scheduler.domain.localtime import LocalTime, local_time
from scheduler.domain.occurrence import Series
from scheduler.domain.policy import EVERY_ZONE, Kind
from scheduler.domain.text import counted, read_fields, require_prose
from scheduler.domain.token import Keys, Purpose
from scheduler.domain.translation import N_
from scheduler.domain.zone import require_zone, zones_of_country
from scheduler.service.follows import follow
from scheduler.service.form_limits import may_mail
from scheduler.service.members import erasure_name, new_member_row, require_own_name
from scheduler.service.notices import mail_one, publish_notice
from scheduler.service.personal_links import LinkStatus, resolve_link
from scheduler.service.schedule import upcoming
from scheduler.store import audit, erasures, join_requests, members, notices, returns
from scheduler.store.database import Database
from scheduler.store.join_requests import Request
from scheduler.store.members import Member

log = structlog.get_logger()

TAKEN_FOR = timedelta(days=3)
"""How long a request that one convenor has taken cannot be taken by another."""

CONVENORS = Audience(terms={"convenors": []})

PATIENCE = timedelta(days=5)
"""How long a request may wait before the convenors are reminded of it, once a day."""


async def require_request(connection: AsyncConnection, number: int) -> Request:
    """Return the confirmed request with that number. Raises Refused if there is none."""
    request = await join_requests.by_id(connection, number)
    if request is None or request.state == "unconfirmed":
        raise Refused(f"there is no request {number}", command="`requests list` shows them")
    return request


async def at_the_desk(database: Database, *, every: bool = False) -> list[Request]:
    """Return the confirmed requests that wait for an answer, oldest first; with `every`, also those answered."""
    async with database.read() as connection:
        return await (join_requests.every if every else join_requests.waiting)(connection)


def is_reserved(request: Request, now: datetime) -> bool:
    """Return whether somebody has taken a request, and still has it for themselves."""
    return request.state == "taken" and request.taken_at is not None and request.taken_at > now - TAKEN_FOR


async def takers(database: Database, requests: Sequence[Request]) -> dict[int, Member]:
    """Return those who have taken these requests, by their number."""
    async with database.read() as connection:
        return await members.by_ids(
            connection, {request.taken_by for request in requests if request.taken_by is not None}
        )


async def find_request(database: Database, number: int) -> Request | None:
    """Return the confirmed request with that number, if there is one."""
    async with database.read() as connection:
        request = await join_requests.by_id(connection, number)
    return request if request and request.state != "unconfirmed" else None


async def take(database: Database, number: int, *, by: Actor, now: datetime) -> Request:
    """Reserve a request for one convenor. Raises Refused if another has taken it, or it was answered."""
    async with database.write() as connection:
        await require_request(connection, number)
        taken = await join_requests.take(
            connection, number, by=by.member, now=now, free_since=now - TAKEN_FOR
        )
        request = await require_request(connection, number)
        if not taken:
            raise Refused(await _unavailable(connection, request))
        await _record(connection, by, request, now)
        return request


async def accept(
    database: Database,
    number: int,
    *,
    by: Actor,
    message: str = "",
    all_series: Sequence[Series],
    now: datetime,
) -> Request:
    """Make the person a member and welcome them, with `message` (Markdown). Raises Refused if it was answered."""
    async with database.write() as connection:
        request = await _answer(connection, number, "accepted", by=by, message=message, now=now)
        await admit(connection, request, all_series=all_series, now=now)
        return request


async def decline(
    database: Database, number: int, *, by: Actor, message: str = "", tells: bool = True, now: datetime
) -> Request:
    """Decline a request, and with `tells` write to the person. Raises Refused if it was answered."""
    if message and not tells:
        raise Refused(
            "a message would not be sent, since no mail goes out; give --message or --no-tell, not both"
        )
    async with database.write() as connection:
        request = await _answer(connection, number, "declined", by=by, message=message, now=now)
        member = await members.by_id(connection, request.member)
        assert member
        if tells and member.status not in ("active", "paused"):
            await mail_one(connection, member, Kind.DECLINE, words=request.message, now=now)
        return request


async def _answer(
    connection: AsyncConnection, number: int, state: str, *, by: Actor, message: str, now: datetime
) -> Request:
    message = require_prose(message, "--message")
    await require_request(connection, number)
    answered = await join_requests.answer(
        connection,
        number,
        state=state,
        by=by.member,
        now=now,
        message=message,
        free_since=now - TAKEN_FOR,
    )
    request = await require_request(connection, number)
    if not answered:
        raise Refused(await _unavailable(connection, request))
    await _record(connection, by, request, now)
    return request


_ACTS: Mapping[str, Act] = {
    "taken": "request-taken",
    "accepted": "request-accepted",
    "declined": "request-declined",
}


async def _record(connection: AsyncConnection, by: Actor, request: Request, now: datetime) -> None:
    log.info(f"request-{request.state}", request=request.id)
    await audit.record(
        connection,
        by,
        _ACTS[request.state],
        subject=f"request {request.id}",
        about=request.member,
        now=now,
    )


async def _unavailable(connection: AsyncConnection, request: Request) -> str:
    if request.state in ("accepted", "declined"):
        return (
            f"request {request.id} was already {request.state}, at {request.answered_at:%Y-%m-%d %H:%M} UTC"
        )
    convenor = await members.by_id(connection, request.taken_by) if request.taken_by else None
    who = f" by {convenor.name or convenor.address}" if convenor else ""
    return f"request {request.id} was taken{who} at {request.taken_at:%Y-%m-%d %H:%M} UTC"


async def admit(
    connection: AsyncConnection, request: Request, *, all_series: Sequence[Series], now: datetime
) -> None:
    """Make the person who sent a request an active member, with the details and the series they gave, and welcome them.

    An invitation that has already gone out is sent to them at the next tick, after the welcome.
    """
    member = await members.by_id(connection, request.member)
    assert member
    if member.status in ("active", "paused"):
        return
    await members.change(
        connection,
        member.id,
        name=request.name,
        country=request.country,
        zone=request.zone,
        zone_source="confirmed",
        locale=request.locale,
        status="active",
        active_since=now,
        paused_until=None,
        uninvited_at=None,
        **await returns.clear_bounces(connection, member.id),
    )
    admitted = await members.by_id(connection, member.id)
    assert admitted
    # A series may have been removed from the settings since they asked.
    slugs = {series.slug for series in all_series}
    choices = {slug: value for slug, value in (request.follows or {}).items() if slug in slugs}
    await follow(connection, admitted, choices, all_series=all_series, now=now)
    await mail_one(connection, admitted, Kind.WELCOME, words=request.message, now=now)


async def remind_convenors(database: Database, *, now: datetime) -> int:
    """Remind the convenors of requests that have waited too long, in one mail a day; return how many there are."""
    async with database.read() as connection:
        late = [
            request
            for request in await join_requests.waiting(connection)
            if request.confirmed_at and now - request.confirmed_at >= PATIENCE
        ]
        convenors = await members.count_audience(connection, CONVENORS)
        identity = f"nudge:{now:%Y-%m-%d}"
        if not late or not convenors or await notices.by_identity(connection, identity):
            return 0
    await publish_notice(
        database,
        audience=CONVENORS,
        audience_text="convenors",
        dues={EVERY_ZONE: now},
        now=now,
        identity=identity,
        kind=Kind.NOTICE,
        subject=_reminder_subject(late),
        body=_reminder_body(late, now),
        expires=now + timedelta(days=1),
    )
    return len(late)


def _reminder_subject(late: Sequence[Request]) -> str:
    if len(late) == 1:
        return "A request to join is waiting for your answer"
    return f"{len(late)} requests to join are waiting for your answer"


def _reminder_body(requests: Sequence[Request], now: datetime) -> str:
    # Numbers only: a name in this mail would remain after the person was erased.
    lines = [
        f"- request {late.id}: {counted((now - late.confirmed_at).days, 'day')}"
        f"{', taken' if late.state == 'taken' else ''}"
        for late in requests
        if late.confirmed_at
    ]
    return "\n".join(
        [
            "Somebody would like to join and is still waiting for an answer:"
            if len(requests) == 1
            else "These people would like to join and are still waiting for an answer:",
            "",
            *lines,
            "",
            "Run `third-thursday requests show` and the number to read more; `accept` or `decline` answers them.",
        ]
    )


COOL_DOWN = timedelta(minutes=10)
"""The shortest time between two mails to one address because somebody entered it."""

MOST_A_DAY = 2
"""How many mails one address gets in a day because somebody entered it."""

LONGEST_WORDS = 2_000
_KINDS = (Kind.CONFIRMATION, Kind.ALREADY_MEMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinForm:
    """The checked fields of the form for joining. `zone` is empty while the visitor has not chosen one; `follows` is
    the choice of series by slug, or None if the form did not ask."""

    name: str
    email: str
    country: str
    zone: str
    locale: str
    words: str
    follows: Mapping[str, bool] | None = None


def read_join_form(
    typed: Mapping[str, str], *, offered: Sequence[Series] = (), wanted: Collection[str] = ()
) -> tuple[JoinForm | None, dict[str, Refused]]:
    """Return the form that somebody filled in, or None and what is wrong with each wrong field, by its name.

    `offered` are the series that the form asks about, if it does, and `wanted` the slugs of those that were chosen.
    """
    follows = {series.slug: series.slug in wanted for series in offered} or None
    checks: Mapping[str, Callable[[str], str]] = {
        "name": require_own_name,
        "email": _require_email,
        "country": _require_country,
        "zone": lambda text: require_zone(text.strip(), "") if text.strip() else "",
        "locale": lambda text: require_locale(text.strip(), ""),
        "follows": lambda _: _require_series(follows),
        "words": lambda text: require_prose(text.strip(), "", longest=LONGEST_WORDS),
        "consent": _require_consent,
    }
    values, refusals = read_fields(typed, checks)
    if refusals:
        return None, refusals
    if not values["zone"] and not zones_of_country(values["country"]):
        return None, {"zone": Refused(N_("You need to choose the place nearest to you."))}
    del values["consent"], values["follows"]
    language = values["locale"]
    if "-" not in language:
        # Somebody who chooses "English" wants the English of their country.
        values["locale"] = find_locale(f"{language}-{values['country'][:2]}") or language
    return JoinForm(**values, follows=follows), {}


def _require_email(text: str) -> str:
    if not text.strip():
        raise Refused(N_("You need to give an email address that we can write to."))
    return require_address(text.strip(), "")


def _require_country(text: str) -> str:
    if not text.strip():
        raise Refused(N_("You need to choose your country."))
    return require_country(text.strip(), "")


def _require_series(follows: Mapping[str, bool] | None) -> str:
    if follows and not any(follows.values()):
        raise Refused(N_("You need to choose at least one kind of meeting."))
    return ""


def _require_consent(text: str) -> str:
    if text != "yes":
        raise Refused(N_("You need to tick this box: without your agreement we cannot keep your request."))
    return text


async def candidate_zones(
    database: Database, series: Sequence[Series], form: JoinForm, *, language: str = "en", now: datetime
) -> tuple[Series | None, list[tuple[str, LocalTime | None]]]:
    """Return the zones that the person may live in, each with the next meeting by its clocks if one is planned: the
    zone they chose, else the zones of their country. The next meeting is one of a series that they chose; that series
    is returned too."""
    if form.follows:
        series = [each for each in series if form.follows.get(each.slug)]
    zones = [form.zone] if form.zone else list(zones_of_country(form.country))
    async with database.read() as connection:
        meeting = await upcoming(connection, series, now=now)
    if meeting is None:
        return None, [(zone, None) for zone in zones]
    meeting_series = {each.slug: each for each in series}[meeting.series]
    cycle = hour_cycle(form.locale)
    return meeting_series, [
        (zone, local_time(meeting, meeting_series, zone=zone, cycle=cycle, language=language))
        for zone in zones
    ]


async def receive(connection: AsyncConnection, form: JoinForm, now: datetime) -> None:
    """Store a request to join and mail its address. A member gets a different mail; the caller does not learn which.

    An address gets only a few mails, however often it is entered; what is entered in between is dropped.
    """
    key = address_key(form.email)
    member = await members.by_key(connection, key)
    if member is None:
        row = new_member_row(
            address=form.email,
            name=form.name,
            country=form.country,
            zone=form.zone,
            zone_source="confirmed",
            locale=form.locale,
            status="pending",
            now=now,
        )
        await members.add(connection, [row])
        member = await members.by_key(connection, key)
        assert member
    await members.lock(connection, member.id)
    if not await _may_mail(connection, member, now):
        return
    if member.status in ("active", "paused"):
        await mail_one(connection, member, Kind.ALREADY_MEMBER, now=now)
        return
    latest = await join_requests.latest_of(connection, member.id)
    if latest is None or latest.state not in join_requests.OPEN:
        await join_requests.add(
            connection,
            member.id,
            now,
            name=form.name,
            country=form.country,
            zone=form.zone,
            locale=form.locale,
            words=form.words,
            follows=form.follows,
        )
    await mail_one(connection, member, Kind.CONFIRMATION, now=now)
    log.info("request-asked", member=member.id)


async def _may_mail(connection: AsyncConnection, member: Member, now: datetime) -> bool:
    return await may_mail(connection, member, *_KINDS, cool_down=COOL_DOWN, most_a_day=MOST_A_DAY, now=now)


async def check_confirmation_link(
    database: Database, token: str, *, keys: Keys, now: datetime
) -> tuple[LinkStatus, Request | None]:
    """Return whether a link to confirm a request works, and the request. Changes nothing."""
    async with database.read() as connection:
        status, _, request = await _find_request(connection, token, keys=keys, now=now)
    return status, request


async def confirm(
    database: Database,
    token: str,
    *,
    keys: Keys,
    admits: bool,
    all_series: Sequence[Series],
    now: datetime,
) -> tuple[LinkStatus, Request | None]:
    """Confirm a request, so that it waits for a convenor's answer, and return it; with `admits` accept it at once.

    Somebody who was erased may come back, since they ask themselves.
    """
    async with database.write() as connection:
        status, member, request = await _find_request(connection, token, keys=keys, now=now)
        if member and request and await join_requests.confirm(connection, request.id, now):
            await erasures.allow_return(connection, erasure_name(keys, member.address_key))
            log.info("request-confirmed", request=request.id)
            if admits:
                await join_requests.answer(
                    connection, request.id, state="accepted", by=None, now=now, message="", free_since=now
                )
                await admit(connection, request, all_series=all_series, now=now)
            request = await join_requests.by_id(connection, request.id)
    return status, request


async def _find_request(
    connection: AsyncConnection, token: str, *, keys: Keys, now: datetime
) -> tuple[LinkStatus, Member | None, Request | None]:
    status, member = await resolve_link(connection, token, Purpose.CONFIRM, keys=keys, now=now)
    if member is None:
        return status, None, None
    # Somebody who left may ask to join again.
    request = await join_requests.latest_of(connection, member.id)
    return (LinkStatus.GOOD if request else LinkStatus.UNKNOWN), member, request
