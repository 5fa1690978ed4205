"""The pages of themes and speakers, and the import of a sheet of meetings."""

from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.errors import Refused
from scheduler.service import meeting_records, occurrence_import
from scheduler.web.access import actor_of, render_console
from scheduler.web.console.uploads import choose_file
from scheduler.web.forms import fields, last, number_of
from scheduler.web.site import see_other, site_of

_THEMES, _SPEAKERS, _IMPORT = "/convenor/themes", "/convenor/speakers", "/convenor/archive/import"
_MOST_ROWS = 500
_DONE = {
    "added": "The theme has been added.",
    "saved": "Saved.",
    "merged": "They have been merged.",
    "removed": "The theme has been deleted.",
}


async def themes(request: Request) -> Response:
    """List the themes; POST adds one."""
    site, complaints = site_of(request), dict[str, str]()
    typed = {"name": "", "words": ""}
    if request.method == "POST":
        sent = await fields(request)
        typed = {name: last(sent, name).strip() for name in typed}
        try:
            await meeting_records.add_theme(
                site.database,
                typed["name"],
                words=typed["words"],
                now=site.clock.now(),
                by=actor_of(request),
            )
            return see_other(f"{_THEMES}?done=added")
        except Refused as refusal:
            complaints["name"] = f"You need to change this: {refusal.message}."
    return render_console(
        request,
        "console/themes.html",
        active="meetings",
        status=422 if complaints else 200,
        themes=await meeting_records.list_themes(site.database),
        typed=typed,
        complaints=complaints,
        done=_done(request),
    )


async def theme(request: Request) -> Response:
    """Show a theme; POST renames or describes it, merges another one into it, or deletes it."""
    site, slug = site_of(request), request.path_params["theme"]
    every = {used.item.slug: used for used in await meeting_records.list_themes(site.database)}
    if slug not in every:
        raise HTTPException(404)
    shown, complaints = every[slug].item, dict[str, str]()
    fingerprint = shown.fingerprint
    typed = {"name": shown.name, "words": shown.words}
    if request.method == "POST":
        sent = await fields(request)
        act, now, by = last(sent, "act"), site.clock.now(), actor_of(request)
        try:
            if act == "merge":
                other = last(sent, "other")
                await meeting_records.merge_themes(site.database, kept=slug, other=other, now=now, by=by)
                return see_other(f"{_THEMES}?done=merged")
            if act == "remove":
                await meeting_records.remove_theme(site.database, slug, now=now, by=by)
                return see_other(f"{_THEMES}?done=removed")
            typed = {name: last(sent, name).strip() for name in typed}
            # A form that is refused keeps the state that it was made from, so that pressing again overwrites nothing.
            fingerprint = last(sent, "fingerprint")
            await meeting_records.change_theme(
                site.database, slug, **typed, fingerprint=fingerprint, now=now, by=by
            )
            return see_other(f"{_THEMES}?done=saved")
        except Refused as refusal:
            name = "other" if act == "merge" else "name"
            complaints[name] = f"You need to change this: {refusal.message}."
    return render_console(
        request,
        "console/theme.html",
        active="meetings",
        status=422 if complaints else 200,
        theme=shown,
        fingerprint=fingerprint,
        meetings=every[slug].meetings,
        others=[(used.item.slug, used.item.name) for used in every.values() if used.item.slug != slug],
        typed=typed,
        complaints=complaints,
    )


async def speakers(request: Request) -> Response:
    """List the speakers, and those who may be one person."""
    used = await meeting_records.list_speakers(site_of(request).database)
    return render_console(
        request,
        "console/speakers.html",
        active="meetings",
        speakers=used,
        duplicates=meeting_records.likely_duplicates(used),
        done=_done(request),
    )


async def speaker(request: Request) -> Response:
    """Show a speaker; POST changes them at all their meetings, or merges another one into them."""
    site, slug = site_of(request), request.path_params["speaker"]
    every = {used.item.slug: used for used in await meeting_records.list_speakers(site.database)}
    if slug not in every:
        raise HTTPException(404)
    shown, complaints = every[slug].item, dict[str, str]()
    fingerprint = shown.fingerprint
    typed = {name: getattr(shown, name) for name in ("name", "role", "organisation", "link")}
    if request.method == "POST":
        sent = await fields(request)
        act, now, by = last(sent, "act"), site.clock.now(), actor_of(request)
        try:
            if act == "merge":
                other = last(sent, "other")
                await meeting_records.merge_speakers(site.database, kept=slug, other=other, now=now, by=by)
                return see_other(f"{_SPEAKERS}?done=merged")
            typed = {name: last(sent, name).strip() for name in typed}
            fingerprint = last(sent, "fingerprint")
            await meeting_records.change_speaker(
                site.database, slug, values=typed, fingerprint=fingerprint, now=now, by=by
            )
            return see_other(f"{_SPEAKERS}?done=saved")
        except Refused as refusal:
            name = "other" if act == "merge" else "name"
            complaints[name] = f"You need to change this: {refusal.message}."
    return render_console(
        request,
        "console/speaker.html",
        active="meetings",
        status=422 if complaints else 200,
        speaker=shown,
        fingerprint=fingerprint,
        meetings=every[slug].meetings,
        others=[(used.item.slug, used.item.text) for used in every.values() if used.item.slug != slug],
        typed=typed,
        complaints=complaints,
    )


async def import_file(request: Request) -> Response:
    """Take a sheet of meetings; nothing is imported yet."""
    site = site_of(request)
    return await choose_file(
        request,
        "console/import_meetings.html",
        path=_IMPORT,
        active="meetings",
        keep=lambda content: occurrence_import.keep_upload(
            site.database, content, site.series, by=actor_of(request), now=site.clock.now()
        ),
    )


async def confirm_import(request: Request) -> Response:
    """Show row by row what the import would do; POST does it, once."""
    site, number = site_of(request), number_of(request.path_params["number"])
    is_post, complaints = request.method == "POST", dict[str, str]()
    load = partial(
        occurrence_import.import_upload,
        site.database,
        site.series,
        number or 0,
        by=actor_of(request),
        now=site.clock.now(),
    )
    try:
        shown = number_of(last(await fields(request), "changes")) if is_post else None
        result = await load(dry_run=not is_post, shown=shown)
    except Refused as refusal:
        complaints["import"] = f"You need to check this: {refusal.message}."
        is_post, result = False, await load(dry_run=True)
    if result is None:
        return see_other(f"{_IMPORT}?gone=1")
    return render_console(
        request,
        "console/imported_meetings.html",
        active="meetings",
        status=422 if complaints else 200,
        complaints=complaints,
        is_done=is_post,
        number=number,
        result=result,
        rows=result.rows[:_MOST_ROWS],
        more=max(0, len(result.rows) - _MOST_ROWS),
    )


def _done(request: Request) -> str:
    return _DONE.get(request.query_params.get("done", ""), "")
