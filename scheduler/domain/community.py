"""The community that runs the meetings, as members see it in mails, feeds and pages."""

from dataclasses import dataclass

from scheduler.domain.palette import DEFAULT_PALETTE, Palette
from scheduler.domain.translation import language_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    """Where bounces and requests to leave come back to.

    Without a `mailbox`, every address of `domain` is ours: `b+TOKEN@domain`. With one, mail to `mailbox@domain` reaches
    us, and with `plus_addressing` mail to `mailbox+b+TOKEN@domain` does too.
    """

    domain: str
    mailbox: str = ""
    plus_addressing: bool = True

    @property
    def carries_tokens(self) -> bool:
        """Whether a return address can carry a member's token (VERP)."""
        return self.plus_addressing or not self.mailbox

    @property
    def address(self) -> str:
        """The address of the mailbox; empty without one."""
        return f"{self.mailbox}@{self.domain}" if self.mailbox else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Community:
    """The community's public details.

    `address` is the From of every mail and the ORGANIZER of every invitation. `reply_to` is a convenor's address.
    `domain` is used in UIDs and Message-IDs and fixed at the first start. `base_url` has no slash at its end. `locale`
    is for members who have not chosen one, `language` for those whose own language we do not have. `color` is that of
    its calendars, `palette` the colours of pages and mails. `links` are its other web pages: pairs of label and URL.
    `inbox` says where mail comes back to, if we receive mail; then mail to `address` reaches us too.
    """

    name: str
    description: str
    address: str
    reply_to: str
    domain: str
    website: str
    base_url: str
    locale: str = "en-GB"
    language: str = "en"
    color: str = "teal"
    palette: Palette = DEFAULT_PALETTE
    links: tuple[tuple[str, str], ...] = ()
    inbox: Inbox | None = None

    @property
    def own_language(self) -> str:
        """The community's language, or English if that has no catalogue."""
        return language_for("", None, self.language)

    def language_for(self, locale: str) -> str:
        """Return the language of the mails and the feed of members with this locale, which may be empty."""
        return language_for(locale or self.locale, None, self.language)

    @property
    def feed_url(self) -> str:
        return f"{self.base_url}/calendar.ics"

    def series_feed_url(self, slug: str) -> str:
        """Return the address of the public feed of one series."""
        return f"{self.base_url}/calendar/{slug}.ics"

    def join_url(self, token: str, occurrence: str) -> str:
        """Return a member's own link to the meeting with the key `occurrence`; `token` is theirs for joining."""
        return f"{self.base_url}/go/{token}/{occurrence}"
