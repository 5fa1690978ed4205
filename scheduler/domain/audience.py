"""Parse the audience of a notice as a convenor writes it: terms joined by commas, meaning their union."""

from collections.abc import Callable, Mapping, Sequence

from scheduler.domain.address import address_key
from scheduler.domain.errors import Refused
from scheduler.domain.locale import require_country, require_locale
from scheduler.domain.occurrence import OccurrenceKey
from scheduler.domain.zone import canonical_zone, require_zone

ACCEPTED = "all, convenors, coming:KEY, unanswered:KEY, country:XX, zone:Z, locale:L, list:FILE"


def _occurrence_key(text: str) -> str:
    OccurrenceKey.parse(text)
    return text


def _zone(text: str) -> str:
    return canonical_zone(require_zone(text))


_CHECKS: Mapping[str, Callable[[str], str]] = {
    "coming": _occurrence_key,
    "unanswered": _occurrence_key,
    "country": require_country,
    "zone": _zone,
    "locale": require_locale,
}


def parse_audience(text: str, *, read_list: Callable[[str], Sequence[str]]) -> dict[str, list[str]]:
    """Return the values of the terms of an audience by their kind.

    `list:FILE` becomes `address`, with the keys of the addresses that `read_list` finds in the file.
    Raises Refused, naming the term and what is accepted.
    """
    terms: dict[str, list[str]] = {}
    for term in filter(None, (part.strip() for part in text.split(","))):
        kind, colon, value = term.partition(":")
        if kind in ("all", "convenors") and not colon:
            terms.setdefault(kind, [])
        elif kind == "list" and value:
            terms.setdefault("address", []).extend(address_key(address) for address in read_list(value))
        elif kind in _CHECKS and value:
            terms.setdefault(kind, []).append(_CHECKS[kind](value))
        else:
            raise Refused(f"audience '{term}' is not known; accepted: {ACCEPTED}, several joined by commas")
    if not terms:
        raise Refused(f"the audience is empty; accepted: {ACCEPTED}")
    return terms
