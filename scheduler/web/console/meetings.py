"""The pages of the meetings: edit, move, cancel, restore, add and remove them, tell members, and see the answers."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import TypeVar
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.address import require_url
from scheduler.domain.errors import Problem, Refused
from scheduler.domain.locale import country_name, hour_cycle
from scheduler.domain.localtime import LocalTime, format_month, local_time
from scheduler.domain.occurrence import ANSWERS, Occurrence, Series, in_gap, slugs_by_choice
from scheduler.domain.policy import Kind
from scheduler.domain.recurrence import LAST_YEAR
from scheduler.domain.table import guard_cell
from scheduler.domain.text import require_line, require_prose
from scheduler.domain.zone import city, known_zone
from scheduler.service import follow_ups, meeting_records, occurrences, preview
from scheduler.service.meeting_hours import MeetingHours, count_places, what_hours_mean
from scheduler.service.occurrences import Change, MeetingFile, UnannouncedChange
from scheduler.service.preview import Preview
from scheduler.service.schedule import all_stored_past, coming_meetings
from scheduler.store.members import Member
from scheduler.web.access import actor_of, render_console, session_of
from scheduler.web.console import previews
from scheduler.web.console.record_form import KINDS, form_of, read_form
from scheduler.web.forms import fields, last, number_of, revision_of
from scheduler.web.mail_frame import framed
from scheduler.web.security import is_same_origin
from scheduler.web.site import PRIVATE, see_other, site_of

T = TypeVar("T")

PLACES_FRESH = timedelta(minutes=1)
"""How old the numbers of members by country and zone may be: a million members take seconds to count."""

_AHEAD = timedelta(days=370)
_MOST = 13
_LATEST_PAST, _MOST_PAST = 12, 200
_LONGEST_REASON = 1_000
_FRAMED = 2_000
"""How many characters a message may have to be shown as HTML: it is part of the address of the frame."""

_CHECKS: Mapping[str, Callable[[str], object]] = {
    "topic": lambda text: require_line(text, ""),
    "description": lambda text: require_prose(text, "", longest=occurrences.LONGEST_DESCRIPTION),
    "link": lambda text: require_url(text, "") if text else "",
}
_DONE = {
    "saved": "Saved. Nobody has been told: members see it on the website and in the next email.",
    "moved": "The meeting has been moved. Nobody has been told yet.",
    "cancelled": "The meeting has been cancelled. Nobody has been told yet.",
    "restored": "The meeting takes place again. Nobody has been told yet.",
    "added": "The meeting has been added.",
}


async def meetings(request: Request) -> Response:
    """Show the coming meetings; with `?past=1`, those that are over; with `?series=`, only those of one series."""
    site, now = site_of(request), site_of(request).clock.now()
    past, only = "past" in request.query_params, request.query_params.get("series", "")
    shown = [series for series in site.series if only in ("", series.slug)] or site.series
    earlier, undated = False, set[str]()
    if past:
        most = _MOST_PAST if "all" in request.query_params else _LATEST_PAST
        found, undated = await all_stored_past(site.database, now=now, most=most + 1)
        earlier = len(found) > most and most == _LATEST_PAST
        found = found[:most]
    else:
        found = sorted(
            [
                meeting
                for series in shown
                for meeting in await coming_meetings(
                    site.database, series, now=now, until=now + _AHEAD, most=_MOST
                )
            ],
            key=lambda meeting: (meeting.starts, meeting.key),
        )
    return render_console(
        request,
        "console/meetings.html",
        active="meetings",
        meetings=[
            (
                meeting,
                _home(request, meeting),
                site.by_slug[meeting.series].title,
                format_month(meeting.home_date) if meeting.key in undated else "",
            )
            for meeting in found
            if meeting.series in {series.slug for series in shown}
        ],
        past=past,
        earlier=earlier,
        several=len(site.series) > 1,
        series_options=[(series.slug, series.title) for series in site.series],
        only=only if len(shown) == 1 else "",
        removed="removed" in request.query_params,
    )


async def meeting(request: Request) -> Response:
    """Show a meeting; POST saves its details and record, restores it, or removes one that was added by mistake."""
    site, file = site_of(request), await _file(request)
    occurrence = file.occurrence
    typed = {name: getattr(occurrence, name) for name in _CHECKS}
    record = form_of(file.record)
    complaints: dict[str, str] = {}
    revision, record_revision = str(occurrence.revision), str(file.record.revision)
    if request.method == "POST":
        sent = await fields(request)
        act, revision = (last(sent, name) for name in ("act", "revision"))
        try:
            if act == "remove":
                await occurrences.remove_extra(
                    site.database,
                    site.by_slug,
                    occurrence.key,
                    now=site.clock.now(),
                    revision=revision_of(revision),
                    by=actor_of(request),
                )
                return see_other("/convenor/meetings?removed=1")
            if act == "restore":
                await _amend(request, occurrence, Change(restore=True), revision)
                return _redirect(occurrence, "restored")
            typed = {name: last(sent, name).strip() for name in _CHECKS}
            complaints = _complaints(typed)
            if "record_revision" in sent:
                record_revision = last(sent, "record_revision")
                record = read_form(sent, file.record)
                complaints |= record.complaints
            if not complaints:
                change = Change(**typed, **record.change)
                await _amend(request, occurrence, change, revision, record_revision=record_revision)
                return _redirect(occurrence, "saved")
        except Refused as refusal:
            complaints["topic"] = f"You need to check this: {refusal.message}."
    series = site.by_slug[occurrence.series]
    return render_console(
        request,
        "console/meeting.html",
        active="meetings",
        status=422 if complaints else 200,
        file=file,
        meeting=occurrence,
        title=series.title,
        home=_home(request, occurrence),
        month=format_month(occurrence.home_date) if file.record.month_only else "",
        own=_own(request, occurrence),
        usual_room=series.link,
        is_over=occurrence.ends <= site.clock.now(),
        follow_up=await follow_ups.notice_of(site.database, occurrence.key),
        typed=typed,
        record=record.with_blank_rows(),
        kinds=KINDS,
        themes=[
            (used.item.slug, used.item.name) for used in await meeting_records.list_themes(site.database)
        ],
        longest_description=occurrences.LONGEST_DESCRIPTION,
        # A form that was refused keeps the state that it was made from, so that pressing again overwrites nothing.
        revision=revision,
        record_revision=record_revision,
        is_stale=(revision, record_revision) != (str(occurrence.revision), str(file.record.revision)),
        complaints=complaints,
        done=_DONE.get(request.query_params.get("done", ""), ""),
        hours=await _hours(request, occurrence, occurrence),
        country_words=_country_words,
    )


async def move(request: Request) -> Response:
    """Move a meeting: first show what the new time means for members, then move it."""
    site, file = site_of(request), await _file(request)
    occurrence, series = file.occurrence, site.by_slug[file.occurrence.series]
    wall = occurrence.starts.astimezone(ZoneInfo(series.zone))
    typed = {"date": wall.date().isoformat(), "time": f"{wall:%H:%M}"}
    complaints: dict[str, str] = {}
    moved: Occurrence | None = None
    if request.method == "POST":
        sent = await fields(request)
        typed = {name: last(sent, name).strip() for name in typed}
        revision = last(sent, "revision")
        new_wall, complaints = _wall(typed, series)
        if new_wall and not complaints:
            change = Change(move_to=new_wall)
            try:
                amended = await occurrences.preview(
                    site.database, site.by_slug, occurrence.key, change, now=site.clock.now()
                )
                if not amended.changed:
                    complaints["time"] = "You need to choose another time: this is the time it has now."
                elif last(sent, "act") == "move" and last(sent, "shown") == _shown(typed):
                    await _amend(request, occurrence, change, revision)
                    return _redirect(occurrence, "moved")
                moved = amended.after
            except Refused as refusal:
                complaints["date"] = f"You need to choose another time: {refusal.message}."
    return render_console(
        request,
        "console/move_meeting.html",
        active="meetings",
        status=422 if complaints else 200,
        meeting=occurrence,
        title=series.title,
        home=_home(request, occurrence),
        new=_home(request, moved) if moved else None,
        shown=_shown(typed),
        city=city(series.zone),
        typed=typed,
        complaints=complaints,
        hours=await _hours(request, occurrence, moved) if moved and not complaints else None,
        country_words=_country_words,
    )


async def cancel(request: Request) -> Response:
    """Cancel a meeting: GET asks; the page on which members are told begins with the reason."""
    site, file = site_of(request), await _file(request)
    occurrence = file.occurrence
    reason, complaints = "", dict[str, str]()
    if request.method == "POST":
        sent = await fields(request)
        reason = last(sent, "reason").strip()
        try:
            if len(reason) > _LONGEST_REASON:
                raise Refused(f"the reason has more than {_LONGEST_REASON} characters")
            require_prose(reason, "")
            revision = last(sent, "revision")
            await _amend(request, occurrence, Change(cancel=True), revision, reason=reason)
            return see_other(f"{_path(occurrence)}/tell?done=cancelled")
        except Refused as refusal:
            complaints["reason"] = f"You need to check this: {refusal.message}."
    return render_console(
        request,
        "console/cancel_meeting.html",
        active="meetings",
        status=422 if complaints else 200,
        meeting=occurrence,
        title=site.by_slug[occurrence.series].title,
        home=_home(request, occurrence),
        reason=reason,
        complaints=complaints,
    )


async def tell(request: Request) -> Response:
    """Tell members the present state of a meeting: GET and `act=preview` show how many it would go to, and the mail."""
    site, file = site_of(request), await _file(request)
    occurrence = file.occurrence
    message, sent = file.reason, dict[str, list[str]]()
    complaints: dict[str, str] = {}
    if request.method == "POST":
        sent = await fields(request)
        message, number, revision = (last(sent, name).strip() for name in ("message", "number", "revision"))
        try:
            if message:
                occurrences.require_message(message)
            if last(sent, "act") != "preview":
                published = await occurrences.tell_again(
                    site.database,
                    site.by_slug,
                    occurrence.key,
                    now=site.clock.now(),
                    words=message,
                    hold=site.hold,
                    recipients=number_of(number) or 0,
                    revision=revision_of(revision),
                    by=actor_of(request),
                )
                return see_other(f"/convenor/notices/{published.notice}")
        except Refused as refusal:
            reason = refusal.message.removeprefix(f"{occurrence.key}: ")
            complaints["message"] = f"You need to check this: {reason}."
            file = await _file(request)
    return render_console(
        request,
        "console/tell_meeting.html",
        active="meetings",
        status=422 if complaints else 200,
        file=file,
        meeting=occurrence,
        title=site.by_slug[occurrence.series].title,
        home=_home(request, occurrence),
        message=message,
        hold_minutes=site.hold_minutes,
        complaints=complaints,
        done=_DONE.get(request.query_params.get("done", ""), ""),
        **await _preview(request, file, message, sent),
    )


async def mail(request: Request) -> Response:
    """Return the HTML of what members would be told, as one of them (`?for=`) would get it, for a frame."""
    site, query = site_of(request), request.query_params
    # Another site could otherwise make us show its words as ours.
    if not is_same_origin(request, site.community.base_url):
        raise HTTPException(403)
    file = await _file(request)
    if file.pending is None:
        raise HTTPException(404)
    member = await previews.chosen_member(request, query.get("for", ""))
    try:
        return framed((await _compose(request, file.pending, query.get("message", ""), member)).html)
    except Problem:
        raise HTTPException(404) from None


async def _preview(
    request: Request, file: MeetingFile, message: str, sent: Mapping[str, Sequence[str]]
) -> dict[str, object]:
    """Return for a template how the mail looks for the member that the form names, and whom else to choose."""
    occurrence = file.occurrence
    member = await previews.chosen_member(request, last(sent, "for"))
    shown, problem, suggested = None, file.nothing_to_tell, []
    if file.pending:
        try:
            shown = await _compose(request, file.pending, message, member)
            suggested = await preview.suggested_recipients(
                site_of(request).database,
                file.pending.audience,
                kind=Kind.CANCELLATION if occurrence.cancelled else Kind.UPDATE,
                home=occurrence.zone,
                at=occurrence.starts,
            )
        except Problem as error:
            problem = error.message
    # Punctuation at the end of an address is cut off, so the message does not come last.
    query = {"message": message, "for": member.id}
    return {
        "frame_url": f"{_path(occurrence)}/mail?{urlencode(query)}" if len(message) <= _FRAMED else "",
        **await previews.for_template(
            request,
            shown,
            member,
            problem=problem,
            suggested=suggested,
            at=occurrence.starts,
            sought=last(sent, "q"),
        ),
    }


async def _compose(request: Request, pending: UnannouncedChange, message: str, member: Member) -> Preview:
    site = site_of(request)
    return await preview.preview_change(
        site.database,
        site.message_writer,
        member,
        pending,
        words=message,
        now=site.clock.now(),
    )


async def add(request: Request) -> Response:
    """Add a meeting outside the rule: first show how many would be invited at once, then add it."""
    site, now = site_of(request), site_of(request).clock.now()
    typed = {"series": site.series[0].slug, "date": "", "time": "", "invite": "yes"}
    complaints: dict[str, str] = {}
    extra = None
    if request.method == "POST":
        sent = await fields(request)
        typed = {name: last(sent, name).strip() for name in typed}
        if "shown" not in sent:
            # The box is only on the page that shows what a time means.
            typed["invite"] = "yes"
        series = site.by_slug.get(typed["series"], site.series[0])
        wall, complaints = _wall(typed, series)
        if wall and not complaints:
            try:
                extra = await occurrences.foresee_extra(site.database, series, site.policies, wall, now=now)
                if last(sent, "act") == "add" and last(sent, "shown") == _shown(typed):
                    added = await occurrences.add_extra(
                        site.database,
                        series,
                        wall,
                        now=now,
                        policies=site.policies,
                        invite=typed["invite"] == "yes",
                        recipients=number_of(last(sent, "number")) or 0,
                        by=actor_of(request),
                    )
                    return _redirect(added, "added")
            except Refused as refusal:
                complaints["date"] = f"You need to choose another time: {refusal.message}."
    chosen = site.by_slug.get(typed["series"], site.series[0])
    return render_console(
        request,
        "console/add_meeting.html",
        active="meetings",
        status=422 if complaints else 200,
        typed=typed,
        series=site.series,
        city=city(chosen.zone),
        extra=extra if not complaints else None,
        shown=_shown(typed),
        home=_home(request, extra.occurrence) if extra else None,
        complaints=complaints,
    )


def _shown(typed: Mapping[str, str]) -> str:
    """Return for which day and time a page shows what they mean. If the fields were changed since, it is shown again
    before anything is done."""
    return " ".join(value for name, value in typed.items() if name != "invite")


async def answers(request: Request) -> Response:
    """Show who answered what, by name and country."""
    site, file = site_of(request), await _file(request)
    people = await occurrences.people_who_answered(site.database, file.occurrence.key)
    return render_console(
        request,
        "console/answers.html",
        active="meetings",
        meeting=file.occurrence,
        title=site.by_slug[file.occurrence.series].title,
        home=_home(request, file.occurrence),
        groups=[
            (
                answer,
                [
                    (name, address, country_name(country))
                    for given, name, address, country in people
                    if given == answer
                ],
            )
            for answer in ANSWERS
        ],
    )


async def answers_file(request: Request) -> Response:
    """Return who answered what as a CSV file that is safe to open in a spreadsheet."""
    site, file = site_of(request), await _file(request)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("answer", "name", "email", "country"))
    for row in await occurrences.people_who_answered(site.database, file.occurrence.key):
        writer.writerow(map(guard_cell, row))
    name = file.occurrence.key.replace("/", "-")
    return Response(
        text.getvalue().encode("utf-8-sig"),
        media_type="text/csv; charset=utf-8",
        headers={**PRIVATE, "Content-Disposition": f'attachment; filename="answers-{name}.csv"'},
    )


async def _file(request: Request) -> MeetingFile:
    site = site_of(request)
    key = f"{request.path_params['series']}/{request.path_params['date']}"
    file = await occurrences.read_file(site.database, site.by_slug, key, now=site.clock.now())
    if file is None:
        raise HTTPException(404)
    return file


async def _amend(
    request: Request,
    occurrence: Occurrence,
    change: Change,
    revision: str,
    *,
    record_revision: str | None = None,
    reason: str = "",
) -> None:
    site = site_of(request)
    await occurrences.amend(
        site.database,
        site.by_slug,
        occurrence.key,
        change,
        now=site.clock.now(),
        revision=revision_of(revision),
        record_revision=None if record_revision is None else revision_of(record_revision),
        reason=reason,
        by=actor_of(request),
    )


def _complaints(typed: dict[str, str]) -> dict[str, str]:
    complaints = {}
    for name, check in _CHECKS.items():
        try:
            check(typed[name])
        except Refused as refusal:
            complaints[name] = f"You need to change this: {refusal.message.removeprefix(':').strip()}"
    return complaints


def _wall(typed: dict[str, str], series: Series) -> tuple[datetime | None, dict[str, str]]:
    """Return the wall time that a form's date and time are, or what is wrong with them."""
    complaints: dict[str, str] = {}
    day, clock = _parsed(date.fromisoformat, typed["date"]), _parsed(time.fromisoformat, typed["time"])
    if day is None or day.year > LAST_YEAR:
        complaints["date"] = "You need to enter a day."
    if clock is None:
        complaints["time"] = "You need to enter a time, such as 18:00."
    if day is None or clock is None or complaints:
        return None, complaints
    wall = datetime.combine(day, clock.replace(second=0, microsecond=0, tzinfo=None))
    if in_gap(wall, series.zone):
        complaints["time"] = f"You need to choose another time: the clocks of {city(series.zone)} skip it."
        return None, complaints
    return wall, complaints


def _parsed(parse: Callable[[str], T], text: str) -> T | None:
    try:
        return parse(text)
    except ValueError:
        return None


async def _hours(request: Request, before: Occurrence, after: Occurrence) -> MeetingHours:
    """Return what the hour of a meeting means for members."""
    site, series = site_of(request), site_of(request).by_slug[after.series]
    count = partial(count_places, site.database, series, by_choice=slugs_by_choice(site.series))
    places = await request.app.state.places[series.slug].get(site.clock.now(), count)
    return await what_hours_mean(places, series, before, after)


def _country_words(code: str) -> str:
    return country_name(code) if code else "Country not known"


def _home(request: Request, meeting: Occurrence) -> LocalTime:
    """Return the time of a meeting in its home zone."""
    return _time(request, meeting, meeting.zone)


def _own(request: Request, meeting: Occurrence) -> LocalTime:
    """Return the time of a meeting in the zone of whoever is signed in."""
    return _time(request, meeting, session_of(request).member.zone)


def _time(request: Request, meeting: Occurrence, zone: str) -> LocalTime:
    site, member = site_of(request), session_of(request).member
    series = site.by_slug[meeting.series]
    return local_time(meeting, series, zone=known_zone(zone, series.zone), cycle=hour_cycle(member.locale))


def _path(meeting: Occurrence) -> str:
    return f"/convenor/meetings/{meeting.key}"


def _redirect(meeting: Occurrence, done: str) -> Response:
    return see_other(f"{_path(meeting)}?done={done}")
