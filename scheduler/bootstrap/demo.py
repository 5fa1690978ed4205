"""`demo`: the whole service with made-up members, and a mail folder in place of a relay."""

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import structlog

from scheduler.bootstrap import demo_content
from scheduler.bootstrap.demo_content import Talk
from scheduler.bootstrap.demo_portraits import draw_portrait
from scheduler.bootstrap.serve import serve
from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.wiring import Parts
from scheduler.domain.actor import SERVICE
from scheduler.domain.audience import Audience
from scheduler.domain.occurrence import Series, slugs_by_choice
from scheduler.domain.photo import Photo
from scheduler.domain.policy import Kind, Policy
from scheduler.service import about, profiles
from scheduler.service.meeting_records import add_theme_in
from scheduler.service.members import new_member_row
from scheduler.service.notices import send_notice
from scheduler.service.occurrences import Change, amend, amend_in, tell
from scheduler.service.photo_process import make_photos
from scheduler.service.schedule import find_occurrence
from scheduler.store import answers, follows, join_requests, meeting_records, members, notices, occurrences
from scheduler.store import profiles as store_profiles
from scheduler.store.database import Database
from scheduler.store.members import Member
from scheduler.store.profiles import ProfileKind

log = structlog.get_logger()

LISTENING = Series(
    slug="listening-circle",
    title="Listening Circle",
    rule="fourth Tuesday",
    start=time(17, 30),
    zone="Asia/Kolkata",
    duration=timedelta(minutes=60),
    first=date(2023, 1, 24),
    description="We practise listening in groups of three. For everybody for whom evening in London is night.",
    link="https://rooms.example.org/listening",
    by_choice=True,
)

_INTRODUCTION = (
    "There are forty made-up members; /outbox shows their mail. No mail leaves this machine. Ctrl-C stops.\n"
    "To see the convenors' pages, sign in at /convenor/ as member31@gb-eng.example.org; the link is in /outbox."
)

_ANSWERS = ("coming", "", "", "maybe", "coming", "", "", "coming", "declined", "", "")
"""What members answered to past meetings, in turn; '' is no answer."""

_LAST_STEP = "notice:demo"
"""The identity of the notice that is sent when everything else has been made up."""


async def run_demo(
    config: Path | None, environment: Mapping[str, str], *, say: Callable[[str], None]
) -> None:
    """Serve from `var/demo` until stopped. Raises Problem if the service cannot start."""
    # The default settings have no description.
    description = {} if config else {"THIRD_THURSDAY_COMMUNITY__DESCRIPTION": demo_content.DESCRIPTION}
    own = {
        "THIRD_THURSDAY_DATABASE__URL": "sqlite:///var/demo/third-thursday.sqlite",
        "THIRD_THURSDAY_MAIL__TRANSPORT": "maildir:var/demo/mail",
        # Start again after months without asking whether the clock is right.
        "THIRD_THURSDAY_WATCH__LONGEST_OUTAGE": "9999d",
        "THIRD_THURSDAY_WEB__OUTBOX": "true",
    }
    given = {name: value for name, value in environment.items() if name.removesuffix("_FILE") not in own}
    settings = load_settings(config, {**description, **given, **own})
    # Make the next meeting's invitation due on any day.
    invitations = [policy for policy in settings.policies if policy.kind is Kind.INVITATION]
    early = [
        Policy(slug=policy.slug, kind=policy.kind, lead=timedelta(days=60), series=policy.series)
        for policy in invitations
    ]
    others = [policy for policy in settings.policies if policy.kind is not Kind.INVITATION]
    settings = replace(settings, policies=(*early, *others))
    if not config:
        with_rooms = (
            replace(series, link=series.link or "https://rooms.example.org/kindness")
            for series in settings.series
        )
        settings = replace(settings, series=(*with_rooms, LISTENING))
    await serve(
        settings,
        prepare=make_up_meetings,
        afterwards=make_up_the_rest,
        say=lambda line: say(f"{line}\n{_INTRODUCTION}"),
    )


async def make_up_meetings(parts: Parts) -> None:
    """Make up what the first pages show, unless an earlier start did."""
    if await _is_complete(parts.database):
        return
    now = parts.clock.now()
    circle = next((series for series in parts.series if series.by_choice), None)
    await _add_members(parts, now)
    await _record_past_meetings(parts, circle, now)
    await about.save_about(parts.database, demo_content.ABOUT, by=SERVICE, now=now)
    await _change_coming_meetings(parts, circle, now)


async def make_up_the_rest(parts: Parts) -> None:
    """Make up what may come a moment later. If that fails, the service goes on, and the next start tries again."""
    try:
        await make_up_people(parts)
    except Exception as error:  # noqa: BLE001 - logged, and nothing else depends on it
        log.error("demo-incomplete", error=type(error).__name__)


async def make_up_people(parts: Parts) -> None:
    """Make up what may come a moment later, such as the portraits, unless an earlier start did."""
    if await _is_complete(parts.database):
        return
    now = parts.clock.now()
    await _add_requests(parts.database, now)
    await _answer_next_meetings(parts, now)
    await _show_people(parts.database, await asyncio.to_thread(_draw_portraits), now)
    await _send_notice(parts, now)


async def _is_complete(database: Database) -> bool:
    async with database.read() as connection:
        return await notices.by_identity(connection, _LAST_STEP) is not None


async def _add_members(parts: Parts, now: datetime) -> None:
    """Add the made-up members to an empty list, who joined during two years; some follow both series."""
    convenors = {shown.member for shown in demo_content.CONVENORS}
    rows = []
    for number, line in enumerate(demo_content.PEOPLE.strip().split("\n"), start=1):
        name, country, zone, locale = line.split("|")
        row = new_member_row(
            address=f"member{number:02}@{country.lower()}.example.org",
            name=name,
            country=country,
            zone=zone,
            zone_source="given",
            locale=locale,
            now=now - timedelta(days=15 + 17 * (number * 11 % 40)),
            convenor=number in convenors,
        )
        rows.append(row)
    async with parts.database.write() as connection:
        if not await members.counts(connection):
            await members.add(connection, rows)
    by_choice = slugs_by_choice(parts.series)
    yes, since = dict.fromkeys(by_choice, True), now - timedelta(days=300)
    people = await _made_up_members(parts.database)
    async with parts.database.write() as connection:
        for number in people.keys() & demo_content.LISTENERS:
            await follows.choose(connection, people[number].id, yes, by_choice=by_choice, now=since)


async def _made_up_members(database: Database) -> dict[int, Member]:
    """Return the made-up members who are still there, by the number in their address."""
    async with database.read() as connection:
        return {
            int(found[1]): member
            async for member in members.every(connection)
            if (found := re.match(r"member(\d\d)@", member.address))
        }


async def _record_past_meetings(parts: Parts, circle: Series | None, now: datetime) -> None:
    """Record what was said at the last meetings, and who came to them."""
    series = {series.slug: series for series in parts.series}
    people = await _made_up_members(parts.database)
    async with parts.database.write() as connection:
        if await meeting_records.all_themes(connection):
            return
        for name, words in demo_content.THEMES.items():
            await add_theme_in(connection, name, words=words, now=now, by=SERVICE)
        talks: list[tuple[Series, Sequence[Talk]]] = [(parts.series[0], demo_content.TALKS)]
        if circle:
            talks.append((circle, demo_content.LISTENING_TALKS))
        for held, listed in talks:
            for talk, day in zip(listed, _past_days(held, now), strict=False):
                found = await find_occurrence(connection, series, f"{held.slug}/{day}", now=now)
                if found is None:
                    # With somebody's own settings, the rule may be younger than this date.
                    continue
                await amend_in(connection, series, found, _change_of(talk, day), now=now, by=SERVICE)
                for member, answer in _answers(people, held, day):
                    answered = found.starts - timedelta(days=3)
                    await answers.set_answer(connection, member.id, found.key, answer=answer, now=answered)


def _answers(people: Mapping[int, Member], series: Series, day: date) -> Iterator[tuple[Member, str]]:
    """Yield who answered what to a meeting; not everybody does each time."""
    for number, member in people.items():
        answer = _ANSWERS[(number + day.month * 3) % len(_ANSWERS)]
        if answer and (number in demo_content.LISTENERS or not series.by_choice):
            yield member, answer


async def _answer_next_meetings(parts: Parts, now: datetime) -> None:
    """Let some members say that they come to the next meeting of each series."""
    people = await _made_up_members(parts.database)
    for series in parts.series:
        day = next(_coming_days(series, now), None)
        key = f"{series.slug}/{day}"
        async with parts.database.write() as connection:
            if day is None or await occurrences.occurrence_by_key(connection, key) is None:
                continue
            for member, answer in _answers(people, series, day):
                # Whoever declines is not sent an invitation that still waits.
                if answer != "declined":
                    await answers.set_answer(connection, member.id, key, answer=answer, now=now)


def _past_days(series: Series, now: datetime) -> Iterator[date]:
    """Yield the dates of the meetings of a series that are over, from the latest back."""
    day = series.date_before(now.date())
    while day:
        yield day
        day = series.date_before(day)


def _change_of(talk: Talk, day: date) -> Change:
    materials = [f"Recording: https://recordings.example.org/{day}"]
    if talk.has_slides:
        materials.append(f"Slides of the talk: https://slides.example.org/{day}")
    return Change(
        topic=talk.topic,
        speakers=talk.speakers,
        materials="\n".join(materials),
        summary=talk.summary,
        insights=talk.insights,
        themes=talk.themes,
    )


async def _show_people(database: Database, portraits: Mapping[int, Sequence[Photo]], now: datetime) -> None:
    """Show the convenors and some members, with their portraits by the numbers of members."""
    by_number = await _made_up_members(database)
    for person in (*demo_content.CONVENORS, *demo_content.WALL):
        member, photos = by_number.get(person.member), portraits[person.member]
        kind = ProfileKind.WALL if person in demo_content.WALL else ProfileKind.CONVENOR
        if member is None or await _has_profile(database, member, kind):
            continue
        words = profiles.make_words(
            name=person.name, role=person.role, organisation=person.organisation, country=member.country or ""
        )
        if kind is ProfileKind.WALL:
            await profiles.show_member(database, member.address, words, photo=photos, by=SERVICE, now=now)
        elif member.convenor:
            await profiles.show_convenor(database, member.address, words, photo=photos, by=SERVICE, now=now)


async def _has_profile(database: Database, member: Member, kind: ProfileKind) -> bool:
    async with database.read() as connection:
        return await store_profiles.of_member(connection, member.id, kind) is not None


def _draw_portraits() -> dict[int, list[Photo]]:
    """Return the portraits by the numbers of members. Our own drawings need no process that protects us from them."""
    return {
        person.member: make_photos(draw_portrait(person.member, person.style))
        for person in (*demo_content.CONVENORS, *demo_content.WALL)
    }


async def _change_coming_meetings(parts: Parts, circle: Series | None, now: datetime) -> None:
    """Give the next meetings a topic, and tell members that a later one is moved and another one cancelled."""
    first, cancel = parts.series[0], Change(cancel=True)
    topic = Change(topic=demo_content.NEXT_TOPIC, speakers=demo_content.NEXT_SPEAKERS)
    await _change_coming(parts, first, 0, topic, now)
    for day in itertools.islice(_coming_days(first, now), 1, 2):
        earlier = Change(move_to=datetime.combine(day - timedelta(days=1), first.start))
        await _change_coming(parts, first, 1, earlier, now, words=demo_content.MOVED)
    if circle:
        topic = Change(topic=demo_content.NEXT_LISTENING_TOPIC)
        await _change_coming(parts, circle, 0, topic, now)
        await _change_coming(parts, circle, 1, cancel, now, words=demo_content.CANCELLED)
    else:
        await _change_coming(parts, first, 2, cancel, now, words=demo_content.CANCELLED)


async def _change_coming(
    parts: Parts, series: Series, place: int, change: Change, now: datetime, *, words: str = ""
) -> None:
    """Change the coming meeting of a series in that `place` (0: the next one), and tell members if there are `words`.

    With somebody's own settings, the rule may end before.
    """
    all_series = {each.slug: each for each in parts.series}
    for day in itertools.islice(_coming_days(series, now), place, place + 1):
        amended = await amend(
            parts.database, all_series, f"{series.slug}/{day}", change, now=now, reason=words
        )
        if amended.changed and words:
            by_choice = slugs_by_choice(parts.series)
            await tell(parts.database, amended, by_choice=by_choice, words=words, now=now)


def _coming_days(series: Series, now: datetime) -> Iterator[date]:
    return (day for day in series.dates(now.date() - timedelta(days=1)) if series.starts_on(day) > now)


async def _add_requests(database: Database, now: datetime) -> None:
    """Add requests to join that wait for a convenor."""
    for hours, asking in enumerate(demo_content.REQUESTS, start=2):
        asked = now - timedelta(hours=9 * hours)
        async with database.write() as connection:
            if await members.by_key(connection, asking.address):
                continue
            row = new_member_row(
                address=asking.address,
                name=asking.name,
                country=asking.country,
                zone=asking.zone,
                zone_source="confirmed",
                locale=asking.locale,
                status="pending",
                now=asked,
            )
            await members.add(connection, [row])
            member = await members.by_key(connection, asking.address)
            assert member
            await join_requests.add(
                connection,
                member.id,
                asked,
                name=asking.name,
                country=asking.country,
                zone=asking.zone,
                locale=asking.locale,
                words=asking.words,
                follows=None,
            )
            request = await join_requests.latest_of(connection, member.id)
            assert request
            await join_requests.confirm(connection, request.id, asked + timedelta(minutes=5))


async def _send_notice(parts: Parts, now: datetime) -> None:
    """Send a notice at an hour of each member's clock that has come in the east, and not yet in the west."""
    await send_notice(
        parts.database,
        subject=demo_content.NOTICE_SUBJECT,
        body=demo_content.NOTICE_BODY,
        audience=Audience(terms={"all": []}, by_choice=slugs_by_choice(parts.series)),
        audience_text="all",
        at=f"local:{now.astimezone(UTC):%Y-%m-%dT%H:00}",
        identity=_LAST_STEP,
        now=now,
    )
