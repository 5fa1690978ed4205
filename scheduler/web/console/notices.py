"""The pages of ad-hoc notices: write, look at, test and send one, watch it, and stop it."""

from datetime import date, datetime, time, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.errors import Refused
from scheduler.domain.locale import countries, hour_cycle
from scheduler.domain.localtime import describe_instant, format_clock, format_day, local_time
from scheduler.domain.occurrence import Occurrence, in_gap, instant, slugs_by_choice
from scheduler.domain.zone import city, known_zone
from scheduler.service import drafts, notices
from scheduler.service.drafts import Words
from scheduler.service.notices import NoticeProgress
from scheduler.service.schedule import coming_meetings, stored_past
from scheduler.store.drafts import Draft
from scheduler.web.access import actor_of, render_console, session_of
from scheduler.web.forms import fields, last, number_of
from scheduler.web.site import see_other, site_of

_LATEST = 30
_AHEAD = timedelta(days=100)
_TEMPLATES = {
    "soon": (
        "We meet soon",
        """Hello,

our next conversation is soon, and we would love to see you there.

You will find the time where you live, and the link to join, in our invitation.""",
    ),
    "recording": (
        "The recording is here",
        """Hello,

thank you to everybody who came. If you could not join us, here is what you missed:

- [Recording](https://)
- [Notes](https://)""",
    ),
    "news": (
        "Some news from us",
        """Hello,

there is something we would like to tell you.

## What is new

## What you can do""",
    ),
}
_DONE = {
    "saved": "Saved. Nobody has been sent anything.",
    "tested": "The test is on its way to you.",
    "stopped": "It has been stopped. Emails that had not left yet will not be sent.",
    "resent": "It is being sent to those who missed it.",
}
_CAUSES = {
    "address": "the address does not exist",
    "mailbox": "the mailbox is full or closed",
    "policy": "their mail system does not accept our emails",
    "refused": "their mail system refused it",
    "unsent": "it could not be made or sent",
}


async def listing(request: Request) -> Response:
    """Show the drafts and the latest notices."""
    site = site_of(request)
    latest = await notices.latest_notices(site.database, most=_LATEST)
    return render_console(
        request,
        "console/notices.html",
        active="notices",
        drafts=await drafts.unsent_drafts(site.database),
        notices=[
            (notice, _about(notice.kind, notice.subject), sum(states.values()), states.get("sent", 0))
            for notice, states in latest
        ],
        templates=[(name, subject) for name, (subject, _) in _TEMPLATES.items()],
        removed="removed" in request.query_params,
    )


def _about(kind: str, subject: str) -> str:
    return subject or kind[:1].upper() + kind[1:].replace("-", " ")


async def write(request: Request) -> Response:
    """Write a new notice, from a template (`?template=`) or from one that was sent (`?from=`); POST saves it."""
    site = site_of(request)
    subject, body = _TEMPLATES.get(request.query_params.get("template", ""), ("", ""))
    audience = "all"
    if earlier := number_of(request.query_params.get("from", "")):
        found = await notices.progress(site.database, earlier, by_choice=slugs_by_choice(site.series))
        if found and found.notice.kind == "notice":
            subject, body, audience = found.notice.subject, found.notice.body, found.notice.audience
    typed = {"subject": subject, "body": body, "who": audience, "except": "", **_NO_TIME}
    if request.method == "POST":
        typed = _typed(await fields(request))
        words, complaints = _words(request, typed)
        if words:
            number = await drafts.add_draft(site.database, words, by=actor_of(request), now=site.clock.now())
            return _redirect(f"/convenor/drafts/{number}", "saved")
        return await _form(request, typed, complaints)
    return await _form(request, typed, {})


async def draft(request: Request) -> Response:
    """Show a draft as it will look and to how many it goes; POST tests, sends or deletes it."""
    site, found = site_of(request), await _draft(request)
    if found.notice is not None:
        return see_other(f"/convenor/notices/{found.notice}")
    now, complaints = site.clock.now(), dict[str, str]()
    if request.method == "POST":
        sent = await fields(request)
        act, number, revision = (last(sent, name) for name in ("act", "number", "revision"))
        by = actor_of(request)
        try:
            if revision != str(found.revision):
                raise Refused("somebody else changed it meanwhile; read it again")
            if act == "delete":
                await drafts.remove_draft(site.database, found.id, revision=found.revision)
                return see_other("/convenor/notices?removed=1")
            if act == "test":
                await drafts.send_test(site.database, found, session_of(request).member, by=by, now=now)
                return _redirect(f"/convenor/drafts/{found.id}", "tested")
            if act == "send":
                looked = await drafts.review(site.database, found, all_series=site.by_slug, now=now)
                if looked.same_words_at and last(sent, "again") != "yes":
                    complaints["again"] = "You need to tick the box: the same words were sent today."
                else:
                    published = await drafts.send_draft(
                        site.database,
                        found,
                        recipients=number_of(number) or 0,
                        hold=site.hold,
                        all_series=site.by_slug,
                        by=by,
                        now=now,
                    )
                    return see_other(f"/convenor/notices/{published.notice}")
        except Refused as refusal:
            complaints["send"] = f"You need to check this: {refusal.message}."
    looked = await drafts.review(site.database, found, all_series=site.by_slug, now=now)
    return render_console(
        request,
        "console/draft.html",
        active="notices",
        status=422 if complaints else 200,
        draft=found,
        review=looked,
        when=_when(request, found),
        hold_minutes=int(site.hold.total_seconds() // 60),
        complaints=complaints,
        done=_DONE.get(request.query_params.get("done", ""), ""),
    )


async def edit(request: Request) -> Response:
    """Change a draft."""
    site, found = site_of(request), await _draft(request)
    if found.notice is not None:
        return see_other(f"/convenor/notices/{found.notice}")
    if request.method == "POST":
        sent = await fields(request)
        typed = _typed(sent)
        words, complaints = _words(request, typed)
        if words:
            revision = number_of(last(sent, "revision"))
            try:
                await drafts.save_draft(
                    site.database,
                    found.id,
                    words,
                    revision=-1 if revision is None else revision,
                    now=site.clock.now(),
                )
                return _redirect(f"/convenor/drafts/{found.id}", "saved")
            except Refused as refusal:
                complaints["subject"] = f"You need to check this: {refusal.message}."
        return await _form(request, typed, complaints, found, revision=last(sent, "revision"))
    who, _, exception = found.audience.partition(",except:")
    typed = {"subject": found.subject, "body": found.body, "who": who, "except": exception, **_NO_TIME}
    moment = drafts.read_instant(found.at)
    if isinstance(moment, datetime):
        local = moment.astimezone(ZoneInfo(_zone(request)))
        typed |= {"when": "instant", "date": f"{local:%Y-%m-%d}", "time": f"{local:%H:%M}"}
    elif moment:
        typed |= {"when": "local", "date": moment[6:16], "time": moment[17:22]}
    return await _form(request, typed, {}, found)


async def notice(request: Request) -> Response:
    """Show how far a notice is; POST stops it, or sends it to those who missed it."""
    site, number = site_of(request), number_of(request.path_params["number"])
    by_choice = slugs_by_choice(site.series)
    found = await notices.progress(site.database, number, by_choice=by_choice) if number is not None else None
    if found is None:
        raise HTTPException(404)
    now, complaints = site.clock.now(), dict[str, str]()
    if request.method == "POST":
        sent = await fields(request)
        act = last(sent, "act")
        try:
            if act == "stop":
                await notices.stop(site.database, found.notice.id, now, by=actor_of(request))
                return _redirect(f"/convenor/notices/{found.notice.id}", "stopped")
            if act == "resend":
                await notices.resend_missed(
                    site.database,
                    found.notice.id,
                    now,
                    by_choice=by_choice,
                    recipients=number_of(last(sent, "number")) or 0,
                    by=actor_of(request),
                )
                return _redirect(f"/convenor/notices/{found.notice.id}", "resent")
        except Refused as refusal:
            complaints["act"] = f"You need to check this: {refusal.message}."
    return render_console(
        request,
        "console/notice.html",
        active="notices",
        status=422 if complaints else 200,
        progress=found,
        notice=found.notice,
        title=_about(found.notice.kind, found.notice.subject),
        phase=_phase(found, now),
        causes=[(_CAUSES[cause], count) for cause, count in sorted(found.failures.items())],
        complaints=complaints,
        done=_DONE.get(request.query_params.get("done", ""), ""),
    )


def _phase(found: NoticeProgress, now: datetime) -> str:
    """Return in which phase a notice is: stopped, preparing, waiting, sending or finished."""
    if found.notice.stopped_at:
        return "stopped"
    if not found.notice.ready:
        return "preparing"
    if found.is_finished:
        return "finished"
    return "waiting" if found.first_due and now < found.first_due else "sending"


_NO_TIME = {"when": "now", "date": "", "time": ""}


def _typed(sent: dict[str, list[str]]) -> dict[str, str]:
    names = ("subject", "body", "who", "except", "when", "date", "time")
    return {name: last(sent, name).replace("\r\n", "\n").strip() for name in names}


def _words(request: Request, typed: dict[str, str]) -> tuple[Words | None, dict[str, str]]:
    """Return what a form says, or what is wrong with it."""
    complaints: dict[str, str] = {}
    if not typed["subject"]:
        complaints["subject"] = "You need to enter a subject."
    if not typed["body"]:
        complaints["body"] = "You need to write something."
    if not typed["who"]:
        complaints["who"] = "You need to choose who gets it."
    at = ""
    if typed["when"] in ("instant", "local"):
        try:
            wall = datetime.combine(date.fromisoformat(typed["date"]), time.fromisoformat(typed["time"]))
            at = f"local:{wall:%Y-%m-%dT%H:%M}"
            if typed["when"] == "instant":
                if in_gap(wall, _zone(request)):
                    raise ValueError
                at = instant(wall, _zone(request)).isoformat()
        except ValueError:
            complaints["date"] = "You need to enter a day and a time that exists."
    if complaints:
        return None, complaints
    audience = typed["who"] + (f",except:{typed['except']}" if typed["except"] else "")
    for name, words in (
        ("subject", {"subject": typed["subject"], "body": "x"}),
        ("body", {"subject": "x", "body": typed["body"]}),
    ):
        try:
            Words(audience=audience, **words)
        except Refused as refusal:
            complaints[name] = f"You need to change this: {refusal.message}."
    try:
        return Words(subject=typed["subject"], body=typed["body"], audience=audience, at=at), complaints
    except Refused as refusal:
        complaints.setdefault("date", f"You need to check this: {refusal.message}.")
        return None, complaints


async def _form(
    request: Request,
    typed: dict[str, str],
    complaints: dict[str, str],
    found: Draft | None = None,
    *,
    revision: str = "",
) -> Response:
    """Return the form for a notice.

    After a refusal it keeps the `revision` that it was made from, so that pressing again overwrites nothing.
    """
    groups = await _audiences(request)
    known = {value for _, options in groups for value, _ in options}
    return render_console(
        request,
        "console/notice_form.html",
        active="notices",
        status=422 if complaints else 200,
        draft=found,
        revision=revision or (found.revision if found else ""),
        typed=typed,
        groups=groups,
        others=[value for value in (typed["who"], typed["except"]) if value and value not in known],
        clock=f"{city(_zone(request))} time",
        hold_minutes=int(site_of(request).hold.total_seconds() // 60),
        complaints=complaints,
    )


async def _audiences(request: Request) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the audiences to choose from by group, each with the command line's term and words."""
    site, now = site_of(request), site_of(request).clock.now()
    several = len(site.series) > 1
    groups = [("Everybody", [("all", "All members"), ("convenors", "Convenors only")])]
    if several:
        groups.append(
            (
                "Followers",
                [(f"series:{series.slug}", f"Those who follow {series.title}") for series in site.series],
            )
        )
    meetings = [
        meeting
        for series in site.series
        for meeting in await coming_meetings(site.database, series, now=now, until=now + _AHEAD, most=2)
    ]
    past = await stored_past(site.database, now=now, most=2)
    for meeting in (*meetings, *(meeting for meeting in past if meeting.series in site.by_slug)):
        name = _name(request, meeting, several=several)
        groups.append(
            (
                name,
                [
                    (f"coming:{meeting.key}", f"Those who are coming, {name}"),
                    (f"answered:{meeting.key}", f"Those who answered, {name}"),
                    (f"declined:{meeting.key}", f"Those who declined, {name}"),
                    (f"unanswered:{meeting.key}", f"Those who have not answered, {name}"),
                ],
            )
        )
    groups.append(("Country", [(f"country:{code}", name) for code, name in countries()]))
    return groups


def _name(request: Request, meeting: Occurrence, *, several: bool) -> str:
    series = site_of(request).by_slug[meeting.series]
    day = local_time(meeting, series, zone=meeting.zone).date
    return f"{series.title}, {day}" if several else day


def _when(request: Request, found: Draft) -> str:
    """Return in words when a draft is to be sent, and by whose clock; empty for as soon as it is sent."""
    moment = drafts.read_instant(found.at)
    cycle = hour_cycle(session_of(request).member.locale)
    if isinstance(moment, datetime):
        return describe_instant(moment, zone=_zone(request), cycle=cycle)
    if moment:
        wall = datetime.fromisoformat(moment.removeprefix("local:"))
        return f"{format_day(wall.date())}, {format_clock(wall, cycle)} by each member's own clock"
    return ""


def _zone(request: Request) -> str:
    return known_zone(session_of(request).member.zone, site_of(request).series[0].zone)


async def _draft(request: Request) -> Draft:
    number = number_of(request.path_params["number"])
    found = await drafts.find_draft(site_of(request).database, number) if number is not None else None
    if found is None:
        raise HTTPException(404)
    return found


def _redirect(path: str, done: str) -> Response:
    return see_other(f"{path}?{urlencode({'done': done})}")
