"""Inbound mail is acted on once, only if a token proves it; anything else is kept for review."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.domain.calendar import invitation_uid
from scheduler.domain.errors import Refused
from scheduler.domain.token import Keys, Purpose, bounce_address, leave_address
from scheduler.service import inbound
from scheduler.service.health import health, troubles
from scheduler.service.occurrences import Change, amend
from scheduler.service.returned_mail import drop_waiting, find_waiting
from scheduler.service.rsvp import respond
from scheduler.store import answers, members, occurrences, returns
from scheduler.store.members import Member
from tests import bounces
from tests import inbound_mail as returned
from tests.conftest import CopyDatabase
from tests.installation import COMMUNITY, Installation, address_of, open_installation

NOW = datetime(2026, 11, 10, 14, tzinfo=UTC)
KEY = "conversation-for-kindness/2026-11-19"
DOMAIN = "bounces.example.org"
STRANGER = Keys(b"x" * 32)


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, NOW, url=url) as installation:
        await installation.tick()
        await installation.join(("Ann", "Europe/London"), ("Bo", "Pacific/Auckland"))
        await installation.planner.tick()


@pytest.fixture
async def installation(tmp_path: Path, copy_database: CopyDatabase) -> AsyncIterator[Installation]:
    async with open_installation(tmp_path, NOW, url=await copy_database(fill)) as installation:
        yield installation


async def person(installation: Installation, name: str = "Bo") -> Member:
    async with installation.database.read() as connection:
        member = await members.by_key(connection, address_of(name))
        assert member
        return member


async def verp(installation: Installation, name: str = "Bo", *, keys: Keys | None = None) -> str:
    member = await person(installation, name)
    return bounce_address(keys or installation.keys, member.id, member.address, DOMAIN)


async def leaving(
    installation: Installation,
    name: str = "Bo",
    purpose: Purpose = Purpose.LEAVE,
    *,
    keys: Keys | None = None,
) -> str:
    member = await person(installation, name)
    return leave_address(
        (keys or installation.keys).token(purpose, member.id, generation=member.generation), DOMAIN
    )


async def uid(
    installation: Installation, name: str = "Bo", *, keys: Keys | None = None, reinstated: int = 0
) -> str:
    member = await person(installation, name)
    async with installation.database.read() as connection:
        occurrence = await occurrences.occurrence_by_key(connection, KEY)
        assert occurrence
    own = (keys or installation.keys).name("uid", f"{KEY}:{member.id}")
    return invitation_uid(replace(occurrence, reinstated=reinstated), own, COMMUNITY.domain)


async def ingest(installation: Installation, octets: bytes, recipient: str = "") -> str:
    handled = await inbound.ingest(
        installation.database,
        octets,
        recipient=recipient,
        keys=installation.keys,
        domain=COMMUNITY.domain,
        now=installation.clock.now(),
    )
    words = handled.words
    assert words.isprintable()
    assert "@" not in words, "an address in what is logged"
    return words


async def kept_kinds(installation: Installation) -> list[str]:
    """Return the kinds of the rows that were kept."""
    async with installation.database.read() as connection:
        return [message.kind for message in await returns.every(connection)]


async def answered(installation: Installation, name: str = "Bo") -> str:
    member = await person(installation, name)
    async with installation.database.read() as connection:
        return await answers.answer_of(connection, member.id, KEY)


async def suppressed(installation: Installation) -> set[str]:
    async with installation.database.read() as connection:
        return {member.name async for member in members.every(connection) if member.suppressed_at}


# Leaving


@pytest.mark.parametrize(
    "where", ["To", "Delivered-To", "X-Original-To", "the envelope", "upper case", "any domain"]
)
async def test_who_writes_to_their_address_to_leave_has_left_and_what_is_queued_stays(
    installation: Installation, where: str
) -> None:
    address = await leaving(installation)
    match where:
        case "upper case":
            address = address.upper()
        case "any domain":
            address = f"{address.partition('@')[0]}@localhost"
    header = f"{where}: <{address}>\r\n" if "-To" in where or where == "To" else f"To: list <{address}>\r\n"
    if where == "the envelope":
        header = ""
    message = f"From: Bo <bo@example.org>\r\n{header}Subject: unsubscribe\r\n\r\n".encode()
    words = await ingest(installation, message, address if where == "the envelope" else "")
    assert words == f"member {(await person(installation)).id} has left"
    await installation.dispatcher.send_due()
    await installation.tick()
    assert await installation.states(kind="invitation") == {"Ann": "sent", "Bo": "withdrawn: left"}
    assert (
        await ingest(installation, message + b"again", address)
        == f"member {(await person(installation)).id} had left before"
    )
    assert await kept_kinds(installation) == []


async def test_a_wish_to_leave_that_no_token_proves_changes_nothing_and_is_kept(
    installation: Installation,
) -> None:
    good = await leaving(installation)
    forged = [
        await leaving(installation, keys=STRANGER),
        await leaving(installation, purpose=Purpose.PREFERENCES),
        await leaving(installation, purpose=Purpose.JOIN),
        (await verp(installation)).replace("b+", "u+"),
        good.replace("u+a", "u+b", 1),
        f"u+{'a' * 34}@{DOMAIN}",
        good.replace("u+", "u-"),
        good[:20] + good[21:],
    ]
    for number, address in enumerate(forged):
        await ingest(
            installation,
            f"To: {address}\r\nFrom: bo@example.org\r\nMessage-ID: <{number}>\r\n\r\nLeave".encode(),
        )
    assert {
        address.status for address in [await person(installation), await person(installation, "Ann")]
    } == {"active"}
    assert await kept_kinds(installation) == ["review"] * len(forged)
    await installation.change("Bo", generation=1)
    assert "kept for" in await ingest(installation, f"To: {good}\r\n\r\nLeave".encode())


# Bounces

BOUNCES: dict[str, Callable[[str, str], bytes]] = {
    "postfix": returned.postfix,
    "exchange": returned.exchange,
    "gmail": returned.gmail,
    "qmail": returned.qmail,
}


@pytest.mark.parametrize("form", BOUNCES)
async def test_a_hard_bounce_suppresses_its_member_and_nobody_else(
    installation: Installation, form: str
) -> None:
    words = await ingest(installation, BOUNCES[form](await verp(installation), address_of("Bo")))
    assert "hard bounce (5.1.1" in words and words.endswith("suppressed")
    assert await suppressed(installation) == {"Bo"}
    await installation.tick()
    assert await installation.states(kind="invitation") == {"Ann": "sent", "Bo": "skipped: suppressed"}


@pytest.mark.parametrize("form", BOUNCES)
async def test_a_forged_bounce_suppresses_nobody_and_is_kept(installation: Installation, form: str) -> None:
    member = await person(installation)
    forged = (
        await verp(installation, keys=STRANGER),
        bounce_address(installation.keys, member.id, address_of("Ann"), DOMAIN),
        (await leaving(installation)).replace("u+", "b+"),
        "meetings@conversation.example.org",
    )
    for number, address in enumerate(forged):
        await ingest(installation, BOUNCES[form](address, address_of("Bo")) + str(number).encode())
    assert await suppressed(installation) == set()
    assert await kept_kinds(installation) == ["review"] * len(forged)


async def test_a_bounce_of_an_address_that_is_no_longer_theirs_is_nothing(installation: Installation) -> None:
    old = await verp(installation)
    await installation.change("Bo", address="new@example.org", address_key="new@example.org")
    words = await ingest(installation, returned.postfix(old, address_of("Bo")))
    assert words == "a bounce of an address that is no longer used: discarded"
    assert (await suppressed(installation), await kept_kinds(installation)) == (set(), [])


async def test_a_dead_address_behind_a_forward_does_not_suppress_the_member_who_forwards(
    installation: Installation,
) -> None:
    words = await ingest(
        installation, returned.postfix(await verp(installation), "somewhere.else@example.org")
    )
    assert words.startswith("soft bounce (5.1.1)") and words.endswith("counted")
    assert (await suppressed(installation), await kept_kinds(installation)) == (set(), ["soft"])


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
    installation: Installation, octets: bytes, kind: str
) -> None:
    octets = octets.replace(bounces.TO.encode(), (await verp(installation)).encode())
    assert "discarded" not in await ingest(installation, octets)
    assert await kept_kinds(installation) == [kind]


@pytest.mark.parametrize("action", ["delayed", "relayed", "delivered", "expanded", "Delayed (still trying)"])
async def test_what_is_only_delayed_or_done_is_no_failure(installation: Installation, action: str) -> None:
    words = await ingest(
        installation,
        returned.postfix(await verp(installation), address_of("Bo"), action=action, status="4.4.1"),
    )
    assert words.startswith("no failure")
    assert (await suppressed(installation), await kept_kinds(installation)) == (set(), [])


async def test_what_others_do_not_want_from_us_suppresses_nobody(installation: Installation) -> None:
    octets = returned.postfix(
        await verp(installation), address_of("Bo"), status="5.7.26", said="550 5.7.26 unauthenticated"
    )
    assert "nobody is suppressed" in await ingest(installation, octets)
    assert (await suppressed(installation), await kept_kinds(installation)) == (set(), ["policy"])


async def test_a_full_mailbox_is_dead_after_five_bounces_over_three_weeks(installation: Installation) -> None:
    """The library calls 5.2.2 permanent; it is not."""
    begun = installation.clock.now()
    for day, ends in (
        (0, "counted"),
        (1, "counted"),
        (2, "counted"),
        (3, "counted"),
        (20, "counted"),
        (21, "suppressed"),
    ):
        installation.clock.pass_until(begun + timedelta(days=day))
        words = await ingest(
            installation,
            returned.postfix(
                await verp(installation),
                address_of("Bo"),
                status="5.2.2",
                said="552 5.2.2 mailbox full",
                identity=str(day),
            ),
        )
        assert words.startswith("soft bounce (5.2.2)") and words.endswith(ends)
    assert await suppressed(installation) == {"Bo"}


async def test_soft_bounces_of_long_ago_do_not_count(installation: Installation) -> None:
    for number in range(6):
        octets = returned.postfix(
            await verp(installation), address_of("Bo"), status="4.2.1", identity=str(number)
        )
        assert (await ingest(installation, octets)).endswith("counted")
        installation.clock.pass_(timedelta(days=30))
    assert await suppressed(installation) == set()


async def test_the_same_bounce_counts_once_whatever_was_written_above_it_on_its_way(
    installation: Installation,
) -> None:
    octets = returned.postfix(
        await verp(installation), address_of("Bo"), status="5.2.2", said="552 5.2.2 full"
    )
    assert (await ingest(installation, octets)).endswith("counted")
    for again in (octets, b"Received: from elsewhere\r\n" + octets, octets.replace(b"\r\n", b"\n")):
        assert await ingest(installation, again) == "this message was received before; nothing was done"
    assert await kept_kinds(installation) == ["soft"]


@pytest.mark.both_databases
async def test_a_bounce_of_a_known_form_with_a_full_mailbox_in_words_is_soft(
    installation: Installation,
) -> None:
    octets = returned.qmail(await verp(installation), address_of("Bo"), said="552 5.2.2 mailbox is full")
    assert (await ingest(installation, octets)).startswith("soft bounce (5.2.2)")


# Complaints


@pytest.mark.parametrize("proof", ["link", "mailto", "return path"])
async def test_who_complains_has_left(installation: Installation, proof: str) -> None:
    mailto = await leaving(installation)
    link = f"<https://meet.example.org/u/{mailto[2:36]}>"
    enclosed = {
        "link": f"List-Unsubscribe: {link}",
        "mailto": f"List-Unsubscribe:\n <mailto:{mailto}>",
        "return path": f"Return-Path: <{await verp(installation)}>",
    }[proof].replace("\n", "\n        ")
    words = await ingest(installation, returned.complaint("fbl@example.org", enclosed=enclosed))
    assert words == f"a complaint: member {(await person(installation)).id} has left"
    assert (await person(installation)).status == "left"
    assert await kept_kinds(installation) == ["complaint"]


async def test_a_complaint_without_a_token_or_that_is_none_is_kept(installation: Installation) -> None:
    forged = f"List-Unsubscribe: <mailto:{await leaving(installation, keys=STRANGER)}>"
    good = f"List-Unsubscribe: <mailto:{await leaving(installation)}>"
    for number, (kind, enclosed) in enumerate(
        (("abuse", forged), ("abuse", "X-No: link"), ("not-spam", good))
    ):
        await ingest(
            installation,
            returned.complaint("fbl@example.org", kind=kind, enclosed=enclosed, identity=str(number)),
        )
    assert (await person(installation)).status == "active"
    assert await kept_kinds(installation) == ["review"] * 3


# Automatic replies and people


@pytest.mark.parametrize(
    "header",
    [
        "Auto-Submitted: auto-replied",
        "Precedence: bulk",
        "Precedence: auto_reply",
        "X-Autoreply: yes",
        "X-Autorespond: away",
        "Auto-Submitted: auto-generated (vacation)",
    ],
)
async def test_a_note_of_absence_is_discarded(installation: Installation, header: str) -> None:
    assert (
        await ingest(installation, returned.absence(await verp(installation), header))
        == "an automatic reply: discarded"
    )
    assert (await suppressed(installation), await kept_kinds(installation)) == (set(), [])


@pytest.mark.both_databases
async def test_what_a_person_writes_is_kept_whole_for_a_convenor(installation: Installation) -> None:
    octets = returned.absence("meetings@conversation.example.org", "Auto-Submitted: no")
    words = await ingest(installation, octets)
    assert words.startswith("kept for review")
    async with installation.database.read() as connection:
        (message,) = await returns.every(connection)
        row = await returns.by_id(connection, message.id)
    assert row and row[1] == octets
    assert (message.address, message.words) == ("bo@example.org", "a letter: Out of office")


async def flood(
    installation: Installation, number: int, octets: int = 1_000, *, queue: int = 10_000, to: str = "x@y"
) -> str:
    message = (
        f"To: {to}\r\nFrom: Zed <zed{number}@spam.example>\r\nReturn-Path: <>\r\nSubject: {number}\r\n\r\n"
    )
    handled = await inbound.ingest(
        installation.database,
        message.encode() + b"x" * octets,
        keys=installation.keys,
        domain=COMMUNITY.domain,
        now=installation.clock.now(),
        queue=queue,
    )
    return handled.words


@pytest.mark.both_databases
async def test_what_does_not_fit_into_the_queue_is_accepted_and_counted_and_told_of_once(
    installation: Installation,
) -> None:
    """A mail server would return refused messages to senders who are mostly forged."""
    words = [await flood(installation, number) for number in range(10)]
    full = [line for line in words if line.startswith("not kept, only counted")]
    assert len(full) == 6 and await kept_kinds(installation) == ["review"] * 4
    assert "has left" in await ingest(installation, f"To: {await leaving(installation)}\r\n\r\n".encode())
    octets = returned.postfix(await verp(installation, "Ann"), address_of("Ann"))
    assert (await ingest(installation, octets)).endswith("suppressed")
    async with installation.database.read() as connection:
        assert [await returns.count(connection, kind) for kind in ("review", "hard")] == [4, 1]
        wrong = await troubles(connection, installation.clock.now(), late=timedelta(hours=1))
        again = await troubles(connection, installation.clock.now(), late=timedelta(hours=1))
    assert wrong["returns"] == again["returns"] and "returns drop" in wrong["returns"]
    report = await health(installation.database, installation.clock.now())
    assert report.unkept == 6 and any(
        "so far 6" in line for line in report.troubles(installation.clock.now())
    )


async def test_a_few_large_messages_fill_the_queue_as_many_small_ones_do(installation: Installation) -> None:
    assert "kept for" in await flood(installation, 1, octets=200_000, queue=300_000)
    assert "not kept" in await flood(installation, 2, octets=200_000, queue=300_000)
    assert "kept for" in await flood(installation, 3, octets=10, queue=300_000)


async def test_a_flood_of_strangers_leaves_room_for_what_comes_back_to_our_return_paths(
    installation: Installation,
) -> None:
    for number in range(10):
        await flood(installation, number)
    assert "not kept" in await flood(installation, 11, to=await verp(installation, keys=STRANGER))
    assert "kept for" in await flood(installation, 12, to=await verp(installation))


@pytest.mark.both_databases
async def test_dropping_makes_room_again_and_ends_the_alert(installation: Installation) -> None:
    for number in range(10):
        await flood(installation, number)
    now = installation.clock.now()
    installation.clock.pass_(timedelta(days=8))
    assert (
        len(
            await find_waiting(
                installation.database, older_than=timedelta(days=7), now=installation.clock.now()
            )
        )
        == 4
    )
    assert await find_waiting(installation.database, older_than=timedelta(days=9), now=now) == []
    numbers = await find_waiting(installation.database, sender="SPAM.example", now=now)
    assert await drop_waiting(installation.database, numbers) == 4
    async with installation.database.read() as connection:
        assert "returns" not in await troubles(connection, now, late=timedelta(days=1))
    assert "kept for" in await flood(installation, 20)


@pytest.mark.parametrize(
    ("encoding", "charset"),
    [("8bit", "utf-8"), ("base64", "utf-8"), ("quoted-printable", "iso-8859-1"), ("base64", "utf-16")],
)
@pytest.mark.parametrize("kind", ["plain", "html"])
async def test_words_are_found_whatever_encoding_hides_them(
    installation: Installation, encoding: str, charset: str, kind: str
) -> None:
    octets = bounces.mail(
        "Günstige   Uhren\n",
        subject="=?utf-8?b?V8Okc2NoZQ==?=",
        sender="=?utf-8?q?M=C3=BCller?= <m@x.example>",
        charset=charset,
        encoding=encoding,
        kind=kind,
    ).replace(bounces.TO.encode(), b"x@y")
    await ingest(installation, octets.replace(b"Auto-Submitted: auto-replied\n", b""))
    now = installation.clock.now()
    for sender, containing, fits in (
        ("", "günstige uhren", True),
        ("", "Wäsche", True),
        ("müller", "", True),
        ("x.example", "uhren", True),
        ("ann", "uhren", False),
        ("müller", "ringe", False),
    ):
        numbers = await find_waiting(installation.database, sender=sender, containing=containing, now=now)
        assert bool(numbers) is fits, (sender, containing)


async def test_no_message_is_refused(installation: Installation) -> None:
    for octets in (b"", b" \r\n\r\n"):
        with pytest.raises(Refused, match="no message"):
            await ingest(installation, octets)


# Answers

PROGRAMS = {"outlook": returned.outlook, "google": returned.google, "apple": returned.apple}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("partstat", "meant"), [("ACCEPTED", "coming"), ("DECLINED", "declined"), ("TENTATIVE", "maybe")]
)
async def test_an_answer_by_a_calendar_program_is_the_members(
    installation: Installation, program: str, partstat: str, meant: str
) -> None:
    calendar = PROGRAMS[program](await uid(installation), "bo@example.org", partstat)
    words = await ingest(installation, returned.answer(calendar, encoded=program == "outlook"))
    assert words == f"an answer of member {(await person(installation)).id} to {KEY}: {meant}"
    assert (await answered(installation), await answered(installation, "Ann")) == (meant, "")


async def test_the_highest_sequence_and_stamp_wins_in_whatever_order_answers_come(
    installation: Installation,
) -> None:
    own = await uid(installation)
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
        await ingest(installation, returned.answer(calendar, identity=str(number)))
        assert await answered(installation) == holds, number
    assert await kept_kinds(installation) == []


async def test_a_clock_that_goes_ahead_does_not_shut_out_later_answers(installation: Installation) -> None:
    own = await uid(installation)
    await ingest(
        installation, returned.answer(returned.google(own, "bo@example.org", stamp="20991231T000000Z"))
    )
    installation.clock.pass_(timedelta(hours=1))
    late = returned.google(own, "bo@example.org", "DECLINED", stamp="20261110T143000Z")
    await ingest(installation, returned.answer(late, identity="2"))
    assert await answered(installation) == "declined"


async def test_between_our_page_and_a_calendar_program_the_later_answer_holds(
    installation: Installation,
) -> None:
    member, own = await person(installation), await uid(installation)
    token = installation.keys.token(Purpose.RSVP, member.id, generation=0, about=KEY)
    await ingest(installation, returned.answer(returned.apple(own, "bo@example.org", sequence=3)))
    await respond(
        installation.database,
        installation.by_slug,
        token,
        "declined",
        keys=installation.keys,
        locale="en-GB",
        now=NOW,
    )
    earlier = returned.apple(own, "bo@example.org", "ACCEPTED", sequence=3, stamp="20261110T135959Z")
    await ingest(installation, returned.answer(earlier, identity="2"))
    assert await answered(installation) == "declined"
    installation.clock.pass_(timedelta(hours=1))
    later = returned.apple(own, "bo@example.org", "TENTATIVE", sequence=3, stamp="20261110T140001Z")
    await ingest(installation, returned.answer(later, identity="3"))
    assert await answered(installation) == "maybe"


async def move(installation: Installation) -> None:
    await amend(
        installation.database, installation.by_slug, KEY, Change(move_to=datetime(2026, 11, 19, 20)), now=NOW
    )


SEQUENCE = "SEQUENCE:0\n"
NEW_STARTS = [
    "DTSTART:20261119T200000Z",
    "DTSTART;TZID=Europe/London:20261119T200000",
    "DTSTART;TZID=GMT Standard Time:20261119T200000",
    "DTSTART;TZID=Made Up Time:20261119T200000",
    "DTSTART;TZID=America/New_York:20261119T150000",
]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("sequence", ["0", "none", "no number"])
async def test_an_answer_to_the_time_before_a_move_is_discarded(
    installation: Installation, program: str, sequence: str
) -> None:
    await move(installation)
    calendar = PROGRAMS[program](
        await uid(installation), "bo@example.org", "DECLINED", stamp="20261112T130000Z"
    )
    calendar = calendar.replace(
        f"\n{SEQUENCE}", {"0": f"\n{SEQUENCE}", "none": "\n", "no number": "\nSEQUENCE:x\n"}[sequence]
    )
    words = await ingest(installation, returned.answer(calendar))
    assert words.endswith("before it was changed (SEQUENCE 0, now 1): discarded")
    assert (await answered(installation), await kept_kinds(installation)) == ("", [])
    later = PROGRAMS[program](await uid(installation), "bo@example.org", "ACCEPTED", sequence=1)
    await ingest(installation, returned.answer(later, identity="2"))
    assert await answered(installation) == "coming"


@pytest.mark.parametrize("starts", NEW_STARTS)
async def test_an_answer_without_a_sequence_counts_after_a_move_if_it_names_the_new_start(
    installation: Installation, starts: str
) -> None:
    await move(installation)
    calendar = returned.google(await uid(installation), "bo@example.org", "DECLINED")
    calendar = calendar.replace(f"\n{SEQUENCE}", "\n").replace("DTSTART:20261119T180000Z", starts)
    await ingest(installation, returned.answer(calendar))
    assert await answered(installation) == "declined"
    calendar = returned.google(await uid(installation), "bo@example.org", "ACCEPTED", sequence=1)
    await ingest(installation, returned.answer(calendar, identity="2"))
    assert await answered(installation) == "coming", "it shut out a later answer"


async def test_a_topic_that_changes_makes_no_answer_old(installation: Installation) -> None:
    await amend(installation.database, installation.by_slug, KEY, Change(topic="Kindness"), now=NOW)
    await ingest(
        installation, returned.answer(returned.google(await uid(installation), "bo@example.org", "DECLINED"))
    )
    assert await answered(installation) == "declined"


async def test_the_invitation_before_a_reinstatement_is_of_the_same_meeting(
    installation: Installation,
) -> None:
    await ingest(
        installation,
        returned.answer(returned.google(await uid(installation, reinstated=2), "bo@example.org")),
    )
    assert await answered(installation) == "coming"


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
        (
            "ATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:bo@example.org\nATTENDEE;PARTSTAT=DECLINED:mailto:bo@example.org",
            "x",
        ),
        ('ATTENDEE;CN="Bo;PARTSTAT=DECLINED:mailto:bo@example.org', "bo@example.org"),
        ('ATTENDEE;CN=B"o;PARTSTAT=DECLINED;RSVP=TRUE:mailto:bo@example.org', "bo@example.org"),
        ("ATTENDEE;CN=Bo: Li;PARTSTAT=DECLINED:mailto:bo@example.org", "bo@example.org"),
        ('ATTENDEE;CN="Bo "the Li" x";PARTSTAT="DECLINED":mailto:bo@example.org', "bo@example.org"),
        ("attendee;partstat=declined;cn=Bo,:mailto:bo@example.org", "bo@example.org"),
        ("ATTENDEE;CN=bo@example.org;PARTSTAT=DECLINED;;X=:mailto:bo@example.org", "bo@example.org"),
    ],
)
@pytest.mark.both_databases
async def test_an_answer_counts_by_the_key_in_its_uid_whatever_address_answers(
    installation: Installation, lines: str, sender: str
) -> None:
    calendar = f"BEGIN:VCALENDAR\nMETHOD:REPLY\nBEGIN:VEVENT\nUID:{await uid(installation)}\nDTSTAMP:20261110T130000Z\n"
    calendar += f"SEQUENCE:0\n{lines}\nEND:VEVENT\nEND:VCALENDAR\n"
    await ingest(installation, returned.answer(calendar, sender=sender))
    assert (await answered(installation), await answered(installation, "Ann")) == ("declined", "")


async def test_an_answer_that_names_others_alone_is_kept(installation: Installation) -> None:
    calendar = returned.google(await uid(installation), "ann@example.org").replace(
        "END:VEVENT", f"{OTHERS}END:VEVENT"
    )
    assert (await ingest(installation, returned.answer(calendar))).startswith("kept for review")
    assert (await answered(installation), await answered(installation, "Ann")) == ("", "")


async def test_the_method_of_the_part_holds_where_the_calendar_names_none(installation: Installation) -> None:
    calendar = returned.google(await uid(installation), "bo@example.org", "DECLINED").replace(
        "METHOD:REPLY\n", ""
    )
    await ingest(installation, returned.answer(calendar))
    assert await answered(installation) == "declined"


@pytest.mark.parametrize("how", ["forged", "no meeting", "another domain", "delegated"])
async def test_an_answer_that_proves_nothing_is_kept_and_never_applied(
    installation: Installation, how: str
) -> None:
    own = await uid(installation)
    calendar, sender = {
        "another member's": (
            returned.google(await uid(installation, "Ann"), "bo@example.org"),
            "bo@example.org",
        ),
        "forged": (
            returned.google(await uid(installation, keys=STRANGER), "bo@example.org"),
            "bo@example.org",
        ),
        "no meeting": (
            returned.google(own.replace("20261119", "20261120"), "bo@example.org"),
            "bo@example.org",
        ),
        "another domain": (returned.google(own.replace("@", "@x."), "bo@example.org"), "bo@example.org"),
        "delegated": (returned.google(own, "bo@example.org", "DELEGATED"), "bo@example.org"),
    }[how]
    assert (await ingest(installation, returned.answer(calendar, sender=sender))).startswith(
        "kept for review"
    )
    assert (await answered(installation), await answered(installation, "Ann")) == ("", "")
    assert await kept_kinds(installation) == ["review"]


async def test_an_answer_comes_to_nothing_once_the_meeting_has_begun_or_the_member_has_left(
    installation: Installation,
) -> None:
    calendar = returned.google(await uid(installation), "bo@example.org")
    await installation.change("Bo", status="left", active_since=None)
    assert "discarded" in await ingest(installation, returned.answer(calendar))
    await installation.change("Bo", status="active", active_since=NOW)
    installation.clock.pass_until(datetime(2026, 11, 19, 18, tzinfo=UTC))
    assert "discarded" in await ingest(installation, returned.answer(calendar) + b"\r\n")
    assert (await answered(installation), await kept_kinds(installation)) == ("", [])


async def test_a_request_or_a_counter_is_no_answer(installation: Installation) -> None:
    for method in ("REQUEST", "COUNTER", "PUBLISH"):
        calendar = returned.google(await uid(installation), "bo@example.org").replace("REPLY", method)
        await ingest(installation, returned.answer(calendar, identity=method))
    assert (await answered(installation), await kept_kinds(installation)) == ("", ["review"] * 3)
