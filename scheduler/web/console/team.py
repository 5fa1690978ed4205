"""The pages of the team: who runs the community, and appointing, changing and dismissing them."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.errors import Refused
from scheduler.service import convenors
from scheduler.store.members import Member
from scheduler.web.access import actor_of, render_console
from scheduler.web.forms import fields, last, number_of
from scheduler.web.site import see_other, site_of

_DONE = {
    "appointed": "They have been appointed. They sign in with a link that we email them.",
    "changed": "The role has been changed. They need to sign in again.",
    "dismissed": "They no longer have a role and have been signed out. They are still a member.",
}


async def team(request: Request) -> Response:
    """Show the convenors and helpers."""
    people = await convenors.team(site_of(request).database)
    done = _DONE.get(request.query_params.get("done", ""), "")
    return render_console(request, "console/team.html", active="team", people=people, done=done)


async def appoint(request: Request) -> Response:
    """Appoint a member: GET shows the form."""
    sent = await fields(request)
    typed = {name: last(sent, name).strip() for name in ("email", "role")}
    complaints: dict[str, str] = {}
    if request.method == "POST":
        site = site_of(request)
        email, role = typed["email"], typed["role"]
        if not email:
            complaints["email"] = "You need to enter the email address of a member."
        if role not in convenors.ROLES:
            complaints["role"] = "You need to choose a role."
        if not complaints:
            try:
                await convenors.appoint(
                    site.database,
                    email,
                    convenors.require_role(role, "role"),
                    by=actor_of(request),
                    now=site.clock.now(),
                )
                return _done("appointed")
            except Refused as refusal:
                complaints["email"] = f"You need to give another address: {refusal.message}."
    return render_console(
        request,
        "console/appoint.html",
        active="team",
        status=422 if complaints else 200,
        typed=typed,
        complaints=complaints,
    )


async def member_role(request: Request) -> Response:
    """Change somebody's role or dismiss them: GET shows the form."""
    site, person = site_of(request), await _person(request)
    complaints: dict[str, str] = {}
    if request.method == "POST":
        sent = await fields(request)
        role, was = last(sent, "role"), last(sent, "was")
        by, now = actor_of(request), site.clock.now()
        try:
            if role == "none":
                await convenors.dismiss(site.database, person.address, by=by, now=now)
                return _done("dismissed")
            if role in convenors.ROLES:
                new_role = convenors.require_role(role, "role")
                await convenors.change_role(site.database, person.address, new_role, was=was, by=by, now=now)
                return _done("changed")
            complaints["role"] = "You need to choose a role."
        except Refused as refusal:
            person = await _person(request)
            complaints["role"] = (
                f"You need to check this: {refusal.message}."
                if was != person.role
                else "You need to appoint another convenor first: there must always be one who can sign in."
            )
    return render_console(
        request,
        "console/member_role.html",
        active="team",
        status=422 if complaints else 200,
        person=person,
        complaints=complaints,
    )


async def _person(request: Request) -> Member:
    number = number_of(request.path_params["number"])
    for person in await convenors.team(site_of(request).database):
        if person.id == number:
            return person
    raise HTTPException(404)


def _done(word: str) -> Response:
    return see_other(f"/convenor/team?done={word}")
