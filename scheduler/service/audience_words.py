"""The words for an audience, which is kept as the command line's terms."""

import re
from collections.abc import Mapping, Sequence
from datetime import date

from scheduler.domain.audience import split_audience
from scheduler.domain.errors import Refused
from scheduler.domain.locale import country_name, language_name
from scheduler.domain.localtime import format_date
from scheduler.domain.occurrence import OccurrenceKey, Series
from scheduler.domain.text import counted
from scheduler.domain.zone import city
from scheduler.service.drafts import count_listed

ANSWERED: Mapping[str, str] = {
    "coming": "Those who are coming",
    "answered": "Those who answered",
    "declined": "Those who declined",
    "unanswered": "Those who have not answered",
}
"""Whom the terms name that are about the answers to a meeting."""

_WITH_ARTICLE = re.compile(
    r"^(United|Isle of) |(Bahamas|Comoros|Gambia|Islands|Lands|Maldives|Netherlands|Philippines|Republic|Territory)$"
)


def audience_words(audience: str, all_series: Mapping[str, Series]) -> str:
    """Return an audience in words, such as `Everybody in Sweden and Fiji, except those who declined on 17 December
    2026`, from the command line's terms. A term that is not known stays as it is."""
    wanted, left_out = split_audience(audience)
    words = _all_of(["all"] if "all" in wanted else wanted, all_series) or "nobody yet"
    if left_out:
        words += f", except {_all_of(left_out, all_series)}"
    return words[:1].upper() + words[1:]


def _all_of(terms: Sequence[str], all_series: Mapping[str, Series]) -> str:
    """Return terms in words; those that begin with the same words are joined: `everybody in Sweden and Fiji`."""
    phrases: dict[str, list[str]] = {}
    for term in dict.fromkeys(terms):
        begin, value = _phrase(term, all_series)
        phrases.setdefault(begin, []).append(value)
    return _listed([f"{begin} {_listed(values)}".strip() for begin, values in phrases.items()], last=", and ")


def _listed(words: Sequence[str], *, last: str = " and ") -> str:
    """Return `a`, `a and b`, or `a, b and c`; `last` is what the last one follows."""
    return last.join(filter(None, (", ".join(words[:-1]), "".join(words[-1:]))))


def _phrase(term: str, all_series: Mapping[str, Series]) -> tuple[str, str]:
    """Return a term in words: how they begin, and the value of the term."""
    kind, _, value = term.partition(":")
    try:
        match kind:
            case "all":
                return "everybody", ""
            case "convenors":
                return "convenors", ""
            case "series" if value in all_series:
                return "those who follow", all_series[value].title
            case "country":
                return "everybody in", _with_article(country_name(value))
            case "zone":
                return "everybody in the time zone of", f"{city(value)} ({value})"
            case "locale":
                return "everybody who reads", language_name(value)
            case "joined-since":
                return "those who joined since", format_date(date.fromisoformat(value))
            case "list" if number := count_listed(term):
                return "", f"{counted(number, 'member')} on a list"
            case "list":
                return "the addresses in the file", value
            case _ if kind in ANSWERED:
                key = OccurrenceKey.parse(value)
                day, words = format_date(key.date), ANSWERED[kind].lower()
                if len(all_series) > 1 and key.series in all_series:
                    return f"{words} ({all_series[key.series].title}) on", day
                return f"{words} on" if kind in ("coming", "declined") else f"{words} about", day
    except (ValueError, Refused):
        pass
    return "", term


def _with_article(country: str) -> str:
    """Return the name of a country as a sentence has it: `the Netherlands`."""
    return f"the {country}" if _WITH_ARTICLE.search(country) else country
