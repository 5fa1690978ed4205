"""Read a mailbox as the inbox: each message has its effect once, and is then moved out of the way.

A message is handled in one transaction with a receipt of its place, which is its folder, UIDVALIDITY and UID, and of
its digest. A crash before that transaction ends leaves nothing; after it, the message only has to be moved.
"""

import asyncio
import base64
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from typing import Protocol, TypeVar

import structlog
from cryptography.fernet import Fernet, InvalidToken

from scheduler.delivery.receive.imap import ImapMailbox, MailboxProblem, NewMessage
from scheduler.delivery.receive.oauth import OAuthClient, refresh
from scheduler.domain.clock import Clock
from scheduler.domain.errors import Refused
from scheduler.domain.inbound import LARGEST
from scheduler.domain.token import Keys
from scheduler.service.inbound import Handled
from scheduler.store import receipts, service_state
from scheduler.store.database import OUTAGES, Database

READER_LOCK = 7437003
"""The advisory lock of PostgreSQL that is held by the one `serve` that reads the mailbox."""

BATCH = 100
MOST_FAILURES = 3
"""How often handling a message may fail, on a working database, before it is moved to where a convenor reads it, so
that it does not stop the others."""

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 15 * 60.0
PAUSE_AFTER_REFUSAL = 5 * 60.0
"""Seconds before another login after one was refused: providers lock accounts that fail too often."""
LOCK_PAUSE = 30.0
NOTED_EVERY = timedelta(minutes=10)
"""How often it is stored that the mailbox was read."""

log = structlog.get_logger()

T = TypeVar("T")
Handle = Callable[[bytes, str], Awaitable[Handled]]


class Mailbox(Protocol):
    """An open mailbox. Its functions block, and raise MailboxProblem."""

    uid_validity: str

    def select(self) -> None: ...
    def new_messages(self) -> list[str]: ...
    def fetch(self, uids: Sequence[str], *, most: int) -> Iterator[list[NewMessage]]: ...
    def file_away(self, uids: Sequence[str], *, for_review: bool) -> None: ...
    def wait(self, stop: threading.Event) -> None: ...
    def abort(self) -> None: ...
    def close(self) -> None: ...


async def in_thread(work: Callable[[], T]) -> T:
    """Run blocking work in a thread of its own, which does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as caught:  # noqa: BLE001 - it is raised in the task that waits
            error = caught
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            # The loop has ended while this thread still waited for the server.
            return

    threading.Thread(target=run, name="mailbox", daemon=True).start()
    return await future


class OAuthLogin:
    """Gets access tokens for the mailbox, and keeps the refresh token that the provider issued last, encrypted."""

    def __init__(
        self, database: Database, clock: Clock, keys: Keys, *, client: OAuthClient, refresh_token: str
    ) -> None:
        self._database = database
        self._clock = clock
        self._client = client
        self._configured = refresh_token
        self._configured_as = keys.name("oauth", refresh_token)
        self._cipher = Fernet(base64.urlsafe_b64encode(keys.digest("oauth", "", octets=32)))
        self._access, self._valid_until = "", 0.0

    def forget(self) -> None:
        """Get another access token next time: the server has refused this one."""
        self._access = ""

    async def access_token(self) -> str:
        """Return a valid access token. Raises MailboxProblem."""
        if self._access and self._clock.monotonic() < self._valid_until:
            return self._access
        tokens = None
        stored = await self._stored()
        if stored:
            try:
                tokens = await in_thread(lambda: refresh(self._client, stored))
            except MailboxProblem as problem:
                # An older token than the provider's last, from a backup; the one in the settings may still be good.
                if not problem.lasting:
                    raise
        if tokens is None:
            tokens = await in_thread(lambda: refresh(self._client, self._configured))
        if tokens.refresh and tokens.refresh not in (stored, self._configured):
            await self._store(tokens.refresh)
        self._access = tokens.access
        self._valid_until = self._clock.monotonic() + tokens.seconds / 2
        return self._access

    async def _stored(self) -> str:
        """Return the refresh token that followed the one in the settings; empty if there is none."""
        async with self._database.read() as connection:
            stored = await service_state.read(connection, service_state.MAILBOX_TOKEN)
        if not stored or stored["of"] != self._configured_as:
            return ""
        try:
            return self._cipher.decrypt(stored["token"].encode()).decode()
        except InvalidToken:
            return ""

    async def _store(self, refresh_token: str) -> None:
        value = {
            "of": self._configured_as,
            "token": self._cipher.encrypt(refresh_token.encode()).decode(),
        }
        async with self._database.write() as connection:
            await service_state.write(connection, service_state.MAILBOX_TOKEN, value)


class MailboxReader:
    """Reads the mailbox that `open_mailbox` opens, given an access token or "", and lets `handle` act on each message.

    `name` is the same for the same folder of the same mailbox.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        name: str,
        keys: Keys,
        open_mailbox: Callable[[str], Mailbox],
        handle: Handle,
        login: OAuthLogin | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._name = keys.name("mailbox", name)
        self._open_mailbox = open_mailbox
        self._handle = handle
        self._login = login
        self._failures = Counter[str]()
        self._stop = threading.Event()
        self._noted = ""

    async def run(self) -> None:
        """Read the mailbox until cancelled; on PostgreSQL in only one `serve` at a time."""
        problems = 0
        try:
            while True:
                pause = LOCK_PAUSE
                try:
                    async with self._database.only_one(READER_LOCK) as is_ours:
                        while is_ours():
                            await self._read_until_trouble(is_ours)
                except MailboxProblem as problem:
                    problems = 0 if self._noted == "read" else problems + 1
                    pause = min(FIRST_PAUSE * 2 ** min(problems, 10), LONGEST_PAUSE)
                    if problem.lasting:
                        pause = max(pause, PAUSE_AFTER_REFUSAL)
                    await self._note_trouble(problem)
                except OUTAGES as error:
                    self._database.outages.begin("mailbox", error)
                    pause = FIRST_PAUSE
                await self._clock.sleep(pause)
        finally:
            self._stop.set()

    async def _read_until_trouble(self, is_ours: Callable[[], bool]) -> None:
        mailbox = await self._open()
        try:
            while is_ours():
                await in_thread(mailbox.select)
                await self.read_new(mailbox)
                await self._note_read()
                await in_thread(lambda: mailbox.wait(self._stop))
        except asyncio.CancelledError:
            self._stop.set()
            mailbox.abort()
            raise
        finally:
            await asyncio.shield(in_thread(mailbox.close))

    async def _open(self) -> Mailbox:
        token = await self._login.access_token() if self._login else ""
        try:
            return await in_thread(lambda: self._open_mailbox(token))
        except MailboxProblem:
            if self._login:
                self._login.forget()
            raise

    async def read_new(self, mailbox: Mailbox) -> int:
        """Handle every message in the folder, move it, and return how many were new.

        Raises MailboxProblem, also if only the moving fails: then all others are handled first.
        """
        uids = await in_thread(mailbox.new_messages)
        new, unmoved = 0, None
        for start in range(0, len(uids), BATCH):
            batch = uids[start : start + BATCH]
            kept_by_uid = await self._known(mailbox, batch)
            unknown = [uid for uid in batch if uid not in kept_by_uid]
            groups = mailbox.fetch(unknown, most=LARGEST) if unknown else iter(())
            while group := await in_thread(lambda groups=groups: next(groups, None)):  # type: ignore[misc]
                for message in group:
                    kept = await self._handle_one(mailbox, message)
                    if kept is not None:
                        kept_by_uid[message.uid] = kept
                        new += 1
            for for_review in (False, True):
                chosen = [uid for uid, kept in kept_by_uid.items() if kept is for_review]
                try:
                    await in_thread(
                        lambda chosen=chosen, for_review=for_review: mailbox.file_away(  # type: ignore[misc]
                            chosen, for_review=for_review
                        )
                    )
                except MailboxProblem as problem:
                    unmoved = unmoved or problem
        if unmoved:
            raise unmoved
        return new

    async def _known(self, mailbox: Mailbox, uids: Sequence[str]) -> dict[str, bool]:
        """Return the messages that were handled before, but not moved, and whether each is kept for review."""
        by_place = {self._place(mailbox, uid): uid for uid in uids}
        async with self._database.read() as connection:
            known = await receipts.by_place(connection, list(by_place))
        return {by_place[place]: kept for place, kept in known.items()}

    async def _handle_one(self, mailbox: Mailbox, message: NewMessage) -> bool | None:
        """Handle a message, and return whether it is kept for review; None if it should be tried again."""
        place = self._place(mailbox, message.uid)
        try:
            handled = await self._handle(message.content, place)
        except Refused:
            # It is empty.
            return True
        except Exception as error:  # noqa: BLE001 - around one message, and logged
            # A message that cannot be handled must not stop those behind it; a database that is away must.
            await self._note_read()
            self._failures[place] += 1
            log.error("message-failed", error=type(error).__name__, failures=self._failures[place])
            if self._failures[place] < MOST_FAILURES:
                return None
            del self._failures[place]
            return True
        log.info("message-handled", kept=handled.kept)
        return handled.kept

    def _place(self, mailbox: Mailbox, uid: str) -> str:
        return f"{self._name}:{mailbox.uid_validity}:{uid}"[:80]

    async def _note_read(self) -> None:
        """Store that the mailbox can be read, if that was not stored lately."""
        now = self._clock.now()
        async with self._database.read() as connection:
            state = await service_state.read(connection, service_state.MAILBOX) or {}
        last = service_state.as_instant(state.get("read"))
        if state.get("since") or last is None or not timedelta() <= now - last < NOTED_EVERY:
            async with self._database.write() as connection:
                await service_state.write(connection, service_state.MAILBOX, {"read": now.isoformat()})
        if self._noted != "read":
            log.info("mailbox-read")
        self._noted = "read"
        self._database.outages.end("mailbox")

    async def _note_trouble(self, problem: MailboxProblem) -> None:
        now, reason = self._clock.now(), str(problem)
        if self._noted != reason:
            log.error("mailbox-trouble", reason=reason, lasting=problem.lasting)
            self._noted = reason
        try:
            async with self._database.write() as connection:
                state = await service_state.read(connection, service_state.MAILBOX) or {}
                state = {
                    **state,
                    "since": state.get("since") or now.isoformat(),
                    "reason": reason,
                    "lasting": problem.lasting,
                }
                await service_state.write(connection, service_state.MAILBOX, state)
        except OUTAGES as error:
            self._database.outages.begin("mailbox", error)


def try_mailbox(open_mailbox: Callable[[], ImapMailbox]) -> int:
    """Open the mailbox and close it again; return how many messages wait in it. Raises MailboxProblem. Blocks."""
    mailbox = open_mailbox()
    try:
        return len(mailbox.new_messages())
    finally:
        mailbox.close()
