import re
import tomllib
from collections.abc import Mapping
from datetime import date, time, timedelta
from pathlib import Path
from textwrap import dedent

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from scheduler.bootstrap.settings import Settings, load_settings
from scheduler.bootstrap.settings_schema import Tables, table_of
from scheduler.bootstrap.settings_sources import bundled
from scheduler.bootstrap.wiring import load_signer
from scheduler.domain.errors import SettingsProblem
from scheduler.domain.policy import Kind, Policy
from scheduler.domain.translation import LANGUAGES

DEFAULTS = bundled("config/third-thursday.toml")

SERIES = """\
[[series]]
slug = "tea"
title = "Tea"
rule = "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU"
start = "10:30"
zone = "Pacific/Auckland"
minutes = 45
first = 2026-01-06
"""
POLICY = """\
[[policies]]
slug = "soon"
kind = "reminder"
lead = "1h"
"""
KEY = "5d" * 32
SECTIONS = ", ".join(name for name in Tables.model_fields if name not in ("series", "policies"))


def loaded(tmp_path: Path, text: str, environment: Mapping[str, str] | None = None) -> Settings:
    config = tmp_path / "my.toml"
    config.write_text(text, encoding="utf-8")
    return load_settings(config, environment or {})


def refusal(tmp_path: Path, text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return the error for wrong settings, without the file's folder."""
    with pytest.raises(SettingsProblem) as caught:
        loaded(tmp_path, text, environment)
    line = str(caught.value)
    assert line.isprintable(), "more than one line"
    return line.removeprefix(f"{tmp_path}/")


def test_the_defaults_describe_the_conversation_for_kindness() -> None:
    settings = load_settings(None, {})
    (series,) = settings.series
    assert (series.slug, series.rule) == ("conversation-for-kindness", "FREQ=MONTHLY;BYDAY=3TH")
    assert (series.start, series.zone, series.duration) == (time(18), "Europe/London", timedelta(hours=1))
    assert series.first == date(2020, 7, 16)
    assert settings.policies == (
        Policy(slug="invitation", kind=Kind.INVITATION, days_before=14, at=time(9)),
        Policy(slug="day-before", kind=Kind.REMINDER, days_before=1, at=time(9)),
        Policy(slug="hour-before", kind=Kind.REMINDER, lead=timedelta(hours=1)),
    )


def test_the_defaults_work_without_a_file_and_mail_nobody() -> None:
    settings = load_settings(None, {})
    assert settings.database.url == "sqlite:///var/third-thursday.sqlite"
    assert str(settings.mail.address) == "maildir:var/mail"
    assert (settings.mail.starttls, settings.mail.rate) == ("auto", 0)
    assert settings.web.host == "127.0.0.1"
    assert settings.community.base_url == "http://127.0.0.1:8000"
    assert settings.security.key is None


def test_every_key_is_documented_in_the_file_of_defaults() -> None:
    lines = DEFAULTS.read_text(encoding="utf-8").splitlines()
    documented = set()
    section = ""
    for before, line in zip(["", *lines], lines, strict=False):
        if match := re.fullmatch(r"\[\[?([a-z]+)\]\]?", line):
            section = match[1]
        elif (match := re.match(r"(?:# )?([a-z_]+) = ", line)) and before.startswith("# "):
            documented.add((section, match[1]))
    assert documented == {
        (section, key)
        for section, field in Tables.model_fields.items()
        for key in table_of(field).model_fields
    }


def test_the_file_of_defaults_gives_every_key_of_every_table_its_value() -> None:
    values = tomllib.loads(DEFAULTS.read_text(encoding="utf-8"))
    assert values.keys() == Tables.model_fields.keys()
    for section, field in Tables.model_fields.items():
        if isinstance(values[section], dict):
            assert values[section].keys() == table_of(field).model_fields.keys()


def test_every_key_describes_what_it_accepts() -> None:
    for field in Tables.model_fields.values():
        assert all(key.description for key in table_of(field).model_fields.values())


def test_a_series_may_have_a_title_in_each_language(tmp_path: Path) -> None:
    (tea,) = loaded(tmp_path, SERIES + "[series.titles]\nsv = 'Te'\nzh-TW = '茶'\n").series
    assert tea.titles == (("sv", "Te"), ("zh-Hant", "茶"))
    assert [tea.in_language(language).title for language in ("sv", "zh-Hant", "de")] == ["Te", "茶", "Tea"]


def test_links_keep_their_order_and_are_replaced_as_a_whole(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        "[community.links]\nTalks = 'https://example.org/b'\n'How & why' = 'https://example.org/a'\n",
    )
    assert settings.community.links == (
        ("Talks", "https://example.org/b"),
        ("How & why", "https://example.org/a"),
    )


def test_a_table_is_merged_key_by_key(tmp_path: Path) -> None:
    settings = loaded(tmp_path, '[community]\nname = "Tea"\n')
    assert settings.community.name == "Tea"
    assert settings.community.locale == "en-GB"


def test_series_and_policies_are_replaced_as_a_whole(tmp_path: Path) -> None:
    settings = loaded(tmp_path, SERIES + POLICY)
    assert [series.slug for series in settings.series] == ["tea"]
    assert [policy.slug for policy in settings.policies] == ["soon"]
    assert [policy.slug for policy in loaded(tmp_path, SERIES).policies] == [
        "invitation",
        "day-before",
        "hour-before",
    ]
    assert loaded(tmp_path, "policies = []\n").policies == ()


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    environment = {"THIRD_THURSDAY_WEB__PORT": "8081", "THIRD_THURSDAY_MAIL__RATE": "2.5", "HOME": "/nowhere"}
    settings = loaded(tmp_path, "[web]\nport = 8080\n[mail]\nconnections = 2\n", environment)
    assert (settings.web.port, settings.mail.rate, settings.mail.connections) == (8081, 2.5, 2)
    assert settings.community.base_url == "http://127.0.0.1:8081"


def test_variables_of_the_tests_are_not_settings() -> None:
    load_settings(None, {"THIRD_THURSDAY_TEST_REQUIRE": "all"})


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    assert loaded(tmp_path, "\ufeff[web]\r\nport = 8080\r\n").web.port == 8080


def test_a_date_may_be_quoted_and_a_time_need_not_be(tmp_path: Path) -> None:
    text = SERIES.replace("2026-01-06", '"2026-01-06"').replace('"10:30"', "10:30:00")
    assert loaded(tmp_path, text).series == loaded(tmp_path, SERIES).series


def test_the_base_url_has_no_slash_at_its_end(tmp_path: Path) -> None:
    settings = loaded(tmp_path, '[web]\nbase_url = "https://meet.example.org/kindness/"\n')
    assert settings.community.base_url == "https://meet.example.org/kindness"


@pytest.mark.parametrize("key", [KEY, KEY.upper(), "XV1d" * 10 + "XV0=", "XV1d" * 10 + "XV0", "_-1d" * 11])
def test_a_key_is_hexadecimal_or_base64_of_either_alphabet(tmp_path: Path, key: str) -> None:
    key_octets = loaded(tmp_path, f'[security]\nkey = "{key}"\n').security.key
    assert key_octets is not None
    assert len(key_octets) >= 32


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "[wbe]\nport = 1\n",
            f"my.toml: [wbe]: unknown section; did you mean 'web'?; accepted: {SECTIONS}, series, policies",
        ),
        (
            "port = 1\n",
            "my.toml: [port]: unknown section; 'port' belongs in [web]; "
            f"accepted: {SECTIONS}, series, policies",
        ),
        (
            "[web]\nprot = 1\n",
            "my.toml: [web] prot: unknown key; did you mean 'port'?; accepted: host, port, base_url, embedded_by, "
            "trusted_proxies, form_mails_an_hour, connections, connections_of_one_network, outbox",
        ),
        (
            "[web]\nport = 0\n",
            "my.toml: [web] port: 0 is not accepted; accepted: a whole number from 1 to 65535",
        ),
        (
            "[web]\nport = true\n",
            "my.toml: [web] port: true is not accepted; accepted: a whole number from 1 to 65535",
        ),
        (
            "[web]\nport = '8000'\n",
            "my.toml: [web] port: '8000' is not accepted; accepted: a whole number from 1 to 65535",
        ),
        ("web = 3\n", "my.toml: [web]: 3 is not accepted; accepted: a table of keys"),
        ("[[web]]\nport = 1\n", "my.toml: [web]: an array is not accepted; accepted: a table of keys"),
        (
            "[mail]\nstarttls = 'yes'\n",
            'my.toml: [mail] starttls: \'yes\' is not accepted; accepted: "auto", "require" or "never"',
        ),
        (
            "[mail]\nrate = nan\n",
            "my.toml: [mail] rate: nan is not accepted; accepted: messages a second, 0 or more; 0 means no limit",
        ),
        (
            "[mail]\ntransport = 'carrier-pigeon'\n",
            "my.toml: [mail] transport: the scheme is not known; "
            "accepted are maildir:PATH, smtp://[user:password@]host[:port] and smtps://…",
        ),
        *(
            (
                f"[database]\nurl = 'sqlite:///x.sqlite?{query}'\n",
                "my.toml: [database] url: is not a database URL; "
                "accepted: sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME",
            )
            for query in ("mode=ro", "timeout=", "timeout=-1", "timeout=5&mode=ro")
        ),
        (
            "[database]\nurl = 'mysql://db.example.org/x'\n",
            "my.toml: [database] url: is not a database URL; "
            "accepted: sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME",
        ),
        (
            "[community]\naddress = 'meetings'\n",
            "my.toml: [community] address: 'meetings' is not an email address: an email address must have an @-sign; "
            "accepted: an e-mail address, as name@example.org",
        ),
        (
            "[community]\ncolor = '#008080'\n",
            "my.toml: [community] color: '#008080' is not the name of a colour; accepted: a CSS colour name, as teal",
        ),
        (
            "[community]\ncolor = 'tael'\n",
            "my.toml: [community] color: 'tael' is not the name of a colour; did you mean teal?; "
            "accepted: a CSS colour name, as teal",
        ),
        (
            "[community]\nname = ' '\n",
            "my.toml: [community] name: is empty; accepted: one line of text",
        ),
        (
            "[community]\nlanguage = 'tlh'\n",
            "my.toml: [community] language: there are no words in 'tlh'; accepted: a language that there are words "
            f"for: {', '.join(LANGUAGES)}",
        ),
        (
            SERIES + "titles = {tlh = 'Dargh'}\n",
            "my.toml: [[series]] number 1 'tea', titles: a title: there are no words in 'tlh'; accepted: languages "
            'with titles, as { sv = "Samtal om vänlighet" }, or {}',
        ),
        (
            "[community]\nlinks = {Talks = 'example.org/talks'}\n",
            "my.toml: [community] links: 'Talks': 'example.org/talks' is not a web address; write it in full, such as "
            "https://example.org/room; accepted: labels with web addresses, as "
            '{ "Recordings" = "https://example.org/recordings" }, or {}',
        ),
        (
            "[community]\nlinks = {' ' = 'https://example.org/'}\n",
            "my.toml: [community] links: the label of a link: is empty; accepted: labels with web addresses, as "
            '{ "Recordings" = "https://example.org/recordings" }, or {}',
        ),
        (
            "[community]\nlinks = ['https://example.org/']\n",
            "my.toml: [community] links: an array is not accepted; accepted: labels with web addresses, as "
            '{ "Recordings" = "https://example.org/recordings" }, or {}',
        ),
        ("[series]\nslug = 'tea'\n", "my.toml: [[series]]: is not an array of tables; accepted: [[series]]"),
        ("series = []\n", "my.toml: [[series]]: there is none; accepted: one or more"),
        (
            SERIES + "room = 'https://room.example.org'\n",
            "my.toml: [[series]] number 1 'tea', room: unknown key; "
            "accepted: slug, title, titles, description, rule, start, zone, minutes, first, link, follow",
        ),
        (
            SERIES.replace('title = "Tea"\n', ""),
            "my.toml: [[series]] number 1 'tea', title: is missing; accepted: one line of text",
        ),
        (
            SERIES.replace("WEEKLY", "HOURLY"),
            "my.toml: [[series]] number 1 'tea': rule 'FREQ=HOURLY;INTERVAL=2;BYDAY=TU': "
            "FREQ must be DAILY, WEEKLY, MONTHLY or YEARLY",
        ),
        (
            SERIES.replace("10:30", "10.30 am"),
            "my.toml: [[series]] number 1 'tea', start: '10.30 am' is not a time; accepted: a time as \"18:00\"",
        ),
        (
            SERIES.replace("2026-01-06", "'next week'"),
            "my.toml: [[series]] number 1 'tea', first: 'next week' is not a date; accepted: a date as 2020-07-16",
        ),
        (
            SERIES.replace("Auckland", "Aukland"),
            "my.toml: [[series]] number 1 'tea', zone: 'Pacific/Aukland' is not known; "
            "did you mean Pacific/Auckland?; accepted: an IANA zone, as Europe/London",
        ),
        (
            SERIES + SERIES,
            "my.toml: [[series]] number 2 'tea', slug: another series has this slug; accepted: a slug of its own",
        ),
        (
            POLICY + POLICY,
            "my.toml: [[policies]] number 2 'soon', slug: another policy has this slug; accepted: a slug of its own",
        ),
        (
            POLICY.replace("reminder", "remind"),
            "my.toml: [[policies]] number 1 'soon', kind: 'remind' is not accepted; "
            'accepted: "invitation", "reminder" or "follow-up"',
        ),
        (
            POLICY.replace("1h", "an hour"),
            "my.toml: [[policies]] number 1 'soon', lead: 'an hour' is not a length of time; "
            'write it as 90m, 1h, 14d or 1d 2h; accepted: a length of time, as "90m", "1h" or "14d"',
        ),
        (
            POLICY.replace("1h", "90d"),
            "my.toml: [[policies]] number 1 'soon': lead must be between a minute and 60 days",
        ),
        (
            POLICY + 'at = "09:00"\n',
            "my.toml: [[policies]] number 1 'soon': give either lead, or days_before and at, but not both",
        ),
        (
            POLICY + "series = ['conversation-for-kindness', 'coffee']\n",
            "my.toml: [[policies]] number 1 'soon', series: there is no series 'coffee'; "
            "accepted: conversation-for-kindness",
        ),
        (
            POLICY + "series = []\n",
            "my.toml: [[policies]] number 1 'soon', series: there is none; accepted: one or more",
        ),
        (
            POLICY + "series = 7\n",
            "my.toml: [[policies]] number 1 'soon', series: 7 is not accepted; accepted: the slug of a series, or "
            "a list of slugs",
        ),
        (
            POLICY + "series = 'coffee'\n",
            "my.toml: [[policies]] number 1 'soon', series: there is no series 'coffee'; "
            "accepted: conversation-for-kindness",
        ),
        (
            (POLICY + POLICY.replace("soon", "early")).replace("reminder", "invitation"),
            "my.toml: [[policies]] number 2 'early', kind: 'soon' already invites to series "
            "'conversation-for-kindness'; accepted: one invitation for each series, and any number of reminders",
        ),
        (
            POLICY.replace("reminder", "follow-up"),
            "my.toml: [[policies]] number 1 'soon': give either lag, or days_after and at, but not both",
        ),
        (
            POLICY + "lag = '2h'\n",
            "my.toml: [[policies]] number 1 'soon': give either lead, or days_before and at, but not both",
        ),
        (
            "".join(
                POLICY.replace("soon", slug).replace("reminder", "follow-up").replace("lead", "lag")
                for slug in ("soon", "late")
            ),
            "my.toml: [[policies]] number 2 'late', kind: 'soon' already follows up series "
            "'conversation-for-kindness'; accepted: one follow-up for each series, and any number of reminders",
        ),
        (
            f"[community]\ndomain = '{'a' * 60}.example.org'\n",
            f"my.toml: [community] domain: series slug 'conversation-for-kindness' and domain '{'a' * 60}.example.org' "
            "have 97 octets together; at most 54 fit into a calendar UID: choose a shorter slug",
        ),
        (
            "[web]\nport = 1\n[mail\n",
            "my.toml: line 3, column 6: not TOML: Expected ']' at the end of a table declaration",
        ),
        ("[web]\nport = 1\nport = 2", "my.toml: line 3: not TOML: Cannot overwrite a value"),
        (
            '[web]\n"po\\nrt" = 1\n',
            "my.toml: [web] po?rt: unknown key; did you mean 'port'?; accepted: host, port, base_url, embedded_by, "
            "trusted_proxies, form_mails_an_hour, connections, connections_of_one_network, outbox",
        ),
    ],
)
def test_wrong_settings_are_refused_in_one_line_with_file_section_key_and_what_is_accepted(
    tmp_path: Path, text: str, line: str
) -> None:
    assert refusal(tmp_path, text) == line


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("WEB__PORT", "many", "[web] port: 'many' is not accepted; accepted: a whole number from 1 to 65535"),
        ("WEB__PORT", "99999", "[web] port: 99999 is not accepted; accepted: a whole number from 1 to 65535"),
        ("WEB__PORT", "", "[web] port: '' is not accepted; accepted: a whole number from 1 to 65535"),
        (
            "WEB__PROT",
            "8000",
            "sets no known key; did you mean 'THIRD_THURSDAY_WEB__PORT'?; "
            f"accepted: THIRD_THURSDAY_ + section + __ + key, of the sections {SECTIONS}",
        ),
        (
            "DATABASE_URL",
            "sqlite:///x",
            "sets no known key; did you mean 'THIRD_THURSDAY_DATABASE__URL'?; "
            f"accepted: THIRD_THURSDAY_ + section + __ + key, of the sections {SECTIONS}",
        ),
        ("SERIES__SLUG", "tea", "[[series]] can only be set in a file; name one with --config"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(tmp_path: Path, name: str, value: str, line: str) -> None:
    variable = f"THIRD_THURSDAY_{name}"
    assert refusal(tmp_path, "", {variable: value}) == f"environment variable {variable}: {line}"


@pytest.mark.parametrize(
    ("path", "reason"),
    [("none.toml", "cannot be read: No such file or directory"), ("", "cannot be read: Is a directory")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(SettingsProblem) as caught:
        load_settings(tmp_path / path, {})
    assert str(caught.value) == f"{tmp_path / path}: {reason}; give the path of a settings file in TOML"


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "my.toml"
    config.write_bytes('[community]\nname = "Café"\n'.encode("cp1252"))
    with pytest.raises(SettingsProblem) as caught:
        load_settings(config, {})
    assert str(caught.value) == f"{config}: is not UTF-8 (octet 24); save it as UTF-8"


def test_mail_to_a_relay_with_links_to_this_machine_is_refused(tmp_path: Path) -> None:
    relay = {"THIRD_THURSDAY_MAIL__TRANSPORT": "smtp://relay.example.org:25"}
    assert refusal(tmp_path, "", relay) == (
        "environment variable THIRD_THURSDAY_MAIL__TRANSPORT: [mail] transport: mail would be sent with "
        "links that members cannot open: [web] base_url is 'http://127.0.0.1:8000'; "
        "accepted: THIRD_THURSDAY_WEB__BASE_URL as members reach it, or a relay on this machine"
    )
    for host in ("localhost", "127.0.0.2:8000", "[::1]"):
        assert "members cannot open" in refusal(tmp_path, f'[web]\nbase_url = "http://{host}"\n', relay)
    loaded(tmp_path, '[web]\nbase_url = "https://meet.example.org"\n', relay)
    loaded(tmp_path, "", {"THIRD_THURSDAY_MAIL__TRANSPORT": "smtp://127.0.0.1:2525"})


def test_postgresql_needs_a_key(tmp_path: Path) -> None:
    shared = {"THIRD_THURSDAY_DATABASE__URL": "postgresql://db.example.org/meetings"}
    assert refusal(tmp_path, "", shared) == (
        "environment variable THIRD_THURSDAY_DATABASE__URL: [database] url: PostgreSQL needs a [security] key, the "
        "same on every machine; accepted: THIRD_THURSDAY_SECURITY__KEY from `openssl rand -hex 32`"
    )
    assert loaded(tmp_path, "", shared | {"THIRD_THURSDAY_SECURITY__KEY": KEY}).security.key == bytes.fromhex(
        KEY
    )


@pytest.mark.parametrize(
    "text",
    [
        "[database]\nurl = 'mysql://tea:Geheim@db.example.org/x'\n",
        "[database]\nurl = 'postgresql://tea:Geheim@db.example.org/x'\n",
        "[database]\nurl = ['Geheim']\n",
        "[mail]\ntransport = 'smtp://tea:Geheim@relay.example.org'\n",
        "[mail]\ntransport = 'smtp://tea:Geheim@'\n",
        "[security]\nkey = 'Geheim'\n",
        "[watch]\nwebhook = 'hooks.example.org/Geheim'\n",
        "[watch]\nping = 'ftp://ping.example.org/Geheim'\n",
        "[watch]\nwebhook = 'https://tea:Geheim@hooks.example.org'\n",
        "[database]\nurl = 'postgresql://tea@db.example.org/x?password=Geheim&wrong=1'\n",
        "[security]\nkey = { Geheim = 1 }\n",
    ],
)
def test_a_refusal_shows_no_secret(tmp_path: Path, text: str) -> None:
    assert "Geheim" not in refusal(tmp_path, text)


def test_settings_show_no_secret(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        f"""
        [database]
        url = "postgresql://tea:Geheim@db.example.org/x"
        [mail]
        transport = "smtp://tea:Geheim@127.0.0.1"
        [security]
        key = "{KEY}"
        """,
    )
    shown = f"{settings!r} {settings} {settings.mail.address!r}"
    assert "Geheim" not in shown
    assert "]]]]" not in shown, "the key as bytes"
    assert KEY not in shown


def test_a_key_without_a_selector_signs_nothing_and_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, '[dkim]\nkey = "dkim.pem"\n') == (
        "my.toml: [dkim] key: a signature needs both a key and a selector; accepted: both, or neither"
    )


def test_a_signing_key_may_be_a_file_or_the_text_itself_and_is_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "dkim.pem"
    octets = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(octets)
    by_path = loaded(tmp_path, f'[dkim]\nkey = "{path}"\nselector = "third"\n')
    by_text = loaded(tmp_path, '[dkim]\nselector = "third"\n', {"THIRD_THURSDAY_DKIM__KEY": octets.decode()})
    signer_by_path, signer_by_text = load_signer(by_path), load_signer(by_text)
    assert signer_by_path and signer_by_text and signer_by_path.record == signer_by_text.record
    assert signer_by_path.name == "third._domainkey.conversation.example.org"
    assert "PRIVATE" not in repr(by_text)
    for key, words in (
        (tmp_path / "none.pem", "cannot be read: No such file"),
        (DEFAULTS, "not a private key"),
    ):
        with pytest.raises(SettingsProblem, match=f"\\[dkim\\] key: .*{words}"):
            load_signer(loaded(tmp_path, f'[dkim]\nkey = "{key}"\nselector = "third"\n'))


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("name = \u201cWard Round Choir\u201d", 'write straight ones, as name = "Ward Round Choir"'),
        ("name = \u2018Choir\u2019", 'write straight ones, as name = "Choir"'),
        ('name = "Choir\u201d', 'write straight ones, as name = "Choir"'),
        ("name = \u00abChoir\u00bb", 'write straight ones, as name = "Choir"'),
        ("name = \u201eChor\u201c", 'write straight ones, as name = "Chor"'),
        ("name = Ward Round Choir", 'put text between quotation marks, as name = "Ward Round Choir"'),
        ('name\u00a0= "Choir"', "unusual space"),
        ('name = "Choir', 'quotation mark (") is missing'),
    ],
)
def test_curly_quotation_marks_are_reported_in_one_line(tmp_path: Path, line: str, hint: str) -> None:
    refused = refusal(tmp_path, f"[community]\n{line}\n")
    assert refused.startswith("my.toml: line 2")
    assert hint in refused


@pytest.mark.parametrize("text", ["9:00", "09:00", " 9:00 "])
def test_a_time_may_leave_out_the_leading_zero(tmp_path: Path, text: str) -> None:
    policy = POLICY.replace('lead = "1h"', f'days_before = 1\nat = "{text}"')
    assert loaded(tmp_path, policy).policies[0].at == time(9)
    assert loaded(tmp_path, SERIES.replace("10:30", text)).series[0].start == time(9)


@pytest.mark.parametrize("text", ["24:00", "9:60", "9", "9 am", "9.00 Uhr", "-9:00"])
def test_text_that_is_not_a_time_is_refused(tmp_path: Path, text: str) -> None:
    assert f"'{text}' is not a time" in refusal(tmp_path, SERIES.replace("10:30", text))


def test_the_defaults_contain_no_text_that_another_community_would_publish(tmp_path: Path) -> None:
    """Settings for another community keep no text of the default community that members would read."""
    community = loaded(tmp_path, "[community]\nname = 'Ward Round Choir'\n" + SERIES).community
    assert (community.description, community.website, community.links) == ("", "", ())
    assert load_settings(None, {}).series[0].description == ""


def test_the_settings_in_the_readme_hold_verbatim_and_show_no_other_communitys_words(tmp_path: Path) -> None:
    readme = (bundled("config/third-thursday.toml").parent.parent / "README.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    settings = loaded(tmp_path, dedent(text))
    (series,) = settings.series
    assert series.rule == "FREQ=MONTHLY;BYDAY=-1MO"
    words = f"{settings.community} {series}".lower()
    assert not [word for word in ("kindness", "conversation", "thursday") if word in words]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("", ()),
        ("127.0.0.1", ("127.0.0.1",)),
        ("127.0.0.1, 10.0.0.0/8", ("127.0.0.1", "10.0.0.0/8")),
        ("::1 2001:db8::/32", ("::1", "2001:db8::/32")),
    ],
)
def test_trusted_proxies_come_from_the_environment_too(given: str, found: tuple[str, ...]) -> None:
    settings = load_settings(None, {"THIRD_THURSDAY_WEB__TRUSTED_PROXIES": given})
    assert settings.web.trusted_proxies == found
    assert len(settings.web.proxies.networks) == len(found)


@pytest.mark.parametrize(
    "text",
    [
        '[web]\ntrusted_proxies = ["proxy.example.org"]\n',
        '[web]\ntrusted_proxies = ["10.0.0.1/8"]\n',
        '[web]\ntrusted_proxies = ["0.0.0.0/0"]\n',
        "[web]\ntrusted_proxies = [1]\n",
        "[web]\ntrusted_proxies = true\n",
        "[web]\nform_mails_an_hour = 0\n",
        "[web]\nconnections = 1\n",
        '[web]\noutbox = "yes"\n',
        '[watch]\nmetrics_listen = "9464"\n',
        '[watch]\nmetrics_listen = "127.0.0.1:0"\n',
        '[watch]\nmetrics_listen = "127.0.0.1:99999"\n',
        '[watch]\nmetrics_listen = "::1:9464"\n',
    ],
)
def test_wrong_settings_of_the_open_web_name_their_key_and_what_is_accepted(
    tmp_path: Path, text: str
) -> None:
    message = refusal(tmp_path, text)
    assert text.split("\n")[1].split(" ")[0] in message and "accepted: " in message and "\n" not in message


@pytest.mark.parametrize(("given", "found"), [("true", True), ("false", False)])
def test_true_and_false_come_from_the_environment_too(given: str, *, found: bool) -> None:
    assert load_settings(None, {"THIRD_THURSDAY_WEB__OUTBOX": given}).web.outbox is found


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_value_can_be_in_a_file_that_a_variable_names(tmp_path: Path, end: str) -> None:
    (tmp_path / "port").write_bytes(f"8123{end}".encode())
    (tmp_path / "key").write_bytes(f"{'ab' * 32}{end}".encode())
    settings = load_settings(
        None,
        {
            "THIRD_THURSDAY_WEB__PORT_FILE": str(tmp_path / "port"),
            "THIRD_THURSDAY_SECURITY__KEY_FILE": str(tmp_path / "key"),
        },
    )
    assert (settings.web.port, settings.security.key) == (8123, b"\xab" * 32)


@pytest.mark.parametrize(
    ("content", "more", "words"),
    [
        (None, {}, "cannot be read: No such file or directory"),
        (b"", {}, "is empty"),
        (b"\n", {}, "is empty"),
        (b"\xff\xfe", {}, "it is not UTF-8"),
        (b"short", {}, "environment variable THIRD_THURSDAY_SECURITY__KEY_FILE: [security] key"),
        (b"ab" * 32, {"THIRD_THURSDAY_SECURITY__KEY": "cd" * 32}, "is set too; remove one of the two"),
    ],
)
def test_a_file_with_a_value_that_cannot_be_used_is_named_and_its_content_is_not_shown(
    tmp_path: Path, content: bytes | None, more: dict[str, str], words: str
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(SettingsProblem) as refused:
        load_settings(None, {"THIRD_THURSDAY_SECURITY__KEY_FILE": str(tmp_path / "key"), **more})
    assert words in str(refused.value) and "short" not in str(refused.value)
