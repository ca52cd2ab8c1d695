"""What a joint aggregate released, before any division: cells of totals, table by table, in exact integers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeAlias

from sandbox.frame import Frame
from sandbox.query import AggregateQuery, CellGrid, CellTable
from sandbox.statistic import Measure

Sums: TypeAlias = Mapping[Measure, int]
"""The totals of one open cell."""

CONTRIBUTORS: Final = "contributors"
"""The column that says how many providers are in a cell."""


@dataclass(frozen=True, slots=True)
class ReleasedCells:
    """The verified totals of a call.

    `totals` has one row a cell, numbered through over the query's tables, of exact scaled integers in the order of the
    table's measures; `contributors` is the number of providers in each cell, 0 where it is closed. `providers` is how
    many took part in the call.
    """

    totals: tuple[tuple[int, ...], ...]
    contributors: tuple[int, ...]
    providers: int


@dataclass(frozen=True, slots=True)
class AnsweredTable:
    """One table of a query with its totals; cells row-major in the grid's columns.

    `refined_by` is the column whose levels split the query's own cells further, the grid's last; None: they are not.
    """

    table: CellTable
    refined_by: str | None
    totals: tuple[tuple[int, ...], ...]
    contributors: tuple[int, ...]

    @property
    def bins(self) -> int:
        """Cells a group of the query: 1, or the levels of the refining column."""
        return 1 if self.refined_by is None else self.table.grid.columns[-1].level_count

    def cell(self, index: int) -> Sums | None:
        """The totals of one cell; None where it is closed."""
        if not self.contributors[index]:
            return None
        return dict(zip(self.table.measures, self.totals[index], strict=True))

    def cells(self) -> Iterator[Sums | None]:
        """The totals of all cells, in order."""
        return (self.cell(index) for index in range(self.table.grid.size))

    def group(self, index: int) -> tuple[Sums | None, ...]:
        """The totals of the cells into which one group of the query is split."""
        return tuple(self.cell(index * self.bins + position) for position in range(self.bins))

    def exact(self) -> dict[str, tuple[int | None, ...]]:
        """All totals by the measure's name, None in closed cells; refined ones are named `rows by education`."""
        suffix = "" if self.refined_by is None else f" by {self.refined_by}"
        return {
            f"{measure.name}{suffix}": tuple(
                row[position] if contributors else None
                for row, contributors in zip(self.totals, self.contributors, strict=True)
            )
            for position, measure in enumerate(self.table.measures)
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """A query, the frame that it is over, and its tables. `groups` are the query's own cells, answered or not."""

    query: AggregateQuery
    frame: Frame
    groups: CellGrid
    tables: tuple[AnsweredTable, ...]
    providers: int

    @classmethod
    def of(cls, query: AggregateQuery, frame: Frame, cells: ReleasedCells) -> Answer:
        """Share the cells out among the query's tables."""
        totals, contributors = iter(cells.totals), iter(cells.contributors)
        tables = []
        for table in query.tables(frame):
            columns = table.grid.columns
            tables.append(
                AnsweredTable(
                    table=table,
                    refined_by=columns[-1].name if len(columns) > len(query.group_by) else None,
                    totals=tuple(islice(totals, table.grid.size)),
                    contributors=tuple(islice(contributors, table.grid.size)),
                )
            )
        groups = CellGrid(tuple(frame.column(name) for name in query.group_by))
        return cls(query, frame, groups, tuple(tables), cells.providers)

    def table(self, refined_by: str | None) -> AnsweredTable:
        """The table with this refining column; KeyError where nothing was asked of it."""
        for table in self.tables:
            if table.refined_by == refined_by:
                return table
        raise KeyError(refined_by)

    @property
    def own(self) -> AnsweredTable | None:
        """The table of the query's own cells; None where every statistic splits them further."""
        return self.tables[0] if self.tables[0].refined_by is None else None


def group_label(grid: CellGrid, index: int) -> str:
    """Return how notes name a cell: `education=[8, 12), parttime=no`; empty where there is one cell alone."""
    return ", ".join(f"{column.name}={label}" for column, label in zip(grid.columns, grid.labels(index), strict=True))
