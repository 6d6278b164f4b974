"""The fault matrix, asserted: each cell is what the decision table says. See `fault_matrix.py`."""

from __future__ import annotations

import pytest

from fault_kinds import KINDS
from fault_matrix import CELLS, Cell, Result, complaints, run


@pytest.fixture(scope="module")
def results() -> dict[Cell, Result]:
    return run()


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_cell_is_what_the_decision_table_says(results: dict[Cell, Result], cell: Cell) -> None:
    assert complaints(results[cell]) == [], results[cell]


def test_no_cell_is_missing() -> None:
    assert len({(cell.kind.name, cell.where, cell.warm) for cell in CELLS}) == len(KINDS) * 6
