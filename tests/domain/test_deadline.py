"""The arithmetic of deadlines: when sending begins and ends at a relay's rate."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.deadline import MOST_EARLY, Load, spans, starts

NOW = datetime(2026, 11, 1, tzinfo=UTC)
DUE = datetime(2026, 11, 19, 17, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def load(
    recipients: int,
    *,
    due: datetime = DUE,
    useful: timedelta = timedelta(hours=1),
    early: timedelta = MOST_EARLY,
    begun: bool = False,
) -> Load:
    return Load(due=due, expires=due + useful, soonest=due - early, recipients=recipients, begun=begun)


def minutes(least: int, most: int) -> st.SearchStrategy[timedelta]:
    return st.integers(least, most).map(lambda number: timedelta(minutes=number))


loads = st.lists(
    st.builds(
        load,
        st.integers(0, 20_000),
        due=minutes(0, 5_000).map(lambda after: DUE + after),
        useful=minutes(1, 10_000),
    ),
    max_size=8,
)
unbound = loads.map(lambda batches: [replace(batch, soonest=NOW) for batch in batches])
rates = st.floats(0.1, 50)


def test_an_hour_before_to_fourteen_thousand_at_two_a_second_ends_half_an_hour_before_the_start() -> None:
    (span,) = spans([load(14_000)], 2, now=NOW)
    # 7,000 seconds are 1 h 56 min 40 s.
    assert (span.start, span.finish) == (
        datetime(2026, 11, 19, 15, 33, tzinfo=UTC),
        datetime(2026, 11, 19, 17, 29, 40, tzinfo=UTC),
    )
    assert not span.late


def test_a_load_that_can_finish_in_time_begins_at_its_due_instant() -> None:
    assert starts([load(3_600)], 2, now=NOW) == [DUE]
    assert starts([load(3_601)], 2, now=NOW) == [DUE - MINUTE]


def test_of_two_loads_that_share_the_relay_the_earlier_one_begins_earlier() -> None:
    first, second = load(3_600, due=DUE - timedelta(minutes=10)), load(3_600)
    assert starts([second, first], 2, now=NOW) == [DUE, DUE - timedelta(minutes=30)]
    assert [span.late for span in spans([second, first], 2, now=NOW)] == [False, False]


def test_a_load_that_cannot_finish_in_time_begins_as_early_as_it_may_and_is_reported_late() -> None:
    (span,) = spans([load(200_000)], 2, now=NOW)
    assert span.start == DUE - MOST_EARLY
    assert (span.late, span.misses) == (True, True)
    (span,) = spans([load(2 * 24 * 3600 + 2 * 45 * 60)], 2, now=NOW)
    assert (span.late, span.misses) == (True, False)


def test_a_convenors_notice_never_begins_before_its_instant() -> None:
    assert starts([load(14_000, early=timedelta())], 2, now=NOW) == [DUE]


def test_a_reminder_begins_before_a_convenors_notice_that_would_delay_it() -> None:
    # Two hours and half an hour; the reminder would wait until 17:30, and must be over by then.
    notice = load(
        14_400, due=DUE - timedelta(hours=1, minutes=30), useful=timedelta(days=2), early=timedelta()
    )
    reminder, before = load(3_600), load(1_800, due=DUE - timedelta(hours=2))
    begins = starts([reminder, notice, before], 2, now=NOW)
    assert begins == [notice.due - timedelta(minutes=30), notice.due, notice.due - timedelta(minutes=45)]
    assert not any(span.late for span in spans([reminder, notice, before], 2, now=NOW))
    # Two at once are one after the other.
    short = replace(notice, recipients=7_000)
    assert starts([reminder, short], 2, now=NOW) == [DUE, short.due]
    assert starts([reminder, short, short], 2, now=NOW)[0] == notice.due - timedelta(minutes=30)


def test_a_load_that_has_begun_continues_at_once_and_a_late_one_begins_now() -> None:
    now = DUE - timedelta(minutes=45)
    (begun,) = spans([load(600, begun=True)], 2, now=now)
    assert (begun.start, begun.finish) == (now, now + timedelta(minutes=5))
    now = DUE + timedelta(minutes=50)
    (span,) = spans([load(600)], 2, now=now)
    assert (span.start, span.finish, span.late, span.misses) == (
        now,
        now + timedelta(minutes=5),
        False,
        False,
    )


def test_the_slowest_relay_and_the_most_members_cause_no_overflow() -> None:
    result = spans([load(10**9) for _ in range(50)], 1e-300, now=NOW)
    assert all(span.misses for span in result)


def test_a_load_that_may_begin_only_after_it_is_due_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="due instant"):
        load(1, early=-MINUTE)


@given(loads)
def test_without_a_rate_every_load_begins_and_ends_at_its_due_instant(batches: list[Load]) -> None:
    assert starts(batches, 0, now=NOW) == [batch.due for batch in batches]
    assert [span.finish for span in spans(batches, 0, now=NOW)] == [batch.due for batch in batches]


@given(loads, rates)
def test_every_load_begins_between_its_earliest_instant_and_its_due_instant(
    batches: list[Load], rate: float
) -> None:
    for batch, start in zip(batches, starts(batches, rate, now=NOW), strict=True):
        assert batch.soonest <= start <= batch.due


@given(unbound, rates)
def test_with_enough_time_every_last_mail_is_useful(batches: list[Load], rate: float) -> None:
    batches = [replace(batch, recipients=batch.recipients // 10) for batch in batches]
    for batch, span in zip(batches, spans(batches, rate, now=NOW - timedelta(days=60)), strict=True):
        assert span.finish <= batch.useful_until(NOW)
        assert not span.late


@given(loads, rates)
def test_no_load_begins_early_if_all_are_in_time_without_that(batches: list[Load], rate: float) -> None:
    punctual = [replace(batch, soonest=batch.due) for batch in batches]
    if not any(span.late for span in spans(punctual, rate, now=NOW)):
        assert starts(batches, rate, now=NOW) == [batch.due for batch in batches]


@given(st.integers(1, 1_000_000), rates)
def test_a_load_that_begins_early_would_be_late_if_it_began_a_minute_later(
    recipients: int, rate: float
) -> None:
    batch = load(recipients)
    (start,) = starts([batch], rate, now=NOW)
    if batch.soonest < start < batch.due:
        later = replace(batch, soonest=start + MINUTE, due=start + MINUTE)
        (span,) = spans([later], rate, now=NOW)
        assert span.finish > batch.useful_until(NOW)


@given(loads, rates, st.data())
def test_more_recipients_make_no_load_begin_later(
    batches: list[Load], rate: float, data: st.DataObject
) -> None:
    if not batches:
        return
    grown = data.draw(st.integers(0, len(batches) - 1))
    more = [
        replace(batch, recipients=batch.recipients + 1_000) if number == grown else batch
        for number, batch in enumerate(batches)
    ]
    for before, after in zip(starts(batches, rate, now=NOW), starts(more, rate, now=NOW), strict=True):
        assert after <= before


@given(loads, rates)
def test_all_loads_together_never_exceed_the_rate(batches: list[Load], rate: float) -> None:
    served = sorted(zip(spans(batches, rate, now=NOW), batches, strict=True), key=lambda pair: pair[0].finish)
    for number, (first, _) in enumerate(served):
        for last, _ in served[number:]:
            within = sum(
                batch.recipients
                for span, batch in served
                if first.start <= span.start and span.finish <= last.finish
            )
            assert within <= rate * (last.finish - first.start).total_seconds() + 0.01


@given(loads, rates)
def test_before_a_late_load_the_relay_is_busy_since_the_earliest_instant_at_which_a_load_may_begin(
    batches: list[Load], rate: float
) -> None:
    ordered = sorted(zip(spans(batches, rate, now=NOW), batches, strict=True), key=lambda pair: pair[0].start)
    begins = dict(zip(map(id, batches), starts(batches, rate, now=NOW), strict=True))
    pressed = False
    free = NOW
    for span, batch in ordered:
        if span.start > free:
            pressed = False
        pressed |= begins[id(batch)] == batch.soonest
        assert pressed or not span.late
        free = max(free, span.finish)


@given(unbound, loads, rates)
def test_a_load_with_a_fixed_start_makes_no_load_late_that_can_go_before_it(
    batches: list[Load], fixed_batches: list[Load], rate: float
) -> None:
    movable = [replace(batch, recipients=1 + batch.recipients // 10) for batch in batches]
    immovable = [
        replace(batch, soonest=batch.due, recipients=batch.recipients // 10) for batch in fixed_batches
    ]
    served = spans([*immovable, *movable], rate, now=NOW - timedelta(days=60))
    assert not any(span.late for span in served[len(immovable) :])
