"""Asking to join, and the desk: one mail to the address, one convenor's answer, and a welcome before all else."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.problem import Refused
from scheduler.domain.token import Purpose
from scheduler.service import asking, deciding, joining
from scheduler.service.joining import Application, read_application
from scheduler.service.membership import erasure_name
from scheduler.service.recognising import Standing
from scheduler.store import asks, erasures, members, notices, requests
from scheduler.store.ledger import claims
from scheduler.store.notices import Notice
from scheduler.store.schema import members as members_table
from tests.house import House, address_of, open_house

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MAYA = Application(
    name="Maya", email="maya@example.org", country="NZ", zone="Pacific/Auckland", locale="en-NZ",
    words="I like to listen.",
)  # fmt: skip
GOOD = {
    "name": "Maya", "email": "maya@example.org", "country": "NZ", "zone": "Pacific/Auckland", "locale": "en",
    "words": "", "consent": "yes",
}  # fmt: skip


@pytest.fixture
async def house(tmp_path: Path, database_url: str) -> AsyncIterator[House]:
    """Nine days before a meeting: its invitation is out."""
    async with open_house(tmp_path, NOW, url=database_url) as house:
        await house.join(("Ann", "Europe/London"), ("Bo", "Europe/London"), convenor=True)
        await house.tick()
        yield house


async def link(house: House, name: str = "Maya", *, made: datetime | None = None) -> str:
    async with house.database.read() as connection:
        member = await members.by_key(connection, address_of(name))
        assert member
    expires = (made or house.clock.now()) + timedelta(days=2)
    return house.keys.token(Purpose.CONFIRM, member.id, generation=member.generation, expires=expires)


async def ask(house: House, application: Application = MAYA) -> None:
    now = house.clock.now()
    await asking.carry_out(
        house.database, await asking.ask_to_join(house.database, application, now=now), now=now
    )


async def confirm(house: House, *, admits: bool = False) -> str:
    standing, request = await joining.confirm(
        house.database, await link(house), keys=house.keys, admits=admits, now=house.clock.now()
    )
    assert standing is Standing.GOOD and request
    return request.state


async def wait_at_the_desk(house: House) -> int:
    """Maya's request, confirmed; its number."""
    await ask(house)
    assert await confirm(house) == "waiting"
    async with house.database.read() as connection:
        (one,) = await requests.waiting(connection)
        return one.id


async def claimed(house: House, connection: AsyncConnection) -> list[Notice]:
    """What of all that waits can be claimed now."""
    now = house.clock.now()
    found: list[Notice] = []
    for chunk in await claims.open_chunks(connection, now):
        for one in await connection.run_sync(claims.claim, chunk, run="run", now=now, limit=9):
            notice = await notices.by_id(connection, one.notice)
            assert notice
            found.append(notice)
    return found


async def status(house: House, name: str = "Maya") -> str:
    async with house.database.read() as connection:
        member = await members.by_key(connection, address_of(name))
        return member.status if member else "unknown"


def subjects(house: House, name: str = "Maya") -> list[str]:
    return [str(one["Subject"]) for one in house.mails() if address_of(name) in str(one["To"])]


async def test_who_asks_gets_a_mail_that_says_nothing_they_typed(house: House) -> None:
    await ask(house, replace(MAYA, name="Buy pills", words="http://spam.example.org"))
    assert await status(house) == "pending"
    await house.tick()
    (mail,) = [one for one in house.mails() if "maya@" in str(one["To"])]
    assert "confirm" in str(mail["Subject"])
    text = "".join(part.get_content() for part in mail.walk() if part.get_content_maintype() == "text")
    assert not any(word in mail.as_string() + text for word in ("pills", "spam", "listen"))
    assert mail["To"] == "maya@example.org"
    token = text.partition("/confirm/")[2].split()[0]
    standing, request = await joining.look(house.database, token, keys=house.keys, now=house.clock.now())
    assert standing is Standing.GOOD and request and request.state == "unconfirmed"


async def test_the_whole_way_ends_with_a_welcome_and_then_the_invitation_that_is_out(house: House) -> None:
    number = await wait_at_the_desk(house)
    await house.tick()
    assert len(subjects(house)) == 1
    house.clock.pass_(timedelta(minutes=1))
    await deciding.take(house.database, number, by="ann@example.org", now=house.clock.now())
    await deciding.accept(
        house.database, number, by="ann@example.org", message="Bring *tea*.", now=house.clock.now()
    )
    assert await status(house) == "active"
    await house.planner.tick()
    async with house.database.write() as connection:
        # The invitation was due before, and still cannot be had while the welcome is on its way.
        assert [one.kind for one in await claimed(house, connection)] == ["welcome"]
        assert await claimed(house, connection) == []
        await claims.take_over(connection, now=house.clock.now())
    await house.tick()
    await house.tick()
    assert sorted(one.partition(":")[0] for one in subjects(house) if "confirm" not in one) == [
        "Conversation for Kindness", "Welcome to Conversation for Kindness",
    ]  # fmt: skip
    welcome = next(one for one in house.mails() if str(one["Subject"]).startswith("Welcome"))
    assert "Friday 20 November, 7:00 am Auckland" in str(welcome["Subject"])
    body = welcome.get_body(("plain",))
    assert body and "tea" in body.get_content() and "/cal/" in body.get_content()
    async with house.database.read() as connection:
        request = await requests.by_id(connection, number)
        assert request and (request.message, request.state) == ("Bring *tea*.", "accepted")


async def test_where_nobody_need_decide_who_confirms_is_in_at_once(house: House) -> None:
    await ask(house)
    assert await confirm(house, admits=True) == "accepted"
    assert await status(house) == "active"
    assert await confirm(house, admits=True) == "accepted"
    await house.tick()
    assert len([one for one in subjects(house) if "Welcome" in one]) == 1


async def test_ten_thousand_attempts_on_one_address_bring_it_two_mails_a_day(house: House) -> None:
    await house.join(("Cy", "Europe/London"))
    for application in (MAYA, replace(MAYA, email="cy@example.org")):
        for _ in range(50):
            await asyncio.gather(*(ask(house, application) for _ in range(4)))
            house.clock.pass_(timedelta(minutes=11))
    await house.tick()
    assert len(subjects(house)) == 2
    assert ["already with us" in one for one in subjects(house, "Cy")].count(True) == 2


async def test_a_known_member_is_told_so_and_nothing_of_theirs_is_changed(house: House) -> None:
    await ask(house, replace(MAYA, email="ANN@example.org", name="Not Ann"))
    await house.tick()
    assert any("already with us" in one for one in subjects(house, "Ann"))
    async with house.database.read() as connection:
        ann = await members.by_key(connection, address_of("Ann"))
        assert ann and (ann.name, ann.zone, ann.status) == ("Ann", "Europe/London", "active")
        assert await requests.latest_of(connection, ann.id) is None


async def test_two_convenors_cannot_both_take_or_both_answer(house: House) -> None:
    number = await wait_at_the_desk(house)
    convenors = ["ann@example.org", "bo@example.org"]
    taken = await asyncio.gather(
        *(deciding.take(house.database, number, by=one, now=house.clock.now()) for one in convenors),
        return_exceptions=True,
    )
    assert sum(isinstance(one, Refused) for one in taken) == 1
    holder = convenors[0 if not isinstance(taken[0], Refused) else 1]
    other = next(one for one in convenors if one != holder)
    with pytest.raises(Refused, match="was taken by"):
        await deciding.accept(house.database, number, by=other, now=house.clock.now())
    answered = await asyncio.gather(
        deciding.accept(house.database, number, by=holder, now=house.clock.now()),
        deciding.decline(house.database, number, by=holder, now=house.clock.now()),
        return_exceptions=True,
    )
    assert sum(isinstance(one, Refused) for one in answered) == 1
    await house.tick()
    answers = [one.kind for one in await house.reports(state="sent") if one.kind in ("welcome", "decline")]
    assert len(answers) == 1


async def test_what_was_taken_and_forgotten_is_free_again(house: House) -> None:
    number = await wait_at_the_desk(house)
    await deciding.take(house.database, number, by="ann@example.org", now=NOW)
    with pytest.raises(Refused, match="taken by Ann"):
        await deciding.take(house.database, number, by="bo@example.org", now=NOW + DAY)
    taken = await deciding.take(
        house.database, number, by="bo@example.org", now=NOW + deciding.TAKEN_FOR + DAY
    )
    assert taken.state == "taken"
    await house.join(("Cy", "Europe/London"))
    with pytest.raises(Refused, match="no convenor"):
        await deciding.take(house.database, number, by="cy@example.org", now=NOW)


@pytest.mark.parametrize(("tells", "mails"), [(True, 2), (False, 1)])
async def test_who_is_declined_is_told_kindly_or_not_at_all_and_later_forgotten(
    house: House, *, tells: bool, mails: int
) -> None:
    number = await wait_at_the_desk(house)
    await deciding.decline(house.database, number, by=None, tells=tells, now=house.clock.now())
    with pytest.raises(Refused, match="declined already"):
        await deciding.accept(house.database, number, by=None, now=house.clock.now())
    await house.tick()
    assert len(subjects(house)) == mails
    assert await status(house) == "pending"
    house.clock.pass_(timedelta(days=40))
    await house.tick()
    assert await status(house) == "unknown"


async def test_what_was_answered_is_carried_out_once_though_the_process_died_in_between(house: House) -> None:
    await asking.ask_to_join(house.database, MAYA, now=house.clock.now())
    async with house.database.read() as connection:
        (number,) = await asks.left(connection, until=house.clock.now())
        assert await connection.scalar(select(func.count()).select_from(members_table)) == 2
    # Another process starts, two ticks meet, and the first was not dead after all.
    await asyncio.gather(
        *(asking.carry_out_left(house.database, now=house.clock.now()) for _ in range(2)),
        asking.carry_out(house.database, number, now=house.clock.now()),
    )
    await house.tick()
    assert len(subjects(house)) == 1
    async with house.database.read() as connection:
        assert await asks.left(connection, until=house.clock.now()) == []


async def test_two_asks_for_one_new_address_at_one_moment_make_one_mail(house: House) -> None:
    numbers = [await asking.ask_to_join(house.database, MAYA, now=house.clock.now()) for _ in range(3)]
    await asyncio.gather(*(asking.carry_out(house.database, one, now=house.clock.now()) for one in numbers))
    await house.tick()
    assert len(subjects(house)) == 1


async def test_an_ask_that_was_left_for_days_is_dropped(house: House) -> None:
    await asking.ask_to_join(house.database, MAYA, now=house.clock.now())
    house.clock.pass_(timedelta(days=2))
    await asking.carry_out_left(house.database, now=house.clock.now())
    assert await status(house) == "unknown"
    async with house.database.read() as connection:
        assert await asks.left(connection, until=house.clock.now()) == []


async def test_what_nobody_confirms_is_forgotten(house: House) -> None:
    await ask(house)
    house.clock.pass_(timedelta(days=2, hours=1))
    await house.tick()
    assert await status(house) == "unknown"
    async with house.database.read() as connection:
        assert await connection.scalar(select(func.count()).select_from(members_table)) == 2


async def test_convenors_are_reminded_once_a_day_in_one_mail(house: House) -> None:
    await wait_at_the_desk(house)
    for days in range(1, 8):
        house.clock.pass_until(NOW + timedelta(days=days, hours=1))
        await house.tick()
        await house.tick()
    nudges = [one for one in subjects(house, "Bo") if "waits for your answer" in one]
    assert len(nudges) == 3


async def test_who_left_or_was_erased_may_come_back_by_asking(house: House) -> None:
    await house.join(("Maya", "Europe/London"), status="left", active_since=None)
    number = await wait_at_the_desk(house)
    assert await status(house) == "left"
    await deciding.accept(house.database, number, by=None, now=house.clock.now())
    assert await status(house) == "active"
    name = erasure_name(house.keys, address_of("Maya"))
    async with house.database.write() as connection:
        member = await members.by_key(connection, address_of("Maya"))
        assert member
        await erasures.erase(connection, member, name, house.clock.now())
    house.clock.pass_(DAY)
    await ask(house)
    async with house.database.read() as connection:
        assert await erasures.erased(connection, [name])
    assert await confirm(house, admits=True) == "accepted"
    async with house.database.read() as connection:
        assert not await erasures.erased(connection, [name])


async def test_an_old_link_to_confirm_says_that_it_has_run_out(house: House) -> None:
    await ask(house)
    old = await link(house, made=NOW - timedelta(days=2))
    for act in (
        joining.look(house.database, old, keys=house.keys, now=NOW),
        joining.confirm(house.database, old, keys=house.keys, admits=True, now=NOW),
    ):
        assert await act == (Standing.EXPIRED, None)
    assert await status(house) == "pending"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "", "what to call you"), ("name", "x" * 201, "at most 200"),
        ("name", "a\r\nBcc: b@example.org", "U+000D"),
        ("name", "\u202eevil", "U+202E"), ("email", "nobody", "@"),
        ("email", "", "goes to"), ("email", "a\0@example.org", ""),
        ("country", "", "choose your country"), ("country", "Atlantis", "not known"), ("zone", "Mars/Base", "Mars"),
        ("locale", "tlh-", ""), ("words", "x" * 2_001, "at most 2000"), ("words", "\x07", "U+0007"),
        ("consent", "", "agree"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_of_its_own_field(field: str, value: str, words: str) -> None:
    application, complaints = read_application({**GOOD, field: value})
    assert application is None and list(complaints) == [field]
    assert words in complaints[field]


def test_names_of_every_script_are_taken_as_they_are() -> None:
    for name in (
        "Zoë 🌍",
        "李雷",
        "O'Brien",
        "Robert'); DROP TABLE members;--",
        "<b>Ann</b>",
        "Ὀδυσσεύς Ivanov",
    ):
        application, complaints = read_application({**GOOD, "name": name})
        assert application and (application.name, application.locale) == (name, "en-NZ"), complaints
