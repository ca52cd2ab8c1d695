"""Check 6 of authorise: what a query may touch, column by column."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from audit.commitment import Openings
from audit.errors import MalformedError
from sandbox.contract import Contract
from sandbox.contract_checks import check_grouping
from sandbox.declaration_model import DatasetDescription
from sandbox.errors import ContractError, DenialReason, DeniedError
from sandbox.frame import ColumnType, FrameColumn, Use
from sandbox.layout import measure_bounds
from sandbox.request import (
    MAX_CELLS,
    AggregateQuery,
    DomainFilter,
    Filter,
    Statistic,
    StatisticKind,
    parse_query,
)

_VERBS: Final[Mapping[Use, str]] = MappingProxyType(
    {Use.AGGREGATE: "aggregated", Use.GROUP_BY: "grouped by", Use.FILTER: "filtered by"}
)


def read_permitted_query(
    openings: Openings, contract: Contract, provider: str, description: DatasetDescription
) -> AggregateQuery:
    """Read the query from verified openings and hold every column against contract and own declaration.

    Raises:
        DeniedError: MALFORMED, COLUMN_NOT_PERMITTED, FILTER_NOT_DECLARED, IDENTIFYING_COLUMN, or TOO_LARGE (more cells
            than `MAX_CELLS`).
    """
    try:
        query = parse_query(openings, contract.frame)
    except (MalformedError, ContractError) as error:
        raise DeniedError(DenialReason.MALFORMED, "authorise.query", str(error)) from error
    for statistic in query.statistics:
        for name in statistic.aggregated:
            _verify_use(contract, name, Use.AGGREGATE)
            _verify_summable(contract.frame.column(name), statistic)
        if statistic.kind is StatisticKind.QUANTILE:
            _verify_summable(contract.frame.column(statistic.columns[0]), statistic)
    refining = {statistic.refined_by for statistic in query.statistics if statistic.refined_by is not None}
    for name in (*query.group_by, *sorted(refining)):
        _verify_use(contract, name, Use.GROUP_BY)
    for item in query.filters:
        _verify_use(contract, item.column, Use.FILTER)
        _verify_declared(contract.frame.column(item.column), item)
    mapping = contract.datasets[provider].columns
    for name in sorted({*query.group_by, *refining, *(item.column for item in query.filters)}):
        _verify_not_identifying(contract.frame.column(name), mapping[name], description)
    try:
        tables = query.tables(contract.frame)
        for measure in {measure for table in tables for measure in table.measures}:
            measure_bounds(measure, contract.frame)
    except ContractError as error:
        raise DeniedError(DenialReason.TOO_LARGE, "authorise.statistics", str(error)) from error
    cells = sum(table.grid.size for table in tables)
    if cells > MAX_CELLS:
        detail = f"the query has {cells} cells, {MAX_CELLS} are allowed; group by fewer or coarser columns"
        raise DeniedError(DenialReason.TOO_LARGE, "authorise.group_by", detail)
    return query


def _verify_use(contract: Contract, name: str, use: Use) -> None:
    permitted = contract.uses[name]
    if use not in permitted:
        detail = f"{name} may not be {_VERBS[use]} under this contract; permitted is {', '.join(sorted(permitted))}"
        raise DeniedError(DenialReason.COLUMN_NOT_PERMITTED, f"uses.{name}", detail)


def _verify_summable(column: FrameColumn, statistic: Statistic) -> None:
    if column.type is ColumnType.CATEGORY and statistic.kind is not StatisticKind.COUNT:
        detail = f"{column.name} is a category: it can be counted, not used in {statistic.kind.value}"
        raise DeniedError(DenialReason.COLUMN_NOT_PERMITTED, f"uses.{column.name}", detail)


def _verify_declared(column: FrameColumn, item: Filter) -> None:
    """Filters only on declared values and edges: an arbitrary bound, moved by one, would single out a row."""
    clause = f"frame.{column.name}"
    if isinstance(item, DomainFilter):
        unknown = [value for value in item.values if value not in column.domain]
        if unknown:
            detail = f"{unknown[0][:80]!r} is not in the declared domain of {column.name}"
            raise DeniedError(DenialReason.FILTER_NOT_DECLARED, clause, detail)
        return
    for bound in (item.lo, item.hi):
        if bound is not None and bound not in column.edges:
            detail = f"{bound} (scaled by 10^{column.decimals}) is no declared edge of {column.name}"
            raise DeniedError(DenialReason.FILTER_NOT_DECLARED, clause, detail)


def _verify_not_identifying(column: FrameColumn, declared: str, description: DatasetDescription) -> None:
    try:
        own = description.column(declared)
    except ContractError as error:
        raise DeniedError(DenialReason.DECLARATION_MISMATCH, f"frame.{column.name}", str(error)) from error
    check_grouping(column, own)
