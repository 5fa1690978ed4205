"""Pages of the personal links in emails: leave, join the meeting, answer an invitation. GET changes nothing."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.localtime import format_day, months_later
from scheduler.domain.occurrence import ANSWERS, Series
from scheduler.domain.token import Purpose
from scheduler.domain.translation import N_
from scheduler.service import preferences
from scheduler.service import rsvp as rsvp_service
from scheduler.service.follows import followed_by_link, stop_following
from scheduler.service.personal_links import InvalidLink, JoinStatus, LinkStatus, resolve_join_link
from scheduler.service.preferences import check_leave_link, leaving_member
from scheduler.service.preferences import leave as leave_list
from scheduler.service.rsvp import RsvpStatus
from scheduler.web.forms import field
from scheduler.web.site import (
    PRIVATE,
    language_of,
    language_of_owner,
    render_page,
    say,
    site_of,
    speak_to_owner,
)

PAUSES = {"1": N_("Pause for a month"), "3": N_("Pause for three months"), "6": N_("Pause for half a year")}

_LEAVE_STATUS_CODES = {LinkStatus.REPLACED: 410, LinkStatus.UNKNOWN: 404}
_JOIN_STATUS_CODES = {
    JoinStatus.LEFT: 410,
    JoinStatus.REPLACED: 410,
    JoinStatus.UNKNOWN: 404,
    JoinStatus.NO_MEETING: 404,
}


async def leave(request: Request) -> Response:
    """Ask on GET and leave on POST.

    The POST may come from our page or from a mail program (RFC 8058), with any body and without a cookie. It leaves the
    list whatever series the address names in `series`; only `pause` and `unfollow`, which no mail carries, do less.
    """
    site, token = site_of(request), request.path_params["token"]
    months, unfollowed = request.query_params.get("pause", ""), request.query_params.get("unfollow")
    if member := await leaving_member(site.database, token, keys=site.keys):
        speak_to_owner(request, member)
    if request.method != "POST":
        link_status = await check_leave_link(site.database, token, keys=site.keys)
        return await _leave_page(
            request, link_status, "asks" if link_status is LinkStatus.GOOD else link_status.value
        )
    await request.body()
    if unfollowed is not None:
        return await _unfollow(request, unfollowed)
    if months in PAUSES:
        return await _pause(request, months)
    link_status = await leave_list(site.database, token, keys=site.keys, now=site.clock.now())
    return await _leave_page(
        request, link_status, "left" if link_status is LinkStatus.GOOD else link_status.value
    )


async def _unfollow(request: Request, slug: str) -> Response:
    """Stop following one series; the link to leave is enough for that."""
    site = site_of(request)
    if slug not in site.by_slug:
        raise HTTPException(404, headers=PRIVATE)
    link_status = await stop_following(
        site.database,
        request.path_params["token"],
        slug,
        all_series=site.series,
        keys=site.keys,
        now=site.clock.now(),
    )
    if link_status is not LinkStatus.GOOD:
        return await _leave_page(request, link_status, link_status.value)
    return await _leave_page(
        request,
        link_status,
        "unfollowed",
        unfollowed=site.by_slug[slug].in_language(language_of(request)).title,
    )


async def _pause(request: Request, months: str) -> Response:
    """Pause mail for some months; the link to leave is enough for that."""
    site = site_of(request)
    now = site.clock.now()
    until = months_later(now.date(), int(months))
    try:
        await preferences.pause(
            site.database,
            request.path_params["token"],
            until=until,
            keys=site.keys,
            now=now,
            purpose=Purpose.LEAVE,
        )
    except InvalidLink as closed:
        return await _leave_page(request, closed.status, closed.status.value)
    return await _leave_page(
        request, LinkStatus.GOOD, "paused", until=format_day(until, language_of(request))
    )


async def _leave_page(
    request: Request, link_status: LinkStatus, state: str, *, until: str = "", unfollowed: str = ""
) -> Response:
    site, token = site_of(request), request.path_params["token"]
    followed: list[Series] = []
    language = language_of(request)
    by_slug = {slug: series.in_language(language) for slug, series in site.by_slug.items()}
    if site.has_choice and state in ("asks", "unfollowed"):
        slugs = await followed_by_link(site.database, token, all_series=site.series, keys=site.keys)
        followed = [by_slug[slug] for slug in slugs]
    named = by_slug.get(request.query_params.get("series", "")) if site.has_choice else None
    return render_page(
        request,
        "leave.html",
        status=_LEAVE_STATUS_CODES.get(link_status, 200),
        headers=PRIVATE,
        link_status=state,
        until=until,
        unfollowed=unfollowed,
        followed=followed,
        of_mail=named if named in followed else None,
        not_followed=named.title if named and named not in followed else "",
        pauses=PAUSES,
    )


async def join_meeting(request: Request) -> Response:
    """Redirect to the meeting room while it is open; otherwise show when it opens or why it does not."""
    site = site_of(request)
    entry = await resolve_join_link(
        site.database,
        site.by_slug,
        request.path_params["token"],
        "{series}/{date}".format(**request.path_params),
        keys=site.keys,
        locale=site.community.locale,
        language_of=language_of_owner(request),
        now=site.clock.now(),
    )
    if entry.status is JoinStatus.OPEN:
        return Response(status_code=302, headers={**PRIVATE, "Location": entry.room})
    return render_page(
        request,
        "join_meeting.html",
        status=_JOIN_STATUS_CODES.get(entry.status, 200),
        headers=PRIVATE,
        entry=entry,
        join_status=entry.status.value,
    )


_RSVP_STATUS_CODES = {RsvpStatus.LEFT: 410, RsvpStatus.REPLACED: 410, RsvpStatus.UNKNOWN: 404}


async def rsvp(request: Request) -> Response:
    """Ask on GET and save the answer on POST. The link is enough; no cookie is needed."""
    site, token, posted = site_of(request), request.path_params["token"], request.method == "POST"
    answer = await field(request, "answer") if posted else ""
    is_valid = answer in (*ANSWERS, rsvp_service.NO_ANSWER)
    refused = posted and not is_valid
    response = await rsvp_service.respond(
        site.database,
        site.by_slug,
        token,
        answer if is_valid else None,
        keys=site.keys,
        locale=site.community.locale,
        language_of=language_of_owner(request),
        now=site.clock.now(),
    )
    complaints = {"answer": say(request, N_("You need to choose one of these answers."))} if refused else {}
    preselected = request.query_params.get("answer", "")
    status = _RSVP_STATUS_CODES.get(response.status, 422 if complaints else 200)
    return render_page(
        request,
        "rsvp.html",
        status=status,
        headers=PRIVATE,
        response=response,
        question=response.status.value,
        saved=is_valid and response.status is RsvpStatus.OPEN,
        complaints=complaints,
        chosen=preselected if preselected in ANSWERS else response.answer,
    )
