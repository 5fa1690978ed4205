"""Forms: the fields that a browser sends, error messages for them, and the choices of time zones and languages."""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from scheduler.domain.errors import Refused
from scheduler.domain.locale import LANGUAGES, language_name
from scheduler.domain.translation import N_, is_english, translator
from scheduler.domain.zone import city, zone_tab_zones

LARGEST_FORM = 64 * 1024
LARGEST_UPLOAD = 5 * 1024 * 1024 + LARGEST_FORM
"""A file of 5 MB, and the other fields of its form."""

UPLOAD_PATHS = frozenset({"/convenor/archive/import", "/convenor/members/import", "/convenor/profile"})
"""The paths to which a convenor may send a file."""

MEMBER_UPLOADS = "/wall/"
"""How the paths begin to which a member may send a photo."""

LARGEST_WORDS = 2 * 1024 * 1024
WORDS_PATHS = ("/convenor/notices/", "/convenor/drafts/", "/convenor/meetings/", "/convenor/themes/")
"""How the paths begin to which the text of a notice, or the summary of a meeting, is sent. A text that is too long is
shown again, not lost."""

_MAX_FIELDS = 400
_LONGEST_NUMBER = 18


async def fields(request: Request) -> dict[str, list[str]]:
    """Return the text fields of a form by name, in their order.

    Files are left out. A body that is not a form has no fields.
    """
    try:
        form = await request.form(
            max_files=0, max_fields=_MAX_FIELDS, max_part_size=largest_body(request.url.path)
        )
    except HTTPException as error:
        if error.status_code != 400:
            raise
        form = FormData()
    return _texts(form)


def _texts(form: FormData) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            texts.setdefault(name, []).append(value)
    return texts


def largest_body(path: str) -> int:
    """Return how many bytes a form at a path may have."""
    if path in UPLOAD_PATHS or path.startswith(MEMBER_UPLOADS):
        return LARGEST_UPLOAD
    return LARGEST_WORDS if path.startswith(WORDS_PATHS) else LARGEST_FORM


async def uploaded_file(request: Request, name: str) -> tuple[str, bytes] | None:
    """Return the name and the content of the file in a field of a form; None if there is none."""
    return (await fields_and_file(request, name))[1]


async def fields_and_file(
    request: Request, name: str
) -> tuple[dict[str, list[str]], tuple[str, bytes] | None]:
    """Return the text fields of a form, and the name and the content of its file of that name if there is one."""
    try:
        form = await request.form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=LARGEST_FORM)
    except HTTPException as error:
        if error.status_code != 400:
            raise
        return {}, None
    try:
        file = form.get(name)
        if not isinstance(file, UploadFile) or not file.filename:
            return _texts(form), None
        return _texts(form), (file.filename, await file.read())
    finally:
        await form.close()


async def field(request: Request, name: str) -> str:
    """Return the last text field of that name, stripped; empty if there is none."""
    return last(await fields(request), name).strip()


def last(sent: Mapping[str, Sequence[str]], name: str) -> str:
    """Return the last text field of that name in a form; empty if there is none."""
    return sent.get(name, [""])[-1]


def revision_of(text: str) -> int:
    """Return the revision that a form was made from; -1, which nothing has, if the form does not say."""
    revision = number_of(text)
    return -1 if revision is None else revision


def number_of(text: str) -> int | None:
    """Return the number that a visitor's text is; None if it is not one that a database can store."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER else None


def asked_number(request: Request, name: str) -> int | None:
    """Return the number that the address asks for by a name, such as `?page=2`; None if it does not.

    Raises HTTPException 404 for anything else.
    """
    asked = request.query_params.get(name)
    if asked is None:
        return None
    number = number_of(asked)
    if number is None or not 1 <= number <= _LARGEST_ASKED:
        raise HTTPException(404)
    return number


_LARGEST_ASKED = 100_000

_ADVICE = {
    "name": "change the name",
    "email": "check the email address",
    "country": "choose another country",
    "zone": "choose another time zone",
    "locale": "choose another language",
    "words": "change what you wrote",
    "until": "choose another day",
}
"""What to do about a field whose text was refused; it follows "You need to"."""


_REFUSED = {
    "name": N_("You need to change the name: it is too long, or has a character that is not allowed."),
    "email": N_("You need to check the email address: we cannot write to this one."),
    "country": N_("You need to choose another country: we do not know this one."),
    "zone": N_("You need to choose another time zone: we do not know this one."),
    "locale": N_("You need to choose another language: we do not know this one."),
    "words": N_("You need to change what you wrote: it is too long, or has a character that is not allowed."),
    "until": N_("You need to choose another day."),
}
"""The same in whole sentences, for other languages than English: what exactly is wrong is said only in English."""


def field_error(refusal: Refused, name: str, language: str = "en") -> str:
    """Return the error message of the field of that name: what to do, then what is wrong."""
    message = refusal.message.removeprefix(":").strip()
    if message.startswith("You need to "):
        return translator(language).gettext(message)
    if not is_english(language):
        return translator(language).gettext(_REFUSED[name])
    return f"You need to {_ADVICE[name]}: {message}"


_REGIONS = {
    "Africa": N_("Africa"),
    "America": N_("America"),
    "Antarctica": N_("Antarctica"),
    "Arctic": N_("Arctic"),
    "Asia": N_("Asia"),
    "Atlantic": N_("Atlantic"),
    "Australia": N_("Australia"),
    "Europe": N_("Europe"),
    # Translators: the Indian Ocean, in a list of parts of the world.
    "Indian": N_("Indian"),
    "Pacific": N_("Pacific"),
}


@lru_cache(maxsize=32)
def zones(language: str = "en") -> Sequence[tuple[str, Sequence[tuple[str, str]]]]:
    """Return the time zones to choose from by region, each with its name and the city to show."""
    say = translator(language).gettext
    regions: dict[str, list[tuple[str, str]]] = {}
    for zone in zone_tab_zones():
        regions.setdefault(zone.partition("/")[0], []).append((zone, city(zone, language)))
    by_region = [
        (_REGIONS[region], sorted(places, key=lambda place: place[1]))
        for region, places in sorted(regions.items())
    ]
    return [*((say(region), places) for region, places in by_region), (say(N_("Other")), [("UTC", "UTC")])]


@cache
def languages() -> Sequence[tuple[str, str]]:
    """Return the languages to choose from: tag and the name that its speakers use, sorted by name."""
    named = ((code.replace("_", "-"), language_name(code)) for code in LANGUAGES)
    return sorted(named, key=lambda language: language[1].casefold())
