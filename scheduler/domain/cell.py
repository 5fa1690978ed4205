"""Cells of a table that a spreadsheet may open: what people wrote stays text, and comes back as it was."""

import re

# A spreadsheet takes a cell that begins so for a formula (OWASP, CSV injection); the wide forms, too, in East Asia.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")


def guard_cell(text: str) -> str:
    """Return `text` with an apostrophe before it where a spreadsheet might take it for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguard_cell(text: str) -> str:
    """Return what `guard_cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
