"""Who we are: the page about the community, the people who are shown with their photos, and a member's own entry.

Only a POST changes anything.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.errors import Refused
from scheduler.domain.locale import countries
from scheduler.domain.photo import LARGEST_FILE, PHOTO_FORMATS, PHOTO_SIZES, Photo
from scheduler.domain.translation import N_, is_english, translator
from scheduler.service import about, profiles
from scheduler.service.personal_links import InvalidLink
from scheduler.service.photo_decoder import BUSY, PhotoDecoder
from scheduler.store.profiles import Profile
from scheduler.web.countries import countries_view
from scheduler.web.forms import asked_number, fields_and_file, last, revision_of
from scheduler.web.language import with_language
from scheduler.web.pictures import is_current
from scheduler.web.site import (
    PRIVATE,
    Site,
    done_words,
    language_of,
    link_closed,
    render_page,
    say,
    see_other,
    site_of,
    speak_to_owner,
)

_FILE = re.compile(rf"([0-9a-f]{{32}})-({'|'.join(map(str, PHOTO_SIZES))})\.({'|'.join(PHOTO_FORMATS)})")
_OWN_FILE = re.compile(rf"({'|'.join(map(str, PHOTO_SIZES))})\.({'|'.join(PHOTO_FORMATS)})")
_MEDIA_TYPES = {"avif": "image/avif", "webp": "image/webp", "jpeg": "image/jpeg"}

_IN_BROWSERS = {"Cache-Control": "private, max-age=3600"}
"""For a photo that everybody may see: caches that several people share do not keep it, because it may be withdrawn, and
a browser asks again after an hour."""

_PICTURE_POLICY = {"Content-Security-Policy": "default-src 'none'; sandbox"}
_FIRST_LETTER = re.compile(r"\w")

TYPED = ("name", "role", "organisation", "country")
"""The fields of a profile's words."""


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """The addresses of a photo: `best` and `jpeg` for the attribute srcset, and `small`, the smallest JPEG."""

    media_type: str
    best: str
    jpeg: str
    small: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A profile as its card shows it. `initial` is shown if there is no photo."""

    name: str
    role: str
    place: str
    initial: str
    photo: PhotoFile | None


def person_of(profile: Profile, photos: str, language: str = "en") -> Person:
    """Return what the card of a profile shows; `photos` is how the addresses of its photo begin."""
    letter = _FIRST_LETTER.search(profile.name)
    return Person(
        name=profile.name,
        role=profile.role,
        place=", ".join(filter(None, (profile.organisation, profiles.country_of(profile, language)))),
        initial=letter[0].upper() if letter else "",
        photo=_photo_file(profile, photos) if profile.photo else None,
    )


def _photo_file(profile: Profile, photos: str) -> PhotoFile:
    format_ = profile.photo_format or "jpeg"

    def sources(format_: str) -> str:
        return ", ".join(f"{photos}{size}.{format_} {size}w" for size in PHOTO_SIZES)

    small = f"{photos}{PHOTO_SIZES[0]}.jpeg"
    return PhotoFile(_MEDIA_TYPES[format_], sources(format_), sources("jpeg"), small)


def _shown(profile: Profile, language: str) -> Person:
    return person_of(profile, f"/photos/{profile.photo}-", language)


async def about_page(request: Request) -> Response:
    """Show the page about the community."""
    version = await about.read_about(site_of(request).database)
    return render_page(
        request,
        "about.html",
        words=Markup(about.about_html(version.body)) if version else "",  # noqa: S704 - about_html has cleaned it
    )


async def people(request: Request) -> Response:
    """Show the convenors and the wall; `?page=` continues the wall."""
    page, language = asked_number(request, "page") or 1, language_of(request)
    shown = await profiles.shown_people(site_of(request).database, page=page)
    pages = max(1, -(-shown.on_wall // profiles.PAGE))
    if page > pages:
        raise HTTPException(404)
    return render_page(
        request,
        "people.html",
        convenors=[_shown(profile, language) for profile in shown.convenors],
        wall=[_shown(profile, language) for profile in shown.wall],
        on_wall=shown.on_wall,
        page=page,
        pages=pages,
        where=await countries_view(request) if page == 1 else None,
    )


async def photo(request: Request) -> Response:
    """Answer with a photo while everybody may see it."""
    match = _FILE.fullmatch(request.path_params["file"])
    content = None
    if match:
        content = await profiles.shown_photo(
            site_of(request).database, match[1], size=int(match[2]), format_=match[3]
        )
    if match is None or content is None:
        raise HTTPException(404, headers={"Cache-Control": "no-store"})
    # A new photo has a new name, so the name says whether a browser's copy is the photo.
    etag = f'"{match[0]}"'
    headers = {**_IN_BROWSERS, **_PICTURE_POLICY, "ETag": etag}
    if is_current(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=_MEDIA_TYPES[match[3]], headers=headers)


async def private_photo(request: Request, profile: Profile | None, file: str) -> Response:
    """Answer with a photo of a profile, such as `192.jpeg`, for those who may see it before it is released."""
    match, content = _OWN_FILE.fullmatch(file), None
    if match and profile:
        content = await profiles.find_photo(
            site_of(request).database, profile.id, size=int(match[1]), format_=match[2]
        )
    if match is None or content is None:
        raise HTTPException(404, headers=PRIVATE)
    return Response(content, media_type=_MEDIA_TYPES[match[2]], headers={**PRIVATE, **_PICTURE_POLICY})


async def own_entry(request: Request) -> Response:
    """Show a member's entry on the wall as others would see it; save it, offer it to the convenors, or withdraw it.

    `?photo=` answers with their photo. The page does not contain its own address, which is like a password.
    """
    site, token = site_of(request), request.path_params["token"]
    typed: dict[str, str] = {}
    complaints: dict[str, str] = {}
    try:
        # Check the link before the form: a stranger's file is not read.
        member, entry = await profiles.own_entry(site.database, token, keys=site.keys)
        speak_to_owner(request, member)
        if request.method != "POST" and "photo" in request.query_params:
            return await private_photo(request, entry, request.query_params["photo"])
        if request.method == "POST":
            sent, file = await fields_and_file(request, "photo")
            typed = {name: last(sent, name) for name in (*TYPED, "without_photo")}
            act, now = last(sent, "act"), site.clock.now()
            match act:
                case "save":
                    words, complaints = profiles.read_words(typed, asks_organisation=False)
                    complaints = {name: _in_words(request, words) for name, words in complaints.items()}
                    chosen = await read_photo(
                        site.photo_decoder, file, typed, complaints, language_of(request)
                    )
                    if words and not complaints:
                        await profiles.save_own_entry(
                            site.database, token, words, photo=chosen, keys=site.keys, now=now
                        )
                case "offer":
                    revision = revision_of(last(sent, "revision"))
                    try:
                        await profiles.offer_own_entry(
                            site.database, token, revision=revision, keys=site.keys, now=now
                        )
                    except Refused:
                        complaints["offer"] = say(
                            request,
                            N_("You need to check this: it was changed meanwhile; look at it again."),
                        )
                case "withdraw":
                    await profiles.withdraw_own_entry(site.database, token, keys=site.keys)
                case "back":
                    return see_other(with_language(request, f"/me/{token}"))
                case _:
                    raise HTTPException(400, headers=PRIVATE)
            if not complaints:
                # The page of people is not shown from memory any more.
                await site.feed_cache.refresh()
                return see_other(with_language(request, f"/wall/{token}?done={act}"))
        return await _show_own_entry(request, site, token, typed, complaints)
    except InvalidLink as closed:
        return link_closed(request, closed.status)


_DONE = {
    "save": N_("We have saved your entry. Nobody else sees it yet: look at it, and then ask us to show it."),
    "offer": N_("Thank you. A convenor will look at your entry and then show it."),
    "withdraw": N_("Your entry and your photo are deleted. They are not shown any more."),
}


def _in_words(request: Request, complaint: str) -> str:
    """Return a complaint about a text in the language of the page; only in English it says what exactly is wrong."""
    if complaint.startswith(profiles.CHANGE_THIS) and not is_english(language_of(request)):
        complaint = N_("You need to change this: it is too long, or has a character that is not allowed.")
    return say(request, complaint)


async def _show_own_entry(
    request: Request, site: Site, token: str, typed: Mapping[str, str], complaints: Mapping[str, str]
) -> Response:
    member, entry = await profiles.own_entry(site.database, token, keys=site.keys)
    values = {
        "name": entry.name if entry else member.name.partition(" ")[0],
        "role": entry.role if entry else "",
        "country": (entry.country if entry else member.country) or "",
    }
    return render_page(
        request,
        "wall.html",
        status=422 if complaints else 200,
        headers=PRIVATE,
        entry=entry,
        person=person_of(entry, "?photo=", language_of(request)) if entry else None,
        values={name: typed.get(name, value) for name, value in values.items()},
        complaints=complaints,
        done=done_words(request, _DONE),
        **form_limits(language_of(request)),
    )


def form_limits(language: str = "en") -> dict[str, object]:
    """Return what the templates of forms for words and a photo need."""
    return {
        "countries": [("", translator(language).gettext(N_("Do not show a country"))), *countries(language)],
        "longest_name": profiles.LONGEST_NAME,
        "longest_role": profiles.LONGEST_ROLE,
        "longest_organisation": profiles.LONGEST_ORGANISATION,
        "megabytes": LARGEST_FILE // (1024 * 1024),
    }


async def read_photo(
    decoder: PhotoDecoder,
    file: tuple[str, bytes] | None,
    typed: Mapping[str, str],
    complaints: dict[str, str],
    language: str = "en",
) -> Sequence[Photo] | None:
    """Return the photos made of a file; nothing if the form asks to remove the photo, None if it changes nothing.

    Adds a complaint if the file is refused. With other complaints the file is not looked at: it has to be sent again.
    """
    if complaints or not file:
        return [] if typed.get("without_photo") else None
    try:
        return await decoder.decode(file[1])
    except Refused as refusal:
        complaints["photo"] = _photo_error(refusal, language)
        return None


def _photo_error(refusal: Refused, language: str) -> str:
    """Return what is wrong with a photo, and what to do; in other languages than English, what we take instead."""
    if is_english(language):
        return f"You need to choose another file: {refusal.message}."
    say = translator(language).gettext
    if refusal.message == BUSY:
        return say("You need to try again in a minute: several people are sending photos at this moment.")
    return say(
        "You need to choose another file: a photo as a JPEG, PNG or WebP file of at most %(megabytes)s MB."
    ) % {"megabytes": LARGEST_FILE // (1024 * 1024)}
