"""The page of what a policy is about to send: look at it, hold it, release it or drop it."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.delivery.compose.composer import missing_details
from scheduler.domain.errors import Refused
from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import HourCycle, describe_instant, format_timing
from scheduler.domain.policy import Policy
from scheduler.service import holds
from scheduler.service.delivery_reasons import reason_in_words
from scheduler.service.holds import PlannedNotice
from scheduler.web.access import actor_of, render_console, session_of
from scheduler.web.console import previews
from scheduler.web.console.home import figures_of
from scheduler.web.forms import field, number_of
from scheduler.web.site import see_other, site_of

_ACTS = {"hold": holds.hold, "release": holds.release, "drop": holds.drop}
_DONE = {
    "hold": "It is on hold. Nobody gets it until a convenor releases it.",
    "release": "It has been released.",
    "drop": "It has been dropped. Nobody else gets it.",
}
_PHASES = {
    "held": ("On hold", "caution"),
    "stopped": ("Stopped", "bad"),
    "withdrawn": ("Withdrawn", "bad"),
    "expired": ("Over", ""),
    "sending": ("Being sent", "accent"),
    "sent": ("Sent", "good"),
    "planned": ("Planned", ""),
}


async def planned(request: Request) -> Response:
    """Show a notice that a policy sends; POST holds, releases or drops it."""
    site, number = site_of(request), number_of(request.path_params["number"])
    now, complaints = site.clock.now(), dict[str, str]()
    found = await _find(request, number)
    if found is None:
        raise HTTPException(404)
    if request.method == "POST":
        act = await field(request, "act")
        try:
            if change := _ACTS.get(act):
                await change(site.database, found.notice.id, now=now, by=actor_of(request))
                return see_other(f"/convenor/planned/{found.notice.id}?done={act}")
        except Refused as refusal:
            complaints["act"] = f"You need to check this: {refusal.message}."
            found = await _find(request, number) or found
    series = site.by_slug[found.occurrence.series]
    member, notice = session_of(request).member, found.notice
    cycle = hour_cycle(member.locale)
    policy = next((policy for policy in site.policies if policy.slug == notice.policy), None)
    figures = await figures_of(request)
    phase = _phase(found, is_over=notice.expires <= now)
    own = member.zone == series.zone
    return render_console(
        request,
        "console/planned.html",
        active="home",
        status=422 if complaints else 200,
        planned=found,
        notice=notice,
        phase=phase,
        tag=_PHASES[phase],
        recipients=figures.recipients.get(notice.id) or sum(found.states.values()),
        timing=_timing(policy, cycle) if policy else "",
        at_home=None
        if own
        else [
            describe_instant(instant, zone=series.zone, cycle=cycle) for instant in (found.first, found.last)
        ],
        missing=missing_details(found.occurrence, series, notice.kind),
        is_due=found.first <= now,
        withdrawn=reason_in_words("withdrawn", notice.unwanted or ""),
        complaints=complaints,
        done=_DONE.get(request.query_params.get("done", ""), ""),
        **(
            await previews.preview_planned(request, notice.kind, notice.policy, found.occurrence)
            if found.occurrence.is_held
            else {}
        ),
    )


async def mail(request: Request) -> Response:
    """Return the HTML of what a policy sends as a member (`?for=`) would get it, for the frame of its page."""
    found = await _find(request, number_of(request.path_params["number"]))
    if found is None or not found.occurrence.is_held:
        raise HTTPException(404)
    return await previews.planned_mail(request, found.notice.kind, found.notice.policy, found.occurrence)


async def _find(request: Request, number: int | None) -> PlannedNotice | None:
    site = site_of(request)
    if number is None:
        return None
    return await holds.read_planned(site.database, number, series=site.by_slug, now=site.clock.now())


def _timing(policy: Policy, cycle: HourCycle) -> str:
    return format_timing(policy, cycle) + (" by each member's own clock" if policy.at else "")


def _phase(found: PlannedNotice, *, is_over: bool) -> str:
    notice, sent = found.notice, found.states.get("sent", 0)
    if notice.stopped_at:
        return "stopped"
    if notice.unwanted:
        return "withdrawn"
    if is_over:
        return "sent" if sent and not notice.held_at else "expired"
    if notice.held_at:
        return "held"
    if found.cannot_hold:
        return "sent"
    return "sending" if sent else "planned"
