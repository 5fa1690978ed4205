"""Cells that a spreadsheet opens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.table import guard_cell, unguard_cell

FORMULAS = ["=1+1", "+44 20", "-2", "@SUM(A1)", "\tx", "\rx", "＝1", "＋1", "－1", "＠x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_would_compute_gets_an_apostrophe(text: str) -> None:
    assert guard_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "Ann", "O'Neill", "'tis", "a=1", "1-2"])
def test_other_cells_stay_as_they_are(text: str) -> None:
    assert guard_cell(text) == text and unguard_cell(text) == text


@given(st.text(alphabet="'=+-@\t＝＠a ") | st.text())
def test_a_guarded_cell_is_no_formula_and_comes_back_as_it_was(text: str) -> None:
    guarded = guard_cell(text)
    assert not guarded.startswith(tuple("=+-@\t\r\n＝＋－＠"))
    assert unguard_cell(guarded) == text
