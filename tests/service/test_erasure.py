"""Forgetting somebody: nothing of them is left but a hash that nobody can read."""

import os
from base64 import encodebytes
from datetime import UTC, datetime, timedelta
from email.header import Header
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import pytest

from scheduler.domain.errors import Refused
from scheduler.service.erasure import Erased, erase_member, find_erasable
from scheduler.service.members import remove_member
from scheduler.service.occurrences import Change, amend
from scheduler.service.retention import forget_old
from scheduler.store import answers, drafts, members, notices, returns, service_state
from scheduler.store.database import Database
from scheduler.store.ledger import claims
from tests import bounces
from tests.installation import RETENTION, Installation, address_of, open_installation
from tests.service.people import KEYS, NOW, everybody, row, take

NAME = "Zdenka Quarrendon"
ADDRESS = address_of(NAME)
NINE = datetime(2026, 11, 5, 9, tzinfo=UTC)


def found(folder: Path, *words: str) -> list[str]:
    """The files below `folder` that show any of `words`, in any case."""
    return [
        f"{path.relative_to(folder)}: {word}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for word in words
        if word.lower().encode() in path.read_bytes().lower()
    ]


async def erase(installation: Installation, email: str = ADDRESS) -> Erased:
    return await erase_member(
        installation.database,
        email,
        keys=installation.keys,
        outbox=installation.mail,
        now=installation.clock.now(),
    )


async def test_a_search_of_all_files_finds_neither_address_nor_name(tmp_path: Path) -> None:
    async with open_installation(tmp_path, datetime(2026, 11, 1, tzinfo=UTC)) as installation:
        await installation.tick()
        await installation.join(("Ann", "Europe/London"), (NAME, "Europe/London"), ("Bo", "Asia/Kolkata"))
        for day in (5, 18):
            installation.clock.pass_until(datetime(2026, 11, day, 12, tzinfo=UTC))
            await installation.tick()
        async with installation.database.write() as connection:
            member = await members.by_key(connection, ADDRESS)
            assert member
            await answers.set_answer(
                connection,
                member.id,
                "conversation-for-kindness/2026-11-19",
                answer="coming",
                now=installation.clock.now(),
            )
            await service_state.write(
                connection, service_state.RELAY, {"reason": f"450 <{ADDRESS}>: later", "since": "x"}
            )
        sent, folder = len(installation.mails()), installation.folder
        assert found(folder, ADDRESS, NAME)
        assert await erase(installation) == Erased(was_member=True, mails=2)
        assert not found(folder, ADDRESS, NAME, "Quarrendon")
        assert len(installation.mails()) == sent - 2
        assert {one.name for one in await installation.reports()} == {"Ann", "Bo"}
        installation.clock.pass_until(datetime(2026, 11, 19, 17, tzinfo=UTC))
        await installation.tick()
        assert not found(folder, ADDRESS, NAME)


async def test_among_many_nothing_of_those_erased_is_left(tmp_path: Path) -> None:
    async with open_installation(tmp_path, NOW) as installation:
        rows = [row(f"Person{number:05}@Example.org", name=f"Name{number:05}") for number in range(20_000)]
        await take(installation.database, sorted(rows, key=lambda one: hash(one.address)))
        for number in (7, 9_999, 12_345):
            await erase_member(
                installation.database, f"person{number:05}@example.org", keys=KEYS, outbox=None, now=NOW
            )
            assert not found(tmp_path, f"person{number:05}@", f"Name{number:05}")


async def test_on_every_database_the_rows_are_gone(database: Database) -> None:
    await take(database, [row("ann@example.org"), row("bo@example.org")])
    assert (await find_erasable(database, "Ann@example.org", keys=KEYS)) is not None
    await erase_member(database, "Ann@example.org", keys=KEYS, outbox=None, now=NOW)
    assert [member.address for member in await everybody(database)] == ["bo@example.org"]
    assert await find_erasable(database, "ann@example.org", keys=KEYS) is None


async def test_erasing_again_finishes_what_broke_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_installation(tmp_path, NINE) as installation:
        await installation.join((NAME, "Europe/London"))
        await installation.tick()
        with monkeypatch.context() as broken:
            broken.setattr(os, "scandir", lambda path: (_ for _ in ()).throw(PermissionError("no")))
            with pytest.raises(PermissionError):
                await erase(installation)
        assert found(tmp_path / "mail", ADDRESS)
        assert await erase(installation) == Erased(was_member=False, mails=1)
        assert not found(tmp_path, ADDRESS, NAME)


async def test_who_was_never_known_is_not_erased(database: Database) -> None:
    await take(database, [row("ann@example.org")])
    with pytest.raises(Refused, match="no member 'anne@example.org'; did you mean ann@example.org"):
        await erase_member(database, "anne@example.org", keys=KEYS, outbox=None, now=NOW)


async def test_somebody_who_only_wrote_a_letter_is_erased_with_it(database: Database) -> None:
    await take(database, [row("ann@example.org")])
    await keep_returned(database, HIDING["base64"](f"{NAME} <{ADDRESS}>"))
    assert await find_erasable(database, ADDRESS, keys=KEYS) is None
    done = await erase_member(database, ADDRESS, keys=KEYS, outbox=None, now=NOW)
    assert done == Erased(was_member=False, mails=0, returned=1) and await waiting(database) == []
    with pytest.raises(Refused, match="no member"):
        await erase_member(database, ADDRESS, keys=KEYS, outbox=None, now=NOW)


async def test_who_left_may_be_erased_too(database: Database) -> None:
    await take(database, [row("ann@example.org")])
    await remove_member(database, "ann@example.org", now=NOW)
    assert (await erase_member(database, "ann@example.org", keys=KEYS, outbox=None, now=NOW)).was_member


async def _being_mailed(installation: Installation) -> None:
    """Let the invitation be on its way."""
    await installation.join((NAME, "Europe/London"))
    await installation.planner.tick()
    async with installation.database.write() as connection:
        (chunk,) = await claims.open_chunks(connection, installation.clock.now())
        await connection.run_sync(claims.claim, chunk, run="another", now=installation.clock.now(), limit=10)


async def test_while_a_mail_to_them_is_on_its_way_nobody_is_erased(tmp_path: Path) -> None:
    async with open_installation(tmp_path, NINE) as installation:
        await _being_mailed(installation)
        with pytest.raises(Refused, match="being sent at this moment; try again in a minute"):
            await erase(installation)
        async with installation.database.read() as connection:
            assert await members.by_key(connection, ADDRESS)


async def test_a_mail_whose_sender_broke_off_is_no_hindrance(tmp_path: Path) -> None:
    async with open_installation(tmp_path, NINE) as installation:
        await _being_mailed(installation)
        installation.clock.pass_(timedelta(minutes=2))
        assert (await erase(installation)).was_member
        installation.restart()
        await installation.dispatcher.take_over()
        await installation.tick()
        assert not installation.mails() and not await installation.reports()


async def test_a_test_mail_to_them_is_told_of_without_their_address(tmp_path: Path) -> None:
    async with open_installation(tmp_path, NINE) as installation:
        await installation.join((NAME, "Europe/London"))
        async with installation.database.write() as connection:
            await notices.add(
                connection,
                identity="notice:x",
                kind="notice",
                audience=f"test to {ADDRESS.upper()}",
                created_at=NINE,
                expires=NINE,
            )
        await erase(installation)
        assert not found(tmp_path, ADDRESS)


# What others wrote

HIDING = {
    "plain": lambda text: bounces.mail(text),
    "base64": lambda text: bounces.mail(text, encoding="base64"),
    "quoted-printable": lambda text: bounces.mail(text, encoding="quoted-printable"),
    "UTF-16 in base64": lambda text: bounces.mail(text, charset="utf-16", encoding="base64"),
    "HTML in base64": lambda text: bounces.mail(text.replace("@", "&#64;"), kind="html", encoding="base64"),
    "HTML with tags in the name": lambda text: bounces.mail(
        text.replace(" Q", " <b>Q") + "</b>", kind="html"
    ),
    "encoded words": lambda text: bounces.mail("x", subject=Header(text, "utf-8").encode()),
    "a header of its own": lambda text: bounces.mail(
        "x", sender=f'"{text.replace("@", " at ")}" <x@y.example>'
    ),
    "percent signs": lambda text: bounces.mail(quote(text)),
    "an attached message in base64": lambda text: (
        b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: message/rfc822\n"
        b"Content-Transfer-Encoding: base64\n\n"
        + encodebytes(bounces.mail(text, encoding="base64"))
        + b"\n--x--\n"
    ),
    "an attached text in base64": lambda text: (
        b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/csv; charset=utf-8\n"
        b"Content-Transfer-Encoding: base64\n\n" + encodebytes(text.encode()) + b"\n--x--\n"
    ),
}
NAMED = {
    "address": ADDRESS,
    "name": NAME,
    "last name first": "Quarrendon, Zdenka",
    "capitals": NAME.upper(),
    "accents": "Zdeňka Quarrendon",
    "two lines": "Zdenka\nQuarrendon",
}


async def keep_returned(
    database: Database, octets: bytes, *, whose: int | None = None, words: str = "a letter"
) -> int:
    async with database.write() as connection:
        digest = sha256(octets + words.encode()).hexdigest()
        number = await returns.add(
            connection, digest=digest, kind="review", member=whose, words=words, now=NOW, content=octets
        )
        assert number
        return number


async def waiting(database: Database) -> list[int]:
    async with database.read() as connection:
        return [one.id for one in await returns.every(connection)]


@pytest.mark.parametrize(
    ("hiding", "how"),
    [
        *((one, "name") for one in HIDING),
        ("plain", "address"),
        ("HTML in base64", "address"),
        ("percent signs", "address"),
        *(("base64", one) for one in NAMED),
    ],
)
async def test_messages_of_others_that_name_the_erased_are_gone_however_they_are_encoded(
    tmp_path: Path, hiding: str, how: str
) -> None:
    async with open_installation(tmp_path, NINE) as installation:
        await installation.join((NAME, "Europe/London"), ("Ann", "Europe/London"))
        async with installation.database.read() as connection:
            ann = await members.by_key(connection, "ann@example.org")
            assert ann
        octets = HIDING[hiding](f"Please see to {NAMED[how]} soon.")
        await keep_returned(installation.database, octets)
        await keep_returned(installation.database, octets + b"\n", whose=ann.id)
        other = await keep_returned(
            installation.database, b"From: x@y.example\n\nPlease see to Zdenka Brown soon."
        )
        done = await erase(installation)
        assert (done.returned, done.remaining) == (2, ())
        assert await waiting(installation.database) == [other]
        assert not found(tmp_path, ADDRESS, NAME, octets[-60:-10].decode("ascii", "replace"))


async def test_on_every_database_messages_of_others_are_searched_decoded(database: Database) -> None:
    await take(database, [row(ADDRESS, name=NAME), row("bo@example.org")])
    await keep_returned(database, HIDING["base64"](f"{NAME} <{ADDRESS}>"))
    named_by_words = await keep_returned(database, b"x", words=f"a letter: {NAME}")
    done = await erase_member(database, ADDRESS, keys=KEYS, outbox=None, now=NOW)
    assert (done.returned, await waiting(database)) == (2, []), named_by_words


async def test_a_name_that_others_have_deletes_nothing_and_is_told_of(tmp_path: Path) -> None:
    async with open_installation(tmp_path, NINE) as installation:
        await installation.join(("Kim", "Europe/London"))
        number = await keep_returned(installation.database, HIDING["base64"]("Kim will come. Kimberley too."))
        await keep_returned(installation.database, HIDING["base64"]("Kimberley will come."))
        done = await erase(installation, "kim@example.org")
        assert done.returned == 0 and done.remaining == (
            f"message {number} that came back (`returns show {number}`)",
        )


async def test_topics_speakers_and_notices_that_name_the_erased_are_told(tmp_path: Path) -> None:
    async with open_installation(tmp_path, NINE) as installation:
        await installation.tick()
        await installation.join((NAME, "Europe/London"), ("Ann", "Europe/London"))
        now, key = installation.clock.now(), "conversation-for-kindness/2026-11-19"
        await amend(
            installation.database,
            installation.by_slug,
            key,
            Change(speakers=f"Ann and {NAME.upper()}"),
            now=now,
        )
        later = "conversation-for-kindness/2026-12-17"
        await amend(installation.database, installation.by_slug, later, Change(topic=f"With {NAME}"), now=now)
        await amend(installation.database, installation.by_slug, later, Change(topic="With a guest"), now=now)
        async with installation.database.write() as connection:
            await notices.add(
                connection,
                identity="notice:x",
                kind="notice",
                subject="Thanks",
                body=f"Thank you, {NAME}!",
                created_at=NINE,
                expires=NINE,
            )
            await drafts.add(
                connection,
                subject="",
                body=f"Dear {NAME}",
                audience="all",
                at="",
                meeting="",
                author=None,
                now=NINE,
            )
        done = await erase(installation)
        assert done.remaining[-1] == "draft 1"
        assert done.remaining[:2] == (
            f"the topic, speakers, description or materials of {key}",
            f"earlier versions of {key}",
        )
        assert done.remaining[2] == f"earlier versions of {later}"
        assert done.remaining[3].startswith("the speaker ") and done.remaining[4].startswith("notice ")


@pytest.mark.both_databases
async def test_what_mail_systems_said_of_others_mail_no_longer_names_the_erased(database: Database) -> None:
    await take(database, [row(ADDRESS, name=NAME), row("bo@example.org", name="Bo")])
    async with database.write() as connection:
        bo = await members.by_key(connection, "bo@example.org")
        assert bo
        await returns.add(
            connection,
            digest="1",
            kind="hard",
            member=bo.id,
            words=f"5.1.1: <{ADDRESS.upper()}>: unknown",
            now=NOW,
        )
        await returns.suppress(connection, [bo.id], NOW)
    await erase_member(database, ADDRESS, keys=KEYS, outbox=None, now=NOW)
    async with database.read() as connection:
        (kept,) = await returns.every(connection)
        bo = await members.by_key(connection, "bo@example.org")
    assert bo and kept.words == bo.suppressed_for == "5.1.1: <(erased)>: unknown"


async def test_who_is_erased_for_having_left_long_ago_is_searched_for_too(tmp_path: Path) -> None:
    async with open_installation(tmp_path, NINE) as installation:
        await installation.join((NAME, "Europe/London"))
        await remove_member(installation.database, ADDRESS, now=NINE)
        now = NINE + RETENTION.left_members + timedelta(days=1)
        installation.clock.pass_until(now)
        async with installation.database.write() as connection:
            await returns.add(
                connection,
                digest="1",
                kind="review",
                member=None,
                words="x",
                now=now,
                content=HIDING["base64"](f"Dear {NAME}"),
            )
        await forget_old(installation.database, RETENTION, keys=installation.keys, outbox=None, now=now)
        assert (await waiting(installation.database), await everybody(installation.database)) == ([], [])
