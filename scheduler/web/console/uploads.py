"""Choose a file to import; what the import would do is shown before anything is changed."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.errors import Refused
from scheduler.web.access import render_console
from scheduler.web.forms import LARGEST_UPLOAD, uploaded_file
from scheduler.web.site import see_other


async def choose_file(
    request: Request, template: str, *, path: str, active: str, keep: Callable[[bytes], Awaitable[int]]
) -> Response:
    """Show the form for a file; POST keeps its content and leads to the page of its number, below `path`.

    `keep` returns that number, or raises Refused if the file cannot be imported.
    """
    complaints: dict[str, str] = {}
    if request.method == "POST":
        file = await uploaded_file(request, "file")
        if file is None or not file[1]:
            complaints["file"] = "You need to choose a file."
        else:
            try:
                return see_other(f"{path}/{await keep(file[1])}")
            except Refused as refusal:
                complaints["file"] = f"You need to choose another file: {refusal.message}."
    return render_console(
        request,
        template,
        active=active,
        status=422 if complaints else 200,
        path=path,
        complaints=complaints,
        megabytes=LARGEST_UPLOAD // (1024 * 1024),
        gone="gone" in request.query_params,
    )
