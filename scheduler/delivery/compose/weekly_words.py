"""The weekly report to convenors in words."""

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from scheduler.domain.community import Community
from scheduler.domain.localtime import HourCycle, describe_instant, format_date
from scheduler.domain.text import counted
from scheduler.domain.weekly_report import Certificate, WeeklyReport


def own_and_home(instant: datetime, *, zone: str, home: str, cycle: HourCycle) -> str:
    """Return an instant by a convenor's own clock and, if it is another, by the home clock."""
    own, at_home = (describe_instant(instant, zone=each, cycle=cycle) for each in (zone, home))
    return own if own == at_home else f"{own} ({at_home})"


def weekly_values(
    report: WeeklyReport, community: Community, *, zone: str, cycle: HourCycle
) -> dict[str, object]:
    """Return what the templates of the weekly report show."""
    return {
        "until": own_and_home(report.until, zone=zone, home=report.zone, cycle=cycle),
        "until_date": _day(report.until, report),
        "members": counted(report.members, "member"),
        "joined": f"{report.joined:,}",
        "left": f"{report.left:,}",
        "sent": counted(report.sent, "email"),
        "waiting": f"{report.waiting:,}" if report.waiting else "",
        "failed": counted(sum(count for _, count in report.not_sent), "email") if report.not_sent else "",
        "reasons": [f"{count:,}: {reason}" for reason, count in report.not_sent],
        "tasks": list(_tasks(report, community)),
        "meetings": [
            f"{each.title}: {own_and_home(each.starts, zone=zone, home=each.zone, cycle=cycle)}"
            for each in report.meetings
        ],
        "ending": report.ending,
        "server": [*_backups(report), *(_certificate(each, report) for each in report.certificates)],
    }


def _tasks(report: WeeklyReport, community: Community) -> Iterator[tuple[str, str]]:
    """Yield what waits for a convenor, with the address of its page."""
    for count, one, several, page in (
        (report.requests, "request to join", "requests to join", "desk"),
        (report.to_review, "email to read", "emails to read", "returns"),
        (report.to_show, "profile to look at", "profiles to look at", "people"),
    ):
        if count:
            yield counted(count, one, several), f"{community.base_url}/convenor/{page}"


def _backups(report: WeeklyReport) -> Iterator[str]:
    if not report.backups:
        yield "The service makes no backups by itself. If nobody else makes them, ask whoever runs the server."
        return
    if report.backed_up:
        yield f"The last backup was made on {_day(report.backed_up, report)}."
    else:
        yield "No backup has succeeded yet. Tell whoever runs the server."
    if report.rehearsed:
        yield f"Restoring a backup was last tried on {_day(report.rehearsed, report)}."
    else:
        yield "Restoring a backup has never been tried."


def _certificate(certificate: Certificate, report: WeeklyReport) -> str:
    if certificate.expires is None:
        return f"The certificate of {certificate.host} {certificate.problem}."
    days = (certificate.expires - report.until).days
    left = "today" if days < 1 else f"in {counted(days, 'day')}"
    return f"The certificate of {certificate.host} ends on {_day(certificate.expires, report)}, {left}."


def _day(instant: datetime, report: WeeklyReport) -> str:
    return format_date(instant.astimezone(ZoneInfo(report.zone)).date())
