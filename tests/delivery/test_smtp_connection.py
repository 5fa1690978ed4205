"""The failure table of delivery against real sockets: what is sent, what is not, and when nobody can know."""

import asyncio
import gc
from pathlib import Path

import pytest

from scheduler.delivery.send.smtp_protocol import SmtpProtocol
from scheduler.delivery.send.transport import Envelope, Verdict
from tests.delivery.receiver import Action, Do, Receiver
from tests.delivery.sending import (
    CONTENT,
    EVERYTHING,
    LONG,
    SHORT,
    FakePipeline,
    begin,
    connected,
    envelope,
    send,
    transport,
)

SENT, TEMPORARY, PERMANENT = Verdict.SENT, Verdict.TEMPORARY, Verdict.PERMANENT


@pytest.mark.parametrize("extensions", [[], EVERYTHING])
async def test_a_message_arrives_byte_for_byte_and_counts_as_sent(extensions: list[str]) -> None:
    async with Receiver(extensions=extensions) as receiver, connected(receiver) as connection:
        outcome = await send(connection)
        assert (outcome.verdict, outcome.relay) == (SENT, False)
        assert [message.content for message in receiver.taken] == [CONTENT]
        assert receiver.taken[0].rcpts[0].startswith("RCPT TO:<ada@example.org>")
        assert not connection.needs_reconnect


async def test_a_relay_that_offers_dsn_and_size_gets_both() -> None:
    async with Receiver(extensions=EVERYTHING) as receiver, connected(receiver) as connection:
        await send(connection)
        assert receiver.taken[0].mail == (
            f"MAIL FROM:<b+1@example.org> SIZE={len(CONTENT)} RET=HDRS ENVID=d1"
        )
        assert receiver.taken[0].rcpts == (
            "RCPT TO:<ada@example.org> NOTIFY=FAILURE ORCPT=rfc822;ada@example.org",
        )


async def test_a_non_ascii_address_is_sent_if_the_relay_accepts_it_and_affects_nobody_else() -> None:
    async with Receiver(extensions=["SMTPUTF8"]) as able, connected(able) as connection:
        assert (await send(connection, envelope("użytkownik@bücher.example"))).verdict is SENT
        assert able.taken[0].rcpts == ("RCPT TO:<użytkownik@xn--bcher-kva.example>",)
    async with Receiver() as unable, connected(unable) as connection:
        refused = await send(connection, envelope("użytkownik@bücher.example"))
        assert (refused.verdict, refused.relay) == (PERMANENT, False)
        assert refused.reason == "the relay does not accept non-ASCII addresses (SMTPUTF8)"
        assert (await send(connection)).verdict is SENT
        assert len(unable.taken) == 1


async def test_the_extensions_of_a_relay_are_still_known_after_it_has_hung_up() -> None:
    async with (
        Receiver({"DOT": [Do.DROP]}, extensions=EVERYTHING) as receiver,
        connected(receiver) as connection,
    ):
        assert (await send(connection)).uncertain
        outcome = await send(connection, envelope("użytkownik@example.org"))
        assert (outcome.verdict, outcome.relay, outcome.uncertain) == (TEMPORARY, True, False)


async def test_a_message_larger_than_the_relay_accepts_is_refused_before_any_command() -> None:
    async with Receiver(extensions=["SIZE 20"]) as receiver, connected(receiver) as connection:
        outcome = await send(connection)
        assert (outcome.verdict, outcome.relay) == (PERMANENT, False)
        assert not any(line.startswith("MAIL") for line in receiver.lines)
        assert not connection.needs_reconnect


# Step, what the relay does at that step; the outcome: verdict, relay, uncertain, whether a new connection is needed.
TABLE: list[tuple[str, Action, Verdict, bool, bool, bool]] = [
    ("MAIL", "451 4.3.0 later", TEMPORARY, True, False, False),
    ("MAIL", "550 5.7.1 not from you", TEMPORARY, True, False, False),
    ("MAIL", "552 5.3.4 too big", PERMANENT, False, False, False),
    ("MAIL", "421 4.3.2 closing", TEMPORARY, True, False, True),
    ("MAIL", Do.DROP, TEMPORARY, True, False, True),
    ("MAIL", Do.HANG, TEMPORARY, True, False, True),
    ("MAIL", b"garbage\r\n", TEMPORARY, True, False, True),
    ("MAIL", b"250 half a li", TEMPORARY, True, False, True),
    ("RCPT", "550 5.1.1 nobody", PERMANENT, False, False, False),
    ("RCPT", "550 5.7.1 blocked", PERMANENT, True, False, False),
    ("RCPT", "450 4.2.0 greylisted", TEMPORARY, False, False, False),
    ("RCPT", "452 4.2.2 full", TEMPORARY, False, False, False),
    ("RCPT", "552 5.2.2 full", TEMPORARY, False, False, False),
    ("RCPT", "421 4.7.0 too many", TEMPORARY, True, False, True),
    ("RCPT", "600 what", TEMPORARY, True, False, True),
    ("RCPT", Do.DROP, TEMPORARY, True, False, True),
    ("RCPT", Do.HANG, TEMPORARY, True, False, True),
    ("RCPT", b"\xff\xfe\x00\r\n", TEMPORARY, True, False, True),
    ("DATA", "451 4.3.0 later", TEMPORARY, False, False, False),
    ("DATA", "554 5.5.0 no", PERMANENT, True, False, False),
    ("DATA", "250 out of step", TEMPORARY, True, False, True),
    ("DATA", "421 closing", TEMPORARY, True, False, True),
    ("DATA", Do.DROP, TEMPORARY, True, False, True),
    ("DATA", Do.HANG, TEMPORARY, True, False, True),
    ("DATA", b"354 half a li", TEMPORARY, True, False, True),
    ("DOT", "451 4.7.1 later", TEMPORARY, False, False, False),
    ("DOT", "550 5.6.0 content", PERMANENT, False, False, False),
    ("DOT", "554 5.7.1 looks like spam", PERMANENT, False, False, False),
    ("DOT", "421 closing", TEMPORARY, True, False, True),
    ("DOT", "354 out of step", TEMPORARY, True, True, True),
    ("DOT", Do.DROP, TEMPORARY, True, True, True),
    ("DOT", Do.HANG, TEMPORARY, True, True, True),
    ("DOT", b"garbage\r\n", TEMPORARY, True, True, True),
    ("DOT", b"250-first of two lines\r\n", TEMPORARY, True, True, True),
]


@pytest.mark.parametrize("extensions", [[], EVERYTHING], ids=["step by step", "at once"])
@pytest.mark.parametrize(("step", "action", "verdict", "relay", "uncertain", "needs_reconnect"), TABLE)
async def test_the_failure_table(
    step: str,
    action: Action,
    verdict: Verdict,
    relay: bool,
    uncertain: bool,
    needs_reconnect: bool,
    extensions: list[str],
) -> None:
    timeouts = LONG if isinstance(action, str) else SHORT
    async with (
        Receiver({step: [action]}, extensions=extensions) as receiver,
        connected(receiver, timeouts=timeouts) as connection,
    ):
        outcome = await send(connection)
        assert (outcome.verdict, outcome.relay, outcome.uncertain) == (verdict, relay, uncertain)
        assert outcome.reason.isprintable()
        assert connection.needs_reconnect is needs_reconnect
        assert not receiver.taken
        assert bool(receiver.seen) is (step == "DOT")
        if not needs_reconnect:
            assert (await send(connection)).verdict is SENT
            assert len(receiver.taken) == 1
            assert receiver.connections == 1


@pytest.mark.parametrize(("step", "code"), [("MAIL", 252), ("RCPT", 251), ("RCPT", 252), ("DOT", 251)])
async def test_any_reply_of_the_second_class_counts_as_acceptance(step: str, code: int) -> None:
    async with Receiver({step: [f"{code} as you like"]}) as receiver, connected(receiver) as connection:
        assert (await send(connection)).verdict is SENT
        assert len(receiver.taken) == 1


async def test_a_refused_recipient_never_gets_the_next_members_message() -> None:
    script: dict[str, list[Action]] = {"RCPT": ["550 5.1.1 nobody"] * 3}
    async with Receiver(script) as receiver, connected(receiver) as connection:
        outcomes = [await send(connection, envelope(f"m{number}@example.org")) for number in range(5)]
        assert [outcome.verdict for outcome in outcomes] == [PERMANENT] * 3 + [SENT] * 2
        assert [message.rcpts for message in receiver.taken] == [
            ("RCPT TO:<m3@example.org>",),
            ("RCPT TO:<m4@example.org>",),
        ]


@pytest.mark.parametrize("answer", ["500 what", "421 closing", Do.DROP, Do.HANG, b"garbage\r\n"])
async def test_a_connection_that_cannot_be_reset_is_not_used_again_and_the_refusal_is_kept(
    answer: Action,
) -> None:
    async with (
        Receiver({"RCPT": ["550 5.1.1 nobody"], "RSET": [answer]}) as receiver,
        connected(receiver, timeouts=SHORT) as connection,
    ):
        outcome = await send(connection)
        assert (outcome.verdict, outcome.code) == (PERMANENT, 550)
        assert connection.needs_reconnect


@pytest.mark.parametrize("step", ["MAIL", "RCPT"])
async def test_two_replies_to_one_command_never_make_an_unsent_message_sent(step: str) -> None:
    async with (
        Receiver({step: [b"250 one\r\n250 two\r\n"], "DATA": ["451 not now"]}) as receiver,
        connected(receiver, timeouts=SHORT) as connection,
    ):
        outcome = await send(connection)
        assert (outcome.verdict, outcome.relay, outcome.uncertain) == (TEMPORARY, True, False)
        assert connection.needs_reconnect
        assert not receiver.seen


async def test_the_previous_message_is_settled_after_the_recipient_is_accepted_and_before_the_content() -> (
    None
):
    verbs: list[str] = []
    async with Receiver() as receiver, connected(receiver) as connection:

        async def before_final_dot() -> None:
            verbs.extend(line.split()[0] for line in receiver.lines)
            assert not receiver.seen

        assert (
            await connection.send(envelope(), pipeline=FakePipeline(before_final_dot=before_final_dot))
        ).verdict is SENT
        assert verbs == ["EHLO", "MAIL", "RCPT", "DATA"]


async def test_the_next_envelope_follows_the_content_at_once_and_its_own_content_only_after_settlement() -> (
    None
):
    ledger = asyncio.Event()

    async def committed() -> None:
        await ledger.wait()

    async with Receiver(extensions=["PIPELINING"]) as receiver, connected(receiver) as connection:
        first, second = envelope("m1@example.org"), envelope("m2@example.org")
        assert (await connection.send(first, pipeline=FakePipeline(second))).verdict is SENT
        sending = asyncio.create_task(
            connection.send(second, pipeline=FakePipeline(before_final_dot=committed))
        )
        await receiver.heard("RCPT TO:<m2@")
        await receiver.heard("DATA", times=2)
        assert len(receiver.seen) == 1
        ledger.set()
        assert (await sending).verdict is SENT
        assert len(receiver.taken) == 2
        assert [line.split()[0] for line in receiver.lines] == ["EHLO", *["MAIL", "RCPT", "DATA"] * 2]


def three() -> list[Envelope]:
    return [envelope(f"m{number}@example.org") for number in range(3)]


async def test_messages_follow_each_other_in_one_send_each_after_the_previous_settlement() -> None:
    first, *others = three()
    async with Receiver(extensions=["PIPELINING"]) as receiver, connected(receiver) as connection:
        sending, pipeline = begin(connection, first, *others)
        for number in (1, 2):
            settlement = await pipeline.next_settlement()
            await receiver.heard(f"RCPT TO:<m{number}@")
            await receiver.heard("DATA", times=number + 1)
            assert len(receiver.seen) == number
            settlement.set_result(None)
        assert (await sending).verdict is SENT
        assert [message.rcpts[0][9:11] for message in receiver.taken] == ["m0", "m1", "m2"]
        assert not connection.needs_reconnect


async def test_a_connection_is_replaced_after_its_number_of_messages() -> None:
    first, *others = three()
    async with (
        Receiver(extensions=["PIPELINING"]) as receiver,
        connected(receiver, recycle_messages=2) as connection,
    ):
        sending, pipeline = begin(connection, first, *others)
        (await pipeline.next_settlement()).set_result(None)
        assert (await sending).verdict is SENT
        assert pipeline.next_envelope is others[1]
        assert connection.needs_reconnect
        assert len(receiver.taken) == 2
        assert not any("m2@" in line for line in receiver.lines)


async def test_a_message_that_is_refused_behind_others_ends_the_send_and_the_next_one_follows() -> None:
    script: dict[str, list[Action]] = {
        "RCPT": ["250 ok", "250 ok", "550 5.1.1 nobody"],
        "DATA": ["354 go"] * 3,
    }
    first, *others = three()
    async with Receiver(script, extensions=["PIPELINING"]) as receiver, connected(receiver) as connection:
        sending, pipeline = begin(connection, first, *others)
        (await pipeline.next_settlement()).set_result(None)
        assert (await sending).verdict is SENT
        assert pipeline.next_envelope is others[1]
        assert (await connection.send(others[1], pipeline=FakePipeline())).reason == "550 5.1.1 nobody"
        assert (await send(connection)).verdict is SENT
        assert [message.rcpts[0][9:11] for message in receiver.taken] == ["m0", "m1", "ad"]


@pytest.mark.parametrize(
    ("answer", "verdict", "uncertain"),
    [("451 4.3.0 later", TEMPORARY, False), ("554 5.7.1 spam", PERMANENT, False), (Do.DROP, TEMPORARY, True)],
)
async def test_the_outcome_of_a_send_is_that_of_its_last_content(
    answer: Action, verdict: Verdict, uncertain: bool
) -> None:
    first, *others = three()
    script: dict[str, list[Action]] = {"DOT": ["250 taken", answer]}
    async with Receiver(script, extensions=["PIPELINING"]) as receiver, connected(receiver) as connection:
        sending, pipeline = begin(connection, first, *others)
        (await pipeline.next_settlement()).set_result(None)
        outcome = await sending
        assert (outcome.verdict, outcome.uncertain) == (verdict, uncertain)
        assert (len(receiver.seen), len(receiver.taken)) == (2, 1)


@pytest.mark.parametrize(
    "more", [b"250 nobody asked\r\n", b"250 o\r\n250 o\r\n250 o\r\n354 o\r\n", b"421 good night\r\n", None]
)
async def test_a_relay_that_sends_more_or_hangs_up_during_a_settlement_gets_no_other_content(
    more: bytes | None,
) -> None:
    first, second, _ = three()
    async with Receiver(extensions=["PIPELINING"]) as receiver, connected(receiver) as connection:
        sending, pipeline = begin(connection, first, second)
        settlement = await pipeline.next_settlement()
        await (receiver.say(more) if more else receiver.hang_up())
        outcome = await sending
        settlement.set_result(None)
        assert (outcome.verdict, outcome.relay, outcome.uncertain) == (TEMPORARY, True, False)
        assert connection.needs_reconnect
        await receiver.quiet.wait()
        assert len(receiver.seen) == 1


async def test_a_relay_that_begins_another_reply_during_a_settlement_gets_no_other_content(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, receive = asyncio.Event(), SmtpProtocol.data_received

    def note(protocol: SmtpProtocol, data: bytes) -> None:
        receive(protocol, data)
        if data == b"25":
            begun.set()

    monkeypatch.setattr(SmtpProtocol, "data_received", note)
    first, second, _ = three()
    async with Receiver(extensions=["PIPELINING"]) as receiver:
        async with connected(receiver, timeouts=SHORT) as connection:
            sending, pipeline = begin(connection, first, second)
            settlement = await pipeline.next_settlement()
            await receiver.say(b"25")
            await begun.wait()
            settlement.set_result(None)
            outcome = await sending
            assert (outcome.verdict, outcome.relay, outcome.uncertain) == (TEMPORARY, True, False)
        await receiver.quiet.wait()
        assert len(receiver.seen) == 1


async def test_nothing_is_sent_after_a_settlement_that_fails_or_is_cancelled() -> None:
    first, second, _ = three()
    for end in (asyncio.Future.cancel, lambda future: future.set_exception(OSError("disk full"))):
        async with Receiver(extensions=["PIPELINING"]) as receiver:
            async with connected(receiver) as connection:
                sending, pipeline = begin(connection, first, second)
                end(await pipeline.next_settlement())
                with pytest.raises(RuntimeError, match="not settled"):
                    await sending
                assert connection.needs_reconnect
            await receiver.quiet.wait()
            assert len(receiver.seen) == 1


async def test_a_message_whose_deadline_passes_during_the_previous_settlement_is_not_sent() -> None:
    class Late(Exception):
        pass

    class Strict(FakePipeline):
        def check_deadline(self) -> None:
            raise Late

    first, second, _ = three()
    async with Receiver(extensions=["PIPELINING"]) as receiver:
        async with connected(receiver) as connection:
            pipeline = Strict(more=[second])
            sending = asyncio.create_task(connection.send(first, pipeline=pipeline))
            (await pipeline.next_settlement()).set_result(None)
            with pytest.raises(Late):
                await sending
            assert connection.needs_reconnect
        await receiver.quiet.wait()
        assert len(receiver.seen) == 1


async def test_a_message_does_not_count_as_sent_if_its_successor_cannot_be_recorded() -> None:
    class Broken(FakePipeline):
        def advance(self) -> "asyncio.Future[None] | None":
            super().advance()
            raise MemoryError

    first, *others = three()
    async with Receiver(extensions=["PIPELINING"]) as receiver:
        async with connected(receiver) as connection:
            with pytest.raises(MemoryError):
                await connection.send(first, pipeline=Broken(more=others))
            assert connection.needs_reconnect
        await receiver.quiet.wait()
        assert len(receiver.seen) == 1


@pytest.mark.parametrize("extensions", [[], ["PIPELINING"]])
async def test_a_reply_that_comes_with_the_354_is_not_taken_for_the_reply_to_the_content(
    extensions: list[str],
) -> None:
    async with (
        Receiver({"DATA": [b"354 go\r\n250 early\r\n"]}, extensions=extensions) as receiver,
        connected(receiver, timeouts=SHORT) as connection,
    ):
        outcome = await send(connection)
        assert (outcome.verdict, outcome.relay, outcome.uncertain) == (TEMPORARY, True, False)
        assert connection.needs_reconnect


async def test_a_reply_whose_lines_have_different_codes_is_not_valid() -> None:
    async with (
        Receiver({"DOT": [b"550-no\r\n250 yes\r\n"]}) as receiver,
        connected(receiver) as connection,
    ):
        outcome = await send(connection)
        assert (outcome.verdict, outcome.uncertain) == (TEMPORARY, True)
        assert connection.needs_reconnect


async def test_a_relay_may_close_at_any_time_and_its_last_reply_is_kept() -> None:
    first, second, _ = three()
    async with Receiver(extensions=["PIPELINING"]) as receiver:
        smtp = transport(receiver.port)
        connection = await smtp.connect()
        sending, pipeline = begin(connection, first, second)
        await pipeline.next_settlement()
        await receiver.say(b"421 4.4.2 too slow\r\n")
        outcome = await sending
        assert (outcome.reason, outcome.code, outcome.uncertain) == ("421 4.4.2 too slow", 421, False)
        second_connection = await smtp.connect()
        assert (await second_connection.send(first, pipeline=FakePipeline(second))).verdict is SENT
        assert second_connection.pipelined is second
        await second_connection.close()


async def test_an_old_connection_offers_nothing_more() -> None:
    first, second, _ = three()
    async with (
        Receiver(extensions=["PIPELINING"]) as receiver,
        connected(receiver, recycle_seconds=0) as connection,
    ):
        assert (await connection.send(first, pipeline=FakePipeline(second))).verdict is SENT
        assert connection.pipelined is None
        assert connection.needs_reconnect


async def test_our_own_database_may_take_longer_than_we_wait_for_a_relay() -> None:
    first, second, _ = three()
    async with (
        Receiver(extensions=["PIPELINING"]) as receiver,
        connected(receiver, timeouts=SHORT) as connection,
    ):
        sending, pipeline = begin(connection, first, second)
        settlement = await pipeline.next_settlement()
        asyncio.get_running_loop().call_later(3 * SHORT.data, settlement.set_result, None)
        assert (await sending).verdict is SENT
        assert len(receiver.taken) == 2


async def test_a_relay_that_is_silent_after_a_later_content_is_not_waited_for_longer() -> None:
    first, second, _ = three()
    script: dict[str, list[Action]] = {"DOT": ["250 taken", Do.HANG]}
    async with (
        Receiver(script, extensions=["PIPELINING"]) as receiver,
        connected(receiver, timeouts=SHORT) as connection,
    ):
        sending, pipeline = begin(connection, first, second)
        (await pipeline.next_settlement()).set_result(None)
        outcome = await sending
        assert (outcome.verdict, outcome.uncertain) == (TEMPORARY, True)


@pytest.mark.parametrize("first_of_both", ["cancelled", "settled"])
async def test_a_send_that_is_cancelled_while_a_message_is_settled_sends_no_more(first_of_both: str) -> None:
    first, *others = three()
    async with Receiver(extensions=["PIPELINING"]) as receiver, connected(receiver) as connection:
        sending, pipeline = begin(connection, first, *others)
        settlement = await pipeline.next_settlement()
        if first_of_both == "settled":
            settlement.set_result(None)
        sending.cancel()
        if first_of_both == "cancelled":
            settlement.set_result(None)
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert connection.needs_reconnect
        await receiver.quiet.wait()
        assert len(receiver.seen) == 1


async def test_data_accepted_for_a_refused_recipient_is_ended_by_a_lone_dot_and_nothing_is_sent() -> None:
    script: dict[str, list[Action]] = {"RCPT": ["250 ok", "550 5.1.1 nobody"], "DATA": ["354 go", "354 go"]}
    async with Receiver(script, extensions=["PIPELINING"]) as receiver, connected(receiver) as connection:
        sent = [envelope(f"m{number}@example.org") for number in range(4)]
        outcomes = [
            await connection.send(message, pipeline=FakePipeline(next_message))
            for message, next_message in zip(sent, [*sent[1:], None], strict=True)
        ]
        assert [outcome.verdict for outcome in outcomes] == [SENT, PERMANENT, SENT, SENT]
        assert outcomes[1].reason == "550 5.1.1 nobody"
        assert [message.rcpts[0][9:11] for message in receiver.taken] == ["m0", "m2", "m3"]
        assert receiver.connections == 1


async def test_a_connection_closed_while_the_next_envelope_is_offered_sends_no_quit_into_its_content() -> (
    None
):
    async with Receiver(extensions=["PIPELINING"]) as receiver, connected(receiver) as connection:
        await connection.send(envelope(), pipeline=FakePipeline(envelope("m2@example.org")))
        await receiver.heard("DATA", times=2)
        await connection.close()
        await receiver.quiet.wait()
        assert "QUIT" not in receiver.lines
        assert len(receiver.seen) == 1


async def test_a_relay_that_breaks_pipelining_then_gets_one_command_at_a_time() -> None:
    async with Receiver({"RCPT": [Do.HANG]}, extensions=["PIPELINING"]) as receiver:
        smtp = transport(receiver.port, timeouts=SHORT)
        first = await smtp.connect()
        assert (await send(first)).verdict is TEMPORARY
        second = await smtp.connect()
        assert (
            await second.send(envelope(), pipeline=FakePipeline(envelope("m2@example.org")))
        ).verdict is SENT
        await second.close()
        assert receiver.lines[-1] == "QUIT"
        assert not any("m2@" in line for line in receiver.lines)


async def test_a_refused_recipient_needs_no_settling() -> None:
    async def before_final_dot() -> None:
        raise AssertionError

    async with Receiver({"RCPT": ["550 5.1.1 nobody"]}) as receiver, connected(receiver) as connection:
        assert (
            await connection.send(envelope(), pipeline=FakePipeline(before_final_dot=before_final_dot))
        ).verdict is PERMANENT


@pytest.mark.parametrize("error", [RuntimeError("the ledger is gone"), OSError("disk full"), TimeoutError()])
async def test_when_settling_fails_nothing_is_sent_and_the_connection_is_closed(error: Exception) -> None:
    async def before_final_dot() -> None:
        raise error

    async with Receiver() as receiver, connected(receiver) as connection:
        with pytest.raises(type(error)) as caught:
            await connection.send(envelope(), pipeline=FakePipeline(before_final_dot=before_final_dot))
        assert caught.value is error
        assert connection.needs_reconnect
        await receiver.quiet.wait()
        # The relay would read QUIT as content.
        assert "QUIT" not in receiver.lines
        assert not receiver.seen


@pytest.mark.parametrize(
    ("step", "verb"), [("MAIL", "MAIL"), ("RCPT", "RCPT"), ("DATA", "DATA"), ("DOT", "DATA")]
)
async def test_a_cancelled_send_breaks_the_connection(step: str, verb: str) -> None:
    async with Receiver({step: [Do.HANG]}) as receiver, connected(receiver) as connection:
        task = asyncio.create_task(send(connection))
        await receiver.heard(verb)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert connection.needs_reconnect
        await receiver.quiet.wait()


async def test_a_send_cancelled_while_settling_breaks_the_connection() -> None:
    reached = asyncio.Event()

    async def before_final_dot() -> None:
        reached.set()
        await asyncio.Event().wait()

    async with Receiver() as receiver, connected(receiver) as connection:
        task = asyncio.create_task(
            connection.send(envelope(), pipeline=FakePipeline(before_final_dot=before_final_dot))
        )
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert connection.needs_reconnect
        await receiver.quiet.wait()
        assert not receiver.seen


async def test_a_connection_that_the_relay_has_closed_is_not_used_again() -> None:
    async with Receiver() as receiver, connected(receiver) as connection:
        assert (await send(connection)).verdict is SENT
        await receiver.hang_up()
        while not connection.needs_reconnect:
            await asyncio.sleep(0)
        outcome = await send(connection)
        assert (outcome.verdict, outcome.relay, outcome.uncertain) == (TEMPORARY, True, False)


async def test_a_connection_is_replaced_after_its_number_of_messages_or_its_time() -> None:
    async with Receiver() as receiver:
        async with connected(receiver, recycle_messages=2) as connection:
            await send(connection)
            assert not connection.needs_reconnect
            await send(connection)
            assert connection.needs_reconnect
        async with connected(receiver, recycle_seconds=0) as connection:
            assert connection.needs_reconnect


@pytest.mark.parametrize("answer", ["221 bye", "500 never", Do.DROP, Do.HANG, b"garbage\r\n"])
async def test_closing_says_quit_and_never_raises(answer: Action) -> None:
    async with Receiver({"QUIT": [answer]}) as receiver:
        connection = await transport(receiver.port, timeouts=SHORT).connect()
        await connection.close()
        await connection.close()
        assert connection.needs_reconnect
        await receiver.quiet.wait()
        assert receiver.lines.count("QUIT") == 1


async def test_a_relay_that_never_reads_does_not_hold_the_socket_past_the_timeout() -> None:
    huge = b"Subject: x\r\n\r\n" + b"\r\n" * 10_000_000
    async with Receiver({"BODY": [Do.DEAF]}) as receiver, connected(receiver, timeouts=SHORT) as connection:
        before = len(list(Path("/proc/self/fd").iterdir()))
        outcome = await send(connection, envelope(content=huge))
        assert (outcome.verdict, outcome.relay, outcome.uncertain) == (TEMPORARY, True, True)
        assert connection.needs_reconnect
        await asyncio.sleep(0)
        assert len(list(Path("/proc/self/fd").iterdir())) == before - 1


async def test_many_failures_leave_no_task_and_no_socket() -> None:
    script: dict[str, list[Action]] = {
        "MAIL": [Do.DROP, "421 closing", "250 ok", "250 ok", "250 ok"],
        "RCPT": [Do.DROP, b"garbage\r\n", "250 ok"],
        "DOT": [Do.DROP],
    }
    async with Receiver(script) as receiver:
        for _ in range(6):
            connection = await transport(receiver.port).connect()
            await send(connection)
            await connection.close()
        await receiver.quiet.wait()
        gc.collect()
        assert len(asyncio.all_tasks()) == 1
        assert receiver.open == 0
        assert len(receiver.taken) == 1


async def test_a_short_timeout_after_a_long_one_ends_in_time() -> None:
    """One timer serves all waits of a connection: a long one must not prolong the next."""
    loop, begun = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    async with Receiver({"EHLO": [Do.HANG]}) as receiver:
        connection, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", receiver.port)
        protocol = SmtpProtocol(connection)
        assert (await protocol.read_reply(within=600)).code == 220
        protocol.write(b"EHLO list.example.org\r\n")
        with pytest.raises(TimeoutError):
            await protocol.read_reply(within=0.1)
        protocol.abort()
    assert loop.time() - begun < 60
