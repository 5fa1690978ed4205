"""The page on which the follow-up of a meeting is looked at and sent."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.errors import Refused
from scheduler.domain.policy import Kind
from scheduler.service import follow_ups
from scheduler.service.occurrences import read_file
from scheduler.web.access import actor_of, render_console
from scheduler.web.console import previews
from scheduler.web.forms import field, number_of
from scheduler.web.site import see_other, site_of


async def follow_up(request: Request) -> Response:
    """Show how the follow-up looks and to how many it goes; POST sends it."""
    site, now = site_of(request), site_of(request).clock.now()
    key = _key(request)
    if await read_file(site.database, site.by_slug, key, now=now) is None:
        raise HTTPException(404)
    complaints = dict[str, str]()
    if request.method == "POST":
        number = number_of(await field(request, "number"))
        try:
            published = await follow_ups.send_follow_up(
                site.database,
                site.by_slug,
                site.policies,
                key,
                now=now,
                hold=site.hold,
                recipients=number or 0,
                by=actor_of(request),
            )
            return see_other(f"/convenor/notices/{published.notice}")
        except Refused as refusal:
            complaints["send"] = f"You need to check this: {refusal.message.removeprefix(f'{key}: ')}."
    found, reason = None, ""
    try:
        found = await follow_ups.find_follow_up(site.database, site.by_slug, key, now=now)
    except Refused as refusal:
        reason = refusal.message.removeprefix(f"{key}: ").replace(key, "the meeting")
    return render_console(
        request,
        "console/follow_up.html",
        active="meetings",
        status=422 if complaints else 200,
        key=key,
        title=site.by_slug[request.path_params["series"]].title,
        found=found,
        reason=reason,
        sent=await follow_ups.notice_of(site.database, key),
        hold_minutes=site.hold_minutes,
        complaints=complaints,
        **(await previews.preview_planned(request, Kind.FOLLOW_UP, None, found.occurrence) if found else {}),
    )


async def mail(request: Request) -> Response:
    """Return the HTML of a follow-up as a member (`?for=`) would get it, for the frame of its page."""
    site, key = site_of(request), _key(request)
    try:
        found = await follow_ups.find_follow_up(site.database, site.by_slug, key, now=site.clock.now())
    except Refused:
        raise HTTPException(404) from None
    return await previews.planned_mail(request, Kind.FOLLOW_UP, None, found.occurrence)


def _key(request: Request) -> str:
    return f"{request.path_params['series']}/{request.path_params['date']}"
