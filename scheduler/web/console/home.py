"""The first page of the console."""

from starlette.requests import Request
from starlette.responses import Response

from scheduler.web.access import render_console


async def home(request: Request) -> Response:
    """Show what is coming, what was sent, and what needs a convenor."""
    return render_console(request, "console/home.html", active="home")
