"""Entries of the wall, which convenors and helpers release or refuse, and a convenor's own profile."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.errors import Refused
from scheduler.service import profiles
from scheduler.store.profiles import Profile
from scheduler.web.access import actor_of, render_console, session_of
from scheduler.web.forms import asked_number, fields, fields_and_file, last, number_of, revision_of
from scheduler.web.people import TYPED, form_limits, person_of, private_photo, read_photo
from scheduler.web.site import see_other, site_of

_DONE = {
    "release": "Everybody can see the entry now.",
    "refuse": "The entry is not shown. The member sees on their own page what you wrote.",
    "remove": "The entry and its photo are deleted.",
    "save": "Everybody can see this now.",
    "hide": "You are not shown any more, and your photo is deleted.",
}


async def people(request: Request) -> Response:
    """Show the entries of the wall: those that wait, then those that everybody sees; `?page=` continues the list."""
    page = asked_number(request, "page") or 1
    entries = await profiles.read_entries(site_of(request).database, page=page)
    return render_console(
        request,
        "console/people.html",
        active="desk",
        entries=entries,
        page=page,
        has_more=entries.total > page * profiles.PAGE,
        country_of=profiles.country_of,
        done=_DONE.get(request.query_params.get("done", ""), ""),
    )


async def entry(request: Request) -> Response:
    """Show one entry of the wall as everybody would see it; release, refuse or remove it."""
    found = await _find(request)
    sent = await fields(request) if request.method == "POST" else {}
    act, words = last(sent, "act"), last(sent, "words")
    complaints: dict[str, str] = {}
    site, revision = site_of(request), revision_of(last(sent, "revision"))
    database, by, now = site.database, actor_of(request), site.clock.now()
    try:
        match act:
            case "release":
                await profiles.release(database, found.id, revision=revision, by=by, now=now)
            case "refuse":
                await profiles.refuse(database, found.id, words, revision=revision, by=by, now=now)
            case "remove":
                await profiles.remove(database, found.id, by=by, now=now)
        if act in _DONE:
            await site.feed_cache.refresh()
            return see_other(f"/convenor/people?done={act}")
    except Refused as refusal:
        complaints["words"] = f"You need to check this: {refusal.message}."
        found = await _find(request)
    return render_console(
        request,
        "console/person.html",
        active="desk",
        status=409 if complaints else 200,
        entry=found,
        person=person_of(found, f"/convenor/people/{found.id}/photo/"),
        words=words,
        longest_refusal=profiles.LONGEST_REFUSAL,
        complaints=complaints,
    )


async def photo(request: Request) -> Response:
    """Show the photo of an entry that waits."""
    return await private_photo(request, await _find(request), request.path_params["file"])


async def _find(request: Request) -> Profile:
    number = number_of(request.path_params["number"])
    found = await profiles.find_entry(site_of(request).database, number) if number is not None else None
    if found is None:
        raise HTTPException(404)
    return found


async def own_photo(request: Request) -> Response:
    """Show a convenor their own photo."""
    profile = await profiles.convenor_profile(site_of(request).database, session_of(request).member.id)
    return await private_photo(request, profile, request.path_params["file"])


async def own_profile(request: Request) -> Response:
    """Show what everybody sees of the convenor who is signed in; change or remove it."""
    site, member = site_of(request), session_of(request).member
    typed: dict[str, str] = {}
    complaints: dict[str, str] = {}
    revision = ""
    if request.method == "POST":
        sent, file = await fields_and_file(request, "photo")
        typed = {name: last(sent, name) for name in (*TYPED, "without_photo")}
        act, revision, now = last(sent, "act"), last(sent, "revision"), site.clock.now()
        if act == "hide":
            await profiles.hide_convenor(site.database, member.address, by=actor_of(request), now=now)
            await site.feed_cache.refresh()
            return see_other("/convenor/profile?done=hide")
        words, complaints = profiles.read_words(typed, asks_organisation=True)
        photo = await read_photo(site.photo_decoder, file, typed, complaints)
        if words and not complaints:
            try:
                await profiles.show_convenor(
                    site.database,
                    member.address,
                    words,
                    photo=photo,
                    revision=revision_of(revision),
                    by=actor_of(request),
                    now=now,
                )
                await site.feed_cache.refresh()
                return see_other("/convenor/profile?done=save")
            except Refused as refusal:
                complaints["name"] = f"You need to check this: {refusal.message}."
    profile = await profiles.convenor_profile(site.database, member.id)
    stored = {
        "name": profile.name if profile else member.name,
        "role": profile.role if profile else "",
        "organisation": profile.organisation if profile else "",
        "country": (profile.country if profile else member.country) or "",
    }
    return render_console(
        request,
        "console/profile.html",
        active="team",
        status=422 if complaints else 200,
        profile=profile,
        revision=revision or (profile.revision if profile else ""),
        person=person_of(profile, "/convenor/profile/photo/") if profile else None,
        values={name: typed.get(name, value) for name, value in stored.items()},
        complaints=complaints,
        done=_DONE.get(request.query_params.get("done", ""), ""),
        **form_limits(),
    )
