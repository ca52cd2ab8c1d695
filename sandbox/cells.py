"""What a data source is asked for and what it answers: totals of measures over the cells of a grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.frame import Frame
from sandbox.request import CellGrid, Filter, Measure


@dataclass(frozen=True, slots=True)
class CellPlan:
    """One pass over a source.

    `grid` lists the cells row-major over its columns' levels; `filters` hold for every cell; `measures` are computed in
    each. Columns are the frame's; `mapping` names the declared column of each (logical name -> declared name).
    """

    grid: CellGrid
    filters: tuple[Filter, ...]
    measures: tuple[Measure, ...]
    frame: Frame
    mapping: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CellTotals:
    """A provider's own exact totals; they never leave its domain in the clear.

    `totals[cell][measure]` are integers, sums scaled by the frame's decimals. `support[cell]` is the smallest number of
    rows that contribute to any measure of the cell. `excluded_rows` counts the rows that violate the declaration or lie
    in no cell's levels; it is for the provider's own eyes.
    """

    totals: tuple[tuple[int, ...], ...]
    support: tuple[int, ...]
    excluded_rows: int
