"""The pages of the members: find one, see what they were sent, change, pause, remove or erase them, and add one."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.address import require_address
from scheduler.domain.errors import Refused
from scheduler.domain.locale import (
    countries,
    country_name,
    language_name,
    plain_locale,
    require_country,
    require_locale,
)
from scheduler.domain.text import require_line
from scheduler.domain.zone import city, is_known_zone, require_zone, zones_of_country
from scheduler.service import members
from scheduler.service.convenors import ROLES
from scheduler.service.delivery_reasons import outcome
from scheduler.service.duplicates import MOST, find_pairs, read_pairs, tell_apart
from scheduler.service.erasure import erase_member
from scheduler.service.members import EVERY_STATUS, LONGEST_NAME, Details, MemberFile, ZoneNeeded
from scheduler.web.access import actor_of, render_console
from scheduler.web.forms import field, field_error, fields, languages, last, number_of, zones
from scheduler.web.site import Site, see_other, site_of

PAGE = 50
FILTERS = ("status", "country", "zone", "role", "mail", "series")
"""The names of the menus beside the search."""

_DONE = {
    "saved": "The details have been saved.",
    "added": "They have been added.",
    "paused": "Their emails are paused.",
    "active": "They get our emails again.",
    "removed": "They have been removed from the list and get no more emails.",
    "links": "Their old links no longer work. Our next email to them has new ones.",
    "again": "The email is on its way to them again.",
    "deliverable": "We will send emails to their address again.",
}
_CHECKS: Mapping[str, Callable[[str], object]] = {
    "name": lambda text: require_line(text, "", longest=LONGEST_NAME),
    "email": lambda text: require_address(text, ""),
    "country": lambda text: require_country(text, "") if text else "",
    "zone": lambda text: require_zone(text, "") if text else "",
    "locale": lambda text: require_locale(text, "") if text else "",
}


async def find(request: Request) -> Response:
    """Show the members who match a search and its filters, by name."""
    site, query = site_of(request), request.query_params
    wanted = {name: query.get(name, "").strip() for name in ("q", *FILTERS)}
    found = await members.find_members(
        site.database,
        members.read_search(
            wanted["q"],
            status=wanted["status"],
            country=wanted["country"],
            zone=wanted["zone"],
            role=wanted["role"],
            suppressed=wanted["mail"] == "returned",
            series=wanted["series"] if wanted["series"] in site.by_slug else "",
            all_series=site.series,
        ),
        after=number_of(query.get("after", "")),
        limit=PAGE + 1,
    )
    given = {name: value for name, value in wanted.items() if value}
    following = urlencode({**given, "after": found[PAGE - 1].id}) if len(found) > PAGE else ""
    return render_console(
        request,
        "console/members.html",
        active="members",
        people=[(member, country_name(member.country or "")) for member in found[:PAGE]],
        wanted=wanted,
        is_filtered=any(wanted[name] for name in FILTERS),
        menus=_menus(site),
        zones=zones(),
        city=city(wanted["zone"]) if is_known_zone(wanted["zone"]) else "",
        following=f"/convenor/members?{following}" if following else "",
        start="/convenor/members" + (f"?{urlencode(given)}" if given else ""),
        is_first="after" not in query,
        erased="erased" in query,
    )


def _menus(site: Site) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Return the menus beside the search but for the time zone: name, label, and options as value and words."""
    menus: list[tuple[str, str, list[tuple[str, str]]]] = [
        ("status", "Status", [(status, status.capitalize()) for status in EVERY_STATUS]),
        ("country", "Country", list(countries())),
        ("role", "Role", [(role, role.capitalize()) for role in ROLES]),
        ("mail", "Our emails", [("returned", "They come back")]),
    ]
    if site.has_choice:
        menus.append(("series", "Follows", [(series.slug, series.title) for series in site.series]))
    return [(name, label, [("", "Any"), *options]) for name, label, options in menus]


DUPLICATES_FRESH = timedelta(minutes=5)
"""How old the list of duplicates may be before they are looked for again: with a million members that takes a
second."""


async def duplicates(request: Request) -> Response:
    """Show pairs of members who may be the same person; POST remembers that two are different people."""
    site, now = site_of(request), site_of(request).clock.now()
    if request.method == "POST":
        sent = await fields(request)
        try:
            await tell_apart(
                site.database, last(sent, "one"), last(sent, "other"), by=actor_of(request), now=now
            )
        except Refused:
            # One of them has left or been erased meanwhile: then they are not a pair any more.
            return see_other("/convenor/members/duplicates")
        return see_other("/convenor/members/duplicates?done=different")
    pairs = await request.app.state.duplicates.get(now, partial(find_pairs, site.database))
    found = await read_pairs(site.database, pairs)
    start = number_of(request.query_params.get("start", "")) or 0
    return render_console(
        request,
        "console/duplicates.html",
        active="members",
        pairs=[
            (pair, [(one, country_name(one.country or ""), city(one.zone)) for one in (pair.one, pair.other)])
            for pair in found[start : start + PAGE]
        ],
        start=start,
        total=len(found),
        page=PAGE,
        more=len(pairs) == MOST,
        done="We will not point these two out again." if "done" in request.query_params else "",
    )


async def member(request: Request) -> Response:
    """Show one member; POST pauses, reactivates or removes them, or ends their links."""
    site, file = site_of(request), await _file(request)
    complaints: dict[str, str] = {}
    if request.method == "POST":
        sent = await fields(request)
        act, until, mark = (last(sent, name) for name in ("act", "until", "mark"))
        try:
            if done := await _act(request, file, act, until, mark=number_of(mark) or 0):
                return _redirect(file.member.id, done)
        except Refused as refusal:
            place, advice = (
                ("until", "choose another day") if act == "pause" else ("acts-heading", "check this")
            )
            complaints[place] = f"You need to {advice}: {refusal.message}."
            file = await _file(request)
        except ValueError:
            complaints["until"] = "You need to enter a day, or leave the field empty."
    return render_console(
        request,
        "console/member.html",
        active="members",
        status=422 if complaints else 200,
        file=file,
        outcome=outcome,
        member=file.member,
        country=country_name(file.member.country or ""),
        language=language_name(file.member.locale),
        city=city(file.member.zone),
        series=[series.title for series in site.series if series.slug in file.follows],
        has_choice=site.has_choice,
        complaints=complaints,
        done=_DONE.get(request.query_params.get("done", ""), ""),
    )


async def _act(request: Request, file: MemberFile, act: str, until: str, *, mark: int) -> str:
    """Carry out an act on a member, and return the word for it; empty if there is no such act."""
    site, address = site_of(request), file.member.address
    options: dict[str, Any] = {"now": site.clock.now(), "by": actor_of(request)}
    match act:
        case "pause":
            day = date.fromisoformat(until) if until else None
            await members.pause_member(site.database, address, until=day, **options)
            return "paused"
        case "activate":
            # Somebody whose page says "paused" may have left since.
            details = Details(status="active")
            await members.change_member(site.database, address, details, keys=site.keys, mark=mark, **options)
            return "active"
        case "deliverable":
            details = Details(deliverable=True)
            await members.change_member(site.database, address, details, keys=site.keys, **options)
            return "deliverable"
        case "remove":
            await members.remove_member(site.database, address, **options)
            return "removed"
        case "links":
            await members.rotate_member(site.database, address, **options)
            return "links"
    return ""


async def edit(request: Request) -> Response:
    """Change a member's details: GET shows the form."""
    site, file = site_of(request), await _file(request)
    member = file.member
    typed = {
        "name": member.name,
        "email": member.address,
        "country": member.country or "",
        "zone": member.zone,
        "locale": plain_locale(member.locale),
    }
    follows, complaints, mark = set(file.follows), dict[str, str](), file.mark
    if request.method == "POST":
        sent = await fields(request)
        stored, typed, mark = typed, _typed(sent), number_of(last(sent, "mark")) or 0
        follows = set(sent.get("follows", []))
        complaints = _complaints(typed)
        if not complaints:
            changed = {name: value for name, value in typed.items() if value != stored[name] and value}
            if last(sent, "asked") == "zone" and typed["zone"]:
                # They were asked for the zone: also the one that is stored is a choice.
                changed["zone"] = typed["zone"]
            choices = {
                series.slug: series.slug in follows
                for series in site.series
                if site.has_choice and (series.slug in follows) is not (series.slug in file.follows)
            }
            try:
                await members.change_member(
                    site.database,
                    member.address,
                    _details(changed, choices),
                    keys=site.keys,
                    now=site.clock.now(),
                    all_series=site.series,
                    mark=mark,
                    by=actor_of(request),
                )
                return _redirect(member.id, "saved")
            except ZoneNeeded:
                complaints["zone"] = _zone_complaint(typed["country"])
                typed["zone"] = ""
            except Refused as refusal:
                complaints["email"] = f"You need to check the details: {refusal.message}."
    return _form(request, typed, follows, complaints, heading="Change the details", file=file, mark=mark)


async def add(request: Request) -> Response:
    """Add a member: GET shows the form."""
    site = site_of(request)
    typed = {"name": "", "email": "", "country": "", "zone": "", "locale": ""}
    follows, complaints = {series.slug for series in site.series if not series.by_choice}, dict[str, str]()
    if request.method == "POST":
        sent = await fields(request)
        typed, follows = _typed(sent), set(sent.get("follows", []))
        complaints = _complaints(typed)
        if not complaints:
            choices = {series.slug: series.slug in follows for series in site.series if site.has_choice}
            try:
                added = await members.add_member(
                    site.database,
                    _details({name: value for name, value in typed.items() if value}, choices),
                    keys=site.keys,
                    locale=site.community.locale,
                    now=site.clock.now(),
                    all_series=site.series,
                    invite=last(sent, "invite") == "yes",
                    by=actor_of(request),
                )
                return _redirect(added.id, "added")
            except ZoneNeeded:
                complaints["zone"] = _zone_complaint(typed["country"])
            except Refused as refusal:
                complaints["email"] = f"You need to check the details: {refusal.message}."
    return _form(request, typed, follows, complaints, heading="Add a member")


async def erase(request: Request) -> Response:
    """Erase a member and everything about them: GET asks."""
    site, file = site_of(request), await _file(request)
    complaints: dict[str, str] = {}
    if request.method == "POST":
        if await field(request, "sure") != "yes":
            complaints["sure"] = "You need to tick the box to confirm that you are sure."
        else:
            try:
                await erase_member(
                    site.database,
                    file.member.address,
                    keys=site.keys,
                    outbox=site.outbox,
                    now=site.clock.now(),
                    by=actor_of(request),
                )
                return see_other("/convenor/members?erased=1")
            except Refused as refusal:
                complaints["sure"] = f"You need to wait: {refusal.message}."
    return render_console(
        request,
        "console/erase_member.html",
        active="members",
        status=422 if complaints else 200,
        member=file.member,
        complaints=complaints,
    )


async def _file(request: Request) -> MemberFile:
    site, number = site_of(request), number_of(request.path_params["number"])
    file = (
        await members.read_member(site.database, number, all_series=site.series)
        if number is not None
        else None
    )
    if file is None:
        raise HTTPException(404)
    return file


def _typed(sent: Mapping[str, list[str]]) -> dict[str, str]:
    return {name: last(sent, name).strip() for name in _CHECKS}


def _complaints(typed: Mapping[str, str]) -> dict[str, str]:
    complaints = {}
    for name, check in _CHECKS.items():
        try:
            check(typed[name])
        except Refused as refusal:
            complaints[name] = field_error(refusal, name)
    return complaints


def _zone_complaint(country: str) -> str:
    """Return what to do where the time zone does not follow from the country."""
    if not country:
        return "You need to choose a time zone, or a country that has only one."
    number = "several" if zones_of_country(country) else "none of its own"
    return f"You need to choose a time zone, because {country_name(country)} has {number}."


def _details(typed: Mapping[str, str], choices: Mapping[str, bool]) -> Details:
    return Details(
        name=typed.get("name"),
        address=typed.get("email"),
        country=typed.get("country"),
        zone=typed.get("zone"),
        locale=typed.get("locale"),
        choices=choices or None,
    )


def _form(
    request: Request,
    typed: Mapping[str, str],
    follows: set[str],
    complaints: Mapping[str, str],
    *,
    heading: str,
    file: MemberFile | None = None,
    mark: int = 0,
) -> Response:
    """Return the form for a member. After a refusal it keeps the `mark` that it was made from, so that pressing again
    overwrites nothing."""
    site = site_of(request)
    return render_console(
        request,
        "console/member_form.html",
        active="members",
        status=422 if complaints else 200,
        heading=heading,
        number=file.member.id if file else None,
        mark=mark,
        is_stale=file is not None and file.mark != mark,
        typed=typed,
        follows=follows,
        complaints=complaints,
        series=site.series if site.has_choice else (),
        countries=countries(),
        zones=zones(),
        languages=languages(),
    )


def _redirect(number: int, done: str) -> Response:
    return see_other(f"/convenor/members/{number}?done={done}")
