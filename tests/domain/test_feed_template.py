"""A filled-in feed template equals, byte for byte, the feed rendered for that member."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.calendar import Answer, feed
from scheduler.domain.feed_template import FeedTemplate, PrivateFeed
from scheduler.domain.occurrence import ANSWERS, Series
from scheduler.domain.token import Keys, Purpose
from tests.domain.test_calendar import ADOPTED, ALL, CHANGED, COMMUNITY, NOVEMBER, OCCURRENCES, SERIES

TOKEN = Keys(b"k" * 32).token(Purpose.JOIN, 7, generation=0)
KEYS = [one.key for one in OCCURRENCES]
ROUNDS, ETHICS = (
    replace(SERIES, slug=slug, title=title, rule=rule, start=start, zone=zone, first=date(2026, 11, 1))
    for slug, title, rule, start, zone in (
        ("case-rounds", "Case rounds", "FREQ=WEEKLY;BYDAY=TU;COUNT=5", time(12, 30), "America/New_York"),
        ("ethics-table", "Ethics table", "FREQ=MONTHLY;BYDAY=1SU;COUNT=3", time(20), "Pacific/Auckland"),
    )
)
THREE: dict[str, Series] = {one.slug: one for one in (SERIES, ROUNDS, ETHICS)}
OF_THREE = [
    *OCCURRENCES,
    *(one.occurrence(day, ADOPTED) for one in (ROUNDS, ETHICS) for day in one.dates(date(2026, 11, 1))),
]
TWO = frozenset({SERIES.slug, ROUNDS.slug})
answered = st.dictionaries(
    st.sampled_from([*KEYS, "conversation-for-kindness/2019-01-17"]),
    st.builds(
        Answer,
        st.sampled_from(sorted(ANSWERS)),
        st.datetimes(datetime(2026, 5, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
    ),
)


@given(
    answered,
    st.none() | st.integers(0, 10_080).map(lambda minutes: timedelta(minutes=minutes)),
    st.text("ab2é🌱", max_size=80),
    st.integers(1, 40),
    st.from_regex(r"[a-z2-7]{34}", fullmatch=True),
    st.sampled_from(["en", "ar", "zh-Hant"]),
)
def test_a_filled_template_equals_the_members_own_feed_wherever_lines_are_folded(
    answers: Mapping[str, Answer], alarm: timedelta | None, topic: str, host: int, token: str, language: str
) -> None:
    """Topics and hosts of any length move the token to every position in a line of 75 octets."""
    community = replace(COMMUNITY, base_url=f"https://{'m' * host}.example.org")
    occurrences = [replace(occurrence, topic=topic) for occurrence in OCCURRENCES]
    common = PrivateFeed(
        occurrences,
        ALL,
        community,
        join_url=community.join_url,
        alarm=alarm,
        changed_at=CHANGED,
        language=language,
    )
    expected = feed(
        occurrences,
        ALL,
        community,
        name=community.name,
        alarm=alarm,
        answers=answers,
        join=lambda occurrence: community.join_url(token, occurrence.key),
        language=language,
    )
    assert common.fill(token, answers) == expected
    assert common.fill(token, answers) == expected  # from what it remembers now


def test_one_members_feed_leaves_nothing_in_the_next_ones() -> None:
    common = PrivateFeed(
        OCCURRENCES, ALL, COMMUNITY, join_url=COMMUNITY.join_url, alarm=None, changed_at=CHANGED
    )
    before = common.fill(TOKEN, {})
    others_feed = common.fill("b" * 34, {NOVEMBER.key: Answer("maybe", CHANGED)})
    assert TOKEN not in others_feed.decode().replace("\r\n ", "")
    assert common.fill(TOKEN, {}) == before
    assert "b" * 34 not in before.decode().replace("\r\n ", "")


def test_an_empty_feed_has_nothing_to_fill_in() -> None:
    common = PrivateFeed([], ALL, COMMUNITY, join_url=COMMUNITY.join_url, alarm=None, changed_at=CHANGED)
    assert common.fill(TOKEN, {}) == feed([], ALL, COMMUNITY, name=COMMUNITY.name)
    assert FeedTemplate(b"as it is").fill(b"x" * 34) == b"as it is"


def test_no_placeholder_remains_in_a_feed() -> None:
    series = replace(SERIES, description="0198")
    common = PrivateFeed(
        OCCURRENCES,
        {series.slug: series},
        COMMUNITY,
        join_url=COMMUNITY.join_url,
        alarm=None,
        changed_at=CHANGED,
    )
    assert b"01980198" not in common.fill(TOKEN, {}).replace(b"\r\n ", b"")


def three_series() -> PrivateFeed:
    return PrivateFeed(
        OF_THREE,
        THREE,
        COMMUNITY,
        join_url=COMMUNITY.join_url,
        alarm=timedelta(minutes=15),
        changed_at=CHANGED,
    )


@given(st.lists(st.tuples(st.sets(st.sampled_from(sorted(THREE))), answered), min_size=1, max_size=8))
def test_a_feed_of_some_series_is_the_same_as_made_for_these_series(
    choices: list[tuple[set[str], Mapping[str, Answer]]],
) -> None:
    common = three_series()
    for slugs, answers in choices:
        made = feed(
            [one for one in OF_THREE if one.series in slugs],
            THREE,
            COMMUNITY,
            name=COMMUNITY.name,
            alarm=timedelta(minutes=15),
            answers=answers,
            join=lambda one: COMMUNITY.join_url(TOKEN, one.key),
        )
        assert common.of_series(slugs).fill(TOKEN, answers) == made


def test_the_feed_of_a_member_who_follows_two_of_three_series_matches_its_golden_file(
    golden: Callable[[str, bytes], None],
) -> None:
    golden("two-of-three.ics", three_series().of_series(TWO).fill(TOKEN, {}))


def test_however_many_sets_of_series_are_followed_only_some_feeds_are_kept() -> None:
    many = {f"s{number}": replace(SERIES, slug=f"s{number}") for number in range(12)}
    common = PrivateFeed([], many, COMMUNITY, join_url=COMMUNITY.join_url, alarm=None, changed_at=CHANGED)
    for bits in range(300):
        slugs = {slug for number, slug in enumerate(many) if bits >> number & 1}
        assert common.of_series(slugs) is common.of_series(slugs)
    assert len(common._selections) == 300 - 256
    assert common.of_series(many) is common
