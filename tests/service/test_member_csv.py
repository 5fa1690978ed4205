"""Lists of people as convenors have them."""

import csv
import io
from dataclasses import replace
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.errors import Refused
from scheduler.service.member_csv import MemberRow, MemberTable, RowProblem, read_members


def read(text: str, encoding: str = "utf-8") -> MemberTable:
    return read_members(text.encode(encoding))


def problems(text: str) -> list[tuple[int, str, str]]:
    return [(problem.line, problem.column, problem.reason) for problem in read(text).problems]


LIST = """\
name,email,country,timezone,locale
Åsa Öberg,asa@example.org,Sweden,Europe/Stockholm,sv-SE
"O'Neill, Zoë",zoe@example.org,Ireland,,en-IE
=1+1,sum@example.org,,Asia/Kolkata,
"""
PEOPLE = (
    MemberRow(2, "Åsa Öberg", "asa@example.org", "SE", "Europe/Stockholm", "given", "sv-SE"),
    MemberRow(3, "O'Neill, Zoë", "zoe@example.org", "IE", "Europe/Dublin", "assumed", "en-IE"),
    MemberRow(4, "=1+1", "sum@example.org", None, "Asia/Kolkata", "given", None),
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_list_is_read_in_every_encoding_and_with_every_separator(encoding: str, delimiter: str) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(csv.reader(io.StringIO(LIST)))
    table = read(text.getvalue(), encoding)
    assert (table.guess.codec if table.guess else "") == ("cp1252" if encoding == "cp1252" else "")
    assert replace(table, guess=None) == MemberTable(rows=PEOPLE, problems=(), ignored=(), duplicates=0)


@pytest.mark.parametrize(
    "headings",
    [
        "Name,Email,Country,Time zone,Language",
        "FULL NAME,E-Mail,Nation,TZ,lang",
        "name,EMAIL ADDRESS,country,time_zone,locale",
        "Your name,Your e-mail address,Country or region,Zone,Preferred language",
        "Member name,Member email,Country,TimeZone,LOCALE",
        " Name ,mail *,Country (of residence),Timezone [IANA],Language code",
        "Display Name,E-mail 1 - Value,Country/Region,tz,Language",
    ],
)
def test_headings_are_known_by_their_common_names(headings: str) -> None:
    assert read(LIST.replace("name,email,country,timezone,locale", headings)).rows == PEOPLE


def test_columns_may_stand_in_any_order_and_strange_ones_are_named() -> None:
    table = read('Phone,Country,Surname,,E-mail,First name,Notes\n1,Wales,Jones,,j@example.org,Siân,"a\nb"\n')
    assert table.rows == (
        MemberRow(2, "Siân Jones", "j@example.org", "GB-WLS", "Europe/London", "assumed", None),
    )
    assert table.ignored == ("Phone", "Notes") and not table.problems


def test_the_first_of_two_columns_that_mean_the_same_is_taken() -> None:
    table = read("email,mail,country\na@example.org,b@example.org,UK\n")
    assert [row.address for row in table.rows] == ["a@example.org"] and table.ignored == ("mail",)


def test_a_name_may_be_missing_or_half_there() -> None:
    table = read(
        "first,last,email,country\n,,a@example.org,UK\nAnn,,b@example.org,UK\n,Lee,c@example.org,UK\n"
    )
    assert [row.name for row in table.rows] == ["", "Ann", "Lee"]


@pytest.mark.parametrize(
    ("country", "zone", "expected"),
    [
        ("", "europe/london", ("Europe/London", "given")),
        ("", "Asia/Calcutta", ("Asia/Kolkata", "given")),
        ("", "GMT Standard Time", ("Europe/London", "given")),
        ("USA", "US/Pacific", ("America/Los_Angeles", "given")),
        ("", "Germany", ("Europe/Berlin", "assumed")),
        ("Germany", "Deutschland", ("Europe/Berlin", "assumed")),
        ("", "Singapore", ("Asia/Singapore", "assumed")),
        ("Germany", "", ("Europe/Berlin", "assumed")),
        ("New Zealand", "", ("Pacific/Auckland", "assumed")),
        ("Scotland", "", ("Europe/London", "assumed")),
        ("New Zealand", "Pacific/Chatham", ("Pacific/Chatham", "given")),
        ("", "UTC", ("UTC", "given")),
    ],
)
def test_a_zone_is_read_or_that_of_the_country_assumed(
    country: str, zone: str, expected: tuple[str, str]
) -> None:
    (row,) = read(f"email,country,zone\na@example.org,{country},{zone}\n").rows
    assert (row.zone, row.zone_source) == expected


@pytest.mark.parametrize(
    ("country", "zone", "reason"),
    [
        ("Canada", "", "Canada has "),
        ("", "USA", "United States has "),
        ("", "", "there is neither a time zone nor a country; write a zone such as Europe/London"),
        (
            "Bouvet Island",
            "",
            "Bouvet Island has no time zone of its own; write the member's zone, such as Europe/London",
        ),
        ("UK", "Europe/Lodon", "'Europe/Lodon' is not known; did you mean Europe/London?"),
        ("UK", "Nowhere", "'Nowhere' is not known; write an IANA name such as Europe/London, or UTC"),
        (
            "UK",
            "Etc/GMT+5",
            "'Etc/GMT+5' is not a place, so its clock changes are not known; write a place such as ",
        ),
    ],
)
def test_a_row_without_a_zone_is_told_with_what_to_write(country: str, zone: str, reason: str) -> None:
    ((line, column, found),) = problems(f"email,country,Time Zone\na@example.org,{country},{zone}\n")
    assert (line, column) == (2, "Time Zone") and found.startswith(reason)


@pytest.mark.parametrize(
    ("country", "zone"),
    [
        ("United States", "Georgia"),
        ("United States", "DE"),
        ("United States", "IN"),
        ("United States", "CO"),
        ("United States", "LA"),
        ("United States", "CA"),
        ("Australia", "NZ"),
        ("France", "Deutschland"),
        ("India", "Japan"),
        ("UK", "France"),
        ("Canada", "US/Pacific"),
        ("USA", "Canada/Eastern"),
        ("United States", "Mexico"),
        ("Northern Ireland", "Ireland"),
        ("Canada", "USA"),
    ],
)
def test_a_place_in_the_zone_column_against_the_country_is_a_problem_of_the_row(
    country: str, zone: str
) -> None:
    ((line, column, reason),) = problems(f"email,country,time zone\na@example.org,{country},{zone}\n")
    assert (line, column) == (2, "time zone") and "contradicts" in reason


@pytest.mark.parametrize(
    ("country", "zone", "expected"),
    [
        ("New Zealand", "Europe/London", "Europe/London"),
        ("Canada", "America/Los_Angeles", "America/Los_Angeles"),
        ("Germany", "Europe/Zurich", "Europe/Zurich"),
        ("Germany", "Europe/Busingen", "Europe/Busingen"),
        ("Iceland", "Africa/Abidjan", "Africa/Abidjan"),
        ("Scotland", "United Kingdom", "Europe/London"),
        ("UK", "England", "Europe/London"),
        ("Liechtenstein", "Switzerland", "Europe/Vaduz"),
        ("Canada", "Canada/Pacific", "America/Vancouver"),
        ("NZ", "UTC", "UTC"),
        ("Cuba", "Cuba", "America/Havana"),
    ],
)
def test_an_iana_name_is_a_clear_word_and_shared_clocks_are_no_contradiction(
    country: str, zone: str, expected: str
) -> None:
    (row,) = read(f"email,country,zone\na@example.org,{country},{zone}\n").rows
    assert row.zone == expected


@pytest.mark.parametrize("zone", ["Georgia", "IN", "CA", "DE", "Ontario"])
def test_a_zone_column_alone_that_may_be_a_state_is_a_problem(zone: str) -> None:
    assert not read(f"email,zone\na@example.org,{zone}\n").rows


def test_a_windows_zone_is_that_of_the_row_s_country_or_a_problem_of_the_row() -> None:
    table = read(
        "email,country,timezone\n"
        "a@example.org,Canada,Pacific Standard Time\n"
        "b@example.org,,Pacific Standard Time\n"
        "c@example.org,Kazakhstan,Central Asia Standard Time\n"
        "d@example.org,UK,Greenwich Standard Time\n"
        "e@example.org,Canada,(UTC-06:00) Central Time (US & Canada)\n"
    )
    assert [(row.address[0], row.zone, row.zone_source) for row in table.rows] == [
        ("a", "America/Vancouver", "given"),
        ("b", "America/Los_Angeles", "given"),
        ("c", "Asia/Almaty", "given"),
        ("e", "America/Winnipeg", "given"),
    ]
    assert [(problem.line, problem.column) for problem in table.problems] == [(5, "timezone")]
    assert "Windows has no 'Greenwich Standard Time' in United Kingdom" in table.problems[0].reason


def test_a_state_or_city_gives_the_zone_of_a_country_with_several_and_the_mail_asks() -> None:
    table = read(
        "email,country,state,city\n"
        "a@example.org,USA,CA,\nb@example.org,USA,,Seattle\nc@example.org,Canada,BC,\nd@example.org,USA,,Springfield\n"
        "e@example.org,Brazil,,Manaus\nf@example.org,Germany,Bayern,München\ng@example.org,Spain,,Las Palmas\n"
        "h@example.org,USA,NE,Omaha\n"
    )
    assert {row.status for row in table.rows} == {"active"}
    assert [(row.address[0], row.zone, row.zone_source) for row in table.rows] == [
        ("a", "America/Los_Angeles", "assumed"),
        ("b", "America/Los_Angeles", "assumed"),
        ("c", "America/Vancouver", "assumed"),
        ("e", "America/Manaus", "assumed"),
        ("f", "Europe/Berlin", "assumed"),
        ("g", "Atlantic/Canary", "assumed"),
        ("h", "America/Chicago", "assumed"),
    ]
    assert [problem.line for problem in table.problems] == [5]


def test_a_default_zone_is_for_rows_that_say_none() -> None:
    table = read_members(
        b"email,country,zone\na@example.org,,\nb@example.org,Germany,\nc@example.org,USA,\nd@example.org,Canada,\n"
        b"e@example.org,,Asia/Kolkata\n",
        zone="America/Chicago",
    )
    assert [(row.address[0], row.zone) for row in table.rows] == [
        ("a", "America/Chicago"),
        ("b", "Europe/Berlin"),
        ("c", "America/Chicago"),
        ("e", "Asia/Kolkata"),
    ]
    assert [problem.line for problem in table.problems] == [5]
    (row,) = read_members(b"email\na@example.org\n", zone="Europe/London").rows
    assert (row.zone, row.zone_source) == ("Europe/London", "assumed")


EXPORTS = {
    "Mailchimp": (
        "Email Address,First Name,MEMBER_RATING,OPTIN_TIME,CONFIRM_TIME,GMTOFF,TIMEZONE,CC,REGION,UNSUB_TIME,"
        "UNSUB_REASON\n"
        "{},Ann,2,,2024-01-01,-5,America/New_york,US,NY,,\n{},Bo,2,,2024-01-01,,,US,ca,,\n"
        "{},Cy,2,,2024-01-01,,,GB,,2024-05-05 10:00:00,NO_LONGER\n",
        ["America/New_York active", "America/Los_Angeles active", "Europe/London left"],
    ),
    "Mailchimp, cleaned": (
        "Email Address,CLEAN_TIME,CC\n{},2024-01-01 10:00,GB\n{},,GB\n",
        ["Europe/London left", "Europe/London active"],
    ),
    "listmonk": (
        "uuid,email,name,attributes,status,country\n1,{},A,{{}},enabled,NZ\n2,{},B,{{}},blocklisted,NZ\n"
        "3,{},C,{{}},disabled,NZ\n",
        ["Pacific/Auckland active", "Pacific/Auckland left", "Pacific/Auckland paused"],
    ),
    "Ghost": (
        "id,email,name,subscribed_to_emails,complimentary_plan,country\n1,{},A,true,false,NZ\n2,{},B,false,false,NZ\n",
        ["Pacific/Auckland active", "Pacific/Auckland left"],
    ),
    "Substack": (
        "email,active_subscription,plan,email_disabled,country\n{},false,other,false,NZ\n{},true,yearly,true,NZ\n",
        ["Pacific/Auckland active", "Pacific/Auckland left"],
    ),
    "phpList": (
        "id,email,confirmed,blacklisted,bouncecount,disabled,Country\n1,{},1,0,3,0,NZ\n2,{},0,0,0,0,NZ\n3,{},"
        "1,1,0,0,NZ\n",
        ["Pacific/Auckland active", "Pacific/Auckland pending", "Pacific/Auckland left"],
    ),
    "HubSpot": (
        "Email,Country/Region,State/Region,City,Time Zone,Lead Status,Unsubscribed from all email,"
        "Email hard bounce reason\n"
        "{},United States,California,San Diego,,NEW,,\n{},Australia,,Perth,,,true,\n{},Australia,QLD,,,,,"
        "Unknown user\n",
        ["America/Los_Angeles active", "Australia/Perth left", "Australia/Brisbane left"],
    ),
    "Brevo": (
        "CONTACT ID,EMAIL,SMS,EMAIL_BLOCKLISTED,SMS_BLOCKLISTED,COUNTRY\n1,{},,No,Yes,NZ\n2,{},,Yes,No,NZ\n",
        ["Pacific/Auckland active", "Pacific/Auckland left"],
    ),
    "MailerLite": (
        "Subscriber,Sent,Subscribed,Name,Country,Status\n{},1,2024-01-01,A,Ireland,Active\n{},1,2024-01-01,B,"
        "Ireland,Junk\n",
        ["Europe/Dublin active", "Europe/Dublin left"],
    ),
    "Constant Contact": (
        "Email address - home,Email status,Email permission status,Confirmed Opt-Out Date,City - Home,"
        "State/Province - Home,"
        "Country - Home\n{},Active,Express,,Denver,CO,US\n{},Active,Implied,2024-01-01,Denver,CO,US\n",
        ["America/Denver active", "America/Denver left"],
    ),
    "Groups.io": (
        "Email,Display Name,Status,Delivery,Time Zone\n{},A,confirmed,Digest,Europe/Rome\n{},B,bouncing,"
        "Single,Europe/Rome\n"
        "{},C,confirmed,None,Europe/Rome\n",
        ["Europe/Rome active", "Europe/Rome left", "Europe/Rome paused"],
    ),
    "Mailman": (
        "address,name,country,delivery status\n{},A,DE,enabled\n{},B,DE,by bounces\n{},C,DE,by user\n",
        ["Europe/Berlin active", "Europe/Berlin left", "Europe/Berlin paused"],
    ),
    "Shopify": (
        "Email,Accepts Email Marketing,Default Address Province Code,Default Address Country Code,"
        "Accepts SMS Marketing\n"
        "{},yes,MA,US,no\n{},no,MA,US,yes\n",
        ["America/New_York active", "America/New_York left"],
    ),
    "Google Contacts": (
        "First Name,Last Name,E-mail 1 - Label,E-mail 1 - Value,E-mail 2 - Value,Address 1 - City,Address 1 - Region,"
        "Address 1 - Country,Labels\nZoë,O'Brien,* Home,{} ::: b@example.net,,,,Ireland,* myContacts\n"
        "Bo,Two,* Home,,{},Kansas City,MO,US,* myContacts\n",
        ["Europe/Dublin active", "America/Chicago active"],
    ),
    "Outlook": (
        "First Name,Business City,Business State,Business Country/Region,Home City,Home State,Home Country/Region,"
        "E-mail Address,E-mail Type,E-mail 2 Address\nAnn,,,,Seattle,WA,United States of America,{},SMTP,\n"
        "Bo,Toronto,ON,Canada,,,,,SMTP,{}\n",
        ["America/Los_Angeles active", "America/Toronto active"],
    ),
    "Google Forms": (
        "Timestamp,Email Address,What is your name?,What time zone are you in?,Which country do you live in?\n"
        "1/1/2024,{},Ann,Europe/Paris,France\n1/1/2024,{},Bo,,Japan\n",
        ["Europe/Paris active", "Asia/Tokyo active"],
    ),
    "German": (
        "Vorname;Name;E-Mail-Adresse;Ort;Bundesland;Land;Zeitzone;Status\n"
        "Jürgen;Groß;{};Köln;NRW;Deutschland;;abonniert\n"
        "Ute;Müller;{};;;Österreich;;abgemeldet\nUwe;Weiß;{};;;Schweiz;;unbestätigt\n",
        ["Europe/Berlin active", "Europe/Vienna left", "Europe/Zurich pending"],
    ),
    "French": (
        "Prénom;Nom;Adresse e-mail;Ville;Pays;Statut\nZoé;Roy;{};Montréal;Canada;Inscrit\n"
        "Luc;Roy;{};;France;Désabonné\n",
        ["America/Toronto active", "Europe/Paris left"],
    ),
    "Spanish": (
        "Nombre;Apellidos;Correo electrónico;Ciudad;Estado;País\nAna;Gil;{};Tijuana;Baja California;México\n"
        "Eva;Gil;{};;;España\nLeo;Gil;{};;dado de baja;España\n",
        ["America/Tijuana active", "Europe/Madrid active", "Europe/Madrid left"],
    ),
    "Portuguese": (
        "Nome;Sobrenome;E-mail;Cidade;UF;País\nZé;Sá;{};Manaus;AM;Brasil\nRui;Sá;{};;SP;Brasil\n"
        "Eva;Sá;{};Lisboa;;Portugal\n",
        ["America/Manaus active", "America/Sao_Paulo active", "Europe/Lisbon active"],
    ),
    "Italian": (
        "Nome;Cognome;Indirizzo e-mail;Città;Paese;Stato\nUgo;Nò;{};Roma;Italia;iscritto\n"
        "Eva;Nò;{};Roma;Italia;disiscritto\n",
        ["Europe/Rome active", "Europe/Rome left"],
    ),
    "Dutch": (
        "Voornaam;Achternaam;E-mailadres;Plaats;Land;Status\nJan;Smit;{};Gent;België;geabonneerd\n"
        "Piet;Smit;{};Delft;Nederland;afgemeld\n",
        ["Europe/Brussels active", "Europe/Amsterdam left"],
    ),
    "Swedish": (
        "Förnamn;Efternamn;E-post;Ort;Land;Tidszon;Status\nÅsa;Öst;{};Umeå;Sverige;;Aktiv\n"
        "Bo;Öst;{};Oslo;Norge;Europe/Oslo;Avregistrerad\n",
        ["Europe/Stockholm active", "Europe/Oslo left"],
    ),
}


@pytest.mark.parametrize("system", EXPORTS)
def test_the_exports_of_other_systems_are_read_and_who_left_them_is_not_mailed(system: str) -> None:
    text, expected = EXPORTS[system]
    table = read(text.format(*(f"m{number}@example.org" for number in range(text.count("{}")))))
    assert [f"{row.zone} {row.status}" for row in table.rows] == expected and not table.problems


def test_an_unknown_status_is_a_problem_of_its_row_only() -> None:
    table = read("email,country,Status\na@example.org,NZ,Lurking\nb@example.org,NZ,subscribed\n")
    assert [row.address for row in table.rows] == ["b@example.org"]
    assert [(problem.line, problem.column) for problem in table.problems] == [(2, "Status")]


def test_a_blank_cell_is_not_yet_a_yes_but_an_empty_column_says_nothing() -> None:
    table = read(
        "email,country,opt_in,confirmed\na@example.org,NZ,yes,\nb@example.org,NZ,,\nc@example.org,NZ,no,\n"
    )
    assert [row.status for row in table.rows] == ["active", "pending", "left"]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Почта;Имя;Страна;Город\na@example.org;Ольга;Россия;Москва\n", "cp1251"),
        ("メール,名前,国\na@example.org,花子,JP\n", "cp932"),
        ("邮箱,姓名,国家\na@example.org,李娜,CN\n", "gb18030"),
        ("이메일,이름,국가\na@example.org,김민수,KR\n", "cp949"),
        ("E-mail;Jméno;Země\na@example.org;Zdeněk;CZ\n", "cp1250"),
    ],
)
def test_headings_in_other_scripts_and_code_pages_are_known(text: str, encoding: str) -> None:
    (found,), (expected,) = read(text, encoding).rows, read(text).rows
    assert found == expected and found.name and found.country


def test_a_name_beside_a_first_name_is_the_family_name() -> None:
    table = read("Vorname;Name;Mail;Land\nAnn;Groß;a@example.org;DE\nBo;Bo Weiß;b@example.org;DE\n")
    assert [row.name for row in table.rows] == ["Ann Groß", "Bo Weiß"]


def test_a_code_page_is_guessed_and_may_be_named() -> None:
    data = "email,name,country\na@example.org,Ольга,UA\n".encode("cp1251")
    guessed, named = read_members(data), read_members(data, encoding="cp1252")
    assert guessed.guess and (guessed.guess.codec, guessed.guess.sample) == ("cp1251", "Ольга")
    assert guessed.rows[0].name == "Ольга" and named.rows[0].name == "Îëüãà" and named.guess is None


def test_a_country_of_several_zones_is_told_with_its_zones() -> None:
    ((_, _, reason),) = problems("email,country\na@example.org,USA\n")
    assert (
        reason.startswith("United States has ")
        and "time zones; write the member's zone: America/New_York, " in reason
    )


def test_abbreviations_in_a_zone_column_are_no_country_codes() -> None:
    """EST is Estonia's code, PT Portugal's, MT Malta's: here they mean American clocks."""
    table = read("email,tz\n" + "".join(f"{text}@example.org,{text}\n" for text in ("EST", "PT", "MT", "AT")))
    assert not table.rows and len(table.problems) == 4


def test_without_a_zone_column_the_country_s_is_named() -> None:
    assert [problem[:2] for problem in problems("email,Shoe size,Country\na@example.org,x,USA\n")] == [
        (2, "Country")
    ]


@pytest.mark.parametrize(
    ("country", "locale", "expected"),
    [
        ("UK", "", None),
        ("UK", "en_GB", "en-GB"),
        ("UK", "English", "en-GB"),
        ("Wales", "Welsh", "cy-GB"),
        ("Sweden", "English", "en-SE"),
        ("UK", "en", "en"),
        ("", "svenska", "sv"),
        ("UK", "British English", "en-GB"),
    ],
)
def test_a_language_may_be_a_tag_or_a_name(country: str, locale: str, expected: str | None) -> None:
    (row,) = read(f"email,country,zone,language\na@example.org,{country},UTC,{locale}\n").rows
    assert row.locale == expected


def test_all_problems_of_all_bad_rows_are_told_and_the_good_rows_taken() -> None:
    table = read(
        "Name,E-mail,Country,Zone,Lang\n"
        "A,a@example.org,UK,,\n"
        "B\x07,b,Ruritania,Europe/Pariss,xx-XX\n"
        '"C\nC",c@example.org,UK,,\n'
        ",,,,\n"
        "D,,UK,,\n"
        "E,e@example.org,UK,,,extra\n"
        "F,f@example.org,UK,,,\n"
        '"G,g@example.org,UK,,\n'
        "H,h@example.org\n"
        f"{'I' * 501},i@example.org,UK,,\n"
        "J\N{REPLACEMENT CHARACTER},j@example.org,UK,,\n"
        "K,k@example.org,UK,,\n"
    )
    assert [row.address for row in table.rows] == ["a@example.org", "f@example.org", "k@example.org"]
    assert [(problem.line, problem.column) for problem in table.problems] == [
        (3, "Name"),
        (3, "E-mail"),
        (3, "Country"),
        (3, "Zone"),
        (3, "Lang"),
        (4, "Name"),
        (7, "E-mail"),
        (8, ""),
        (10, ""),
        (11, "Zone"),
        (12, "Name"),
        (13, "Name"),
    ]
    assert str(table.problems[0]) == "line 3, Name: character U+0007 is not allowed here; leave it out"
    assert str(table.problems[6]) == "line 7, E-mail: there is no address"
    assert str(table.problems[7]).startswith("line 8: 6 cells under 5 headings; ")
    assert all(str(problem).isprintable() for problem in table.problems)


def test_a_bad_country_is_told_once() -> None:
    assert [problem[:2] for problem in problems("email,country,zone\na@example.org,Ruritania,\n")] == [
        (2, "country")
    ]


def test_a_bad_country_is_told_even_beside_a_good_zone() -> None:
    assert [problem[:2] for problem in problems("email,country,zone\na@example.org,Ruritania,UTC\n")] == [
        (2, "country")
    ]


def test_of_one_address_the_first_good_row_holds() -> None:
    table = read(
        "name,email,country\nA,a@example.org,USA\nA,A@Example.org,UK\nA,a@EXAMPLE.org,uk\nB,a@example.org,UK\n"
    )
    assert [(row.line, row.address) for row in table.rows] == [(3, "A@example.org")]
    assert table.duplicates == 1
    assert [(problem.line, problem.column) for problem in table.problems] == [(2, "country"), (5, "email")]
    assert "line 3" in table.problems[1].reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        (
            "name,country\nA,UK\n",
            "no heading for the address; the headings are 'name', 'country'; name a column email ",
        ),
        (
            "name,email\nA,a@example.org\n",
            "no heading for a zone or country; the headings are 'name', 'email'; name a column ",
        ),
    ],
)
def test_a_file_that_is_no_list_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refusal:
        read(text)
    assert str(refusal.value).isprintable()


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_no_bytes_break_the_reading(data: bytes) -> None:
    for start in (b"", b"email,country,zone,name,lang\n"):
        try:
            table = read_members(start + data)
        except Refused:
            continue
        assert all(str(problem).isprintable() for problem in table.problems)


CELL = st.text(max_size=30) | st.sampled_from(
    ["UK", "USA", "a@example.org", "Europe/London", "en-GB", "x" * 501, "\x00"]
)


@given(st.lists(st.tuples(CELL, CELL, CELL, CELL), max_size=6))
def test_every_row_is_taken_or_told(rows: list[tuple[str, ...]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["email", "country", "zone", "language"], *rows])
    table = read_members(text.getvalue().encode("utf-8", "replace"))
    filled = sum(any(cell.strip().strip("\ufeff") for cell in row) for row in rows)
    assert len(table.rows) + table.duplicates + len({problem.line for problem in table.problems}) == filled


def test_a_long_list_of_wrong_rows_is_read_about_as_quickly_as_a_right_one() -> None:
    """To look for the nearest name a hundred thousand times would take minutes."""
    wrong = "email,country,zone\n" + "".join(f"{n}@example.org,Land {n},Town/{n}\n" for n in range(20_000))
    before = process_time()
    table = read(wrong)
    assert len(table.problems) == 40_000
    assert process_time() - before < 30
    assert table.problems[-1] == RowProblem(20_001, "zone", "'Town/19999' is not known")


@pytest.mark.parametrize("statuses", [("subscribed", "unsubscribed"), ("unsubscribed", "subscribed")])
def test_of_two_rows_for_an_address_the_status_that_mails_less_holds(statuses: tuple[str, str]) -> None:
    rows = "".join(f"dup@example.org,NZ,{status}\n" for status in statuses)
    table = read_members(f"email,country,status\n{rows}".encode())
    assert [row.status for row in table.rows] == ["left"]
    assert len(table.problems) == 1
