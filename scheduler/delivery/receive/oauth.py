"""Get an access token for a mailbox by OAuth 2.0 (RFC 6749 section 6), as Microsoft and Google require."""

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from scheduler.delivery.receive.imap import MailboxProblem

_TIMEOUT_SECONDS = 20
_LONGEST_ANSWER = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthClient:
    """What the provider gave the community: a client's name and secret, and where it issues tokens."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tokens:
    """An access token, for how many seconds it is valid, and a new refresh token if the provider issued one."""

    access: str = field(repr=False)
    seconds: float
    refresh: str = field(default="", repr=False)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the secret must not go to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def refresh(client: OAuthClient, refresh_token: str) -> Tokens:
    """Exchange a refresh token for an access token; blocks. Raises MailboxProblem, whose message contains no secret."""
    fields = {
        "grant_type": "refresh_token",
        "client_id": client.client_id,
        "refresh_token": refresh_token,
        **({"client_secret": client.client_secret} if client.client_secret else {}),
    }
    host = urllib.parse.urlsplit(client.token_url).hostname
    # The settings accept https, and http on this machine only.
    request = urllib.request.Request(  # noqa: S310
        client.token_url,
        data=urllib.parse.urlencode(fields).encode(),
        headers={"Accept": "application/json", "User-Agent": "third-thursday"},
    )
    opener = urllib.request.build_opener(
        _NoRedirect, urllib.request.HTTPSHandler(context=ssl.create_default_context())
    )
    try:
        with opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
            given = json.loads(answer.read(_LONGEST_ANSWER))
        return Tokens(
            str(given["access_token"]),
            float(given.get("expires_in", 0)),
            str(given.get("refresh_token") or ""),
        )
    except urllib.error.HTTPError as error:
        lasting = 400 <= error.code < 500 and error.code not in (408, 429)
        words = (
            "; get a new refresh token as docs/inbox.md says, and put it in [inbox] oauth_refresh_token"
            if lasting
            else ""
        )
        raise MailboxProblem(
            f"{host} issues no access token: it answered {error.code}{_reason(error)}{words}", lasting=lasting
        ) from None
    except OSError:
        raise MailboxProblem(f"{host}, which issues access tokens, cannot be reached") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise MailboxProblem(f"{host} gave an answer that is no access token") from None


_KNOWN = ("invalid_grant", "invalid_client", "unauthorized_client", "invalid_request", "invalid_scope")


def _reason(error: urllib.error.HTTPError) -> str:
    """Return the error's name, if it is one of RFC 6749 section 5.2."""
    try:
        name = json.loads(error.read(_LONGEST_ANSWER)).get("error")
    except (ValueError, OSError, AttributeError):
        return ""
    return f" ({name})" if name in _KNOWN else ""
