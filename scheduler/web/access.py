"""Who may use a page: everybody, whoever has a personal link, or convenors and helpers who are signed in."""

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from functools import partial
from urllib.parse import quote

from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from scheduler.domain.actor import Actor
from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import HourCycle, describe_instant, format_date, format_timing
from scheduler.domain.occurrence import OccurrenceKey, Series
from scheduler.domain.policy import Kind, Policy, kind_in_words
from scheduler.service import sessions
from scheduler.service.sessions import RECENT, Session
from scheduler.web.site import PRIVATE, render_page, site_of

Endpoint = Callable[[Request], Awaitable[Response]]

SIGN_IN_PATH = "/convenor/sign-in"
_COOKIE_SECONDS = int(sessions.ABSOLUTE_LIMIT.total_seconds())
_NEXT_COOKIE = "next"
_NEXT_SECONDS = 15 * 60
_READS = ("GET", "HEAD")


class Access(StrEnum):
    """Who may use a page.

    LINK pages check the personal token in their address themselves. The pages in RECENTLY are for what cannot be
    undone: they need somebody who signed in a few minutes ago.
    """

    ANYONE = "anyone"
    LINK = "link"
    HELPER = "helper or convenor"
    HELPER_RECENTLY = "helper or convenor, signed in recently"
    CONVENOR = "convenor"
    CONVENOR_RECENTLY = "convenor, signed in recently"


OPEN = frozenset({Access.ANYONE, Access.LINK})
CONVENORS_ONLY = frozenset({Access.CONVENOR, Access.CONVENOR_RECENTLY})
RECENTLY = frozenset({Access.HELPER_RECENTLY, Access.CONVENOR_RECENTLY})


def guarded(endpoint: Endpoint, access: Access) -> Endpoint:
    """Return an endpoint that calls `endpoint` only for those who may use it."""
    if access in OPEN:
        return endpoint

    async def guarded_endpoint(request: Request) -> Response:
        site = site_of(request)
        now = site.clock.now()
        secret = request.cookies.get(cookie_name(request), "")
        session = await sessions.resume(site.database, secret, now=now) if secret else None
        if session is None:
            return _ask_to_sign_in(request, "You need to sign in")
        if access in CONVENORS_ONLY and session.role != "convenor":
            return _refuse_helper(request)
        if access in RECENTLY and not session.is_recent(now):
            return _ask_to_sign_in(request, "You need to sign in again")
        request.state.session = session
        response = await endpoint(request)
        for name, value in PRIVATE.items():
            response.headers.setdefault(name, value)
        return response

    return guarded_endpoint


def session_of(request: Request) -> Session:
    """Return the session of whoever is signed in; only for guarded endpoints."""
    session = request.state.session
    assert isinstance(session, Session)
    return session


def actor_of(request: Request) -> Actor:
    """Return who is signed in, for the audit log; only for guarded endpoints."""
    return session_of(request).actor


def render_console(
    request: Request, template: str, *, active: str = "", status: int = 200, **values: object
) -> HTMLResponse:
    """Return a page of the console. `active` names its part of the navigation.

    The template gets the values, who is signed in, `moment`, which writes an instant in their own time,
    `meeting_name`, which names the meeting of a key, and `notice_name`, which names a notice by its kind, policy and
    subject.
    """
    session = session_of(request)
    zone, cycle = session.member.zone, hour_cycle(session.member.locale)
    return render_page(
        request,
        template,
        status=status,
        headers=PRIVATE,
        me=session.member,
        role=session.role,
        active=active,
        moment=lambda instant: describe_instant(instant, zone=zone, cycle=cycle),
        notice_name=partial(
            notice_name, {policy.slug: policy for policy in site_of(request).policies}, cycle
        ),
        meeting_name=names_of_meetings(request),
        **values,
    )


def names_of_meetings(request: Request) -> Callable[[str], str]:
    """Return the function that names the meeting of a key."""
    return partial(_meeting_name, site_of(request).by_slug)


def _meeting_name(all_series: Mapping[str, Series], key: str) -> str:
    """Return the date of a meeting, with several series after the title, by its key, which a move does not change."""
    parsed = OccurrenceKey.parse(key)
    series = all_series.get(parsed.series)
    title = f"{series.title}, " if series and len(all_series) > 1 else ""
    return f"{title}{format_date(parsed.date)}"


def notice_name(
    policies: Mapping[str, Policy], cycle: HourCycle, kind: str, policy: str | None, subject: str = ""
) -> str:
    """Return what to call a notice: its subject, or its kind; a reminder also by when it is due, because a meeting may
    have several."""
    words = subject or kind_in_words(kind)
    if kind != Kind.REMINDER or not policy:
        return words
    known = policies.get(policy)
    if known is None:
        return f"{words} ({policy})"
    return f"{words} ({format_timing(known, cycle)}{' their time' if known.at else ''})"


def cookie_name(connection: HTTPConnection) -> str:
    """Return the name of the session's cookie; with HTTPS, one that only this host can have set (RFC 6265bis)."""
    return "__Host-session" if _is_https(connection) else "session"


def set_session(request: Request, response: Response, secret: str) -> None:
    """Sign the browser in with the secret of a new session."""
    response.set_cookie(
        cookie_name(request),
        secret,
        max_age=_COOKIE_SECONDS,
        path="/",
        secure=_is_https(request),
        httponly=True,
        samesite="lax",
    )
    response.delete_cookie(_NEXT_COOKIE, path=SIGN_IN_PATH)


def delete_session(request: Request, response: Response) -> None:
    """Remove the session's cookie from the browser."""
    response.delete_cookie(
        cookie_name(request), path="/", secure=_is_https(request), httponly=True, samesite="lax"
    )


def remember_next(request: Request, response: Response, path: str) -> None:
    """Remember which page to open after signing in; the mailed link does not say."""
    response.set_cookie(
        _NEXT_COOKIE,
        safe_next(path),
        max_age=_NEXT_SECONDS,
        path=SIGN_IN_PATH,
        secure=_is_https(request),
        httponly=True,
        samesite="lax",
    )


def page_after_sign_in(request: Request) -> str:
    """Return the path of the page to open after signing in."""
    return safe_next(request.cookies.get(_NEXT_COOKIE, ""))


def safe_next(path: str) -> str:
    """Return `path` if it is a page of the console to go to after signing in, else the console's first page."""
    is_ours = path == "/convenor" or path.startswith(("/convenor/", "/convenor?"))
    is_plain = path.isascii() and path.isprintable() and not any(mark in path for mark in "\\#")
    return path if is_ours and is_plain and not path.startswith(SIGN_IN_PATH) else "/convenor/"


def _ask_to_sign_in(request: Request, heading: str) -> Response:
    if request.method in _READS:
        query = request.scope["query_string"].decode("latin-1")
        path = request.scope["path"] + (f"?{query}" if query else "")
        again = "&again=1" if heading.endswith("again") else ""
        return RedirectResponse(f"{SIGN_IN_PATH}?next={quote(path)}{again}", 303, headers=PRIVATE)
    minutes = int(RECENT.total_seconds() // 60)
    reason = (
        f"For this you must have signed in within the last {minutes} minutes."
        if heading.endswith("again")
        else "You are not signed in any more."
    )
    return render_page(
        request,
        "console/refused.html",
        status=401,
        headers=PRIVATE,
        heading=heading,
        words=f"{reason} Nothing has been changed.",
        sign_in=True,
    )


def _refuse_helper(request: Request) -> Response:
    return render_page(
        request,
        "console/refused.html",
        status=403,
        headers=PRIVATE,
        heading="Only convenors can do this",
        words="You are a helper: you can edit meetings and answer requests to join. Ask a convenor to do this.",
        sign_in=False,
    )


def _is_https(connection: HTTPConnection) -> bool:
    return site_of(connection).community.base_url.startswith("https:")
