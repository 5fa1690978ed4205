"""Spreadsheets are read like CSV files; one that would fill the memory is refused."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

import pytest

from scheduler.domain.errors import Refused
from scheduler.service.member_csv import read_members
from scheduler.service.workbook import as_csv

_XLSX = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def zipped(files: Mapping[str, str]) -> bytes:
    octets = io.BytesIO()
    with zipfile.ZipFile(octets, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return octets.getvalue()


def xlsx(cells: str, *, sheets: Sequence[str] = ("People",)) -> bytes:
    """A workbook whose last sheet has these cells; the others are empty."""
    numbers = range(1, len(sheets) + 1)
    listed = "".join(
        f'<sheet name="{name}" sheetId="{number}" r:id="rId{number}"/>'
        for number, name in zip(numbers, sheets, strict=True)
    )
    related = "".join(
        f'<Relationship Id="rId{number}" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        for number in numbers
    )
    files = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}"><Relationship Id="rId1" '
        f'Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_XLSX}" xmlns:r="{_RELATIONS}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}">{related}</Relationships>',
    }
    for number in numbers:
        data = cells if number == len(sheets) else ""
        files[f"xl/worksheets/sheet{number}.xml"] = (
            f'<worksheet xmlns="{_XLSX}"><sheetData>{data}</sheetData></worksheet>'
        )
    return zipped(files)


def rows(*table: Sequence[object]) -> str:
    """The rows of a sheet, in the XML of xlsx."""
    lines = []
    for number, row in enumerate(table, 1):
        cells = "".join(
            f"<c r='{chr(65 + column)}{number}'><v>{value}</v></c>"
            if isinstance(value, (int, float))
            else f"<c r='{chr(65 + column)}{number}' t='inlineStr'><is><t>{escape(str(value))}</t></is></c>"
            for column, value in enumerate(row)
            if value != ""
        )
        lines.append(f"<row r='{number}'>{cells}</row>")
    return "".join(lines)


def ods(*table: Sequence[str]) -> bytes:
    office = "urn:oasis:names:tc:opendocument:xmlns"
    body = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{escape(cell)}</text:p></table:table-cell>'
            for cell in row
        )
        + "</table:table-row>"
        for row in table
    )
    content = (
        f'<office:document-content xmlns:office="{office}:office:1.0" xmlns:table="{office}:table:1.0" '
        f'xmlns:text="{office}:text:1.0"><office:body><office:spreadsheet><table:table table:name="People">'
        f"{body}</table:table></office:spreadsheet></office:body></office:document-content>"
    )
    return zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": content,
            "META-INF/manifest.xml": f'<manifest:manifest xmlns:manifest="{office}:manifest:1.0">'
            '<manifest:file-entry manifest:full-path="/" '
            'manifest:media-type="application/vnd.oasis.opendocument.spreadsheet"/></manifest:manifest>',
        }
    )


PEOPLE = (("Name", "Email", "Country", "Note"), ("Åsa", "asa@example.org", "Sweden", 7.0), ("", "", "", ""))


def test_a_workbook_is_read_as_people_with_the_numbers_of_its_rows() -> None:
    wrong = ("Bo\nBerg", "no address", "NZ", 1.5)
    for octets in (xlsx(rows(*PEOPLE, wrong)), xlsx(rows(*PEOPLE, wrong), sheets=("Empty", "People"))):
        assert as_csv(octets).decode().splitlines() == [
            "Name,Email,Country,Note",
            "Åsa,asa@example.org,Sweden,7",
            ",,,",
            "Bo Berg,no address,NZ,1.5",
        ]
        people = read_members(octets)
        assert [(row.name, row.address) for row in people.rows] == [("Åsa", "asa@example.org")]
        assert [problem.line for problem in people.problems] == [4]


def test_an_open_document_is_read_too() -> None:
    octets = ods(("Name", "Email", "Country"), ("عائشة", "a@example.org", "Egypt"))
    assert [row.name for row in read_members(octets).rows] == ["عائشة"]


def test_a_file_that_is_no_spreadsheet_is_left_as_it_is() -> None:
    assert as_csv(b"name,email\n") == b"name,email\n"
    assert as_csv(b"") == b""


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"PK\x03\x04", "cannot be read as a spreadsheet"),
        (b"\xd0\xcf\x11\xe0" * 100, "cannot be read as a spreadsheet"),
        (zipped({"hello": "world"}), "cannot be read as a spreadsheet"),
        (xlsx(""), "is empty"),
        (
            xlsx(
                "<row r='1'><c r='A1'><v>1</v></c></row><row r='1048576'><c r='XFD1048576'><v>1</v></c></row>"
            ),
            "too large",
        ),
    ],
    ids=["cut", "rubbish", "another archive", "empty", "billions of cells"],
)
def test_a_spreadsheet_that_cannot_be_read_is_refused_with_what_to_do(octets: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        as_csv(octets)
