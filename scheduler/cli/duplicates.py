"""The command `members duplicates`: members who may be the same person."""

from typing import Annotated

import typer

from scheduler.bootstrap.wiring import Parts
from scheduler.cli.command import AsJson, command_context, command_line_user, show_json
from scheduler.domain.text import counted
from scheduler.service.duplicates import Duplicate, find_duplicates, tell_apart


def duplicates(
    context: typer.Context,
    different: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="EMAIL EMAIL", help="Remember that these two are different people."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show pairs of members who may be the same person; remove one with `members remove`."""

    async def act(parts: Parts) -> list[Duplicate]:
        if different:
            await tell_apart(parts.database, *different, by=command_line_user(), now=parts.clock.now())
            return []
        return await find_duplicates(parts.database)

    found = command_context(context).run(act)
    if different:
        typer.echo(f"{different[0]} and {different[1]}: different people; not shown again")
        return
    if as_json:
        show_json(
            [
                {
                    "members": [
                        {"name": member.name, "email": member.address, "zone": member.zone}
                        for member in (pair.one, pair.other)
                    ],
                    "because": "mailbox" if pair.same_mailbox else "name",
                }
                for pair in found
            ]
        )
        return
    for pair in found:
        why = "same mailbox" if pair.same_mailbox else "same name and place"
        typer.echo(f"{pair.one.address}  {pair.other.address}  {pair.one.name or pair.other.name} ({why})")
    typer.echo(counted(len(found), "pair"))
