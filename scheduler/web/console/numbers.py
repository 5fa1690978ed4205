"""Numbers about the community, as bars with a table behind each; nobody's reading is tracked."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.locale import country_name
from scheduler.domain.localtime import format_month
from scheduler.domain.policy import kind_in_words
from scheduler.domain.zone import city
from scheduler.service.numbers import Numbers, count_numbers
from scheduler.web.access import names_of_meetings, render_console
from scheduler.web.site import site_of

NUMBERS_FRESH = timedelta(minutes=10)
"""How old the numbers may be before they are counted again: with a million members that takes seconds."""

_PATIENCE = timedelta(milliseconds=100)
_MOST_BARS = 12
_OUTCOME_WORDS = {
    "sent": "sent",
    "waiting": "waiting",
    "failed": "failed",
    "expired": "too late",
    "withdrawn": "withdrawn",
    "skipped": "not needed",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar in a box of 100 by 10: its place, size and colour (a class of the stylesheet)."""

    x: float
    y: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a chart with its label, and the numbers in words."""

    label: str
    words: str
    parts: Sequence[Part]


# What the numbers of a row are, in order: pairs of colour and words.
_PLAIN = (("first", ""),)
_MEMBERS = (("first", "joined"), ("second", "left"))
_ANSWERS = (("first", "coming"), ("second", "maybe"), ("third", "declined"), ("rest", "no answer"))
_MAILS = (("first", "sent"), ("bad", "failed"), ("second", "not needed or too late"), ("rest", "waiting"))


async def numbers(request: Request) -> Response:
    """Show the last numbers, and count them again in the background."""
    site = site_of(request)
    now = site.clock.now()
    count = partial(count_numbers, site.database, series=site.series, now=now)
    counted: Numbers | None = await request.app.state.numbers.soon(now, count, patience=_PATIENCE)
    return render_console(
        request,
        "console/numbers.html",
        active="numbers",
        numbers=counted,
        country_words=_country,
        month_words=_month,
        kind_words=kind_in_words,
        outcomes=_OUTCOME_WORDS,
        charts=_charts(counted, names_of_meetings(request)) if counted else {},
    )


def _charts(counted: Numbers, meeting_name: Callable[[str], str]) -> dict[str, object]:
    mails: dict[str, Counter[str]] = {}
    for row in counted.mails:
        mails.setdefault(row.month, Counter()).update(row.counts)
    reasons = Counter[str]()
    for cause in counted.not_sent:
        reasons[cause.reason] += cause.count
    return {
        "city": city(counted.zone),
        "countries": _top((_country(code), count) for code, count in counted.countries),
        "zones": _top(counted.zones),
        "months": _bars(
            ((_month(row.month), (row.joined, row.left)) for row in counted.months), _MEMBERS, stacked=False
        ),
        "meetings": _bars(
            (
                (meeting_name(row.key), (row.coming, row.maybe, row.declined, row.silent))
                for row in counted.meetings
            ),
            _ANSWERS,
        ),
        "mails": _bars(((_month(month), _of_mails(counts)) for month, counts in mails.items()), _MAILS),
        "reasons": _top(reasons.most_common()),
        "of_members": _MEMBERS,
        "of_answers": _ANSWERS,
        "of_mails": _MAILS,
    }


def _of_mails(counts: Counter[str]) -> tuple[int, ...]:
    unneeded = counts["expired"] + counts["withdrawn"] + counts["skipped"]
    return (counts["sent"], counts["failed"], unneeded, counts["waiting"])


def _top(counts: Iterable[tuple[str, int]]) -> list[Bar]:
    """Return a bar for each of the first numbers; all others have none, because it could be the longest."""
    rows = list(counts)
    most = _MOST_BARS if len(rows) > _MOST_BARS + 1 else len(rows)
    bars = _bars(((label, (count,)) for label, count in rows[:most]), _PLAIN)
    if others := rows[most:]:
        bars.append(Bar(f"{len(others)} others", f"{sum(count for _, count in others)}", ()))
    return bars


def _bars(
    rows: Iterable[tuple[str, Sequence[int]]], legend: Sequence[tuple[str, str]], *, stacked: bool = True
) -> list[Bar]:
    """Return a bar for each label and its numbers; their parts are beside each other, or else below each other."""
    every = list(rows)
    longest = max((sum(counts) if stacked else max(counts) for _, counts in every), default=0) or 1
    bars = []
    for label, counts in every:
        parts, before = [], 0.0
        for place, (count, (colour, _)) in enumerate(zip(counts, legend, strict=True)):
            width = round(100 * count / longest, 2)
            if stacked:
                part = Part(round(before, 2), 0, width, 10, colour)
            else:
                part = Part(0, 10 * place / len(counts), width, 10 / len(counts), colour)
            parts += [part] if count else []
            before += width
        words = [
            f"{count} {words}".strip() for count, (_, words) in zip(counts, legend, strict=True) if count
        ]
        bars.append(Bar(label, ", ".join(words) or "none", parts))
    return bars


def _country(code: str) -> str:
    return country_name(code) if code else "Not known"


def _month(month: str) -> str:
    return format_month(date.fromisoformat(f"{month}-01"))
