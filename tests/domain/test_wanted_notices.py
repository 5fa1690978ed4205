"""Policies give notices: their kinds, identities, due instants and expiry."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest

from scheduler.domain.policy import (
    EVERY_ZONE,
    Kind,
    Policy,
    Wanted,
    due_in,
    identity,
    late_invitations,
    next_occurrence,
    wanted,
)
from tests.installation import DAY_BEFORE, HOUR_BEFORE, INVITATION, SERIES

ADOPTED = datetime(2026, 11, 1, tzinfo=UTC)
MEETING = SERIES.occurrence(date(2026, 11, 19), ADOPTED)
ZONES = frozenset({"Europe/London", "Pacific/Auckland"})


def want(policy: Policy, *, adopted_at: datetime = ADOPTED, is_first: bool = False) -> Wanted:
    late = late_invitations([MEETING], adopted_at, is_first=is_first)
    notice = wanted(MEETING, policy, zones=ZONES, adopted_at=adopted_at, invited_late=late)
    assert notice
    return notice


def test_a_reminder_is_identified_by_occurrence_policy_and_start_and_an_invitation_by_occurrence_alone() -> (
    None
):
    moved = replace(MEETING, starts=MEETING.starts + timedelta(days=7), ends=MEETING.ends + timedelta(days=7))
    reminder = identity(Kind.REMINDER, MEETING, "day-before")
    assert reminder == f"reminder:{MEETING.key}:day-before:20261119T1800Z"
    assert reminder != identity(Kind.REMINDER, moved, "day-before")
    assert reminder != identity(Kind.REMINDER, MEETING, "hour-before")
    assert identity(Kind.INVITATION, MEETING, "invitation") == identity(Kind.INVITATION, moved, "welcome-in")


def test_a_local_time_gives_each_zone_its_due_instant_and_a_lead_one_to_all() -> None:
    assert want(DAY_BEFORE).dues == {
        "Europe/London": datetime(2026, 11, 18, 9, tzinfo=UTC),
        "Pacific/Auckland": datetime(2026, 11, 18, 20, tzinfo=UTC),
    }
    assert want(HOUR_BEFORE).dues == {EVERY_ZONE: datetime(2026, 11, 19, 17, tzinfo=UTC)}
    assert due_in(want(DAY_BEFORE).dues, "Europe/London") == datetime(2026, 11, 18, 9, tzinfo=UTC)
    assert due_in(want(HOUR_BEFORE).dues, "Asia/Tokyo") == datetime(2026, 11, 19, 17, tzinfo=UTC)
    assert due_in(want(DAY_BEFORE).dues, "Asia/Tokyo") is None


def test_an_invitation_and_a_reminder_are_useful_until_the_start() -> None:
    assert {want(policy).expires for policy in (INVITATION, DAY_BEFORE, HOUR_BEFORE)} == {MEETING.starts}


def test_of_the_notices_due_before_the_policy_was_adopted_only_the_next_invitation_is_wanted() -> None:
    late = MEETING.starts - timedelta(minutes=30)
    assert want(HOUR_BEFORE, adopted_at=late).dues == {}
    assert want(HOUR_BEFORE, adopted_at=late, is_first=True).dues == {}
    assert want(INVITATION, adopted_at=late).dues == {}
    assert set(want(INVITATION, adopted_at=late, is_first=True).dues) == ZONES
    # By London's clocks it was due before, by Auckland's (later by eleven hours) it was not.
    between = datetime(2026, 11, 18, 10, tzinfo=UTC)
    assert set(want(DAY_BEFORE, adopted_at=between).dues) == {"Pacific/Auckland"}


@pytest.mark.parametrize("state", [{"cancelled": True}, {"orphaned": True}])
def test_no_notice_is_wanted_for_a_cancelled_or_orphaned_meeting(state: dict[str, bool]) -> None:
    changed_meeting = replace(MEETING, **state)  # type: ignore[arg-type]
    assert wanted(changed_meeting, INVITATION, zones=ZONES, adopted_at=ADOPTED, invited_late={}) is None


def test_an_invitation_already_open_at_adoption_comes_when_the_meeting_before_is_over() -> None:
    weekly = replace(SERIES, rule="FREQ=WEEKLY;BYDAY=TH")
    first, second, third = (weekly.occurrence(date(2026, 11, day), ADOPTED) for day in (5, 12, 19))
    fortnight = Policy(slug="fortnight", kind=Kind.INVITATION, lead=timedelta(days=14))
    adopted_at = datetime(2026, 11, 1, tzinfo=UTC)

    def dues(*, is_first: bool, cancelled: bool = False) -> list[set[datetime]]:
        meetings = [replace(first, cancelled=cancelled), second, third]
        late = late_invitations(meetings, adopted_at, is_first=is_first)
        wants = [
            wanted(meeting, fortnight, zones=ZONES, adopted_at=adopted_at, invited_late=late)
            for meeting in meetings
        ]
        return [set(want.dues.values()) for want in wants if want]

    lead = timedelta(days=14)
    assert dues(is_first=True) == [{first.starts - lead}, {first.ends}, {third.starts - lead}]
    # A changed lead mails nobody for the past, but forgets no later meeting.
    assert dues(is_first=False) == [set(), {first.ends}, {third.starts - lead}]
    assert dues(is_first=True, cancelled=True) == [{second.starts - lead}, {third.starts - lead}]


def test_the_next_occurrence_is_the_first_that_is_not_cancelled() -> None:
    later = SERIES.occurrence(date(2026, 12, 17), ADOPTED)
    assert next_occurrence([later, MEETING], ADOPTED) == MEETING
    assert next_occurrence([later, replace(MEETING, cancelled=True)], ADOPTED) == later
    assert next_occurrence([MEETING], MEETING.starts) is None


def test_a_policy_without_members_has_no_due_instant() -> None:
    nobody = wanted(MEETING, DAY_BEFORE, zones=frozenset(), adopted_at=ADOPTED, invited_late={})
    assert nobody
    assert nobody.dues == {}


def test_the_home_zone_may_be_in_the_southern_hemisphere() -> None:
    south = replace(
        SERIES, slug="south", rule="FREQ=MONTHLY;BYDAY=-1MO", start=time(2, 30), zone="Australia/Sydney"
    )
    # Clocks there go forward at 02:00 on the first Sunday in October, and back at 03:00 on the first in April.
    meeting = south.occurrence(date(2026, 11, 30), ADOPTED)
    assert meeting.starts == datetime(2026, 11, 29, 15, 30, tzinfo=UTC)
    notice = wanted(
        meeting,
        DAY_BEFORE,
        zones=frozenset({"Australia/Sydney", "Europe/London"}),
        adopted_at=ADOPTED,
        invited_late={},
    )
    assert notice
    assert notice.dues == {
        "Australia/Sydney": datetime(2026, 11, 28, 22, tzinfo=UTC),
        "Europe/London": datetime(
            2026, 11, 28, 9, tzinfo=UTC
        ),  # Sunday afternoon there: Saturday is the day before
    }
