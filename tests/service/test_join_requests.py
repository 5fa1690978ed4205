"""Asking to join, and the desk: one mail to the address, one convenor's answer, and a welcome before all else."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.actor import SERVICE, Actor
from scheduler.domain.errors import Refused
from scheduler.domain.token import Purpose
from scheduler.service import form_queue, join_requests
from scheduler.service.convenors import command_line_actor
from scheduler.service.join_requests import JoinForm, read_join_form
from scheduler.service.members import erasure_name
from scheduler.service.personal_links import LinkStatus
from scheduler.store import erasures, members, notices
from scheduler.store import forms as form_queue_store
from scheduler.store import join_requests as join_requests_store
from scheduler.store.ledger import claims
from scheduler.store.notices import Notice
from scheduler.store.schema import members as members_table
from tests.conftest import CopyDatabase
from tests.installation import Installation, address_of, open_installation

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
ANN = Actor(channel="console", name="Ann", member=1)
BO = Actor(channel="console", name="Bo", member=2)
DAY = timedelta(days=1)
MAYA = JoinForm(
    name="Maya",
    email="maya@example.org",
    country="NZ",
    zone="Pacific/Auckland",
    locale="en-NZ",
    words="I like to listen.",
)
GOOD = {
    "name": "Maya",
    "email": "maya@example.org",
    "country": "NZ",
    "zone": "Pacific/Auckland",
    "locale": "en",
    "words": "",
    "consent": "yes",
}


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, NOW, url=url) as installation:
        await installation.join(("Ann", "Europe/London"), ("Bo", "Europe/London"), role="convenor")
        await installation.tick()


@pytest.fixture
async def installation(tmp_path: Path, copy_database: CopyDatabase) -> AsyncIterator[Installation]:
    """Nine days before a meeting: its invitation is out."""
    async with open_installation(tmp_path, NOW, url=await copy_database(fill)) as installation:
        yield installation


async def link(installation: Installation, name: str = "Maya", *, made: datetime | None = None) -> str:
    async with installation.database.read() as connection:
        member = await members.by_key(connection, address_of(name))
        assert member
    expires = (made or installation.clock.now()) + timedelta(days=2)
    return installation.keys.token(Purpose.CONFIRM, member.id, generation=member.generation, expires=expires)


async def ask(installation: Installation, form: JoinForm = MAYA) -> None:
    now = installation.clock.now()
    await form_queue.process_form(
        installation.database,
        await form_queue.ask_to_join(installation.database, form, now=now),
        now=now,
    )


async def confirm(installation: Installation, *, admits: bool = False) -> str:
    link_status, request = await join_requests.confirm(
        installation.database,
        await link(installation),
        keys=installation.keys,
        admits=admits,
        all_series=installation.series,
        now=installation.clock.now(),
    )
    assert link_status is LinkStatus.GOOD and request
    return request.state


async def wait_at_the_desk(installation: Installation) -> int:
    """Maya's request, confirmed; its number."""
    await ask(installation)
    assert await confirm(installation) == "waiting"
    async with installation.database.read() as connection:
        (one,) = await join_requests_store.waiting(connection)
        return one.id


async def claimed(installation: Installation, connection: AsyncConnection) -> list[Notice]:
    """What of all that waits can be claimed now."""
    now = installation.clock.now()
    found: list[Notice] = []
    for chunk in await claims.open_chunks(connection, now):
        for one in await connection.run_sync(claims.claim, chunk, run="run", now=now, limit=9):
            notice = await notices.by_id(connection, one.notice)
            assert notice
            found.append(notice)
    return found


async def status(installation: Installation, name: str = "Maya") -> str:
    async with installation.database.read() as connection:
        member = await members.by_key(connection, address_of(name))
        return member.status if member else "unknown"


def subjects(installation: Installation, name: str = "Maya") -> list[str]:
    return [str(one["Subject"]) for one in installation.mails() if address_of(name) in str(one["To"])]


@pytest.mark.both_databases
async def test_who_asks_gets_a_mail_that_says_nothing_they_typed(installation: Installation) -> None:
    await ask(installation, replace(MAYA, name="Buy pills", words="http://spam.example.org"))
    assert await status(installation) == "pending"
    await installation.tick()
    (mail,) = [one for one in installation.mails() if "maya@" in str(one["To"])]
    assert "confirm" in str(mail["Subject"])
    text = "".join(part.get_content() for part in mail.walk() if part.get_content_maintype() == "text")
    assert not any(word in mail.as_string() + text for word in ("pills", "spam", "listen"))
    assert mail["To"] == "maya@example.org"
    token = text.partition("/confirm/")[2].split()[0]
    link_status, request = await join_requests.check_confirmation_link(
        installation.database, token, keys=installation.keys, now=installation.clock.now()
    )
    assert link_status is LinkStatus.GOOD and request and request.state == "unconfirmed"


async def test_the_whole_way_ends_with_a_welcome_and_then_the_invitation_that_is_out(
    installation: Installation,
) -> None:
    number = await wait_at_the_desk(installation)
    await installation.tick()
    assert len(subjects(installation)) == 1
    installation.clock.pass_(timedelta(minutes=1))
    await join_requests.take(installation.database, number, by=ANN, now=installation.clock.now())
    await join_requests.accept(
        installation.database,
        number,
        by=ANN,
        message="Bring *tea*.",
        all_series=installation.series,
        now=installation.clock.now(),
    )
    assert await status(installation) == "active"
    await installation.planner.tick()
    async with installation.database.write() as connection:
        # The invitation was due before, and still cannot be had while the welcome is on its way.
        assert [one.kind for one in await claimed(installation, connection)] == ["welcome"]
        assert await claimed(installation, connection) == []
        await claims.take_over(connection, now=installation.clock.now())
    await installation.tick()
    await installation.tick()
    assert sorted(one.partition(":")[0] for one in subjects(installation) if "confirm" not in one) == [
        "Conversation for Kindness",
        "Welcome to Conversation for Kindness",
    ]
    welcome = next(one for one in installation.mails() if str(one["Subject"]).startswith("Welcome"))
    assert "Friday 20 November, 7:00 am Auckland" in str(welcome["Subject"])
    body = welcome.get_body(("plain",))
    assert body and "tea" in body.get_content() and "/cal/" in body.get_content()
    async with installation.database.read() as connection:
        request = await join_requests_store.by_id(connection, number)
        assert request and (request.message, request.state) == ("Bring *tea*.", "accepted")


async def test_where_nobody_need_decide_who_confirms_is_in_at_once(installation: Installation) -> None:
    await ask(installation)
    assert await confirm(installation, admits=True) == "accepted"
    assert await status(installation) == "active"
    assert await confirm(installation, admits=True) == "accepted"
    await installation.tick()
    assert len([one for one in subjects(installation) if "Welcome" in one]) == 1


async def test_any_number_of_attempts_on_one_address_bring_it_two_mails_a_day(
    installation: Installation,
) -> None:
    await installation.join(("Cy", "Europe/London"))
    for form in (MAYA, replace(MAYA, email="cy@example.org")):
        for _ in range(20):
            await asyncio.gather(*(ask(installation, form) for _ in range(4)))
            installation.clock.pass_(timedelta(minutes=27))
    await installation.tick()
    assert len(subjects(installation)) == 2
    assert ["already a member" in one for one in subjects(installation, "Cy")].count(True) == 2


async def test_a_known_member_is_told_so_and_nothing_of_theirs_is_changed(installation: Installation) -> None:
    await ask(installation, replace(MAYA, email="ANN@example.org", name="Not Ann"))
    await installation.tick()
    assert any("already a member" in one for one in subjects(installation, "Ann"))
    async with installation.database.read() as connection:
        ann = await members.by_key(connection, address_of("Ann"))
        assert ann and (ann.name, ann.zone, ann.status) == ("Ann", "Europe/London", "active")
        assert await join_requests_store.latest_of(connection, ann.id) is None


@pytest.mark.both_databases
async def test_two_convenors_cannot_both_take_or_both_answer(installation: Installation) -> None:
    number = await wait_at_the_desk(installation)
    convenors = [ANN, BO]
    taken = await asyncio.gather(
        *(
            join_requests.take(installation.database, number, by=one, now=installation.clock.now())
            for one in convenors
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(one, Refused) for one in taken) == 1
    holder = convenors[0 if not isinstance(taken[0], Refused) else 1]
    other = next(one for one in convenors if one != holder)
    with pytest.raises(Refused, match="was taken by"):
        await join_requests.accept(
            installation.database,
            number,
            by=other,
            all_series=installation.series,
            now=installation.clock.now(),
        )
    answered = await asyncio.gather(
        join_requests.accept(
            installation.database,
            number,
            by=holder,
            all_series=installation.series,
            now=installation.clock.now(),
        ),
        join_requests.decline(installation.database, number, by=holder, now=installation.clock.now()),
        return_exceptions=True,
    )
    assert sum(isinstance(one, Refused) for one in answered) == 1
    await installation.tick()
    answers = [
        one.kind for one in await installation.reports(state="sent") if one.kind in ("welcome", "decline")
    ]
    assert len(answers) == 1


async def test_what_was_taken_and_forgotten_is_free_again(installation: Installation) -> None:
    number = await wait_at_the_desk(installation)
    await join_requests.take(installation.database, number, by=ANN, now=NOW)
    with pytest.raises(Refused, match="taken by Ann"):
        await join_requests.take(installation.database, number, by=BO, now=NOW + DAY)
    taken = await join_requests.take(
        installation.database, number, by=BO, now=NOW + join_requests.TAKEN_FOR + DAY
    )
    assert taken.state == "taken"
    await installation.join(("Cy", "Europe/London"))
    with pytest.raises(Refused, match="neither a convenor nor a helper"):
        await command_line_actor(installation.database, SERVICE, "cy@example.org")


@pytest.mark.parametrize(("tells", "mails"), [(True, 2), (False, 1)])
async def test_who_is_declined_is_told_kindly_or_not_at_all_and_later_forgotten(
    installation: Installation, *, tells: bool, mails: int
) -> None:
    number = await wait_at_the_desk(installation)
    await join_requests.decline(
        installation.database, number, by=SERVICE, tells=tells, now=installation.clock.now()
    )
    with pytest.raises(Refused, match="already declined"):
        await join_requests.accept(
            installation.database,
            number,
            by=SERVICE,
            all_series=installation.series,
            now=installation.clock.now(),
        )
    await installation.tick()
    assert len(subjects(installation)) == mails
    assert await status(installation) == "pending"
    installation.clock.pass_(timedelta(days=40))
    await installation.tick()
    assert await status(installation) == "unknown"


async def test_what_was_answered_is_carried_out_once_though_the_process_died_in_between(
    installation: Installation,
) -> None:
    await form_queue.ask_to_join(installation.database, MAYA, now=installation.clock.now())
    async with installation.database.read() as connection:
        (number,) = await form_queue_store.pending(connection, until=installation.clock.now())
        assert await connection.scalar(select(func.count()).select_from(members_table)) == 2
    # Another process starts, two ticks meet, and the first was not dead after all.
    await asyncio.gather(
        *(form_queue.process_forms(installation.database, now=installation.clock.now()) for _ in range(2)),
        form_queue.process_form(installation.database, number, now=installation.clock.now()),
    )
    await installation.tick()
    assert len(subjects(installation)) == 1
    async with installation.database.read() as connection:
        assert await form_queue_store.pending(connection, until=installation.clock.now()) == []


async def test_two_asks_for_one_new_address_at_one_moment_make_one_mail(installation: Installation) -> None:
    numbers = [
        await form_queue.ask_to_join(installation.database, MAYA, now=installation.clock.now())
        for _ in range(3)
    ]
    await asyncio.gather(
        *(
            form_queue.process_form(installation.database, one, now=installation.clock.now())
            for one in numbers
        )
    )
    await installation.tick()
    assert len(subjects(installation)) == 1


async def test_an_ask_that_was_left_for_days_is_dropped(installation: Installation) -> None:
    await form_queue.ask_to_join(installation.database, MAYA, now=installation.clock.now())
    installation.clock.pass_(timedelta(days=2))
    await form_queue.process_forms(installation.database, now=installation.clock.now())
    assert await status(installation) == "unknown"
    async with installation.database.read() as connection:
        assert await form_queue_store.pending(connection, until=installation.clock.now()) == []


@pytest.mark.both_databases
async def test_what_nobody_confirms_is_forgotten(installation: Installation) -> None:
    await ask(installation)
    installation.clock.pass_(timedelta(days=2, hours=1))
    await installation.tick()
    assert await status(installation) == "unknown"
    async with installation.database.read() as connection:
        assert await connection.scalar(select(func.count()).select_from(members_table)) == 2


@pytest.mark.both_databases
async def test_convenors_are_reminded_once_a_day_in_one_mail(installation: Installation) -> None:
    await wait_at_the_desk(installation)
    for days in range(1, 8):
        installation.clock.pass_until(NOW + timedelta(days=days, hours=1))
        await installation.tick()
        await installation.tick()
    nudges = [one for one in subjects(installation, "Bo") if "waiting for your answer" in one]
    assert len(nudges) == 3


@pytest.mark.both_databases
async def test_who_left_or_was_erased_may_come_back_by_asking(installation: Installation) -> None:
    await installation.join(("Maya", "Europe/London"), status="left", active_since=None)
    number = await wait_at_the_desk(installation)
    assert await status(installation) == "left"
    await join_requests.accept(
        installation.database,
        number,
        by=SERVICE,
        all_series=installation.series,
        now=installation.clock.now(),
    )
    assert await status(installation) == "active"
    name = erasure_name(installation.keys, address_of("Maya"))
    async with installation.database.write() as connection:
        member = await members.by_key(connection, address_of("Maya"))
        assert member
        await erasures.erase(connection, member, name, installation.clock.now())
    installation.clock.pass_(DAY)
    await ask(installation)
    async with installation.database.read() as connection:
        assert await erasures.find_erased(connection, [name])
    assert await confirm(installation, admits=True) == "accepted"
    async with installation.database.read() as connection:
        assert not await erasures.find_erased(connection, [name])


async def test_an_old_link_to_confirm_says_that_it_has_run_out(installation: Installation) -> None:
    await ask(installation)
    old = await link(installation, made=NOW - timedelta(days=2))
    for act in (
        join_requests.check_confirmation_link(installation.database, old, keys=installation.keys, now=NOW),
        join_requests.confirm(
            installation.database,
            old,
            keys=installation.keys,
            admits=True,
            all_series=installation.series,
            now=NOW,
        ),
    ):
        assert await act == (LinkStatus.EXPIRED, None)
    assert await status(installation) == "pending"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "", "tell us your name"),
        ("name", "x" * 201, "at most 200"),
        ("name", "a\r\nBcc: b@example.org", "U+000D"),
        ("name", "\u202eevil", "U+202E"),
        ("email", "nobody", "@"),
        ("email", "", "email address"),
        ("email", "a\0@example.org", ""),
        ("country", "", "choose your country"),
        ("country", "Atlantis", "not known"),
        ("zone", "Mars/Base", "Mars"),
        ("locale", "tlh-", ""),
        ("words", "x" * 2_001, "at most 2000"),
        ("words", "\x07", "U+0007"),
        ("consent", "", "agree"),
    ],
)
def test_what_is_wrong_is_said_of_its_own_field(field: str, value: str, words: str) -> None:
    form, complaints = read_join_form({**GOOD, field: value})
    assert form is None and list(complaints) == [field]
    assert words in complaints[field].message


def test_names_of_every_script_are_taken_as_they_are() -> None:
    for name in (
        "Zoë 🌍",
        "李雷",
        "O'Brien",
        "Robert'); DROP TABLE members;--",
        "<b>Ann</b>",
        "Ὀδυσσεύς Ivanov",
    ):
        form, complaints = read_join_form({**GOOD, "name": name})
        assert form and (form.name, form.locale) == (name, "en-NZ"), complaints
