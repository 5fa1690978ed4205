"""What senders of a cluster hand each other."""

import asyncio
import os
from pathlib import Path

from scheduler.bootstrap.sending import make_dispatcher, make_hands, share
from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.wiring import open_parts
from scheduler.delivery.maildir import read_outbox
from scheduler.domain.policy import Kind
from scheduler.service.mailing import mail_one
from scheduler.service.membership import entry
from scheduler.service.notifying import send_notice
from scheduler.store import members


async def test_what_waits_for_a_welcome_follows_it_without_waiting_for_a_tick(
    postgres_url: str, tmp_path: Path
) -> None:
    settings = load_settings(
        None,
        {
            "THIRD_THURSDAY_DATABASE__URL": postgres_url, "THIRD_THURSDAY_SECURITY__KEY": os.urandom(32).hex(),
            "THIRD_THURSDAY_MAIL__TRANSPORT": f"maildir:{tmp_path / 'mail'}",
        },
    )  # fmt: skip
    async with open_parts(settings, upgrade=True) as parts:
        now = parts.clock.now()
        async with parts.database.write() as connection:
            maya = entry(
                address="maya@example.org", name="Maya", country="NZ", zone="Pacific/Auckland",
                zone_source="confirmed", locale="en-NZ", status="active", now=now,
            )  # fmt: skip
            await members.add(connection, [maya])
        # Its job is the first in the queue, and finds nothing that may go yet.
        await send_notice(
            parts.database, subject="Hello", body="All.", audience={"all": []}, audience_text="all", now=now
        )
        async with parts.database.write() as connection:
            member = await members.by_key(connection, "maya@example.org")
            assert member
            await mail_one(connection, member, Kind.WELCOME, now=parts.clock.now())
        dispatcher = make_dispatcher(parts)
        hands = make_hands(parts, dispatcher)
        sending = asyncio.create_task(share(dispatcher, hands))
        async with asyncio.timeout(20):
            while not (tmp_path / "mail").exists() or len(read_outbox(tmp_path / "mail", newest=5)) < 2:
                await asyncio.sleep(0.05)
        hands.stop()
        dispatcher.drain()
        await sending
