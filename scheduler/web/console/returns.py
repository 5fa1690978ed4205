"""Mail to us that was not understood: read it safely, do what it asks for, or drop it."""

from datetime import timedelta

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import ANSWERS
from scheduler.service import returned_mail
from scheduler.service.returned_mail import SETTLEMENTS
from scheduler.service.schedule import coming_meetings
from scheduler.web.access import actor_of, render_console
from scheduler.web.forms import fields, last, number_of
from scheduler.web.site import see_other, site_of

PAGE = 20
_MEETINGS = 3
_AHEAD = timedelta(days=100)


async def returns(request: Request) -> Response:
    """Show the messages that wait for review, the oldest first; `?after=` continues the list."""
    site = site_of(request)
    after = number_of(request.query_params.get("after", "")) or 0
    messages = await returned_mail.messages_for_review(site.database, after=after, limit=PAGE)
    return render_console(
        request,
        "console/returns.html",
        active="desk",
        messages=messages,
        following=messages[-1].id if len(messages) == PAGE else None,
        done="done" in request.query_params,
    )


async def message(request: Request) -> Response:
    """Show one message, do what it asks for, or drop it."""
    site, now = site_of(request), site_of(request).clock.now()
    number = number_of(request.path_params["number"])
    found = await returned_mail.message_for_review(site.database, number) if number is not None else None
    if found is None:
        raise HTTPException(404)
    sent = await fields(request) if request.method == "POST" else {}
    act, address, key = (last(sent, name).strip() for name in ("act", "email", "meeting"))
    complaints: dict[str, str] = {}
    done = see_other("/convenor/returns?done=1")
    if act == "drop":
        await returned_mail.drop_message(site.database, found.id, by=actor_of(request), now=now)
        return done
    if act:
        if act not in SETTLEMENTS:
            complaints["act"] = "You need to choose what to do."
        if not address:
            complaints["email"] = "You need to enter the email address of the member it is about."
        if not complaints:
            try:
                await returned_mail.settle_message(
                    site.database,
                    found.id,
                    address=address,
                    settlement=act,
                    key=key if act in ANSWERS else "",
                    all_series=site.by_slug,
                    by=actor_of(request),
                    now=now,
                )
                return done
            except Refused as refusal:
                complaints["email"] = f"You need to check this: {refusal.message}."
    meetings = [
        meeting
        for series in site.series
        for meeting in await coming_meetings(
            site.database, series, now=now, until=now + _AHEAD, most=_MEETINGS
        )
    ]
    return render_console(
        request,
        "console/message.html",
        active="desk",
        status=422 if complaints else 200,
        message=found,
        typed={"act": act, "email": address or found.address, "meeting": key},
        meetings=[(meeting.key, site.by_slug[meeting.series].title, meeting.starts) for meeting in meetings],
        complaints=complaints,
    )
