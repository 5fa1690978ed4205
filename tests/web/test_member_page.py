"""A member's preferences page: what can be changed there, and that changes take effect at once."""

import json
import re
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import func, select

from scheduler.domain.audience import Audience
from scheduler.domain.token import Purpose
from scheduler.store import erasures, members, schema
from scheduler.store.members import Member
from tests.installation import Installation, address_of
from tests.web.test_any_form import own_tokens
from tests.web.test_links import everything, token


async def person(installation: Installation, name: str = "Bo") -> Member:
    async with installation.database.read() as connection:
        found = await members.by_key(connection, address_of(name))
        assert found
        return found


async def fresh_token(installation: Installation, name: str = "Bo") -> str:
    """The token of a link that was mailed just now."""
    member, expires = await person(installation, name), installation.clock.now() + timedelta(hours=1)
    return installation.keys.token(Purpose.SIGN_IN, member.id, generation=member.generation, expires=expires)


@pytest.fixture
async def link(installation: Installation) -> str:
    return f"/me/{await token(installation, 'Bo', Purpose.PREFERENCES)}"


DETAILS = {"act": "details", "name": "Bo", "zone": "Pacific/Auckland", "locale": "en-GB", "cycle": ""}


async def test_looking_changes_nothing_and_shows_what_is_kept(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    before = await everything(installation)
    for _ in range(2):
        shown = await visitor.get(link)
        assert shown.status_code == 200 and "07:00" in shown.text and 'value="Bo"' in shown.text
        assert "The reminder on the day before, at 09:00 your time" in shown.text
        assert "The reminder an hour before the start" in shown.text
        assert (await visitor.head(link)).status_code == 200
        assert link.removeprefix("/me/") not in shown.text and "Set-Cookie" not in shown.headers
    assert await everything(installation) == before


async def test_a_move_shows_both_hours_first_and_then_reminds_by_the_new_clock(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    installation.clock.pass_until(datetime(2026, 11, 18, 19, 30, tzinfo=UTC))
    await installation.planner.tick()
    assert (await installation.states(policy="day-before", name="Bo")) == {"Bo": "queued"}
    asked = await visitor.post(link, data={**DETAILS, "zone": "America/Vancouver"})
    assert (
        "Change your time zone from Auckland to Vancouver?" in asked.text
        and "07:00" in asked.text
        and "11:00" in asked.text
    )
    assert (await person(installation)).zone == "Pacific/Auckland"
    saved = await visitor.post(
        link, data={**DETAILS, "zone": "America/Vancouver", "confirmed": "America/Vancouver"}
    )
    assert (
        saved.status_code == 303
        and "We have saved your details." in (await visitor.get(saved.headers["Location"])).text
    )
    moved = await person(installation)
    assert (moved.zone, moved.zone_source) == ("America/Vancouver", "confirmed")
    await installation.tick()
    (waiting,) = await installation.reports(policy="day-before", name="Bo")
    # Nine o'clock in Vancouver, where the clocks no longer go back, on the day before their Thursday.
    assert waiting.due == datetime(2026, 11, 18, 16, tzinfo=UTC)


async def test_the_hour_cycle_is_a_members_own_and_no_change_of_language(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    await visitor.post(link, data={**DETAILS, "cycle": "h12"})
    assert (await person(installation)).locale == "en-GB-u-hc-h12"
    shown = (await visitor.get(link)).text
    assert "7:00 am" in shown and 'value="h12" checked' in shown
    async with installation.database.read() as connection:
        assert await members.count_audience(connection, Audience(terms={"locale": ["en-GB"]})) == 3
    await visitor.post(link, data={**DETAILS, "locale": "de", "cycle": ""})
    assert (await person(installation)).locale == "de-GB"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "Bo\u202egpj", "You need to change the name: character U+202E is not allowed here"),
        ("name", "x" * 201, "201 characters; at most 200"),
        ("name", "Bo\r\nBcc: all@example.org", "character U+000D"),
        ("zone", "Pacific/Aukland", "Pacific/Auckland"),
        ("zone", "", "is not known"),
        ("locale", "<b>en</b>", "is not known"),
        ("locale", "' OR 1=1 --", "is not known"),
        ("cycle", "h99", "You need to choose one of these"),
    ],
)
async def test_errors_are_shown_beside_their_fields_and_nothing_is_saved(
    installation: Installation, visitor: httpx.AsyncClient, link: str, field: str, value: str, words: str
) -> None:
    before = await everything(installation)
    typed = {**DETAILS, "name": "Bohumil", field: value}
    answer = await visitor.post(link, data=typed)
    assert answer.status_code == 422
    assert words in answer.text and f'id="{field}-complaint"' in answer.text
    assert "<b>en</b>" not in answer.text
    if field != "name":
        assert 'value="Bohumil"' in answer.text
    assert await everything(installation) == before


async def test_names_of_every_script_are_kept_as_they_were_typed(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    for name in ("李小龍 🎉", "نور", "<b>Bo</b> & 'O''Neil'", "Zоё Ünal"):
        assert (await visitor.post(link, data={**DETAILS, "name": name})).status_code == 303
        assert (await person(installation)).name == name


async def test_what_is_not_ticked_is_not_mailed_even_where_it_waits_already(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    installation.clock.pass_until(datetime(2026, 11, 18, 19, 30, tzinfo=UTC))
    await installation.tick()
    assert (await installation.states(policy="day-before"))["Bo"] == "queued"
    assert (
        await visitor.post(link, data={"act": "notices", "wanted": ["reminder:hour-before"]})
    ).status_code == 303
    installation.clock.pass_until(datetime(2026, 11, 18, 20, 30, tzinfo=UTC))
    await installation.dispatcher.send_due()  # the claim's own check, before any tick
    assert (await installation.states(policy="day-before"))["Bo"] == "queued"
    await installation.tick()
    assert (await installation.states(policy="day-before"))["Bo"] == "skipped: unwanted"
    await visitor.post(
        link, data={"act": "notices", "wanted": ["reminder:hour-before", "reminder:day-before"]}
    )
    await installation.tick()
    assert (await installation.states(policy="day-before"))["Bo"] == "sent"
    async with installation.database.read() as connection:
        assert await members.count_audience(connection, Audience(terms={"all": []}), kind="notice") == 2
        assert await members.count_audience(connection, Audience(terms={"all": []})) == 3
    await visitor.post(link, data={"act": "notices", "wanted": [], "invitation_by": "feed"})
    assert (await person(installation)).invitation_by == "feed"
    installation.clock.pass_until(datetime(2026, 11, 19, 17, 30, tzinfo=UTC))
    await installation.tick()
    assert await installation.states(policy="hour-before") == {"Ann": "sent", "Cy": "sent"}


async def test_a_pause_holds_until_its_day_and_ends_by_a_press(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    for wrong in ("", "soon", "2026-11-04", "2028-01-01", "9999-12-31", "0001-01-01"):
        answer = await visitor.post(link, data={"act": "pause", "until": wrong})
        assert answer.status_code == 422 and 'id="until-complaint"' in answer.text
    await visitor.post(link, data={"act": "pause", "until": "2026-12-01"})
    paused = await person(installation)
    assert (paused.status, paused.paused_until) == ("paused", datetime(2026, 11, 30, 11, tzinfo=UTC))
    assert "paused until Tuesday 1 December 2026" in (await visitor.get(link)).text
    await visitor.post(link, data={"act": "resume"})
    assert (await person(installation)).status == "active"


async def test_a_member_whose_address_bounces_sees_it(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    assert "came back" not in (await visitor.get(link)).text
    await installation.change("Bo", suppressed_at=installation.clock.now(), suppressed_for="5.1.1")
    assert 'Our emails to <bdi dir="ltr">bo@example.org</bdi> came back' in (await visitor.get(link)).text
    assert "came back to us: for 90 days" in (await visitor.get("/privacy")).text


async def test_leaving_offers_a_pause_which_the_one_click_of_a_mail_program_never_takes(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    leave = f"/u/{await token(installation, 'Bo', Purpose.LEAVE)}"
    assert 'action="?pause=3"' in (await visitor.get(leave)).text
    paused = await visitor.post(f"{leave}?pause=3")
    assert "until Thursday 4 February 2027" in paused.text
    assert (await person(installation)).status == "paused"
    await visitor.post(leave, data={"List-Unsubscribe": "One-Click"})
    assert (await person(installation)).status == "left"
    assert "You have left" in (await visitor.post(f"{leave}?pause=1")).text
    assert (await person(installation)).status == "left"


async def test_the_feed_rings_as_wanted_and_gets_another_address(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    old = f"/cal/{installation.keys.token(Purpose.FEED, (await person(installation)).id, generation=0)}.ics"
    assert "BEGIN:VALARM" not in (await visitor.get(old)).text
    await visitor.post(link, data={"act": "feed", "alarm": "60"})
    installation.clock.pass_(timedelta(seconds=5))
    assert "TRIGGER:-PT1H" in (await visitor.get(old)).text
    assert (await person(installation)).feed_answers is False
    assert (await visitor.post(link, data={"act": "feed", "alarm": "61"})).status_code == 422
    await visitor.post(link, data={"act": "rotate"})
    assert (await person(installation)).feed_generation == 1
    installation.clock.pass_(timedelta(seconds=5))
    assert "this calendar has ended" in (await visitor.get(old)).text
    assert (await visitor.get(link)).status_code == 200


async def test_the_download_contains_everything_that_erasing_removes_also_for_members_who_left(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    """Whatever table comes to hold something of a member: what is gone after erasing was in the file before."""
    installation.clock.pass_until(datetime(2026, 11, 6, 12, tzinfo=UTC))
    await installation.tick()
    await installation.answer("Bo", "conversation-for-kindness/2026-11-19", "coming")
    await visitor.post(link, data={"act": "notices", "wanted": []})
    await installation.change("Bo", status="left", active_since=None)
    assert "You have left" in (await visitor.get(link)).text
    own = f"/sign-in/{await fresh_token(installation)}"
    given = await visitor.get(f"{own}?download")
    assert given.headers["Content-Disposition"].startswith("attachment")
    document = json.loads(given.text)
    before = await _counts(installation)
    async with installation.database.write() as connection:
        await erasures.erase(connection, await person(installation), "0" * 64, installation.clock.now())
    after = await _counts(installation)
    gone = {name: before[name] - after[name] for name in before if before[name] > after[name]}
    assert gone == {name: len(document[name]) for name in gone}
    assert gone.keys() >= {"members", "deliveries", "answers", "mutes"}
    assert document["members"][0]["address"] == "bo@example.org"
    assert (await visitor.get(f"{own}?download")).status_code == 404


async def _counts(installation: Installation) -> dict[str, int]:
    async with installation.database.read() as connection:
        return {
            table.name: await connection.scalar(select(func.count()).select_from(table)) or 0
            for table in schema.metadata.sorted_tables
        }


async def test_only_its_own_link_opens_it(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    before = await everything(installation)
    wrong = [
        f"/me/{await token(installation, 'Bo', purpose)}"
        for purpose in Purpose
        if purpose is not Purpose.PREFERENCES
    ]
    for path in [*wrong, link[:-1], f"{link[:-2]}22", "/me/x"]:
        assert (await visitor.get(path)).status_code == 404
        for act in (
            {**DETAILS, "name": "Mallory"},
            {"act": "rotate"},
            {"act": "pause", "until": "2026-12-01"},
        ):
            refused = await visitor.post(path, data=act)
            assert refused.status_code == 404 and "This link does not work" in refused.text
    assert (await visitor.post(link, data={"act": "else"})).status_code == 400
    assert await everything(installation) == before
    await installation.change("Bo", generation=1)
    assert (await visitor.get(link)).status_code == 410


async def test_the_link_in_a_mails_foot_downloads_nothing(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    """Mails are passed on: what is held is handed out by a fresh link alone."""
    shown = await visitor.get(f"{link}?download")
    assert shown.headers["Content-Type"].startswith("text/html")
    assert "Content-Disposition" not in shown.headers and "download" not in shown.text.partition("<main")[0]
    assert 'href="?download"' not in shown.text
    assert (await visitor.get(f"/sign-in/{link.removeprefix('/me/')}?download")).status_code == 404
    fresh = f"/sign-in/{await fresh_token(installation)}"
    assert (await visitor.get(f"{fresh}?download")).json()["members"][0]["name"] == "Bo"
    installation.clock.pass_(timedelta(hours=2))
    assert (await visitor.get(f"{fresh}?download")).status_code == 410


OLD_LINKS = (
    "/u/{}",
    "/me/{}",
    "/rsvp/{}",
    "/subscribe/{}",
    "/go/{}/conversation-for-kindness/2026-11-19",
    "/sign-in/{}",
)


async def links_of(installation: Installation) -> list[str]:
    """A link of every kind that Bo was given, but for the feed's."""
    own = await own_tokens(installation)
    purposes = (Purpose.LEAVE, Purpose.PREFERENCES, Purpose.RSVP, Purpose.SUBSCRIBE, Purpose.JOIN)
    tokens = [*(own[purpose] for purpose in purposes), await fresh_token(installation)]
    return [path.format(token) for path, token in zip(OLD_LINKS, tokens, strict=True)]


async def test_a_member_ends_their_old_links_and_a_new_one_goes_to_their_address(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    old = await links_of(installation)
    feed = f"/cal/{installation.keys.token(Purpose.FEED, (await person(installation)).id, generation=0)}.ics"
    for path in old:
        assert (await visitor.get(path)).status_code == 200, path
    shown = await visitor.get(link)
    assert "Cancel my old links" in shown.text and "subscribe again" in shown.text
    done = await visitor.post(link, data={"act": "links"})
    assert done.status_code == 200 and "We have cancelled your old links" in done.text
    # Whoever holds the old link is shown no new one.
    assert "/me/" not in done.text and "Location" not in done.headers
    for path in old:
        assert (await visitor.get(path)).status_code == 410, path
        assert (await visitor.post(path, data={"act": "links"})).status_code in (405, 410), path
    installation.clock.pass_(timedelta(seconds=5))
    assert "this calendar has ended" in (await visitor.get(feed)).text
    await installation.tick()
    (mail,) = [one for one in installation.mails() if "bo@example.org" in str(one["To"])]
    words = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert (
        "All links in our earlier mails have stopped working" in words and "nothing was changed" not in words
    )
    new = re.search(r"https://meet\.example\.org(/sign-in/\w+)", words)
    assert new and (await visitor.get(new[1])).status_code == 200


async def test_with_a_fresh_link_the_new_page_opens_at_once(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    old = await links_of(installation)
    done = await visitor.post(old[-1], data={"act": "links"})
    assert done.status_code == 303
    shown = await visitor.get(done.headers["Location"])
    assert shown.status_code == 200 and "We have cancelled your old links" in shown.text
    for path in old:
        assert (await visitor.get(path)).status_code == 410, path
    await installation.tick()
    assert [one for one in installation.mails() if "bo@example.org" in str(one["To"])] == []


async def test_links_are_not_ended_where_no_new_one_would_arrive(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    await installation.change("Bo", suppressed_at=installation.clock.now())
    refused = await visitor.post(link, data={"act": "links"})
    assert refused.status_code == 422 and "our mail to you comes back" in refused.text
    assert (await visitor.get(link)).status_code == 200


async def test_members_who_left_cannot_cancel_links(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    fresh = f"/sign-in/{await fresh_token(installation)}"
    await installation.change("Bo", status="left", active_since=None)
    assert "Cancel my old links" not in (await visitor.get(fresh)).text
    assert "You have left" in (await visitor.post(fresh, data={"act": "links"})).text
    assert (await person(installation)).generation == 0


async def test_a_zone_that_the_zone_data_does_not_know_shows_the_home_time(
    installation: Installation, visitor: httpx.AsyncClient, link: str
) -> None:
    async with installation.database.write() as connection:
        await connection.exec_driver_sql("UPDATE members SET zone = 'America/Nowhere'")
    shown = await visitor.get(link)
    assert shown.status_code == 200 and "18:00" in shown.text
    assert (await visitor.post(link, data={"act": "pause", "until": "2026-12-01"})).status_code == 303
