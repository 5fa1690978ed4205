"""Mails in other languages: whole, right about the time, and readable from right to left."""

import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.community import Community
from scheduler.domain.policy import Kind
from scheduler.domain.translation import direction, is_available, translator, without_isolates
from tests.delivery.mails import (
    CANCELLATION,
    COHORTS,
    COMMUNITY,
    CONVENORS_MAILS,
    DATE,
    FILLED_NOTICE,
    INVITATION,
    MEI,
    NOVEMBER,
    OF_SEVERAL,
    REMINDER,
    SERIES,
    SERVICE_MAILS,
    UPDATE,
    Received,
    at,
    composer,
    message,
    personal,
    received,
)
from tests.languages import TEMPLATE, catalogues_in, others, write_catalogue

if TYPE_CHECKING:
    from playwright.async_api import Browser

WIDER_THAN_THE_PAGE = """() => [...document.querySelectorAll("html, body, body *")].filter((one) => {
  const box = one.getBoundingClientRect();
  return box.width > 1 && !one.closest(".preheader") && (box.left < -1 || box.right > innerWidth + 1
    || getComputedStyle(one).display !== "inline" && one.scrollWidth > one.clientWidth + 1);
}).map((one) => one.outerHTML.slice(0, 120))"""
"""Returns the elements of a mail that reach beyond the screen on either side, or whose words do not fit into them."""

TO_MEMBERS = {
    name: cohort
    for name, cohort in (COHORTS | SERVICE_MAILS | OF_SEVERAL).items()
    if cohort.kind not in (Kind.CONTACT, Kind.CONSOLE_SIGN_IN)
}
CHANGES = {
    "reminder with a clock note": replace(
        REMINDER,
        occurrence=SERIES.occurrence(datetime(2026, 11, 19).date(), datetime(2026, 1, 1, tzinfo=UTC)),
    ),
    "correction": replace(REMINDER, told=datetime(2026, 11, 20, 6)),
    "reinstated": replace(UPDATE, before=replace(CANCELLATION.occurrence or NOVEMBER), body=""),
    "again": replace(REMINDER, again=True, introduces=True, room="https://rooms.example.org/kindness"),
}
EVERY_MAIL = TO_MEMBERS | CHANGES
ENGLISH_MAILS = {
    name: cohort
    for name, cohort in (SERVICE_MAILS | CONVENORS_MAILS).items()
    if cohort.kind in (Kind.CONTACT, Kind.CONSOLE_SIGN_IN) or name in CONVENORS_MAILS
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("locales")
    for language in others():
        write_catalogue(folder, language)
    return folder


@pytest.fixture
def pseudo_catalogues(folder: Path) -> Iterator[None]:
    """The words of the pseudo-locale in all languages."""
    with catalogues_in(folder):
        yield


def visible(html: str) -> str:
    """Return the text of a page, with spaces in place of its tags."""
    body = re.sub(r"(?s)^.*?<body[^>]*>|<!--.*?-->", " ", html)
    return re.sub(r"<[^>]+>", " ", body)


def written(mail: Received) -> list[str]:
    return [mail.subject, mail.text, visible(mail.html)]


# What is data in these mails, not words of ours.
_DATA = re.compile(
    r"(?:https?|webcal)://\S+|\S+@\S+|Australia/Sydney|UTC(?:[+-][\d:]+)?|Mei Lin|Amara Okafor and Tomás Ruiz"
    r"|Conversation for Kindness|People from many countries who meet every month to talk\.|Small kindnesses at work"
    r"|Kindness to strangers|Tomás is ill, so we wait a week for him\.|\*{0,2}Thank you\*{0,2}\s+for your patience\."
    r"|Both of our speakers have had to travel home\.|The recording:|Notes &(?:amp;)? links: ask Amara"
    r"|We begin on time, and end on time\.|Case rounds|Journal club|Ethics table|A cough that stayed"
)


@pytest.mark.usefixtures("pseudo_catalogues")
@pytest.mark.parametrize(
    "name", [name for name, cohort in EVERY_MAIL.items() if cohort.kind is not Kind.NOTICE]
)
def test_no_english_sentence_is_left_in_a_mail_in_another_language(name: str) -> None:
    for assumed in (False, True):
        cohort = at(EVERY_MAIL[name], MEI.zone, "is-IS")
        mail = received(message(cohort, MEI._replace(assumed=assumed)))
        for text in written(mail):
            words = re.findall(r"[A-Za-zÀ-ž·]+", _DATA.sub(" ", text))
            english = [word for word in words if word.lower() in _ENGLISH_WORDS]
            assert not english, text


_ENGLISH_WORDS = set(
    "the and to in of you your we our this that it is are will can not meeting meetings email link links time for at "
    "on with have has was page series calendar please if list address reminder members member dear hello".split()
)


@pytest.mark.usefixtures("pseudo_catalogues")
@pytest.mark.parametrize("language", ["en", *others()])
@pytest.mark.parametrize(
    "name", ["invitation", "reminder with a clock note", "update", "cancellation", "welcome-of-several"]
)
def test_subject_text_html_and_calendar_part_show_one_instant_in_every_language(
    name: str, language: str
) -> None:
    """`require_agreement` refuses to compose a mail where they do not; here each part is read once more."""
    for zone, locale in (("Asia/Kolkata", language), ("America/New_York", f"{language}-u-hc-h12")):
        cohort = at(EVERY_MAIL[name], zone, locale)
        mail = received(composer().compose(cohort).message(personal(cohort), date=DATE))
        assert f'<html lang="{language}" dir="{direction(language)}"' in mail.html
        for text in written(mail):
            assert re.search(r"\d{1,2}:\d\d", text)
            assert not re.search(r"[٠-٩۰-۹०-९]", text), "digits are Latin"


@pytest.mark.parametrize("name", ENGLISH_MAILS)
@pytest.mark.usefixtures("pseudo_catalogues")
def test_convenors_are_written_to_in_english(name: str) -> None:
    mail = received(message(at(ENGLISH_MAILS[name], MEI.zone, "sv-SE")))
    assert '<html lang="en" dir="ltr"' in mail.html
    preview, _, _ = mail.text.partition("This is the email as you will get it yourself")
    assert "·" not in mail.subject + preview


@pytest.mark.usefixtures("pseudo_catalogues")
def test_a_convenor_s_words_keep_their_language_and_say_which_it_is() -> None:
    mail = received(message(at(UPDATE, MEI.zone, "ar")))
    assert (
        '<div lang="en" dir="ltr">' in mail.html
        and "<strong>Thank you</strong> for your patience." in mail.html
    )
    assert '<span lang="en" dir="ltr">\N{FIRST STRONG ISOLATE}Kindness to strangers' in mail.html
    assert 'lang="en"' not in received(message(UPDATE)).html.replace('<html lang="en"', "")
    notice = received(message(at(FILLED_NOTICE, MEI.zone, "sv-SE")))
    assert "Friday 20 November 2026, 05:00 to 06:00 in Sydney (UTC+11)" in notice.text
    assert '<html lang="sv"' in notice.html and '<div lang="en" dir="ltr">' in notice.html


def test_a_series_has_its_title_in_the_language_of_the_mail(pseudo_catalogues: None) -> None:
    titled = replace(INVITATION, series=replace(SERIES, titles=(("sv", "Samtal om vänlighet"),)))
    swedish, danish = (received(message(at(titled, MEI.zone, locale))) for locale in ("sv-SE", "da-DK"))
    assert swedish.subject.startswith("Samtal om vänlighet: ") and danish.subject.startswith(
        f"{SERIES.title}: "
    )
    assert swedish.calendar and swedish.calendar["SUMMARY"] == "Samtal om vänlighet: Small kindnesses at work"


@pytest.mark.usefixtures("pseudo_catalogues")
def test_the_calendar_part_is_in_the_language_of_its_mail() -> None:
    mail = received(message(at(CANCELLATION, MEI.zone, "sv-SE")))
    assert mail.calendar
    assert mail.calendar["SUMMARY"] == f"{translator('sv').gettext('CANCELLED: %(title)s')}" % {
        "title": f"{SERIES.title}: Small kindnesses at work"
    }
    assert translator("sv").gettext("This meeting is cancelled.") in str(mail.calendar["DESCRIPTION"])


@pytest.mark.usefixtures("pseudo_catalogues")
def test_what_stands_in_an_arabic_sentence_keeps_its_direction_but_links_are_left_alone() -> None:
    mail = received(message(at(REMINDER, MEI.zone, "ar"), MEI._replace(assumed=True)))
    isolated = "\N{FIRST STRONG ISOLATE}%s\N{POP DIRECTIONAL ISOLATE}"
    for text in (mail.text, mail.html):
        assert isolated % "Mei Lin" in text and isolated % "Australia/Sydney" in text
    assert isolated % "mei@example.org" in mail.text
    assert not re.search(
        r"https?://\S*[\N{FIRST STRONG ISOLATE}\N{POP DIRECTIONAL ISOLATE}]", mail.text + mail.html
    )
    assert "text-align: right" in mail.html and "text-align: left" not in mail.html
    counted = mail.text.count("\N{FIRST STRONG ISOLATE}"), mail.text.count("\N{POP DIRECTIONAL ISOLATE}")
    assert counted[0] == counted[1]


def test_a_member_without_a_name_is_greeted_in_their_language() -> None:
    for locale, greeting in (
        ("en-GB", "Dear friend,"),
        ("de-DE", "Hallo liebes Mitglied!"),
        ("ar-EG", "مرحبًا بكم،"),
    ):
        cohort = at(REMINDER, MEI.zone, locale)
        nameless = personal(cohort, MEI._replace(name=""))
        mail = received(composer().compose(cohort).message(nameless, date=DATE))
        assert greeting in without_isolates(mail.text) and greeting in without_isolates(mail.html)


@pytest.mark.usefixtures("pseudo_catalogues")
def test_the_community_s_language_is_for_members_whose_own_we_do_not_have() -> None:
    swedish: Community = replace(COMMUNITY, language="sv")
    for locale, language in (("ro-RO", "sv"), ("da-DK", "da"), ("ro-DE", "de"), ("en-GB", "en")):
        cohort = at(REMINDER, MEI.zone, locale)
        mail = received(composer(community=swedish).compose(cohort).message(personal(cohort), date=DATE))
        assert f'<html lang="{language}"' in mail.html


NAMES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            *("Åsa Öberg", "محمد بن سلمان", "李美", "Анна-Мария", "עמית כהן", "สมชาย", "நிலா", "Nguyễn Văn"),
            *("Zoë %s %(name)s", "{x}", "<b>", "&amp;", "%", "\\"),
        ]
    ),
)


@given(name=NAMES, count=st.integers(0, 200))
def test_every_message_of_every_catalogue_can_be_formatted_with_names_from_every_script(
    name: str, count: int
) -> None:
    for language in others():
        say = translator(language)
        for context, one, many in _messages():
            values = dict.fromkeys(re.findall(r"%\((\w+)\)s", one + many), name)
            if many:
                message = say.ngettext(one, many, count)
            else:
                message = say.pgettext(context, one) if context else say.gettext(one)
            assert isinstance(message % values, str)


@cache
def _messages() -> list[tuple[str | None, str, str]]:
    """Return the context, the message and the plural of each message."""
    with TEMPLATE.open("rb") as opened:
        found = [message for message in read_po(opened) if message.id]
    return [
        (each.context, each.id, "") if isinstance(each.id, str) else (each.context, each.id[0], each.id[-1])
        for each in found
    ]


GOLDEN_LANGUAGES = ("sv-SE", "de-DE", "ar-EG", "zh-Hant-TW")


@pytest.mark.parametrize(
    "name", ["invitation", "reminder with a clock note", "update", "cancellation", "welcome"]
)
@pytest.mark.parametrize("locale", GOLDEN_LANGUAGES)
def test_a_mail_in_another_language_matches_its_golden_file(
    locale: str, name: str, golden: Callable[[str, bytes], None]
) -> None:
    language = locale.rpartition("-")[0]
    if not is_available(language):
        return
    file = f"{name.partition(' ')[0]}.{language}.eml"
    golden(file, message(at(EVERY_MAIL[name], "America/New_York", locale)))


@pytest.mark.proof
@pytest.mark.parametrize("language", ["de", "ar", "zh-Hant"])
@pytest.mark.parametrize("words", ["longer", "own"])
async def test_every_mail_fits_on_a_phone_of_360_pixels(
    browser: "Browser", folder: Path, language: str, words: str
) -> None:
    """In the words of the language, and in ones that are 40 % longer than the English."""
    page = await browser.new_page(viewport={"width": 360, "height": 640})
    with catalogues_in(folder) if words == "longer" else nullcontext():
        for name, cohort in EVERY_MAIL.items():
            for locale in (language, f"{language}-u-hc-h12"):
                reader = MEI._replace(name="Wolfeschlegelsteinhausenbergerdorff" * 2, assumed=True)
                await page.set_content(received(message(at(cohort, MEI.zone, locale), reader)).html)
                assert await page.evaluate(WIDER_THAN_THE_PAGE) == [], name
    await page.close()
