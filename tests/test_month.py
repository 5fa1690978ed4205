"""A month of the running service, with all that happens in one to a server that nobody looks after."""

import asyncio
import gzip
import re
import shutil
import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.resources import files
from pathlib import Path

import pytest
import trustme

from scheduler.store.backups import require_backup
from tests.delivery.receiver import Receiver
from tests.domain.oracle import nine_o_clock
from tests.faked_machine import BY_POLICIES, PATIENCE, Machine, end
from tests.installation import address_of
from tests.test_restarts import read

pytestmark = pytest.mark.proof

BEGIN = datetime(2026, 10, 10, 3, tzinfo=UTC)
"""A fortnight later the clocks of London go back, and on 1 November those of New York."""
END = BEGIN + timedelta(days=30)
NEW_ZONE_DATA = datetime(2026, 10, 24, 4, tzinfo=UTC)
RESTART = NEW_ZONE_DATA + timedelta(hours=6)
"""When whoever upgraded the packages starts the service again."""
NEW_CERTIFICATE, OLD_CERTIFICATE_ENDS = datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 10, 27, tzinfo=UTC)
MEETINGS = [datetime(2026, 10, 29, 18, tzinfo=UTC) + timedelta(weeks=week) for week in range(4)]
MEMBERS = {
    "Ann": "Europe/London",
    "Bo": "Europe/London",
    "Cy": "America/New_York",
    "Di": "Pacific/Auckland",
    "Val": "America/Vancouver",
}
CONVENOR = "Ann"
REPORTS = [
    datetime(2026, month, day, hour, 1, tzinfo=UTC)
    for month, day, hour in ((10, 12, 7), (10, 19, 7), (10, 26, 8), (11, 2, 8))
]
"""When the weekly report has become due: Mondays, 08:00 in London."""
OLD_RULES, NEW_RULES = "America/Los_Angeles", "America/Phoenix"
"""The clocks by which the zone data has Vancouver: with winter time at first, and then without."""
KEEP = 14
WARM_AFTER = 3
"""The days after which a process has done most of what it does."""
LARGEST_GROWTH_MB, FEW_DESCRIPTORS = {"serve": 20, "web": 4}, 5
"""The most that a process may use in addition after that. Memory levels off after some 800 ticks and the first mail of
each kind; here, a day has twenty ticks, and the first reminders come after more than three days."""

CONFIG = """
[web]
base_url = "https://meet.example.org"

[backup]
folder = "backups"

[[series]]
slug = "choir"
title = "Choir"
rule = "every Thursday"
start = "18:00"
zone = "Europe/London"
minutes = 60
first = 2026-10-29
link = "https://room.example.org/choir"
"""


@pytest.fixture(autouse=True)
def programs(program: Callable[[str], str]) -> None:
    program("faketime")
    program("logrotate")


def rules_of(zone: str, now: datetime) -> str:
    """Return the zone whose rules the newest zone data gives to `zone` at `now`."""
    if zone != "America/Vancouver":
        return zone
    return OLD_RULES if now < RESTART else NEW_RULES


def due_instants() -> dict[tuple[str, str, str], datetime]:
    """Return when each mail of the month is due, by its member, meeting and policy."""
    dues = {}
    for meeting in MEETINGS:
        for name, zone in MEMBERS.items():
            invitation, day_before = (
                nine_o_clock(rules_of(zone, meeting - timedelta(days=days)), meeting, days)
                for days in (14, 1)
            )
            for policy, due in (
                ("invitation", invitation),
                ("day-before", day_before),
                ("hour-before", meeting - timedelta(hours=1)),
            ):
                dues[name, f"choir/{meeting:%Y-%m-%d}", policy] = due
    return {mail: due for mail, due in dues.items() if due < END}


def install_zone_data(place: Path, rules: str) -> None:
    """Put a tzdata package there, in which Vancouver has the rules of another zone, as pip replaces a package."""
    package, new = place / "tzdata", place / "new"
    shutil.copytree(str(files("tzdata")), new)
    shutil.copy(new / "zoneinfo" / rules, new / "zoneinfo" / "America" / "Vancouver")
    text = (new / "zoneinfo" / "tzdata.zi").read_text()
    (new / "zoneinfo" / "tzdata.zi").write_text(re.sub("^# version .*", f"# version {rules}", text))
    if package.exists():
        package.rename(place / "old")
    new.rename(package)


Usage = dict[str, tuple[float, int]]


def log_rotation(log: Path) -> str:
    """Return the settings for logrotate that the documentation shows, for this log."""
    page = Path("docs/monitoring.md").read_text()
    (settings,) = re.findall(r"```\n(/\S+ \{\n.*?\n\})\n```", page, re.DOTALL)
    return re.sub(r"^/\S+", str(log), str(settings)) + "\n"


def whole_log(log: Path) -> str:
    """Return what was logged, from the rotated files, too."""
    old = [gzip.decompress(file.read_bytes()).decode() for file in sorted(log.parent.glob("log.*.gz"))]
    return "".join((*old, log.read_text()))


def used(pid: int) -> Usage:
    """Return the memory in MB and the number of open descriptors of `serve` and of its web process."""
    (web,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {
        name: (
            int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{number}/status").read_text())[1]) / 1024,  # type: ignore[index]
            len(list(Path(f"/proc/{number}/fd").iterdir())),
        )
        for name, number in (("serve", str(pid)), ("web", web))
    }


def backups_in(here: Machine) -> list[Path]:
    return sorted((here.folder / "backups").glob("*.sqlite"))


def made_at(backup: Path) -> datetime:
    return datetime.strptime(backup.stem.rpartition("-")[2], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


async def backed_up(here: Machine) -> Path:
    """Wait until there is a backup that is less than a day old, check it, and return it."""
    async with asyncio.timeout(PATIENCE):
        while not (found := backups_in(here)) or here.now - made_at(found[-1]) >= timedelta(days=1):
            await asyncio.sleep(0.05)
    require_backup(found[-1])
    return found[-1]


def install(here: Machine) -> None:
    """Write the settings, and import the members without inviting them."""
    rows = [f"{address_of(name)},{name},{zone}" for name, zone in MEMBERS.items()]
    for name, text in {
        "my.toml": CONFIG,
        "logrotate.conf": log_rotation(here.log),
        "members.csv": "\n".join(["email,name,time zone", *rows, ""]),
    }.items():
        (here.folder / name).write_text(text)
    install_zone_data(here.folder / "zones", OLD_RULES)
    here.command("members", "import", "members.csv", "--no-invite")
    here.command("convenors", "add", address_of(CONVENOR))


@dataclass
class Month:
    """What happens in the month on a machine. `renew` gives the relay its new certificate."""

    here: Machine
    renew: Callable[[], None]
    dues: Collection[datetime]
    backups: list[Path] = field(default_factory=list)
    usage: list[list[Usage]] = field(default_factory=lambda: [[]])
    """What was in use on each day, first before and then after the restart."""

    async def live(self) -> None:
        # Convenors get mail about what is due tomorrow.
        tomorrow = {due - timedelta(days=1) for due in self.dues}
        moments = sorted({*self.dues, *tomorrow, *REPORTS, NEW_ZONE_DATA, RESTART, NEW_CERTIFICATE, END})
        self._process = await self.here.serve()
        self.backups.append(await backed_up(self.here))
        while (now := self.here.now) < END:
            following = next(moment for moment in moments if moment > now)
            backup_due = made_at(self.backups[-1]) + timedelta(days=1, seconds=1)
            moment = min(following, max(backup_due, now))
            if moment in self.dues:
                await self.here.pass_until(moment - timedelta(seconds=1))
                await self.here.sent(BY_POLICIES, sum(due <= moment for due in self.dues))
                continue
            await self.here.pass_until(moment)
            if moment >= backup_due:
                await self._daily()
            await self._happen(moment)
        await end(self._process)

    async def _daily(self) -> None:
        self.backups.append(await backed_up(self.here))
        self.here.run("logrotate", "--state", self.here.folder / "rotated", "logrotate.conf")
        for path in ("/", "/calendar.ics", "/healthz"):
            assert await asyncio.to_thread(self.here.fetch, path) == 200
        self.usage[-1].append(used(self._process.pid))

    async def _happen(self, moment: datetime) -> None:
        if moment in REPORTS:
            # It is about a service that ticks, so it comes up to a minute after the first tick.
            await self.here.pass_until(moment + timedelta(seconds=70))
            await self.here.sent(["weekly"], REPORTS.index(moment) + 1)
        elif moment == NEW_ZONE_DATA:
            install_zone_data(self.here.folder / "zones", NEW_RULES)
        elif moment == RESTART:
            await end(self._process)
            self._process = await self.here.serve()
            self.usage.append([])
        elif moment == NEW_CERTIFICATE:
            self.renew()


async def test_a_month_passes_without_anybody_looking_after_the_service(tmp_path: Path) -> None:
    authority, relay_tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    def certify(since: datetime, until: datetime) -> None:
        authority.issue_cert("localhost", not_before=since, not_after=until).configure_cert(relay_tls)

    certify(BEGIN - timedelta(days=60), OLD_CERTIFICATE_ENDS)
    async with Receiver(tls=relay_tls) as relay:
        environment = {
            "PYTHONPATH": str(tmp_path / "zones"),
            "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
            "THIRD_THURSDAY_MAIL__TRANSPORT": f"smtps://localhost:{relay.port}",
        }
        async with Machine(tmp_path, BEGIN, environment=environment) as here:
            install(here)
            dues = due_instants()
            month = Month(here, partial(certify, NEW_CERTIFICATE, END + timedelta(days=60)), dues.values())
            await month.live()
            deliveries = await here.mails()

    sent = {(row.name, row.occurrence, row.policy): row for row in deliveries if row.kind in BY_POLICIES}
    assert sent.keys() == dues.keys()
    for mail, due in dues.items():
        sent_at = sent[mail].sent_at
        assert sent_at and timedelta(0) <= sent_at - due <= timedelta(seconds=60), mail
    assert {row.state for row in deliveries} == {"sent"}
    mails = [read(taken) for taken in relay.taken]
    assert len({str(mail["Message-ID"]) for mail in mails}) == len(mails) == len(deliveries)
    (told,) = [mail for mail in mails if "We previously told you 10:00" in mail.as_string()]
    assert address_of("Val") in told["To"] and str(told["Date"]).startswith("Wed, 04 Nov 2026 16:00:")

    assert len(month.backups) == 30 and backups_in(here) == month.backups[-KEEP:]
    log = whole_log(here.log)
    troubles = re.findall(r" level=(?:warning|error) event=(\S+ \w+=\S+)", log)
    assert troubles == ["told-hours-changed occurrence=choir/2026-11-05", "trouble-begins trouble=told"]
    assert "event=trouble-ended trouble=told" in log and "Traceback" not in log
    # logrotate's first run only notes the date.
    assert len(list(tmp_path.glob("log.*.gz"))) == 28
    for days in month.usage:
        require_flat(days)


def require_flat(days: list[Usage]) -> None:
    """Require that neither memory nor open descriptors grew after the first days."""
    for name, (memory, descriptors) in days[WARM_AFTER].items():
        most_memory, most_descriptors = (max(day[name][kind] for day in days) for kind in (0, 1))
        print(  # noqa: T201 - the figures of the test
            f"{name}: {memory:.0f} MB and {descriptors} descriptors after {WARM_AFTER} days, "
            f"at most {most_memory:.0f} MB and {most_descriptors:.0f} in {len(days)} days"
        )
        assert most_memory - memory < LARGEST_GROWTH_MB[name]
        assert most_descriptors - descriptors <= FEW_DESCRIPTORS
