"""Logs: events with keys, on standard error."""

import contextlib
import logging
import sys
from typing import TextIO, cast

import structlog


class _Patient:
    """Whatever standard error is by then, as far as it can be written to: who logs does not fail for the log's sake."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def set_up_logs() -> None:
    """Write events as `time level event key=value`; other libraries' warnings come the same way."""
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    render = structlog.processors.LogfmtRenderer(
        key_order=["timestamp", "level", "event"], bool_as_flag=False
    )
    patient = cast(TextIO, _Patient())
    structlog.configure(
        processors=[*processors, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # One for all: structlog keeps a lock for each.
        logger_factory=lambda *_: structlog.PrintLogger(patient),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    # It tells of a database that went away with a stack trace for each job; our own events say it in a line.
    logging.getLogger("pgqueuer").setLevel(logging.CRITICAL)
    # It tells of each message that it cannot read in the same way, and we keep that message.
    logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)
    # It tells each second that a tick waits for the database.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
