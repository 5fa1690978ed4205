"""The audience of a notice: parse it as a convenor writes it, as terms joined by commas."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from scheduler.domain.address import address_key
from scheduler.domain.errors import Refused
from scheduler.domain.locale import require_country, require_locale
from scheduler.domain.occurrence import OccurrenceKey, Series, slugs_by_choice
from scheduler.domain.zone import canonical_zone, require_zone

ACCEPTED = (
    "all, convenors, series:SLUG, coming:KEY, answered:KEY, declined:KEY, unanswered:KEY, country:XX, zone:Z, "
    "locale:L, joined-since:DATE, list:FILE, except:TERM"
)

_EXCEPT = "except:"

Terms = Mapping[str, Collection[str]]
"""The values of each kind of term (`all`, `convenors`, `coming`, …)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """The members of any of `terms`, except those of any of `without`.

    Four kinds are never written by convenors: `address` has the keys of addresses; `told-of` has occurrences, and
    means the followers of their series and all who were sent their invitation; `invited-to` has the revisions of
    occurrences, as KEY@REVISION, and means all who were sent the invitation to one of them as it was then; `other-zone`
    means any zone but these.
    `by_choice` are the slugs of the series that only those members follow who say so.
    """

    terms: Terms
    without: Terms = field(default_factory=dict)
    by_choice: Collection[str] = ()

    def meetings(self) -> list[tuple[str, str]]:
        """Return the terms that name a meeting, as kind and key."""
        return [
            (kind, key)
            for terms in (self.terms, self.without)
            for kind in ("coming", "answered", "declined", "unanswered")
            for key in terms.get(kind, ())
        ]


def split_audience(audience: str) -> tuple[list[str], list[str]]:
    """Return the terms of an audience, and those of its exceptions."""
    terms = [term.strip() for term in audience.split(",") if term.strip()]
    return (
        [term for term in terms if not term.startswith(_EXCEPT)],
        [term.removeprefix(_EXCEPT) for term in terms if term.startswith(_EXCEPT)],
    )


def join_audience(wanted: Sequence[str], left_out: Sequence[str]) -> str:
    """Return the audience that has these terms and exceptions."""
    return ",".join([*wanted, *(f"{_EXCEPT}{term}" for term in left_out)])


def series_of(text: str) -> str | None:
    """Return the slug of the one series that an audience is about, as a convenor wrote it; None if there is none."""
    slugs = set()
    for term in split_audience(text)[0]:
        kind, _, value = term.partition(":")
        if kind == "series":
            slugs.add(value)
        elif kind in ("coming", "answered", "declined", "unanswered"):
            slugs.add(value.partition("/")[0])
        else:
            return None
    return slugs.pop() if len(slugs) == 1 else None


def lasting_reasons(text: str, *, by_choice: Collection[str]) -> Audience | None:
    """Return, for an audience that includes the followers of a series, who has a reason to be in it, as things are.

    Exceptions are left out: they hold as of when the notice was sent. Return None if nobody can be found to have no
    reason any more: there is no series in it, it is for everybody, or it has a list, whose file is not kept.
    """
    terms: dict[str, list[str]] = {}
    for term in split_audience(text)[0]:
        kind, _, value = term.partition(":")
        terms.setdefault(kind, []).append(value)
    if "series" not in terms or {"all", "list"} & terms.keys():
        return None
    try:
        checked = {
            kind: [_CHECKS.get(kind, str)(value) for value in values] for kind, values in terms.items()
        }
    except Refused:
        # The settings or the zone data have changed since.
        return None
    return Audience(terms=checked, by_choice=by_choice)


def _occurrence_key(text: str) -> str:
    OccurrenceKey.parse(text)
    return text


def _zone(text: str) -> str:
    return canonical_zone(require_zone(text))


def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise Refused(f"audience joined-since: '{text}' is not a date; write it as 2026-11-19") from None


_CHECKS: Mapping[str, Callable[[str], str]] = {
    "coming": _occurrence_key,
    "answered": _occurrence_key,
    "declined": _occurrence_key,
    "unanswered": _occurrence_key,
    "country": require_country,
    "zone": _zone,
    "locale": require_locale,
    "joined-since": _date,
}


def parse_audience(
    text: str, *, all_series: Iterable[Series], read_list: Callable[[str], Sequence[str]]
) -> Audience:
    """Return the audience that `text` describes.

    `list:FILE` becomes `address`, with the keys of the addresses that `read_list` finds in the file.
    Raises Refused, naming the term and what is accepted.
    """
    known = {series.slug: series for series in all_series}
    terms: dict[str, list[str]] = {}
    without: dict[str, list[str]] = {}
    for term in filter(None, (part.strip() for part in text.split(","))):
        is_exception = term.startswith(_EXCEPT)
        target = without if is_exception else terms
        kind, colon, value = term.removeprefix(_EXCEPT).partition(":")
        if kind in ("all", "convenors") and not colon:
            target.setdefault(kind, [])
        elif kind == "list" and value:
            target.setdefault("address", []).extend(address_key(address) for address in read_list(value))
        elif kind == "series" and value:
            if value not in known:
                raise Refused(f"audience '{term}': there is no such series; accepted: {', '.join(known)}")
            target.setdefault(kind, []).append(value)
        elif kind in _CHECKS and value:
            target.setdefault(kind, []).append(_CHECKS[kind](value))
        else:
            raise Refused(f"audience '{term}' is not known; accepted: {ACCEPTED}, several joined by commas")
    if not terms:
        only = "it only has exceptions; write for example all,except:convenors" if without else "it is empty"
        raise Refused(f"audience '{text}': {only}; accepted: {ACCEPTED}")
    return Audience(terms=terms, without=without, by_choice=slugs_by_choice(known.values()))
