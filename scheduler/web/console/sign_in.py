"""Signing in to the console with a link by mail, and signing out."""

from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.address import require_address
from scheduler.domain.errors import Refused
from scheduler.service import form_queue, sessions
from scheduler.service.personal_links import InvalidLink
from scheduler.web.access import (
    SIGN_IN_PATH,
    cookie_name,
    delete_session,
    page_after_sign_in,
    remember_next,
    render_console,
    session_of,
    set_session,
)
from scheduler.web.console.passkeys import server_of
from scheduler.web.forms import field, field_error, number_of
from scheduler.web.site import PRIVATE, render_page, see_other, site_of, too_many_requests


async def ask(request: Request) -> Response:
    """Take an email address, to which a link is sent if it belongs to a convenor or helper.

    The response is the same for every address, and is sent before the address is looked up.
    """
    site = site_of(request)
    if request.method != "POST":
        again = "again" in request.query_params
        response = _page(request, again=again)
        if wanted := request.query_params.get("next"):
            remember_next(request, response, wanted)
        return response
    typed = await field(request, "email")
    try:
        email = require_address(typed, "")
    except Refused as refusal:
        complaints = {"email": field_error(refusal, "email")}
        return _page(request, status=422, typed=typed, complaints=complaints)
    if not await site.rate_limiter.allows(request):
        return too_many_requests(request)
    await form_queue.ask_to_sign_in(site.database, email, now=site.clock.now())
    return _page(request, asked=True)


def _page(
    request: Request,
    *,
    status: int = 200,
    asked: bool = False,
    again: bool = False,
    typed: str = "",
    complaints: dict[str, str] | None = None,
) -> Response:
    return render_page(
        request,
        "console/ask_sign_in.html",
        status=status,
        headers=PRIVATE,
        asked=asked,
        again=again,
        out="out" in request.query_params,
        has_passkeys=server_of(request).is_possible,
        typed=typed,
        complaints=complaints or {},
    )


async def follow_link(request: Request) -> Response:
    """Sign in with a mailed link: GET shows a button, because mail scanners follow links; POST signs in."""
    site, token, now = site_of(request), request.path_params["token"], site_of(request).clock.now()
    try:
        if request.method != "POST":
            member = await sessions.sign_in_member(site.database, token, keys=site.keys, now=now)
            return render_page(request, "console/confirm_sign_in.html", headers=PRIVATE, name=member.name)
        await request.body()
        secret = await sessions.sign_in(
            site.database,
            token,
            keys=site.keys,
            user_agent=request.headers.get("user-agent", ""),
            ends=request.cookies.get(cookie_name(request), ""),
            now=now,
        )
    except InvalidLink:
        return render_page(
            request,
            "console/refused.html",
            status=410,
            headers=PRIVATE,
            heading="This link no longer works",
            words="A link to sign in works once, for 15 minutes.",
            sign_in=True,
        )
    response = see_other(page_after_sign_in(request))
    set_session(request, response, secret)
    return response


async def sign_out(request: Request) -> Response:
    """End the session of this browser."""
    site, session = site_of(request), session_of(request)
    await sessions.end_session(site.database, session, session.id, now=site.clock.now())
    response = see_other(f"{SIGN_IN_PATH}?out=1")
    delete_session(request, response)
    return response


async def sessions_page(request: Request) -> Response:
    """Show where somebody is signed in; POST ends one session, or all others."""
    site, session, now = site_of(request), session_of(request), site_of(request).clock.now()
    if request.method == "POST":
        chosen = await field(request, "end")
        if chosen == "others":
            await sessions.end_other_sessions(site.database, session, now=now)
        elif (number := number_of(chosen)) is not None:
            await sessions.end_session(site.database, session, number, now=now)
        return see_other("/convenor/sessions?done=ended")
    return render_console(
        request,
        "console/sessions.html",
        active="sessions",
        sessions=await sessions.open_sessions(site.database, session.member, now=now),
        this=session.id,
        ended="done" in request.query_params,
    )
