"""Read the first sheet of a spreadsheet (xlsx, xlsm, xlsb, xls or ods) as CSV.

A small file may describe billions of cells. So it is read in a process of its own, with limits on memory and time.
"""

import csv
import io
import os
import resource
import subprocess
import sys
from datetime import date, datetime, time, timedelta
from pathlib import Path

import python_calamine

import scheduler
from scheduler.domain.errors import Refused

_MEMORY_OCTETS = 1024 * 1024 * 1024
_SECONDS = 60
_SIGNATURES = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_ROOT = Path(scheduler.__file__).parent.parent

_PASSWORD, _UNREADABLE, _EMPTY = 3, 4, 5
_PROBLEMS = {
    _PASSWORD: "the spreadsheet has a password; save it without one",
    _UNREADABLE: "the file cannot be read as a spreadsheet; save the sheet as CSV",
    _EMPTY: "the spreadsheet is empty",
}


def as_csv(data: bytes) -> bytes:
    """Return the first sheet that is not empty as CSV in UTF-8, a line for each row; any other file unchanged.

    Line breaks within cells become spaces, so that the number of a line is that of its row. Raises Refused for a
    spreadsheet that cannot be read.
    """
    if not data.startswith(_SIGNATURES):
        return data
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "scheduler.service.workbook"],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
    except subprocess.TimeoutExpired:
        raise Refused("the spreadsheet is too large; save the sheet as CSV") from None
    if ended.returncode:
        raise Refused(_PROBLEMS.get(ended.returncode, "the spreadsheet is too large; save the sheet as CSV"))
    return ended.stdout


def _main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_OCTETS, _MEMORY_OCTETS))
    try:
        workbook = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(sys.stdin.buffer.read()))
        output = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="")
        writer = csv.writer(output)
        for name in workbook.sheet_names:
            sheet = workbook.get_sheet_by_name(name)
            if sheet.height:
                for row in sheet.to_python(skip_empty_area=False):
                    writer.writerow(map(_text, row))
                output.flush()
                return 0
    except python_calamine.PasswordError:
        return _PASSWORD
    except (python_calamine.CalamineError, ValueError, OSError):
        return _UNREADABLE
    return _EMPTY


def _text(value: object) -> str:
    """Return a cell as a person sees it: numbers that are whole without a point, dates as YYYY-MM-DD."""
    match value:
        case float() if value.is_integer():
            return str(int(value))
        case bool():
            return "yes" if value else "no"
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case datetime():
            return value.isoformat(sep=" ", timespec="minutes")
        case date() | time() | timedelta():
            return str(value)
    return " ".join(str(value).split("\n"))


if __name__ == "__main__":
    sys.exit(_main())
