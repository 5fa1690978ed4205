"""The failure table, row by row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.delivery.send.smtp_replies import Step, accepted, refusal
from scheduler.delivery.send.transport import Verdict

ABOUT_OUR_ACCOUNT = [
    # Google
    "550 5.4.5 Daily user sending limit exceeded. For more information on Gmail sending limits go to https://support.google.com/a/answer/166852 - gsmtp",
    "550 5.4.5 Daily SMTP relay sending limit exceeded for customer. For more information on SMTP relay limits please contact your administrator.",
    "550 5.4.5 Daily sending quota exceeded.",
    "550 5.7.1 Invalid credentials for relay [192.0.2.1]. The IP address you've registered in your G Suite SMTP Relay service doesn't match the domain of the account this email is being sent from.",
    "530 5.7.0 Must issue a STARTTLS command first.",
    "530 5.7.0 Authentication Required. For more information, go to https://support.google.com/mail/?p=WantAuthError",
    "535 5.7.8 Username and Password not accepted.",
    "550 5.7.26 This mail has been blocked because the sender is unauthenticated.",
    "550 5.7.26 Unauthenticated email from example.org is not accepted due to domain's DMARC policy.",
    "550 5.7.0 Mail relay denied [192.0.2.1].",
    "554 5.7.0 Too many unauthenticated commands.",
    # Exchange Online
    "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message due to a permanent exception",
    "554 5.2.2 STOREDRV.Submission; SubmissionQuotaExceeded; the sender's submission quota was exceeded",
    "554 5.2.2 mailbox full; the daily sending quota of this mailbox was exceeded",
    "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients",
    "550 5.1.8 Access denied, bad outbound sender",
    "550 5.7.501 Access denied, spam abuse detected",
    "550 5.7.502 Access denied, banned sender",
    "550 5.7.705 Access denied, tenant has exceeded threshold",
    "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP.",
    "550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains.",
    "554 5.2.252 SendAsDenied; info@example.org not allowed to send as news@example.org",
    "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
    "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
    "530 5.7.57 SMTP; Client was not authenticated to send anonymous mail during MAIL FROM",
    "554 5.2.0 OutboundSpamException; WASCL UserAction verdict is not None. Actual verdict is Suspend",
    # Hosting with Exim and cPanel
    "550 Domain example.org has exceeded the max emails per hour (100/100 (100%)) allowed.  Message discarded.",
    "550 Domain example.org has exceeded the max defers and failures per hour (5/5 (100%)) allowed.  Message discarded.",
    "550 Sender has an outgoing mail suspension. Message discarded.",
    "550 SMTP AUTH is required for message submission on port 587",
    "550 relay not permitted",
    "550 Verification failed for <info@example.org> No Such User Here Sender verify failed",
    "550 User has exceeded its 24-hour sending limit. Messages to 250 recipients out of 250 allowed have been sent.",
    "552 sending quota exceeded",
    "550 Requested action not taken: mailbox unavailable - you exceeded your hourly sending limit",
    # Postfix
    "554 5.7.1 <ada@example.org>: Relay access denied",
    "553 5.7.1 <info@example.org>: Sender address rejected: not owned by user web1",
    "554 5.7.1 <info@example.org>: Sender address rejected: Access denied",
    "550 5.1.0 <info@example.org> sender rejected",
    "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
    # Services
    "554 Message rejected: Email address is not verified. The following identities failed the check in region EU-WEST-1: info@example.org",
    "554 Message rejected: Sending paused for this account.",
    "554 Access denied: User is not authorized to perform ses:SendRawEmail",
    "550 The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved.",
    "550 Unauthenticated senders not allowed",
    "550 Maximum credits exceeded",
    "554 Your account has been disabled",
    "550 Domain example.org is not allowed to send: Free accounts are for test purposes only. Please upgrade or add the address to authorized recipients in Account Settings.",
    "502 5.7.1 Your SMTP account is not activated",
    "525 5.7.1 Unauthorized IP address",
    "550 5.7.1 Sending has been rejected because the sender you used is not valid. Validate your sender or authenticate your domain",
    "550 5.4.6 Unusual sending activity detected. Please try after sometime",
    "554 5.1.8 Email Outgoing Blocked",
    "553 Relaying disallowed as info@example.org",
    "550 Mail frequency limited",
    "553 mail from must equal authorized user",
    "550 User suspended",
    "554 Account suspended",
    "554 5.7.1 Your account has been locked because it was compromised",
    "550 5.7.0 From address is not one of your addresses",
    "550 5.5.0 Your trial has expired, please add a payment method",
    "550 Too many messages in too short a time",
    "550 5.7.1 SPF check failed for example.org",
    "550 Sending rate limit reached, wait 3600 s",
    "550 The monthly plan limit was reached",
    "550 Message rejected due to account limits",
    "554 5.7.1 Access denied",
    "550 Versandlimit erreicht",
    "550 limite d'envoi atteinte",
    "550 This mailbox has exceeded the number of mails that it may hand in",
    "552 5.2.2 You have exceeded your email sending quota",
    "550 5.2.1 Mailbox is not allowed to send more than 100 messages",
    "552 5.3.4 message submission rate exceeded",
    "550 5.7.515 Access denied, sending domain does not meet the required authentication level",
    "550 sorry, your envelope sender domain must exist",
]

ABOUT_THE_RECIPIENT = [
    "550 5.1.1 <ada@example.org>: Recipient address rejected: User unknown in virtual mailbox table",
    "550 5.1.1 The email account that you tried to reach does not exist. Please try double-checking the recipient's email address for typos or unnecessary spaces.",
    "550 5.2.1 The email account that you tried to reach is disabled.",
    "550 5.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered.",
    "550 5.1.1 user unknown",
    "550 No such user here",
    "550 no such user",
    "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
    "550 5.4.1 Recipient address rejected: Access denied.",
    "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; Delivery restriction check failed because the sender was not authenticated when sending to this group",
    "554 delivery error: dd This user doesn't have a yahoo.com account (ada@example.org) [0]",
    "554 delivery error: dd Sorry, your message to ada@example.org cannot be delivered. This mailbox is disabled (554.30).",
    "550 Requested action not taken: mailbox unavailable",
    "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).",
    "553 sorry, that domain isn't in my list; unknown recipient domain",
    "550 5.1.1 unknown or illegal alias: ada@example.org",
    "550 5.7.1 message rejected as spam by recipient",
    "554 5.7.1 Blacklisted by recipient",
    "550 5.7.1 Message was refused by the recipient's mail server",
    "550 Address is on the suppression list",
    "550 You tried to send to a recipient that has been marked as inactive",
    "550 5.1.2 Host or domain name not found",
    "550 5.4.4 Host not found",
    "556 5.1.10 The domain does not accept mail (null MX)",
    "551 User not local; moved to <b@example.org>",
    "550 5.1.1 Account has been suspended",
    "550 5.7.1 Our system has detected that this message is likely unsolicited mail.",
    "554 5.6.0 Message contains a virus",
    "550 invalid recipient",
    "550 Unknown address error",
    "550 5.1.1 relay.example.net said: no such user",
    "511 sorry, no mailbox here by that name",
    "550 Unrouteable address",
    "550 5.7.1 Recipient refuses to accept your mail",
    "550 5.7.1 recipient does not accept messages from unknown senders",
    "550 5.1.1 unknown user, sending aborted",
    "550 5.2.0 no mail accepted for this recipient",
    "550 5.2.1 This mailbox has been blocked due to inactivity",
    "550 Recipient verification failed: no such address",
]

MAILBOX_FULL = [
    "552 5.2.2 The email account that you tried to reach is over quota.",
    "552 5.2.2 <ada@example.org>: Quota exceeded (mailbox for user is full)",
    "552 Requested mail action aborted: exceeded storage allocation. Quota exceeded. The recipient's mailbox is full.",
    "550 5.2.2 Over quota",
    "552 user is over quota",
    "554 5.2.2 mailbox full",
    "550 mailbox full",
]

UNCLEAR = ["550", "554 5.0.0 Transaction failed", "554 go away", "550 no", "550 5.7.1 policy", "554 DT:SPM"]


@pytest.mark.parametrize("reply", ABOUT_OUR_ACCOUNT)
@pytest.mark.parametrize("step", Step)
def test_a_refusal_about_our_account_fails_no_recipient_at_any_code_and_step(reply: str, step: Step) -> None:
    outcome = refusal(step, int(reply[:3]), reply[4:])
    assert (outcome.verdict, outcome.relay) == (Verdict.TEMPORARY, True)
    soft = refusal(step, 450, reply[4:].replace("5.", "4.", 1) if reply[4:6] == "5." else reply[4:])
    assert (soft.verdict, soft.relay) == (Verdict.TEMPORARY, True)


@pytest.mark.parametrize("reply", ABOUT_THE_RECIPIENT)
@pytest.mark.parametrize("step", [Step.RCPT, Step.DATA, Step.DOT])
def test_a_refusal_about_the_recipient_fails_that_recipient(reply: str, step: Step) -> None:
    outcome = refusal(step, int(reply[:3]), reply[4:])
    assert (outcome.verdict, outcome.relay) == (Verdict.PERMANENT, False)


@pytest.mark.parametrize("reply", MAILBOX_FULL)
@pytest.mark.parametrize("step", [Step.RCPT, Step.DOT])
def test_a_full_mailbox_is_tried_again_and_is_not_a_problem_of_the_relay(reply: str, step: Step) -> None:
    outcome = refusal(step, int(reply[:3]), reply[4:])
    assert (outcome.verdict, outcome.relay) == (Verdict.TEMPORARY, False)


@pytest.mark.parametrize("reply", UNCLEAR)
def test_a_refusal_that_may_concern_anybody_may_be_the_relays(reply: str) -> None:
    outcome = refusal(Step.RCPT, int(reply[:3]), reply[4:])
    assert (outcome.verdict, outcome.relay) == (Verdict.PERMANENT, True)


@pytest.mark.parametrize(
    "reply",
    [
        "450 4.2.0 Recipient address rejected: Greylisted, see https://example.org/limit",
        "451 4.7.1 Greylisting in action, please come back in 00:05:00",
        "450 4.2.1 The user you are trying to contact is receiving mail too quickly.",
        "452 4.2.2 The email account that you tried to reach is over quota.",
        "450 4.1.1 user unknown for now",
        "451 4.3.0 try later",
    ],
)
def test_a_temporary_answer_about_one_recipient_pauses_nobody_else(reply: str) -> None:
    assert not refusal(Step.RCPT, int(reply[:3]), reply[4:]).relay


SOFT, HARD = Verdict.TEMPORARY, Verdict.PERMANENT


@pytest.mark.parametrize(
    ("step", "code", "text", "verdict", "relay"),
    [
        # MAIL speaks about the sender and the relay, whoever the recipient is …
        (Step.MAIL, 550, "5.7.1 sender not allowed", SOFT, True),
        (Step.MAIL, 553, "5.1.8 sender domain unknown", SOFT, True),
        (Step.MAIL, 530, "5.7.0 log in first", SOFT, True),
        (Step.MAIL, 501, "bad syntax", SOFT, True),
        (Step.MAIL, 451, "4.3.0 try later", SOFT, True),
        (Step.MAIL, 421, "4.3.2 shutting down", SOFT, True),
        # … but for the size and the alphabet, which are this message's.
        (Step.MAIL, 552, "5.3.4 too big", HARD, False),
        (Step.MAIL, 552, "too big", HARD, False),
        (Step.MAIL, 550, "5.6.7 no such alphabet", HARD, False),
        # RCPT speaks about the member …
        (Step.RCPT, 550, "5.1.1 no such user", HARD, False),
        (Step.RCPT, 550, "no such user", HARD, False),
        (Step.RCPT, 550, "5.5.0 mailbox unavailable", HARD, False),
        (Step.RCPT, 501, "5.1.3 bad address", HARD, False),
        (Step.RCPT, 553, "5.6.7 no such alphabet", HARD, False),
        (Step.RCPT, 450, "4.2.0 greylisted", SOFT, False),
        (Step.RCPT, 452, "4.2.2 mailbox full", SOFT, False),
        (Step.RCPT, 452, "too many recipients", SOFT, True),
        (Step.RCPT, 552, "5.2.2 mailbox full", SOFT, False),
        (Step.RCPT, 552, "mailbox full", SOFT, False),
        (Step.RCPT, 550, "5.2.2 mailbox full", SOFT, False),
        (Step.RCPT, 552, "5.3.4 too big", HARD, False),
        # … unless policy or the relay's own state is the cause,
        (Step.RCPT, 550, "5.7.1 not wanted", HARD, True),
        (Step.RCPT, 554, "5.3.2 not taking mail", HARD, True),
        # or it is true for everybody: a bad sender, no login, a command not followed, a relay about to close.
        (Step.RCPT, 553, "5.1.8 sender domain unknown", SOFT, True),
        (Step.RCPT, 530, "5.7.0 log in first", SOFT, True),
        (Step.RCPT, 503, "5.5.1 need MAIL first", SOFT, True),
        (Step.RCPT, 555, "5.5.4 unknown parameter", SOFT, True),
        (Step.RCPT, 421, "4.7.0 too many", SOFT, True),
        # DATA and the end of the message speak about the message.
        (Step.DATA, 451, "4.3.0 try later", SOFT, False),
        (Step.DATA, 554, "5.6.0 no", HARD, False),
        (Step.DATA, 503, "5.5.1 need RCPT first", SOFT, True),
        (Step.DATA, 421, "closing", SOFT, True),
        (Step.DOT, 451, "4.7.1 try later", SOFT, False),
        (Step.DOT, 550, "5.6.0 content refused", HARD, False),
        (Step.DOT, 554, "5.7.1 looks like spam", HARD, False),
        (Step.DOT, 552, "5.3.4 too big", HARD, False),
        (Step.DOT, 552, "5.2.2 mailbox full", SOFT, False),
        (Step.DOT, 421, "closing", SOFT, True),
    ],
)
def test_a_refusal_means(step: Step, code: int, text: str, verdict: Verdict, relay: bool) -> None:
    outcome = refusal(step, code, text)
    assert (outcome.verdict, outcome.relay, outcome.uncertain) == (verdict, relay, False)
    assert outcome.reason == f"{code} {text}"
    assert outcome.code == code


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("code", [-1, 0, 199, 600])
def test_a_nonsensical_answer_is_the_relays_fault_and_uncertain_after_the_final_dot(
    step: Step, code: int
) -> None:
    outcome = refusal(step, code, "what?")
    assert (outcome.verdict, outcome.relay) == (SOFT, True)
    assert outcome.uncertain is (step is Step.DOT)


def test_the_first_digit_decides_what_is_accepted() -> None:
    assert all(accepted(step, 252) for step in (Step.MAIL, Step.RCPT, Step.DOT))
    assert accepted(Step.DATA, 354)
    assert not accepted(Step.DATA, 250)
    assert not accepted(Step.DOT, 354)


@given(step=st.sampled_from(Step), code=st.integers(-1, 700), text=st.text(max_size=400))
def test_every_refusal_has_an_outcome_that_is_not_sent(step: Step, code: int, text: str) -> None:
    if not accepted(step, code):
        assert refusal(step, code, text).verdict is not Verdict.SENT


def test_an_enhanced_code_of_another_class_than_the_reply_is_not_believed() -> None:
    assert not refusal(Step.RCPT, 450, "5.1.8 muddled").relay


def test_a_reason_holds_no_address() -> None:
    text = "5.1.1 <ada.l+x@example.org>: Recipient address rejected, see https://example.org/why"
    assert refusal(Step.RCPT, 550, text).reason == (
        "550 5.1.1 <…>: Recipient address rejected, see https://example.org/why"
    )
