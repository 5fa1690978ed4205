"""The `occurrence` commands: change, add and remove meetings, and tell members about them."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from scheduler.bootstrap.wiring import Parts
from scheduler.bootstrap.worker import make_preview_writer
from scheduler.cli.app import EXIT_USAGE
from scheduler.cli.command import (
    LONGEST_HOLD,
    AsJson,
    DryRun,
    Encoding,
    Yes,
    command_context,
    command_line_user,
    confirm,
    confirm_mailing,
    describe_answers,
    fail,
    is_terminal,
    make_app,
    read_file,
    read_text_file,
    require_near,
    show_json,
    usage,
)
from scheduler.cli.preview import PreviewFor, show_preview
from scheduler.domain.code_page import require_encoding
from scheduler.domain.errors import SettingsProblem
from scheduler.domain.locale import country_name
from scheduler.domain.occurrence import OccurrenceKey, Series, slugs_by_choice
from scheduler.domain.text import counted, quoted
from scheduler.service import follow_ups
from scheduler.service import occurrences as occurrence_service
from scheduler.service.invitations import with_mails
from scheduler.service.meeting_hours import MeetingHours, count_places, what_hours_mean
from scheduler.service.members import find_member
from scheduler.service.occurrence_import import Imported, import_sheet, read_sheet
from scheduler.service.occurrences import Amended, Extra, require_occurrence
from scheduler.service.preview import Preview, preview_change
from scheduler.store import answers as answer_store

ANSWERS = ("coming", "maybe", "declined")

app = make_app("Change or add a meeting, and tell the members.")

Key = Annotated[str, typer.Argument(help="SERIES/YYYY-MM-DD, as `schedule` shows it.")]


def read_wall(text: str, option: str) -> datetime:
    """Return the wall time `YYYY-MM-DD HH:MM` in `text`. Raises SettingsProblem if it is not one."""
    try:
        wall = datetime.strptime(text.replace("T", " "), "%Y-%m-%d %H:%M")  # noqa: DTZ007 - wall time has no zone
    except ValueError:
        raise SettingsProblem(
            f"{option} '{text}' is not a time; write YYYY-MM-DD HH:MM in the home zone"
        ) from None
    require_near(wall.date(), option)
    return wall


@app.command()
def amend(
    context: typer.Context,
    key: Key,
    topic: Annotated[str | None, typer.Option(help="The topic.")] = None,
    speakers: Annotated[
        str | None, typer.Option(help='The speakers: "Name, role, organisation; Name 2".')
    ] = None,
    description: Annotated[str | None, typer.Option(help="A few sentences on what it is about.")] = None,
    materials: Annotated[
        str | None,
        typer.Option(help='Links to a recording, slides and so on, one a line: "Slides: https://…".'),
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A Markdown file with what was said; - reads standard input."),
    ] = None,
    insights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A Markdown file with what is worth remembering.")
    ] = None,
    theme: Annotated[
        list[str] | None, typer.Option(help="A theme by name; give it again for more, or empty for none.")
    ] = None,
    link: Annotated[str | None, typer.Option(metavar="URL", help="The link of the online room.")] = None,
    move_to: Annotated[
        str | None, typer.Option(metavar='"YYYY-MM-DD HH:MM"', help="The new time, in the home zone.")
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the meeting.")] = False,
    restore: Annotated[bool, typer.Option("--restore", help="Undo a cancellation.")] = False,
    tell: Annotated[
        bool | None, typer.Option("--tell/--no-tell", help="Whether to mail the members.", show_default=False)
    ] = None,
    message: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Your own text for the top of the mail, in Markdown.")
    ] = None,
    hold: Annotated[
        int,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=LONGEST_HOLD,
            help="Wait this long before the first mail, so that you can stop it.",
        ),
    ] = 0,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Change a meeting; ask before telling the members."""
    with usage():
        OccurrenceKey.parse(key)
        change = occurrence_service.Change(
            topic=topic,
            speakers=speakers,
            description=description,
            link=link,
            materials=materials,
            cancel=cancel,
            restore=restore,
            move_to=read_wall(move_to, "--move-to") if move_to else None,
            summary=None if summary is None else read_text_file(summary, "--summary "),
            insights=None if insights is None else read_text_file(insights, "--insights "),
            themes=None if theme is None else tuple(filter(None, theme)),
        )
        text = "" if message is None else occurrence_service.require_message(message)

    if change == occurrence_service.Change():
        raise SettingsProblem(
            "nothing to change; give --topic, --speakers, --description, --link, --materials, --summary, --insights, "
            "--theme, --move-to, --cancel or --restore"
        )
    if tell is False and (text or hold):
        raise SettingsProblem("--message and --hold only apply to a mail; give --tell, not --no-tell")
    # A summary, insights and themes are in no mail and no calendar: there is nothing to tell.
    only_recorded = replace(change, summary=None, insights=None, themes=None) == occurrence_service.Change()
    if only_recorded and tell:
        raise SettingsProblem("a summary, insights and themes are not mailed; leave --tell out")
    tell = False if only_recorded else tell
    if tell is None and not is_terminal():
        fail(
            "give --tell to mail the members, or --no-tell to change the meeting without mail",
            code=EXIT_USAGE,
        )
    wait = timedelta(seconds=hold)

    async def look(parts: Parts) -> tuple[Amended, int]:
        series, now = _series_by_slug(parts), parts.clock.now()
        to_tell = now + wait if tell else None
        preview = await occurrence_service.preview(
            parts.database, series, key, change, now=now, to_tell=to_tell
        )
        by_choice = slugs_by_choice(parts.series)
        return preview, await occurrence_service.count_told(
            parts.database, preview.after, by_choice=by_choice
        )

    async def act(parts: Parts) -> None:
        now, series = parts.clock.now(), _series_by_slug(parts)
        amended = await occurrence_service.amend(
            parts.database, series, key, change, now=now, by=command_line_user()
        )
        if tell and amended.changed:
            notice = await occurrence_service.tell(
                parts.database,
                amended,
                by_choice=slugs_by_choice(parts.series),
                now=now,
                words=text,
                hold=wait,
                by=command_line_user(),
            )
            typer.echo(f"notice {notice.notice} tells {counted(notice.recipients, 'member')}")
            if hold:
                typer.echo(
                    f"the first mail is sent in {hold} seconds; `notice stop {notice.notice}` stops it"
                )

    amended, number = command_context(context).run(look)
    if not amended.saved:
        typer.echo(f"{key}: already so; nothing was changed and nobody is told")
        return
    if not amended.changed:
        tell = False
    after = amended.after
    outcome = f"{after.status}, {occurrence_service.home_wall(after)} {after.zone}"
    if dry_run:
        mailed = f" and {counted(number, 'member')} would be told" if tell is not False else ""
        typer.echo(f"{key}: would be {outcome}{mailed}; nothing was changed and nobody was told")
        return
    if tell is None:
        tell = typer.confirm(f"Tell {counted(number, 'member')}?", err=True)
        if tell:
            # It may be too late to tell anybody: report that before anything is changed.
            command_context(context).run(look)
    elif tell:
        question = f"{key}: {outcome}. Tell {counted(number, 'member')}?"
        confirm_mailing(question, number, yes=yes, instead="--no-tell to change it without telling anybody")
    command_context(context).run(act)
    typer.echo(f"{key}: {outcome}")
    if not tell:
        typer.echo("nobody was told")


@app.command()
def add(
    context: typer.Context,
    at: Annotated[str, typer.Option(metavar='"YYYY-MM-DD HH:MM"', help="When it starts, in the home zone.")],
    series: Annotated[str | None, typer.Option(help="Its series; needed if there are several.")] = None,
    no_invite: Annotated[bool, typer.Option("--no-invite", help="Invite nobody to it.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Add an extra meeting; ask before inviting anybody to it at once."""
    wall = read_wall(at, "--at")

    async def look(parts: Parts) -> Extra:
        return await occurrence_service.foresee_extra(
            parts.database, choose_series(parts.series, series), parts.policies, wall, now=parts.clock.now()
        )

    async def act(parts: Parts) -> None:
        await occurrence_service.add_extra(
            parts.database,
            choose_series(parts.series, series),
            wall,
            now=parts.clock.now(),
            policies=parts.policies,
            invite=not no_invite,
            by=command_line_user(),
        )

    preview = command_context(context).run(look)
    extra, number = preview.occurrence, 0 if no_invite else preview.recipients
    mails = with_mails(preview.mails, number) if number else ""
    if dry_run:
        typer.echo(
            f"{extra.key}: would be added, and {counted(number, 'member')} invited now{mails}; nothing was changed"
        )
        return
    question = f"Add {extra.key}, and invite {counted(number, 'member')} to it now{mails}? (--no-invite invites nobody)"
    confirm_mailing(question, number, yes=yes, instead="--no-invite to add it without inviting anybody")
    command_context(context).run(act)
    if no_invite:
        typer.echo(f"{extra.key}: added; nobody is invited to it")
    elif number:
        typer.echo(f"{extra.key}: added; {counted(number, 'member')} invited now{mails}")
    else:
        typer.echo(f"{extra.key}: added; `plan` shows when its notices will be sent")


@app.command()
def remove(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="SERIES/YYYY-MM-DDTHHMM, as `schedule` shows it.")],
) -> None:
    """Remove an extra meeting that was added by mistake, if nobody has been told about it."""
    with usage():
        OccurrenceKey.parse(key)

    async def act(parts: Parts) -> None:
        series = _series_by_slug(parts)
        await occurrence_service.remove_extra(
            parts.database, series, key, now=parts.clock.now(), by=command_line_user()
        )

    command_context(context).run(act)
    typer.echo(f"{key}: removed; nobody had been told about it")


@app.command()
def tell(
    context: typer.Context,
    key: Key,
    message: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Your own text for the top of the mail, in Markdown.")
    ] = None,
    dry_run: DryRun = False,
    preview_for: PreviewFor = "",
    yes: Yes = False,
) -> None:
    """Tell members about a meeting if what they were last told is no longer right."""
    with usage():
        OccurrenceKey.parse(key)
        text = "" if message is None else occurrence_service.require_message(message)

    async def count(parts: Parts) -> int:
        series = _series_by_slug(parts)
        update = await occurrence_service.find_unannounced_change(
            parts.database, series, key, now=parts.clock.now()
        )
        return update.recipients

    async def act(parts: Parts) -> None:
        series = _series_by_slug(parts)
        notice = await occurrence_service.tell_again(
            parts.database, series, key, now=parts.clock.now(), words=text, by=command_line_user()
        )
        typer.echo(f"notice {notice.notice} tells {counted(notice.recipients, 'member')}")

    async def look(parts: Parts) -> Preview:
        now = parts.clock.now()
        return await preview_change(
            parts.database,
            make_preview_writer(parts),
            await find_member(parts.database, preview_for),
            await occurrence_service.find_unannounced_change(
                parts.database, _series_by_slug(parts), key, now=now
            ),
            words=text,
            now=now,
        )

    if preview_for:
        show_preview(command_context(context).run(look))
        return
    number = command_context(context).run(count)
    if dry_run:
        typer.echo(f"would go to {counted(number, 'member')}; nothing was sent")
        return
    confirm(
        f"Tell {counted(number, 'member')} about {key}?",
        yes=yes,
        otherwise=f"this mails {counted(number, 'member')}; give --yes to send without being asked",
    )
    command_context(context).run(act)


@app.command("follow-up")
def follow_up(
    context: typer.Context,
    key: Key,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Send the recording, slides and notes of a meeting that is over to the followers of its series, once."""
    with usage():
        OccurrenceKey.parse(key)

    async def count(parts: Parts) -> int:
        series = _series_by_slug(parts)
        return (
            await follow_ups.find_follow_up(parts.database, series, key, now=parts.clock.now())
        ).recipients

    async def act(parts: Parts) -> None:
        notice = await follow_ups.send_follow_up(
            parts.database,
            _series_by_slug(parts),
            parts.policies,
            key,
            now=parts.clock.now(),
            by=command_line_user(),
        )
        typer.echo(f"notice {notice.notice} goes to {counted(notice.recipients, 'member')}")

    number = command_context(context).run(count)
    if dry_run:
        typer.echo(f"would go to {counted(number, 'member')}; nothing was sent")
        return
    confirm(
        f"Send the follow-up of {key} to {counted(number, 'member')}?",
        yes=yes,
        otherwise=f"this mails {counted(number, 'member')}; give --yes to send without being asked",
    )
    command_context(context).run(act)


@app.command()
def answers(
    context: typer.Context,
    key: Key,
    names: Annotated[bool, typer.Option("--names", help="List the members who answered, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how many members are coming, may come, or have declined."""
    with usage():
        OccurrenceKey.parse(key)

    async def count(parts: Parts) -> tuple[dict[str, int], list[tuple[str, str, str, str]]]:
        series = _series_by_slug(parts)
        async with parts.database.read() as connection:
            await require_occurrence(connection, series, key, parts.clock.now())
            people = await answer_store.list_answers(connection, key) if names else []
            return await answer_store.count_answers(connection, key), people

    counts, people = command_context(context).run(count)
    if as_json:
        document: dict[str, object] = {answer: counts.get(answer, 0) for answer in ANSWERS}
        if names:
            document["names"] = {
                wanted: [
                    {"name": name, "email": email} for answer, name, email, _ in people if answer == wanted
                ]
                for wanted in ANSWERS
            }
        show_json(document)
        return
    typer.echo(f"{key}: {describe_answers(counts)}")
    for wanted in ANSWERS if names else ():
        for answer, name, email, _ in people:
            if answer == wanted:
                typer.echo(f"  {answer:<9} {name} <{email}>" if name else f"  {answer:<9} {email}")


@app.command()
def hours(context: typer.Context, key: Key, as_json: AsJson = False) -> None:
    """Show what the hour of a meeting means for members: at night, or on a public holiday."""
    with usage():
        OccurrenceKey.parse(key)

    async def look(parts: Parts) -> MeetingHours:
        series = _series_by_slug(parts)
        async with parts.database.read() as connection:
            occurrence = await require_occurrence(connection, series, key, parts.clock.now())
        own = series[occurrence.series]
        places = await count_places(parts.database, own, by_choice=slugs_by_choice(parts.series))
        return await what_hours_mean(places, own, occurrence, occurrence)

    meaning = command_context(context).run(look)
    if as_json:
        show_json(_hours_document(meaning))
        return
    night = f"{meaning.at_night} of {counted(meaning.count, 'member')}"
    typer.echo(f"{key}: at night (23:00 to 06:00 by their clock) for {night}")
    for row in meaning.nights:
        typer.echo(f"  {_country(row.country)}: {row.at_night} of {row.count}")
    typer.echo(f"public holidays on their date: {'' if meaning.holidays else 'none known'}".rstrip())
    for free in meaning.holidays:
        names = ", ".join(
            f"{holiday.name} (date estimated)" if holiday.is_estimated else holiday.name
            for holiday in free.holidays
        )
        typer.echo(f"  {_country(free.country)}, {free.day}: {names}, {counted(free.count, 'member')}")
    typer.echo("where members are, and their time:")
    for place in meaning.places:
        time = f"{place.now.weekday} {place.now.starts}{' (night)' if place.at_night else ''}"
        typer.echo(f"  {_country(place.country)}, {place.now.city}: {place.count}, {time}")


def _country(code: str) -> str:
    return country_name(code) if code else "country not known"


def _hours_document(meaning: MeetingHours) -> dict[str, object]:
    return {
        "members": meaning.count,
        "at_night": meaning.at_night,
        "nights": [
            {"country": row.country, "at_night": row.at_night, "members": row.count} for row in meaning.nights
        ],
        "holidays": [
            {
                "country": free.country,
                "date": free.day.isoformat(),
                "members": free.count,
                "holidays": [
                    {"name": holiday.name, "estimated": holiday.is_estimated} for holiday in free.holidays
                ],
            }
            for free in meaning.holidays
        ],
        "places": [
            {
                "country": place.country,
                "zone": place.now.zone,
                "members": place.count,
                "starts": place.now.starts_iso,
                "at_night": place.at_night,
            }
            for place in meaning.places
        ],
    }


def choose_series(all_series: tuple[Series, ...], slug: str | None) -> Series:
    """Return the series with that slug, or the only one. Raises SettingsProblem if there is no such series."""
    matches = [series for series in all_series if slug in (None, series.slug)]
    if len(matches) != 1:
        raise SettingsProblem(f"--series: give one of {', '.join(series.slug for series in all_series)}")
    return matches[0]


def _series_by_slug(parts: Parts) -> dict[str, Series]:
    return {series.slug: series for series in parts.series}


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A sheet (csv, xlsx, ods): date, month or occurrence; title, who led, summary, recording, slides …",
        ),
    ],
    series: Annotated[str | None, typer.Option(help="The series of all rows, if there are several.")] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    encoding: Encoding = None,
) -> None:
    """Import what is known about many meetings, also of the past, from a sheet; tell nobody."""
    with usage():
        codec = require_encoding(encoding, "--encoding") if encoding else None
    data = read_file(file)

    async def act(parts: Parts) -> Imported:
        only = choose_series(parts.series, series).slug if series else None
        sheet = read_sheet(data, series=parts.series, only=only, encoding=codec)
        if sheet.guess:
            typer.echo(f"{file}: read as {sheet.guess}; use --encoding if that is wrong", err=True)
        if sheet.ignored:
            typer.echo(f"{file}: not used: {', '.join(sheet.ignored)}", err=True)
        confirm(
            f"Import {counted(len(sheet.rows), 'row')} from {file}?",
            yes=yes or dry_run or not is_terminal(),
            otherwise="",
        )
        return await import_sheet(
            parts.database,
            parts.series,
            sheet,
            now=parts.clock.now(),
            dry_run=dry_run,
            by=command_line_user(),
        )

    imported = command_context(context).run(act)
    for row in imported.rows:
        topic = f" ({quoted(row.topic)})" if row.topic else ""
        if row.outcome == "refused":
            column = f"column {quoted(row.column)}: " if row.column else ""
            typer.echo(f"{file}: line {row.line}: {column}{row.problem}", err=True)
        else:
            where = f"{row.key}: " if row.key else ""
            typer.echo(
                f"line {row.line}: {where}{row.outcome_words[:1].lower()}{row.outcome_words[1:]}{topic}"
            )
    added, refused = imported.count("added"), imported.count("refused")
    changed = counted(imported.count("changed"), "meeting")
    would = "would be changed" if dry_run else "changed"
    typer.echo(
        f"{changed} {would}, {imported.count('same')} unchanged, {added} added; "
        + ("nothing was changed" if dry_run else "nobody was told")
    )
    if refused:
        verb = "would not be" if dry_run else "was not" if refused == 1 else "were not"
        them = "it" if refused == 1 else "them"
        fail(f"{counted(refused, 'row')} of {file} {verb} imported; correct {them} and import the file again")
