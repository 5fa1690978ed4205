"""The language of a page: whose it is, the menu of languages, and links that keep the language that somebody chose.

A page is in the language that its address asks for (`?lang=`), or else in that of the member whose page it is, or else
in the first language of the browser that we have, or else in the community's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, urlencode

from starlette.requests import HTTPConnection
from starlette.types import Scope

from scheduler.domain.community import Community
from scheduler.domain.translation import (
    Translator,
    language_for,
    language_name,
    offered_languages,
    shipped_language,
    translator,
)

PARAMETER = "lang"
"""The part of an address that asks for a language."""

_LONGEST_HEADER = 200
_LINK = re.compile(r'(<(?:a|form|iframe)\b[^>]*?\s(?:href|action|src)=")((?:/(?!/)|\?)[^"]*)')
_GET_FORM = re.compile(r'<form\b[^>]*\bmethod="get"[^>]*>')
# A file, whose last part has a dot, and pages that are in English only.
_WITHOUT_LANGUAGE = re.compile(r"/convenor|/outbox|[^?#]*\.\w+(?:$|[?#])|[^#]*[?&;]lang=")


@dataclass(frozen=True, slots=True)
class LanguageLink:
    """A language of the menu. `query` is that of the same page in it."""

    tag: str
    name: str
    query: str
    is_current: bool


def visitor_language(scope: Scope, default: str) -> str:
    """Return the language in which to answer a visitor of whom we know only the request."""
    header = b",".join(value for name, value in scope["headers"] if name == b"accept-language")
    return (
        _asked_language(scope["query_string"])
        or _accepted_language(header[:_LONGEST_HEADER].decode("latin-1"), offered_languages())
        or default
    )


def page_language(connection: HTTPConnection, community: Community) -> str:
    """Return the language of the page that answers a request."""
    if asked := asked_language(connection):
        return asked
    of_member: str | None = getattr(connection.state, "language", None)
    return of_member or visitor_language(connection.scope, community.language)


def speak_to(connection: HTTPConnection, community: Community, *, locale: str, country: str | None) -> None:
    """Answer in the language of the member whose page it is, unless the address asks for another one."""
    connection.state.language = language_for(locale, country, community.language)


def asked_language(connection: HTTPConnection) -> str:
    """Return the language that the address asks for; empty if it asks for none, or for one that we do not have."""
    return _asked_language(connection.scope["query_string"])


def translator_of(connection: HTTPConnection, community: Community) -> Translator:
    """Return the words of the page that answers a request."""
    return translator(page_language(connection, community))


def menu(connection: HTTPConnection, current: str) -> list[LanguageLink]:
    """Return all languages for the menu, each with the address of this page in it; nothing if there is only one."""
    languages = offered_languages()
    if len(languages) < 2:
        return []
    rest = [(name, value) for name, value in connection.query_params.multi_items() if name != PARAMETER]
    return [
        LanguageLink(
            language,
            language_name(language),
            f"?{urlencode([*rest, (PARAMETER, language)])}",
            language == current,
        )
        for language in languages
    ]


def with_language(connection: HTTPConnection, path: str) -> str:
    """Return the path of a page of ours, in the language that the visitor chose if they chose one."""
    asked = asked_language(connection)
    return _in_language(path, asked, "&") if asked else path


def links_in_language(html: str, language: str) -> str:
    """Return a page whose links and forms lead to pages in `language`, because the visitor chose it.

    Links to files, to the console and to other sites stay as they are.
    """
    html = _LINK.sub(
        lambda link: (
            link[1]
            + (link[2] if _WITHOUT_LANGUAGE.match(link[2]) else _in_language(link[2], language, "&amp;"))
        ),
        html,
    )
    return _GET_FORM.sub(
        lambda form: f'{form[0]}<input type="hidden" name="{PARAMETER}" value="{language}">', html
    )


def _in_language(path: str, language: str, ampersand: str) -> str:
    path, mark, fragment = path.partition("#")
    start, _, query = path.partition("?")
    return f"{start}?{query}{ampersand if query else ''}{PARAMETER}={language}{mark}{fragment}"


def _asked_language(query: bytes) -> str:
    if b"lang=" not in query:
        return ""
    asked = dict(parse_qsl(query.decode("latin-1"))).get(PARAMETER, "")
    return asked if asked in offered_languages() else ""


@lru_cache(maxsize=1024)
def _accepted_language(header: str, offered: tuple[str, ...]) -> str:
    """Return the first language of an Accept-Language header that is offered; empty if none of them is.

    American dates are for members: browsers all over the world ask for American English.
    """
    languages = (shipped_language(tag) for tag in accepted_tags(header))
    return next((language for language in languages if language in offered), "")


def accepted_tags(header: str) -> list[str]:
    """Return the language tags of an Accept-Language header, the preferred one first (RFC 9110, section 12.5.4)."""
    weighed: Mapping[str, float] = {
        tag.strip(): _weight(parameters)
        for tag, _, parameters in (part.partition(";") for part in header.split(","))
        if tag.strip() not in ("", "*")
    }
    return sorted((tag for tag, weight in weighed.items() if weight > 0), key=lambda tag: -weighed[tag])


def _weight(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if name.strip().lower() != "q":
        return 1
    try:
        weight = float(value)
    except ValueError:
        return 0
    return weight if 0 <= weight <= 1 else 0
