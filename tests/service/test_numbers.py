"""The numbers about a community are what the database knows, and say why emails were not sent."""

from datetime import UTC, datetime

import pytest

from scheduler.service.members import remove_member
from scheduler.service.numbers import MeetingAnswers, MonthOfMembers, NotSent, count_numbers
from tests.installation import Installation, address_of

KEY = "conversation-for-kindness/2026-11-19"


@pytest.mark.both_databases
async def test_members_answers_and_mails_are_counted_by_place_meeting_and_month(
    installation: Installation,
) -> None:
    await installation.change("Ann", country="GB-SCT")
    await installation.change("Bo", country="NZ", zone="Pacific/Auckland")
    await installation.join(("Dee", "Europe/London"))
    july = datetime(2026, 6, 30, 23, 30, tzinfo=UTC)
    await installation.join(("Old", "Europe/London"), country=None, created_at=july)
    await installation.join(("New", "Europe/London"), status="pending", active_since=None)
    await installation.tick()
    await installation.answer("Ann", KEY, "coming")
    await installation.answer("Dee", KEY, "declined")
    await installation.live(datetime(2026, 12, 1, tzinfo=UTC))
    await remove_member(installation.database, address_of("Dee"), now=installation.clock.now())
    counted = await count_numbers(
        installation.database, series=installation.series, now=installation.clock.now()
    )
    assert counted.members == 3
    assert list(counted.countries) == [("", 1), ("GB-SCT", 1), ("NZ", 1)]
    assert list(counted.zones) == [("Europe/London", 2), ("Pacific/Auckland", 1)]
    assert [month.month for month in counted.months][::12] == ["2025-12", "2026-12"]
    assert MonthOfMembers(month="2026-07", joined=1, left=0) in counted.months, "in London it was July"
    assert MonthOfMembers(month="2026-12", joined=0, left=1) in counted.months
    assert counted.meetings[0] == MeetingAnswers(key=KEY, coming=1, maybe=0, declined=0, silent=2)
    mails = {(row.month, row.kind): dict(row.counts) for row in counted.mails}
    assert mails["2026-11", "invitation"] == {"sent": 4}
    assert mails["2026-11", "reminder"] == {"sent": 6, "skipped": 1}
    assert list(counted.not_sent) == [
        NotSent(
            month="2026-11",
            kind="reminder",
            outcome="skipped",
            reason="they had said that they are not coming",
            count=1,
        )
    ]
