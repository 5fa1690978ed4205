"""The settings of the inbox: where mail comes back to, and what is refused."""

from pathlib import Path

import pytest

from scheduler.bootstrap.settings import load_settings
from scheduler.domain.community import Inbox
from scheduler.domain.errors import SettingsProblem
from scheduler.service.inbound import own_addresses

OAUTH = {
    "oauth_client_id": "id",
    "oauth_refresh_token": "refresh",
    "oauth_token_url": "https://x.example/token",
}


def inbox(**values: object) -> Inbox | None:
    return load_settings(None, environment(**values)).community.inbox


def environment(**values: object) -> dict[str, str]:
    return {f"THIRD_THURSDAY_INBOX__{key.upper()}": str(value) for key, value in values.items()}


def test_the_mailbox_is_the_user_or_what_the_settings_say() -> None:
    assert inbox() is None
    assert inbox(domain="back.example.org") == Inbox(domain="back.example.org")
    user = Inbox(domain="example.net", mailbox="Choir")
    assert inbox(imap="imaps://Choir%40example.net:x@imap.example.net") == user
    community = Inbox(domain="conversation.example.org", mailbox="meetings")
    assert inbox(imap="imaps://choir:x@imap.example.net") == inbox(lmtp="127.0.0.1:2424") == community
    assert inbox(
        imap="imaps://choir:x@imap.example.net", address="a@b.example", plus_addressing="false"
    ) == Inbox(domain="b.example", mailbox="a", plus_addressing=False)
    assert inbox(imap="imaps://choir:x@imap.example.net", domain="back.example.org") == inbox(
        domain="back.example.org"
    )


def test_letters_are_forwarded_only_if_the_convenors_have_another_address() -> None:
    def forwards(**values: object) -> bool:
        return own_addresses(load_settings(None, environment(**values)).community) is not None

    assert not forwards()
    assert forwards(imap="imaps://meetings:x@imap.example.net")
    assert not forwards(imap="imaps://convenors%40conversation.example.org:x@imap.example.net")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"imap": "imaps://choir@imap.example.net"}, "the password is missing"),
        ({"imap": "imaps://choir:geheim@imap.example.net:x"}, "the port cannot be read"),
        ({"oauth_client_id": "id"}, "needs a client_id, a refresh_token and a token_url"),
        ({**OAUTH, "oauth_token_url": "http://x.example/token"}, "is not encrypted"),
        ({"lmtp": "0.0.0.0:2424"}, "without a login"),
        (
            {"imap": "imaps://a-name-that-is-longer-than-27@x.example:x@y.example"},
            "too long for plus-addressing",
        ),
    ],
)
def test_wrong_settings_are_refused_without_a_secret(values: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsProblem, match=words) as refusal:
        load_settings(None, environment(**values))
    assert "geheim" not in str(refusal.value)


def test_a_login_by_oauth_needs_no_password_and_no_secret_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "imap"
    file.write_text("imaps://choir%40example.net@imap.example.net\n")
    variables = environment(**OAUTH, oauth_client_secret="geheim")
    settings = load_settings(None, {**variables, "THIRD_THURSDAY_INBOX__IMAP_FILE": str(file)})
    assert settings.inbox.oauth_client_secret == "geheim"
    assert "geheim" not in repr(settings) and "refresh'" not in repr(settings)
