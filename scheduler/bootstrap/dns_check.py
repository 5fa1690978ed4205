"""Check the DNS records by which receivers judge our mail: SPF, DKIM, DMARC, and MX of the inbox."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from dns.asyncresolver import Resolver
from dns.exception import DNSException
from dns.resolver import NXDOMAIN, NoAnswer

from scheduler.delivery.compose.dkim import DkimSigner
from scheduler.domain.address import ascii_domain
from scheduler.domain.errors import SettingsProblem


class Level(StrEnum):
    FINE = "ok"
    NOTE = "note"
    WRONG = "WRONG"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    text: str


PATIENCE_SECONDS = 5
Note = Callable[[Level, str], None]


async def check_sender(
    address: str, signer: DkimSigner | None, note: Note, *, inbox: str = "", resolver: str = ""
) -> None:
    """Report on the DNS records for mail from `address`, signed by `signer` and returned to `inbox` if there is one.

    `resolver` is as for `doctor.examine`.
    """
    domain = ascii_domain(address).rpartition("@")[2].lower()
    dns = _resolver(resolver)
    try:
        if inbox:
            await _check_inbox(domain, inbox, dns, note)
        # SPF applies to the return path's domain (RFC 7208 section 2.4).
        _check_spf(inbox or domain, await _texts(dns, inbox or domain), note)
        if signer:
            _check_dkim(domain, signer, await _texts(dns, signer.name), note)
        else:
            note(Level.NOTE, "DKIM: [dkim] key is not set; check that the relay signs mail")
        _check_dmarc(domain, await _policy(dns, domain), note)
    except DNSException as error:
        note(Level.NOTE, f"SPF, DKIM, DMARC: not checked, because the DNS does not answer: {_reason(error)}")


async def check_mail_domain(address: str, note: Note, *, resolver: str = "") -> None:
    """Report whether mail to `address` can arrive: an MX record of its domain, or an address (RFC 5321 section 5.1)."""
    domain = ascii_domain(address).rpartition("@")[2].lower()
    dns = _resolver(resolver)
    try:
        hosts = [str(record.exchange).rstrip(".") for record in await dns.resolve(domain, "MX")]
        if hosts == [""]:
            note(
                Level.WRONG, f"{domain} accepts no mail (its MX record says so, RFC 7505); check the spelling"
            )
        else:
            note(Level.FINE, f"mail for {domain} goes to {', '.join(sorted(hosts))}")
    except NXDOMAIN:
        note(Level.WRONG, f"{domain} does not exist in the DNS; check the spelling")
    except NoAnswer:
        if not await _has_address(dns, domain):
            note(Level.WRONG, f"{domain} has no MX record: mail to it cannot arrive; check the spelling")
        else:
            note(Level.NOTE, f"{domain} has no MX record; mail goes to the machine of that name")
    except DNSException as error:
        note(Level.NOTE, f"{domain}: not checked, because the DNS does not answer: {_reason(error)}")


async def check_host(host: str, note: Note, *, resolver: str = "") -> None:
    """Report whether a host's name leads anywhere."""
    try:
        if await _has_address(_resolver(resolver), host):
            note(
                Level.FINE,
                f"{host} has an address in the DNS; check that it is this server's or your proxy's",
            )
        else:
            note(Level.NOTE, f"{host} has no address in the DNS yet; publish an A or AAAA record for it")
    except DNSException as error:
        note(Level.NOTE, f"{host}: not checked, because the DNS does not answer: {_reason(error)}")


async def _has_address(resolver: Resolver, name: str) -> bool:
    for kind in ("A", "AAAA"):
        try:
            await resolver.resolve(name, kind)
        except (NXDOMAIN, NoAnswer):
            continue
        return True
    return False


def _reason(error: DNSException) -> str:
    return str(error).partition(":")[0]


def _resolver(place: str) -> Resolver:
    resolver = Resolver(configure=not place)
    if place:
        try:
            server = urlsplit(f"//{place}")
            resolver.nameservers = [server.hostname or ""]
            resolver.port = server.port or 53
        except ValueError:
            raise SettingsProblem(f"--resolver {place}: give an IP address, or one with :PORT") from None
    resolver.lifetime = PATIENCE_SECONDS
    return resolver


async def _texts(resolver: Resolver, name: str) -> list[str]:
    """Return the TXT records of a name, with the strings of each joined, or [] if the name does not exist."""
    try:
        answer = await resolver.resolve(name, "TXT")
    except (NXDOMAIN, NoAnswer):
        return []
    return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]


async def _policy(resolver: Resolver, domain: str) -> list[str]:
    """Return the DMARC records of the domain, or of the nearest parent domain that has any."""
    labels = domain.split(".")
    for start in range(max(1, len(labels) - 1)):
        texts = await _texts(resolver, "_dmarc." + ".".join(labels[start:]))
        if records := [text for text in texts if text.replace(" ", "").lower().startswith("v=dmarc1")]:
            return records
    return []


async def _check_inbox(domain: str, inbox: str, resolver: Resolver, note: Note) -> None:
    try:
        hosts = [str(record.exchange).rstrip(".") for record in await resolver.resolve(inbox, "MX")]
        note(
            Level.FINE,
            f"inbox: mail for {inbox} goes to {', '.join(sorted(hosts))}; check that it reaches us",
        )
    except (NXDOMAIN, NoAnswer):
        note(
            Level.WRONG,
            f"inbox: {inbox} has no MX record: nothing comes back; publish one, or name another in [inbox]",
        )
    if not _aligned(domain, inbox):
        note(
            Level.NOTE,
            f"SPF: mails come back to {inbox}, which to DMARC may say nothing of {domain}; let DKIM sign",
        )


def _check_spf(domain: str, texts: list[str], note: Note) -> None:
    match [text for text in texts if text.lower().split(" ")[0] == "v=spf1"]:
        case []:
            note(
                Level.NOTE,
                f'SPF: {domain} has none; publish a TXT record "v=spf1 … ~all" that names the relay',
            )
        case [record] if "+all" in record.split() or "all" in record.split():
            note(
                Level.WRONG, f'SPF: "{record}" lets everybody send in the name of {domain}; end it with ~all'
            )
        case [record]:
            note(Level.FINE, f'SPF: "{record}"; check that it names the relay')
        case records:
            note(Level.WRONG, f"SPF: {domain} has {len(records)} records, which counts as none; leave one")


def _check_dkim(domain: str, signer: DkimSigner, texts: list[str], note: Note) -> None:
    if not _aligned(domain, signer.domain):
        note(
            Level.WRONG,
            f"DKIM: {signer.domain} signs, and mails come from {domain}: to DMARC that is no signature; "
            "set [dkim] domain",
        )
    published = [_tags(text).get("p", "") for text in texts]
    match published:
        case []:
            note(Level.WRONG, f"DKIM: {signer.name} has no TXT record; publish the one above")
        case [key] if key == _tags(signer.record)["p"]:
            note(Level.FINE, f"DKIM: {signer.name} holds the key that we sign with")
        case [_]:
            note(Level.WRONG, f"DKIM: {signer.name} holds another key; publish the one above")
        case _:
            note(Level.WRONG, f"DKIM: {signer.name} has {len(published)} TXT records; leave one")


def _check_dmarc(domain: str, records: list[str], note: Note) -> None:
    match records:
        case []:
            note(Level.NOTE, f'DMARC: _dmarc.{domain} has none; publish a TXT record "v=DMARC1; p=none"')
        case [record] if _tags(record).get("p", "").lower() not in ("none", "quarantine", "reject"):
            note(Level.WRONG, f'DMARC: "{record}" has no policy; write p=none, p=quarantine or p=reject')
        case [record]:
            note(Level.FINE, f'DMARC: "{record}"')
        case _:
            note(Level.WRONG, f"DMARC: {domain} has {len(records)} records, which counts as none; leave one")


def _aligned(domain: str, other: str) -> bool:
    return domain == other or domain.endswith(f".{other}") or other.endswith(f".{domain}")


def _tags(record: str) -> dict[str, str]:
    pairs = (tag.partition("=") for tag in record.split(";"))
    return {name.strip(): "".join(value.split()) for name, _, value in pairs}
