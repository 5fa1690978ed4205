"""The pages of notices: what was sent and what became of it, the progress of one, and stopping it."""

from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import slugs_by_choice
from scheduler.service import drafts, notices
from scheduler.service.audience_words import audience_words
from scheduler.service.delivery_reasons import FAILURES, reason_in_words
from scheduler.service.notices import NoticeProgress
from scheduler.web.access import actor_of, render_console
from scheduler.web.console.drafts import TEMPLATES
from scheduler.web.forms import fields, last, number_of
from scheduler.web.site import see_other, site_of

_LATEST = 30
_LONGEST_LOOK, _LONGEST_PACE = 60, 3600
"""After how many seconds a new look begins to measure the pace, and over how many it says anything."""
_DONE = {
    "stopped": "It has been stopped. Emails that had not left yet will not be sent.",
    "resent": "It is being sent to those who missed it.",
}
_ANNOUNCED = {
    "waiting": "Not sent yet",
    "stopped": "Stopped",
    "withdrawn": "Withdrawn",
    "finished": "Finished",
}
"""What screen readers are told when a notice comes to a phase."""


async def listing(request: Request) -> Response:
    """Show the drafts and the latest notices."""
    site = site_of(request)
    latest = await notices.latest_notices(site.database, most=_LATEST)
    return render_console(
        request,
        "console/notices.html",
        active="notices",
        drafts=await drafts.unsent_drafts(site.database),
        # What is planned and has no deliveries yet is on the first page.
        notices=[
            (notice, sum(states.values()), states.get("sent", 0))
            for notice, states in latest
            if states or notice.held_at or notice.frozen
        ],
        templates=[(name, subject) for name, (subject, _) in TEMPLATES.items()],
        audience_words=partial(audience_words, all_series=site.by_slug),
        removed="removed" in request.query_params,
    )


async def notice(request: Request) -> Response:
    """Show how far a notice is; POST stops it, or sends it to those who missed it."""
    site, number = site_of(request), number_of(request.path_params["number"])
    by_choice = slugs_by_choice(site.series)
    found = await notices.progress(site.database, number, by_choice=by_choice) if number is not None else None
    if found is None:
        raise HTTPException(404)
    now, complaints = site.clock.now(), dict[str, str]()
    if request.method == "POST":
        sent = await fields(request)
        act = last(sent, "act")
        try:
            if act == "stop":
                await notices.stop(site.database, found.notice.id, now, by=actor_of(request))
                return _redirect(f"/convenor/notices/{found.notice.id}", "stopped")
            if act == "resend":
                await notices.resend_missed(
                    site.database,
                    found.notice.id,
                    now,
                    by_choice=by_choice,
                    recipients=number_of(last(sent, "number")) or 0,
                    by=actor_of(request),
                )
                return _redirect(f"/convenor/notices/{found.notice.id}", "resent")
        except Refused as refusal:
            complaints["act"] = f"You need to check this: {refusal.message}."
    phase = _phase(found, now)
    may_resend = phase in ("stopped", "finished") and now < found.notice.expires
    return render_console(
        request,
        "console/notice.html",
        active="notices",
        status=422 if complaints else 200,
        progress=found,
        notice=found.notice,
        to=audience_words(found.notice.audience, site.by_slug),
        phase=phase,
        now=now,
        announcement=_ANNOUNCED.get(phase, ""),
        missed=found.missed if may_resend else 0,
        pace=_pace(request, found, now) if phase == "sending" else None,
        causes=[(FAILURES[cause], count) for cause, count in sorted(found.failures.items())],
        withdrawn=reason_in_words("withdrawn", found.notice.unwanted or ""),
        complaints=complaints,
        done=_DONE.get(request.query_params.get("done", ""), ""),
    )


class _Pace(NamedTuple):
    """How many emails of a notice go out in a minute, when it ends at that pace, and what a next look compares with."""

    a_minute: int
    ends: datetime | None
    since: str


def _pace(request: Request, found: NoticeProgress, now: datetime) -> _Pace:
    """Compare how far a notice is with how far it was at an earlier look (`?since=SETTLED-SECONDS`) or at its start."""
    earlier, _, seconds = request.query_params.get("since", "").partition("-")
    begun = found.first_due or now
    settled, at = 0, int(begun.timestamp())
    if (one := number_of(earlier)) is not None and (other := number_of(seconds)) is not None:
        settled, at = one, other
    passed = int(now.timestamp()) - at
    done = found.settled - settled
    since = (
        f"{settled}-{at}"
        if earlier and 0 <= passed < _LONGEST_LOOK
        else f"{found.settled}-{int(now.timestamp())}"
    )
    if passed <= 0 or passed > _LONGEST_PACE or done <= 0:
        return _Pace(0, None, since)
    left = timedelta(seconds=(found.total - found.settled) * passed / done)
    latest = max(now + left, found.last_due or now)
    return _Pace(round(done * 60 / passed), latest, since)


def _phase(found: NoticeProgress, now: datetime) -> str:
    """Return in which phase a notice is: withdrawn, stopped, preparing, waiting, sending or finished."""
    if found.notice.unwanted:
        return "withdrawn"
    if found.notice.stopped_at:
        return "stopped"
    if not found.notice.ready:
        return "preparing"
    if found.is_finished:
        return "finished"
    return "waiting" if found.first_due and now < found.first_due else "sending"


def _redirect(path: str, done: str) -> Response:
    return see_other(f"{path}?{urlencode({'done': done})}")
