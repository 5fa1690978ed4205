"""The pages of drafts: write a notice, see it as any member would get it, test it, and send it."""

from collections.abc import Sequence
from datetime import date, datetime, time
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.audience import join_audience, split_audience
from scheduler.domain.errors import Problem, Refused
from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import describe_instant, format_clock, format_day, local_time
from scheduler.domain.occurrence import in_gap, instant, slugs_by_choice
from scheduler.domain.placeholder import PLACEHOLDERS
from scheduler.domain.policy import Kind
from scheduler.domain.zone import city, known_zone
from scheduler.service import convenors, drafts, notices, preview
from scheduler.service.audience_words import audience_words
from scheduler.service.drafts import Review, Words
from scheduler.store.drafts import Draft
from scheduler.store.members import Member
from scheduler.web.access import actor_of, render_console, session_of
from scheduler.web.console import previews
from scheduler.web.console.audiences import audiences, likely_meetings
from scheduler.web.forms import LARGEST_WORDS, fields, fields_and_file, last, number_of, revision_of
from scheduler.web.mail_frame import framed
from scheduler.web.site import see_other, site_of

TEMPLATES = {
    "soon": (
        "We meet on {day}",
        """Dear {name},

our next conversation is on **{when}**, and we would love to see you there.

- [Join the meeting]({join_link})
- [Tell us whether you can come]({answer_link})""",
    ),
    "recording": (
        "The recording is here",
        """Dear {name},

thank you to everybody who came. If you could not join us, here is what you missed:

- [Recording](https://)
- [Notes](https://)""",
    ),
    "news": (
        "Some news from us",
        """Dear {name},

there is something we would like to tell you.

## What is new

## What you can do""",
    ),
}
"""Subjects and texts to begin from, by name."""

_DONE = {
    "saved": "Saved. Nobody has been sent anything.",
    "tested": "The test is on its way to {}.",
}
_EMPTY = {
    "subject": "",
    "body": "",
    "who": "all",
    "except": "",
    "meeting": "",
    "when": "now",
    "date": "",
    "time": "",
}


async def write(request: Request) -> Response:
    """Write a new notice, from a template (`?template=`) or from one that was sent (`?from=`); POST saves it."""
    site = site_of(request)
    typed = dict(_EMPTY)
    typed["subject"], typed["body"] = TEMPLATES.get(request.query_params.get("template", ""), ("", ""))
    if earlier := number_of(request.query_params.get("from", "")):
        found = await notices.progress(site.database, earlier, by_choice=slugs_by_choice(site.series))
        if found and found.notice.kind == "notice":
            typed |= {"subject": found.notice.subject, "body": found.notice.body}
            if not found.is_test:
                # A notice does not keep who was on a list.
                terms = [term for term in found.notice.audience.split(",") if "list:" not in term]
                typed |= _as_chosen(",".join(terms))
    if request.method == "POST":
        sent = await fields(request)
        # The draft may have been saved meanwhile, while it was written.
        if begun := await _find(request, last(sent, "draft")):
            return await _save(request, begun, sent)
        typed = _typed(sent)
        if act := last(sent, "act"):
            return await _choose(request, act, typed, None)
        words, complaints = _words(request, typed)
        if words:
            number = await drafts.add_draft(site.database, words, by=actor_of(request), now=site.clock.now())
            return _redirect(f"/convenor/drafts/{number}", done="saved")
        return await _form(request, typed, complaints)
    return await _form(request, typed, {})


async def edit(request: Request) -> Response:
    """Change a draft."""
    found = await _draft(request)
    if found.notice is not None:
        return see_other(f"/convenor/notices/{found.notice}")
    if request.method == "POST":
        return await _save(request, found, await fields(request))
    return await _form(request, _as_typed(request, found), {}, found)


async def _save(request: Request, found: Draft, sent: dict[str, list[str]]) -> Response:
    site = site_of(request)
    typed = _typed(sent)
    if act := last(sent, "act"):
        return await _choose(request, act, typed, found, revision=last(sent, "revision"))
    words, complaints = _words(request, typed)
    if words:
        try:
            await drafts.save_draft(
                site.database,
                found.id,
                words,
                revision=revision_of(last(sent, "revision")),
                now=site.clock.now(),
            )
            return _redirect(f"/convenor/drafts/{found.id}", done="saved")
        except Refused as refusal:
            complaints["subject"] = f"You need to check this: {refusal.message}."
    return await _form(request, typed, complaints, found, revision=last(sent, "revision"))


async def autosave(request: Request) -> Response:
    """Save what is being written, complete or not, and say when; the part replaces itself in the form."""
    site, sent = site_of(request), await fields(request)
    now, typed = site.clock.now(), _typed(sent)
    found, problem = await _find(request, last(sent, "draft")), ""
    number, revision = found.id if found else None, revision_of(last(sent, "revision"))
    try:
        number, revision = await _keep(request, typed, found, revision=revision)
    except Refused as refusal:
        problem = refusal.message
    cycle, zone = hour_cycle(session_of(request).member.locale), _zone(request)
    return render_console(
        request,
        "console/_saved.html",
        number=number,
        revision=revision,
        problem=problem,
        time=format_clock(now.astimezone(ZoneInfo(zone)), cycle),
        clock=f"your time, {city(zone)}",
    )


async def _keep(
    request: Request, typed: dict[str, str], found: Draft | None, *, revision: int
) -> tuple[int, int]:
    """Save what is being written, complete or not; return the number of the draft and its revision."""
    site = site_of(request)
    at, _ = _at(request, typed)
    words = Words(
        subject=typed["subject"],
        body=typed["body"],
        audience=_audience(typed),
        # A day or a time that is half entered leaves the one that was saved.
        at=found.at if at is None and found else at or "",
        meeting=typed["meeting"],
    )
    if found is None:
        return await drafts.add_draft(site.database, words, by=actor_of(request), now=site.clock.now()), 0
    return found.id, await drafts.save_draft(
        site.database, found.id, words, revision=revision, now=site.clock.now()
    )


async def _choose(
    request: Request, act: str, typed: dict[str, str], found: Draft | None, *, revision: str = ""
) -> Response:
    """Show the form with another menu for who gets it or who does not, or go to the page of a list of addresses."""
    if act == "list":
        try:
            number, _ = await _keep(request, typed, found, revision=revision_of(revision))
            return see_other(f"/convenor/drafts/{number}/list")
        except Refused as refusal:
            complaints = {"subject": f"You need to check this: {refusal.message}."}
            return await _form(request, typed, complaints, found, revision=revision)
    return await _form(request, typed, {}, found, revision=revision, more=True)


async def address_list(request: Request) -> Response:
    """Choose members by a list of addresses, pasted or from a file, as who gets a draft or who does not."""
    site, found = site_of(request), await _draft(request)
    if found.notice is not None:
        return see_other(f"/convenor/notices/{found.notice}")
    known = await drafts.listed_members(site.database, found.audience)
    _, left_out = split_audience(found.audience)
    typed = {
        "addresses": "\n".join(member.address for member in known),
        "for": "except" if any(map(drafts.is_list, left_out)) else "who",
    }
    complaints, listed = dict[str, str](), None
    if request.method == "POST":
        sent, file = await fields_and_file(request, "file")
        typed = {"addresses": last(sent, "addresses"), "for": last(sent, "for")}
        try:
            addresses = await drafts.read_addresses(typed["addresses"], file[1] if file else b"")
            typed["addresses"] = "\n".join(addresses)
            listed = await drafts.find_listed(site.database, addresses)
            # Addresses that are nobody's are shown first; what a file has, too.
            if last(sent, "act") == "use" or not listed.unknown:
                await drafts.use_list(
                    site.database,
                    found,
                    listed,
                    leaves_out=typed["for"] == "except",
                    revision=revision_of(last(sent, "revision")),
                    now=site.clock.now(),
                )
                return see_other(f"/convenor/drafts/{found.id}/edit#audience")
        except Refused as refusal:
            complaints["addresses"] = f"You need to check this: {refusal.message}."
    return render_console(
        request,
        "console/draft_list.html",
        active="notices",
        status=422 if complaints else 200,
        draft=found,
        typed=typed,
        listed=listed if not complaints else None,
        megabytes=LARGEST_WORDS // (1024 * 1024),
        complaints=complaints,
    )


async def count(request: Request) -> Response:
    """Say how many members are in the audience that is chosen."""
    site = site_of(request)
    sent = await fields(request)
    audience = _audience({name: _chosen(sent.get(name, ())) for name in ("who", "except")})
    number, problem = 0, ""
    try:
        number = await drafts.count_recipients(
            site.database, audience, all_series=site.by_slug, now=site.clock.now()
        )
    except Refused as refusal:
        problem = refusal.message
    return render_console(request, "console/_count.html", number=number, problem=problem)


async def draft(request: Request) -> Response:
    """Show a draft as a member would get it (`?for=`) and to how many it goes; POST tests, sends or deletes it."""
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
                tester = await _tester(request, last(sent, "tester"))
                await drafts.send_test(site.database, found, tester, all_series=site.by_slug, by=by, now=now)
                return _redirect(f"/convenor/drafts/{found.id}", done="tested", to=tester.id)
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
    testers = [member for member in await convenors.team(site.database) if member.convenor]
    tested = next((member for member in testers if str(member.id) == request.query_params.get("to")), None)
    return render_console(
        request,
        "console/draft.html",
        active="notices",
        status=422 if complaints else 200,
        draft=found,
        review=looked,
        to=audience_words(found.audience, site.by_slug),
        when=_when(request, found),
        meeting=_meeting(request, looked),
        hold_minutes=site.hold_minutes,
        testers=testers,
        complaints=complaints,
        done=_DONE.get(request.query_params.get("done", ""), "").format(_called(request, tested)),
        **await _preview(request, found, looked),
    )


async def mail(request: Request) -> Response:
    """Return the HTML of a draft as a member would get it (`?for=`), for the frame of its page."""
    site, found = site_of(request), await _draft(request)
    looked = await drafts.review(site.database, found, all_series=site.by_slug, now=site.clock.now())
    member = await previews.chosen_member(request, request.query_params.get("for", ""))
    try:
        return framed((await _compose(request, found, looked, member)).html)
    except Problem:
        raise HTTPException(404) from None


async def _preview(request: Request, found: Draft, looked: Review) -> dict[str, object]:
    """Return for a template how a draft looks for the member that `?for=` names, and whom else to choose."""
    site, query = site_of(request), request.query_params
    member = await previews.chosen_member(request, query.get("for", ""))
    shown, problem = None, ""
    try:
        shown = await _compose(request, found, looked, member)
    except Problem as error:
        problem = error.message
    at = looked.meeting.starts if looked.meeting else site.clock.now()
    suggested = []
    if looked.audience:
        suggested = await preview.suggested_recipients(
            site.database, looked.audience, kind=Kind.NOTICE, home=site.series[0].zone, at=at
        )
    return await previews.for_template(
        request, shown, member, problem=problem, suggested=suggested, at=at, sought=query.get("q", "")
    )


async def _compose(request: Request, found: Draft, looked: Review, member: Member) -> preview.Preview:
    site = site_of(request)
    return await preview.preview_notice(
        site.database,
        site.message_writer,
        member,
        subject=found.subject,
        body=found.body,
        audience=found.audience,
        mentioned=looked.meeting,
        now=site.clock.now(),
    )


async def _tester(request: Request, number: str) -> Member:
    """Return the convenor to send a test to: whoever is signed in, or the one with that number."""
    me = session_of(request).member
    if number in ("", str(me.id)):
        return me
    for member in await convenors.team(site_of(request).database):
        if member.convenor and str(member.id) == number:
            return member
    raise Refused("a test goes to convenors only; choose one of them")


def _called(request: Request, member: Member | None) -> str:
    me = session_of(request).member
    return "you" if member is None or member.id == me.id else member.name or member.address


def _typed(sent: dict[str, list[str]]) -> dict[str, str]:
    typed = {name: last(sent, name).replace("\r\n", "\n").strip() for name in _EMPTY}
    return typed | {name: _chosen(sent.get(name, ())) for name in ("who", "except")}


def _chosen(terms: Sequence[str]) -> str:
    """Return the terms that are ticked and the one of the menu, joined by commas, as drafts keep them."""
    return ",".join(dict.fromkeys(filter(None, (term.strip() for term in terms))))


def _as_chosen(audience: str) -> dict[str, str]:
    """Return an audience as it was chosen in the form."""
    wanted, left_out = split_audience(audience)
    return {"who": _chosen(wanted), "except": _chosen(left_out)}


def _as_typed(request: Request, found: Draft) -> dict[str, str]:
    """Return a draft as it was typed in the form."""
    typed = _EMPTY | {"subject": found.subject, "body": found.body, "meeting": found.meeting}
    typed |= _as_chosen(found.audience)
    moment = notices.read_due(found.at or None)
    if isinstance(moment, datetime):
        local = moment.astimezone(ZoneInfo(_zone(request)))
        typed |= {"when": "instant", "date": f"{local:%Y-%m-%d}", "time": f"{local:%H:%M}"}
    elif moment:
        typed |= {"when": "local", "date": moment[6:16], "time": moment[17:22]}
    return typed


def _audience(typed: dict[str, str]) -> str:
    return join_audience(*(list(filter(None, typed[name].split(","))) for name in ("who", "except")))


def _at(request: Request, typed: dict[str, str]) -> tuple[str | None, str]:
    """Return when a form wants it sent, as drafts keep it, or None with what is wrong."""
    if typed["when"] not in ("instant", "local"):
        return "", ""
    try:
        wall = datetime.combine(date.fromisoformat(typed["date"]), time.fromisoformat(typed["time"]))
        if typed["when"] == "local":
            return f"local:{wall:%Y-%m-%dT%H:%M}", ""
        if not in_gap(wall, _zone(request)):
            return instant(wall, _zone(request)).isoformat(), ""
    except ValueError:
        pass
    return None, "You need to enter a day and a time that exists."


def _words(request: Request, typed: dict[str, str]) -> tuple[Words | None, dict[str, str]]:
    """Return what a form says, or what is wrong with it."""
    complaints: dict[str, str] = {}
    if not typed["subject"]:
        complaints["subject"] = "You need to enter a subject."
    if not typed["body"]:
        complaints["body"] = "You need to write something."
    if not typed["who"]:
        complaints["who"] = "You need to choose who gets it."
    elif "all" in (chosen := typed["who"].split(",")) and len(chosen) > 1:
        complaints["who"] = "You need to take “Everybody” off, or all the others: everybody includes them."
    at, problem = _at(request, typed)
    if at is None:
        complaints["date"] = problem
    if complaints or at is None:
        return None, complaints
    words = {"subject": typed["subject"], "body": typed["body"], "audience": _audience(typed)}
    for name, valid in (("subject", {"body": "x"}), ("body", {"subject": "x"})):
        try:
            Words(**{**words, **valid})
        except Refused as refusal:
            complaints[name] = f"You need to change this: {refusal.message}."
    try:
        return Words(**words, at=at, meeting=typed["meeting"]), complaints
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
    more: bool = False,
) -> Response:
    """Return the form for a notice; with `more`, ready to choose more of who gets it or who does not.

    After a refusal it keeps the `revision` that it was made from, so that pressing again overwrites nothing.
    """
    meetings = await likely_meetings(request)
    groups = await audiences(request, meetings)
    known = {value for _, options in groups for value, _ in options}
    chosen = {name: list(filter(None, typed[name].split(","))) for name in ("who", "except")}
    for name, terms in chosen.items():
        # A single one is shown in its menu; more of them are ticked, and the menu adds another.
        in_menu = len(terms) == 1 and not more and terms[0] in known
        typed = typed | {name: terms.pop() if in_menu else ""}
    keys = {meeting.key for meeting, _ in meetings}
    return render_console(
        request,
        "console/notice_form.html",
        active="notices",
        status=422 if complaints else 200,
        draft=found,
        revision=revision or (found.revision if found else ""),
        typed=typed,
        groups=groups,
        chosen={
            name: [(term, audience_words(term, site_of(request).by_slug)) for term in terms]
            for name, terms in chosen.items()
        },
        meetings=[
            ("", "The one that “Who gets it” names, or else the next one"),
            *((meeting.key, name) for meeting, name in meetings),
            *([(typed["meeting"], typed["meeting"])] if typed["meeting"] not in keys | {""} else []),
        ],
        placeholders=PLACEHOLDERS.values(),
        clock=f"{city(_zone(request))} time",
        hold_minutes=site_of(request).hold_minutes,
        complaints=complaints,
    )


def _meeting(request: Request, looked: Review) -> str:
    """Return the meeting that the placeholders of a draft are about, in its home time; empty if there is none."""
    if looked.meeting is None:
        return ""
    series = site_of(request).by_slug[looked.meeting.series]
    cycle = hour_cycle(session_of(request).member.locale)
    return local_time(looked.meeting, series, zone=looked.meeting.zone, cycle=cycle).span


def _when(request: Request, found: Draft) -> str:
    """Return in words when a draft is to be sent, and by whose clock; empty for as soon as it is sent."""
    moment = notices.read_due(found.at or None)
    cycle = hour_cycle(session_of(request).member.locale)
    if isinstance(moment, datetime):
        return describe_instant(moment, zone=_zone(request), cycle=cycle)
    if moment:
        wall = datetime.fromisoformat(moment.removeprefix("local:"))
        return f"{format_day(wall.date())}, {format_clock(wall, cycle)} by each member's own clock"
    return ""


def _zone(request: Request) -> str:
    return known_zone(session_of(request).member.zone, site_of(request).series[0].zone)


async def _find(request: Request, text: str) -> Draft | None:
    """Return the draft with that number, sent or not."""
    number = number_of(text)
    return await drafts.find_draft(site_of(request).database, number) if number is not None else None


async def _draft(request: Request) -> Draft:
    found = await _find(request, request.path_params["number"])
    if found is None:
        raise HTTPException(404)
    return found


def _redirect(path: str, **query: object) -> Response:
    return see_other(f"{path}?{urlencode(query)}")
