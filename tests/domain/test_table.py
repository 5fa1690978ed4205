"""Tables of any program are read: cells, line numbers and errors."""

import codecs
import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain import table
from scheduler.domain.errors import Refused
from scheduler.domain.table import Record, open_table

KNOWN = {"name", "email"}


def read(data: bytes | str, encoding: str | None = None) -> tuple[tuple[str, ...], list[Record]]:
    octets = data.encode() if isinstance(data, str) else data
    table = open_table(octets, known=KNOWN.__contains__, encoding=encoding)
    return table.headings, list(table.records)


def written(rows: list[list[str]], delimiter: str, line_end: str, encoding: str) -> bytes:
    text = io.StringIO(newline="")
    # The csv writer does not quote a line feed if lines end in something else.
    writer = csv.writer(
        text,
        delimiter=delimiter,
        lineterminator=line_end,
        quoting=csv.QUOTE_ALL if line_end == "\r" else csv.QUOTE_MINIMAL,
    )
    writer.writerows(rows)
    return text.getvalue().encode(encoding)


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]
CELLS = st.text(st.sampled_from("abcåéß€ '\";,\t\n=+-@01"), max_size=12)


@given(
    st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=8),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(ENCODINGS),
)
def test_a_written_length_is_read_back(
    rows: list[tuple[str, str, str]], delimiter: str, line_end: str, encoding: str
) -> None:
    headings = ["name", "email", "other, things; é"]
    headings_read, records = read(
        written([headings, *map(list, rows)], delimiter, line_end, encoding), encoding
    )
    assert list(headings_read) == headings
    assert [record.cells for record in records] == [
        list(row) for row in rows if any(cell.strip() for cell in row)
    ]


@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_any_bytes_can_be_read_without_an_error(data: bytes) -> None:
    try:
        headings, records = read(data)
    except Refused:
        return
    assert all(heading.isprintable() for heading in headings)
    lines = [record.line for record in records]
    assert lines == sorted(set(lines)) and all(line > 1 for line in lines)


def test_a_record_has_the_line_on_which_it_starts() -> None:
    _, records = read('\nname,email\n\n"A\nB\r\nC",a\n , \nD,d\n')
    assert [(record.line, record.cells) for record in records] == [(4, ["A\nB\r\nC", "a"]), (8, ["D", "d"])]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_stray_quotation_mark_spoils_only_its_own_row(line_end: str) -> None:
    rows = ["name,email", "A,a", '"B,b', "C,c", 'D,"d', "E,e", '"F" x,f', 'G "the" G,g', "H,h"]
    _, records = read(line_end.join(rows))
    assert [record.line for record in records if record.problem] == [3, 5, 7]
    assert [record.cells for record in records if not record.problem] == [
        ["A", "a"],
        ["C", "c"],
        ["E", "e"],
        ['G "the" G', "g"],
        ["H", "h"],
    ]


def test_an_endless_cell_spoils_only_its_own_row() -> None:
    _, records = read(f"name,email\nA,a\n{'b' * 1_000_000},b\nC,c\n")
    assert [(record.line, bool(record.problem)) for record in records] == [(2, False), (3, True), (4, False)]


def test_many_stray_quotation_marks_take_little_time() -> None:
    _, records = read("name,email\n" + '"A,a\n' + "B,b\n" * 20_000 + '"C,c\n' * 20_000)
    assert sum(not record.problem for record in records) == 20_000


def test_the_separator_that_gives_known_headings_is_chosen() -> None:
    assert read("email;surname, first name, title, other\n")[0] == (
        "email",
        "surname, first name, title, other",
    )
    assert read("other; things\tname\temail\n")[0] == ("other; things", "name", "email")
    assert read("email\na@b.cd\n") == (("email",), [Record(2, ["a@b.cd"])])


def test_a_spreadsheets_line_that_names_the_separator_is_obeyed_and_counted() -> None:
    assert read("sep=;\r\nname;email\r\nA;a,a\r\n") == (("name", "email"), [Record(3, ["A", "a,a"])])


def test_a_byte_order_mark_is_not_part_of_the_first_heading() -> None:
    text = "email,name\nå,b\n"
    for mark, encoding in [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ]:
        assert read(mark + text.encode(encoding)) == (("email", "name"), [Record(2, ["å", "b"])])


def test_a_broken_character_spoils_no_other_name_in_a_utf_8_file() -> None:
    data = "name,email\nÅsa,a\nZoë,z\n".encode() + b"Ren\xe9,r\n"
    assert [record.cells[0] for record in read(data)[1]] == ["Åsa", "Zoë", "Ren\N{REPLACEMENT CHARACTER}"]


def test_an_octet_that_windows_1252_does_not_define_is_reported_and_spoils_no_other_row() -> None:
    data = b"name,email\n\xc5sa,a\nX\x81,x\n"
    assert [record.cells[0] for record in read(data)[1]] == ["Åsa", "X\N{REPLACEMENT CHARACTER}"]


def test_names_in_chinese_are_read_from_utf_16_without_a_mark() -> None:
    rows = [["name", "email"], *([f"会员{number}", f"m{number}@example.org"] for number in range(200))]
    for encoding in ("utf-16-le", "utf-16-be"):
        assert [record.cells for record in read(written(rows, ",", "\n", encoding))[1]] == rows[1:]


@pytest.mark.parametrize("data", [b"", b"\n\n", b" \n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, b"sep=;\n"])
def test_an_empty_file_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="the file is empty"):
        read(data)


def test_headings_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(Refused, match="line 2: its quotation marks do not match"):
        read('\n"name,email\nA,a\n')


def test_a_file_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "LARGEST", 20)
    with pytest.raises(Refused, match="the file has 21 bytes; at most 20 are accepted"):
        read(b"name,email\n1234567890")
