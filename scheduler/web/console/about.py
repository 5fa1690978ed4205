"""The page about the community: writing it, its versions, and restoring one."""

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.errors import Refused
from scheduler.service import about
from scheduler.web.access import actor_of, render_console
from scheduler.web.forms import fields, last, number_of, revision_of
from scheduler.web.site import see_other, site_of

_DONE = {
    "saved": "Everybody can see this now.",
    "same": "Nothing has been changed: the text is the same.",
    "restored": "That version is shown again.",
}


async def edit(request: Request) -> Response:
    """Show the text to be changed, and its versions; POST saves it, after a look at it if that is asked for."""
    site, newest = site_of(request), await about.read_about(site_of(request).database)
    made_from = str(newest.id if newest else 0)
    complaints: dict[str, str] = {}
    sent = await fields(request) if request.method == "POST" else {}
    if newest:
        body = newest.body
    else:
        body = about.first_draft(site.community.name, site.community.description, site.community.links)
    preview = ""
    if sent:
        body, made_from = last(sent, "body"), last(sent, "made_from")
        if last(sent, "act") == "look":
            preview = about.about_html(body[: about.LONGEST_ABOUT])
        else:
            try:
                is_new = await about.save_about(
                    site.database,
                    body,
                    made_from=revision_of(made_from),
                    by=actor_of(request),
                    now=site.clock.now(),
                )
                return see_other(f"/convenor/about?done={'saved' if is_new else 'same'}")
            except Refused as refusal:
                complaints["body"] = f"You need to check this: {refusal.message}."
    return render_console(
        request,
        "console/about.html",
        active="team",
        status=422 if complaints else 200,
        written=newest is not None,
        body=body.replace("\r\n", "\n"),
        made_from=made_from,
        is_stale=made_from != str(newest.id if newest else 0),
        preview=Markup(preview),  # noqa: S704 - about_html has cleaned it
        versions=await about.about_versions(site.database),
        complaints=complaints,
        done=_DONE.get(request.query_params.get("done", ""), ""),
    )


async def version(request: Request) -> Response:
    """Show an old version; POST restores it."""
    site, number = site_of(request), number_of(request.path_params["number"])
    found = await about.about_version(site.database, number) if number is not None else None
    newest = await about.read_about(site.database)
    if found is None or newest is None:
        raise HTTPException(404)
    complaints: dict[str, str] = {}
    if request.method == "POST":
        try:
            await about.restore_about(
                site.database,
                found.id,
                made_from=revision_of(last(await fields(request), "made_from")),
                by=actor_of(request),
                now=site.clock.now(),
            )
            return see_other("/convenor/about?done=restored")
        except Refused as refusal:
            complaints["restore"] = f"You need to check this: {refusal.message}."
    return render_console(
        request,
        "console/about_version.html",
        active="team",
        status=409 if complaints else 200,
        version=found,
        is_shown=found.id == newest.id,
        made_from=newest.id,
        words=Markup(about.about_html(found.body)),  # noqa: S704 - about_html has cleaned it
        complaints=complaints,
    )
