"""One instant in all that a member is shown of a meeting: a notice whose parts disagree does not leave."""

from collections.abc import Collection
from datetime import datetime

from scheduler.delivery.invite import Invite
from scheduler.delivery.template import Form
from scheduler.delivery.wording import When
from scheduler.domain.problem import Problem


def require_agreement(
    kind: str, when: When, *,
    subject: str, bodies: Collection[tuple[Form, Form]], invite: Invite | None, page: str | None,
) -> None:  # fmt: skip
    """Raise Problem unless the page and every part of the message show the one instant at which the meeting starts."""
    iso = f'datetime="{when.starts_iso}"'
    shown = {
        "subject": when.starts in subject,
        "text": all(when.starts in text.printed and when.day in text.printed for text, _ in bodies),
        "HTML": all(iso in html.printed for _, html in bodies),
        "web page": page is None or iso in page,
    }
    if invite:
        shown["calendar part"] = invite.starts == datetime.fromisoformat(when.starts_iso)
    if silent := [name for name, agrees in shown.items() if not agrees]:
        raise Problem(
            f"{kind} for {when.zone}: the {', '.join(silent)} does not show the start, {when.starts}; "
            f"mend {'templates/web' if silent == ['web page'] else f'templates/email/{kind}'}"
        )
