"""Importing members from a table, after a look at what it would do, and exporting the list."""

import io
import tempfile
from functools import partial

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from scheduler.domain.errors import Refused
from scheduler.service import member_files
from scheduler.service.member_csv import MemberTable
from scheduler.service.member_files import Imported
from scheduler.web.access import actor_of, render_console
from scheduler.web.console.uploads import choose_file
from scheduler.web.forms import fields, last, number_of
from scheduler.web.site import PRIVATE, see_other, site_of

_IMPORT = "/convenor/members/import"
_MOST_PROBLEMS = 200
_KEPT_IN_MEMORY = 64 * 1024


async def import_file(request: Request) -> Response:
    """Take a table of people; nothing is imported yet."""
    site = site_of(request)
    return await choose_file(
        request,
        "console/import_members.html",
        path=_IMPORT,
        active="members",
        keep=lambda content: member_files.keep_upload(
            site.database, content, by=actor_of(request), now=site.clock.now()
        ),
    )


async def confirm(request: Request) -> Response:
    """Show what the import would do; POST does it, once."""
    site, number = site_of(request), number_of(request.path_params["number"])
    invite, shown, complaints = True, (0, 0), dict[str, str]()
    is_post = request.method == "POST"
    load = partial(
        member_files.import_upload,
        site.database,
        number or 0,
        keys=site.keys,
        locale=site.community.locale,
        all_series=site.series,
        policies=site.policies,
        by=actor_of(request),
        now=site.clock.now(),
    )
    if is_post:
        sent = await fields(request)
        invite = last(sent, "invite") == "yes"
        shown = (number_of(last(sent, "added")) or 0, number_of(last(sent, "invited")) or 0)
    try:
        result = await load(invite=invite, dry_run=not is_post, shown=shown)
    except Refused as refusal:
        complaints["import"] = f"You need to check this: {refusal.message}."
        is_post, result = False, await load(invite=True, dry_run=True)
    if result is None:
        return see_other(f"{_IMPORT}?gone=1")
    table, imported = result
    return render_console(
        request,
        "console/imported_members.html",
        active="members",
        status=422 if complaints else 200,
        complaints=complaints,
        is_done=is_post,
        number=number,
        counts=_facts(imported, table, invite=invite),
        still_mailed=imported.still_mailed,
        ignored=table.ignored,
        added=imported.added,
        filled=imported.filled + imported.repaired,
        wrong=member_files.count_wrong_rows(table),
        invited=imported.invited + imported.invited_known,
        invitations=imported.invitations,
        problems=table.problems[:_MOST_PROBLEMS],
        more=max(0, len(table.problems) - _MOST_PROBLEMS),
        guess=str(table.guess) if table.guess else "",
    )


def _facts(imported: Imported, table: MemberTable, *, invite: bool) -> list[tuple[str, int]]:
    """Return what an import does, as words and a number each, without what it does to nobody."""
    invited = imported.invited + imported.invited_known if invite else 0
    facts = [
        ("New members", imported.added),
        ("New, but paused or not confirmed, as the file says", imported.unmailed),
        ("Members whose missing details are filled in", imported.filled),
        ("Members whose names are put right", imported.repaired),
        ("Members who stay as they are", imported.unchanged),
        ("Not added again, because they have left", imported.left),
        ("Not added again, because they were erased", imported.erased),
        ("Rows with an address that an earlier row has", table.duplicates),
        ("Rows that are wrong and left out", member_files.count_wrong_rows(table)),
        ("Members who are invited at once", invited),
    ]
    return [facts[0], *((words, count) for words, count in facts[1:] if count)]


async def export(request: Request) -> Response:
    """Return all members as a CSV file that is safe to open in a spreadsheet: GET asks."""
    site = site_of(request)
    if request.method != "POST":
        return render_console(request, "console/export_members.html", active="members")
    await request.body()
    # A long list would fill the memory.
    file = tempfile.SpooledTemporaryFile(max_size=_KEPT_IN_MEMORY)  # noqa: SIM115 - closed when it has been sent
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    await member_files.export_members(
        site.database, text, all_series=site.series, by=actor_of(request), now=site.clock.now()
    )
    text.flush()
    file.seek(0)
    return StreamingResponse(
        iter(partial(file.read, _KEPT_IN_MEMORY), b""),
        media_type="text/csv; charset=utf-8",
        headers={**PRIVATE, "Content-Disposition": 'attachment; filename="members.csv"'},
        background=BackgroundTask(text.close),
    )
