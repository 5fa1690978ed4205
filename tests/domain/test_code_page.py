"""The code page of a spreadsheet is guessed from its few names outside ASCII."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.code_page import guess_code_page, is_misread, plausibility, require_encoding
from scheduler.domain.errors import Refused

NAMES = {
    "cp1252": ["José", "Zoë O’Brien", "Jürgen Groß", "François Lefèvre", "Åsa Öberg", "João Conceição"],
    "cp1250": ["Łukasz Wójcik", "Zdeněk Dvořák", "Győző Kovács", "Krzysztof Śliwiński", "Šárka Nováková"],
    "cp1251": ["Ольга Сергеева", "Щука Ёлкин", "Оксана Їжак", "Мария"],
    "cp1253": ["Γιώργος Παπαδόπουλος", "Ελένη"],
    "cp1254": ["Gökçe Çağlar"],
    "cp1257": ["Jānis Bērziņš", "Živilė Šimkutė"],
    "cp1256": ["محمد علي"],
    "cp932": ["山田太郎", "佐藤 花子", "さとう はなこ"],
    "gb18030": ["王小明", "李娜", "刘洋"],
    "cp949": ["김민수", "이영희"],
    "big5": ["陳大文", "林志玲"],
}
COUNTRIES = {"cp1254": "Turkey", "cp1255": "Israel", "big5": "Taiwan", "cp1257": "LV"}


@pytest.mark.parametrize(
    ("codec", "name"), [(codec, name) for codec, names in NAMES.items() for name in names]
)
def test_one_name_is_enough_to_tell_the_code_page(codec: str, name: str) -> None:
    table = f"email,name,country\na@example.org,{name},{COUNTRIES.get(codec, '')}\n"
    guess = guess_code_page(table.encode(codec))
    assert table.encode(codec).decode(guess.codec) == table and guess.sample == name


@pytest.mark.parametrize(
    ("codec", "name", "country"),
    [
        ("cp1254", "Şule Yılmaz", "TR"),
        ("cp1255", "דוד כהן", "Israel"),
        ("cp932", "ﾔﾏﾀﾞ", "Japan"),
        ("cp1253", "Άννα", "GR"),
    ],
)
def test_the_country_beside_a_name_helps_to_tell_the_code_page(codec: str, name: str, country: str) -> None:
    assert (
        guess_code_page(f"email,name,country\na@example.org,{name},{country}\n".encode(codec)).sample == name
    )


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("windows-1251", "cp1251"),
        ("1251", "cp1251"),
        ("CP1250", "cp1250"),
        ("Shift JIS", "cp932"),
        ("shift_jis", "cp932"),
        ("SJIS", "cp932"),
        ("gbk", "gb18030"),
        ("GB2312", "gb18030"),
        ("EUC-KR", "cp949"),
        ("utf8", "utf-8"),
        ("UTF-16", "utf-16"),
        ("latin1", "cp1252"),
        ("Big5", "big5"),
        ("koi8-r", "koi8-r"),
    ],
)
def test_encodings_are_known_by_their_common_names(text: str, codec: str) -> None:
    assert require_encoding(text) == codec


@pytest.mark.parametrize("text", ["", "klingon", "base64", "rot13", "zip", "9999", "idna\x00"])
def test_a_name_of_no_text_encoding_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="is not known; write, for example, utf-8"):
        require_encoding(text)


@pytest.mark.parametrize(
    ("right", "written", "read"),
    [
        ("Ольга", "cp1251", "cp1252"),
        ("山田", "cp932", "cp1252"),
        ("Zoë", "utf-8", "cp1252"),
        ("김민수", "cp949", "cp1252"),
        ("Łódź", "cp1250", "cp1252"),
        ("Ελένη", "cp1253", "cp1251"),
        ("李娜", "gb18030", "cp949"),
    ],
)
def test_a_misread_name_is_recognised_and_the_right_one_is_not_taken_for_it(
    right: str, written: str, read: str
) -> None:
    wrong = right.encode(written).decode(read)
    assert is_misread(wrong, as_read=right, certain=True)
    assert not is_misread(right, as_read=wrong, certain=False)


def test_another_name_is_not_a_misread_one() -> None:
    assert not is_misread("Olga", as_read="Ольга", certain=True)
    assert not is_misread("Zoë Smith", as_read="Zoë", certain=True)
    assert not is_misread("Zoë", as_read="Zoë", certain=True)


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_can_be_guessed_without_an_error(data: bytes) -> None:
    assert guess_code_page(data).sample.isprintable()


def test_ascii_is_plausible_in_every_code_page() -> None:
    assert plausibility("Ann Smith", "cp1251") == 1
