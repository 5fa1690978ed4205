"""Who runs the meetings: what a member sees of the community in mails, feeds and pages."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Community:
    """The community's public face.

    `address` is the From of every mail and the ORGANIZER of every invitation; `reply_to` a convenor's address;
    `domain` that of UIDs and Message-IDs, frozen at first start; `base_url` has no slash at its end; `locale` is
    for members who have named none; `links` are other places on the web, each a label and an address. `inbox` is the
    domain of the addresses to which mail comes back, if there is one: then what is sent to them and to `address`
    reaches us.
    """

    name: str
    description: str
    address: str
    reply_to: str
    domain: str
    website: str
    base_url: str
    locale: str = "en-GB"
    color: str = "teal"
    links: tuple[tuple[str, str], ...] = ()
    inbox: str = ""

    @property
    def feed_url(self) -> str:
        return f"{self.base_url}/calendar.ics"

    def way_in(self, token: str, occurrence: str) -> str:
        """The address of a member's own way into the meeting of that key; `token` is theirs to join."""
        return f"{self.base_url}/go/{token}/{occurrence}"
