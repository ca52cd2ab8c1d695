"""What a merchant asks: statistics over cells, in logical columns.

A query says nothing of rows or providers. From the contract's frame follow its cells (`CellGrid`) and the sufficient
statistic that the providers add up (`Measure`).
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

MAX_CELLS: Final = 100_000
MAX_STATISTICS: Final = 64
MAX_GROUP_BY: Final = 8
MAX_FILTERS: Final = 16


class StatisticKind(Enum):
    """What a merchant may ask for."""

    COUNT = "count"
    SUM = "sum"
    MEAN = "mean"


@dataclass(frozen=True, slots=True)
class Statistic:
    """One figure a cell. COUNT without a column counts rows; with one, its values that are not null."""

    kind: StatisticKind
    column: str | None

    def to_json(self) -> dict[str, Json]:
        """The statistic as committed."""
        body: dict[str, Json] = {"kind": self.kind.value}
        if self.column is not None:
            body["column"] = self.column
        return body


class MeasureKind(Enum):
    """A component of the sufficient statistic that the providers add up."""

    ROWS = "rows"
    NONNULL = "nonnull"
    SUM = "sum"


@dataclass(frozen=True, slots=True)
class Measure:
    """ROWS has no column; NONNULL counts a column's values that are not null; SUM adds them up in scaled units."""

    kind: MeasureKind
    column: str | None


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
            if statistic.column is None and statistic.kind is not StatisticKind.COUNT:
                raise ContractError(f"{statistic.kind.value} needs a column; only count may go without")
        for item in self.filters:
            item.check()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every logical column that the query touches, sorted."""
        asked = {statistic.column for statistic in self.statistics if statistic.column is not None}
        return tuple(sorted(asked | set(self.group_by) | {item.column for item in self.filters}))

    def measures(self, frame: Frame) -> tuple[Measure, ...]:
        """The sufficient statistic behind the query, each component once, ROWS first.

        A mean is SUM over NONNULL where the frame says that the column may be null, and SUM over ROWS otherwise. The
        whole of it is released, and is priced and graded as such.

        Raises:
            ContractError: a column is not in the frame.
        """
        measures = {Measure(MeasureKind.ROWS, None): None}
        for statistic in self.statistics:
            if statistic.column is None:
                continue
            column = frame.column(statistic.column)
            if statistic.kind is not StatisticKind.COUNT:
                measures[Measure(MeasureKind.SUM, column.name)] = None
            if statistic.kind is StatisticKind.COUNT or column.nullable:
                measures[Measure(MeasureKind.NONNULL, column.name)] = None
        return tuple(measures)

    def grid(self, frame: Frame) -> CellGrid:
        """The query's cells.

        Raises:
            ContractError: a column is not in the frame.
        """
        return CellGrid(tuple(frame.column(name) for name in self.group_by))

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
            statistics=tuple(_statistic(item) for item in statistics),
            group_by=tuple(_text(item, "group_by") for item in group_by),
            filters=tuple(_filter(item) for item in filters),
        )


def _text(value: Json, where: str) -> str:
    if not isinstance(value, str):
        raise MalformedError(f"{where}: a column's name is text")
    return value


def _statistic(item: Json) -> Statistic:
    fields = Fields(item, where="statistics")
    kind = fields.choice("kind", StatisticKind)
    statistic = Statistic(kind, fields.optional_text("column", max_length=63))
    fields.finish()
    return statistic


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
