"""A table of a result in the making: grouping columns, then figures with their units."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from parties.client.result_cells import CONTRIBUTORS
from sandbox.query import CellGrid


class Columns:
    """The columns of a table: those of a grid, each of its cells `repeat` rows long, then the figures."""

    def __init__(self, grid: CellGrid, repeat: int = 1) -> None:
        self._columns = level_columns(grid, repeat)
        self._units: dict[str, str] = {}
        self._repeat = repeat

    def add(self, name: str, values: object, unit: str = "") -> None:
        """Add a figure; a grouping column of the same name keeps it, and the figure gets an underscore behind it."""
        while name in self._columns:
            name += "_"
        self._columns[name] = values
        if name != CONTRIBUTORS:
            self._units[name] = unit

    def integers(self, name: str, values: Iterable[int | None], unit: str = "") -> None:
        """Add a column of integers with NA for None."""
        self.add(name, pd.array([pd.NA if value is None else value for value in values], dtype="Int64"), unit)

    def floats(self, name: str, values: Iterable[float | None], unit: str = "") -> None:
        """Add a column of float64 with NaN for None."""
        numbers = [float("nan") if value is None else value for value in values]
        self.add(name, pd.array(numbers, dtype="float64"), unit)

    def contributors(self, counts: Iterable[int]) -> None:
        """Add how many providers are in each cell of the grid; a number of providers has no unit."""
        self.integers(CONTRIBUTORS, (count for count in counts for _ in range(self._repeat)))

    def frame(self) -> pd.DataFrame:
        """The table, with `attrs["units"]`."""
        made = pd.DataFrame(self._columns)
        made.attrs["units"] = dict(self._units)
        return made


def level_columns(grid: CellGrid, repeat: int = 1) -> dict[str, object]:
    """Return the grid's columns as ordered categoricals, one row a cell, each `repeat` times over."""
    if not grid.columns:
        return {}
    positions = np.unravel_index(np.repeat(np.arange(grid.size), repeat), grid.shape)
    return {
        column.name: pd.Categorical.from_codes(codes, pd.Index([level.label for level in column.levels]), ordered=True)
        for column, codes in zip(grid.columns, positions, strict=True)
    }
