"""What every page of the site works with, and how a page is made of it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse

from scheduler.domain.clock import Clock
from scheduler.domain.community import Community
from scheduler.domain.occurrence import Series
from scheduler.domain.policy import Policy
from scheduler.domain.token import Keys
from scheduler.service.personal_links import LinkStatus
from scheduler.service.retention import Retention
from scheduler.store.database import Database
from scheduler.web.feed_cache import FeedCache
from scheduler.web.rate_limit import RateLimiter

PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "same-origin", "X-Robots-Tag": "noindex"}
"""Headers of a page that is one person's own. Its address is told to no other site; with "no-referrer" a browser would
call the origin of its forms "null"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The parts behind the pages. `outbox` is the Maildir that mail goes into, `shows_outbox` whether it is shown,
    `shelf` where calendars stand ready, `admits` whether who confirms is in, `embedded_by` whose pages may frame the
    card; `sender_faults` asks the process that sends what of its work fails."""

    community: Community
    series: tuple[Series, ...]
    policies: tuple[Policy, ...]
    database: Database
    clock: Clock
    keys: Keys
    outbox: Path | None
    shows_outbox: bool
    retention: Retention
    admits: bool
    embedded_by: str
    templates: Environment
    shelf: FeedCache
    pace: RateLimiter
    sender_faults: Callable[[], Awaitable[list[str]]]

    @property
    def by_slug(self) -> dict[str, Series]:
        return {one.slug: one for one in self.series}


def read_templates(folder: Path) -> Environment:
    """The templates of pages; what they print is escaped, and a value that they lack is an error."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def site(connection: HTTPConnection) -> Site:
    """The site that a request is to."""
    found = connection.app.state.site
    assert isinstance(found, Site)
    return found


def page(
    connection: HTTPConnection,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> HTMLResponse:
    """The page that `template` makes of finished `values`."""
    here = site(connection)
    html = here.templates.get_template(template).render(values, community=here.community)
    return HTMLResponse(html, status_code=status, headers=headers)


_SHUT = {LinkStatus.LEFT: 200, LinkStatus.REPLACED: 410, LinkStatus.EXPIRED: 410, LinkStatus.UNKNOWN: 404}


def shut(connection: HTTPConnection, standing: LinkStatus) -> HTMLResponse:
    """The page behind a personal link that opens nothing: why, and what helps who came honestly."""
    return page(connection, "shut.html", status=_SHUT[standing], headers=PRIVATE, standing=standing.value)
