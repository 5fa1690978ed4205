"""Database outages: what is wrong and what to do about it, in one line, and which work of this process fails now."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from scheduler.domain.errors import Problem

log = structlog.get_logger()

T = TypeVar("T")

AGAIN_SECONDS = 1
"""How many seconds pass before work that waits for the database is tried again."""

# A part of the driver's message, in lower case; what is wrong; what to do.
_KNOWN = (
    ("database is locked", "another program holds the database", "end it, or wait until it has finished"),
    ("disk is full", "the disk is full", "make space on it"),
    ("no space left", "the disk is full", "make space on it"),
    ("readonly database", "the database is read-only", "make its file, folder and file system writable"),
    ("read-only file system", "the database is read-only", "make its file, folder and file system writable"),
    ("disk i/o error", "the disk fails or is read-only", "read the system's log, and repair what it names"),
    (
        "unable to open database file",
        "the database cannot be opened",
        "its folder must be there and writable",
    ),
)


@dataclass(frozen=True, slots=True)
class Outage:
    """What is wrong (`words`, without personal data) and what to do about it (`advice`)."""

    words: str
    advice: str

    def __str__(self) -> str:
        return f"{self.words}: {self.advice}"


class DatabaseUnavailable(Problem):
    """The database could not be opened, because it is locked, full or gone."""


def is_outage(error: Exception) -> bool:
    """Return whether `error` means that the database is locked, full or gone, and not that it was used wrongly."""
    if isinstance(error, DatabaseUnavailable):
        return True
    if isinstance(error, DBAPIError):
        return not isinstance(error, (DataError, IntegrityError, NotSupportedError, ProgrammingError))
    return isinstance(error, (OSError, PoolTimeoutError))


def outage_of(error: BaseException) -> Outage:
    """Describe `error` in words that are safe to show and to log."""
    if isinstance(error, Problem):
        return Outage("work is refused", str(error).partition("\n")[0])
    cause = str(getattr(error, "orig", None) or error).partition("\n")[0]
    for pattern, words, advice in _KNOWN:
        if pattern in cause.casefold():
            return Outage(words, advice)
    return Outage("the database or a file cannot be used", cause or type(error).__name__)


class Outages:
    """Which work of this process fails because of the database; kept in memory, since the database cannot keep it.

    However often the work is tried, it is logged only when it begins to fail, when the cause changes and when it ends.
    """

    def __init__(self) -> None:
        self._current: dict[str, Outage] = {}
        self.watcher: Callable[[str, Outage | None], object] = lambda _work, _outage: None
        """Called with each piece of work that begins to fail, or fails for another cause, and with None when it works
        again."""

    @property
    def current(self) -> list[Outage]:
        """What is wrong now, each cause once; empty if everything works."""
        return list(dict.fromkeys(self._current.values()))

    def begin(self, work: str, error: BaseException, **about: object) -> None:
        """Note that `work` failed and will be tried again."""
        outage = outage_of(error)
        if self._current.get(work) != outage:
            self._current[work] = outage
            log.error(f"{work}-failed", error=type(error).__name__, problem=str(outage), **about)
            self.watcher(work, outage)

    async def outlast(
        self,
        work: str,
        do: Callable[[], Awaitable[T]],
        *,
        sleep: Callable[[float], Awaitable[object]],
        waiting: Callable[[], object] = lambda: None,
    ) -> T:
        """Return the result of `do`, which is tried again, after calling `waiting`, as long as the database is away."""
        while True:
            try:
                result = await do()
            except Exception as error:
                if not is_outage(error):
                    raise
                self.begin(work, error)
                waiting()
                await sleep(AGAIN_SECONDS)
            else:
                self.end(work)
                return result

    def end(self, work: str) -> None:
        """Note that `work` succeeded."""
        if self._current.pop(work, None):
            log.info(f"{work}-works-again")
            self.watcher(work, None)
