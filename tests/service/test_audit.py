"""The audit log says in plain words who did what, and from what to what."""

from dataclasses import fields
from datetime import UTC, datetime
from typing import get_args

from scheduler.domain.act import Act
from scheduler.domain.actor import SERVICE
from scheduler.service.audit import ACTS, FIELDS, WITHOUT_WORDS, read_log
from scheduler.service.member_files import Imported
from scheduler.service.occurrences import DETAILS
from scheduler.store import audit
from scheduler.store.members import Member
from tests.installation import Installation

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEY = "conversation-for-kindness/2026-11-19"


def test_every_act_has_words() -> None:
    assert set(ACTS) == set(get_args(Act))
    assert all("-" not in words and words[0].isupper() for words in ACTS.values())


def test_every_value_of_a_member_a_meeting_and_an_import_has_words() -> None:
    kept = {*DETAILS, *(field.name for kind in (Member, Imported) for field in fields(kind))}
    assert kept <= set(FIELDS) | WITHOUT_WORDS


async def test_an_entry_is_shown_in_words_from_what_to_what(installation: Installation) -> None:
    async with installation.database.write() as connection:
        await audit.record(
            connection,
            SERVICE,
            "meeting-moved",
            subject=KEY,
            before={"start": "2026-11-19 18:00 Europe/London", "topic": ""},
            after={"start": "2026-11-26 18:00 Europe/London", "topic": "Tea"},
            now=NOW,
        )
        await audit.record(
            connection,
            SERVICE,
            "notice-sent",
            after={"to": "country:SE,except:convenors", "members": 1372},
            now=NOW,
        )
        await audit.record(
            connection,
            SERVICE,
            "member-changed",
            before={"country": "SE", "generation": 1, "conversation-for-kindness": True},
            after={"country": "NZ", "generation": 2, "conversation-for-kindness": False},
            now=NOW,
        )
    lines = await read_log(installation.database, all_series=installation.by_slug)
    changes = [[(change.words, change.before, change.after) for change in line.changes] for line in lines]
    assert changes == [
        [("Country", "Sweden", "New Zealand"), ("Follows Conversation for Kindness", "yes", "no")],
        [("To", None, "Everybody in Sweden, except convenors"), ("Members", None, "1,372")],
        [
            ("Time", "19 November 2026, 18:00 in London", "26 November 2026, 18:00 in London"),
            ("Topic", "nothing", "Tea"),
        ],
    ]
    assert [line.subject_words for line in lines] == ["", "", "the meeting of 19 November 2026"]
