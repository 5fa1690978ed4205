"""The relay's name cannot be resolved: every report says so in one line, mail waits, and is sent once it resolves."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from tests.chaos.faults import Relay, do_as_root, exclusive_mounts, installed, until, webhook

pytestmark = pytest.mark.proof

MEMBERS = 40
NAME = "relay.conversation.test"
TROUBLE = "the relay takes no mail: its name cannot be resolved"


class NameServer(asyncio.DatagramProtocol):
    """Resolves every name to loopback while `well`; otherwise answers with `code`, or not at all if that is None."""

    def __init__(self, code: dns.rcode.Rcode | None) -> None:
        self.well, self.code = False, code

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # not an instance before Python 3.12

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = dns.message.from_wire(data)
        answer = dns.message.make_response(question)
        asked = question.question[0]
        if not self.well:
            if self.code is None:
                return
            answer.set_rcode(self.code)
        elif asked.rdtype == dns.rdatatype.A:
            answer.answer.append(dns.rrset.from_text(asked.name, 1, "IN", "A", "127.0.0.1"))
        self.transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def name_server(
    folder: Path, code: dns.rcode.Rcode | None
) -> AsyncIterator[tuple[NameServer, list[str]]]:
    """A name server, and the prefix of a command line that makes only that command use it. Only root can do this."""
    do_as_root("unshare", "--mount", "true")
    address = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NameServer(code), local_addr=(address, 53)
    )
    own = folder / "resolv.conf"
    own.write_text(f"nameserver {address}\noptions timeout:1 attempts:1\n")
    own_first = f'mount --bind "{own}" "$(readlink -f /etc/resolv.conf)" && exec "$@"'
    try:
        with exclusive_mounts():
            yield server, ["unshare", "--mount", "--", "sh", "-c", own_first, "sh"]
    finally:
        transport.close()


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(dns.rcode.NXDOMAIN, id="no such name", marks=pytest.mark.short),
        pytest.param(dns.rcode.SERVFAIL, id="server fails"),
        pytest.param(None, id="silence"),
    ],
)
async def test_while_the_relays_name_does_not_resolve_mail_waits_and_is_sent_afterwards(
    tmp_path: Path, code: dns.rcode.Rcode | None
) -> None:
    async with (
        name_server(tmp_path, code) as (server, before),
        webhook() as (url, alerts),
        Relay() as relay,
        installed(
            tmp_path, f"smtp://{NAME}:{relay.port}", before=before, THIRD_THURSDAY_WATCH__WEBHOOK=url
        ) as installation,
    ):
        await installation.join(MEMBERS)
        await installation.start()
        await installation.not_ready(TROUBLE)
        code_, out, _ = await installation.command("status")
        troubles = [line for line in out.splitlines() if line.startswith("trouble:")]
        assert code_ == 1 and len(troubles) == 1
        assert f"smtp://{NAME}:{relay.port}: its name cannot be resolved (" in troubles[0]
        assert "check it in [mail] transport, and this machine's DNS" in troubles[0]
        assert installation.logged("relay-down") == 1
        assert (await installation.states()).keys() <= {"queued", "sending"}, "nothing is given up"
        # A tick sends the alert; a change to a member makes it come soon.
        await installation.command("members", "set", "m1@example.org", "--name", "Mia")
        await until(lambda: alerts)
        server.well = True
        await installation.all_sent(MEMBERS)
        relay.verdict(MEMBERS)
        assert len(relay.messages()) == MEMBERS
        await installation.well()
        await installation.command("members", "set", "m1@example.org", "--name", "Maya")
        await until(lambda: len(alerts) == 2)
        assert [(alert["trouble"], alert["event"]) for alert in alerts] == [
            ("relay", "begins"),
            ("relay", "ended"),
        ]
        assert TROUBLE in alerts[0]["text"]
        await installation.drain()
