"""What members follow, in an import, an export and the copy of a member's data."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.domain.audience import parse_audience
from scheduler.domain.occurrence import Series
from scheduler.domain.policy import Kind, Policy
from scheduler.domain.token import Purpose
from scheduler.service.account import own_data
from scheduler.service.invitations import invitations
from scheduler.service.member_csv import read_members
from scheduler.service.member_files import Imported
from scheduler.service.members import Details, add_member, change_member, with_follows
from scheduler.store import follows, members
from scheduler.store.database import Database
from tests.installation import Installation, address_of, open_installation
from tests.service.people import change_mark, row, take
from tests.service.test_follows import ALL, ETHICS, JOURNAL, ROUNDS, weekly

BEGIN = datetime(2026, 11, 2, 12, tzinfo=UTC)
FORTNIGHT = Policy(slug="fortnight", kind=Kind.INVITATION, lead=timedelta(days=14))
TITLED = (
    weekly("a", "MO"),
    weekly("b", "TU"),
    weekly("a-b", "WE"),
    Series(
        **{
            name: getattr(weekly("talks", "TH"), name)
            for name in ("slug", "rule", "start", "zone", "duration", "first")
        },
        title="Talks, Walks; and Tea",
    ),
)


@pytest.mark.parametrize(
    ("all_series", "cell", "slugs"),
    [
        (ALL, "ethics; rounds", ("rounds", "ethics")),
        (ALL, "ROUNDS;rounds;Rounds", ("rounds",)),
        (ALL, "rounds,Ethics", ("rounds", "ethics")),
        (ALL, "rounds;", ("rounds",)),
        (ALL, ";", None),
        (ALL, "  ", None),
        (ALL, "None", ()),
        (TITLED, "a;b", ("a", "b")),
        (TITLED, "a-b", ("a-b",)),
        (TITLED, "A-B;b", ("b", "a-b")),
        (TITLED, "talks walks and tea", ("talks",)),
        (TITLED, "Talks, Walks; and Tea", ("talks",)),
        (TITLED, "B, Talks, Walks; and Tea", ("b", "talks")),
    ],
)
def test_a_cell_names_series_by_slug_or_title(
    all_series: tuple[Series, ...], cell: str, slugs: tuple[str, ...] | None
) -> None:
    text = f'email,zone,series\nann@example.org,UTC,"{cell}"\n'
    (found,) = read_members(text.encode(), all_series=all_series).rows
    assert found.series == slugs


@pytest.mark.parametrize("cell", ["pottery", "rounds;pottery", "rounds pottery", "-", "none;rounds", "yes"])
def test_an_unknown_series_makes_a_row_bad_and_names_the_accepted(cell: str) -> None:
    text = f"email,zone,Which series do you follow?\nann@example.org,UTC,{cell}\nbo@example.org,UTC,rounds\n"
    table = read_members(text.encode(), all_series=ALL)
    assert [one.address for one in table.rows] == ["bo@example.org"]
    (problem,) = table.problems
    assert (problem.line, problem.column) == (2, "Which series do you follow?")
    assert problem.reason.endswith(": there is no such series; accepted: rounds, journal, ethics")


@pytest.mark.parametrize(
    "heading", ["series", "Series", "follows", "Following", "SERIES FOLLOWED", "Series (slugs)"]
)
def test_the_column_may_have_several_headings(heading: str) -> None:
    table = read_members(f"email,zone,{heading}\nann@example.org,UTC,journal\n".encode(), all_series=ALL)
    assert not table.ignored and table.rows[0].series == ("journal",)


def test_a_plain_series_column_counts_more_than_one_that_may_mean_something_else() -> None:
    text = "email,zone,following,series\nann@example.org,UTC,120,journal\n"
    table = read_members(text.encode(), all_series=ALL)
    assert table.ignored == ("following",) and table.rows[0].series == ("journal",)


def test_one_address_with_two_sets_of_series_is_reported() -> None:
    text = "email,zone,series\nann@example.org,UTC,journal\nANN@example.org,UTC,rounds\n"
    table = read_members(text.encode(), all_series=ALL)
    assert [one.series for one in table.rows] == [("journal",)] and len(table.problems) == 1


async def test_known_and_new_members_are_counted_as_invited_exactly_if_they_will_be(tmp_path: Path) -> None:
    """In any mixture of what members chose before and what the rows say."""
    dice = random.Random(7)
    async with open_installation(tmp_path, BEGIN, series=ALL, policies=(FORTNIGHT,)) as installation:
        slugs = [series.slug for series in ALL]
        for number in range(30):
            choices = {slug: dice.random() < 0.5 for slug in slugs if dice.random() < 0.4}
            await add_member(
                installation.database,
                Details(address=f"known{number}@example.org", zone="UTC", choices=choices or None),
                keys=installation.keys,
                locale="en-GB",
                now=BEGIN,
                all_series=ALL,
            )
        await installation.tick()
        installation.clock.pass_until(BEGIN + timedelta(hours=1))
        await installation.tick()
        before = await sent(installation)
        rows = [
            row(
                f"{kind}{number}@example.org",
                zone="UTC",
                series=dice.choice([None, (), *(tuple(dice.sample(slugs, size)) for size in (1, 2, 3))]),
            )
            for kind in ("known", "new")
            for number in range(30)
        ]
        now = installation.clock.now()
        open_invitations = await invitations(
            installation.database, series=ALL, policies=(FORTNIGHT,), now=now
        )
        foreseen, done = [
            await take(
                installation.database,
                rows,
                all_series=ALL,
                invitations=open_invitations,
                now=now,
                dry_run=dry_run,
            )
            for dry_run in (True, False)
        ]
        assert foreseen == done
        await installation.tick()
        mails = await sent(installation) - before
        invited = {address for address, _ in mails}
        assert done.invited == len({one for one in invited if one.startswith("new")}) > 0
        assert done.invited_known == len({one for one in invited if one.startswith("known")}) > 0
        assert done.invitations == len(mails) > len(invited)
        mark = await change_mark(installation.database)
        again = await take(installation.database, rows, all_series=ALL, invitations=open_invitations, now=now)
        assert again == Imported(unchanged=60)
        assert await change_mark(installation.database) == mark


async def sent(installation: Installation) -> set[tuple[str, str | None]]:
    reports = await installation.reports(kind="invitation", state="sent")
    return {(one.address, one.occurrence) for one in reports}


async def test_without_an_invitation_a_known_member_is_only_invited_to_later_meetings(tmp_path: Path) -> None:
    october = datetime(2026, 10, 12, tzinfo=UTC)
    async with open_installation(tmp_path, october, series=ALL, policies=(FORTNIGHT,)) as installation:
        await installation.join(("Ann", "UTC"))
        await installation.live(BEGIN)
        rows = [row(address_of("Ann"), zone="UTC", series=("journal", "rounds", "ethics"))]
        done = await take(
            installation.database, rows, all_series=ALL, now=installation.clock.now(), invite=False
        )
        assert done == Imported(filled=1)
        await installation.tick()
        assert not [one for one in await sent(installation) if "journal" in str(one)]
        await installation.live(datetime(2026, 11, 11, tzinfo=UTC))
        journal = [key for _, key in await sent(installation) if key and key.startswith("journal")]
        # The invitations to the 3rd and 10th were open at the import.
        assert sorted(journal) == ["journal/2026-11-17", "journal/2026-11-24"]


@pytest.mark.both_databases
async def test_a_choice_made_while_an_import_runs_is_kept(database: Database) -> None:
    await take(database, [row("ann@example.org")], all_series=ALL)
    async with database.write() as connection:
        await follows.store(connection, {1: {"journal": False}})
        await follows.store(connection, {1: {"journal": True, "rounds": False}}, overwrite=False)
        assert await follows.choices_of(connection, 1) == {"journal": False, "rounds": False}


async def test_a_long_list_is_read_with_few_queries(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million members must not take a query each."""
    rows = [row(f"m{number}@example.org", series=("journal",)) for number in range(1_200)]
    await take(database, rows, all_series=ALL)
    asked: list[int] = []
    read = follows.choices_of_each

    async def counted(connection, numbers):  # type: ignore[no-untyped-def]
        asked.append(len(numbers))
        return await read(connection, numbers)

    monkeypatch.setattr(follows, "choices_of_each", counted)
    async with database.read() as connection:
        every = with_follows(connection, members.every(connection), ALL)
        assert [slugs async for _, slugs in every] == [["journal"]] * 1_200
    assert asked == [500, 500, 200]


async def test_a_member_can_download_the_choices_that_are_kept(tmp_path: Path) -> None:
    async with open_installation(tmp_path, BEGIN, series=ALL) as installation:
        await installation.join(("Ann", "UTC"))
        await change_member(
            installation.database,
            address_of("Ann"),
            Details(choices={"journal": True, "rounds": False}),
            keys=installation.keys,
            now=BEGIN,
            all_series=ALL,
        )
        token = installation.keys.token(Purpose.SIGN_IN, 1, generation=0, expires=BEGIN + timedelta(hours=1))
        data = await own_data(installation.database, token, keys=installation.keys, now=BEGIN)
        assert {one["series"]: one["follows"] for one in data["follows"]} == {
            "journal": True,
            "rounds": False,
        }


async def test_followers_and_exceptions_are_found_on_postgresql_too(
    postgres_url: str, tmp_path: Path
) -> None:
    async with open_installation(tmp_path, BEGIN, series=ALL, url=postgres_url) as installation:
        rows = [
            row("ann@example.org", country=None, series=("journal",)),
            row("bo@example.org", country="NZ", zone="Pacific/Auckland", series=("rounds", "journal")),
            row("cy@example.org", country=None),
        ]
        await take(installation.database, rows, all_series=ALL)
        assert await take(installation.database, rows, all_series=ALL) == Imported(unchanged=3)
        async with installation.database.read() as connection:
            for text, count in (
                ("series:journal", 2),
                ("series:journal,except:country:NZ", 1),
                ("all,except:country:NZ", 2),
                ("series:rounds,except:series:journal", 1),
            ):
                audience = parse_audience(text, all_series=ALL, read_list=lambda _: [])
                assert await members.count_audience(connection, audience) == count, text
            assert [
                await follows.has_follower(connection, one.slug) for one in (ROUNDS, JOURNAL, ETHICS)
            ] == [
                True,
                True,
                False,
            ]
