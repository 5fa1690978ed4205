"""Asking to join: what somebody says of themselves, kept when it is whole, and theirs once the address confirms it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.delivery.wording import When, describe_when
from scheduler.domain.address import address_key, require_address
from scheduler.domain.country import require_country
from scheduler.domain.locale_tag import hour_cycle, require_locale
from scheduler.domain.occurrence import Series
from scheduler.domain.policy import Kind
from scheduler.domain.problem import Refused
from scheduler.domain.text import require_line, require_prose
from scheduler.domain.token import Keys, Purpose
from scheduler.domain.zone import require_zone, zones_of_country
from scheduler.service.deciding import admit
from scheduler.service.mailing import mail_one, mailed_since
from scheduler.service.membership import LONGEST_NAME, entry, erasure_name
from scheduler.service.publishing import upcoming
from scheduler.service.recognising import Standing, recognise
from scheduler.store import erasures, members, requests
from scheduler.store.database import Database
from scheduler.store.members import Member
from scheduler.store.requests import Request

log = structlog.get_logger()

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
) -> list[tuple[str, When | None]]:
    """The zones that the person may mean, each with the next meeting by its clocks, if there is one: the zone they
    named, else those of their country."""
    zones = [application.zone] if application.zone else list(zones_of_country(application.country))
    async with database.read() as connection:
        one = await upcoming(connection, series, now=now)
    if one is None:
        return [(zone, None) for zone in zones]
    its, cycle = {each.slug: each for each in series}[one.series], hour_cycle(application.locale)
    return [(zone, describe_when(one, its, zone=zone, cycle=cycle)) for zone in zones]


async def receive(connection: AsyncConnection, application: Application, now: datetime) -> None:
    """Keep an application and mail its address; what and whether depends on who that is, and the caller is not told.

    However often an address is entered, it gets few mails; what is entered in between is dropped.
    """
    key = address_key(application.email)
    member = await members.by_key(connection, key)
    if member is None:
        fresh = entry(
            address=application.email, name=application.name, country=application.country, zone=application.zone,
            zone_source="confirmed", locale=application.locale, status="pending", now=now,
        )  # fmt: skip
        await members.add(connection, [fresh])
        member = await members.by_key(connection, key)
        assert member
    await members.lock(connection, member.id)
    if not await _may_mail(connection, member, now):
        return
    if member.status in ("active", "paused"):
        await mail_one(connection, member, Kind.ALREADY_MEMBER, now=now)
        return
    standing = await requests.latest_of(connection, member.id)
    if standing is None or standing.state not in requests.OPEN:
        await requests.ask(
            connection, member.id, now, name=application.name, country=application.country, zone=application.zone,
            locale=application.locale, words=application.words,
        )  # fmt: skip
    await mail_one(connection, member, Kind.CONFIRMATION, now=now)
    log.info("request-asked", member=member.id)


async def _may_mail(connection: AsyncConnection, member: Member, now: datetime) -> bool:
    if await mailed_since(connection, member, *_KINDS, since=now - COOL_DOWN):
        return False
    return await mailed_since(connection, member, *_KINDS, since=now - timedelta(days=1)) < MOST_A_DAY


async def look(
    database: Database, token: str, *, keys: Keys, now: datetime
) -> tuple[Standing, Request | None]:
    """What a link to confirm is worth, and the request that it is about. Changes nothing."""
    async with database.read() as connection:
        standing, _, request = await _find(connection, token, keys=keys, now=now)
    return standing, request


async def confirm(
    database: Database, token: str, *, keys: Keys, admits: bool, now: datetime
) -> tuple[Standing, Request | None]:
    """Let a request wait for a convenor's answer, or with `admits` let the person in at once; returns it as it is now.

    Whoever was erased and asks themselves may come back.
    """
    async with database.write() as connection:
        standing, member, request = await _find(connection, token, keys=keys, now=now)
        if member and request and await requests.confirm(connection, request.id, now):
            await erasures.let_return(connection, erasure_name(keys, member.address_key))
            log.info("request-confirmed", request=request.id)
            if admits:
                await requests.answer(connection, request.id, state="accepted", by=None, now=now, message="")
                await admit(connection, request, now=now)
            request = await requests.by_id(connection, request.id)
    return standing, request


async def _find(
    connection: AsyncConnection, token: str, *, keys: Keys, now: datetime
) -> tuple[Standing, Member | None, Request | None]:
    standing, member = await recognise(connection, token, Purpose.CONFIRM, keys=keys, now=now)
    if member is None:
        return standing, None, None
    # Who left and asks again has not left for this.
    request = await requests.latest_of(connection, member.id)
    return (Standing.GOOD if request else Standing.UNKNOWN), member, request
