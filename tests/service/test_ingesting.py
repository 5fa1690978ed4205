"""What comes back by mail is done once, only where a token proves it, and otherwise kept for a look."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.domain.calendar import invitation_uid
from scheduler.domain.inbox import bounce_address, leave_address
from scheduler.domain.problem import Refused
from scheduler.domain.token import Keys, Purpose
from scheduler.service import ingesting
from scheduler.service.amending import Change, amend
from scheduler.service.responding import respond
from scheduler.service.returned_mail import drop_waiting, find_waiting
from scheduler.service.watching import health, troubles
from scheduler.store import answers, members, occurrences, returns
from scheduler.store.members import Member
from tests import bounces, returned
from tests.house import COMMUNITY, House, address_of, open_house

NOW = datetime(2026, 11, 10, 14, tzinfo=UTC)
KEY = "conversation-for-kindness/2026-11-19"
DOMAIN = "bounces.example.org"
STRANGER = Keys(b"x" * 32)


@pytest.fixture
async def house(tmp_path: Path, database_url: str) -> AsyncIterator[House]:
    async with open_house(tmp_path, NOW, url=database_url) as house:
        await house.tick()
        await house.join(("Ann", "Europe/London"), ("Bo", "Pacific/Auckland"))
        await house.planner.tick()
        yield house


async def person(house: House, name: str = "Bo") -> Member:
    async with house.database.read() as connection:
        found = await members.by_key(connection, address_of(name))
        assert found
        return found


async def verp(house: House, name: str = "Bo", *, keys: Keys | None = None) -> str:
    one = await person(house, name)
    return bounce_address(keys or house.keys, one.id, one.address, DOMAIN)


async def leaving(
    house: House, name: str = "Bo", purpose: Purpose = Purpose.LEAVE, *, keys: Keys | None = None
) -> str:
    one = await person(house, name)
    return leave_address((keys or house.keys).token(purpose, one.id, generation=one.generation), DOMAIN)


async def uid(house: House, name: str = "Bo", *, keys: Keys | None = None, reinstated: int = 0) -> str:
    one = await person(house, name)
    async with house.database.read() as connection:
        occurrence = await occurrences.one_occurrence(connection, KEY)
        assert occurrence
    own = (keys or house.keys).name("uid", f"{KEY}:{one.id}")
    return invitation_uid(replace(occurrence, reinstated=reinstated), own, COMMUNITY.domain)


async def ingest(house: House, octets: bytes, recipient: str = "") -> str:
    words = await ingesting.ingest(
        house.database, octets, recipient=recipient, keys=house.keys, domain=COMMUNITY.domain, now=house.clock.now()
    )  # fmt: skip
    assert words.isprintable()
    assert "@" not in words, "an address in what is logged"
    return words


async def kept(house: House) -> list[str]:
    """The kinds of what was kept."""
    async with house.database.read() as connection:
        return [one.kind for one in await returns.every(connection)]


async def answered(house: House, name: str = "Bo") -> str:
    one = await person(house, name)
    async with house.database.read() as connection:
        return await answers.answer_of(connection, one.id, KEY)


async def suppressed(house: House) -> set[str]:
    async with house.database.read() as connection:
        return {one.name async for one in members.every(connection) if one.suppressed_at}


# Leaving


@pytest.mark.parametrize(
    "where", ["To", "Delivered-To", "X-Original-To", "the envelope", "upper case", "any domain"]
)
async def test_who_writes_to_their_address_to_leave_has_left_and_what_is_queued_stays(
    house: House, where: str
) -> None:
    address = await leaving(house)
    match where:
        case "upper case":
            address = address.upper()
        case "any domain":
            address = f"{address.partition('@')[0]}@localhost"
    header = f"{where}: <{address}>\r\n" if "-To" in where or where == "To" else f"To: list <{address}>\r\n"
    if where == "the envelope":
        header = ""
    message = f"From: Bo <bo@example.org>\r\n{header}Subject: unsubscribe\r\n\r\n".encode()
    words = await ingest(house, message, address if where == "the envelope" else "")
    assert words == f"member {(await person(house)).id} has left"
    await house.dispatcher.send_due()
    await house.tick()
    assert await house.states(kind="invitation") == {"Ann": "sent", "Bo": "withdrawn: left"}
    assert (
        await ingest(house, message + b"again", address)
        == f"member {(await person(house)).id} had left before"
    )
    assert await kept(house) == []


async def test_a_wish_to_leave_that_no_token_proves_changes_nothing_and_is_kept(house: House) -> None:
    good = await leaving(house)
    forged = [
        await leaving(house, keys=STRANGER), await leaving(house, purpose=Purpose.PREFERENCES),
        await leaving(house, purpose=Purpose.JOIN), (await verp(house)).replace("b+", "u+"),
        good.replace("u+a", "u+b", 1), f"u+{'a' * 34}@{DOMAIN}", good.replace("u+", "u-"), good[:20] + good[21:],
    ]  # fmt: skip
    for number, one in enumerate(forged):
        await ingest(
            house, f"To: {one}\r\nFrom: bo@example.org\r\nMessage-ID: <{number}>\r\n\r\nLeave".encode()
        )
    assert {one.status for one in [await person(house), await person(house, "Ann")]} == {"active"}
    assert await kept(house) == ["review"] * len(forged)
    await house.change("Bo", generation=1)
    assert "kept for" in await ingest(house, f"To: {good}\r\n\r\nLeave".encode())


# Bounces

BOUNCES: dict[str, Callable[[str, str], bytes]] = {
    "postfix": returned.postfix, "exchange": returned.exchange, "gmail": returned.gmail, "qmail": returned.qmail,
}  # fmt: skip


@pytest.mark.parametrize("form", BOUNCES)
async def test_a_hard_bounce_suppresses_its_member_and_nobody_else(house: House, form: str) -> None:
    words = await ingest(house, BOUNCES[form](await verp(house), address_of("Bo")))
    assert "hard bounce (5.1.1" in words and words.endswith("suppressed")
    assert await suppressed(house) == {"Bo"}
    await house.tick()
    assert await house.states(kind="invitation") == {"Ann": "sent", "Bo": "skipped: suppressed"}


@pytest.mark.parametrize("form", BOUNCES)
async def test_a_forged_bounce_suppresses_nobody_and_is_kept(house: House, form: str) -> None:
    one = await person(house)
    forged = (
        await verp(house, keys=STRANGER),
        bounce_address(house.keys, one.id, address_of("Ann"), DOMAIN),
        (await leaving(house)).replace("u+", "b+"),
        "meetings@conversation.example.org",
    )
    for number, address in enumerate(forged):
        await ingest(house, BOUNCES[form](address, address_of("Bo")) + str(number).encode())
    assert await suppressed(house) == set()
    assert await kept(house) == ["review"] * len(forged)


async def test_a_bounce_of_an_address_that_is_no_longer_theirs_is_nothing(house: House) -> None:
    old = await verp(house)
    await house.change("Bo", address="new@example.org", address_key="new@example.org")
    words = await ingest(house, returned.postfix(old, address_of("Bo")))
    assert words == "a bounce of an address to which nothing goes any more: discarded"
    assert (await suppressed(house), await kept(house)) == (set(), [])


async def test_a_dead_address_behind_a_forward_does_not_suppress_the_member_who_forwards(
    house: House,
) -> None:
    words = await ingest(house, returned.postfix(await verp(house), "somewhere.else@example.org"))
    assert words.startswith("soft bounce (5.1.1)") and words.endswith("counted")
    assert (await suppressed(house), await kept(house)) == (set(), ["soft"])


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (
            bounces.mail("550 5.1.1 Benutzer unbekannt\n", sender="postmaster@corp.example.org", path=""),
            "hard",
        ),
        (bounces.report(bounces.block("5.1.1"), encoding="base64"), "hard"),
        (bounces.report(bounces.block("5.1.1", "550 5.7.1 rejected as spam")), "policy"),
        (bounces.mail("Topic: Chapter 5.1.1\n", subject="Garden Table"), "review"),
        (bounces.mail("I am away until Monday.\n", sender="bo@example.org"), "review"),
    ],
    ids=["German", "base64", "spam", "a daemon's words", "empty return path"],
)
async def test_what_comes_back_to_a_good_return_path_is_counted_or_kept(
    house: House, octets: bytes, kind: str
) -> None:
    octets = octets.replace(bounces.TO.encode(), (await verp(house)).encode())
    assert "discarded" not in await ingest(house, octets)
    assert await kept(house) == [kind]


@pytest.mark.parametrize("action", ["delayed", "relayed", "delivered", "expanded", "Delayed (still trying)"])
async def test_what_is_only_delayed_or_done_is_no_failure(house: House, action: str) -> None:
    words = await ingest(
        house, returned.postfix(await verp(house), address_of("Bo"), action=action, status="4.4.1")
    )
    assert words.startswith("no failure")
    assert (await suppressed(house), await kept(house)) == (set(), [])


async def test_what_others_do_not_want_from_us_suppresses_nobody(house: House) -> None:
    octets = returned.postfix(
        await verp(house), address_of("Bo"), status="5.7.26", said="550 5.7.26 unauthenticated"
    )
    assert "nobody is suppressed" in await ingest(house, octets)
    assert (await suppressed(house), await kept(house)) == (set(), ["policy"])


async def test_a_full_mailbox_is_dead_after_five_bounces_over_three_weeks(house: House) -> None:
    """The library calls 5.2.2 permanent; it is not."""
    begun = house.clock.now()
    for day, ends in (
        (0, "counted"),
        (1, "counted"),
        (2, "counted"),
        (3, "counted"),
        (20, "counted"),
        (21, "suppressed"),
    ):
        house.clock.pass_until(begun + timedelta(days=day))
        words = await ingest(house, returned.postfix(
            await verp(house), address_of("Bo"), status="5.2.2", said="552 5.2.2 mailbox full", identity=str(day)
        ))  # fmt: skip
        assert words.startswith("soft bounce (5.2.2)") and words.endswith(ends)
    assert await suppressed(house) == {"Bo"}


async def test_soft_bounces_of_long_ago_do_not_count(house: House) -> None:
    for number in range(6):
        octets = returned.postfix(await verp(house), address_of("Bo"), status="4.2.1", identity=str(number))
        assert (await ingest(house, octets)).endswith("counted")
        house.clock.pass_(timedelta(days=30))
    assert await suppressed(house) == set()


async def test_the_same_bounce_counts_once_whatever_was_written_above_it_on_its_way(house: House) -> None:
    octets = returned.postfix(await verp(house), address_of("Bo"), status="5.2.2", said="552 5.2.2 full")
    assert (await ingest(house, octets)).endswith("counted")
    for again in (octets, b"Received: from elsewhere\r\n" + octets, octets.replace(b"\r\n", b"\n")):
        assert await ingest(house, again) == "the same message came before; nothing was done"
    assert await kept(house) == ["soft"]


async def test_a_bounce_of_a_known_form_with_a_full_mailbox_in_words_is_soft(house: House) -> None:
    octets = returned.qmail(await verp(house), address_of("Bo"), said="552 5.2.2 mailbox is full")
    assert (await ingest(house, octets)).startswith("soft bounce (5.2.2)")


# Complaints


@pytest.mark.parametrize("proof", ["link", "mailto", "return path"])
async def test_who_complains_has_left(house: House, proof: str) -> None:
    mailto = await leaving(house)
    link = f"<https://meet.example.org/u/{mailto[2:36]}>"
    enclosed = {
        "link": f"List-Unsubscribe: {link}", "mailto": f"List-Unsubscribe:\n <mailto:{mailto}>",
        "return path": f"Return-Path: <{await verp(house)}>",
    }[proof].replace("\n", "\n        ")  # fmt: skip
    words = await ingest(house, returned.complaint("fbl@example.org", enclosed=enclosed))
    assert words == f"a complaint: member {(await person(house)).id} has left"
    assert (await person(house)).status == "left"
    assert await kept(house) == ["complaint"]


async def test_a_complaint_without_a_token_or_that_is_none_is_kept(house: House) -> None:
    forged = f"List-Unsubscribe: <mailto:{await leaving(house, keys=STRANGER)}>"
    good = f"List-Unsubscribe: <mailto:{await leaving(house)}>"
    for number, (kind, enclosed) in enumerate(
        (("abuse", forged), ("abuse", "X-No: link"), ("not-spam", good))
    ):
        await ingest(
            house, returned.complaint("fbl@example.org", kind=kind, enclosed=enclosed, identity=str(number))
        )
    assert (await person(house)).status == "active"
    assert await kept(house) == ["review"] * 3


# Automatic replies and people


@pytest.mark.parametrize(
    "header", ["Auto-Submitted: auto-replied", "Precedence: bulk", "Precedence: auto_reply", "X-Autoreply: yes",
               "X-Autorespond: away", "Auto-Submitted: auto-generated (vacation)"],
)  # fmt: skip
async def test_a_note_of_absence_is_discarded(house: House, header: str) -> None:
    assert await ingest(house, returned.absence(await verp(house), header)) == "an automatic reply: discarded"
    assert (await suppressed(house), await kept(house)) == (set(), [])


async def test_what_a_person_writes_is_kept_whole_for_a_convenor(house: House) -> None:
    octets = returned.absence("meetings@conversation.example.org", "Auto-Submitted: no")
    words = await ingest(house, octets)
    assert words.startswith("kept for somebody's look")
    async with house.database.read() as connection:
        (one,) = await returns.every(connection)
        found = await returns.by_id(connection, one.id)
    assert found and found[1] == octets
    assert (one.address, one.words) == ("bo@example.org", "no bounce, answer or wish to leave: Out of office")


async def flood(
    house: House, number: int, octets: int = 1_000, *, queue: int = 10_000, to: str = "x@y"
) -> str:
    message = (
        f"To: {to}\r\nFrom: Zed <zed{number}@spam.example>\r\nReturn-Path: <>\r\nSubject: {number}\r\n\r\n"
    )
    return await ingesting.ingest(
        house.database, message.encode() + b"x" * octets, keys=house.keys, domain=COMMUNITY.domain,
        now=house.clock.now(), queue=queue,
    )  # fmt: skip


async def test_what_does_not_fit_into_the_queue_is_accepted_and_counted_and_told_of_once(
    house: House,
) -> None:
    """A mail server returns what is refused, to senders who are mostly forged."""
    words = [await flood(house, number) for number in range(10)]
    full = [one for one in words if one.startswith("not kept, only counted")]
    assert len(full) == 6 and await kept(house) == ["review"] * 4
    assert "has left" in await ingest(house, f"To: {await leaving(house)}\r\n\r\n".encode())
    octets = returned.postfix(await verp(house, "Ann"), address_of("Ann"))
    assert (await ingest(house, octets)).endswith("suppressed")
    async with house.database.read() as connection:
        assert [await returns.count(connection, kind) for kind in ("review", "hard")] == [4, 1]
        wrong = await troubles(connection, house.clock.now(), late=timedelta(hours=1))
        again = await troubles(connection, house.clock.now(), late=timedelta(hours=1))
    assert wrong["returns"] == again["returns"] and "returns drop" in wrong["returns"]
    found = await health(house.database, house.clock.now())
    assert found.unkept == 6 and any("so far 6" in one for one in found.troubles(house.clock.now()))


async def test_a_few_large_messages_fill_the_queue_as_many_small_ones_do(house: House) -> None:
    assert "kept for" in await flood(house, 1, octets=200_000, queue=300_000)
    assert "not kept" in await flood(house, 2, octets=200_000, queue=300_000)
    assert "kept for" in await flood(house, 3, octets=10, queue=300_000)


async def test_a_flood_of_strangers_leaves_room_for_what_comes_back_to_our_return_paths(house: House) -> None:
    for number in range(10):
        await flood(house, number)
    assert "not kept" in await flood(house, 11, to=await verp(house, keys=STRANGER))
    assert "kept for" in await flood(house, 12, to=await verp(house))


async def test_dropping_makes_room_again_and_ends_the_alert(house: House) -> None:
    for number in range(10):
        await flood(house, number)
    now = house.clock.now()
    house.clock.pass_(timedelta(days=8))
    assert len(await find_waiting(house.database, older_than=timedelta(days=7), now=house.clock.now())) == 4
    assert await find_waiting(house.database, older_than=timedelta(days=9), now=now) == []
    found = await find_waiting(house.database, sender="SPAM.example", now=now)
    assert await drop_waiting(house.database, found) == 4
    async with house.database.read() as connection:
        assert "returns" not in await troubles(connection, now, late=timedelta(days=1))
    assert "kept for" in await flood(house, 20)


@pytest.mark.parametrize(
    ("encoding", "charset"),
    [("8bit", "utf-8"), ("base64", "utf-8"), ("quoted-printable", "iso-8859-1"), ("base64", "utf-16")],
)
@pytest.mark.parametrize("kind", ["plain", "html"])
async def test_words_are_found_whatever_encoding_hides_them(
    house: House, encoding: str, charset: str, kind: str
) -> None:
    octets = bounces.mail(
        "Günstige   Uhren\n", subject="=?utf-8?b?V8Okc2NoZQ==?=", sender="=?utf-8?q?M=C3=BCller?= <m@x.example>",
        charset=charset, encoding=encoding, kind=kind,
    ).replace(bounces.TO.encode(), b"x@y")  # fmt: skip
    await ingest(house, octets.replace(b"Auto-Submitted: auto-replied\n", b""))
    now = house.clock.now()
    for sender, containing, fits in (
        ("", "günstige uhren", True), ("", "Wäsche", True), ("müller", "", True), ("x.example", "uhren", True),
        ("ann", "uhren", False), ("müller", "ringe", False),
    ):  # fmt: skip
        found = await find_waiting(house.database, sender=sender, containing=containing, now=now)
        assert bool(found) is fits, (sender, containing)


async def test_no_message_is_refused(house: House) -> None:
    for octets in (b"", b" \r\n\r\n"):
        with pytest.raises(Refused, match="no message"):
            await ingest(house, octets)


# Answers

PROGRAMS = {"outlook": returned.outlook, "google": returned.google, "apple": returned.apple}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("partstat", "meant"), [("ACCEPTED", "coming"), ("DECLINED", "declined"), ("TENTATIVE", "maybe")]
)
async def test_an_answer_by_a_calendar_program_is_the_members(
    house: House, program: str, partstat: str, meant: str
) -> None:
    calendar = PROGRAMS[program](await uid(house), "bo@example.org", partstat)
    words = await ingest(house, returned.answer(calendar, encoded=program == "outlook"))
    assert words == f"an answer of member {(await person(house)).id} to {KEY}: {meant}"
    assert (await answered(house), await answered(house, "Ann")) == (meant, "")


async def test_the_highest_sequence_and_stamp_wins_in_whatever_order_answers_come(house: House) -> None:
    own = await uid(house)
    come = [  # partstat, sequence, stamp, and what then holds
        ("ACCEPTED", 0, "20261110T120000Z", "coming"),
        ("DECLINED", 0, "20261110T110000Z", "coming"),
        ("DECLINED", 0, "20261110T123000Z", "declined"),
        ("TENTATIVE", 1, "20261110T100000Z", "maybe"),
        ("ACCEPTED", 0, "20261110T133000Z", "maybe"),
        ("ACCEPTED", 1, "20261110T100000Z", "coming"),
    ]
    for number, (partstat, sequence, stamp, holds) in enumerate(come):
        calendar = returned.google(own, "bo@example.org", partstat, sequence=sequence, stamp=stamp)
        await ingest(house, returned.answer(calendar, identity=str(number)))
        assert await answered(house) == holds, number
    assert await kept(house) == []


async def test_a_clock_that_goes_ahead_does_not_shut_out_later_answers(house: House) -> None:
    own = await uid(house)
    await ingest(house, returned.answer(returned.google(own, "bo@example.org", stamp="20991231T000000Z")))
    house.clock.pass_(timedelta(hours=1))
    late = returned.google(own, "bo@example.org", "DECLINED", stamp="20261110T143000Z")
    await ingest(house, returned.answer(late, identity="2"))
    assert await answered(house) == "declined"


async def test_between_our_page_and_a_calendar_program_the_later_answer_holds(house: House) -> None:
    one, own = await person(house), await uid(house)
    token = house.keys.token(Purpose.RSVP, one.id, generation=0, about=KEY)
    await ingest(house, returned.answer(returned.apple(own, "bo@example.org", sequence=3)))
    await respond(house.database, house.by_slug, token, "declined", keys=house.keys, locale="en-GB", now=NOW)
    earlier = returned.apple(own, "bo@example.org", "ACCEPTED", sequence=3, stamp="20261110T135959Z")
    await ingest(house, returned.answer(earlier, identity="2"))
    assert await answered(house) == "declined"
    house.clock.pass_(timedelta(hours=1))
    later = returned.apple(own, "bo@example.org", "TENTATIVE", sequence=3, stamp="20261110T140001Z")
    await ingest(house, returned.answer(later, identity="3"))
    assert await answered(house) == "maybe"


async def move(house: House) -> None:
    await amend(house.database, house.by_slug, KEY, Change(move_to=datetime(2026, 11, 19, 20)), now=NOW)


SEQUENCE = "SEQUENCE:0\n"
NEW_STARTS = ["DTSTART:20261119T200000Z", "DTSTART;TZID=Europe/London:20261119T200000",
              "DTSTART;TZID=GMT Standard Time:20261119T200000", "DTSTART;TZID=Made Up Time:20261119T200000",
              "DTSTART;TZID=America/New_York:20261119T150000"]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("sequence", ["0", "none", "no number"])
async def test_an_answer_to_the_time_before_a_move_is_discarded(
    house: House, program: str, sequence: str
) -> None:
    await move(house)
    calendar = PROGRAMS[program](await uid(house), "bo@example.org", "DECLINED", stamp="20261112T130000Z")
    calendar = calendar.replace(
        f"\n{SEQUENCE}", {"0": f"\n{SEQUENCE}", "none": "\n", "no number": "\nSEQUENCE:x\n"}[sequence]
    )
    words = await ingest(house, returned.answer(calendar))
    assert words.endswith("before it was changed (SEQUENCE 0, now 1): discarded")
    assert (await answered(house), await kept(house)) == ("", [])
    later = PROGRAMS[program](await uid(house), "bo@example.org", "ACCEPTED", sequence=1)
    await ingest(house, returned.answer(later, identity="2"))
    assert await answered(house) == "coming"


@pytest.mark.parametrize("starts", NEW_STARTS)
async def test_an_answer_without_a_sequence_counts_after_a_move_if_it_names_the_new_start(
    house: House, starts: str
) -> None:
    await move(house)
    calendar = returned.google(await uid(house), "bo@example.org", "DECLINED")
    calendar = calendar.replace(f"\n{SEQUENCE}", "\n").replace("DTSTART:20261119T180000Z", starts)
    await ingest(house, returned.answer(calendar))
    assert await answered(house) == "declined"
    calendar = returned.google(await uid(house), "bo@example.org", "ACCEPTED", sequence=1)
    await ingest(house, returned.answer(calendar, identity="2"))
    assert await answered(house) == "coming", "it shut out a later answer"


async def test_a_topic_that_changes_makes_no_answer_old(house: House) -> None:
    await amend(house.database, house.by_slug, KEY, Change(topic="Kindness"), now=NOW)
    await ingest(house, returned.answer(returned.google(await uid(house), "bo@example.org", "DECLINED")))
    assert await answered(house) == "declined"


async def test_the_invitation_before_a_reinstatement_is_of_the_same_meeting(house: House) -> None:
    await ingest(house, returned.answer(returned.google(await uid(house, reinstated=2), "bo@example.org")))
    assert await answered(house) == "coming"


OTHERS = (
    "ATTENDEE;PARTSTAT=ACCEPTED:mailto:ann@example.org\nATTENDEE;PARTSTAT=ACCEPTED:mailto:zed@example.org\n"
)


@pytest.mark.parametrize(
    ("lines", "sender"),
    [
        ("ATTENDEE;PARTSTAT=DECLINED:mailto:bo@googlemail.example.org", "bo@gmail.example.org"),
        ("ATTENDEE;PARTSTAT=DECLINED:mailto:ann@example.org", "ann@example.org"),
        ("ATTENDEE;PARTSTAT=DECLINED:mailto:bo.private@example.org", "bo@example.org"),
        ("ATTENDEE;PARTSTAT=DECLINED:/o=Exchange/ou=People/cn=bo", "someone@example.org"),
        ("ATTENDEE;PARTSTAT=DECLINED;CN=Bo", "someone@example.org"),
        (f"{OTHERS}ATTENDEE;PARTSTAT=DECLINED:MAILTO:Bo@Example.org", "ann@example.org"),
        (f"ATTENDEE;PARTSTAT=DECLINED;EMAIL=bo@example.org:urn:uuid:1\n{OTHERS}", "ann@example.org"),
        ("ATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:bo@example.org\nATTENDEE;PARTSTAT=DECLINED:mailto:bo@example.org", "x"),
        ('ATTENDEE;CN="Bo;PARTSTAT=DECLINED:mailto:bo@example.org', "bo@example.org"),
        ('ATTENDEE;CN=B"o;PARTSTAT=DECLINED;RSVP=TRUE:mailto:bo@example.org', "bo@example.org"),
        ("ATTENDEE;CN=Bo: Li;PARTSTAT=DECLINED:mailto:bo@example.org", "bo@example.org"),
        ('ATTENDEE;CN="Bo "the Li" x";PARTSTAT="DECLINED":mailto:bo@example.org', "bo@example.org"),
        ("attendee;partstat=declined;cn=Bo,:mailto:bo@example.org", "bo@example.org"),
        ("ATTENDEE;CN=bo@example.org;PARTSTAT=DECLINED;;X=:mailto:bo@example.org", "bo@example.org"),
    ],
)  # fmt: skip
async def test_an_answer_counts_by_the_key_in_its_uid_whatever_address_answers(
    house: House, lines: str, sender: str
) -> None:
    calendar = (
        f"BEGIN:VCALENDAR\nMETHOD:REPLY\nBEGIN:VEVENT\nUID:{await uid(house)}\nDTSTAMP:20261110T130000Z\n"
    )
    calendar += f"SEQUENCE:0\n{lines}\nEND:VEVENT\nEND:VCALENDAR\n"
    await ingest(house, returned.answer(calendar, sender=sender))
    assert (await answered(house), await answered(house, "Ann")) == ("declined", "")


async def test_an_answer_that_names_others_alone_is_kept(house: House) -> None:
    calendar = returned.google(await uid(house), "ann@example.org").replace(
        "END:VEVENT", f"{OTHERS}END:VEVENT"
    )
    assert (await ingest(house, returned.answer(calendar))).startswith("kept for somebody's look")
    assert (await answered(house), await answered(house, "Ann")) == ("", "")


async def test_the_method_of_the_part_holds_where_the_calendar_names_none(house: House) -> None:
    calendar = returned.google(await uid(house), "bo@example.org", "DECLINED").replace("METHOD:REPLY\n", "")
    await ingest(house, returned.answer(calendar))
    assert await answered(house) == "declined"


@pytest.mark.parametrize("how", ["forged", "no meeting", "another domain", "delegated"])
async def test_an_answer_that_proves_nothing_is_kept_and_never_applied(house: House, how: str) -> None:
    own = await uid(house)
    calendar, sender = {
        "another member's": (returned.google(await uid(house, "Ann"), "bo@example.org"), "bo@example.org"),
        "forged": (returned.google(await uid(house, keys=STRANGER), "bo@example.org"), "bo@example.org"),
        "no meeting": (
            returned.google(own.replace("20261119", "20261120"), "bo@example.org"),
            "bo@example.org",
        ),
        "another domain": (returned.google(own.replace("@", "@x."), "bo@example.org"), "bo@example.org"),
        "delegated": (returned.google(own, "bo@example.org", "DELEGATED"), "bo@example.org"),
    }[how]
    assert (await ingest(house, returned.answer(calendar, sender=sender))).startswith(
        "kept for somebody's look"
    )
    assert (await answered(house), await answered(house, "Ann")) == ("", "")
    assert await kept(house) == ["review"]


async def test_an_answer_comes_to_nothing_once_the_meeting_has_begun_or_the_member_has_left(
    house: House,
) -> None:
    calendar = returned.google(await uid(house), "bo@example.org")
    await house.change("Bo", status="left", active_since=None)
    assert "discarded" in await ingest(house, returned.answer(calendar))
    await house.change("Bo", status="active", active_since=NOW)
    house.clock.pass_until(datetime(2026, 11, 19, 18, tzinfo=UTC))
    assert "discarded" in await ingest(house, returned.answer(calendar))
    assert (await answered(house), await kept(house)) == ("", [])


async def test_a_request_or_a_counter_is_no_answer(house: House) -> None:
    for method in ("REQUEST", "COUNTER", "PUBLISH"):
        calendar = returned.google(await uid(house), "bo@example.org").replace("REPLY", method)
        await ingest(house, returned.answer(calendar, identity=method))
    assert (await answered(house), await kept(house)) == ("", ["review"] * 3)
