"""`demo`: the whole service with made-up members, and a mail folder in place of a relay."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from scheduler.bootstrap.serve import serve
from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.wiring import Parts
from scheduler.domain.policy import Kind, Policy
from scheduler.store import members

# Name, country, zone and locale, in thirty zones; some have unusual offsets or clock changes.
_PEOPLE = """
Aroha Ngata|NZ|Pacific/Auckland|en-NZ
Wiremu Parata|NZ|Pacific/Auckland|en-NZ
Hine Tainui|NZ|Pacific/Chatham|en-NZ
Tevita Fonua|TO|Pacific/Tongatapu|en-NZ
Grace Whitlam|AU|Australia/Sydney|en-AU
Oliver Hughes|AU|Australia/Brisbane|en-AU
Matilda Rowe|AU|Australia/Adelaide|en-AU
Jack Thorne|AU|Australia/Perth|en-AU
Isla Gower|AU|Australia/Lord_Howe|en-AU
Haruka Sato|JP|Asia/Tokyo|ja-JP
Wei Ling Tan|SG|Asia/Singapore|en-SG
Mei Wong|HK|Asia/Hong_Kong|zh-Hant-HK
Priya Raman|IN|Asia/Kolkata|en-IN
Arjun Mehta|IN|Asia/Kolkata|en-IN
Sita Gurung|NP|Asia/Kathmandu|en-GB
Rahim Chowdhury|BD|Asia/Dhaka|en-GB
Layla Haddad|AE|Asia/Dubai|ar-AE
Noura Alharbi|SA|Asia/Riyadh|ar-SA
Wanjiru Kamau|KE|Africa/Nairobi|sw-KE
Thandi Nkosi|ZA|Africa/Johannesburg|en-ZA
Youssef Amrani|MA|Africa/Casablanca|fr-MA
Mariam Fahmy|EG|Africa/Cairo|ar-EG
Zuzana Horáková|CZ|Europe/Prague|cs-CZ
Åsa Lindqvist|SE|Europe/Stockholm|sv-SE
Nils Berg|SE|Europe/Stockholm|sv-SE
Jürgen Weiß|DE|Europe/Berlin|de-DE
Chiara Conti|IT|Europe/Rome|it-IT
Siobhán Ní Bhriain|IE|Europe/Dublin|en-IE
Eleri Pritchard|GB-WLS|Europe/London|cy-GB
Fiona Stewart|GB-SCT|Europe/London|en-GB
Samuel Okafor|GB-ENG|Europe/London|en-GB
Harriet Lowe|GB-ENG|Europe/London|en-GB
Sigrún Jónsdóttir|IS|Atlantic/Reykjavik|is-IS
João Carvalho|PT|Atlantic/Azores|pt-PT
Beatriz Moura|BR|America/Sao_Paulo|pt-BR
Camila Rojas|CL|America/Santiago|es-CL
Emily Carter|US|America/New_York|en-US
Luis Ortega|US|America/Los_Angeles|en-US
Claire Tremblay|CA|America/Vancouver|en-CA
Brendan Power|CA|America/St_Johns|en-CA
"""

_INTRODUCTION = (
    "There are forty made-up members; /outbox shows their mail. No mail leaves this machine. Ctrl-C stops.\n"
    "To see the convenors' pages, sign in at /convenor/ as member31@gb-eng.example.org; the link is in /outbox."
)

_DESCRIPTION = "An hour of conversation about kindness, online, on the third Thursday of every month."


async def run_demo(
    config: Path | None, environment: Mapping[str, str], *, say: Callable[[str], None]
) -> None:
    """Serve from `var/demo` until stopped. Raises Problem if the service cannot start."""
    # The default settings have no description.
    description = {} if config else {"THIRD_THURSDAY_COMMUNITY__DESCRIPTION": _DESCRIPTION}
    own = {
        "THIRD_THURSDAY_DATABASE__URL": "sqlite:///var/demo/third-thursday.sqlite",
        "THIRD_THURSDAY_MAIL__TRANSPORT": "maildir:var/demo/mail",
        # Start again after months without asking whether the clock is right.
        "THIRD_THURSDAY_WATCH__LONGEST_OUTAGE": "9999d",
        "THIRD_THURSDAY_WEB__OUTBOX": "true",
    }
    given = {name: value for name, value in environment.items() if name.removesuffix("_FILE") not in own}
    settings = load_settings(config, {**description, **given, **own})
    # Make the next meeting's invitation due on any day.
    invitations = [policy for policy in settings.policies if policy.kind is Kind.INVITATION]
    early = [
        Policy(slug=policy.slug, kind=policy.kind, lead=timedelta(days=60), series=policy.series)
        for policy in invitations
    ]
    others = [policy for policy in settings.policies if policy.kind is not Kind.INVITATION]
    settings = replace(settings, policies=(*early, *others))
    if not config:
        with_rooms = (
            replace(series, link=series.link or "https://rooms.example.org/kindness")
            for series in settings.series
        )
        settings = replace(settings, series=tuple(with_rooms))
    await serve(settings, prepare=_add_members, say=lambda line: say(f"{line}\n{_INTRODUCTION}"))


async def _add_members(parts: Parts) -> None:
    """Add the made-up members to an empty list."""
    now = parts.clock.now()
    async with parts.database.write() as connection:
        if await members.counts(connection):
            return
        rows: list[dict[str, object]] = []
        for line in _PEOPLE.split("\n"):
            if line:
                name, country, zone, locale = line.split("|")
                address = f"member{len(rows) + 1:02}@{country.lower()}.example.org"
                rows.append(
                    {
                        "address": address,
                        "address_key": address,
                        "name": name,
                        "country": country,
                        "zone": zone,
                        "zone_source": "given",
                        "locale": locale,
                        "status": "active",
                        "role": "convenor" if len(rows) == 30 else None,
                        "created_at": now,
                        "active_since": now,
                        "paused_until": None,
                        "uninvited_at": None,
                    }
                )
        await members.add(connection, rows)
