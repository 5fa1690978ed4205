"""The convenors' tasks at the running service, with 1,400 members around the world, a relay and a real browser."""

import asyncio
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from bench.people import name
from scheduler.domain.localtime import format_day
from scheduler.store import members
from scheduler.store.database import Database
from tests.chaos.faults import Installation, Relay, installed, until
from tests.delivery.receiver import Taken
from tests.service.test_workbook import rows, xlsx
from tests.web.console.clocks import HOURS_WITHOUT_A_CLOCK

if TYPE_CHECKING:
    from playwright.async_api import Browser, FilePayload, Page

pytestmark = pytest.mark.proof

MEMBERS = 1_400
PHONE, DESKTOP = 360, 1280
EVERYBODY = f"{MEMBERS:,}"
PLACES = (
    ("CA", "America/St_Johns"),
    ("NP", "Asia/Kathmandu"),
    ("NZ", "Pacific/Chatham"),
    ("GB-ENG", "Europe/London"),
    ("GB-SCT", "Europe/London"),
    ("GB-WLS", "Europe/London"),
    ("IE", "Europe/Dublin"),
    ("IS", "Atlantic/Reykjavik"),
    ("SE", "Europe/Stockholm"),
    ("NO", "Europe/Oslo"),
    ("DK", "Europe/Copenhagen"),
    ("FI", "Europe/Helsinki"),
    ("EE", "Europe/Tallinn"),
    ("LV", "Europe/Riga"),
    ("DE", "Europe/Berlin"),
    ("NL", "Europe/Amsterdam"),
    ("FR", "Europe/Paris"),
    ("ES", "Europe/Madrid"),
    ("PT", "Europe/Lisbon"),
    ("HR", "Europe/Zagreb"),
    ("GR", "Europe/Athens"),
    ("EG", "Africa/Cairo"),
    ("MA", "Africa/Casablanca"),
    ("NG", "Africa/Lagos"),
    ("KE", "Africa/Nairobi"),
    ("ZA", "Africa/Johannesburg"),
    ("IR", "Asia/Tehran"),
    ("IN", "Asia/Kolkata"),
    ("MM", "Asia/Yangon"),
    ("SG", "Asia/Singapore"),
    ("JP", "Asia/Tokyo"),
    ("AU", "Australia/Adelaide"),
    ("NZ", "Pacific/Auckland"),
    ("US", "America/New_York"),
    ("US", "America/Los_Angeles"),
    ("US", "Pacific/Honolulu"),
    ("MX", "America/Mexico_City"),
    ("BR", "America/Sao_Paulo"),
    ("AR", "America/Argentina/Buenos_Aires"),
    ("CL", "America/Santiago"),
)
ANN, HELPER, NEWCOMER, IMPORTED = (f"{local}@example.org" for local in ("ann", "m7", "noor", "imported"))
REFUSED = {f"m{number}@example.org" for number in range(100, 112)}
SUBJECT = "Tea at {time}"
PRESSED = ("Tea at ", "After the meeting: ")
PLANNED_AND_CHANGES = (
    "Conversation for Kindness: ",
    "Journal club: ",
    "Changed: Conversation for Kindness: ",
    "Cancelled: Journal club: ",
)
"""How the subjects of the mails to all begin; who joins later may get the second ones too."""
HOME = ZoneInfo("Europe/London")
ADOPTED_DAYS_AGO = 10
EVENING, MIDDAY = time(18), time(12, 30)

SETTINGS = """
[convenors]
first = [{first}]
hold_minutes = 1

[[series]]
slug = "evening"
title = "Conversation for Kindness"
rule = "FREQ=WEEKLY"
start = "18:00"
zone = "Europe/London"
minutes = 60
first = {evening}
link = "https://rooms.example.org/evening"

[[series]]
slug = "midday"
title = "Journal club"
rule = "FREQ=WEEKLY"
start = "12:30"
zone = "Europe/London"
minutes = 45
first = {midday}
link = "https://rooms.example.org/midday"

[[policies]]
slug = "invitation"
kind = "invitation"
lead = "6d"

[[policies]]
slug = "soon"
kind = "reminder"
lead = "{lead}m"

[[policies]]
slug = "day-before"
kind = "reminder"
days_before = 1
at = "09:00"
"""
"""Two weekly meetings, whose invitations are late. The reminder of the first is due in half a day, so convenors are
told about it at once; nothing else is due for a day."""

WATCH = f"""
const hoursWithoutAClock = {HOURS_WITHOUT_A_CLOCK};
const look = () => {{
  for (const words of hoursWithoutAClock()) console.error(`no clock at ${{location.pathname}}: ${{words}}`);
  const wide = document.documentElement.scrollWidth;
  if (window === top && wide > width) console.error(`${{wide}} pixels wide at ${{location.pathname}}`);
}};
addEventListener("load", look);
document.addEventListener("htmx:after:swap", look);
"""
"""Runs in every page that is opened: complains in the browser's console about hours without a clock, and about a page
that scrolls sideways."""


class JourneyRelay(Relay):
    """Accepts mail, except a notice of ours to the addresses in `refused`; halfway through it, waits for `goes_on`."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()
        self.goes_on = asyncio.Event()
        self._notices = 0

    async def _act(self, step: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        if step == "DOT" and subject_of(self.seen[-1].content).startswith(PRESSED[0]):
            self._notices += 1
            to = reader_of(self.seen[-1])
            if self._notices > MEMBERS // 2:
                await self.goes_on.wait()
            if to in self.refused:
                self._push(step, "550 5.1.1 there is no such user")
        return await super()._act(step, reader, writer)

    def mails_to(self, address: str) -> list[EmailMessage]:
        """Return what was accepted for an address, in order."""
        return [
            message_from_bytes(taken.content, _class=EmailMessage, policy=policy.default)
            for taken in self.taken
            if reader_of(taken) == address
        ]

    def readers(self, words: str) -> Counter[str]:
        """Return how many mails whose subject begins with these words were accepted, by recipient."""
        return Counter(
            reader_of(taken) for taken in self.taken if subject_of(taken.content).startswith(words)
        )


def reader_of(taken: Taken) -> str:
    return taken.rcpts[0].partition("<")[2].partition(">")[0]


def subject_of(content: bytes) -> str:
    found = re.search(rb"^Subject: (.*(?:\r\n[ \t].*)*)", content, re.MULTILINE)
    assert found
    return str(make_header(decode_header(found[1].decode())))


def people(now: datetime) -> Iterator[dict[str, object]]:
    """Rows of members around the world; Ann is the first, and not yet a convenor."""
    for number in range(MEMBERS):
        country, zone = PLACES[number % len(PLACES)]
        address = f"m{number}@example.org" if number else ANN
        yield {
            "address": address,
            "address_key": address,
            "name": name(number) if number else "Ann",
            "country": country,
            "zone": zone,
            "zone_source": "given",
            "locale": "en-CA" if country == "CA" else "en-US" if country == "US" else "en-GB",
            "status": "active",
            "role": None,
            "created_at": now,
            "active_since": now,
            "paused_until": None,
            "uninvited_at": None,
        }


@dataclass
class Journey:
    """A convenor's browser at the running service, and what the relay took."""

    installation: Installation
    relay: JourneyRelay
    page: "Page"
    evening: date
    midday: date
    complaints: list[str]

    @property
    def moved_to(self) -> date:
        return self.evening + timedelta(days=2)

    @property
    def address(self) -> str:
        return f"http://localhost:{self.installation.port}"

    async def press(self, words: str | re.Pattern[str]) -> None:
        await self.page.get_by_role("button", name=words).first.click()

    async def follow(self, words: str) -> None:
        await self.page.get_by_role("link", name=words).first.click()

    async def see(self, words: str, *, seconds: int = 30) -> None:
        await self.page.get_by_text(words).first.wait_for(timeout=seconds * 1_000)

    async def link_in_mail(self, to: str, path: str) -> str:
        """The link below a path in the latest mail to an address that has one."""
        found: list[str] = []

        def look() -> bool:
            for mail in reversed(self.relay.mails_to(to)):
                body = mail.get_body(("plain",))
                assert body
                found.extend(re.findall(rf"{self.address}{path}[^\s<>\")]+", body.get_content())[:1])
                if found:
                    return True
            return False

        await until(look)
        return found[0]


async def open_page(
    browser: "Browser", complaints: list[str], *, width: int = PHONE, zone: str | None = None
) -> "Page":
    """Open a page in a browser of its own, which checks itself; its messages and errors are complaints."""
    context = await browser.new_context(
        viewport={"width": width, "height": 760},
        is_mobile=width == PHONE,
        has_touch=width == PHONE,
        timezone_id=zone,
    )
    await context.add_init_script(f"const width = {width};\n{WATCH}")
    page = await context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def hear(words: str) -> None:
        # Our check does not run in the frame of a mail, because no script does.
        if not words.startswith("Blocked script execution"):
            complaints.append(words)

    page.on("console", lambda message: hear(message.text))
    return page


@asynccontextmanager
async def at_the_running_service(folder: Path, browser: "Browser", *, width: int) -> AsyncIterator[Journey]:
    """The service was begun ten days ago; its members came today, and are invited to the next meetings."""
    now = datetime.now(UTC)
    evening, midday = ((now + timedelta(days=days)).date() for days in (4, 5))
    due = datetime.combine(evening, EVENING, HOME) - now - timedelta(hours=12)
    async with JourneyRelay() as relay, installed(folder, f"smtp://127.0.0.1:{relay.port}") as installation:
        # On a busy machine, a second is too short to wait for the database.
        installation.url = f"sqlite:///{installation.database}"
        installation.more["THIRD_THURSDAY_WEB__BASE_URL"] = f"http://localhost:{installation.port}"
        settings = partial(
            SETTINGS.format,
            evening=evening - timedelta(weeks=20),
            midday=midday - timedelta(weeks=20),
            lead=due // timedelta(minutes=1),
        )
        (folder / "faults.toml").write_text(settings(first=""))
        without_faketime = dict(installation.more)
        installation.more |= {
            "LD_PRELOAD": "/usr/$LIB/faketime/libfaketime.so.1",
            "FAKETIME": f"-{ADOPTED_DAYS_AGO}d",
        }
        await installation.start()
        await installation.well()
        await installation.drain()
        installation.more = without_faketime
        database = Database(installation.url)
        async with database.write() as connection:
            await members.add(connection, list(people(now)))
        await database.close()
        (folder / "faults.toml").write_text(settings(first=f'"{ANN}"'))
        await installation.start()
        complaints: list[str] = []
        page = await open_page(browser, complaints, width=width)
        yield Journey(installation, relay, page, evening, midday, complaints)
        await page.context.close()
        await installation.drain()


@pytest.mark.parametrize("width", [DESKTOP, pytest.param(PHONE, marks=pytest.mark.short)])
async def test_convenors_do_all_their_tasks_and_each_member_gets_each_mail_once(
    tmp_path: Path, browser: "Browser", width: int
) -> None:
    if not shutil.which("faketime"):
        pytest.skip("needs faketime (Debian's package faketime)")
    async with at_the_running_service(tmp_path, browser, width=width) as journey:
        await sign_in_by_mail_and_passkey(journey)
        await hold_and_release_the_reminder(journey)
        await move_a_meeting_and_tell(journey)
        await cancel_another_and_tell(journey)
        await send_the_follow_up(journey)
        notice = await write_cancel_and_send_a_notice(journey)
        # The first mails leave a minute after each button was pressed.
        await import_a_spreadsheet(journey)
        await accept_a_request(journey, browser)
        await appoint_and_dismiss_a_helper(journey, browser)
        await watch_it_and_send_to_those_who_missed_it(journey, notice)
        await everybody_has_each_mail_once(journey)
        assert sorted(set(journey.complaints)) == []


async def sign_in_by_mail_and_passkey(journey: Journey) -> None:
    page = journey.page
    await page.goto(f"{journey.address}/convenor/")
    await page.get_by_label("Email address").fill(ANN)
    await journey.press("Email me the link")
    await page.goto(await journey.link_in_mail(ANN, "/convenor/sign-in/"))
    await journey.press("Sign in")
    await page.get_by_role("heading", name="Hello, Ann").wait_for()
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("WebAuthn.enable")
    authenticator = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": authenticator})
    await journey.follow("Ann")
    await journey.follow("Passkeys")
    await journey.press("Add a passkey")
    await journey.see("You can now sign in with this passkey.")
    await journey.press("Sign out")
    await journey.see("You have signed out.")
    await journey.press("Sign in with a passkey")
    await page.get_by_role("heading", name="Hello, Ann").wait_for()


async def hold_and_release_the_reminder(journey: Journey) -> None:
    page = journey.page
    await page.goto(await journey.link_in_mail(ANN, "/convenor/planned/"))
    await journey.see(f"{EVERYBODY} members")
    await journey.press("Hold it")
    await journey.see("It is on hold. Nobody gets it until a convenor releases it.")
    await journey.follow("Home")
    await journey.follow("Release it or drop it")
    await journey.press(re.compile("^Release it"))
    await journey.see("It has been released.")


async def move_a_meeting_and_tell(journey: Journey) -> None:
    page, after = journey.page, journey.moved_to
    await journey.follow("Home")
    await journey.follow("The next meeting")
    await journey.follow("Move it")
    await page.get_by_label("New day").fill(f"{after:%Y-%m-%d}")
    await journey.press("Show what this means")
    await page.get_by_text(re.compile(rf"For [\d,]+ of {EVERYBODY} members at least a part")).wait_for()
    await page.get_by_text(re.compile(r"The time now and the new time in \d+ places")).click()
    await page.get_by_role("rowheader", name="Nepal, Kathmandu").wait_for()
    await journey.press(f"Move it to {format_day(after)}, 6:00 pm in London")
    await journey.see("Nobody has been told yet")
    await journey.follow("Tell them")
    await journey.press(f"Tell {EVERYBODY} members")
    await page.get_by_role("button", name="Cancel sending").wait_for()


async def cancel_another_and_tell(journey: Journey) -> None:
    page = journey.page
    await journey.follow("Meetings")
    await journey.follow(format_day(journey.midday))
    await journey.follow("Cancel it")
    await page.get_by_label("The reason").fill("Our speaker is unwell.")
    await journey.press("Cancel the meeting")
    await page.get_by_label("Your own words at the top").wait_for()
    await page.frame_locator("iframe").get_by_text("Our speaker is unwell.").wait_for()
    await journey.press(f"Tell {EVERYBODY} members")
    await page.get_by_role("button", name="Cancel sending").wait_for()


async def send_the_follow_up(journey: Journey) -> None:
    page = journey.page
    await journey.follow("Meetings")
    await journey.follow("Past")
    await journey.follow(format_day(journey.evening - timedelta(weeks=1)))
    material = page.get_by_role("group", name="Material 1")
    await material.get_by_label("Title").fill("The recording")
    await material.get_by_label("Link").fill("https://www.example.org/recording")
    await page.get_by_role("button", name="Save", exact=True).click()
    await journey.follow("Send the recording and notes to members")
    await journey.press(f"Send the follow-up to {EVERYBODY} members")
    await page.get_by_role("button", name="Cancel sending").wait_for()


async def write_cancel_and_send_a_notice(journey: Journey) -> str:
    """Return the address of the notice's page. It waits for its hold to end."""
    page = journey.page
    await journey.follow("Notices")
    await journey.follow("Write a notice")
    await page.get_by_label("Subject").fill(SUBJECT)
    await page.get_by_label("Text", exact=True).fill("Dear {name},\n\nbring **tea**.")
    await page.get_by_label("It goes to").select_option(label="All members")
    await page.locator("#saved").get_by_text("Saved at").wait_for()
    await page.locator("#count").get_by_text(f"{EVERYBODY} members").wait_for()
    await journey.press("Save and look at it")
    await page.get_by_text("See it as somebody else").click()
    await page.get_by_label("Find a member").fill("Kathmandu")
    await journey.press("Find")
    await page.get_by_role("listitem").filter(has_text="Asia/Kathmandu").get_by_role("link").first.click()
    there = datetime.combine(journey.moved_to, EVENING, HOME).astimezone(ZoneInfo("Asia/Kathmandu"))
    await journey.see(f"Tea at {there:%H:%M} in Kathmandu (UTC+5:45)")
    mail = page.frame_locator("iframe")
    await mail.get_by_text("tea", exact=True).wait_for()
    assert await mail.locator("html").evaluate(HOURS_WITHOUT_A_CLOCK) == []
    await journey.press("Send the test")
    await journey.see("The test is on its way to you.")
    await journey.press(f"Send to {EVERYBODY} members")
    await journey.see("Not sent yet.")
    await journey.press("Cancel sending")
    await journey.see(f"0 have it, {EVERYBODY} will not get it")
    journey.relay.refused = REFUSED
    await journey.press(f"Send to the {EVERYBODY} who were missed")
    await journey.see("It is being sent to those who missed it.")
    return page.url


async def import_a_spreadsheet(journey: Journey) -> None:
    page = journey.page
    table = xlsx(rows(("Name", "Email", "Country"), ("Imani", IMPORTED, "Kenya"), ("Wrong", "none", "Kenya")))
    await journey.follow("Members")
    await journey.follow("Import")
    file: FilePayload = {"name": "people.xlsx", "mimeType": "application/octet-stream", "buffer": table}
    await page.get_by_label("File").set_input_files(file)
    await journey.press("Look at it")
    await journey.see("1 row is wrong and left out")
    await journey.press("Import 1 new member")
    await journey.see("The import is done.")


async def accept_a_request(journey: Journey, browser: "Browser") -> None:
    """A visitor asks to join, and confirms that; Ann accepts."""
    visitor = await open_page(browser, journey.complaints, zone="Asia/Kathmandu")
    await visitor.goto(f"{journey.address}/join")
    await visitor.get_by_label("Your name").fill("Noor")
    await visitor.get_by_label("Email address").fill(NEWCOMER)
    await visitor.get_by_label("Country").select_option("NP")
    await visitor.get_by_role("checkbox").last.check()
    await visitor.get_by_role("button", name="Continue").click()
    await visitor.get_by_role("button", name="Yes, send my request").click()
    await visitor.get_by_role("heading", name="Check your email").wait_for()
    await visitor.goto(await journey.link_in_mail(NEWCOMER, "/confirm/"))
    await visitor.get_by_role("button", name="Yes, I would like to join").click()
    await visitor.get_by_role("heading", name="We have your request").wait_for()
    await visitor.context.close()
    await journey.follow("Desk")
    await journey.follow("Noor")
    await journey.page.get_by_label("Your message to them").fill("Bring *tea*.")
    await journey.press("Accept and welcome them")
    await journey.see("Nobody is waiting")
    await until(lambda: any("Welcome" in str(mail["Subject"]) for mail in journey.relay.mails_to(NEWCOMER)))


async def appoint_and_dismiss_a_helper(journey: Journey, browser: "Browser") -> None:
    page = journey.page
    await journey.follow("Team")
    await journey.follow("Appoint somebody")
    await page.get_by_label("Email address of a member").fill(HELPER)
    await page.get_by_label("Helper:").check()
    await page.get_by_role("button", name="Appoint", exact=True).click()
    await journey.see("They have been appointed.")
    helper = await open_page(browser, journey.complaints)
    await helper.goto(f"{journey.address}/convenor/")
    await helper.get_by_label("Email address").fill(HELPER)
    await helper.get_by_role("button", name="Email me the link").click()
    await helper.goto(await journey.link_in_mail(HELPER, "/convenor/sign-in/"))
    await helper.get_by_role("button", name="Sign in").click()
    await helper.get_by_role("link", name="The next meeting").click()
    await helper.get_by_label("Topic").fill("Listening well")
    await helper.get_by_role("button", name="Save", exact=True).click()
    await helper.get_by_text("Ask a convenor to tell them.").wait_for()
    assert not await helper.get_by_role("link", name="Tell them").count()
    tell = f"{helper.url.partition('?')[0]}/tell"
    for path in (tell, f"{journey.address}/convenor/notices/write"):
        answer = await helper.context.request.post(
            path, form={"act": "tell"}, headers={"Origin": journey.address}
        )
        assert answer.status == 403 and "Only convenors can do this" in await answer.text()
    await journey.follow(f"Change the role of {name(7)}")
    await page.get_by_label("No role").check()
    await page.get_by_role("button", name="Save", exact=True).click()
    await page.get_by_role("heading", name="Team").wait_for()
    await helper.reload()
    await helper.get_by_role("button", name="Email me the link").wait_for()
    await helper.context.close()


async def watch_it_and_send_to_those_who_missed_it(journey: Journey, notice: str) -> None:
    page = journey.page
    await page.goto(notice)
    await journey.see("It is being sent.", seconds=90)
    halfway = re.compile(rf"^[67]\d\d of {EVERYBODY}$")
    await page.locator("#sent-words").filter(has_text=halfway).wait_for()
    journey.relay.goes_on.set()
    await journey.see(f"{MEMBERS - len(REFUSED):,} of {EVERYBODY} emails went out")
    await journey.see(f"{len(REFUSED)}: the address does not exist")
    assert REFUSED.isdisjoint(journey.relay.readers(PRESSED[0]))
    journey.relay.refused = set()
    await journey.press(f"Send to the {len(REFUSED)} who were missed")
    await journey.see(f"{EVERYBODY} of {EVERYBODY} emails went out")


async def everybody_has_each_mail_once(journey: Journey) -> None:
    relay, newcomers = journey.relay, {NEWCOMER, IMPORTED}
    everybody = {ANN: 1, **{f"m{number}@example.org": 1 for number in range(1, MEMBERS)}}
    await until(
        lambda: all(len(relay.readers(words)) >= MEMBERS for words in (*PLANNED_AND_CHANGES, *PRESSED))
    )
    assert relay.readers(PRESSED[0]) == everybody | {ANN: 2}, "Ann had a test"
    assert relay.readers(PRESSED[1]) == everybody
    for words in PLANNED_AND_CHANGES:
        readers = relay.readers(words)
        assert {to: count for to, count in readers.items() if to not in newcomers} == everybody
        assert set(readers.values()) == {1}
    for_one = {
        "Sign in to run ": {ANN: 1, HELPER: 1},
        "Before it goes out: ": {ANN: 1},
        "Please confirm ": {NEWCOMER: 1},
        "Welcome to ": {NEWCOMER: 1},
    }
    assert {words: dict(relay.readers(words)) for words in for_one} == for_one
    to_newcomers = sum(reader_of(taken) in newcomers for taken in relay.taken)
    assert len(relay.taken) - to_newcomers == 6 * MEMBERS + 4, "no other mail"
