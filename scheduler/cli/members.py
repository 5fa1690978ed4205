"""The `members` commands: show, add, change and remove members."""

import json
import sys
from collections import Counter, deque
from collections.abc import Sequence
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from scheduler.bootstrap.wiring import Parts
from scheduler.cli import duplicates, member_files, sent_mails
from scheduler.cli.command import (
    AsJson,
    Yes,
    command_context,
    command_line_user,
    confirm,
    confirm_mailing,
    make_app,
    read_date,
    usage,
)
from scheduler.domain.errors import Refused, SettingsProblem
from scheduler.domain.locale import country_name, require_country
from scheduler.domain.occurrence import followed, offers_choice
from scheduler.domain.text import counted, quoted
from scheduler.domain.zone import require_zone
from scheduler.service.convenors import ROLES, require_role
from scheduler.service.delivery_reasons import reason_in_words
from scheduler.service.erasure import Erased, erase_member, find_erasable
from scheduler.service.follows import followed_by, require_series
from scheduler.service.invitations import invitations as find_invitations
from scheduler.service.members import (
    EVERY_STATUS,
    Changed,
    Details,
    add_member,
    change_member,
    pause_member,
    read_choices,
    read_search,
    remove_member,
    require_member,
    require_new,
    resolve_zone,
    rotate_member,
    with_follows,
)
from scheduler.store import members
from scheduler.store.ledger.reports import Report, reports
from scheduler.store.members import Member

app = make_app("Manage the list of members.")
app.command("import")(member_files.import_)
app.command()(member_files.export)
app.command()(sent_mails.mail)
app.command()(sent_mails.resend)
app.command()(duplicates.duplicates)

ROWS_PER_TABLE = 500
LATEST_MAILS = 10
MOST_PLACES = 20

Email = Annotated[str, typer.Argument(metavar="EMAIL")]
Name = Annotated[str | None, typer.Option(help="Their name, as mails use it.")]
Country = Annotated[
    str | None, typer.Option(help="A country's name or ISO code; GB-SCT and similar codes too.")
]
Zone = Annotated[str | None, typer.Option(help="Their time zone, for example Europe/London.")]
Locale = Annotated[str | None, typer.Option(help="Language and country, for example en-GB.")]
Follow = Annotated[
    list[str] | None,
    typer.Option("--follow", metavar="SLUG", help="A series that they follow; repeat it for several."),
]
Unfollow = Annotated[
    list[str] | None,
    typer.Option(
        "--unfollow", metavar="SLUG", help="A series that they do not follow; repeat it for several."
    ),
]


@app.command("list")
def list_(
    context: typer.Context,
    search: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Only members whose name, address, country or zone contains TEXT."),
    ] = "",
    status: Annotated[
        str, typer.Option(help=f"Only members with this status: {', '.join(EVERY_STATUS)}.")
    ] = "",
    country: Annotated[
        str, typer.Option(help="Only members from this country, by its name or ISO code.")
    ] = "",
    zone: Annotated[str, typer.Option(help="Only members in this time zone.")] = "",
    role: Annotated[str, typer.Option(help=f"Only members with this role: {', '.join(ROLES)}.")] = "",
    returned: Annotated[bool, typer.Option("--returned", help="Only members whose mail comes back.")] = False,
    follows: Annotated[str, typer.Option(metavar="SLUG", help="Only members who follow this series.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show all members, including those who have left."""
    with usage():
        if role:
            require_role(role, "--role")
        require_series([follows] if follows else [], command_context(context).settings.series, "--follows")
        if status and status not in EVERY_STATUS:
            raise Refused(f"--status {quoted(status)} is not known; give one of {', '.join(EVERY_STATUS)}")
        code = require_country(country, "--country") if country else ""
        place = require_zone(zone, "--zone") if zone else ""

    async def print_list(parts: Parts) -> None:
        has_series = offers_choice(parts.series)
        wanted = read_search(
            search,
            status=status,
            country=code,
            zone=place,
            role=role,
            suppressed=returned,
            series=follows,
            all_series=parts.series,
        )
        async with parts.database.read() as connection:
            found = members.every(connection, wanted)
            matches = with_follows(connection, found, parts.series)
            if as_json:
                # Write row by row: a long list must not be held in memory.
                separator = "["
                async for member, slugs in matches:
                    document = json.dumps(_document(member, slugs), ensure_ascii=False)
                    sys.stdout.write(f"{separator}\n{document}")
                    separator = ","
                sys.stdout.write("[]\n" if separator == "[" else "\n]\n")
                return
            statuses = Counter[str]()
            table: list[tuple[Member, list[str]]] = []
            async for member, slugs in matches:
                statuses[member.status] += 1
                table.append((member, slugs))
                if len(table) == ROWS_PER_TABLE:
                    _print_table(table, has_series=has_series)
                    table.clear()
            if table:
                _print_table(table, has_series=has_series)
            counts = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
            typer.echo(counted(statuses.total(), "member") + (f": {counts}" if counts else ""))

    command_context(context).run(print_list)


def _document(member: Member, slugs: Sequence[str]) -> dict[str, object]:
    return {
        "name": member.name,
        "email": member.address,
        "country": member.country,
        "zone": member.zone,
        "zone_source": member.zone_source,
        "locale": member.locale,
        "status": member.status,
        "convenor": member.convenor,
        "follows": list(slugs),
    }


def _print_table(rows: Sequence[tuple[Member, list[str]]], *, has_series: bool) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in (
        "Name",
        "Email",
        "Country",
        "Zone",
        "Locale",
        "Status",
        *(["Follows"] if has_series else []),
    ):
        table.add_column(heading, overflow="fold")
    for member, slugs in rows:
        status = ", ".join(
            [
                member.status,
                *([member.role] if member.role else []),
                *(["no mail"] if member.suppressed_at else []),
            ]
        )
        zone = member.zone if member.zone_source != "assumed" else f"{member.zone} (assumed)"
        cells = [member.name, member.address, member.country or "", zone, member.locale, status]
        table.add_row(*cells, *([_listed(slugs)] if has_series else []))
    # Do not wrap lines in a pipe, so that grep finds whole rows.
    width = None if sys.stdout.isatty() else 1_000
    Console(markup=False, emoji=False, highlight=False, width=width).print(table)


@app.command()
def show(context: typer.Context, email: Email) -> None:
    """Show one member and the latest mails to them."""

    async def look(parts: Parts) -> tuple[Member, list[str] | None, Counter[str], list[Report]]:
        states, latest = Counter[str](), deque[Report](maxlen=LATEST_MAILS)
        async with parts.database.read() as connection:
            member = await require_member(connection, email)
            has_series = offers_choice(parts.series)
            slugs = await followed_by(connection, member, parts.series) if has_series else None
            async for report in reports(connection, member=member.id):
                states[report.state] += 1
                latest.append(report)
        return member, slugs, states, list(latest)

    member, slugs, states, latest = command_context(context).run(look)
    _print_member(member, slugs)
    typer.echo(
        f"mails       {', '.join(f'{count} {state}' for state, count in sorted(states.items())) or 'none yet'}"
    )
    for report in latest:
        reason = f" ({_why(report)})" if report.reason else ""
        about = f"{report.occurrence or report.subject} (notice {report.notice})".strip()
        typer.echo(
            f"  {report.sent_at or report.due:%Y-%m-%d %H:%M} UTC  {report.state:<9}  "
            f"{report.policy or report.kind:<12}  {about}{reason}"
        )


def _why(report: Report) -> str:
    """Return why a mail failed or was not sent; for a failure also what the relay said."""
    if report.state not in ("failed", "expired", "withdrawn", "skipped"):
        return report.reason
    said = f": {report.reason}" if report.state == "failed" else ""
    return reason_in_words(report.state, report.reason) + said


def _print_member(member: Member, slugs: Sequence[str] | None) -> None:
    since = f" since {member.active_since:%Y-%m-%d}" if member.active_since else ""
    until = f" until {member.paused_until:%Y-%m-%d %H:%M} UTC" if member.paused_until else ""
    for label, value in (
        ("name", member.name),
        ("email", member.address),
        ("country", f"{country_name(member.country)} ({member.country})" if member.country else ""),
        ("zone", f"{member.zone} ({member.zone_source})"),
        ("locale", member.locale),
        ("status", f"{member.status}{since}{until}"),
        ("role", member.role or "none"),
        *([("follows", _listed(slugs))] if slugs is not None else []),
        *([("no mail", _suppression(member))] if member.suppressed_at else []),
        ("on the list", f"since {member.created_at:%Y-%m-%d}"),
    ):
        typer.echo(f"{label:<12}{value}")


def _joined(items: Sequence[str]) -> str:
    """Return `a`, `a and b` or `a, b and c`."""
    return " and ".join(filter(None, (", ".join(items[:-1]), *items[-1:])))


def _suppression(member: Member) -> str:
    assert member.suppressed_at
    return (
        f"since {member.suppressed_at:%Y-%m-%d}, because the address returns it ({member.suppressed_for}); "
        "when it accepts mail again, run `members set EMAIL --deliverable`"
    )


@app.command()
def add(
    context: typer.Context,
    email: Annotated[str, typer.Option(help="Their address.")],
    name: Name = None,
    country: Country = None,
    zone: Zone = None,
    locale: Locale = None,
    follow: Follow = None,
    unfollow: Unfollow = None,
    convenor: Annotated[bool, typer.Option("--convenor", help="Make them a convenor.")] = False,
    returning: Annotated[
        bool, typer.Option("--returning", help="They were erased before and have asked to come back.")
    ] = False,
    no_invite: Annotated[
        bool, typer.Option("--no-invite", help="Do not send invitations that are already open.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Add one member; ask before sending them an invitation that is already open."""
    with usage():
        series = command_context(context).settings.series
        choices = read_choices(follow or [], unfollow or [], series)
        details = Details(
            name=name,
            address=email,
            country=country,
            zone=zone,
            locale=locale,
            convenor=convenor,
            choices=choices or None,
        )
        home, _ = resolve_zone(details)
    slugs = followed(series, choices)

    async def look(parts: Parts) -> list[str]:
        now = parts.clock.now()
        await require_new(parts.database, details, keys=parts.keys, returning=returning)
        invitations = await find_invitations(
            parts.database, series=parts.series, policies=parts.policies, now=now
        )
        return [
            invitation.occurrence.key
            for invitation in invitations
            if invitation.occurrence.series in slugs and invitation.is_open_in(home, now)
        ]

    async def act(parts: Parts) -> Member:
        return await add_member(
            parts.database,
            details,
            keys=parts.keys,
            locale=parts.community.locale,
            now=parts.clock.now(),
            all_series=parts.series,
            returning=returning,
            invite=not no_invite,
            by=command_line_user(),
        )

    keys = [] if no_invite else command_context(context).run(look)
    question = f"Add {email}, and invite them now to {_joined(keys)}? (--no-invite does not invite them)"
    confirm_mailing(
        question, 1 if keys else 0, yes=yes, instead="--no-invite to add them without an invitation"
    )
    member = command_context(context).run(act)
    source = ", assumed from the country" if member.zone_source == "assumed" else ""
    typer.echo(f"{member.address}: added, {member.zone}{source}, {member.locale}")
    if offers_choice(series):
        typer.echo(f"{member.address}: follows {_listed(slugs)}")
    for key in keys:
        typer.echo(f"{member.address}: invited now to {key}")


@app.command("set")
def set_(
    context: typer.Context,
    email: Email,
    name: Name = None,
    address: Annotated[str | None, typer.Option("--email", help="Their new address.")] = None,
    country: Country = None,
    zone: Zone = None,
    locale: Locale = None,
    follow: Follow = None,
    unfollow: Unfollow = None,
    convenor: Annotated[
        bool | None, typer.Option("--convenor/--no-convenor", help="Whether they are a convenor.")
    ] = None,
    status: Annotated[
        str | None, typer.Option(help="active, paused or left; active also ends a pause.")
    ] = None,
    deliverable: Annotated[
        bool, typer.Option("--deliverable", help="Their address accepts mail again.")
    ] = False,
) -> None:
    """Change a member's details."""
    with usage():
        series = command_context(context).settings.series
        choices = read_choices(follow or [], unfollow or [], series)
        details = Details(
            name=name,
            address=address,
            country=country,
            zone=zone,
            locale=locale,
            convenor=convenor,
            status=status,
            deliverable=deliverable or None,
            choices=choices or None,
        )
    if details.is_empty:
        raise SettingsProblem(
            "nothing to change; give --name, --email, --country, --zone, --locale, --follow, --unfollow, --convenor, "
            "--status or --deliverable"
        )

    async def act(parts: Parts) -> Changed:
        return await change_member(
            parts.database,
            email,
            details,
            keys=parts.keys,
            now=parts.clock.now(),
            all_series=parts.series,
            by=command_line_user(),
        )

    change = command_context(context).run(act)
    followed_before = followed(series, change.choices_before)
    before = _document(change.before, followed_before)
    after = _document(change.after, followed(series, change.choices_after))
    for field, value in after.items():
        if value != before[field]:
            typer.echo(f"{change.before.address}: {field} {_shown(before[field])} → {_shown(value)}")
    for slug, follows in change.choices_after.items():
        if slug not in change.choices_before and follows is (slug in followed_before):
            verb = "follows" if follows else "does not follow"
            typer.echo(f"{change.before.address}: already {verb} {slug}; now stored as their own choice")
    if change.before.suppressed_at and not change.after.suppressed_at:
        typer.echo(f"{change.after.address}: gets mail again")
    if not change.changed:
        typer.echo(f"{change.before.address}: already so; nothing was changed")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _listed(value) if isinstance(value, list) else str(value or "none")


def _listed(slugs: Sequence[str]) -> str:
    return ", ".join(slugs) or "none"


@app.command()
def pause(
    context: typer.Context,
    email: Email,
    until: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="The day on which mail starts again, in their own zone."),
    ] = None,
) -> None:
    """Stop mail to a member until a day, or until `members set EMAIL --status active`."""
    day = read_date(until, "--until") if until else None

    async def act(parts: Parts) -> Changed:
        return await pause_member(
            parts.database, email, until=day, now=parts.clock.now(), by=command_line_user()
        )

    member = command_context(context).run(act).after
    back = f"{day}" if day else f"`members set {member.address} --status active`"
    typer.echo(f"{member.address}: gets no mail until {back}")


@app.command()
def remove(context: typer.Context, email: Email) -> None:
    """Remove a member from the list, and stop mail that is queued for them.

    The service still knows their address, so that no import adds them again.
    """

    async def act(parts: Parts) -> Changed:
        return await remove_member(parts.database, email, now=parts.clock.now(), by=command_line_user())

    change = command_context(context).run(act)
    typer.echo(
        f"{change.after.address}: "
        + ("has left; no more mail is sent to them" if change.changed else "had already left")
    )


@app.command()
def rotate(context: typer.Context, email: Email) -> None:
    """Replace a member's personal links and feed address; the old ones stop working."""

    async def act(parts: Parts) -> Changed:
        return await rotate_member(parts.database, email, now=parts.clock.now(), by=command_line_user())

    member = command_context(context).run(act).after
    typer.echo(f"{member.address}: the personal links sent so far no longer work; the next mail has new ones")


@app.command()
def erase(
    context: typer.Context,
    email: Email,
    yes: Yes = False,
) -> None:
    """Erase a person, and returned mail that names them; list where their name remains.

    A keyed hash of the address is kept, so that no import adds them again.
    """

    async def look(parts: Parts) -> Member | None:
        return await find_erasable(parts.database, email, keys=parts.keys)

    async def act(parts: Parts) -> Erased:
        return await erase_member(
            parts.database,
            email,
            keys=parts.keys,
            outbox=parts.settings.mail.outbox,
            now=parts.clock.now(),
            by=command_line_user(),
        )

    if member := command_context(context).run(look):
        confirm(
            f"Erase {member.name or 'the member'} <{member.address}> and all their data? This cannot be undone.",
            yes=yes,
            otherwise="give --yes to erase without being asked",
        )
    erased = command_context(context).run(act)
    postgres = command_context(context).settings.database.url.startswith("postgres")
    deleted = [counted(erased.mails, "mail") + " in the mail folder"] if erased.mails else []
    deleted += [counted(erased.choices, "choice") + " of series"] if erased.choices else []
    deleted += [counted(erased.returned, "returned message") + " naming them"] if erased.returned else []
    deleted += [counted(erased.messages, "message") + " to the convenors"] if erased.messages else []
    also = f", with {_joined(deleted)}" if deleted else ""
    wrote = bool(erased.messages or erased.returned)
    typer.echo(f"{'erased' if erased.was_member or wrote else 'already erased'}{also}")
    if erased.was_member or not wrote:
        typer.echo("kept: a keyed hash of the address, so that no import adds the person again")
    for place in erased.remaining[:MOST_PLACES]:
        typer.echo(f"still named in: {place}")
    if len(erased.remaining) > MOST_PLACES:
        typer.echo(f"still named in: {counted(len(erased.remaining) - MOST_PLACES, 'more place')}")
    if erased.remaining:
        typer.echo(
            "remove the name there with `occurrence amend` or `returns drop`; sent notices cannot be changed"
        )
    typer.echo("older backups, and mails in other people's mailboxes, still contain the person's data")
    if postgres:
        typer.echo(
            "PostgreSQL overwrites deleted rows only when it needs the space; `VACUUM FULL` does it now"
        )
