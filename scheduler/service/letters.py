"""Forward what people write to the community to the convenors' address."""

from datetime import datetime, timedelta
from email.utils import parseaddr

import structlog

from scheduler.delivery.compose.dkim import DkimSigner
from scheduler.delivery.compose.letter import compose_letter
from scheduler.delivery.send.transport import ConnectProblem, Envelope, Outcome, Transport, Verdict
from scheduler.domain.address import ascii_domain, require_address
from scheduler.domain.clock import Clock
from scheduler.domain.community import Community
from scheduler.domain.errors import Problem
from scheduler.domain.inbound import decoded, field, printable, read_message, subject
from scheduler.domain.token import Keys
from scheduler.service.inbound import LONGEST_KEPT
from scheduler.store import forwards, service_state
from scheduler.store.database import OUTAGES, Database
from scheduler.store.forwards import Letter

PAUSE_SECONDS = 5.0
LEASE = timedelta(minutes=15)
"""How long a letter is left to the process that sends it: longer than any try takes."""
FIRST_RETRY = timedelta(minutes=1)
LONGEST_RETRY = timedelta(hours=1)

log = structlog.get_logger()


class LetterForwarder:
    """Sends queued letters over `transport`, each with the same Message-ID on every try.

    A crash after the relay has accepted a letter, and before that is stored, repeats this one letter.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        transport: Transport,
        *,
        community: Community,
        keys: Keys,
        signer: DkimSigner | None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._transport = transport
        self._community = community
        self._keys = keys
        self._signer = signer

    async def run(self) -> None:
        """Forward due letters until cancelled."""
        released = not self._database.is_sqlite
        while True:
            await self._clock.sleep(PAUSE_SECONDS)
            try:
                if not released:
                    # Only one `serve` uses this file, so what is claimed was claimed by one that ended.
                    async with self._database.write() as connection:
                        await forwards.release(connection, now=self._clock.now())
                    released = True
                await self.forward_due()
            except OUTAGES as error:
                self._database.outages.begin("letters", error)
            else:
                self._database.outages.end("letters")

    async def forward_due(self) -> int:
        """Try every letter that is due, and return how many were sent; none while sending is paused."""
        sent = 0
        while letter := await self._claim():
            outcome = await self._try(letter)
            if outcome.verdict is Verdict.SENT:
                sent += 1
            await self._settle(letter, outcome)
        return sent

    async def _claim(self) -> Letter | None:
        now = self._clock.now()
        async with self._database.read() as connection:
            if await service_state.read(connection, service_state.PAUSE) or not await forwards.has_due(
                connection, now=now
            ):
                return None
        async with self._database.write() as connection:
            return await forwards.claim(connection, now=now, until=now + LEASE)

    async def _try(self, letter: Letter) -> Outcome:
        try:
            envelope = self._envelope(letter)
        except Exception as error:  # noqa: BLE001 - around one letter, and logged: the others must still go on
            log.error("letter-not-composed", message=letter.message, error=type(error).__name__)
            return Outcome(verdict=Verdict.PERMANENT, reason=str(error))
        try:
            connection = await self._transport.connect()
        except ConnectProblem as problem:
            return Outcome(verdict=Verdict.TEMPORARY, reason=str(problem), relay=True)
        try:
            return await connection.send(envelope, pipeline=_OneMessage())
        finally:
            await connection.close()

    async def _settle(self, letter: Letter, outcome: Outcome) -> None:
        now = self._clock.now()
        pause = min(FIRST_RETRY * 2 ** min(letter.attempts - 1, 10), LONGEST_RETRY)
        async with self._database.write() as connection:
            if outcome.verdict is Verdict.SENT:
                await forwards.settle(connection, letter.message, "sent")
            elif now + pause >= letter.gives_up:
                await forwards.settle(connection, letter.message, "failed", reason=outcome.reason)
            else:
                # A permanent refusal may be the relay's mistake, and convenors have only this one address.
                await forwards.settle(
                    connection, letter.message, "queued", reason=outcome.reason, next_try=now + pause
                )
        log.info("letter-tried", message=letter.message, verdict=outcome.verdict, attempts=letter.attempts)

    def _envelope(self, letter: Letter) -> Envelope:
        message = read_message(letter.content)
        name, address = parseaddr(field(message, "from"))
        answer_to = _usable(parseaddr(field(message, "reply-to"))[1]) or _usable(address)
        identity = self._keys.name("letter", letter.digest)
        content = compose_letter(
            letter.content,
            community=self._community,
            name=identity,
            subject=subject(message) or "(no subject)",
            reply_to=answer_to,
            text=_words(
                letter,
                self._community,
                printable(f"{decoded(name)} <{address}>").strip(),
                can_reply=bool(answer_to),
            ),
            date=letter.came_at,
            signer=self._signer,
        )
        return Envelope(
            sender=ascii_domain(self._community.address),
            recipient=ascii_domain(self._community.reply_to),
            pieces=[content],
            envelope_id=identity,
        )


class _OneMessage:
    """A send pipeline of a single message."""

    next_envelope = None

    async def before_final_dot(self) -> None:
        """There is no message before it to wait for."""

    def check_deadline(self) -> None:
        """Its claim lasts longer than any try."""

    def advance(self) -> None:
        """No message follows."""


def _usable(address: str) -> str:
    try:
        return require_address(address) if address else ""
    except Problem:
        return ""


def _words(letter: Letter, community: Community, writer: str, *, can_reply: bool) -> str:
    sentences = [
        "Their mail is attached to this one."
        if len(letter.content) < LONGEST_KEPT
        else "The beginning of their mail is attached to this one, because it is long. If it came to a mailbox, all of "
        "it is there.",
        "Reply to this mail, and your answer goes to them and not to us."
        if can_reply
        else "Their address cannot be replied to.",
    ]
    return (
        f"{writer} has written to {community.name}.\n\n{_who(letter)}\n\n{' '.join(sentences)}\n\n"
        f"The mail also waits for you at {community.base_url}/convenor/returns, where you can deal with it or delete "
        "it.\n"
    )


def _who(letter: Letter) -> str:
    """Say whose address it is. Nothing proves that they wrote the mail."""
    since = letter.member_since
    match letter.member_status:
        case "active" | "paused" if since:
            return f"This is the address of a member since {_day(since)}."
        case "active" | "paused":
            return "This is the address of a member."
        case "left":
            return "This is the address of somebody who was a member and has left."
        case "pending":
            return "This is the address of somebody who has asked to join, and is not a member yet."
    return "This is not the address of a member."


def _day(instant: datetime) -> str:
    return f"{instant.day} {instant:%B %Y}"
