"""Any language and country that a member can have has a name, and every page and email renders."""

import httpx
import pytest
from babel import Locale

from scheduler.domain.locale import countries, find_locale, hour_cycle, language_name, require_locale
from scheduler.domain.token import Purpose
from scheduler.service.join_requests import read_join_form
from scheduler.web.forms import languages
from tests.delivery import mails
from tests.installation import Installation
from tests.web.test_any_form import KEY, own_tokens
from tests.web.test_member_page import DETAILS, person

ODD = (
    "en-FR",
    "ht-HT",
    "sm-WS",
    "fj-FJ",
    "ht",
    "sm",
    "fj",
    "zh-Hant-FR",
    "sr-Latn-BR",
    "ca-ES-valencia",
    "de-CH-1996",
    "en-001",
    "en-150",
    "tlh",
    "kok-Latn-US",
    "en-GB-u-hc-h12",
    "en-FR-u-hc-h23",
    "sm-AQ-u-hc-h12",
    "no-BR",
    "sh-US",
    "cy",
    "wae-DE",
    "",
)
"""Pairs and languages that CLDR has no locale for, beside some that it has."""


def chosen(language: str, country: str) -> str:
    """The locale of somebody who chooses this language and country on /join."""
    form = {"name": "Maya", "email": "maya@example.org", "country": country, "zone": "UTC", "consent": "yes"}
    application, complaints = read_join_form({**form, "locale": language})
    assert application, complaints
    return application.locale


def test_every_pair_of_language_and_country_that_join_offers_is_named() -> None:
    for language, _ in languages():
        for country, _ in countries():
            tag = require_locale(f"{language}-{country[:2]}")
            name = language_name(tag)
            assert "(" in name and tag not in name, tag


def test_every_language_that_an_import_takes_is_named_with_any_country_and_has_an_hour_cycle() -> None:
    for code in map(str, Locale("en").languages):
        tag = find_locale(code.replace("_", "-"))
        for one in filter(None, (tag, tag and find_locale(f"{tag}-WS"))):
            assert language_name(one)
            assert hour_cycle(one) in ("h12", "h23")


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("en-FR", "English (France)"),
        ("fr-MA", "Français (Maroc)"),
        ("pt-JP", "Português (Japão)"),
        ("ht-HT", "Kreyòl Ayisyen (Haiti)"),
        ("sm-WS", "Samoan (Samoa)"),
        ("fj", "Fijian"),
        ("zh-Hant-HK", "中文 (繁體字, 中國香港特別行政區)"),
        ("sr-Latn-BR", "Srpski (latinica, Brazil)"),
        ("en-GB-u-hc-h12", "English (United Kingdom)"),
        ("xx-yy-zz-<b>", "xx-yy-zz-<b>"),
        ("", ""),
    ],
)
def test_language_and_country_are_each_named_by_themselves(tag: str, name: str) -> None:
    assert language_name(tag) == name


async def test_the_own_page_opens_for_whoever_joins_in_english_from_any_country(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    own = await own_tokens(installation)
    for country, _ in countries():
        locale = chosen("en", country)
        await installation.change("Bo", locale=locale, country=country)
        shown = await visitor.get(f"/me/{own[Purpose.PREFERENCES]}")
        assert shown.status_code == 200, locale
        assert f'value="{locale}" lang="{locale}" selected>English (' in shown.text, locale


@pytest.mark.parametrize("locale", ODD)
async def test_every_page_of_a_member_opens_in_every_language(
    installation: Installation, visitor: httpx.AsyncClient, locale: str
) -> None:
    await installation.change("Bo", locale=locale)
    own = await own_tokens(installation)
    for path in (
        f"/me/{own[Purpose.PREFERENCES]}",
        f"/rsvp/{own[Purpose.RSVP]}",
        f"/u/{own[Purpose.LEAVE]}",
        f"/subscribe/{own[Purpose.SUBSCRIBE]}",
        f"/go/{own[Purpose.JOIN]}/{KEY}",
        f"/cal/{own[Purpose.FEED]}.ics",
    ):
        assert (await visitor.get(path)).status_code == 200, path
    me = f"/me/{own[Purpose.PREFERENCES]}"
    moving = await visitor.post(
        f"{me}?lang=en", data={**DETAILS, "zone": "America/Lima", "locale": locale or "en"}
    )
    assert moving.status_code == 200 and "Change your time zone from Auckland to Lima?" in moving.text
    assert (await visitor.post(me, data={**DETAILS, "locale": locale or "en"})).status_code == 303
    assert (await visitor.get(me)).status_code == 200
    assert (
        await visitor.post(me, data={**DETAILS, "zone": "x", "locale": locale or "en"})
    ).status_code == 422
    form = {"act": "back", "name": "", "locale": locale}
    assert (await visitor.post("/join", data=form)).status_code == 422


@pytest.mark.parametrize(
    ("language", "country"), [("en", "FR"), ("de", "BR"), ("sm", "WS"), ("ht", "GB-SCT")]
)
async def test_a_language_chosen_on_the_own_page_is_that_of_the_members_country(
    installation: Installation, visitor: httpx.AsyncClient, language: str, country: str
) -> None:
    await installation.change("Bo", country=country, locale="pl-PL")
    me = f"/me/{(await own_tokens(installation))[Purpose.PREFERENCES]}"
    saved = await visitor.post(me, data={**DETAILS, "locale": language})
    assert (await visitor.get(saved.headers["Location"])).status_code == 200
    assert (await person(installation)).locale == f"{language}-{country[:2]}" == chosen(language, country)


@pytest.mark.parametrize(
    "accepted", ["en-FR, fr;q=0.5", "sm", "ht-HT", "*", "xx-YY;q=1", ",,;", "zh-Hant-FR"]
)
async def test_the_form_to_join_opens_whatever_language_the_browser_asks_for(
    visitor: httpx.AsyncClient, accepted: str
) -> None:
    assert (await visitor.get("/join", headers={"Accept-Language": accepted})).status_code == 200


def test_every_mail_can_be_written_in_every_language() -> None:
    composer = mails.composer()
    for cohort in mails.EVERY_MAIL.values():
        for locale in ODD:
            one = mails.at(cohort, "Europe/Paris", locale)
            assert composer.compose(one).message(mails.personal(one), date=mails.DATE)
