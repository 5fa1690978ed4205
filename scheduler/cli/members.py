"""The `members` commands: who is on the list, and how people come onto it and off."""

import json
import sys
from collections import Counter, deque
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.cli.command import command_context, confirm, confirm_mailing, counted, usage
from scheduler.cli.reports import read_date
from scheduler.domain.errors import SettingsProblem

if TYPE_CHECKING:
    from scheduler.bootstrap.wiring import Parts
    from scheduler.service.erasure import Erased
    from scheduler.service.members import Changed
    from scheduler.store.ledger.reports import Report
    from scheduler.store.members import Member

app = typer.Typer(help="Look after the list of members.", no_args_is_help=True)

PAGE = 500
LAST_MAILS = 10

_MOST_PLACES = 20

Email = Annotated[str, typer.Argument(metavar="EMAIL")]
Name = Annotated[str | None, typer.Option(help="What mails call them.")]
Country = Annotated[str | None, typer.Option(help="A name or ISO code; GB-SCT and the like too.")]
Zone = Annotated[str | None, typer.Option(help="Their time zone, as Europe/London.")]
Locale = Annotated[str | None, typer.Option(help="Language and country, as en-GB.")]


@app.command("list")
def list_(
    context: typer.Context,
    search: Annotated[
        str, typer.Option(metavar="TEXT", help="Only those with this in name, address, country or zone.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Show all members, those who left too."""
    from scheduler.service.members import search_members
    from scheduler.store import members

    async def show(parts: "Parts") -> None:
        async with parts.database.read() as connection:
            every = search_members(members.every(connection), search)
            if as_json:
                # Piece by piece: the list may be long, and is one document all the same.
                before = "["
                async for member in every:
                    sys.stdout.write(f"{before}\n{json.dumps(_document(member), ensure_ascii=False)}")
                    before = ","
                sys.stdout.write("[]\n" if before == "[" else "\n]\n")
                return
            statuses = Counter[str]()
            page: list[Member] = []
            async for member in every:
                statuses[member.status] += 1
                page.append(member)
                if len(page) == PAGE:
                    _print_table(page)
                    page.clear()
            if page:
                _print_table(page)
            counts = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
            typer.echo(counted(statuses.total(), "member") + (f": {counts}" if counts else ""))

    command_context(context).run(show)


def _document(member: "Member") -> dict[str, object]:
    return {
        "name": member.name,
        "email": member.address,
        "country": member.country,
        "zone": member.zone,
        "zone_source": member.zone_source,
        "locale": member.locale,
        "status": member.status,
        "convenor": member.convenor,
    }


def _print_table(page: "list[Member]") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("Name", "Email", "Country", "Zone", "Locale", "Status"):
        table.add_column(heading, overflow="fold")
    for one in page:
        status = ", ".join(
            [one.status, *(["convenor"] if one.convenor else []), *(["no mail"] if one.suppressed_at else [])]
        )
        zone = one.zone if one.zone_source != "assumed" else f"{one.zone} (assumed)"
        table.add_row(one.name, one.address, one.country or "", zone, one.locale, status)
    # Not on a terminal nothing is folded: the lines may be searched.
    width = None if sys.stdout.isatty() else 1_000
    Console(markup=False, emoji=False, highlight=False, width=width).print(table)


@app.command()
def show(context: typer.Context, email: Email) -> None:
    """Show one member and their last mails."""
    from scheduler.service.members import require_member
    from scheduler.store.ledger.reports import reports

    async def look(parts: "Parts") -> "tuple[Member, Counter[str], list[Report]]":
        states, last = Counter[str](), deque["Report"](maxlen=LAST_MAILS)
        async with parts.database.read() as connection:
            member = await require_member(connection, email)
            async for report in reports(connection, member=member.id):
                states[report.state] += 1
                last.append(report)
        return member, states, list(last)

    member, states, last = command_context(context).run(look)
    _print_member(member)
    typer.echo(
        f"mails       {', '.join(f'{count} {state}' for state, count in sorted(states.items())) or 'none yet'}"
    )
    for one in last:
        reason = f" ({one.reason})" if one.reason else ""
        typer.echo(
            f"  {one.sent_at or one.due:%Y-%m-%d %H:%M} UTC  {one.state:<9}  {one.policy or one.kind:<12}  "
            f"{one.occurrence or f'notice {one.notice}'}{reason}"
        )


def _print_member(member: "Member") -> None:
    from scheduler.domain.country import country_name

    since = f" since {member.active_since:%Y-%m-%d}" if member.active_since else ""
    until = f" until {member.paused_until:%Y-%m-%d %H:%M} UTC" if member.paused_until else ""
    for label, value in (
        ("name", member.name),
        ("email", member.address),
        ("country", f"{country_name(member.country)} ({member.country})" if member.country else ""),
        ("zone", f"{member.zone} ({member.zone_source})"),
        ("locale", member.locale),
        ("status", f"{member.status}{since}{until}"),
        ("convenor", "yes" if member.convenor else "no"),
        *([("no mail", _suppression(member))] if member.suppressed_at else []),
        ("on the list", f"since {member.created_at:%Y-%m-%d}"),
    ):
        typer.echo(f"{label:<12}{value}")


def _suppression(member: "Member") -> str:
    assert member.suppressed_at
    return (
        f"since {member.suppressed_at:%Y-%m-%d}, for the address sends it back ({member.suppressed_for}); "
        "if that is over: `members set EMAIL --deliverable`"
    )


@app.command()
def add(
    context: typer.Context,
    email: Annotated[str, typer.Option(help="Their address.")],
    name: Name = None,
    country: Country = None,
    zone: Zone = None,
    locale: Locale = None,
    convenor: Annotated[bool, typer.Option("--convenor", help="They may run the community.")] = False,
    returning: Annotated[
        bool, typer.Option("--returning", help="They were erased, and asked to come back.")
    ] = False,
    no_invite: Annotated[
        bool, typer.Option("--no-invite", help="No invitation that is open already.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Put one person on the list. Asks before it sends them an invitation that is open already."""
    from scheduler.service.invitations import invitations
    from scheduler.service.members import Details, add_member, require_new, resolve_zone

    with usage():
        details = Details(
            name=name, address=email, country=country, zone=zone, locale=locale, convenor=convenor
        )
        home, _ = resolve_zone(details)

    async def look(parts: "Parts") -> list[str]:
        now = parts.clock.now()
        await require_new(parts.database, details, keys=parts.keys, returning=returning)
        standing = await invitations(parts.database, series=parts.series, policies=parts.policies, now=now)
        return [one.occurrence.key for one in standing if one.is_open_in(home, now)]

    async def act(parts: "Parts") -> "Member":
        return await add_member(
            parts.database,
            details,
            keys=parts.keys,
            locale=parts.community.locale,
            now=parts.clock.now(),
            returning=returning,
            invite=not no_invite,
        )

    keys = [] if no_invite else command_context(context).run(look)
    question = f"Add {email}, and invite them now to {' and '.join(keys)}? (--no-invite adds them without)"
    confirm_mailing(
        question, 1 if keys else 0, yes=yes, instead="--no-invite to add them without an invitation"
    )
    member = command_context(context).run(act)
    source = ", assumed from the country" if member.zone_source == "assumed" else ""
    typer.echo(f"{member.address}: added, {member.zone}{source}, {member.locale}")
    for key in keys:
        typer.echo(f"{member.address}: invited now to {key}")


@app.command("set")
def set_(
    context: typer.Context,
    email: Email,
    name: Name = None,
    address: Annotated[str | None, typer.Option("--email", help="Another address.")] = None,
    country: Country = None,
    zone: Zone = None,
    locale: Locale = None,
    convenor: Annotated[
        bool | None, typer.Option("--convenor/--no-convenor", help="They may run it, or not.")
    ] = None,
    status: Annotated[
        str | None, typer.Option(help="active brings back who paused or left; paused, left.")
    ] = None,
    deliverable: Annotated[
        bool, typer.Option("--deliverable", help="Their address takes mail again.")
    ] = False,
) -> None:
    """Change what is known of a member."""
    from scheduler.service.members import Details, change_member

    with usage():
        details = Details(
            name=name,
            address=address,
            country=country,
            zone=zone,
            locale=locale,
            convenor=convenor,
            status=status,
            deliverable=deliverable or None,
        )
    if details.is_empty:
        raise SettingsProblem(
            "give what to set: --name, --email, --country, --zone, --locale, --convenor, --status or "
            "--deliverable"
        )

    async def act(parts: "Parts") -> "Changed":
        return await change_member(parts.database, email, details, keys=parts.keys, now=parts.clock.now())

    done = command_context(context).run(act)
    before, after = _document(done.before), _document(done.after)
    for field, value in after.items():
        if value != before[field]:
            typer.echo(f"{done.before.address}: {field} {_shown(before[field])} → {_shown(value)}")
    if done.before.suppressed_at and not done.after.suppressed_at:
        typer.echo(f"{done.after.address}: is mailed again")
    if not done.changed:
        typer.echo(f"{done.before.address}: that is how it is already; nothing was changed")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value or "none")


@app.command()
def pause(
    context: typer.Context,
    email: Email,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Their day on which mail begins again.")
    ] = None,
) -> None:
    """Send a member nothing for a while, or until `members set EMAIL --status active`."""
    from scheduler.service.members import pause_member

    day = read_date(until, "--until") if until else None

    async def act(parts: "Parts") -> "Changed":
        return await pause_member(parts.database, email, until=day, now=parts.clock.now())

    member = command_context(context).run(act).after
    back = f"{day}" if day else f"`members set {member.address} --status active`"
    typer.echo(f"{member.address}: gets no mail until {back}")


@app.command()
def remove(context: typer.Context, email: Email) -> None:
    """Take a member off the list; queued mail too. They stay known, so that no import brings them back."""
    from scheduler.service.members import remove_member

    async def act(parts: "Parts") -> "Changed":
        return await remove_member(parts.database, email, now=parts.clock.now())

    done = command_context(context).run(act)
    typer.echo(
        f"{done.after.address}: " + ("has left; nothing more is sent" if done.changed else "had left before")
    )


@app.command()
def rotate(context: typer.Context, email: Email) -> None:
    """Give a member new personal links and a new feed address; the old ones end."""
    from scheduler.service.members import rotate_member

    async def act(parts: "Parts") -> "Changed":
        return await rotate_member(parts.database, email, now=parts.clock.now())

    member = command_context(context).run(act).after
    typer.echo(f"{member.address}: all personal links sent so far have ended; the next mail brings new ones")


@app.command()
def erase(
    context: typer.Context,
    email: Email,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a person and what names them in mail that came back; say where they are still named.

    A keyed hash of the address is kept, so that no import brings them back.
    """
    from scheduler.service.erasure import erase_member, find_erasable

    async def look(parts: "Parts") -> "Member | None":
        return await find_erasable(parts.database, email, keys=parts.keys)

    async def act(parts: "Parts") -> "Erased":
        return await erase_member(
            parts.database, email, keys=parts.keys, outbox=parts.settings.mail.outbox, now=parts.clock.now()
        )

    if member := command_context(context).run(look):
        confirm(
            f"Erase {member.name or 'the member'} <{member.address}> and everything that belongs to them, for good?",
            yes=yes,
            otherwise="give --yes to erase without being asked",
        )
    done = command_context(context).run(act)
    postgres = command_context(context).settings.database.url.startswith("postgres")
    with_it = [counted(done.mails, "mail") + " in the mail folder"] if done.mails else []
    with_it += [counted(done.returned, "message") + " that came back and named them"] if done.returned else []
    also = f", with {' and '.join(with_it)}" if with_it else ""
    typer.echo(f"{'erased' if done.was_member else 'was erased before'}{also}")
    typer.echo("kept: a keyed hash of the address, so that no import brings the person back")
    for place in done.remaining[:_MOST_PLACES]:
        typer.echo(f"still named in: {place}")
    if len(done.remaining) > _MOST_PLACES:
        typer.echo(f"still named in: {len(done.remaining) - _MOST_PLACES} more places")
    if done.remaining:
        typer.echo(
            "change what names them by hand: `occurrence amend`, `returns drop`; sent notices stay as they are"
        )
    typer.echo("backups made before still hold the person, and so do mails in the mailboxes of others")
    if postgres:
        typer.echo(
            "PostgreSQL overwrites deleted rows when it needs their space; `VACUUM FULL` does so at once"
        )
