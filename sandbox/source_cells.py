"""Totals over a grid of cells by one SQL GROUP BY pass.

A row that violates the declaration in a column that the plan uses is left out of every cell; so is a row that lies in
no level of a grouping column, a null there included. A null in a measured column leaves the row in ROWS alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Final

import pyarrow as pa

from sandbox.cells import CellPlan, CellTotals, TableTotals
from sandbox.declaration_model import ColumnDeclaration, DatasetDeclaration, OnViolation
from sandbox.errors import ContractError, SourceError
from sandbox.frame import ColumnType, FrameColumn
from sandbox.request import CellTable, DomainFilter, Filter, Measure
from sandbox.scan import READABLE, Parameters, Scan, quoted, read_expression

MAX_SCANNED_ROWS: Final = 2**32 - 1  # what the layout of slots rests on
_EXCLUDED: Final = -1
_FILTERED: Final = -2


@dataclass(frozen=True, slots=True)
class _PlanColumn:
    """A column that the plan uses; `key` is its number in SQL names."""

    key: int
    frame: FrameColumn
    declared: ColumnDeclaration
    filter: Filter | None

    @property
    def factor(self) -> int:
        """Frame units in one declared unit."""
        return int(10 ** (self.frame.decimals - self.declared.decimals))

    def least(self, bound: int) -> int:
        """The least declared-scale integer that is >= `bound` in frame units."""
        return -(-bound // self.factor)

    def greatest(self, bound: int) -> int:
        """The greatest declared-scale integer that is <= `bound` in frame units."""
        return bound // self.factor


def plan_columns(plan: CellPlan, declaration: DatasetDeclaration) -> tuple[ColumnDeclaration, ...]:
    """The declared columns that a plan reads.

    Raises:
        ContractError: the frame does not fit the declaration.
    """
    return tuple(column.declared for column in _columns(plan, declaration))


def cell_totals(scan: Scan, plan: CellPlan, declaration: DatasetDeclaration) -> CellTotals:
    """Aggregate the scan as planned.

    Raises:
        ContractError: the frame does not fit the declaration.
        SourceError: a column is missing, of a type that cannot be read as declared, or 2^32 rows or more are there.
    """
    columns = _columns(plan, declaration)
    for column in columns:
        check_readable(scan, column.declared)
        if column.frame.type is ColumnType.CATEGORY:
            scan.connection.register(f"lookup_{column.key}", _lookup(column))
    tables: list[TableTotals] = []
    excluded = 0
    for table in plan.tables:
        parameters = Parameters()
        sql = _statement(scan, table, columns, parameters)
        totals, left_out = _collect(scan.fetch(sql, parameters), table, scan.place)
        excluded = excluded if tables else left_out
        tables.append(totals)
    return CellTotals(tuple(tables), excluded)


def check_readable(scan: Scan, column: ColumnDeclaration) -> None:
    """Raise `SourceError` unless the scan has the column in a type that can be read as declared."""
    physical = scan.types.get(column.physical)
    if physical is None:
        raise SourceError(
            f"{scan.place} has no column {column.physical!r} (declared as {column.name}); "
            "name the right one with physical"
        )
    if physical not in READABLE[column.type]:
        raise SourceError(
            f"{scan.place}: column {column.physical!r} holds {physical.value}, which cannot be read as "
            f"{column.type.value}; declare another type or convert it"
        )


def _columns(plan: CellPlan, declaration: DatasetDeclaration) -> tuple[_PlanColumn, ...]:
    if any(table.grid.size < 1 for table in plan.tables):
        raise ContractError("a grouping column has no levels; group by a category or by a number with edges")
    filters = {item.column: item for item in plan.filters}
    grouped = [column.name for table in plan.tables for column in table.grid.columns]
    measures = [measure for table in plan.tables for measure in table.measures]
    names = dict.fromkeys([*grouped, *filters, *(name for measure in measures for name in measure.columns)])
    added = {name for measure in measures for name in measure.terms}
    columns = []
    for key, name in enumerate(names):
        frame, declared = plan.frame.column(name), declaration.column(plan.mapping.get(name, name))
        is_category = frame.type is ColumnType.CATEGORY
        if is_category != (declared.type is ColumnType.CATEGORY) or frame.decimals < declared.decimals:
            raise ContractError(
                f"column {name}: the frame's {frame.type.value} at {frame.decimals} decimals does not hold the "
                f"declared {declared.type.value} at {declared.decimals}; fit the frame to the declaration"
            )
        if is_category and name in added:
            raise ContractError(f"column {name} is a category; it can be counted, not summed")
        columns.append(_PlanColumn(key, frame, declared, filters.get(name)))
    return tuple(columns)


def _lookup(column: _PlanColumn) -> pa.Table:
    """The declared values of a category, each with its level in the frame and whether the filter keeps it."""
    levels = {value: index for index, value in enumerate(column.frame.domain)}
    kept = frozenset(column.filter.values) if isinstance(column.filter, DomainFilter) else frozenset(levels)
    values = list(column.declared.domain)
    return pa.table(
        {
            "value": pa.array(values, pa.string()),
            "level": pa.array([levels.get(value) for value in values], pa.int64()),
            "kept": pa.array([value in kept for value in values], pa.bool_()),
        }
    )


def _statement(scan: Scan, table: CellTable, columns: tuple[_PlanColumn, ...], parameters: Parameters) -> str:
    by_name = {column.frame.name: column for column in columns}
    categories = [column for column in columns if column.frame.type is ColumnType.CATEGORY]
    read = ", ".join(_read(scan, column) for column in columns) or "1 AS one"
    joins = "".join(f" LEFT JOIN lookup_{c.key} ON lookup_{c.key}.value = value_{c.key}" for c in categories)
    judged = [
        f"({' OR '.join(_bad(c, parameters) for c in columns) or 'false'}) AS bad",
        *(f"{_usable(c, parameters)} AS usable_{c.key}" for c in columns),
        *(f"lookup_{c.key}.level AS level_{c.key}, lookup_{c.key}.kept AS kept_{c.key}" for c in categories),
    ]
    keep = " AND ".join(_keep(c, c.filter, parameters) for c in columns if c.filter is not None) or "true"
    levels = [_level(by_name[column.name], parameters) for column in table.grid.columns]
    cell = reduce(
        lambda outer, inner: f"({outer} * {inner[0]} + {inner[1]})", zip(table.grid.shape, levels, strict=True), "0"
    )
    measured = "".join(f", {_total(measure, by_name)}" for measure in table.measures[1:])
    # S608: identifiers are quoted and every value is a parameter.
    return (
        f"WITH parsed AS (SELECT {read} FROM {scan.relation}), "  # noqa: S608
        f"judged AS (SELECT {', '.join(judged)} FROM parsed{joins}), "
        f"placed AS (SELECT *, CASE WHEN bad THEN {_EXCLUDED} WHEN NOT coalesce({keep}, false) THEN {_FILTERED} "
        f"ELSE coalesce({cell}, {_EXCLUDED}) END AS cell FROM judged) "
        f"SELECT cell, count(*){measured} FROM placed GROUP BY cell"
    )


def _total(measure: Measure, columns: Mapping[str, _PlanColumn]) -> str:
    """SQL for one measure in frame units, over the rows in which everything it needs is there."""
    present = " AND ".join(f"usable_{columns[name].key} IS NOT NULL" for name in measure.present) or "true"
    if not measure.terms:
        return f"count(*) FILTER (WHERE {present})"
    factors = [columns[name] for name in measure.terms]
    scaled = " * ".join(
        f"CAST(usable_{c.key} * {10**c.declared.decimals} AS HUGEINT) * {c.factor}::HUGEINT" for c in factors
    )
    return f"sum({scaled}) FILTER (WHERE {present})"


def _read(scan: Scan, column: _PlanColumn) -> str:
    value = read_expression(column.declared, scan.types[column.declared.physical])
    return f"{quoted(column.declared.physical)} IS NULL AS null_{column.key}, {value} AS value_{column.key}"


def _bad(column: _PlanColumn, parameters: Parameters) -> str:
    """SQL that is true where the row violates the declaration, or lies outside the frame's bounds; never null."""
    key, declared, frame = column.key, column.declared, column.frame
    null = f"null_{key} AND {'false' if declared.nullable else 'true'}"
    if frame.type is ColumnType.CATEGORY:
        return f"({null} OR NOT null_{key} AND lookup_{key}.value IS NULL)"
    bounds = []
    if declared.on_violation is not OnViolation.CLIP:
        bounds.append((declared.lo, declared.hi, f"value_{key}"))
    bounds.append((column.least(_known(frame.lo)), column.greatest(_known(frame.hi)), _clipped(column, parameters)))
    inside = " AND ".join(
        f"{value} BETWEEN {parameters.scaled(_known(lo), declared.decimals)} AND "
        f"{parameters.scaled(_known(hi), declared.decimals)}"
        for lo, hi, value in bounds
    )
    return f"({null} OR NOT null_{key} AND NOT coalesce({inside}, false))"


def _clipped(column: _PlanColumn, parameters: Parameters) -> str:
    value, declared = f"value_{column.key}", column.declared
    if declared.on_violation is not OnViolation.CLIP:
        return value
    lo, hi = (parameters.scaled(_known(bound), declared.decimals) for bound in (declared.lo, declared.hi))
    # greatest() and least() skip nulls in DuckDB; a value that cannot be read must stay null.
    return f"CASE WHEN {value} IS NOT NULL THEN least(greatest({value}, {lo}), {hi}) END"


def _usable(column: _PlanColumn, parameters: Parameters) -> str:
    if column.frame.type is ColumnType.CATEGORY:
        return f"value_{column.key}"
    # 18 digits hold every value within the bounds, and leave a sum of 2^32 of them within DECIMAL(38).
    return f"TRY_CAST({_clipped(column, parameters)} AS DECIMAL(18, {column.declared.decimals}))"


def _keep(column: _PlanColumn, condition: Filter, parameters: Parameters) -> str:
    if isinstance(condition, DomainFilter):
        if column.frame.type is not ColumnType.CATEGORY:
            raise ContractError(f"column {column.frame.name} is a number; filter it by a range of its edges")
        return f"kept_{column.key}"
    if column.frame.type is ColumnType.CATEGORY:
        raise ContractError(f"column {column.frame.name} is a category; filter it by values of its domain")
    value, decimals = f"usable_{column.key}", column.declared.decimals
    sides = [f"{value} IS NOT NULL"]
    if condition.lo is not None:
        sides.append(f"{value} >= {parameters.scaled(column.least(condition.lo), decimals)}")
    if condition.hi is not None and column.frame.edges and condition.hi == column.frame.edges[-1]:
        sides.append(f"{value} <= {parameters.scaled(column.greatest(condition.hi), decimals)}")
    elif condition.hi is not None:
        sides.append(f"{value} < {parameters.scaled(column.least(condition.hi), decimals)}")
    return f"({' AND '.join(sides)})"


def _level(column: _PlanColumn, parameters: Parameters) -> str:
    """SQL for the row's level, 0 and up; NULL where it has none."""
    if column.frame.type is ColumnType.CATEGORY:
        return f"level_{column.key}"
    value, decimals, edges = f"usable_{column.key}", column.declared.decimals, column.frame.edges
    first = parameters.scaled(column.least(edges[0]), decimals)
    last = parameters.scaled(column.greatest(edges[-1]), decimals)

    def search(low: int, high: int) -> str:
        # A balanced tree: a chain of WHENs would hold every row against every edge.
        if high - low == 1:
            return str(low)
        middle = (low + high) // 2
        edge = parameters.scaled(column.least(edges[middle]), decimals)
        return f"CASE WHEN {value} < {edge} THEN {search(low, middle)} ELSE {search(middle, high)} END"

    level = search(0, len(edges) - 1)
    return f"CASE WHEN {value} IS NULL OR {value} < {first} OR {value} > {last} THEN NULL ELSE {level} END"


def _collect(rows: Iterable[tuple[object, ...]], table: CellTable, place: str) -> tuple[TableTotals, int]:
    totals = [(0,) * len(table.measures)] * table.grid.size
    support = [0] * table.grid.size
    scanned = excluded = 0
    for cell, *row in rows:
        assert isinstance(cell, int)
        figures = tuple(int(str(figure or 0)) for figure in row)
        scanned += figures[0]
        if cell == _EXCLUDED:
            excluded = figures[0]
        if cell < 0:
            continue
        totals[cell] = figures
        support[cell] = min(
            figure for figure, measure in zip(figures, table.measures, strict=True) if not measure.terms
        )
    if scanned > MAX_SCANNED_ROWS:
        raise SourceError(f"{place} has 2^32 rows or more, more than a part can hold; split the dataset")
    return TableTotals(tuple(totals), tuple(support), (), None), excluded


def _known(bound: int | None) -> int:
    if bound is None:
        raise ContractError("a number without public bounds cannot be used; declare lo and hi")
    return bound
