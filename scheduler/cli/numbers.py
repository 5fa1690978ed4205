"""The `numbers` command: counts of members, answers and emails over time."""

from dataclasses import asdict

import typer

from scheduler.bootstrap.wiring import Parts
from scheduler.cli.command import AsJson, command_context, make_app, show_json
from scheduler.domain.locale import country_name
from scheduler.domain.text import counted
from scheduler.service.numbers import OUTCOMES, Numbers, count_numbers

app = make_app()


@app.command()
def numbers(context: typer.Context, as_json: AsJson = False) -> None:
    """Count members, answers and emails over time."""

    async def count(parts: Parts) -> Numbers:
        return await count_numbers(parts.database, series=parts.series, now=parts.clock.now())

    found = command_context(context).run(count)
    if as_json:
        show_json(_document(found))
    else:
        _show(found)


def _document(found: Numbers) -> dict[str, object]:
    return {
        "counted_utc": found.counted_at.isoformat(),
        "zone": found.zone,
        "members": found.members,
        "countries": [{"country": country, "members": count} for country, count in found.countries],
        "zones": [{"zone": zone, "members": count} for zone, count in found.zones],
        "months": [asdict(row) for row in found.months],
        "meetings": [
            {
                "key": row.key,
                "coming": row.coming,
                "maybe": row.maybe,
                "declined": row.declined,
                "no_answer": row.silent,
            }
            for row in found.meetings
        ],
        "mails": [
            {
                "month": row.month,
                "kind": row.kind,
                **{outcome: row.counts.get(outcome, 0) for outcome in OUTCOMES},
            }
            for row in found.mails
        ],
        "not_sent": [asdict(row) for row in found.not_sent],
    }


def _show(found: Numbers) -> None:
    typer.echo(f"{counted(found.members, 'member')} on the list; months are by the clock of {found.zone}")
    typer.echo("by country:")
    for country, count in found.countries:
        typer.echo(f"  {country_name(country) if country else 'not known'}: {count}")
    typer.echo("by time zone:")
    for zone, count in found.zones:
        typer.echo(f"  {zone}: {count}")
    typer.echo("by month:")
    for month in found.months:
        typer.echo(f"  {month.month}: {month.joined} joined, {month.left} left")
    typer.echo("answers:")
    for meeting in found.meetings:
        typer.echo(
            f"  {meeting.key}: {meeting.coming} coming, {meeting.maybe} maybe, {meeting.declined} declined, "
            f"{meeting.silent} no answer"
        )
    typer.echo("emails:")
    for mails in found.mails:
        outcomes = ", ".join(f"{mails.counts[name]} {name}" for name in OUTCOMES if mails.counts.get(name))
        typer.echo(f"  {mails.month} {mails.kind}: {outcomes}")
    typer.echo("not sent, without the archive:")
    for row in found.not_sent:
        typer.echo(f"  {row.month} {row.kind}: {row.count} {row.outcome}, because {row.reason}")
