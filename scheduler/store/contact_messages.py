"""Messages to the convenors from the contact form, each with the notice that takes it to them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.contact import ContactMessage
from scheduler.store.schema import contact_messages, notices


async def add(
    connection: AsyncConnection, notice: int, message: ContactMessage, *, address_key: str, now: datetime
) -> None:
    row = insert(contact_messages).values(
        notice=notice,
        name=message.name,
        address=message.address,
        address_key=address_key,
        words=message.words,
        came_at=now,
    )
    await connection.execute(row)


async def of_notice(connection: AsyncConnection, notice: int) -> ContactMessage | None:
    columns = (contact_messages.c[name] for name in ContactMessage.__dataclass_fields__)
    row = (await connection.execute(select(*columns).where(contact_messages.c.notice == notice))).first()
    return ContactMessage(**row._mapping) if row else None


async def has_any_of(connection: AsyncConnection, address_key: str) -> bool:
    """Return whether there is a message from this address."""
    query = select(contact_messages.c.notice).where(contact_messages.c.address_key == address_key).limit(1)
    return await connection.scalar(query) is not None


async def remove_of(connection: AsyncConnection, address_keys: Sequence[str]) -> int:
    """Delete the messages from these addresses, with their mails; return how many there were."""
    own = select(contact_messages.c.notice).where(contact_messages.c.address_key.in_(address_keys))
    return (await connection.execute(delete(notices).where(notices.c.id.in_(own)))).rowcount


async def forget(connection: AsyncConnection, *, before: datetime) -> int:
    """Delete the messages that came before an instant, with their mails; return how many."""
    old = select(contact_messages.c.notice).where(contact_messages.c.came_at < before)
    return (await connection.execute(delete(notices).where(notices.c.id.in_(old)))).rowcount
