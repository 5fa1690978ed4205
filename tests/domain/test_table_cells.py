"""Cells that a spreadsheet opens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.table import guard_cell, unguard_cell

FORMULAS = ["=1+1", "+44 20", "-2", "@SUM(A1)", "\tx", "\rx", "＝1", "＋1", "－1", "＠x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_cell_that_a_spreadsheet_would_compute_gets_an_apostrophe(text: str) -> None:
    assert guard_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "Ann", "O'Neill", "'tis", "a=1", "1-2"])
def test_other_cells_are_unchanged(text: str) -> None:
    assert guard_cell(text) == text and unguard_cell(text) == text


@given(st.text(alphabet="'=+-@\t＝＠a ") | st.text())
def test_a_guarded_cell_is_not_a_formula_and_is_read_back_unchanged(text: str) -> None:
    guarded = guard_cell(text)
    assert not guarded.startswith(tuple("=+-@\t\r\n＝＋－＠"))
    assert unguard_cell(guarded) == text
