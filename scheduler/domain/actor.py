"""Who does something that the audit log records."""

from dataclasses import dataclass
from typing import Literal

Channel = Literal["console", "command line", "service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A convenor or helper in the console, a user of the command line, or the service itself.

    `name` is what convenors read: a member's name, or a system user. `member` is the member's number, if known.
    """

    channel: Channel
    name: str
    member: int | None = None


SERVICE = Actor(channel="service", name="Third Thursday")
"""The service itself, for what it does without anybody asking."""
