"""What a merchant asks: statistics over cells, in logical columns.

A query says nothing of rows or providers. From the contract's frame follow the tables that the providers add up
(`CellTable`): cells (`CellGrid`) and the sufficient statistic in each (`Measure`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Final, TypeAlias

from audit.canonical import Fields, Json, canonicalise
from audit.errors import MalformedError
from sandbox.errors import ContractError
from sandbox.frame import MAX_LEVEL_LENGTH, MAX_LEVELS, MAX_SCALED, Frame, FrameColumn, Level
from sandbox.purpose import Purpose
from sandbox.statistic import ROWS, Measure, Statistic

MAX_CELLS: Final = 100_000
MAX_STATISTICS: Final = 64
MAX_GROUP_BY: Final = 8
MAX_FILTERS: Final = 16
MAX_MEASURES: Final = 512  # of one table


@dataclass(frozen=True, slots=True)
class DomainFilter:
    """Keeps rows whose category is one of `values`, each of them in the column's domain."""

    column: str
    values: tuple[str, ...]

    def check(self) -> None:
        """Raise `ContractError` for a filter that keeps nothing or lists a value twice."""
        if not self.values or len(set(self.values)) != len(self.values):
            raise ContractError(f"the filter on {self.column} must list values, each once")

    def to_json(self) -> dict[str, Json]:
        """The filter as committed."""
        return {"kind": "domain", "column": self.column, "values": list(self.values)}


@dataclass(frozen=True, slots=True)
class RangeFilter:
    """Keeps rows with lo <= x < hi, or x <= hi where `hi` is the column's last edge.

    Both are declared edges in scaled units; None leaves that side open.
    """

    column: str
    lo: int | None
    hi: int | None

    def check(self) -> None:
        """Raise `ContractError` for a filter that keeps everything or nothing."""
        if self.lo is None and self.hi is None:
            raise ContractError(f"the filter on {self.column} needs lo, hi, or both")
        if self.lo is not None and self.hi is not None and self.lo >= self.hi:
            raise ContractError(f"the filter on {self.column} needs lo < hi")

    def to_json(self) -> dict[str, Json]:
        """The filter as committed."""
        body: dict[str, Json] = {"kind": "range", "column": self.column}
        if self.lo is not None:
            body["lo"] = str(self.lo)
        if self.hi is not None:
            body["hi"] = str(self.hi)
        return body


Filter: TypeAlias = DomainFilter | RangeFilter


class _FilterKind(Enum):
    DOMAIN = "domain"
    RANGE = "range"


@dataclass(frozen=True, slots=True)
class CellGrid:
    """The cells of a query: the product of its grouping columns' levels, row-major (the last column runs fastest)."""

    columns: tuple[FrameColumn, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Levels a column."""
        return tuple(column.level_count for column in self.columns)

    @property
    def size(self) -> int:
        """Number of cells; 1 without grouping columns."""
        return prod(self.shape)

    def levels(self, index: int) -> tuple[Level, ...]:
        """The level of each column in cell `index` (0 <= index < size).

        Raises:
            IndexError: no such cell.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"cell {index} of a grid of {self.size}")
        positions: list[int] = []
        for count in reversed(self.shape):
            index, position = divmod(index, count)
            positions.append(position)
        return tuple(column.level(position) for column, position in zip(self.columns, reversed(positions), strict=True))

    def labels(self, index: int) -> tuple[str, ...]:
        """The labels of cell `index`, one a column."""
        return tuple(level.label for level in self.levels(index))


@dataclass(frozen=True, slots=True)
class CellTable:
    """The cells of a grid and what is added up in each. A query has one for its own cells, and one a refining column.

    `measures` begins with ROWS and has each measure once.
    """

    grid: CellGrid
    measures: tuple[Measure, ...]

    @property
    def moments(self) -> int:
        """Sums a row that a moment matrix releases: all sums where there is a product among them, else none."""
        sums = [measure for measure in self.measures if measure.terms]
        return len(sums) if any(len(measure.terms) > 1 for measure in sums) else 0

    def to_json(self) -> dict[str, Json]:
        """The table as committed in receipts."""
        return {
            "columns": [column.name for column in self.grid.columns],
            "measures": [measure.to_json() for measure in self.measures],
        }


@dataclass(frozen=True, slots=True)
class AggregateQuery:
    """What is asked, in logical columns.

    Raises:
        ContractError: nothing asked, something asked twice, or a limit of this module exceeded.
    """

    statistics: tuple[Statistic, ...]
    group_by: tuple[str, ...]
    filters: tuple[Filter, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.statistics) <= MAX_STATISTICS:
            raise ContractError(f"ask for 1 to {MAX_STATISTICS} statistics, not {len(self.statistics)}")
        if len(self.group_by) > MAX_GROUP_BY or len(self.filters) > MAX_FILTERS:
            raise ContractError(f"at most {MAX_GROUP_BY} grouping columns and {MAX_FILTERS} filters are allowed")
        filtered = tuple(item.column for item in self.filters)
        for what, items in (("statistic", self.statistics), ("grouping column", self.group_by), ("filter", filtered)):
            if len(set(items)) != len(items):
                raise ContractError(f"a {what} is given twice; give each once")
        for statistic in self.statistics:
            if statistic.refined_by in self.group_by:
                raise ContractError(
                    f"{statistic.kind.value} by {statistic.refined_by}, which is a grouping column; drop it from those"
                )
        for item in self.filters:
            item.check()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every logical column that the query touches, sorted."""
        asked = {name for statistic in self.statistics for name in statistic.columns}
        return tuple(sorted(asked | set(self.group_by) | {item.column for item in self.filters}))

    def tables(self, frame: Frame) -> tuple[CellTable, ...]:
        """The sufficient statistic behind the query, whole: it is what is released, priced and graded.

        First, if any statistic is over them, the query's own cells; then one table a refining column, in the order in
        which they are first asked for. No table is there that nothing was asked of: the total of a cell whose
        histogram has closed bins would tell what those hold.

        Raises:
            ContractError: a column is not in the frame, or a table has more than `MAX_MEASURES` measures.
        """
        refined = dict.fromkeys(statistic.refined_by for statistic in self.statistics)
        order = sorted(refined, key=lambda name: name is not None)  # a stable sort: own cells first
        return tuple(self._table(frame, name) for name in order)

    def _table(self, frame: Frame, refined_by: str | None) -> CellTable:
        names = self.group_by if refined_by is None else (*self.group_by, refined_by)
        measures = {ROWS: None}
        for statistic in self.statistics:
            if statistic.refined_by == refined_by:
                measures.update(dict.fromkeys(statistic.measures(frame)))
        if len(measures) > MAX_MEASURES:
            raise ContractError(f"{len(measures)} sums a cell, {MAX_MEASURES} are allowed; ask for fewer columns")
        return CellTable(CellGrid(tuple(frame.column(name) for name in names)), tuple(measures))

    def to_fields(self, purpose: Purpose) -> dict[str, bytes]:
        """The committed fields: name -> canonical JSON."""
        return {
            "statistics": canonicalise([statistic.to_json() for statistic in self.statistics]),
            "group_by": canonicalise(list(self.group_by)),
            "filters": canonicalise([item.to_json() for item in self.filters]),
            "purpose": canonicalise(purpose.to_json()),
        }

    @classmethod
    def from_json(cls, statistics: Sequence[Json], group_by: Sequence[Json], filters: Sequence[Json]) -> AggregateQuery:
        """The inverse of `to_fields`, from the parsed lists.

        Raises:
            MalformedError: an item is malformed.
            ContractError: as for the class.
        """
        return cls(
            statistics=tuple(Statistic.from_json(Fields(item, where="statistics")) for item in statistics),
            group_by=tuple(_text(item, "group_by") for item in group_by),
            filters=tuple(_filter(item) for item in filters),
        )


def _text(value: Json, where: str) -> str:
    if not isinstance(value, str):
        raise MalformedError(f"{where}: a column's name is text")
    return value


def _filter(item: Json) -> Filter:
    fields = Fields(item, where="filters")
    column = fields.text("column", max_length=63)
    parsed: Filter
    match fields.choice("kind", _FilterKind):
        case _FilterKind.DOMAIN:
            parsed = DomainFilter(column, fields.texts("values", max_items=MAX_LEVELS, max_length=MAX_LEVEL_LENGTH))
        case _FilterKind.RANGE:
            lo = fields.optional_big("lo", lo=-MAX_SCALED, hi=MAX_SCALED)
            hi = fields.optional_big("hi", lo=-MAX_SCALED, hi=MAX_SCALED)
            parsed = RangeFilter(column, lo, hi)
    fields.finish()
    return parsed
