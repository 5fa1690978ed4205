"""Read until when the TLS certificates of our own hosts are valid."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import datetime

from cryptography import x509

from scheduler.delivery.send.transport import ConnectProblem
from scheduler.domain.weekly_report import Certificate

LONGEST_CHECK = 10.0
"""Seconds."""


async def check_certificate(host: str, read: Callable[[], Awaitable[bytes | None]]) -> Certificate | None:
    """Return the certificate that `read` gets in DER; None if the host uses none. A failure is its `problem`."""
    try:
        async with asyncio.timeout(LONGEST_CHECK):
            der = await read()
        return Certificate(host=host, expires=_expires(der)) if der else None
    except TimeoutError:
        return Certificate(host=host, problem="could not be checked: it did not answer in time")
    except ssl.SSLCertVerificationError as error:
        return Certificate(host=host, problem=f"is not valid: {error.verify_message}")
    except ConnectProblem as problem:
        return Certificate(host=host, problem=f"could not be checked: {problem.brief or problem}")
    except OSError:
        return Certificate(host=host, problem="could not be checked: it cannot be reached")
    except ValueError:
        return Certificate(host=host, problem="could not be checked: it cannot be read")


async def read_website(host: str, port: int) -> bytes | None:
    """Return the certificate of a website. Raises OSError, and ssl.SSLCertVerificationError if it is not valid."""
    _, writer = await asyncio.open_connection(host, port, ssl=ssl.create_default_context())
    try:
        certificate: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return certificate
    finally:
        writer.transport.abort()


def _expires(der: bytes) -> datetime:
    return x509.load_der_x509_certificate(der).not_valid_after_utc
