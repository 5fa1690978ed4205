"""Sign in with a passkey (W3C Web Authentication, level 2), so that no mail is needed."""

import base64
import json
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestedCredentialData,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialUserEntity,
    RegistrationResponse,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)
from sqlalchemy.exc import IntegrityError

from scheduler.domain.community import Community
from scheduler.domain.errors import Refused
from scheduler.domain.token import Keys
from scheduler.service.sessions import Session, begin, browser_name, may_sign_in, new_secret
from scheduler.store import audit, members, passkeys
from scheduler.store.database import Database
from scheduler.store.passkeys import Passkey

CHALLENGE_LASTS = timedelta(minutes=5)
"""How long a browser may take to answer a challenge."""

MOST = 10
"""How many passkeys one person can have."""

_REFUSED = "You need to try again: this passkey was not accepted."


class PasskeyServer:
    """Makes challenges for browsers and checks their answers. Nothing is stored between the two: a challenge is signed
    with the installation's key."""

    def __init__(self, community: Community, keys: Keys) -> None:
        self._host = urlsplit(community.base_url).hostname or ""
        self._origin = community.base_url.rstrip("/")
        self._keys = keys
        self._server = Fido2Server(
            PublicKeyCredentialRpEntity(name=community.name, id=self._host),
            verify_origin=lambda origin: origin.rstrip("/") == self._origin,
        )

    @property
    def is_possible(self) -> bool:
        """Whether browsers accept passkeys here: the site needs a name, and HTTPS unless it is on this machine."""
        is_address = not any(letter.isalpha() for letter in self._host) or ":" in self._host
        return not is_address and (self._origin.startswith("https:") or self._host == "localhost")

    async def begin_registration(
        self, database: Database, session: Session, *, now: datetime
    ) -> Mapping[str, Any]:
        """Return the options with which the browser of whoever is signed in makes a passkey, ready for JSON.

        Raises Refused if they have too many.
        """
        async with database.read() as connection:
            existing = await passkeys.of_member(connection, session.member.id)
        if len(existing) >= MOST:
            raise Refused(f"You need to remove a passkey first: you have {len(existing)}.")
        member = session.member
        options, _ = self._server.register_begin(
            PublicKeyCredentialUserEntity(
                id=self._keys.digest("passkey user", str(member.id)),
                name=member.address,
                display_name=member.name or member.address,
            ),
            [AttestedCredentialData(passkey.key_data) for passkey in existing],
            resident_key_requirement=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.PREFERRED,
            challenge=self._challenge(now),
        )
        return dict(options)["publicKey"]  # type: ignore[no-any-return]

    async def register(
        self, database: Database, session: Session, answer: str, *, user_agent: str, now: datetime
    ) -> None:
        """Store the passkey that a browser made; `answer` is its JSON. Raises Refused."""
        response = _parsed(answer)
        try:
            registration = RegistrationResponse.from_dict(response)
            challenge = registration.response.client_data.challenge
            self._require_challenge(challenge, now)
            data = self._server.register_complete(_state(challenge), registration).credential_data
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError):
            raise Refused(_REFUSED) from None
        if data is None:
            raise Refused(_REFUSED)
        name = browser_name(user_agent)
        try:
            async with database.write() as connection:
                await passkeys.add(
                    connection,
                    member=session.member.id,
                    credential=data.credential_id,
                    key_data=bytes(data),
                    name=name,
                    now=now,
                )
                await audit.record(
                    connection, session.actor, "passkey-added", after={"passkey": name}, now=now
                )
        except IntegrityError:
            raise Refused("You have already added this passkey.") from None

    def begin_sign_in(self, *, now: datetime) -> Mapping[str, Any]:
        """Return the options with which a browser signs in with a passkey, ready for JSON."""
        options, _ = self._server.authenticate_begin(
            user_verification=UserVerificationRequirement.PREFERRED, challenge=self._challenge(now)
        )
        return dict(options)["publicKey"]  # type: ignore[no-any-return]

    async def sign_in(
        self, database: Database, answer: str, *, user_agent: str, ends: str = "", now: datetime
    ) -> str:
        """Sign in with a browser's answer in JSON, and return the secret for the cookie. Each challenge works once.

        `ends` is the secret of the session that the browser had before. Raises Refused.
        """
        response = _parsed(answer)
        secret = new_secret()
        try:
            async with database.write() as connection:
                credential = _decode(response["rawId"])
                passkey = await passkeys.by_credential(connection, credential)
                member = await members.by_id(connection, passkey.member) if passkey else None
                if passkey is None or member is None or not may_sign_in(member):
                    raise Refused(_REFUSED)
                challenge = _challenge_in(response)
                self._require_challenge(challenge, now)
                known = [AttestedCredentialData(passkey.key_data)]
                self._server.authenticate_complete(_state(challenge), known, response)
                await passkeys.note_use(connection, passkey.id, now)
                await begin(
                    connection,
                    member,
                    secret,
                    once=challenge.hex(),
                    user_agent=user_agent,
                    ends=ends,
                    now=now,
                )
        except (ValueError, KeyError, TypeError, AttributeError, IntegrityError):
            raise Refused(_REFUSED) from None
        return secret

    def _challenge(self, now: datetime) -> bytes:
        expires = int((now + CHALLENGE_LASTS).timestamp()).to_bytes(8)
        nonce = secrets.token_bytes(16)
        return nonce + expires + self._signature(nonce + expires)

    def _require_challenge(self, challenge: bytes, now: datetime) -> None:
        signed, signature = challenge[:24], challenge[24:]
        is_ours = secrets.compare_digest(signature, self._signature(signed))
        if not is_ours or int.from_bytes(signed[16:]) < now.timestamp():
            raise Refused(_REFUSED)

    def _signature(self, signed: bytes) -> bytes:
        return self._keys.digest("passkey challenge", signed.hex())


async def passkeys_of(database: Database, session: Session) -> list[Passkey]:
    """Return the passkeys of whoever is signed in."""
    async with database.read() as connection:
        return await passkeys.of_member(connection, session.member.id)


async def remove_passkey(database: Database, session: Session, number: int, *, now: datetime) -> None:
    """Delete a passkey of whoever is signed in; nothing happens if they have none with that number."""
    async with database.write() as connection:
        if await passkeys.remove(connection, number, member=session.member.id):
            await audit.record(connection, session.actor, "passkey-removed", now=now)


def _parsed(answer: str) -> Mapping[str, Any]:
    try:
        response = json.loads(answer)
    except ValueError:
        response = None
    if not isinstance(response, dict):
        raise Refused(_REFUSED)
    return response


def _challenge_in(response: Mapping[str, Any]) -> bytes:
    """Return the challenge that a browser answered. Raises ValueError, KeyError or TypeError."""
    client_data = json.loads(_decode(response["response"]["clientDataJSON"]))
    return _decode(client_data["challenge"])


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _state(challenge: bytes) -> Mapping[str, object]:
    """Return what Fido2Server keeps between its two steps."""
    return {
        "challenge": base64.urlsafe_b64encode(challenge).decode().rstrip("="),
        "user_verification": UserVerificationRequirement.PREFERRED,
    }
