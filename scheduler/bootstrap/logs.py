"""Set up logging: events with keys, on standard error."""

import contextlib
import logging
import sys
from typing import TextIO, cast

import structlog


class _SafeStandardError:
    """The current standard error. An error while writing a log line is ignored, so that it breaks nothing else."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def set_up_logs() -> None:
    """Write events as `time level event key=value`, and the warnings of other libraries to the same place."""
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    render = structlog.processors.LogfmtRenderer(
        key_order=["timestamp", "level", "event"], bool_as_flag=False
    )
    output = cast(TextIO, _SafeStandardError())
    structlog.configure(
        processors=[*processors, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Use one file object: structlog keeps a lock for each.
        logger_factory=lambda *_: structlog.PrintLogger(output),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    # It logs a stack trace for each job when the database is away; our own event is one line.
    logging.getLogger("pgqueuer").setLevel(logging.CRITICAL)
    # It logs a stack trace for each message that it cannot parse; we keep such messages for review.
    logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)
    # It warns every second while a tick waits for the database.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
