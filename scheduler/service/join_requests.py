"""Requests to join: received, confirmed by email, and accepted or declined by a convenor."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.address import address_key, require_address
from scheduler.domain.country import require_country
from scheduler.domain.errors import Refused
from scheduler.domain.locale import hour_cycle, require_locale
from scheduler.domain.localtime import LocalTime, local_time
from scheduler.domain.occurrence import Series
from scheduler.domain.policy import EVERY_ZONE, Kind
from scheduler.domain.text import require_line, require_prose
from scheduler.domain.token import Keys, Purpose
from scheduler.domain.zone import require_zone, zones_of_country
from scheduler.service.members import LONGEST_NAME, entry, erasure_name, require_member
from scheduler.service.notices import mail_one, mailed_since, publish_notice
from scheduler.service.personal_links import LinkStatus, recognise
from scheduler.service.schedule import upcoming
from scheduler.store import erasures, join_requests, members, notices, returns
from scheduler.store.database import Database
from scheduler.store.join_requests import Request
from scheduler.store.members import Member

log = structlog.get_logger()

TAKEN_FOR = timedelta(days=3)
"""How long a request that was taken and not answered is out of others' reach."""

PATIENCE = timedelta(days=5)
"""How old a request may grow before the convenors are reminded, once a day."""


async def require_request(connection: AsyncConnection, number: int) -> Request:
    """The confirmed request of that number. Raises Refused where there is none."""
    found = await join_requests.by_id(connection, number)
    if found is None or found.state == "unconfirmed":
        raise Refused(f"there is no request {number}; `requests list` shows them")
    return found


async def convenor_number(connection: AsyncConnection, email: str | None) -> int | None:
    """The number of the convenor with that address, if one is named. Raises Refused for who is none."""
    if email is None:
        return None
    member = await require_member(connection, email)
    if not member.convenor:
        raise Refused(f"{member.address} is no convenor; see `members set --convenor`")
    return member.id


async def take(database: Database, number: int, *, by: str | None, now: datetime) -> Request:
    """Let one convenor see to a request. Raises Refused where another does already, or it was answered."""
    async with database.write() as connection:
        convenor = await convenor_number(connection, by)
        await require_request(connection, number)
        taken = await join_requests.take(connection, number, by=convenor, now=now, free_since=now - TAKEN_FOR)
        request = await require_request(connection, number)
        if not taken:
            raise Refused(await _why_not(connection, request))
        log.info("request-taken", request=number)
        return request


async def accept(
    database: Database, number: int, *, by: str | None, message: str = "", now: datetime
) -> Request:
    """Let the person in and welcome them, with `message` (Markdown) if any. Raises Refused where somebody answered."""
    async with database.write() as connection:
        request = await _answer(connection, number, "accepted", by=by, message=message, now=now)
        await admit(connection, request, now=now)
        return request


async def decline(
    database: Database, number: int, *, by: str | None, message: str = "", tells: bool = True, now: datetime
) -> Request:
    """Do not let the person in, and with `tells` write to them. Raises Refused where somebody answered."""
    if message and not tells:
        raise Refused("a message is for somebody who is told; leave one of the two out")
    async with database.write() as connection:
        request = await _answer(connection, number, "declined", by=by, message=message, now=now)
        member = await members.by_id(connection, request.member)
        assert member
        if tells and member.status not in ("active", "paused"):
            await mail_one(connection, member, Kind.DECLINE, words=request.message, now=now)
        return request


async def _answer(
    connection: AsyncConnection, number: int, state: str, *, by: str | None, message: str, now: datetime
) -> Request:
    message = require_prose(message, "--message")
    convenor = await convenor_number(connection, by)
    await require_request(connection, number)
    answered = await join_requests.answer(
        connection, number, state=state, by=convenor, now=now, message=message
    )
    request = await require_request(connection, number)
    if not answered:
        raise Refused(await _why_not(connection, request))
    log.info("request-answered", request=number, state=state)
    return request


async def _why_not(connection: AsyncConnection, request: Request) -> str:
    if request.state in ("accepted", "declined"):
        return (
            f"request {request.id} was {request.state} already, at {request.answered_at:%Y-%m-%d %H:%M} UTC"
        )
    convenor = await members.by_id(connection, request.taken_by) if request.taken_by else None
    who = f" by {convenor.name or convenor.address}" if convenor else ""
    return f"request {request.id} was taken{who} at {request.taken_at:%Y-%m-%d %H:%M} UTC"


async def admit(connection: AsyncConnection, request: Request, *, now: datetime) -> None:
    """Make an active member of whom a request is from, as they said of themselves, and welcome them.

    An invitation that has gone out comes to them with the next tick, after the welcome.
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
        **await returns.trust_again(connection, member.id),
    )
    admitted = await members.by_id(connection, member.id)
    assert admitted
    await mail_one(connection, admitted, Kind.WELCOME, words=request.message, now=now)


async def nudge(database: Database, *, now: datetime) -> int:
    """Tell the convenors, once a day in one mail, which requests have waited too long; returns how many have."""
    async with database.read() as connection:
        late = [
            one
            for one in await join_requests.waiting(connection)
            if one.confirmed_at and now - one.confirmed_at >= PATIENCE
        ]
        convenors = await members.count_audience(connection, {"convenors": []})
        identity = f"nudge:{now:%Y-%m-%d}"
        if not late or not convenors or await notices.by_identity(connection, identity):
            return 0
    await publish_notice(
        database,
        audience={"convenors": []},
        audience_text="convenors",
        dues={EVERY_ZONE: now},
        now=now,
        identity=identity,
        kind=Kind.NOTICE,
        subject=_nudge_subject(late),
        body=_nudge_body(late, now),
        expires=now + timedelta(days=1),
    )
    return len(late)


def _nudge_subject(late: Sequence[Request]) -> str:
    if len(late) == 1:
        return "A request to join waits for your answer"
    return f"{len(late)} requests to join wait for your answer"


def _nudge_body(late: Sequence[Request], now: datetime) -> str:
    # Numbers only: what names somebody would outlive their being erased.
    lines = [
        f"- request {one.id}: {(now - one.confirmed_at).days} days{', taken' if one.state == 'taken' else ''}"
        for one in late
        if one.confirmed_at
    ]
    return "\n".join(
        [
            "Somebody would like to join, and has had no answer yet:",
            "",
            *lines,
            "",
            "`third-thursday requests show` and the number shows what they wrote; `accept` or `decline` answers them.",
        ]
    )


COOL_DOWN = timedelta(minutes=10)
MOST_A_DAY = 2
"""How many mails one address gets because somebody entered it, whoever they are."""

LONGEST_WORDS = 2_000
_KINDS = (Kind.CONFIRMATION, Kind.ALREADY_MEMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What somebody says of themselves, in order; `zone` is empty where they have not told it yet."""

    name: str
    email: str
    country: str
    zone: str
    locale: str
    words: str


def read_application(typed: Mapping[str, str]) -> tuple[Application | None, dict[str, str]]:
    """Return the application that somebody typed, or None and why each wrong field is refused, by its name."""
    checks: Mapping[str, Callable[[str], str]] = {
        "name": partial(_some_line, missing="You need to tell us what to call you."),
        "email": _email,
        "country": _country,
        "zone": lambda text: require_zone(text.strip(), "") if text.strip() else "",
        "locale": lambda text: require_locale(text.strip(), ""),
        "words": lambda text: require_prose(text.strip(), "", longest=LONGEST_WORDS),
        "consent": _consent,
    }
    values: dict[str, str] = {}
    complaints: dict[str, str] = {}
    for name, check in checks.items():
        try:
            values[name] = check(typed.get(name, ""))
        except Refused as refusal:
            complaints[name] = str(refusal).removeprefix(":").strip()
    if complaints:
        return None, complaints
    if not values["zone"] and not zones_of_country(values["country"]):
        return None, {"zone": "You need to choose the place nearest to you."}
    del values["consent"]
    tongue = values["locale"]
    if "-" not in tongue:
        # Whoever chooses English means that of their country.
        values["locale"] = _known_locale(f"{tongue}-{values['country'][:2]}") or tongue
    return Application(**values), {}


def _some_line(text: str, *, missing: str) -> str:
    if line := require_line(text, "", longest=LONGEST_NAME):
        return line
    raise Refused(missing)


def _email(text: str) -> str:
    if not text.strip():
        raise Refused("You need to give the address that our mail goes to.")
    return require_address(text.strip(), "")


def _country(text: str) -> str:
    if not text.strip():
        raise Refused("You need to choose your country.")
    return require_country(text.strip(), "")


def _consent(text: str) -> str:
    if text != "yes":
        raise Refused("You need to agree to this: without it we may not keep your request.")
    return text


def _known_locale(tag: str) -> str | None:
    try:
        return require_locale(tag)
    except Refused:
        return None


async def candidates(
    database: Database, series: Sequence[Series], application: Application, *, now: datetime
) -> list[tuple[str, LocalTime | None]]:
    """The zones that the person may mean, each with the next meeting by its clocks, if there is one: the zone they
    named, else those of their country."""
    zones = [application.zone] if application.zone else list(zones_of_country(application.country))
    async with database.read() as connection:
        one = await upcoming(connection, series, now=now)
    if one is None:
        return [(zone, None) for zone in zones]
    its, cycle = {each.slug: each for each in series}[one.series], hour_cycle(application.locale)
    return [(zone, local_time(one, its, zone=zone, cycle=cycle)) for zone in zones]


async def receive(connection: AsyncConnection, application: Application, now: datetime) -> None:
    """Keep an application and mail its address; what and whether depends on who that is, and the caller is not told.

    However often an address is entered, it gets few mails; what is entered in between is dropped.
    """
    key = address_key(application.email)
    member = await members.by_key(connection, key)
    if member is None:
        fresh = entry(
            address=application.email,
            name=application.name,
            country=application.country,
            zone=application.zone,
            zone_source="confirmed",
            locale=application.locale,
            status="pending",
            now=now,
        )
        await members.add(connection, [fresh])
        member = await members.by_key(connection, key)
        assert member
    await members.lock(connection, member.id)
    if not await _may_mail(connection, member, now):
        return
    if member.status in ("active", "paused"):
        await mail_one(connection, member, Kind.ALREADY_MEMBER, now=now)
        return
    standing = await join_requests.latest_of(connection, member.id)
    if standing is None or standing.state not in join_requests.OPEN:
        await join_requests.ask(
            connection,
            member.id,
            now,
            name=application.name,
            country=application.country,
            zone=application.zone,
            locale=application.locale,
            words=application.words,
        )
    await mail_one(connection, member, Kind.CONFIRMATION, now=now)
    log.info("request-asked", member=member.id)


async def _may_mail(connection: AsyncConnection, member: Member, now: datetime) -> bool:
    if await mailed_since(connection, member, *_KINDS, since=now - COOL_DOWN):
        return False
    return await mailed_since(connection, member, *_KINDS, since=now - timedelta(days=1)) < MOST_A_DAY


async def look(
    database: Database, token: str, *, keys: Keys, now: datetime
) -> tuple[LinkStatus, Request | None]:
    """What a link to confirm is worth, and the request that it is about. Changes nothing."""
    async with database.read() as connection:
        standing, _, request = await _find(connection, token, keys=keys, now=now)
    return standing, request


async def confirm(
    database: Database, token: str, *, keys: Keys, admits: bool, now: datetime
) -> tuple[LinkStatus, Request | None]:
    """Let a request wait for a convenor's answer, or with `admits` let the person in at once; returns it as it is now.

    Whoever was erased and asks themselves may come back.
    """
    async with database.write() as connection:
        standing, member, request = await _find(connection, token, keys=keys, now=now)
        if member and request and await join_requests.confirm(connection, request.id, now):
            await erasures.let_return(connection, erasure_name(keys, member.address_key))
            log.info("request-confirmed", request=request.id)
            if admits:
                await join_requests.answer(
                    connection, request.id, state="accepted", by=None, now=now, message=""
                )
                await admit(connection, request, now=now)
            request = await join_requests.by_id(connection, request.id)
    return standing, request


async def _find(
    connection: AsyncConnection, token: str, *, keys: Keys, now: datetime
) -> tuple[LinkStatus, Member | None, Request | None]:
    standing, member = await recognise(connection, token, Purpose.CONFIRM, keys=keys, now=now)
    if member is None:
        return standing, None, None
    # Who left and asks again has not left for this.
    request = await join_requests.latest_of(connection, member.id)
    return (LinkStatus.GOOD if request else LinkStatus.UNKNOWN), member, request
