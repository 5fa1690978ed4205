"""`doctor` checks the DNS records by which receivers judge our mail."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from scheduler.bootstrap.dns_check import Level, check_sender
from scheduler.delivery.compose.dkim import DkimSigner
from scheduler.domain.errors import SettingsProblem

ADDRESS = "meetings@talk.example.org"


def signer(*, rsa: bool = False, domain: str = "talk.example.org") -> DkimSigner:
    key = generate_private_key(65537, 2048) if rsa else Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return DkimSigner(domain=domain, selector="third", pem=pem)


@asynccontextmanager
async def dns_server(zone: Mapping[str, list[str]]) -> AsyncIterator[str]:
    """A DNS server on loopback with these TXT records; long ones are split into strings of 255, as the DNS requires."""

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.DatagramTransport, transport)

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            query = dns.message.from_wire(data)
            name = query.question[0].name
            answer = dns.message.make_response(query)
            kind = dns.rdatatype.to_text(query.question[0].rdtype)
            texts = zone.get(("MX " if kind == "MX" else "") + name.to_text(omit_final_dot=True))
            if texts is None:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            for text in texts or []:
                if kind == "MX":
                    answer.answer.append(dns.rrset.from_text(name, 60, "IN", "MX", text))
                    continue
                strings = " ".join(f'"{text[place : place + 255]}"' for place in range(0, len(text), 255))
                answer.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", strings))
            self.transport.sendto(answer.to_wire(), addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Server, local_addr=("127.0.0.1", 0)
    )
    try:
        yield "127.0.0.1:{}".format(transport.get_extra_info("sockname")[1])
    finally:
        transport.close()


async def found(zone: Mapping[str, list[str]], signer: DkimSigner | None, inbox: str = "") -> list[str]:
    lines: list[str] = []
    async with dns_server(zone) as place:

        def note(level: Level, text: str) -> None:
            lines.append(f"{level} {text}")

        await check_sender(ADDRESS, signer, note, inbox=inbox, resolver=place)
    return lines


@pytest.mark.parametrize("rsa", [False, True])
async def test_correct_records_are_reported_as_fine(rsa: bool) -> None:
    ours = signer(rsa=rsa)
    lines = await found(
        {
            "talk.example.org": ["google-site-verification=x", "v=spf1 include:relay.example.net ~all"],
            "third._domainkey.talk.example.org": [ours.record],
            "_dmarc.example.org": ["v=DMARC1; p=quarantine"],
        },
        ours,
    )
    assert [line.split()[0] for line in lines] == ["ok", "ok", "ok"]
    assert lines[1] == "ok DKIM: third._domainkey.talk.example.org holds the key that we sign with"


async def test_missing_records_are_reported_with_what_to_publish() -> None:
    assert await found({}, signer()) == [
        'note SPF: talk.example.org has none; publish a TXT record "v=spf1 … ~all" that names the relay',
        "WRONG DKIM: third._domainkey.talk.example.org has no TXT record; publish the one above",
        'note DMARC: _dmarc.talk.example.org has none; publish a TXT record "v=DMARC1; p=none"',
    ]
    assert (await found({}, None))[1].startswith("note DKIM: [dkim] key is not set")


async def test_the_inbox_domain_needs_an_mx_record_and_an_spf_record_of_its_own() -> None:
    published = {
        "MX back.talk.example.org": ["10 mx.example.org."],
        "back.talk.example.org": ["v=spf1 include:relay.example.net ~all"],
        "_dmarc.example.org": ["v=DMARC1; p=none"],
    }
    lines = await found(published, None, "back.talk.example.org")
    assert (
        lines[0]
        == "ok inbox: mail for back.talk.example.org goes to mx.example.org; check that it reaches us"
    )
    assert lines[1].startswith("ok SPF")
    lines = await found({**published, "talk.example.org": ["v=spf1 a ~all"]}, None, "elsewhere.example")
    assert lines[0].startswith("WRONG inbox: elsewhere.example has no MX record")
    assert lines[1].startswith(
        "note SPF: mails come back to elsewhere.example, which to DMARC may say nothing of talk"
    )
    assert lines[2].startswith("note SPF: elsewhere.example has none")


async def test_wrong_records_are_reported() -> None:
    elsewhere = signer(domain="other.example")
    lines = await found(
        {
            "talk.example.org": ["v=spf1 a -all", "v=spf1 mx -all"],
            "third._domainkey.other.example": [signer().record],
            "_dmarc.talk.example.org": ["v=DMARC1; rua=mailto:x@example.org"],
        },
        elsewhere,
    )
    assert [line.split(":")[0] for line in lines] == ["WRONG SPF", "WRONG DKIM", "WRONG DKIM", "WRONG DMARC"]
    assert "other.example signs, and mails come from talk.example.org" in lines[1]
    assert "holds another key" in lines[2]
    assert "lets everybody send" in (await found({"talk.example.org": ["v=spf1 +all"]}, None))[0]


async def test_a_dns_that_does_not_answer_is_a_note_and_a_wrong_resolver_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scheduler.bootstrap.dns_check.PATIENCE_SECONDS", 0.2)
    lines: list[str] = []
    # Nobody listens at the discard port.
    await check_sender(
        ADDRESS, None, lambda level, text: lines.append(f"{level} {text}"), resolver="127.0.0.1:9"
    )
    assert len(lines) == 1 and lines[0].startswith("note SPF, DKIM, DMARC: not checked")
    with pytest.raises(SettingsProblem, match="give an IP address"):
        await check_sender(ADDRESS, None, lambda *_: None, resolver="dns.example.org")
