"""Whether a person may be mailed is read from the exports of other systems."""

import pytest

from scheduler.domain.errors import Refused
from scheduler.domain.mail_status import Kind, known_status, read_status, status_kind, strictest


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("Status", "status"),
        ("Email status", "status"),
        ("Membership status", "status"),
        ("Statut", "status"),
        ("Estado de suscripción", "status"),
        ("Email Marketing", "status"),
        ("subscriber_type", "status"),
        ("Status der Mitgliedschaft", "status"),
        ("Group status", "status"),
        ("subscribed_to_emails", "wanted"),
        ("Accepts Email Marketing", "wanted"),
        ("opt_in", "wanted"),
        ("Abonniert", "wanted"),
        ("Consent", "wanted"),
        ("is_subscribed", "wanted"),
        ("confirmed", "confirmed"),
        ("email_verified", "confirmed"),
        ("activated", "confirmed"),
        ("active", "enabled"),
        ("is_active", "enabled"),
        ("Aktiv", "enabled"),
        ("blacklisted", "refused"),
        ("EMAIL_BLOCKLISTED", "refused"),
        ("HasOptedOutOfEmail", "refused"),
        ("Email Opt Out", "refused"),
        ("Unsubscribed from all email", "refused"),
        ("email_disabled", "refused"),
        ("Bounced", "refused"),
        ("Opted out of email: News", "refused"),
        ("do_not_email", "refused"),
        ("isSpamComplaining", "refused"),
        ("deactivated", "refused"),
        ("nomail", "refused"),
        ("UNSUB_TIME", "note"),
        ("UNSUB_REASON", "note"),
        ("CLEAN_TIME", "note"),
        ("unsubscribed_at", "note"),
        ("Email hard bounce reason", "note"),
        ("Confirmed Opt-Out Date", "note"),
        ("Date désinscription", "note"),
        ("Email Delivery", "delivery"),
        ("OPTIN_TIME", None),
        ("CONFIRM_TIME", None),
        ("confirm_ip", None),
        ("created_at", None),
        ("active_subscription", None),
        ("bouncecount", None),
        ("SMS opt out", None),
        ("SMS_BLACKLIST", None),
        ("Unsubscribe link", None),
        ("Lead Status", None),
        ("Marital status", None),
        ("name", None),
    ],
)
def test_headings_of_other_systems_are_recognised(heading: str, kind: Kind | None) -> None:
    assert status_kind(heading) == kind


@pytest.mark.parametrize(
    "word",
    """enabled; subscribed; Subscribed; active; CONFIRMED; member; owner; yes; TRUE; 1; double opt-in; Express; regular;
    abonniert; aktiv; Inscrit; abonnée; suscrito; iscritto; ativo; geabonneerd; Prenumererar;
    Email Marketing: subscribed""".split(";"),
)
def test_words_of_consent_mean_that_a_person_may_be_mailed(word: str) -> None:
    assert read_status("status", word) == "active"


@pytest.mark.parametrize(
    "word",
    """blocklisted; disabled; bounced; Hard Bounced; complained; unconfirmed; opted out; Opt-out; unsubscribed;
    cleaned; nomail; inactive; cancelled; archived; Marked as spam; suppressed; Non-Subscribed; never_subscribed;
    transactional; expired; lapsed; by bounces; Unsubscribed (by admin); Email Marketing: unsubscribed; junk; no; FALSE;
    abgemeldet; gesperrt; nicht bestätigt; inaktiv; Désabonné; non confirmé; dado de baja; pendiente; disiscritto;
    descadastrado; afgemeld; niet bevestigd; avregistrerad; spärrad; afmeldt; wypisany; отписан; global_unsubscribe;
    AUTO-UNSUBSCRIBED; role bounce; Non-marketing contact; not subscribed; deceased""".split(";"),
)
def test_words_of_refusal_mean_that_a_person_may_not_be_mailed(word: str) -> None:
    assert read_status("status", word) in ("left", "paused", "pending")


@pytest.mark.parametrize("state", ["NE", "ON", "NO", "SI", "Nebraska", "Baja California", "Bouches-du-Rhône"])
def test_the_name_of_a_state_is_not_taken_for_a_status(state: str) -> None:
    assert known_status(state) is None


@pytest.mark.parametrize("word", ["Lurking", "gold", "perhaps", "foo bar", "Ω"])
def test_an_unknown_word_is_a_problem(word: str) -> None:
    with pytest.raises(Refused, match="is not known; write active, paused, pending or left"):
        read_status("status", word)


@pytest.mark.parametrize(
    ("kind", "text", "status"),
    [
        ("wanted", "false", "left"),
        ("wanted", "No", "left"),
        ("wanted", "0", "left"),
        ("wanted", "true", "active"),
        ("wanted", "2024-01-01 10:00", "active"),
        ("wanted", "", "pending"),
        ("confirmed", "0", "pending"),
        ("confirmed", "1", "active"),
        ("enabled", "nein", "paused"),
        ("enabled", "", "active"),
        ("refused", "1", "left"),
        ("refused", "true", "left"),
        ("refused", "Ja", "left"),
        ("refused", "x", "left"),
        ("refused", "2024-05-05T00:00:00Z", "left"),
        ("refused", "", "active"),
        ("refused", "0", "active"),
        ("refused", "0000-00-00 00:00:00", "active"),
        ("refused", "false", "active"),
        ("refused", "NULL", "active"),
        ("note", "2024-05-05", "left"),
        ("note", "NO_LONGER_WANTED", "left"),
        ("note", "", "active"),
        ("delivery", "Digest", "active"),
        ("delivery", "None", "paused"),
        ("delivery", "no email", "paused"),
        ("delivery", "unsubscribed", "left"),
        ("delivery", "regular", "active"),
        ("status", "0", "left"),
        ("status", "1", "active"),
        ("status", "-", "active"),
        ("status", "", "active"),
    ],
)
def test_flags_and_dates_are_read_by_the_kind_of_their_column(kind: Kind, text: str, status: str) -> None:
    assert read_status(kind, text) == status


def test_of_several_columns_the_strictest_holds() -> None:
    assert strictest([]) == "active" and strictest(["active", "left", "paused"]) == "left"
