"""What a data source is asked for and what it answers: totals of measures over the cells of tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sandbox.frame import Frame
from sandbox.query import CellTable, Filter

CellOfRow: TypeAlias = npt.NDArray[np.int32]
"""For each row of the source, in the order of its positions, the cell that it lies in; -1: in none."""

Missing: TypeAlias = npt.NDArray[np.bool_]
"""For each row, in the same order, whether it lacks a value that some measure asks for."""


@dataclass(frozen=True, slots=True)
class CellPlan:
    """One pass over a source.

    `tables` are computed from the same rows; `filters` hold for every cell. Columns are the frame's; `mapping` names
    the declared column of each (logical name -> declared name). `shares` asks for the largest contributors, `rows` for
    the cells' rows: both cost time, and no more is computed than the release rules need.
    """

    tables: tuple[CellTable, ...]
    filters: tuple[Filter, ...]
    frame: Frame
    mapping: Mapping[str, str]
    shares: bool
    rows: bool


@dataclass(frozen=True, slots=True)
class TableTotals:
    """A provider's own exact totals over one table.

    `totals[cell][measure]` are integers, scaled by the frame's decimals of each term. `support[cell]` is the smallest
    number of contributors to any measure of the cell: persons where the declaration tells them apart, else rows.
    `shares[cell]` is the largest part that one contributor has in any sum of one column, of absolute values, 0 to 1; 0
    where nothing is added up; empty where the plan does not ask. `rows` is None where the plan does not ask; where it
    does, `missing` has a mask for every `present` of a measure that leaves rows of cells out: which ones.
    """

    totals: tuple[tuple[int, ...], ...]
    support: tuple[int, ...]
    shares: tuple[Fraction, ...]
    rows: CellOfRow | None
    missing: tuple[Missing, ...] = ()


@dataclass(frozen=True, slots=True)
class CellTotals:
    """A provider's own exact totals, table by table as planned; they never leave its domain in the clear.

    `excluded_rows` counts the rows that violate the declaration or lie in no level of a grouping column of the first
    table; it is for the provider's own eyes.
    """

    tables: tuple[TableTotals, ...]
    excluded_rows: int

    def cells(self) -> Iterator[tuple[int, ...]]:
        """The totals of all cells, numbered through over the tables."""
        for table in self.tables:
            yield from table.totals
