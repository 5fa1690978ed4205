"""What a browser sends with a form, whichever way it writes it: texts by their names, and never an error."""

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request

from scheduler.domain.problem import Refused

LARGEST_FORM = 64 * 1024
_MOST_FIELDS = 100


async def fields(request: Request) -> dict[str, list[str]]:
    """The texts of a form by their names, in their order. What is no form has none; a file is no text."""
    try:
        form = await request.form(max_files=0, max_fields=_MOST_FIELDS, max_part_size=LARGEST_FORM)
    except HTTPException as error:
        if error.status_code != 400:
            raise
        form = FormData()
    found: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            found.setdefault(name, []).append(value)
    return found


async def field(request: Request, name: str) -> str:
    """The last text of that name, or empty."""
    return (await fields(request)).get(name, [""])[-1].strip()


NEEDS = {
    "name": "change the name",
    "email": "check the email address",
    "country": "choose another country",
    "zone": "choose another time zone",
    "locale": "choose another language",
    "words": "change what you wrote",
    "until": "choose another day",
}
"""What somebody needs to do about a field whose text is refused."""


def told(refusal: Refused, name: str) -> str:
    """What is wrong with the field of that name, as a sentence that begins with what to do."""
    words = str(refusal).removeprefix(":").strip()
    return words if words.startswith("You need to ") else f"You need to {NEEDS[name]}: {words}"
