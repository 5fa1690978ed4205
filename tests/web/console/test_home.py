"""The first page says what is coming, what went out, and what needs somebody, each hour with its clock."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update
from starlette.applications import Starlette

from scheduler.service.occurrences import Change, amend
from scheduler.store import service_state
from scheduler.store.schema import deliveries, notices, series
from tests.installation import Installation
from tests.service.test_join_requests import wait_at_the_desk
from tests.web.conftest import make_app, settle
from tests.web.console.conftest import SignIn


async def test_a_convenor_sees_the_next_meeting_in_both_clocks_and_what_goes_out(
    app: Starlette, installation: Installation, sign_in: SignIn
) -> None:
    ann = await sign_in("Ann")
    await sign_in("Bo")
    page = (await ann.get("/convenor/")).text
    assert "Thursday 19 November 2026, 18:00 to 19:00 in London" in page and "For you" not in page
    assert "There is only one convenor" not in page
    assert "Invitation, 19 November 2026" in page
    await installation.change("Ann", zone="Asia/Kolkata")
    installation.clock.pass_(timedelta(days=2))
    await installation.tick()
    await installation.answer("Bo", "conversation-for-kindness/2026-11-19", "coming")
    await wait_at_the_desk(installation)
    await ann.get("/convenor/")
    await settle(app)
    page = (await ann.get("/convenor/")).text
    assert "For you: Thursday 19 November 2026, 23:30 to 00:30" in page and "in Kolkata" in page
    assert "1 coming, 0 maybe, 0 declined" in page
    assert "1 request to join" in page and "Invitation, 19 November 2026</a>: 3 sent</p>" in page
    assert (
        "Reminder (on the day before, at 09:00 their time)" in page
        and "Reminder (an hour before the start)" in page
    )


async def test_figures_are_counted_again_in_the_background(
    app: Starlette, installation: Installation, sign_in: SignIn
) -> None:
    ann = await sign_in("Ann")
    assert "3 active members" in (await ann.get("/convenor/")).text
    await installation.join(("Dee", "Europe/London"))
    assert "3 active members" in (await ann.get("/convenor/")).text
    installation.clock.pass_(timedelta(seconds=30))
    await ann.get("/convenor/")
    await settle(app)
    assert "4 active members" in (await ann.get("/convenor/")).text


async def test_what_is_missing_is_said_with_what_to_do(installation: Installation, sign_in: SignIn) -> None:
    installation.series = [
        replace(each, link="", rule="FREQ=MONTHLY;BYDAY=3TH;UNTIL=20261231") for each in installation.series
    ]
    ann = await sign_in("Ann")
    installation.clock.pass_(timedelta(days=10))
    app = make_app(installation)
    ann._transport = ann._transport.__class__(app, client=("127.0.0.1", 50_000))  # type: ignore[call-arg]
    page = (await ann.get("/convenor/")).text
    await settle(app)
    assert "has no link to its room." in page and "Add the link" in page
    assert "ends soon: only 2 more meetings are planned" in page
    assert "There is only one convenor." in page and "Appoint a convenor" in page
    assert "the service that sends is not running" in page and "`" not in page


async def test_a_helper_sees_no_numbers_of_mail(installation: Installation, sign_in: SignIn) -> None:
    helper = await sign_in("Bo", "helper")
    page = (await helper.get("/convenor/")).text
    assert "What goes out" not in page and "requests to join" in page and ">Notices<" not in page


async def test_materials_that_are_missing_after_three_days_are_pointed_out(
    app: Starlette, installation: Installation, sign_in: SignIn
) -> None:
    installation.clock.pass_until(datetime(2026, 11, 21, 12, tzinfo=UTC))
    ann = await sign_in("Ann")
    words = "on 19 November 2026 has no recording, slides or notes yet"
    assert words not in (await ann.get("/convenor/")).text
    installation.clock.pass_until(datetime(2026, 11, 22, 20, tzinfo=UTC))
    assert words in (await ann.get("/convenor/")).text
    change = Change(materials="https://www.example.org/recording")
    key = "conversation-for-kindness/2026-11-19"
    await amend(installation.database, installation.by_slug, key, change, now=installation.clock.now())
    assert words not in (await ann.get("/convenor/")).text


async def test_nothing_is_missed_of_a_meeting_from_before_the_service_was_installed(
    installation: Installation, sign_in: SignIn
) -> None:
    installation.clock.pass_until(datetime(2026, 11, 22, 20, tzinfo=UTC))
    ann = await sign_in("Ann")
    assert "has no recording" in (await ann.get("/convenor/")).text
    async with installation.database.write() as connection:
        await connection.execute(update(series).values(adopted_at=datetime(2026, 11, 20, tzinfo=UTC)))
    assert "has no recording" not in (await ann.get("/convenor/")).text


async def test_a_mail_server_that_is_too_slow_refuses_or_sends_late_is_said_in_words_of_convenors(
    installation: Installation, sign_in: SignIn
) -> None:
    installation.clock.pass_until(datetime(2026, 11, 19, 15, 30, tzinfo=UTC))
    await installation.tick()
    ann = await sign_in("Ann")
    async with installation.database.write() as connection:
        await service_state.write(connection, service_state.RELAY, {"reason": "550 no", "since": "today"})
    app = make_app(installation, rate=0.0002)
    ann._transport = ann._transport.__class__(app, client=("127.0.0.1", 50_000))  # type: ignore[call-arg]
    page = (await ann.get("/convenor/")).text
    await settle(app)
    assert "Our mail server does not take emails at the moment." in page and "It says: 550 no" in page
    assert "too slow for 3 members: the reminder of Conversation for Kindness on 19 November 2026" in page


async def test_why_mails_failed_is_said_on_the_first_page(
    app: Starlette, installation: Installation, sign_in: SignIn
) -> None:
    ann = await sign_in("Ann")
    installation.clock.pass_(timedelta(days=2))
    await installation.tick()
    async with installation.database.write() as connection:
        notice = select(notices.c.id).where(notices.c.kind == "invitation").scalar_subquery()
        failed = update(deliveries).where(deliveries.c.notice == notice, deliveries.c.member == 2)
        await connection.execute(failed.values(state="failed", reason="550 5.1.1 unknown", sent_at=None))
    assert "2 sent, 1 failed (1: the address does not exist)" in (await ann.get("/convenor/")).text
