"""Previews of mails: as which member to see one, and the frame in which its HTML can do nothing."""

from collections.abc import Sequence
from datetime import datetime

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.audience import Audience
from scheduler.domain.errors import Problem
from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import describe_instant
from scheduler.domain.occurrence import Occurrence, slugs_by_choice
from scheduler.domain.policy import Kind
from scheduler.domain.zone import known_zone
from scheduler.service import members, preview
from scheduler.service.preview import Preview
from scheduler.store.members import Member
from scheduler.web.access import session_of
from scheduler.web.forms import number_of
from scheduler.web.mail_frame import framed
from scheduler.web.site import site_of

_MOST_FOUND = 10


async def chosen_member(request: Request, number: str) -> Member:
    """Return the member as whom to see a mail: the one with that number, or whoever is signed in."""
    wanted = number_of(number)
    found = (
        await members.member_with_number(site_of(request).database, wanted) if wanted is not None else None
    )
    return found or session_of(request).member


async def preview_planned(
    request: Request, kind: Kind, policy: str | None, occurrence: Occurrence
) -> dict[str, object]:
    """Return for a template how a notice of a policy looks for the member that `?for=` names, and whom else to
    choose."""
    site, query = site_of(request), request.query_params
    member = await chosen_member(request, query.get("for", ""))
    shown, problem = None, ""
    try:
        shown = await _compose_planned(request, kind, policy, occurrence, member)
    except Problem as error:
        problem = error.message
    suggested = await preview.suggested_recipients(
        site.database,
        Audience(terms={"series": [occurrence.series]}, by_choice=slugs_by_choice(site.series)),
        kind=kind,
        home=occurrence.zone,
        at=occurrence.starts,
    )
    return await for_template(
        request,
        shown,
        member,
        problem=problem,
        suggested=suggested,
        at=occurrence.starts,
        sought=query.get("q", ""),
    )


async def planned_mail(request: Request, kind: Kind, policy: str | None, occurrence: Occurrence) -> Response:
    """Return the HTML of a notice of a policy as the member that `?for=` names would get it, for a frame."""
    member = await chosen_member(request, request.query_params.get("for", ""))
    try:
        return framed((await _compose_planned(request, kind, policy, occurrence, member)).html)
    except Problem:
        raise HTTPException(404) from None


async def _compose_planned(
    request: Request, kind: Kind, policy: str | None, occurrence: Occurrence, member: Member
) -> Preview:
    site = site_of(request)
    return await preview.preview_planned(
        site.database,
        site.message_writer,
        member,
        kind=kind,
        policy=policy,
        occurrence=occurrence,
        now=site.clock.now(),
    )


async def for_template(
    request: Request,
    shown: Preview | None,
    member: Member,
    *,
    problem: str,
    suggested: Sequence[Member],
    at: datetime,
    sought: str,
) -> dict[str, object]:
    """Return what `_preview.html` shows: the mail or why there is none, and as which members to see it.

    Each suggested member has their local time at the instant `at`; `sought` is what to find members by.
    """
    site = site_of(request)
    found = []
    if sought.strip():
        search = members.read_search(sought, status="active")
        found = await members.find_members(site.database, search, limit=_MOST_FOUND)
    home = site.series[0].zone
    return {
        "preview": shown,
        "preview_for": member,
        "preview_problem": problem,
        "suggested": [
            (other, describe_instant(at, zone=known_zone(other.zone, home), cycle=hour_cycle(other.locale)))
            for other in suggested
        ],
        "sought": sought,
        "people_found": found,
    }
