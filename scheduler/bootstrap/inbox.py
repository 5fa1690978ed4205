"""Assemble the inbox of `serve`: reading a mailbox, accepting mail over LMTP, and forwarding letters."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from scheduler.bootstrap.inbound import handle_message
from scheduler.bootstrap.settings import Settings
from scheduler.bootstrap.wiring import Parts, load_signer
from scheduler.delivery.receive.imap import ImapMailbox, MailboxProblem
from scheduler.delivery.receive.lmtp import Accept, LmtpServer, listen_lmtp
from scheduler.delivery.receive.oauth import OAuthClient
from scheduler.delivery.receive.places import parse_imap
from scheduler.delivery.send.transport import Transport
from scheduler.domain.errors import Problem, Refused
from scheduler.service.inbound import Handled
from scheduler.service.letters import LetterForwarder
from scheduler.service.mailbox import MailboxReader, OAuthLogin, in_thread, try_mailbox
from scheduler.store import service_state
from scheduler.store.database import OUTAGES

RESTART_SECONDS = 60

log = structlog.get_logger()


def inbox_listener(settings: Settings) -> socket.socket | None:
    """Return the socket on which mail is accepted over LMTP, if it is. Raises Problem if it cannot listen."""
    return listen_lmtp(settings.inbox.lmtp) if settings.inbox.lmtp else None


@contextlib.asynccontextmanager
async def running_inbox(
    parts: Parts, transport: Transport, listener: socket.socket | None
) -> AsyncIterator[None]:
    """Receive mail and forward letters while the block runs."""
    forwarder = LetterForwarder(
        parts.database,
        parts.clock,
        transport,
        community=parts.community,
        keys=parts.keys,
        signer=load_signer(parts.settings),
    )
    runs = [forwarder.run]
    if parts.settings.inbox.imap:
        runs.append(_make_reader(parts).run)
    else:
        with contextlib.suppress(*OUTAGES):
            async with parts.database.write() as connection:
                await service_state.write(connection, service_state.MAILBOX, None)
    if listener:
        server = LmtpServer(listener, _acceptor(parts), hostname=parts.community.domain)
        runs.append(server.run)
    tasks = [asyncio.create_task(_keep_running(run, parts)) for run in runs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=5)


async def _keep_running(run: Callable[[], Awaitable[None]], parts: Parts) -> None:
    """Run a part of the inbox again after a mistake of ours has ended it, because mail would not come in any more."""
    while True:
        try:
            await run()
        except Exception as error:  # noqa: BLE001 - logged, and nothing else depends on it
            log.error(
                "inbox-ended", part=type(getattr(run, "__self__", run)).__name__, error=type(error).__name__
            )
            await parts.clock.sleep(RESTART_SECONDS)


def _acceptor(parts: Parts) -> Accept:
    async def accept(content: bytes, recipient: str) -> bool:
        try:
            handled = await handle_message(parts, content, recipient=recipient)
        except Refused:
            return True
        except OUTAGES as error:
            parts.database.outages.begin("lmtp", error)
            return False
        parts.database.outages.end("lmtp")
        log.info("message-handled", kept=handled.kept)
        return True

    return accept


def oauth_login(parts: Parts) -> OAuthLogin | None:
    """Return how to get access tokens for the mailbox; None if it wants a password."""
    inbox = parts.settings.inbox
    if not inbox.oauth_refresh_token:
        return None
    client = OAuthClient(
        token_url=inbox.oauth_token_url,
        client_id=inbox.oauth_client_id,
        client_secret=inbox.oauth_client_secret,
    )
    return OAuthLogin(
        parts.database, parts.clock, parts.keys, client=client, refresh_token=inbox.oauth_refresh_token
    )


def _make_reader(parts: Parts) -> MailboxReader:
    address = parse_imap(parts.settings.inbox.imap)

    async def handle(content: bytes, place: str) -> Handled:
        return await handle_message(parts, content, place=place)

    return MailboxReader(
        parts.database,
        parts.clock,
        name=f"{address.user}@{address}",
        keys=parts.keys,
        open_mailbox=lambda token: ImapMailbox(address, access_token=token),
        handle=handle,
        login=oauth_login(parts),
    )


async def check_mailbox(settings: Settings, login: OAuthLogin | None = None) -> int:
    """Log in to the mailbox as `serve` does, and return how many messages wait in it. Raises Problem."""
    address = parse_imap(settings.inbox.imap)
    try:
        token = await login.access_token() if login else ""
        return await in_thread(lambda: try_mailbox(lambda: ImapMailbox(address, access_token=token)))
    except MailboxProblem as problem:
        raise Problem(f"mailbox: {problem}") from None
