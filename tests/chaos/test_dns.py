"""The relay's name stops being resolved: said in one line everywhere, everything waits, and leaves when it is back."""

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

from tests.chaos.faults import Relay, do_as_root, installed, mounts_to_oneself, until, webhook

pytestmark = [pytest.mark.proof, pytest.mark.short]

MEMBERS = 40
NAME = "relay.conversation.test"
TROUBLE = "the relay takes no mail: its name cannot be resolved"


class NameServer(asyncio.DatagramProtocol):
    """Knows one name, loopback's, while it is `well`; else it answers with `code`, or not at all where that is None."""

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
    """A name server, and what to put before a command so that it alone asks it. Only root can have this."""
    do_as_root("unshare", "--mount", "true")
    address = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NameServer(code), local_addr=(address, 53)
    )
    own = folder / "resolv.conf"
    own.write_text(f"nameserver {address}\noptions timeout:1 attempts:1\n")
    own_first = f'mount --bind "{own}" "$(readlink -f /etc/resolv.conf)" && exec "$@"'
    try:
        with mounts_to_oneself():
            yield server, ["unshare", "--mount", "--", "sh", "-c", own_first, "sh"]
    finally:
        transport.close()


@pytest.mark.parametrize(
    "code", [dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL, None], ids=["no such name", "server fails", "silence"]
)
async def test_while_the_relays_name_is_not_resolved_all_waits_and_it_is_said_and_then_all_leaves(
    tmp_path: Path, code: dns.rcode.Rcode | None
) -> None:
    async with (
        name_server(tmp_path, code) as (server, before),
        webhook() as (url, alerts),
        Relay() as relay,
        installed(
            tmp_path, f"smtp://{NAME}:{relay.port}", before=before, THIRD_THURSDAY_WATCH__WEBHOOK=url
        ) as here,
    ):
        await here.join(MEMBERS)
        await here.start()
        await here.not_ready(TROUBLE)
        code_, out, _ = await here.command("status")
        said = [line for line in out.splitlines() if line.startswith("trouble:")]
        assert code_ == 1 and len(said) == 1
        assert f"smtp://{NAME}:{relay.port}: its name cannot be resolved (" in said[0]
        assert "check it in [mail] transport, and this machine's DNS" in said[0]
        assert here.logged("relay-down") == 1
        assert (await here.states()).keys() <= {"queued", "sending"}, "nothing is given up"
        # A tick tells of news; it comes soon where somebody changed something.
        await here.command("members", "set", "m1@example.org", "--name", "Mia")
        await until(lambda: alerts)
        server.well = True
        await here.all_sent(MEMBERS)
        relay.verdict(MEMBERS)
        assert len(relay.came()) == MEMBERS
        await here.well()
        await here.command("members", "set", "m1@example.org", "--name", "Maya")
        await until(lambda: len(alerts) == 2)
        assert [(one["trouble"], one["event"]) for one in alerts] == [("relay", "begins"), ("relay", "ended")]
        assert TROUBLE in alerts[0]["text"]
        await here.drain()
