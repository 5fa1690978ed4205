"""Pages to ask for a new link, and what such a link opens: another address, a download, deleting everything."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from scheduler.domain.address import require_address
from scheduler.domain.errors import Refused
from scheduler.domain.token import Purpose
from scheduler.domain.translation import N_
from scheduler.service import account, form_queue
from scheduler.service.account import own_data
from scheduler.service.personal_links import InvalidLink
from scheduler.web.forms import field, field_error, fields
from scheduler.web.language import translator_of, with_language
from scheduler.web.site import (
    PRIVATE,
    language_of,
    link_closed,
    render_page,
    say,
    see_other,
    site_of,
    speak_to_owner,
    too_many_requests,
)


async def request_link(request: Request) -> Response:
    """Take an email address, to which a link is sent if it belongs to a member.

    The response is the same for every address, and is sent before the address is looked up. That happens later, at a
    random moment, so that neither text nor time tells whether an address belongs to a member.
    """
    site = site_of(request)
    if request.method != "POST":
        return render_page(
            request, "request_link.html", headers=PRIVATE, asked=False, typed="", complaints={}
        )
    typed = await field(request, "email")
    try:
        email = require_address(typed, "")
    except Refused as refusal:
        return render_page(
            request,
            "request_link.html",
            status=422,
            headers=PRIVATE,
            asked=False,
            typed=typed,
            complaints={"email": field_error(refusal, "email", language_of(request))},
        )
    if not await site.rate_limiter.allows(request):
        return too_many_requests(request)
    await form_queue.ask_for_link(site.database, email, now=site.clock.now())
    return render_page(request, "request_link.html", headers=PRIVATE, asked=True, typed="", complaints={})


async def sign_in(request: Request) -> Response:
    """Show the page of a new link: preferences, download, another address, new links, and deleting everything."""
    site, token = site_of(request), request.path_params["token"]
    typed = {name: values[-1] for name, values in (await fields(request)).items()}
    complaints: dict[str, str] = {}
    try:
        if "download" in request.query_params and request.method != "POST":
            return await _download(request)
        member = await account.fresh_link_member(site.database, token, keys=site.keys, now=site.clock.now())
        speak_to_owner(request, member)
        action = _ACTIONS.get(typed.get("act", "")) if request.method == "POST" else None
        if action and (response := await action(request, typed, complaints)):
            return response
    except InvalidLink as closed:
        return link_closed(request, closed.status)
    preferences_token = site.keys.token(Purpose.PREFERENCES, member.id, generation=member.generation)
    return render_page(
        request,
        "sign_in.html",
        status=422 if complaints else 200,
        headers=PRIVATE,
        address=member.address,
        left=member.status == "left",
        token=preferences_token,
        typed=typed.get("email", ""),
        complaints=complaints,
    )


async def _download(request: Request) -> Response:
    """Return everything that is held about the member as a JSON file, also for members who left."""
    site = site_of(request)
    data = await own_data(site.database, request.path_params["token"], keys=site.keys, now=site.clock.now())
    headers = {**PRIVATE, "Content-Disposition": 'attachment; filename="what-we-hold-about-you.json"'}
    return JSONResponse(data, headers=headers)


async def _cancel_links(request: Request, _: Mapping[str, str], __: dict[str, str]) -> Response:
    site = site_of(request)
    token = await account.end_links_at_once(
        site.database, request.path_params["token"], keys=site.keys, now=site.clock.now()
    )
    return see_other(with_language(request, f"/me/{token}?done=links"))


async def _change_address(
    request: Request, typed: Mapping[str, str], complaints: dict[str, str]
) -> Response | None:
    site, email = site_of(request), typed.get("email", "").strip()
    if not await site.rate_limiter.allows(request):
        return too_many_requests(request)
    try:
        await account.request_address_change(
            site.database, request.path_params["token"], email, keys=site.keys, now=site.clock.now()
        )
    except Refused as refusal:
        complaints["email"] = field_error(refusal, "email", language_of(request))
        return None
    words = say(
        request, N_("We have sent an email to the new address. Open the link in it to confirm the change.")
    )
    heading = say(request, N_("Check your email"))
    return render_page(request, "done.html", headers=PRIVATE, heading=heading, words=words)


async def _delete_everything(
    request: Request, typed: Mapping[str, str], complaints: dict[str, str]
) -> Response | None:
    site = site_of(request)
    if typed.get("sure") != "yes":
        complaints["sure"] = say(request, N_("You need to tick the box to confirm that you are sure."))
        return None
    try:
        erased = await account.erase_own_account(
            site.database,
            request.path_params["token"],
            keys=site.keys,
            outbox=site.outbox,
            now=site.clock.now(),
        )
    except Refused:
        complaints["sure"] = say(
            request, N_("You need to try again in a minute: we are sending you an email at this moment.")
        )
        return None
    sentences = [
        say(
            request,
            N_(
                "We have deleted your membership and everything that belongs to it. We keep a scrambled code made from "
                "your address, so that an old list does not add you again. Backups made before now keep your data "
                "until they are deleted."
            ),
        )
    ]
    if places := len(erased.remaining):
        sentences.append(
            translator_of(request, site.community).ngettext(
                "Your name is still in one place: in what we wrote about our meetings, or in emails we received. "
                "Write to %(address)s if you want it removed.",
                "Your name is still in %(count)s places: in what we wrote about our meetings, or in emails we "
                "received. Write to %(address)s if you want it removed.",
                places,
            )
            % {"count": places, "address": site.community.reply_to}
        )
    sentences.append(
        say(request, N_("It was good to have you with us. You are welcome to come back at any time."))
    )
    return render_page(
        request,
        "done.html",
        headers=PRIVATE,
        heading=say(request, N_("We have deleted everything about you")),
        words=" ".join(sentences),
    )


_ACTIONS = {"address": _change_address, "links": _cancel_links, "erase": _delete_everything}


async def confirm_address(request: Request) -> Response:
    """Confirm a new address: GET asks, POST changes it."""
    site, token = site_of(request), request.path_params["token"]
    now, complaint, new_address = site.clock.now(), "", ""
    try:
        member, new_address = await account.pending_address(site.database, token, keys=site.keys, now=now)
        speak_to_owner(request, member)
        if request.method == "POST":
            await request.body()
            await account.confirm_address(site.database, token, keys=site.keys, now=now)
            return render_page(
                request,
                "done.html",
                headers=PRIVATE,
                heading=say(request, N_("We have changed your email address")),
                words=say(
                    request,
                    N_(
                        "We will now send our emails to %(address)s. The links in older emails no longer work. Our "
                        "next email will contain new ones."
                    ),
                )
                % {"address": new_address},
            )
    except InvalidLink as closed:
        return link_closed(request, closed.status)
    except Refused as refusal:
        complaint = say(request, refusal.message)
    return render_page(
        request,
        "confirm_address.html",
        status=409 if complaint else 200,
        headers=PRIVATE,
        address=new_address,
        complaint=complaint,
    )
