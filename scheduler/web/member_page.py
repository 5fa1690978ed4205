"""A member's own page: what we know of them and what they get, theirs to change. Looking at it changes nothing."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.errors import Refused
from scheduler.domain.locale import hour_cycle, own_hour_cycle, plain_locale, require_locale, with_hour_cycle
from scheduler.domain.localtime import format_clock, format_day, format_length
from scheduler.domain.policy import Kind
from scheduler.domain.text import require_line
from scheduler.domain.token import Purpose
from scheduler.domain.zone import city, known_zone, require_zone
from scheduler.service import account, preferences
from scheduler.service.feeds import subscribe_url
from scheduler.service.members import LONGEST_NAME
from scheduler.service.personal_links import InvalidLink
from scheduler.service.preferences import Choice, Preferences
from scheduler.store.members import Mute
from scheduler.web.forms import fields, language_name, languages, told, zones
from scheduler.web.site import PRIVATE, Site, page, shut, site

_DONE = {
    "details": "Saved.",
    "notices": "Saved: from now on you get what is ticked below.",
    "pause": "Saved: until that day you get no mail from us.",
    "resume": "Welcome back: mails come again from now on.",
    "feed": "Saved: your calendar follows when it next asks.",
    "fresh": "A fresh link is on its way to your address. It works for an hour.",
    "rotate": "Your calendar feed has a new address. Subscribe to it anew; the old one is closed.",
    "links": "Your old links have ended, and this page has a new address. Subscribe to your calendar feed anew.",
}


_ALARMS = {"": "None", "10": "10 minutes before", "60": "an hour before", "1440": "a day before"}


async def me(request: Request) -> Response:
    """GET shows, POST changes one thing and leads back."""
    here, token = site(request), request.path_params["token"]
    try:
        if request.method != "POST":
            return await _shown(request, {}, {})
        typed = {name: values[-1] for name, values in (await fields(request)).items()}
        act = _ACTS.get(typed.get("act", ""))
        if act is None:
            raise HTTPException(400, headers=PRIVATE)
        # Only who may look may do anything, even wrongly.
        await _read(here, token)
        answer = await act(request, token, typed)
    except InvalidLink as closed:
        return shut(request, closed.status)
    if isinstance(answer, Response):
        return answer
    if answer:
        return await _shown(request, typed, answer, status=422)
    done = f"?done={typed['act']}"
    return Response(status_code=303, headers={**PRIVATE, "Location": f"/me/{token}{done}"})


async def _read(here: Site, token: str) -> Preferences:
    return await preferences.read_preferences(
        here.database,
        token,
        series=here.series,
        policies=here.policies,
        keys=here.keys,
        locale=here.community.locale,
        now=here.clock.now(),
    )


async def _shown(
    request: Request, typed: Mapping[str, str], complaints: Mapping[str, str], *, status: int = 200
) -> Response:
    here, found = site(request), await _read(site(request), request.path_params["token"])
    member, cycle = found.member, hour_cycle(found.member.locale or here.community.locale)
    plain = plain_locale(member.locale or here.community.locale)
    kept = {
        "name": member.name,
        "zone": member.zone,
        "locale": plain,
        "cycle": own_hour_cycle(member.locale) or "",
        "until": "",
        "invitation_by": member.invitation_by,
        "alarm": "" if member.feed_alarm_minutes is None else str(member.feed_alarm_minutes),
    }
    zone = ZoneInfo(known_zone(member.zone, here.series[0].zone))
    paused = member.paused_until.astimezone(zone).date() if member.paused_until else None
    today = here.clock.now().astimezone(zone).date()
    # A browser shows nothing else in a field for a day.
    until = _day(typed.get("until", "")) or ""
    return page(
        request,
        "me.html",
        status=status,
        headers=PRIVATE,
        address=member.address,
        values={**kept, **{name: typed[name] for name in kept if name in typed}, "until": until},
        complaints=complaints,
        zones=zones(),
        city=city(member.zone),
        languages=_languages(plain),
        next=found.next,
        title=found.title,
        choices=[
            {"value": _value(one.mute), "words": _words(one, cycle), "wanted": not one.muted}
            for one in found.choices
        ],
        bounced=member.suppressed_at is not None,
        paused=member.status == "paused",
        paused_until=format_day(paused) if paused else "",
        tomorrow=str(today + timedelta(days=1)),
        done=_DONE.get(request.query_params.get("done", ""), ""),
        assumed=member.zone_source == "assumed",
        answers=member.feed_answers,
        alarms={kept["alarm"]: f"{kept['alarm']} minutes before", **_ALARMS},
        subscribe_url=subscribe_url(here.keys, here.community, member),
        leave_url=f"/u/{here.keys.token(Purpose.LEAVE, member.id, generation=member.generation)}",
    )


def _languages(chosen: str) -> list[tuple[str, str]]:
    found = list(languages())
    return found if chosen in dict(found) else [(chosen, language_name(chosen)), *found]


def _value(mute: Mute) -> str:
    return ":".join(filter(None, mute))


def _words(choice: Choice, cycle: Literal["h12", "h23"]) -> str:
    policy = choice.policy
    if choice.mute == (Kind.FOLLOW_UP, ""):
        return "Recordings and notes after a meeting"
    if policy is None:
        return "What the convenors write now and then"
    if policy.lead is not None:
        return f"The reminder {format_length(int(policy.lead.total_seconds()) // 60)} before the start"
    assert policy.at is not None
    day = {0: "on the day", 1: "on the day before"}.get(
        policy.days_before or 0, f"{policy.days_before} days before"
    )
    return f"The reminder {day}, at {format_clock(datetime.combine(date.min, policy.at), cycle)} your time"


Complaints = Mapping[str, str]
_Act = Callable[[Request, str, Mapping[str, str]], Awaitable[Complaints | Response]]


def _check(complaints: dict[str, str], name: str, check: Callable[..., str], text: str, **limits: Any) -> str:
    try:
        return check(text, "", **limits)
    except Refused as refusal:
        complaints[name] = told(refusal, name)
        return ""


async def _details(request: Request, token: str, typed: Mapping[str, str]) -> Complaints | Response:
    here, complaints = site(request), dict[str, str]()
    name = _check(complaints, "name", require_line, typed.get("name", ""), longest=LONGEST_NAME)
    zone = _check(complaints, "zone", require_zone, typed.get("zone", "").strip())
    tongue = _check(complaints, "locale", require_locale, typed.get("locale", ""))
    cycle = typed.get("cycle", "")
    if cycle not in ("", "h12", "h23"):
        complaints["cycle"] = "You need to choose one of these."
    if complaints:
        return complaints
    member = (await _read(here, token)).member
    if "-" not in tongue and plain_locale(member.locale) != tongue and member.country:
        # Whoever chooses English means that of their country.
        tongue = _check({}, "", require_locale, f"{tongue}-{member.country[:2]}") or tongue
    locale = with_hour_cycle(plain_locale(tongue), cast(Literal["h12", "h23"] | None, cycle or None))
    if zone != member.zone and typed.get("confirmed") != zone:
        whens = await preferences.compare_zones(
            here.database, here.series, [member.zone, zone], locale=locale, now=here.clock.now()
        )
        return page(
            request,
            "moving.html",
            headers=PRIVATE,
            old=city(member.zone),
            new=city(zone),
            whens=whens,
            values={"name": name, "zone": zone, "locale": plain_locale(locale), "cycle": cycle},
        )
    await preferences.change_details(
        here.database, token, name=name, zone=zone, locale=locale, keys=here.keys
    )
    return {}


async def _notices(request: Request, token: str, typed: Mapping[str, str]) -> Complaints:
    here, by = site(request), typed.get("invitation_by", "mail")
    if by not in ("mail", "feed"):
        return {"invitation_by": "You need to choose one of these."}
    wanted = (await fields(request)).get("wanted", [])
    muted = {
        choice.mute for choice in preferences.choices(here.policies, ()) if _value(choice.mute) not in wanted
    }
    await preferences.choose_notices(
        here.database, token, invitation_by=by, muted=muted, policies=here.policies, keys=here.keys
    )
    return {}


async def _feed(request: Request, token: str, typed: Mapping[str, str]) -> Complaints:
    here, alarm = site(request), typed.get("alarm", "")
    if alarm not in _ALARMS:
        return {"alarm": "You need to choose one of these."}
    await preferences.choose_feed(
        here.database,
        token,
        alarm_minutes=int(alarm) if alarm else None,
        answers="answers" in typed,
        keys=here.keys,
        now=here.clock.now(),
    )
    return {}


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        return None


async def _pause(request: Request, token: str, typed: Mapping[str, str]) -> Complaints:
    here = site(request)
    until = _day(typed.get("until", ""))
    if until is None:
        return {"until": "You need to choose a day, as 2027-01-31."}
    try:
        await preferences.pause(here.database, token, until=until, keys=here.keys, now=here.clock.now())
    except OverflowError:
        return {"until": "You need to choose an earlier day."}
    except Refused as refusal:
        return {"until": told(refusal, "until")}
    return {}


async def _resume(request: Request, token: str, _: Mapping[str, str]) -> Complaints:
    here = site(request)
    await preferences.end_pause(here.database, token, keys=here.keys, now=here.clock.now())
    return {}


async def _rotate(request: Request, token: str, _: Mapping[str, str]) -> Complaints:
    here = site(request)
    await preferences.rotate_feed(here.database, token, keys=here.keys, now=here.clock.now())
    return {}


async def _fresh(request: Request, token: str, _: Mapping[str, str]) -> Complaints:
    here = site(request)
    await account.mail_own_link(here.database, token, keys=here.keys, now=here.clock.now())
    return {}


async def _links(request: Request, token: str, _: Mapping[str, str]) -> Complaints | Response:
    here = site(request)
    try:
        await account.end_links(here.database, token, keys=here.keys, now=here.clock.now())
    except Refused as refusal:
        return {"links": str(refusal)}
    words = (
        "Every link in the mails that you have from us has ended, and so has the address of your calendar feed. A mail "
        "with a new link is on its way to your address."
    )
    return page(request, "done.html", headers=PRIVATE, heading="Your old links have ended", words=words)


_ACTS: Mapping[str, _Act] = {
    "details": _details,
    "notices": _notices,
    "pause": _pause,
    "resume": _resume,
    "feed": _feed,
    "rotate": _rotate,
    "fresh": _fresh,
    "links": _links,
}
