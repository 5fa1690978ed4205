"""Previews of mails: as which member to see one, and the frame in which its HTML can do nothing."""

from collections.abc import Sequence
from datetime import datetime

from starlette.requests import Request

from scheduler.domain.errors import Problem
from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import describe_instant
from scheduler.domain.occurrence import Occurrence
from scheduler.domain.policy import Kind
from scheduler.domain.zone import known_zone
from scheduler.service import members
from scheduler.service.preview import Preview
from scheduler.store.members import Member
from scheduler.web.access import session_of
from scheduler.web.forms import number_of
from scheduler.web.site import site_of

_MOST_FOUND = 10


async def chosen_member(request: Request, number: str) -> Member:
    """Return the member as whom to see a mail: the one with that number, or whoever is signed in."""
    wanted = number_of(number)
    found = (
        await members.member_with_number(site_of(request).database, wanted) if wanted is not None else None
    )
    return found or session_of(request).member


def planned_mail(
    request: Request, kind: Kind, policy: str | None, occurrence: Occurrence
) -> dict[str, object]:
    """Return for a template how a notice of a policy looks to whoever is signed in, or why it cannot be made."""
    member = session_of(request).member
    try:
        preview = site_of(request).message_writer.planned_preview(
            kind, policy, occurrence, name=member.name, zone=member.zone, locale=member.locale
        )
    except Problem as problem:
        return {"preview": None, "problem": str(problem)}
    return {"preview": preview, "problem": ""}


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
            (one, describe_instant(at, zone=known_zone(one.zone, home), cycle=hour_cycle(one.locale)))
            for one in suggested
        ],
        "sought": sought,
        "found": found,
    }
