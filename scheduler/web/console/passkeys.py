"""Adding, removing and signing in with passkeys."""

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from scheduler.domain.errors import Refused
from scheduler.service.passkeys import PasskeyServer, passkeys_of, remove_passkey
from scheduler.web.access import cookie_name, page_after_sign_in, render_console, session_of, set_session
from scheduler.web.forms import field, fields, last, number_of
from scheduler.web.site import PRIVATE, render_page, see_other, site_of

_DONE = {
    "added": "You can now sign in with this passkey.",
    "removed": "The passkey has been removed. Remove it from your device too.",
}


def server_of(request: Request) -> PasskeyServer:
    """Return what checks the passkeys of this site."""
    site = site_of(request)
    return PasskeyServer(site.community, site.keys)


async def passkeys(request: Request) -> Response:
    """Show the passkeys of whoever is signed in, and add or remove one."""
    site, session, server = site_of(request), session_of(request), server_of(request)
    now, complaints = site.clock.now(), dict[str, str]()
    if request.method == "POST":
        typed = await fields(request)
        number = number_of(last(typed, "remove"))
        if number is not None:
            await remove_passkey(site.database, session, number, now=now)
            return see_other("/convenor/passkeys?done=removed")
        try:
            await server.register(
                site.database,
                session,
                last(typed, "answer"),
                user_agent=request.headers.get("user-agent", ""),
                now=now,
            )
            return see_other("/convenor/passkeys?done=added")
        except Refused as refusal:
            complaints["add"] = str(refusal)
    options = "{}"
    if server.is_possible and not complaints:
        try:
            options = json.dumps(dict(await server.begin_registration(site.database, session, now=now)))
        except Refused as refusal:
            complaints["add"] = str(refusal)
    return render_console(
        request,
        "console/passkeys.html",
        active="sessions",
        status=422 if complaints else 200,
        passkeys=await passkeys_of(site.database, session),
        options=options,
        is_possible=server.is_possible,
        complaints=complaints,
        done=_DONE.get(request.query_params.get("done", ""), ""),
    )


async def challenge(request: Request) -> Response:
    """Return the options for signing in with a passkey."""
    server = server_of(request)
    return JSONResponse(dict(server.begin_sign_in(now=site_of(request).clock.now())), headers=PRIVATE)


async def sign_in(request: Request) -> Response:
    """Sign in with a passkey: the form has the browser's answer to the challenge."""
    site = site_of(request)
    try:
        secret = await server_of(request).sign_in(
            site.database,
            await field(request, "answer"),
            user_agent=request.headers.get("user-agent", ""),
            ends=request.cookies.get(cookie_name(request), ""),
            now=site.clock.now(),
        )
    except Refused as refusal:
        return render_page(
            request,
            "console/refused.html",
            status=422,
            headers=PRIVATE,
            heading="You are not signed in",
            words=str(refusal),
            sign_in=True,
        )
    response = see_other(page_after_sign_in(request))
    set_session(request, response, secret)
    return response
