"""What all pages of the site share: its parts, the rendering of templates, and the page of a link that is closed."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse

from scheduler.delivery.compose.message_writer import MessageWriter
from scheduler.delivery.compose.template_words import install_translations, words_lang
from scheduler.domain.cldr import cldr
from scheduler.domain.clock import Clock
from scheduler.domain.community import Community
from scheduler.domain.localtime import format_short_month
from scheduler.domain.occurrence import Series, offers_choice
from scheduler.domain.policy import Policy
from scheduler.domain.text import counted
from scheduler.domain.token import Keys
from scheduler.domain.translation import N_, direction
from scheduler.service.personal_links import LanguageOf, LinkStatus
from scheduler.service.photo_decoder import PhotoDecoder
from scheduler.service.retention import Retention
from scheduler.store.database import Database
from scheduler.store.members import Member
from scheduler.web.brand import Logo, stylesheet_url
from scheduler.web.feed_cache import FeedCache
from scheduler.web.language import (
    asked_language,
    links_in_language,
    menu,
    page_language,
    speak_to,
    translator_of,
)
from scheduler.web.security import RateLimiter

PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "same-origin", "X-Robots-Tag": "noindex"}
"""Headers of a page that belongs to one person. Browsers do not send its address to other sites; "no-referrer" would
make them send the origin "null" with the forms of the page."""

_STATUS_CODES = {
    LinkStatus.LEFT: 200,
    LinkStatus.REPLACED: 410,
    LinkStatus.EXPIRED: 410,
    LinkStatus.UNKNOWN: 404,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The parts that the pages work with.

    `outbox` is the Maildir that mail goes to, if there is one, and `shows_outbox` whether the site shows it. With
    `admits`, whoever confirms a request to join becomes a member at once. `embedded_by` names the sites that may show
    the card of the next meeting in a frame. `hold` is how long a notice waits after a convenor has pressed the button.
    `message_writer` writes previews of mails. `logo` is shown instead of the community's name. `sender_faults` asks the
    process that sends mail which of its work fails. `rate` is the relay's, in messages a second (0: no limit).
    """

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
    hold: timedelta
    templates: Environment
    message_writer: MessageWriter
    rate: float
    logo: Logo | None = None
    feed_cache: FeedCache
    rate_limiter: RateLimiter
    photo_decoder: PhotoDecoder
    sender_faults: Callable[[], Awaitable[list[str]]]

    @property
    def hold_minutes(self) -> int:
        return int(self.hold.total_seconds() // 60)

    @property
    def by_slug(self) -> dict[str, Series]:
        """The series by their slugs."""
        return {series.slug: series for series in self.series}

    @property
    def has_choice(self) -> bool:
        """Whether members choose which series they follow."""
        return offers_choice(self.series)


def site_of(connection: HTTPConnection) -> Site:
    """Return the site that a request is for."""
    site = connection.app.state.site
    assert isinstance(site, Site)
    return site


def read_templates(folder: Path) -> Environment:
    """Read the templates of pages. Values are escaped, and a missing value is an error."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    install_translations(environment)
    environment.filters["counted"] = counted
    environment.filters["number"] = _number
    environment.filters["short_month"] = _short_month
    return environment


@pass_context
def _number(context: Context, number: int) -> str:
    """Return a number as the language of the page writes it, in Latin digits."""
    return cldr(context.get("language", "en")).format_number(number)


@pass_context
def _short_month(context: Context, day: date) -> str:
    return format_short_month(day, context.get("language", "en"))


_ENGLISH_ONLY = ("console/", "outbox")
"""How the names of the templates begin that are in English only."""


def render_page(
    connection: HTTPConnection,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> HTMLResponse:
    """Return the page that `template` makes of `values`, in its reader's language. `status` is that of HTTP."""
    site, asked = site_of(connection), ""
    if template.startswith(_ENGLISH_ONLY):
        words: dict[str, Any] = {"language": "en", "dir": "ltr", "language_menu": [], "words_lang": ""}
    else:
        asked, language = asked_language(connection), page_language(connection, site.community)
        words = {
            "language": language,
            "dir": direction(language),
            "language_menu": menu(connection, language),
            "words_lang": words_lang(site.community.language, language),
        }
        headers = {"Vary": "Accept-Language", **(headers or {})}
    html = site.templates.get_template(template).render(
        values,
        **words,
        asked_language=asked,
        community=site.community,
        logo=site.logo,
        theme_url=stylesheet_url(site.community.palette),
        page_path=quote(connection.scope["path"]),
    )
    return HTMLResponse(
        links_in_language(html, asked) if asked else html, status_code=status, headers=headers
    )


def say(connection: HTTPConnection, message: str) -> str:
    """Return a message in the language of the page that answers a request."""
    return translator_of(connection, site_of(connection).community).gettext(message)


def speak_to_owner(connection: HTTPConnection, member: Member) -> str:
    """Answer in the language of the member whose page it is, unless the address asks for another; return it."""
    speak_to(connection, site_of(connection).community, locale=member.locale, country=member.country)
    return language_of(connection)


def language_of_owner(connection: HTTPConnection) -> LanguageOf:
    """Return the function by which a service tells whose page it is; it returns the language of that page."""
    return partial(speak_to_owner, connection)


def done_words(connection: HTTPConnection, done: Mapping[str, str]) -> str:
    """Return the words of `done` for what the address says has just been done; empty if it says nothing."""
    words = done.get(connection.query_params.get("done", ""), "")
    return say(connection, words) if words else ""


def language_of(connection: HTTPConnection) -> str:
    """Return the language of the page that answers a request."""
    return page_language(connection, site_of(connection).community)


def see_other(path: str) -> RedirectResponse:
    """Return the answer to a form that was carried out: the browser opens the page at `path`."""
    return RedirectResponse(path, 303, headers=PRIVATE)


def too_many_requests(
    connection: HTTPConnection,
    words: str = N_("We can send only a limited number of emails each hour. Try again in an hour."),
) -> HTMLResponse:
    """Return the page for a visitor whose form is not taken, because too many were sent within an hour."""
    return render_page(
        connection,
        "problem.html",
        status=429,
        headers=PRIVATE,
        heading=say(connection, N_("There have been too many requests")),
        words=say(connection, words),
    )


def link_closed(connection: HTTPConnection, link_status: LinkStatus) -> HTMLResponse:
    """Return the page of a personal link that opens nothing: why it does not, and how to get another."""
    return render_page(
        connection,
        "link_closed.html",
        status=_STATUS_CODES[link_status],
        headers=PRIVATE,
        link_status=link_status.value,
    )
