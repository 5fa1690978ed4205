"""The page of the audit log."""

from starlette.requests import Request
from starlette.responses import Response

from scheduler.service import audit, convenors
from scheduler.service.audit import PAGE, subject_in_words
from scheduler.web.access import render_console
from scheduler.web.forms import number_of
from scheduler.web.site import site_of


async def audit_log(request: Request) -> Response:
    """Show who did what; `?act=`, `?by=` and `?subject=` narrow it, `?before=` continues it."""
    site, query = site_of(request), request.query_params
    act, subject = query.get("act", ""), query.get("subject", "").strip()
    lines = await audit.read_log(
        site.database,
        all_series=site.by_slug,
        before=number_of(query.get("before", "")),
        actor=number_of(query.get("by", "")),
        act=act,
        subject=subject,
    )
    return render_console(
        request,
        "console/audit_log.html",
        active="team",
        lines=lines,
        acts=await audit.known_acts(site.database),
        act=act,
        by=number_of(query.get("by", "")),
        subject=subject,
        subject_words=subject_in_words(subject, site.by_slug),
        team=await convenors.team(site.database),
        last=lines[-1].id if len(lines) == PAGE else None,
    )
