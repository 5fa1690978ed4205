"""Every page of the site, and who may use it. A route that is not here does not exist."""

from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scheduler.web import (
    account,
    archive,
    contact,
    countries,
    feeds,
    join,
    links,
    member_page,
    outbox,
    people,
    public,
    sharing,
)
from scheduler.web import metrics as metrics_page
from scheduler.web.access import Access, Endpoint, guarded
from scheduler.web.console import (
    about,
    audit_log,
    desk,
    drafts,
    follow_ups,
    home,
    meetings,
    member_files,
    members,
    notices,
    numbers,
    passkeys,
    people_to_show,
    planned,
    records,
    returns,
    sent_mails,
    sign_in,
    team,
)
from scheduler.web.forms import largest_body
from scheduler.web.site import site_of

_READ = ("GET",)
_FORM = ("GET", "POST")
_POST = ("POST",)

_DISALLOWED_PATHS = (
    "/go/",
    "/u/",
    "/confirm/",
    "/rsvp/",
    "/me/",
    "/wall/",
    "/photos/",
    "/sign-in/",
    "/address/",
    "/subscribe/",
    "/convenor",
    "/outbox",
)


async def _robots(request: Request) -> Response:
    return sharing.robots_text(site_of(request).community.base_url, _DISALLOWED_PATHS)


async def _sitemap(request: Request) -> Response:
    return await sharing.sitemap(request, LISTED)


class Entry(NamedTuple):
    """A path, what answers it, who may use it, with which methods, and whether search engines should list it."""

    path: str
    endpoint: Endpoint
    access: Access
    methods: tuple[str, ...] = _READ
    listed: bool = False

    def route(self) -> Route:
        """Return the route, whose endpoint is reached only by those who may use it."""
        return Route(
            self.path,
            guarded(self.endpoint, self.access),
            methods=list(self.methods),
            max_body_size=largest_body(self.path),
        )


ENTRIES: tuple[Entry, ...] = (
    # For everybody.
    Entry("/", public.home, Access.ANYONE, listed=True),
    Entry("/next", public.next_meeting_page, Access.ANYONE),
    Entry("/meetings/{series}/{date}.ics", feeds.meeting, Access.ANYONE),
    Entry("/meetings/{series}/{date}.png", sharing.meeting_picture, Access.ANYONE),
    Entry("/meetings/{series}/{date}", public.meeting, Access.ANYONE),
    Entry("/series", public.series_list, Access.ANYONE),
    Entry("/series/{series}", public.series_page, Access.ANYONE),
    Entry("/archive", archive.archive, Access.ANYONE, listed=True),
    Entry("/archive.atom", archive.atom, Access.ANYONE),
    Entry("/archive.json", archive.json, Access.ANYONE),
    Entry("/speakers/{speaker}", archive.speaker, Access.ANYONE),
    Entry("/themes/{theme}", archive.theme, Access.ANYONE),
    Entry("/calendar.ics", feeds.all_series, Access.ANYONE),
    Entry("/calendar/{series}.ics", feeds.one_series, Access.ANYONE),
    Entry("/subscribe", feeds.subscribe, Access.ANYONE, listed=True),
    Entry("/join", join.join, Access.ANYONE, _FORM, listed=True),
    Entry("/embed", public.embed_code, Access.ANYONE, listed=True),
    Entry("/embed/next", public.embed, Access.ANYONE),
    Entry("/me", account.request_link, Access.ANYONE, _FORM),
    Entry("/about", people.about_page, Access.ANYONE, listed=True),
    Entry("/people", people.people, Access.ANYONE, listed=True),
    Entry("/photos/{file}", people.photo, Access.ANYONE),
    Entry("/contact", contact.contact, Access.ANYONE, _FORM, listed=True),
    Entry("/privacy", public.privacy, Access.ANYONE, listed=True),
    Entry("/theme.css", public.theme, Access.ANYONE),
    Entry("/logo", public.logo, Access.ANYONE),
    Entry("/picture.png", sharing.community_picture, Access.ANYONE),
    Entry("/sitemap.xml", _sitemap, Access.ANYONE),
    Entry("/map.svg", countries.world_map, Access.ANYONE),
    Entry("/robots.txt", _robots, Access.ANYONE),
    Entry("/healthz", metrics_page.alive, Access.ANYONE),
    Entry("/readyz", metrics_page.ready, Access.ANYONE),
    # Only on this machine, with mail that goes to a folder; the pages check that themselves.
    Entry("/outbox", outbox.mails, Access.ANYONE),
    Entry("/outbox/{name}", outbox.mail, Access.ANYONE),
    Entry("/outbox/{name}/html", outbox.html, Access.ANYONE),
    Entry("/outbox/{name}/source", outbox.source, Access.ANYONE),
    # For the owner of a personal link.
    Entry("/cal/{token}.ics", feeds.private_feed, Access.LINK),
    Entry("/subscribe/{token}", feeds.member_subscribe, Access.LINK, _FORM),
    Entry("/go/{token}/{series}/{date}", links.join_meeting, Access.LINK),
    Entry("/u/{token}", links.leave, Access.LINK, _FORM),
    Entry("/rsvp/{token}", links.rsvp, Access.LINK, _FORM),
    Entry("/confirm/{token}", join.confirm, Access.LINK, _FORM),
    Entry("/sign-in/{token}", account.sign_in, Access.LINK, _FORM),
    Entry("/address/{token}", account.confirm_address, Access.LINK, _FORM),
    Entry("/me/{token}", member_page.preferences_page, Access.LINK, _FORM),
    Entry("/wall/{token}", people.own_entry, Access.LINK, _FORM),
    # The console.
    Entry("/convenor/sign-in", sign_in.ask, Access.ANYONE, _FORM),
    Entry("/convenor/sign-in/passkey", passkeys.sign_in, Access.ANYONE, _POST),
    Entry("/convenor/sign-in/challenge", passkeys.challenge, Access.ANYONE),
    Entry("/convenor/sign-in/{token}", sign_in.follow_link, Access.LINK, _FORM),
    Entry("/convenor/sign-out", sign_in.sign_out, Access.HELPER, _POST),
    Entry("/convenor/sessions", sign_in.sessions_page, Access.HELPER, _FORM),
    Entry("/convenor/passkeys", passkeys.passkeys, Access.HELPER_RECENTLY, _FORM),
    Entry("/convenor", home.home, Access.HELPER),
    Entry("/convenor/team", team.team, Access.CONVENOR),
    Entry("/convenor/team/appoint", team.appoint, Access.CONVENOR_RECENTLY, _FORM),
    Entry("/convenor/team/{number}", team.member_role, Access.CONVENOR_RECENTLY, _FORM),
    Entry("/convenor/meetings", meetings.meetings, Access.HELPER),
    Entry("/convenor/meetings/add", meetings.add, Access.CONVENOR, _FORM),
    Entry("/convenor/meetings/{series}/{date}", meetings.meeting, Access.HELPER, _FORM),
    Entry("/convenor/meetings/{series}/{date}/move", meetings.move, Access.HELPER, _FORM),
    Entry("/convenor/meetings/{series}/{date}/cancel", meetings.cancel, Access.HELPER, _FORM),
    Entry("/convenor/meetings/{series}/{date}/tell", meetings.tell, Access.CONVENOR, _FORM),
    Entry("/convenor/meetings/{series}/{date}/mail", meetings.mail, Access.CONVENOR),
    Entry("/convenor/meetings/{series}/{date}/follow-up", follow_ups.follow_up, Access.CONVENOR, _FORM),
    Entry("/convenor/meetings/{series}/{date}/follow-up/mail", follow_ups.mail, Access.CONVENOR),
    Entry("/convenor/meetings/{series}/{date}/answers", meetings.answers, Access.CONVENOR),
    Entry("/convenor/meetings/{series}/{date}/answers.csv", meetings.answers_file, Access.CONVENOR),
    Entry("/convenor/themes", records.themes, Access.HELPER, _FORM),
    Entry("/convenor/themes/{theme}", records.theme, Access.HELPER, _FORM),
    Entry("/convenor/speakers", records.speakers, Access.HELPER),
    Entry("/convenor/speakers/{speaker}", records.speaker, Access.HELPER, _FORM),
    Entry("/convenor/archive/import", records.import_file, Access.HELPER, _FORM),
    Entry("/convenor/archive/import/{number}", records.confirm_import, Access.HELPER, _FORM),
    Entry("/convenor/notices", notices.listing, Access.CONVENOR),
    Entry("/convenor/notices/write", drafts.write, Access.CONVENOR, _FORM),
    Entry("/convenor/notices/autosave", drafts.autosave, Access.CONVENOR, _POST),
    Entry("/convenor/notices/count", drafts.count, Access.CONVENOR, _POST),
    Entry("/convenor/notices/{number}", notices.notice, Access.CONVENOR, _FORM),
    Entry("/convenor/planned/{number}", planned.planned, Access.CONVENOR, _FORM),
    Entry("/convenor/planned/{number}/mail", planned.mail, Access.CONVENOR),
    Entry("/convenor/drafts/{number}", drafts.draft, Access.CONVENOR, _FORM),
    Entry("/convenor/drafts/{number}/edit", drafts.edit, Access.CONVENOR, _FORM),
    Entry("/convenor/drafts/{number}/list", drafts.address_list, Access.CONVENOR, _FORM),
    Entry("/convenor/drafts/{number}/mail", drafts.mail, Access.CONVENOR),
    Entry("/convenor/members", members.find, Access.CONVENOR),
    Entry("/convenor/members/duplicates", members.duplicates, Access.CONVENOR, _FORM),
    Entry("/convenor/members/add", members.add, Access.CONVENOR, _FORM),
    Entry("/convenor/members/import", member_files.import_file, Access.CONVENOR_RECENTLY, _FORM),
    Entry("/convenor/members/import/{number}", member_files.confirm, Access.CONVENOR_RECENTLY, _FORM),
    Entry("/convenor/members/export", member_files.export, Access.CONVENOR_RECENTLY, _FORM),
    Entry("/convenor/members/{number}", members.member, Access.CONVENOR, _FORM),
    Entry("/convenor/members/{number}/edit", members.edit, Access.CONVENOR, _FORM),
    Entry("/convenor/members/{number}/mails/{notice}", sent_mails.mail, Access.CONVENOR),
    Entry("/convenor/members/{number}/mails/{notice}/html", sent_mails.html, Access.CONVENOR),
    Entry("/convenor/members/{number}/mails/{notice}/again", sent_mails.again, Access.CONVENOR, _FORM),
    Entry("/convenor/members/{number}/erase", members.erase, Access.CONVENOR_RECENTLY, _FORM),
    Entry("/convenor/desk", desk.desk, Access.HELPER),
    Entry("/convenor/desk/{number}", desk.join_request, Access.HELPER, _FORM),
    Entry("/convenor/people", people_to_show.people, Access.HELPER),
    Entry("/convenor/people/{number}", people_to_show.entry, Access.HELPER, _FORM),
    Entry("/convenor/people/{number}/photo/{file}", people_to_show.photo, Access.HELPER),
    Entry("/convenor/profile", people_to_show.own_profile, Access.CONVENOR, _FORM),
    Entry("/convenor/profile/photo/{file}", people_to_show.own_photo, Access.CONVENOR),
    Entry("/convenor/about", about.edit, Access.CONVENOR, _FORM),
    Entry("/convenor/about/{number}", about.version, Access.CONVENOR, _FORM),
    Entry("/convenor/returns", returns.returns, Access.HELPER),
    Entry("/convenor/returns/{number}", returns.message, Access.HELPER, _FORM),
    Entry("/convenor/numbers", numbers.numbers, Access.HELPER),
    Entry("/convenor/audit", audit_log.audit_log, Access.CONVENOR),
)

LISTED = tuple(entry.path for entry in ENTRIES if entry.listed)
"""The pages that search engines should list, other than those of series, meetings, speakers and themes."""
