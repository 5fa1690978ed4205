"""The ticks of a month: who is mailed and when, and what is withdrawn."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from scheduler.domain.errors import SettingsProblem
from scheduler.domain.policy import Kind, Policy
from scheduler.service.forecast import forecast
from scheduler.service.occurrences import Change, add_extra, amend, tell
from scheduler.service.sending_pause import current_pause, end_sending_pause
from scheduler.store import notices, occurrences
from scheduler.store.ledger import claims
from tests.conftest import CopyDatabase
from tests.installation import (
    DAY_BEFORE,
    HOUR_BEFORE,
    INVITATION,
    POLICIES,
    SERIES,
    Installation,
    address_of,
    open_installation,
)

KEY = "conversation-for-kindness/2026-11-19"
START = datetime(2026, 11, 19, 18, tzinfo=UTC)
OVER = datetime(2026, 11, 19, 20, tzinfo=UTC)


ADOPTED = datetime(2026, 11, 1, 12, tzinfo=UTC)


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, ADOPTED, url=url) as installation:
        await installation.tick()
        await installation.join(
            ("Ann", "Europe/London"), ("Bo", "Pacific/Auckland"), ("Cy", "America/New_York")
        )


@pytest.fixture
async def installation(tmp_path: Path, copy_database: CopyDatabase) -> AsyncIterator[Installation]:
    """Adopted on the first of November, with members around the world."""
    async with open_installation(tmp_path, ADOPTED, url=await copy_database(fill)) as installation:
        yield installation


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


async def sent(installation: Installation) -> dict[tuple[str, str], datetime]:
    """Return, by name and policy or kind, the instant at which the mail was sent."""
    return {
        (row.name, row.policy or row.kind): row.sent_at
        for row in await installation.reports(state="sent")
        if row.sent_at
    }


async def test_each_member_gets_one_invitation_and_two_reminders_at_their_local_times(
    installation: Installation,
) -> None:
    await installation.live(OVER)
    assert await sent(installation) == {
        ("Ann", "invitation"): at(5, 9),
        ("Bo", "invitation"): at(5, 20),  # 09:00 on the 6th: two weeks before their Friday
        ("Cy", "invitation"): at(5, 14),
        ("Ann", "day-before"): at(18, 9),
        ("Bo", "day-before"): at(18, 20),
        ("Cy", "day-before"): at(18, 14),
        ("Ann", "hour-before"): at(19, 17),
        ("Bo", "hour-before"): at(19, 17),
        ("Cy", "hour-before"): at(19, 17),
    }
    assert len(installation.mails()) == 9


async def test_ticking_and_restarting_send_nothing_twice(installation: Installation) -> None:
    await installation.live(at(6, 12))
    for _ in range(3):
        installation.restart()
        await installation.dispatcher.take_over()
        await installation.tick()
    assert len(installation.mails()) == 3


async def test_installed_three_days_before_a_meeting_the_invitation_goes_out_once(tmp_path: Path) -> None:
    async with open_installation(tmp_path, at(16, 12)) as installation:
        await installation.join(("Ann", "Europe/London"))
        await installation.live(OVER)
        assert sorted(row.policy or "" for row in await installation.reports(state="sent")) == [
            "day-before",
            "hour-before",
            "invitation",
        ]


async def test_a_due_instant_before_the_policy_was_adopted_creates_nothing_else(tmp_path: Path) -> None:
    async with open_installation(tmp_path, at(18, 12)) as installation:
        await installation.join(("Ann", "Europe/London"))
        await installation.tick()
        assert await installation.states() == {"Ann": "sent"}
        assert [row.kind for row in await installation.reports()] == ["invitation"]


async def test_a_member_who_joins_after_the_invitation_gets_it_once_until_the_start(
    installation: Installation,
) -> None:
    await installation.live(at(10, 12))
    await installation.join(("Di", "Asia/Kolkata"))
    await installation.tick()
    await installation.tick()
    assert await installation.states(name="Di", kind="invitation") == {"Di": "sent"}
    await installation.live(OVER)
    await installation.join(("Ed", "Europe/London"))
    await installation.tick()
    assert await installation.states(name="Ed") == {}


async def test_a_member_who_joins_after_the_due_instant_of_a_reminder_does_not_get_it(
    installation: Installation,
) -> None:
    await installation.live(at(18, 12))
    await installation.join(("Di", "Europe/London"))
    await installation.live(OVER)
    assert await installation.states(name="Di", policy="day-before") == {}
    assert await installation.states(name="Di", policy="hour-before") == {"Di": "sent"}


async def test_no_invite_skips_only_the_invitation_that_is_open(installation: Installation) -> None:
    await installation.live(at(10, 12))
    await installation.join(("Di", "Europe/London"), uninvited_at=installation.clock.now())
    await installation.live(datetime(2026, 12, 18, tzinfo=UTC))
    assert [row.occurrence for row in await installation.reports(name="Di", kind="invitation")] == [
        "conversation-for-kindness/2026-12-17"
    ]


async def test_after_an_outage_at_the_due_instant_what_is_still_useful_is_sent(
    installation: Installation,
) -> None:
    await installation.live(at(18, 8))
    installation.clock.pass_until(at(19, 10))
    installation.restart()
    await installation.tick()
    assert await installation.states(policy="day-before") == {"Ann": "sent", "Bo": "sent", "Cy": "sent"}


async def test_after_an_outage_past_the_start_mail_expires_and_is_not_sent(
    installation: Installation,
) -> None:
    await installation.live(at(17, 12))
    before = len(installation.mails())
    installation.clock.pass_until(OVER)
    installation.restart()
    await installation.tick()
    assert len(installation.mails()) == before
    assert set((await installation.states(kind="reminder")).values()) == {"expired: late"}
    assert len(await installation.reports(kind="reminder")) == 6


async def test_of_several_due_and_unsent_reminders_only_the_latest_is_sent(
    installation: Installation,
) -> None:
    await installation.live(at(17, 12))
    installation.clock.pass_until(at(19, 17, 30))
    await installation.tick()
    assert set((await installation.states(policy="day-before")).values()) == {"skipped: superseded"}
    assert set((await installation.states(policy="hour-before")).values()) == {"sent"}


async def test_a_moved_meeting_has_new_reminders_and_none_for_the_old_time(
    installation: Installation,
) -> None:
    await installation.live(at(18, 8, 30))
    moved = await amend(
        installation.database,
        installation.by_slug,
        KEY,
        Change(move_to=datetime(2026, 11, 26, 18)),
        now=installation.clock.now(),
    )
    assert moved.after.starts == START + timedelta(days=7)
    assert (moved.after.revision, moved.after.sequence) == (1, 1)
    await installation.live(OVER)
    assert await installation.reports(kind="reminder", state="sent") == []
    await installation.live(OVER + timedelta(days=7))
    reminders = await installation.reports(kind="reminder", state="sent")
    assert {row.sent_at for row in reminders if row.policy == "hour-before"} == {at(26, 17)}
    assert len(reminders) == 6


async def test_a_cancelled_meeting_has_no_reminders_and_a_restored_one_has_them_again(
    installation: Installation,
) -> None:
    await installation.live(at(18, 8, 30))
    await amend(
        installation.database, installation.by_slug, KEY, Change(cancel=True), now=installation.clock.now()
    )
    await installation.live(at(18, 10))
    assert await installation.reports(kind="reminder", state="sent") == []
    await amend(
        installation.database, installation.by_slug, KEY, Change(restore=True), now=installation.clock.now()
    )
    await installation.live(OVER)
    assert len(await installation.reports(kind="reminder", state="sent")) == 6


async def test_a_delivery_cancelled_since_the_last_tick_is_not_claimed(installation: Installation) -> None:
    await installation.live(at(18, 8, 30))
    await amend(
        installation.database, installation.by_slug, KEY, Change(cancel=True), now=installation.clock.now()
    )
    installation.clock.pass_until(at(18, 9, 1))
    await installation.dispatcher.send_due()
    assert await installation.reports(kind="reminder", state="sent") == []


async def test_an_update_tells_all_active_members_once_and_carries_the_calendar_to_the_invited(
    installation: Installation,
) -> None:
    await installation.live(at(10, 12))
    await installation.join(("Di", "Europe/London"), uninvited_at=installation.clock.now())
    amended = await amend(
        installation.database,
        installation.by_slug,
        KEY,
        Change(move_to=datetime(2026, 11, 19, 17)),
        now=installation.clock.now(),
    )
    await tell(installation.database, amended, now=installation.clock.now(), by_choice=())
    await installation.tick()
    await installation.tick()
    updates = [mail for mail in installation.mails() if str(mail["Subject"]).startswith("Changed")]
    calendars = {
        str(mail["To"]): "text/calendar" in [part.get_content_type() for part in mail.walk()]
        for mail in updates
    }
    assert calendars == {f"{name} <{address_of(name)}>": name != "Di" for name in ("Ann", "Bo", "Cy", "Di")}


async def test_a_cancellation_carries_cancel_only_to_those_who_were_sent_request(
    installation: Installation,
) -> None:
    await installation.live(at(10, 12))
    await installation.join(("Di", "Europe/London"), uninvited_at=installation.clock.now())
    amended = await amend(
        installation.database, installation.by_slug, KEY, Change(cancel=True), now=installation.clock.now()
    )
    await tell(installation.database, amended, now=installation.clock.now(), by_choice=())
    await installation.tick()
    mails = [mail for mail in installation.mails() if str(mail["Subject"]).startswith("Cancelled")]
    methods = {
        str(mail["To"]).split()[0]: [
            part.get_param("method") for part in mail.walk() if part.get_content_type() == "text/calendar"
        ]
        for mail in mails
    }
    assert methods == {"Ann": ["CANCEL"], "Bo": ["CANCEL"], "Cy": ["CANCEL"], "Di": []}


async def test_a_zone_change_duplicates_nothing_and_retimes_queued_mail(installation: Installation) -> None:
    await installation.live(at(18, 9, 30))
    assert await installation.states(policy="day-before", name="Ann") == {"Ann": "sent"}
    await installation.change("Ann", zone="America/Los_Angeles")
    await installation.change("Cy", zone="Asia/Kolkata")
    await installation.tick()
    await installation.live(OVER)
    rows = await installation.reports(policy="day-before")
    assert sorted(row.name for row in rows) == ["Ann", "Bo", "Cy"]
    assert {row.name: row.sent_at for row in rows}["Cy"] == at(18, 9, 30)
    assert len(await installation.reports(name="Ann")) == 3


async def test_a_member_who_leaves_gets_nothing_more_and_one_who_rejoins_does(
    installation: Installation,
) -> None:
    await installation.live(at(18, 8, 30))
    await installation.change("Ann", status="left", active_since=None)
    await installation.tick()
    assert await installation.states(policy="day-before", name="Ann") == {"Ann": "withdrawn: left"}
    await installation.change("Ann", status="active", active_since=installation.clock.now())
    await installation.live(at(18, 10))
    assert await installation.states(policy="day-before", name="Ann") == {"Ann": "sent"}


async def test_leaving_takes_effect_on_queued_mail_even_before_the_next_tick(
    installation: Installation,
) -> None:
    await installation.live(at(18, 8, 30))
    await installation.change("Ann", status="left", active_since=None)
    installation.clock.pass_until(at(18, 9, 1))
    await installation.dispatcher.send_due()
    assert await installation.reports(policy="day-before", name="Ann", state="sent") == []


async def test_a_member_who_declined_gets_no_reminder_unless_they_undo_it(installation: Installation) -> None:
    await installation.live(at(18, 8, 30))
    for answer, state in (("declined", "skipped: declined"), ("coming", "queued")):
        await installation.answer("Ann", KEY, answer)
        await installation.tick()
        assert await installation.states(policy="day-before", name="Ann") == {"Ann": state}


async def test_changing_a_lead_mails_nobody_for_the_past(installation: Installation) -> None:
    await installation.live(at(19, 10))
    before = len(installation.mails())
    longer = Policy(slug="hour-before", kind=Kind.REMINDER, lead=timedelta(hours=12))
    installation.policies = (INVITATION, DAY_BEFORE, longer)
    installation.restart()
    await installation.tick()
    assert len(installation.mails()) == before


@pytest.mark.both_databases
async def test_renaming_a_policy_mails_nobody_for_the_past(installation: Installation) -> None:
    await installation.live(at(18, 23))
    before = len(installation.mails())
    renamed = Policy(slug="the-day-before", kind=Kind.REMINDER, days_before=1, at=time(9))
    installation.policies = (INVITATION, renamed, HOUR_BEFORE)
    installation.restart()
    await installation.tick()
    assert len(installation.mails()) == before


@pytest.mark.both_databases
async def test_a_changed_rule_moves_only_meetings_that_nobody_was_told_of(
    installation: Installation,
) -> None:
    await installation.live(at(6, 12))
    fridays = type(SERIES)(
        slug=SERIES.slug,
        title=SERIES.title,
        rule="FREQ=MONTHLY;BYDAY=3FR",
        start=time(12),
        zone=SERIES.zone,
        duration=SERIES.duration,
        first=SERIES.first,
    )
    installation.series = (fridays,)
    installation.restart()
    await installation.tick()
    async with installation.database.read() as connection:
        stored = {occurrence.key: occurrence for occurrence in await occurrences.all_occurrences(connection)}
    assert stored[KEY].orphaned
    assert stored[KEY].starts == START
    assert stored["conversation-for-kindness/2026-10-15"].orphaned is False
    assert "conversation-for-kindness/2026-11-20" in stored


async def test_a_renamed_series_or_domain_is_refused(installation: Installation) -> None:
    installation.series = (
        type(SERIES)(
            slug="renamed",
            title=SERIES.title,
            rule=SERIES.rule,
            start=SERIES.start,
            zone=SERIES.zone,
            duration=SERIES.duration,
            first=SERIES.first,
        ),
    )
    installation.restart()
    with pytest.raises(SettingsProblem, match="conversation-for-kindness"):
        await installation.planner.tick()


async def test_an_extra_meeting_has_the_same_notices_as_the_others(installation: Installation) -> None:
    await installation.live(at(2, 12))
    extra = await add_extra(
        installation.database, SERIES, datetime(2026, 11, 25, 12), now=installation.clock.now()
    )
    assert extra.key == "conversation-for-kindness/2026-11-25T1200"
    await installation.live(at(25, 14))
    assert len(await installation.reports(occurrence=extra.key, state="sent")) == 9


async def test_a_clock_behind_the_last_tick_pauses_sending_and_expires_nothing(
    installation: Installation,
) -> None:
    await installation.live(at(18, 8, 30))
    installation.clock.jump(-timedelta(days=2))
    installation.restart()
    assert (await installation.tick()).stopped
    installation.clock.jump(timedelta(days=2, minutes=45))
    installation.restart()
    assert not (await installation.tick()).stopped
    assert await installation.states(policy="day-before", name="Ann") == {"Ann": "sent"}


async def test_a_clock_that_jumps_while_running_pauses_sending_until_a_convenor_resumes(
    installation: Installation,
) -> None:
    await installation.live(at(17, 12))
    installation.clock.jump(timedelta(days=3))
    assert (await installation.tick()).stopped
    assert await installation.reports(kind="reminder", state="expired") == []
    async with installation.database.write() as connection:
        assert await current_pause(connection)
        await end_sending_pause(connection)
    assert not (await installation.tick()).stopped


async def test_mail_left_by_a_killed_run_is_sent_again_with_the_same_message_id(
    installation: Installation,
) -> None:
    await installation.live(at(5, 8, 30))
    installation.clock.pass_until(at(5, 9))
    await installation.planner.tick()
    async with installation.database.write() as connection:
        chunks = await claims.open_chunks(connection, installation.clock.now())
        assert await connection.run_sync(
            claims.claim, chunks[0], run="killed", now=installation.clock.now(), limit=50
        )
    installation.restart()
    assert await installation.dispatcher.take_over() == 1
    await installation.tick()
    (row,) = await installation.reports(name="Ann")
    assert (row.state, row.attempts) == ("sent", 2)


async def test_mail_of_a_meeting_moved_after_an_uncertain_try_counts_as_sent_and_the_update_follows(
    installation: Installation,
) -> None:
    await installation.live(at(5, 8, 30))
    installation.clock.pass_until(at(5, 9))
    await installation.planner.tick()
    async with installation.database.write() as connection:
        (chunk,) = await claims.open_chunks(connection, installation.clock.now())
        await connection.run_sync(claims.claim, chunk, run="killed", now=installation.clock.now(), limit=50)
    await amend(
        installation.database,
        installation.by_slug,
        KEY,
        Change(move_to=datetime(2026, 11, 19, 17)),
        now=installation.clock.now(),
    )
    installation.restart()
    await installation.dispatcher.take_over()
    await installation.tick()
    assert await installation.states(name="Ann") == {"Ann": "sent: uncertain"}


async def test_a_pause_that_is_over_makes_the_member_active_again(installation: Installation) -> None:
    await installation.change("Ann", status="paused", active_since=None, paused_until=at(10, 0))
    await installation.live(at(6, 0))
    assert await installation.states(name="Ann") == {}
    await installation.live(at(10, 1))
    assert await installation.states(name="Ann", kind="invitation") == {"Ann": "sent"}


async def test_several_series_share_members_and_have_their_own_reminders(tmp_path: Path) -> None:
    second = type(SERIES)(
        slug="tea",
        title="Tea",
        rule="FREQ=WEEKLY;INTERVAL=2;BYDAY=TU",
        start=time(8),
        zone="Pacific/Auckland",
        duration=timedelta(minutes=30),
        first=SERIES.first,
    )
    async with open_installation(
        tmp_path, at(1, 12), series=(SERIES, second), policies=POLICIES
    ) as installation:
        await installation.join(("Ann", "Europe/London"))
        await installation.live(OVER)
        told = {row.occurrence for row in await installation.reports(policy="hour-before", state="sent")}
        assert told == {KEY, *{key for key in told if key and key.startswith("tea/")}}
        assert len(told) >= 2


async def test_when_a_policy_is_adopted_late_only_the_next_occurrence_is_invited_to_at_once(
    tmp_path: Path,
) -> None:
    weekly = type(SERIES)(
        slug="tea",
        title="Tea",
        rule="FREQ=WEEKLY;BYDAY=TU",
        start=time(8),
        zone="Europe/London",
        duration=timedelta(minutes=30),
        first=SERIES.first,
    )
    async with open_installation(
        tmp_path, at(1, 12), series=(weekly,), policies=(INVITATION,)
    ) as installation:
        await installation.join(("Ann", "Europe/London"))

        async def told() -> list[str]:
            return sorted(row.occurrence or "" for row in await installation.reports(state="sent"))

        # The invitation to the meeting of the 10th was due in October, before there was a policy.
        await installation.live(at(3, 8))
        assert await told() == ["tea/2026-11-03"]
        await installation.live(at(19, 0))
        assert (await told())[:3] == ["tea/2026-11-03", "tea/2026-11-10", "tea/2026-11-17"]


async def test_the_forecast_equals_what_the_tick_then_sends_even_after_a_policy_was_renamed(
    installation: Installation,
) -> None:
    await installation.live(at(10, 12))
    early = Policy(slug="welcome-in", kind=Kind.INVITATION, days_before=20, at=time(9))
    installation.policies = (early, DAY_BEFORE, HOUR_BEFORE)
    installation.restart()
    foreseen = await forecast(
        installation.database,
        series=installation.series,
        policies=installation.policies,
        since=at(10, 12),
        until=OVER,
        now=installation.clock.now(),
    )
    before = len(installation.mails())
    await installation.live(OVER)
    assert len(installation.mails()) - before == sum(row.recipients for row in foreseen)


async def test_a_renamed_invitation_policy_invites_nobody_twice(installation: Installation) -> None:
    await installation.live(at(6, 12))
    renamed = Policy(slug="welcome-in", kind=Kind.INVITATION, days_before=10, at=time(9))
    installation.policies = (renamed, DAY_BEFORE, HOUR_BEFORE)
    installation.restart()
    await installation.live(OVER)
    assert len(await installation.reports(kind="invitation", occurrence=KEY)) == 3


async def test_due_instants_by_zone_belong_to_one_notice(installation: Installation) -> None:
    await installation.live(at(6, 12))
    async with installation.database.read() as connection:
        planned = await notices.open_notices(connection)
        (invitation,) = [
            notice for notice in planned if notice.kind is Kind.INVITATION and notice.occurrence == KEY
        ]
        dues = await notices.dues_of(connection, invitation.id)
    assert set(dues) == {"Europe/London", "Pacific/Auckland", "America/New_York"}


async def test_each_kind_of_notice_expires_at_its_own_time(installation: Installation) -> None:
    await installation.live(at(6, 12))
    moved = Change(move_to=datetime(2026, 11, 20, 12))
    update = await tell(
        installation.database,
        await amend(installation.database, installation.by_slug, KEY, moved, now=installation.clock.now()),
        now=installation.clock.now(),
        by_choice=(),
    )
    await installation.tick()
    # A second move that nobody was told of: what members wait for ends when they were last told it would.
    again = Change(move_to=datetime(2026, 11, 20, 9))
    await amend(installation.database, installation.by_slug, KEY, again, now=installation.clock.now())
    off = await amend(
        installation.database, installation.by_slug, KEY, Change(cancel=True), now=installation.clock.now()
    )
    cancellation = await tell(installation.database, off, now=installation.clock.now(), by_choice=())
    async with installation.database.read() as connection:
        changes = [await notices.by_id(connection, change.notice) for change in (update, cancellation)]
    assert [change.expires for change in changes if change] == [at(20, 12), at(20, 13)]


async def test_a_member_who_joins_after_the_meeting_has_no_expired_mail_about_it(
    installation: Installation,
) -> None:
    await installation.live(at(1, 13))
    installation.clock.pass_until(OVER)
    await installation.join(("Late", "Europe/London"))
    installation.restart()
    await installation.tick()
    assert await installation.states(name="Late", occurrence=KEY) == {}
    assert set((await installation.states(name="Ann", occurrence=KEY)).values()) == {"expired: late"}


async def test_past_amended_extra_and_begun_meetings_keep_their_wall_time_under_a_changed_rule(
    installation: Installation,
) -> None:
    december, january = "conversation-for-kindness/2026-12-17", "conversation-for-kindness/2027-01-21"
    await amend(
        installation.database,
        installation.by_slug,
        december,
        Change(topic="Hope"),
        now=installation.clock.now(),
    )
    extra = await add_extra(
        installation.database, SERIES, datetime(2026, 11, 25, 12), now=installation.clock.now()
    )
    installation.clock.pass_until(at(19, 18, 30))
    installation.restart()
    await installation.tick()
    at_noon = replace(SERIES, start=time(12))
    installation.series = (at_noon,)
    installation.restart()
    await installation.live(datetime(2027, 1, 10, tzinfo=UTC))
    async with installation.database.read() as connection:
        stored = {occurrence.key: occurrence for occurrence in await occurrences.all_occurrences(connection)}
    assert stored[KEY].starts == START
    assert stored[december].starts == datetime(2026, 12, 17, 18, tzinfo=UTC)
    assert stored[extra.key].starts == at(25, 12)
    assert stored[january].starts == datetime(2027, 1, 21, 12, tzinfo=UTC)
    assert not any(occurrence.orphaned for occurrence in stored.values())


async def test_an_orphaned_meeting_gets_no_new_notices_until_a_convenor_keeps_it(
    installation: Installation,
) -> None:
    await installation.live(at(6, 12))
    installation.series = (replace(SERIES, rule="FREQ=MONTHLY;BYDAY=3FR"),)
    installation.restart()
    await installation.live(at(18, 12))
    assert await installation.reports(occurrence=KEY, kind="reminder") == []
    await amend(
        installation.database, installation.by_slug, KEY, Change(topic="Hope"), now=installation.clock.now()
    )
    await installation.live(OVER)
    assert await installation.states(occurrence=KEY, policy="hour-before") == dict.fromkeys(
        ("Ann", "Bo", "Cy"), "sent"
    )
