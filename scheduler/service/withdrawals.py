"""Withdraw notices that are no longer wanted, and reopen them when they are. No other module does either."""

from collections.abc import Collection
from typing import Literal

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.policy import CHANGES
from scheduler.store import notices
from scheduler.store.ledger import lifecycle
from scheduler.store.ledger.lifecycle import WithdrawalReason
from scheduler.store.notices import Notice

log = structlog.get_logger()

SUPERSEDED: Literal["superseded"] = "superseded"
"""Why a change is unwanted after a later one has replaced it; it is never wanted again."""


async def withdraw(connection: AsyncConnection, notice: Notice, *, reason: WithdrawalReason) -> None:
    """Withdraw a notice and its queued deliveries. `reason` is why it is unwanted."""
    await notices.change(connection, notice.id, unwanted=reason)
    withdrawn = await lifecycle.withdraw(connection, notice.id, reason=reason)
    log.info("notice-withdrawn", notice=notice.id, reason=reason, deliveries=withdrawn)


async def want_again(connection: AsyncConnection, notice: Notice, *, by_choice: Collection[str]) -> None:
    """Reopen a notice that was unwanted or closed, and fan it out again: members who joined, came back or changed their
    answer in the meantime were left out. One that a convenor stopped stays stopped.

    `by_choice` are the slugs of the series that only those members follow who say so.
    """
    await notices.change(connection, notice.id, unwanted=None, closed_at=None, archived_at=None, tally=None)
    if not notice.stopped_at:
        await lifecycle.requeue(connection, notice.id, by_choice=by_choice)
        # Updates and cancellations are frozen too, but follow their audience.
        if not notice.frozen or notice.kind in CHANGES:
            await notices.fan_out_again(connection, notice.id)
    log.info("notice-wanted-again", notice=notice.id, kind=notice.kind, occurrence=notice.occurrence)
