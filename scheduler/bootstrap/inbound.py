"""Act on one inbound message with the settings, whichever way it came."""

from scheduler.bootstrap.wiring import Parts
from scheduler.domain.inbound import LARGEST
from scheduler.service.inbound import Handled, ingest, own_addresses


async def handle_message(
    parts: Parts, content: bytes, *, recipient: str = "", place: str | None = None
) -> Handled:
    """Act on one message, with these settings. Raises Refused for an empty one."""
    return await ingest(
        parts.database,
        content[:LARGEST],
        recipient=recipient,
        place=place,
        keys=parts.keys,
        domain=parts.community.domain,
        now=parts.clock.now(),
        queue=parts.settings.inbox.queue_octets,
        own_addresses=own_addresses(parts.community),
    )
