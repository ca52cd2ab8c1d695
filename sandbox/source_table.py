"""One table's totals, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sandbox.cells import CellOfRow, TableTotals
from sandbox.query import CellTable
from sandbox.source_columns import PlanColumn
from sandbox.source_levels import Mask, levels_of
from sandbox.source_persons import Contributions, PersonOfRow, persons_in_cells
from sandbox.source_sums import Cells, CellSums, Integers, ProductSums
from sandbox.statistic import Measure

Kind = TypeVar("Kind", bound=np.generic)


@dataclass(slots=True)
class Batch:
    """Rows of a scan.

    `codes` are the columns by logical name; `absent` marks, where there are any, the rows in which a column's value may
    not be used; `out` marks the rows that are in no cell of any table, None if there are none.
    """

    rows: int
    codes: Mapping[str, npt.NDArray[np.signedinteger]]
    absent: Mapping[str, Mask]
    out: Mask | None
    _values: dict[str, Integers] = field(default_factory=dict)

    def values(self, name: str) -> Integers:
        """A column's integers, zero where they may not be used."""
        if name not in self._values:
            values = self.codes[name].astype(np.int64)
            if name in self.absent:
                values[self.absent[name]] = 0
            self._values[name] = values
        return self._values[name]

    def missing(self, names: Sequence[str]) -> Mask | None:
        """The rows in which one of the columns may not be used; None if there are none."""
        masks = [self.absent[name] for name in names if name in self.absent]
        return np.logical_or.reduce(masks) if masks else None


class TableFold:
    """A table's totals over the batches so far.

    Args:
        columns: the plan's columns.
        shares: whether the largest contributors are asked for.
        rows: whether each row's cell is.
        persons: whether contributors are persons; else each row is one.
    """

    def __init__(
        self, table: CellTable, columns: Sequence[PlanColumn], *, shares: bool, rows: bool, persons: bool
    ) -> None:
        self._table = table
        self._size = table.grid.size
        by_name = {column.name: column for column in columns}
        self._levels = [(column.name, levels_of(by_name[column.name])) for column in table.grid.columns]
        self._counts = {
            measure.present: _Count(self._size, measure.present, masks=rows or persons) for measure in table.measures
        }
        self._sums = {
            measure: _Sum(measure, by_name, self._size, shares=shares, persons=persons)
            for measure in table.measures
            if measure.terms
        }
        self._shares, self._rows, self._persons = shares, rows, persons
        self._cells: list[CellOfRow] = []
        self.levelless = 0

    def add(self, batch: Batch) -> None:
        """Add a batch; the rows that are in no cell go to one beyond the last."""
        cell = self._place(batch)
        rows = np.bincount(cell, minlength=self._size + 1)
        for count in self._counts.values():
            count.add(batch, cell, rows)
        for summed in self._sums.values():
            summed.add(batch, cell)
        if self._rows or self._persons:
            of_row = cell.astype(np.int32)
            of_row[cell == self._size] = -1
            self._cells.append(of_row)

    def finish(self, person: PersonOfRow | None, order: npt.NDArray[np.intp] | None) -> TableTotals:
        """The totals.

        Args:
            person: the person of each row as it came; None where each row is a contributor.
            order: which row, as it came, is at each position; None where rows came in that order.
        """
        rows = joined(self._cells, np.int32)
        self._cells.clear()
        measured = [
            self._sums[measure].totals() if measure.terms else self._counts[measure.present].totals()
            for measure in self._table.measures
        ]
        support = [count.support(rows, person) for count in self._counts.values()]
        shares: tuple[Fraction, ...] = ()
        if self._shares:
            by_person = None if person is None else Contributions(rows, person, self._size)
            each = [summed.shares(by_person) for summed in self._sums.values() if len(summed.terms) == 1]
            shares = tuple(map(max, zip(*each, strict=True))) if each else (Fraction(0),) * self._size
        missing = [count.missing for present, count in self._counts.items() if present and self._rows]
        return TableTotals(
            totals=tuple(zip(*measured, strict=True)),
            support=tuple(map(min, zip(*support, strict=True))),
            shares=shares,
            rows=None if not self._rows else rows if order is None else rows[order],
            missing=tuple(mask if order is None else mask[order] for mask in missing if mask[rows >= 0].any()),
        )

    def _place(self, batch: Batch) -> Cells:
        cell = np.zeros(batch.rows, np.intp)
        lost: Mask | None = None
        for name, levels in self._levels:
            level = levels.of(batch.codes[name])
            if name in batch.absent:
                level[batch.absent[name]] = -1
            if batch.rows and level.min() < 0:
                lost = level < 0 if lost is None else lost | (level < 0)
            cell = cell * levels.count + level if len(self._levels) > 1 else level
        if lost is not None:
            self.levelless += int((lost if batch.out is None else lost & ~batch.out).sum())
            cell[lost] = self._size
        if batch.out is not None:
            cell[batch.out] = self._size
        return cell


class _Count:
    """Rows in which the columns of `present` are all there, and the contributors that they are of.

    Args:
        masks: whether it is kept in which rows they are not.
    """

    def __init__(self, cells: int, present: tuple[str, ...], *, masks: bool) -> None:
        self._present, self._masks = present, masks
        self._counts = np.zeros(cells + 1, np.int64)
        self._missing: list[Mask] = []

    def add(self, batch: Batch, cell: Cells, rows: Integers) -> None:
        """Count a batch, `rows` of which are in each cell."""
        missing = batch.missing(self._present)
        self._counts += rows if missing is None else np.bincount(cell[~missing], minlength=len(self._counts))
        if self._masks and self._present:
            self._missing.append(np.zeros(batch.rows, np.bool_) if missing is None else missing)

    def totals(self) -> list[int]:
        """The number of rows in each cell."""
        totals: list[int] = self._counts[:-1].tolist()
        return totals

    @property
    def missing(self) -> Mask:
        """The rows, as they came, in which one of the columns is not there; none where masks are not kept."""
        return joined(self._missing, np.bool_)

    def support(self, rows: CellOfRow, person: PersonOfRow | None) -> list[int]:
        """The number of contributors to each cell."""
        if person is None:
            return self.totals()
        cells = np.where(self.missing, np.int32(-1), rows) if self._present else rows
        return persons_in_cells(cells, person, len(self._counts) - 1)


class _Sum:
    """The sum of one measure; of a single column also of absolute values, and the largest of them, if asked."""

    def __init__(
        self, measure: Measure, columns: Mapping[str, PlanColumn], cells: int, *, shares: bool, persons: bool
    ) -> None:
        used = [columns[name] for name in measure.terms]
        self.terms = measure.terms
        self._beyond = tuple(name for name in measure.present if name not in measure.terms)
        self._factor = prod(column.factor for column in used)
        self._bound = used[0].largest
        self._sums = ProductSums(cells + 1, [column.largest for column in used])
        self._watched = shares and len(used) == 1
        self._absolute = CellSums(cells + 1, self._bound) if self._watched and used[0].lo < 0 else None
        self._largest = np.zeros(cells + 1, np.int64)
        self._persons = persons
        self._values: list[Integers] = []

    def add(self, batch: Batch, cell: Cells) -> None:
        """Add a batch."""
        factors = [batch.values(name) for name in self.terms]
        missing = batch.missing(self._beyond)
        if missing is not None:
            factors[0] = np.where(missing, 0, factors[0])
        self._sums.add(cell, factors)
        if self._watched:
            values = np.abs(factors[0])
            if self._absolute is not None:
                self._absolute.add(cell, values)
            if self._persons:
                self._values.append(values)
            else:
                np.maximum.at(self._largest, cell, values)

    def totals(self) -> list[int]:
        """The sum in each cell, in frame units."""
        return [total * self._factor for total in self._sums.totals()[:-1]]

    def shares(self, by_person: Contributions | None) -> list[Fraction]:
        """What the largest contributor makes of the absolute sum in each cell; 0 where that is 0."""
        whole = (self._sums if self._absolute is None else self._absolute).totals()[:-1]
        if by_person is None:
            largest = self._largest[:-1].tolist()
        else:
            values = joined(self._values, np.int64)
            self._values.clear()
            largest = by_person.largest(values, self._bound)
        return [Fraction(part, total) if total else Fraction(0) for part, total in zip(largest, whole, strict=True)]


def joined(chunks: Sequence[npt.NDArray[Kind]], kind: type[Kind]) -> npt.NDArray[Kind]:
    """The chunks as one array."""
    return np.concatenate(chunks) if chunks else np.zeros(0, kind)
