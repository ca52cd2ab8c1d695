"""From what an analyst writes - `mean(wage)`, `education>=12`, `{"parttime": "no"}` - to the query that is signed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

from parties.client.statistic_text import read_statistic, statistic_name
from parties.errors import UsageError
from protocols.errors import FixedPointError
from protocols.fixed_point import to_scaled
from sandbox.errors import ContractError
from sandbox.frame import ColumnType, Frame, FrameColumn, format_scaled
from sandbox.layout import measure_bounds
from sandbox.request import MAX_CELLS, AggregateQuery, DomainFilter, Filter, RangeFilter

Bound: TypeAlias = str | int | float | Decimal | None
Condition: TypeAlias = str | Sequence[str] | tuple[Bound, Bound]
Where: TypeAlias = Mapping[str, Condition] | Sequence[str]

_CONDITION: Final = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(>=|<=|<|>|=)\s*(.*?)\s*")


@dataclass(slots=True)
class _Range:
    lo: int | None = None
    hi: int | None = None


def read_query(frame: Frame, statistics: Sequence[str], by: Sequence[str], where: Where) -> AggregateQuery:
    """Return the query over `frame`.

    `statistics` are texts as `parties.client.statistic_text.EXAMPLES` shows them. `where` is either a mapping - a
    category column to a value or several, a number column to a pair (lo, hi) of declared edges, None for an open end,
    meaning lo <= x < hi, or x <= hi at the last edge - or a sequence of conditions such as `education>=12`,
    `education<16`, `education<=18` (the last edge), `parttime=no`, `smsa=yes,no`.
    Whether the contract permits the query is for the providers to say.

    Raises:
        UsageError: something cannot be read, names no column of the contract, or is more than any provider computes.
    """
    for name, given in (("statistics", statistics), ("by", by)):
        if isinstance(given, str):
            raise UsageError(f"give {name} as a list: [{given!r}]")
    if not statistics:
        raise UsageError("no statistic is asked for: name at least one, such as count or mean(wage)")
    for name in by:
        if not _column(frame, name).level_count:
            raise UsageError(f"{name} has no levels to group by in this contract: see `unseen contract show`")
    filters = _from_mapping(frame, where) if isinstance(where, Mapping) else _from_conditions(frame, where)
    read = tuple(read_statistic(frame, text) for text in statistics)
    for statistic in read:
        if statistic.refined_by in by:
            raise UsageError(
                f"{statistic_name(statistic)} splits each group by {statistic.refined_by} itself: "
                f"leave {statistic.refined_by} out of the grouping columns, or ask for it in a query of its own"
            )
    try:
        query = AggregateQuery(read, tuple(by), filters)
        _verify_size(query, frame)
    except ContractError as error:
        raise UsageError(str(error)) from error
    return query


def _verify_size(query: AggregateQuery, frame: Frame) -> None:
    """Raise `ContractError` for what no provider would compute: it is said before anything is sent or recorded."""
    tables = query.tables(frame)
    for measure in {measure for table in tables for measure in table.measures}:
        measure_bounds(measure, frame)
    cells = sum(table.grid.size for table in tables)
    if cells > MAX_CELLS:
        raise ContractError(f"the query has {cells} cells, {MAX_CELLS} are allowed; group by fewer or coarser columns")


def _column(frame: Frame, name: str) -> FrameColumn:
    try:
        return frame.column(name)
    except ContractError as error:
        raise UsageError(f"{error}: `unseen contract show` lists the contract's columns") from error


def _from_mapping(frame: Frame, where: Mapping[str, Condition]) -> tuple[Filter, ...]:
    filters: list[Filter] = []
    for name, condition in where.items():
        column = _column(frame, name)
        if column.type is ColumnType.CATEGORY:
            values = (condition,) if isinstance(condition, str) else tuple(condition)
            filters.append(_domain_filter(column, values))
        elif isinstance(condition, tuple) and len(condition) == 2:
            lo, hi = condition
            filters.append(RangeFilter(name, _edge(column, lo), _edge(column, hi)))
        else:
            raise UsageError(f"{name} is a number: give a pair (lo, hi) of its edges, None for an open end")
    return tuple(filters)


def _from_conditions(frame: Frame, conditions: Sequence[str]) -> tuple[Filter, ...]:
    if isinstance(conditions, str):
        raise UsageError(f"give the conditions as a list: [{conditions!r}]")
    values: dict[str, tuple[str, ...]] = {}
    ranges: dict[str, _Range] = {}
    for text in conditions:
        match = _CONDITION.fullmatch(text)
        if match is None or not match[3]:
            raise UsageError(f"{text!r} is no condition: write education>=12, education<16 or parttime=no")
        column, operator = _column(frame, match[1]), match[2]
        if column.type is ColumnType.CATEGORY:
            if operator != "=" or column.name in values:
                raise UsageError(f"{text!r}: {column.name} is a category: one condition, such as {column.name}=a,b")
            values[column.name] = tuple(value.strip() for value in match[3].split(","))
        else:
            _narrow(ranges.setdefault(column.name, _Range()), column, operator, match[3])
    return (
        *(_domain_filter(frame.column(name), chosen) for name, chosen in values.items()),
        *(RangeFilter(name, bounds.lo, bounds.hi) for name, bounds in ranges.items()),
    )


def _narrow(bounds: _Range, column: FrameColumn, operator: str, text: str) -> None:
    edge = _edge(column, text)
    if operator == ">=" and bounds.lo is None:
        bounds.lo = edge
    elif operator == ("<=" if edge == column.edges[-1] else "<") and bounds.hi is None:
        bounds.hi = edge
    else:
        raise UsageError(
            f"{column.name}{operator}{text}: write {column.name}>=LO and {column.name}<HI "
            f"({column.name}<=HI at the last edge), each at most once"
        )


def _domain_filter(column: FrameColumn, values: Sequence[object]) -> DomainFilter:
    chosen = tuple(value for value in values if isinstance(value, str))
    unknown = [str(value) for value in values if value not in column.domain]
    if unknown or not chosen:
        raise UsageError(
            f"{column.name} takes the values {', '.join(column.domain)}, not {', '.join(unknown) or 'none'}"
        )
    return DomainFilter(column.name, chosen)


def _edge(column: FrameColumn, bound: Bound) -> int | None:
    if bound is None:
        return None
    try:
        scaled = to_scaled(repr(bound) if isinstance(bound, float) else bound, column.decimals)
    except FixedPointError as error:
        raise UsageError(f"{column.name}: {bound!r} is no number with at most {column.decimals} decimals") from error
    if scaled not in column.edges:
        edges = ", ".join(format_scaled(edge, column.decimals) for edge in column.edges) or "none"
        raise UsageError(f"{column.name}: a filter's bounds are declared edges ({edges}), and {bound} is none of them")
    return scaled
