"""The page to write to the convenors. Only a POST sends anything."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.translation import N_
from scheduler.service import contact as service
from scheduler.service import form_queue
from scheduler.service.retention import CONTACT_KEPT
from scheduler.web.forms import field_error, fields, last
from scheduler.web.site import PRIVATE, language_of, render_page, site_of, too_many_requests

_FIELDS = ("name", "email", "words")
_TRAP = "homepage"
"""A field that people do not see: only a program fills it in."""


async def contact(request: Request) -> Response:
    """Show the form, or take a message, which is mailed later, at a random moment."""
    site = site_of(request)
    if not await service.takes_messages(site.database):
        return render_page(request, "contact.html", state="closed")
    if request.method != "POST":
        return _show_form(request, {}, {})
    sent = await fields(request)
    typed = {name: last(sent, name) for name in (*_FIELDS, _TRAP)}
    message, refusals = service.read_contact_form(typed)
    if message is None:
        complaints = {
            name: field_error(refusal, name, language_of(request)) for name, refusal in refusals.items()
        }
        return _show_form(request, typed, complaints, status=422)
    if not await site.rate_limiter.allows(request):
        return too_many_requests(
            request, N_("We can take only a limited number of messages each hour. Try again in an hour.")
        )
    if not typed[_TRAP]:
        await form_queue.write_to_convenors(
            site.database, message, site.community.reply_to, now=site.clock.now()
        )
    return render_page(
        request,
        "contact.html",
        headers=PRIVATE,
        state="sent",
        address=message.address,
        kept_days=CONTACT_KEPT.days,
    )


def _show_form(
    request: Request, typed: Mapping[str, str], complaints: Mapping[str, str], *, status: int = 200
) -> Response:
    return render_page(
        request,
        "contact.html",
        status=status,
        headers=PRIVATE if request.method == "POST" else None,
        state="form",
        values={name: typed.get(name, "") for name in _FIELDS},
        complaints=complaints,
        trap=_TRAP,
        longest_words=service.LONGEST_WORDS,
        kept_days=CONTACT_KEPT.days,
    )
