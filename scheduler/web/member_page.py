"""A member's preferences page: their details, what we send them, pauses, their feed and their links.

Only a POST changes anything.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import date, timedelta
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.errors import Refused
from scheduler.domain.locale import (
    hour_cycle,
    language_name,
    own_hour_cycle,
    plain_locale,
    require_locale,
    with_hour_cycle,
)
from scheduler.domain.localtime import format_day, format_rule, format_timing
from scheduler.domain.policy import Kind
from scheduler.domain.text import require_line
from scheduler.domain.token import Purpose
from scheduler.domain.translation import N_, translator
from scheduler.domain.zone import city, known_zone, require_zone
from scheduler.service import account, preferences
from scheduler.service.feeds import subscribe_url
from scheduler.service.follows import choose_series
from scheduler.service.members import LONGEST_NAME
from scheduler.service.personal_links import InvalidLink
from scheduler.service.preferences import Choice, Preferences
from scheduler.store.members import Mute
from scheduler.web.forms import field_error, fields, languages, number_of, zones
from scheduler.web.language import with_language
from scheduler.web.site import (
    PRIVATE,
    done_words,
    language_of,
    language_of_owner,
    link_closed,
    render_page,
    say,
    see_other,
    site_of,
)

_DONE = {
    "series": N_("We have saved which meetings you follow."),
    "details": N_("We have saved your details."),
    "notices": N_("We have saved your choices."),
    "pause": N_("We have paused your emails until that day."),
    "resume": N_("Welcome back. We will send you emails again from now on."),
    "feed": N_("We have saved your calendar settings. Your calendar will show them when it next updates."),
    "fresh": N_("We have emailed you a new link. It works for one hour."),
    "rotate": N_(
        "Your calendar feed has a new address. Subscribe to it again; the old address no longer works."
    ),
    "links": N_(
        "We have cancelled your old links. This page has a new address. Subscribe to your calendar feed again."
    ),
}
_ALARMS = {
    "": N_("None"),
    "10": N_("10 minutes before"),
    "60": N_("an hour before"),
    "1440": N_("a day before"),
}


async def preferences_page(request: Request) -> Response:
    """Show the page on GET; on POST change one thing and redirect to it."""
    token = request.path_params["token"]
    try:
        if request.method != "POST":
            return await _show(request, {}, {})
        typed = {name: values[-1] for name, values in (await fields(request)).items()}
        action = _ACTIONS.get(typed.get("act", ""))
        if action is None:
            raise HTTPException(400, headers=PRIVATE)
        # Check the link before the form, so that only its member sees error messages.
        await _read(request, token)
        result = await action(request, token, typed)
    except InvalidLink as closed:
        return link_closed(request, closed.status)
    if isinstance(result, Response):
        return result
    if result:
        return await _show(request, typed, result, status=422)
    return see_other(with_language(request, f"/me/{token}?done={typed['act']}"))


async def _read(request: Request, token: str) -> Preferences:
    site = site_of(request)
    return await preferences.read_preferences(
        site.database,
        token,
        series=site.series,
        policies=site.policies,
        keys=site.keys,
        locale=site.community.locale,
        language_of=language_of_owner(request),
        now=site.clock.now(),
    )


async def _show(
    request: Request, typed: Mapping[str, str], complaints: Mapping[str, str], *, status: int = 200
) -> Response:
    site = site_of(request)
    member_preferences = await _read(request, request.path_params["token"])
    member = member_preferences.member
    cycle = hour_cycle(member.locale or site.community.locale)
    chosen, language = plain_locale(member.locale or site.community.locale), language_of(request)
    stored = {
        "name": member.name,
        "zone": member.zone,
        "locale": chosen,
        "cycle": own_hour_cycle(member.locale) or "",
        "until": "",
        "invitation_by": member.invitation_by,
        "alarm": "" if member.feed_alarm_minutes is None else str(member.feed_alarm_minutes),
    }
    zone = ZoneInfo(known_zone(member.zone, site.series[0].zone))
    paused = member.paused_until.astimezone(zone).date() if member.paused_until else None
    today = site.clock.now().astimezone(zone).date()
    # Browsers show only a date in a date field.
    until = _day(typed.get("until", "")) or ""
    return render_page(
        request,
        "preferences.html",
        status=status,
        headers=PRIVATE,
        address=member.address,
        values={**stored, **{name: typed[name] for name in stored if name in typed}, "until": until},
        complaints=complaints,
        zones=zones(language),
        city=city(member.zone, language),
        languages=_languages(chosen),
        series=[
            {
                "slug": choice.series.slug,
                "title": choice.series.in_language(language).title,
                "rule": format_rule(choice.series, cycle, language),
                "followed": choice.followed,
                "next": choice.next,
            }
            for choice in member_preferences.series
        ],
        has_choice=site.has_choice,
        choices=[
            {
                "value": _value(choice.mute),
                "words": _choice_label(choice, cycle, language),
                "wanted": not choice.muted,
            }
            for choice in member_preferences.choices
        ],
        bounced=member.suppressed_at is not None,
        paused=member.status == "paused",
        paused_until=format_day(paused, language) if paused else "",
        tomorrow=str(today + timedelta(days=1)),
        done=done_words(request, _DONE),
        assumed=member.zone_source == "assumed",
        answers=member.feed_answers,
        alarms=_alarms(stored["alarm"], language),
        subscribe_url=subscribe_url(site.keys, site.community, member),
        leave_url=f"/u/{site.keys.token(Purpose.LEAVE, member.id, generation=member.generation)}",
    )


def _languages(chosen: str) -> list[tuple[str, str]]:
    """Return the languages to choose from, always including the chosen one."""
    offered = list(languages())
    return offered if chosen in dict(offered) else [(chosen, language_name(chosen)), *offered]


def _alarms(chosen: str, language: str) -> dict[str, str]:
    """Return the alarms to choose from, always including the chosen one."""
    say = translator(language)
    minutes = number_of(chosen) or 0
    own = say.ngettext("%(count)s minute before", "%(count)s minutes before", minutes) % {"count": minutes}
    return {chosen: own, **{value: say.gettext(words) for value, words in _ALARMS.items()}}


def _value(mute: Mute) -> str:
    return ":".join(filter(None, mute))


def _choice_label(choice: Choice, cycle: Literal["h12", "h23"], language: str) -> str:
    policy, say = choice.policy, translator(language).gettext
    if choice.mute == (Kind.FOLLOW_UP, ""):
        return say("Recordings and notes after a meeting")
    if policy is None:
        return say("Occasional messages from the convenors")
    # Translators: “The reminder an hour before the start”, “The reminder on the day before, at 09:00 your time”.
    message = N_("The reminder %(timing)s your time") if policy.at else N_("The reminder %(timing)s")
    return say(message) % {"timing": format_timing(policy, cycle, language)}


Complaints = Mapping[str, str]
_Action = Callable[[Request, str, Mapping[str, str]], Awaitable[Complaints | Response]]


def _check(
    request: Request,
    complaints: dict[str, str],
    name: str,
    check: Callable[..., str],
    text: str,
    **limits: Any,
) -> str:
    """Return what `check` makes of a field's text; add a complaint and return "" where it refuses the text."""
    try:
        return check(text, "", **limits)
    except Refused as refusal:
        complaints[name] = field_error(refusal, name, language_of(request))
        return ""


async def _change_details(request: Request, token: str, typed: Mapping[str, str]) -> Complaints | Response:
    site, complaints = site_of(request), dict[str, str]()
    name = _check(request, complaints, "name", require_line, typed.get("name", ""), longest=LONGEST_NAME)
    zone = _check(request, complaints, "zone", require_zone, typed.get("zone", "").strip())
    language = _check(request, complaints, "locale", require_locale, typed.get("locale", ""))
    cycle = typed.get("cycle", "")
    if cycle not in ("", "h12", "h23"):
        complaints["cycle"] = say(request, N_("You need to choose one of these."))
    if complaints:
        return complaints
    member_preferences = await _read(request, token)
    member = member_preferences.member
    if "-" not in language and plain_locale(member.locale) != language and member.country:
        # A member who chooses plain English means the English of their country.
        language = _check(request, {}, "", require_locale, f"{language}-{member.country[:2]}") or language
    locale = with_hour_cycle(plain_locale(language), cast(Literal["h12", "h23"] | None, cycle or None))
    if zone != member.zone and typed.get("confirmed") != zone:
        followed = [choice.series for choice in member_preferences.series if choice.followed]
        series, times = await preferences.compare_zones(
            site.database,
            followed or site.series,
            [member.zone, zone],
            locale=locale,
            language=language_of(request),
            now=site.clock.now(),
        )
        return render_page(
            request,
            "confirm_zone.html",
            headers=PRIVATE,
            old=city(member.zone, language_of(request)),
            new=city(zone, language_of(request)),
            series=series.in_language(language_of(request)).title if series and site.has_choice else "",
            times=times,
            values={"name": name, "zone": zone, "locale": plain_locale(locale), "cycle": cycle},
        )
    await preferences.change_details(
        site.database, token, name=name, zone=zone, locale=locale, keys=site.keys, now=site.clock.now()
    )
    return {}


async def _choose_series(request: Request, token: str, _: Mapping[str, str]) -> Complaints:
    site, wanted = site_of(request), (await fields(request)).get("follows", [])
    await choose_series(
        site.database,
        token,
        wanted=wanted,
        all_series=site.series,
        keys=site.keys,
        now=site.clock.now(),
    )
    return {}


async def _choose_notices(request: Request, token: str, typed: Mapping[str, str]) -> Complaints:
    site, by = site_of(request), typed.get("invitation_by", "mail")
    if by not in ("mail", "feed"):
        return {"invitation_by": say(request, N_("You need to choose one of these."))}
    wanted = (await fields(request)).get("wanted", [])
    muted = {
        choice.mute for choice in preferences.choices(site.policies, ()) if _value(choice.mute) not in wanted
    }
    await preferences.choose_notices(
        site.database, token, invitation_by=by, muted=muted, policies=site.policies, keys=site.keys
    )
    return {}


async def _choose_feed(request: Request, token: str, typed: Mapping[str, str]) -> Complaints:
    site, alarm = site_of(request), typed.get("alarm", "")
    if alarm not in _ALARMS:
        return {"alarm": say(request, N_("You need to choose one of these."))}
    await preferences.choose_feed(
        site.database,
        token,
        alarm_minutes=int(alarm) if alarm else None,
        answers="answers" in typed,
        keys=site.keys,
        now=site.clock.now(),
    )
    return {}


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        return None


async def _pause(request: Request, token: str, typed: Mapping[str, str]) -> Complaints:
    site = site_of(request)
    until = _day(typed.get("until", ""))
    if until is None:
        return {"until": say(request, N_("You need to choose a day, for example 2027-01-31."))}
    try:
        await preferences.pause(site.database, token, until=until, keys=site.keys, now=site.clock.now())
    except OverflowError:
        return {"until": say(request, N_("You need to choose an earlier day."))}
    except Refused as refusal:
        return {"until": field_error(refusal, "until", language_of(request))}
    return {}


async def _end_pause(request: Request, token: str, _: Mapping[str, str]) -> Complaints:
    site = site_of(request)
    await preferences.end_pause(site.database, token, keys=site.keys, now=site.clock.now())
    return {}


async def _rotate_feed(request: Request, token: str, _: Mapping[str, str]) -> Complaints:
    site = site_of(request)
    await preferences.rotate_feed(site.database, token, keys=site.keys, now=site.clock.now())
    return {}


async def _show_wall(request: Request, token: str, __: Mapping[str, str]) -> Response:
    # A link would put the page's own address, which is like a password, into the page.
    return see_other(with_language(request, f"/wall/{token}"))


async def _send_new_link(request: Request, token: str, _: Mapping[str, str]) -> Complaints:
    site = site_of(request)
    await account.mail_own_link(site.database, token, keys=site.keys, now=site.clock.now())
    return {}


async def _cancel_links(request: Request, token: str, _: Mapping[str, str]) -> Complaints | Response:
    site = site_of(request)
    try:
        await account.end_links(site.database, token, keys=site.keys, now=site.clock.now())
    except Refused as refusal:
        return {"links": say(request, refusal.message)}
    words = say(
        request,
        N_(
            "The links in the emails you already have no longer work, and your calendar feed has a new address. We "
            "have emailed you a new link."
        ),
    )
    heading = say(request, N_("We have cancelled your old links"))
    return render_page(request, "done.html", headers=PRIVATE, heading=heading, words=words)


_ACTIONS: Mapping[str, _Action] = {
    "series": _choose_series,
    "details": _change_details,
    "notices": _choose_notices,
    "pause": _pause,
    "resume": _end_pause,
    "feed": _choose_feed,
    "rotate": _rotate_feed,
    "wall": _show_wall,
    "fresh": _send_new_link,
    "links": _cancel_links,
}
