"""The commands `members mail` and `members resend`: read a mail as it was sent, and send it again."""

import sys
from typing import Annotated

import typer

from scheduler.bootstrap.wiring import Parts
from scheduler.cli.command import AsJson, command_context, command_line_user, parse_id, show_json
from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import slugs_by_choice
from scheduler.domain.text import counted
from scheduler.service.sent_mails import SentMail, require_mail, send_again

Email = Annotated[str, typer.Argument(metavar="EMAIL")]
NoticeId = Annotated[str, typer.Argument(metavar="ID", help="The notice, as `members show` numbers it.")]

_NOT_AN_ID = "'{}' is not the number of a notice; `members show EMAIL` lists them"


def mail(
    context: typer.Context,
    email: Email,
    notice: NoticeId,
    html: Annotated[bool, typer.Option("--html", help="Print its HTML instead of its text.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a mail to a member as it was sent, without their personal links."""
    number = parse_id(notice, _NOT_AN_ID)

    async def look(parts: Parts) -> SentMail:
        return await require_mail(parts.database, email, number, keys=parts.keys, community=parts.community)

    found = command_context(context).run(look)
    if as_json:
        show_json(_document(found))
        return
    if found.shown is None:
        raise Refused(f"the text of notice {number} to {found.member.address} was not kept")
    if html:
        sys.stdout.write(found.shown.html)
        return
    report = found.report
    for label, value in (
        ("from", found.shown.sender),
        ("to", f"{found.member.name} <{found.member.address}>".strip()),
        ("subject", found.shown.subject),
        ("sent", f"{report.sent_at:%Y-%m-%d %H:%M} UTC"),
        ("message-id", found.message_id),
        *([("sent again", counted(found.times, "time"))] if found.times else []),
    ):
        typer.echo(f"{label:<12}{value}")
    if found.entry:
        act = "cancels" if found.entry.cancels else "invites to"
        typer.echo(f"{'calendar':<12}{act} {found.entry.title}, {found.entry.starts:%Y-%m-%d %H:%M %Z}")
    typer.echo(f"\n{found.shown.text}")


def _document(found: SentMail) -> dict[str, object]:
    shown, entry = found.shown, found.entry
    return {
        "notice": found.report.identity,
        "kind": found.report.kind,
        "email": found.member.address,
        "state": found.report.state,
        "sent_utc": found.report.sent_at.isoformat() if found.report.sent_at else None,
        "message_id": found.message_id,
        "sent_again": found.times,
        "from": shown.sender if shown else None,
        "subject": shown.subject if shown else None,
        "text": shown.text if shown else None,
        "html": shown.html if shown else None,
        "calendar": {
            "cancels": entry.cancels,
            "title": entry.title,
            "starts": entry.starts.isoformat(),
            "ends": entry.ends.isoformat(),
        }
        if entry
        else None,
    }


def resend(context: typer.Context, email: Email, notice: NoticeId) -> None:
    """Send a member one mail again, composed anew, with a line at its top that says so."""
    number = parse_id(notice, _NOT_AN_ID)

    async def act(parts: Parts) -> SentMail:
        found = await require_mail(parts.database, email, number, keys=parts.keys, community=parts.community)
        await send_again(
            parts.database,
            found.member.id,
            number,
            times=found.times,
            by_choice=slugs_by_choice(parts.series),
            by=command_line_user(),
            now=parts.clock.now(),
        )
        return found

    found = command_context(context).run(act)
    typer.echo(f"{found.member.address}: notice {number} is sent again by the running `serve`")
