"""Pages for who has no link at hand, and for what matters: a fresh link, another address, being forgotten."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from scheduler.domain.address import require_address
from scheduler.domain.errors import Refused
from scheduler.domain.token import Purpose
from scheduler.service import account, form_queue
from scheduler.service.account import own_data
from scheduler.service.personal_links import InvalidLink
from scheduler.web.forms import field, fields, told
from scheduler.web.site import PRIVATE, page, shut, site


async def ask(request: Request) -> Response:
    """Ask for an address, whose owner gets a link by mail. The answer is the same for every address, and is given
    before anybody looks whose it is: that is done later, at a random moment."""
    here = site(request)
    if request.method != "POST":
        return page(request, "ask.html", headers=PRIVATE, asked=False, typed="", complaints={})
    typed = await field(request, "email")
    try:
        email = require_address(typed, "")
    except Refused as refusal:
        return page(
            request,
            "ask.html",
            status=422,
            headers=PRIVATE,
            asked=False,
            typed=typed,
            complaints={"email": told(refusal, "email")},
        )
    if not await here.pace.allows(request):
        return _too_often(request)
    await form_queue.ask_for_link(here.database, email, now=here.clock.now())
    return page(request, "ask.html", headers=PRIVATE, asked=True, typed="", complaints={})


def _too_often(request: Request) -> Response:
    return page(
        request,
        "problem.html",
        status=429,
        headers=PRIVATE,
        heading="That was asked very often",
        words="Many mails were asked for in this hour. Please try again later.",
    )


async def sign_in(request: Request) -> Response:
    """What a fresh link opens: the way to the preferences, another address, and being forgotten."""
    here, token = site(request), request.path_params["token"]
    typed = {name: values[-1] for name, values in (await fields(request)).items()}
    complaints: dict[str, str] = {}
    try:
        if "download" in request.query_params and request.method != "POST":
            return await _data(request)
        member = await account.fresh_link_member(here.database, token, keys=here.keys, now=here.clock.now())
        act = _ACTS.get(typed.get("act", "")) if request.method == "POST" else None
        if act and (done := await act(request, typed, complaints)):
            return done
    except InvalidLink as closed:
        return shut(request, closed.status)
    own = here.keys.token(Purpose.PREFERENCES, member.id, generation=member.generation)
    return page(
        request,
        "sign_in.html",
        status=422 if complaints else 200,
        headers=PRIVATE,
        address=member.address,
        left=member.status == "left",
        own=own,
        typed=typed.get("email", ""),
        complaints=complaints,
    )


async def _data(request: Request) -> Response:
    """All that is held about the member, as a file of theirs; members who left may have it too."""
    here = site(request)
    found = await own_data(here.database, request.path_params["token"], keys=here.keys, now=here.clock.now())
    headers = {**PRIVATE, "Content-Disposition": 'attachment; filename="what-we-hold-about-you.json"'}
    return JSONResponse(found, headers=headers)


async def _links(request: Request, _: Mapping[str, str], __: dict[str, str]) -> Response:
    here = site(request)
    own = await account.end_links_at_once(
        here.database, request.path_params["token"], keys=here.keys, now=here.clock.now()
    )
    return Response(status_code=303, headers={**PRIVATE, "Location": f"/me/{own}?done=links"})


async def _move(request: Request, typed: Mapping[str, str], complaints: dict[str, str]) -> Response | None:
    here, email = site(request), typed.get("email", "").strip()
    if not await here.pace.allows(request):
        return _too_often(request)
    try:
        await account.request_address_change(
            here.database, request.path_params["token"], email, keys=here.keys, now=here.clock.now()
        )
    except Refused as refusal:
        complaints["email"] = told(refusal, "email")
        return None
    words = "We have sent a mail to the new address. As soon as it is confirmed there, our mail comes there."
    return page(request, "done.html", headers=PRIVATE, heading="One more step", words=words)


async def _forget(request: Request, typed: Mapping[str, str], complaints: dict[str, str]) -> Response | None:
    here = site(request)
    if typed.get("sure") != "yes":
        complaints["sure"] = "You need to tick that you are sure."
        return None
    try:
        erased = await account.erase_own_account(
            here.database,
            request.path_params["token"],
            keys=here.keys,
            outbox=here.outbox,
            now=here.clock.now(),
        )
    except Refused:
        complaints["sure"] = "You need to try again in a minute: a mail to you is on its way at this moment."
        return None
    words = (
        "We have erased your membership and everything that belongs to it. We keep a scrambled mark of your address, "
        "so that an old list does not bring you back. Backups made before now keep your data until they are deleted. "
    )
    if erased.remaining:
        words += (
            f"Your name is still in {_places(len(erased.remaining))}: what we wrote about our meetings, or mail we "
            f"received. Write to {here.community.reply_to} if you want it removed. "
        )
    words += "It was good to have you here; you are welcome any day."
    return page(request, "done.html", headers=PRIVATE, heading="You are forgotten", words=words)


def _places(count: int) -> str:
    return "one place" if count == 1 else f"{count} places"


_ACTS = {"address": _move, "links": _links, "erase": _forget}


async def address(request: Request) -> Response:
    """GET asks, POST confirms that mail may come to a new address."""
    here, token = site(request), request.path_params["token"]
    now, complaint, new = here.clock.now(), "", ""
    try:
        new = await account.pending_address(here.database, token, keys=here.keys, now=now)
        if request.method == "POST":
            await request.body()
            await account.confirm_address(here.database, token, keys=here.keys, now=now)
            return page(
                request,
                "done.html",
                headers=PRIVATE,
                heading="Your new address holds",
                words=f"From now on our mail goes to {new}. Links in older mails no longer work; the next mail brings "
                "new ones.",
            )
    except InvalidLink as closed:
        return shut(request, closed.status)
    except Refused as refusal:
        complaint = str(refusal)
    return page(
        request,
        "address.html",
        status=409 if complaint else 200,
        headers=PRIVATE,
        address=new,
        complaint=complaint,
    )
