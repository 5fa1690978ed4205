"""One mail to a member as it was sent, and sending it again."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import slugs_by_choice
from scheduler.service import sent_mails
from scheduler.service.delivery_reasons import outcome
from scheduler.service.sent_mails import SentMail
from scheduler.web.access import actor_of, render_console
from scheduler.web.forms import field, number_of
from scheduler.web.mail_frame import framed
from scheduler.web.site import see_other, site_of


async def mail(request: Request) -> Response:
    """Show what became of a mail, and the mail as it was sent."""
    found = await _mail(request)
    return render_console(request, "console/sent_mail.html", active="members", mail=found, outcome=outcome)


async def html(request: Request) -> Response:
    """Return the HTML of a mail for the frame; its links do nothing."""
    found = await _mail(request)
    if found.shown is None or not found.shown.html:
        raise HTTPException(404)
    return framed(found.shown.html)


async def again(request: Request) -> Response:
    """Send a mail again: GET asks."""
    site, found = site_of(request), await _mail(request)
    complaints: dict[str, str] = {}
    if request.method == "POST":
        times = number_of(await field(request, "times"))
        try:
            await sent_mails.send_again(
                site.database,
                found.member.id,
                found.report.notice,
                times=found.times if times is None else times,
                by_choice=slugs_by_choice(site.series),
                by=actor_of(request),
                now=site.clock.now(),
            )
            return see_other(f"/convenor/members/{found.member.id}?done=again")
        except Refused as refusal:
            complaints["again"] = f"You cannot send it again: {refusal.message}."
    return render_console(
        request,
        "console/send_again.html",
        active="members",
        status=422 if complaints else 200,
        mail=found,
        complaints=complaints,
    )


async def _mail(request: Request) -> SentMail:
    site = site_of(request)
    number, notice = (number_of(request.path_params[name]) for name in ("number", "notice"))
    if number is not None and notice is not None:
        found = await sent_mails.read_mail(
            site.database, number, notice, keys=site.keys, community=site.community
        )
        if found:
            return found
    raise HTTPException(404)
