"""A database that does not do its part: what is wrong and what to do, in one line; and what fails for it at present."""

from dataclasses import dataclass

import structlog
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from scheduler.domain.errors import Problem

log = structlog.get_logger()

_KNOWN = (
    ("database is locked", "another program holds the database", "end it, or wait until it has finished"),
    ("disk is full", "the disk is full", "make space on it"),
    ("no space left", "the disk is full", "make space on it"),
    ("readonly database", "the database is read-only", "let its file, folder and file system be written"),
    ("read-only file system", "the database is read-only", "let its file, folder and file system be written"),
    ("disk i/o error", "the disk fails or is read-only", "see the system's log, and mend what it names"),
    (
        "unable to open database file",
        "the database cannot be opened",
        "its folder must be there and writable",
    ),
)


@dataclass(frozen=True, slots=True)
class Outage:
    """What is wrong, in a few words that hold nobody's data, and in `advice` what to do about it."""

    words: str
    advice: str

    def __str__(self) -> str:
        return f"{self.words}: {self.advice}"


def is_outage(error: Exception) -> bool:
    """Whether a failure says that the database is locked, full or gone, and not that it was used wrongly."""
    if isinstance(error, DBAPIError):
        return not isinstance(error, (DataError, IntegrityError, NotSupportedError, ProgrammingError))
    return isinstance(error, (OSError, PoolTimeoutError))


def outage_of(error: BaseException) -> Outage:
    """What a failure means."""
    if isinstance(error, Problem):
        return Outage("work is refused", str(error).partition("\n")[0])
    cause = str(getattr(error, "orig", None) or error).partition("\n")[0]
    for sign, words, advice in _KNOWN:
        if sign in cause.casefold():
            return Outage(words, advice)
    return Outage("the database or a file does not do its part", cause or type(error).__name__)


class Outages:
    """What of this process's work fails for the database's sake. It is kept here, since the database cannot keep it;
    each is logged when it begins, when its cause becomes another, and when it ends, however often it is tried."""

    def __init__(self) -> None:
        self._current: dict[str, Outage] = {}

    @property
    def current(self) -> list[Outage]:
        """What is wrong, each once; empty where all works."""
        return list(dict.fromkeys(self._current.values()))

    def begin(self, work: str, error: BaseException, **about: object) -> None:
        """Note that `work` failed. It will be tried again."""
        found = outage_of(error)
        if self._current.get(work) != found:
            self._current[work] = found
            log.error(f"{work}-failed", error=type(error).__name__, problem=str(found), **about)

    def end(self, work: str) -> None:
        """Note that `work` succeeded."""
        if self._current.pop(work, None):
            log.info(f"{work}-works-again")
