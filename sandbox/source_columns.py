"""The columns of a plan, each read by SQL as one small integer a row, exact and held to its declaration.

A number is its value at the declared decimals, times 10^decimals; a category is its place in the declared domain. What
may not be used is told by two codes below the least usable value (`PlanColumn.null_code`, `PlanColumn.bad_code`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from sandbox.cells import CellPlan
from sandbox.declaration_model import ColumnDeclaration, DatasetDeclaration, OnViolation
from sandbox.errors import ContractError
from sandbox.frame import ColumnType, FrameColumn
from sandbox.query import DomainFilter, Filter
from sandbox.scan import Parameters, Physical, Scan, check_readable, quoted, read_expression

_EXACT_DOUBLE: Final = 10**15 - 1  # 15 digits: DBL_DIG of C
_EXACT_REAL: Final = 10**6 - 1  # 6 digits: FLT_DIG
_INTEGERS: Final = (("SMALLINT", 2**15), ("INTEGER", 2**31), ("BIGINT", 2**63))


@dataclass(frozen=True, slots=True)
class PlanColumn:
    """A column that a plan uses; `key` is its number in SQL names.

    `lo` and `hi` bound what may be used, in declared units: both the declaration's and the frame's bounds hold. Where
    they leave nothing, lo > hi.
    """

    key: int
    frame: FrameColumn
    declared: ColumnDeclaration
    filter: Filter | None
    lo: int
    hi: int

    @property
    def name(self) -> str:
        """The logical name."""
        return self.frame.name

    @property
    def null_code(self) -> int:
        """What stands for a null that the declaration allows."""
        return self.lo - 1

    @property
    def bad_code(self) -> int:
        """What stands for a value that violates the declaration or lies outside the frame's bounds."""
        return self.lo - 2

    @property
    def largest(self) -> int:
        """The largest absolute value that may be used."""
        return max(abs(self.lo), abs(self.hi))

    @property
    def factor(self) -> int:
        """Frame units in one declared unit."""
        return _factor(self.frame, self.declared)

    def least(self, bound: int) -> int:
        """The least declared-scale integer that is >= `bound` in frame units."""
        return -(-bound // self.factor)

    def greatest(self, bound: int) -> int:
        """The greatest declared-scale integer that is <= `bound` in frame units."""
        return bound // self.factor


def plan_columns(plan: CellPlan, declaration: DatasetDeclaration) -> tuple[PlanColumn, ...]:
    """The columns that a plan reads.

    Raises:
        ContractError: the frame does not fit the declaration, or a filter or a measure does not fit its column.
    """
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
        _check_filter(frame, filters.get(name))
        columns.append(PlanColumn(key, frame, declared, filters.get(name), *_usable(frame, declared)))
    return tuple(columns)


def declared_alone(key: int, declared: ColumnDeclaration) -> PlanColumn:
    """A declared column as a plan would use it whose frame is the declaration's own.

    Raises:
        ContractError: the column has neither a domain nor bounds.
    """
    frame = FrameColumn(
        declared.name,
        declared.type,
        declared.unit,
        declared.decimals,
        declared.lo,
        declared.hi,
        declared.domain,
        (),
        declared.nullable,
    )
    return PlanColumn(key, frame, declared, None, *_usable(frame, declared))


def projection(scan: Scan, columns: tuple[PlanColumn, ...], parameters: Parameters) -> tuple[str, str]:
    """SQL for SELECT, `v0`, `v1` ... in the columns' order, and for FROM.

    Raises:
        SourceError: a column is missing, or of a type that cannot be read as declared.
    """
    for column in columns:
        check_readable(scan, column.declared)
    selected = ", ".join(f"{_code(scan, column, parameters)} AS v{column.key}" for column in columns)
    texts = [column for column in columns if _is_text_number(scan, column)]
    if not texts:
        return selected or "1::SMALLINT AS v0", scan.relation
    # Parsed in a step of its own: what CASE asks for more than once is not computed more than once.
    parsed = ", ".join(f"{read_expression(c.declared, Physical.TEXT)} AS parsed_{c.key}" for c in texts)
    return selected, f"(SELECT *, {parsed} FROM {scan.relation}) AS parsed"  # noqa: S608  (identifiers are quoted)


def _usable(frame: FrameColumn, declared: ColumnDeclaration) -> tuple[int, int]:
    if frame.type is ColumnType.CATEGORY:
        return 0, len(declared.domain) - 1
    if frame.lo is None or frame.hi is None or declared.lo is None or declared.hi is None:
        raise ContractError(f"column {frame.name}: a number without public bounds cannot be used; declare lo and hi")
    factor = _factor(frame, declared)
    return max(declared.lo, -(-frame.lo // factor)), min(declared.hi, frame.hi // factor)


def _factor(frame: FrameColumn, declared: ColumnDeclaration) -> int:
    return int(10 ** (frame.decimals - declared.decimals))


def _check_filter(frame: FrameColumn, condition: Filter | None) -> None:
    if condition is None or isinstance(condition, DomainFilter) == (frame.type is ColumnType.CATEGORY):
        return
    if frame.type is ColumnType.CATEGORY:
        raise ContractError(f"column {frame.name} is a category; filter it by values of its domain")
    raise ContractError(f"column {frame.name} is a number; filter it by a range of its edges")


def _is_text_number(scan: Scan, column: PlanColumn) -> bool:
    is_text = scan.types[column.declared.physical] is Physical.TEXT
    return is_text and column.declared.type is not ColumnType.CATEGORY


def _code(scan: Scan, column: PlanColumn, parameters: Parameters) -> str:
    """SQL for the column's code; never null, and it cannot fail on any value."""
    kind = next(kind for kind, limit in _INTEGERS if -limit <= column.bad_code and column.hi < limit)
    raw, declared = quoted(column.declared.physical), column.declared
    null = parameters.add(column.null_code if declared.nullable else column.bad_code)
    bad = f"CAST({parameters.add(column.bad_code)} AS {kind})"
    if declared.type is ColumnType.CATEGORY:
        return f"CASE WHEN {raw} IS NULL THEN CAST({null} AS {kind}) ELSE {_place(scan, column, kind, bad)} END"
    value = f"parsed_{column.key}" if _is_text_number(scan, column) else _read(scan, column)
    lo, hi = (parameters.scaled(bound, declared.decimals) for bound in (column.lo, column.hi))
    clipped = _clipped(column, value, parameters)
    exact = (
        f"CASE WHEN {raw} IS NULL THEN CAST({null} AS {kind}) WHEN {clipped} BETWEEN {lo} AND {hi} "
        f"THEN {_scaled(clipped, column, kind)} ELSE {bad} END"
    )
    fast = _FAST.get(scan.types[declared.physical])
    return exact if fast is None else fast(column, raw, kind, exact, parameters)


def _place(scan: Scan, column: PlanColumn, kind: str, bad: str) -> str:
    domain = column.declared.domain
    if not domain:
        return bad
    # An enumeration, not a join: a join may give the rows in another order.
    name, values = f"domain_{column.key}", pa.array(domain, pa.string())
    scan.connection.register(f"{name}_values", pa.table({"value": values, "place": range(len(domain))}))
    scan.connection.execute(f"CREATE TEMP TYPE {name} AS ENUM (SELECT value FROM {name}_values ORDER BY place)")  # noqa: S608
    scan.connection.unregister(f"{name}_values")
    return f"coalesce(CAST(enum_code(TRY_CAST({_read(scan, column)} AS {name})) AS {kind}), {bad})"


def _read(scan: Scan, column: PlanColumn) -> str:
    return read_expression(column.declared, scan.types[column.declared.physical])


def _clipped(column: PlanColumn, value: str, parameters: Parameters) -> str:
    declared = column.declared
    if declared.on_violation is not OnViolation.CLIP or declared.lo is None or declared.hi is None:
        return value
    lo, hi = (parameters.scaled(bound, declared.decimals) for bound in (declared.lo, declared.hi))
    # greatest() and least() skip nulls in DuckDB; a value that cannot be read must stay null.
    return f"CASE WHEN {value} IS NOT NULL THEN least(greatest({value}, {lo}), {hi}) END"


def _scaled(value: str, column: PlanColumn, kind: str) -> str:
    """SQL for a DECIMAL(38) within the bounds, so of 18 digits at most, as an integer of declared units."""
    return f"TRY_CAST({value} * {10**column.declared.decimals} AS {kind})"


def _double(column: PlanColumn, raw: str, kind: str, exact: str, parameters: Parameters) -> str:
    """Whole numbers of declared units in binary floating point, all others by the exact way.

    With k = round(x * 10^d): where |k| < 10^15, both k and 10^d are doubles without error, and IEEE division rounds
    correctly, so k / 10^d = x says that x is the double nearest to the decimal k / 10^d, which has 15 digits at most.
    No two such decimals share a double, and the shortest decimal that round-trips has no more digits: it is that one.
    """
    return _whole(column, raw, kind, exact, parameters, _EXACT_DOUBLE)


def _real(column: PlanColumn, raw: str, kind: str, exact: str, parameters: Parameters) -> str:
    """As `_double`, for single precision, where 6 digits are safe.

    x = k / 10^d in double precision makes x the float nearest to that decimal as well: x is a float already.
    """
    return _whole(column, f"CAST({raw} AS DOUBLE)", kind, exact, parameters, _EXACT_REAL)


def _whole(column: PlanColumn, raw: str, kind: str, exact: str, parameters: Parameters, limit: int) -> str:
    scale = parameters.add(float(10**column.declared.decimals))
    lo, hi = (parameters.add(float(max(-limit, min(limit, bound)))) for bound in (column.lo, column.hi))
    whole = f"round({raw} * {scale})"
    return (
        f"CASE WHEN {whole} / {scale} = {raw} AND {whole} BETWEEN {lo} AND {hi} THEN CAST({whole} AS {kind}) "
        f"ELSE {exact} END"
    )


def _integer(column: PlanColumn, raw: str, kind: str, exact: str, parameters: Parameters) -> str:
    """Integers within the bounds by one multiplication."""
    scale = 10**column.declared.decimals
    lo, hi = (f"CAST({parameters.add(bound)} AS BIGINT)" for bound in (-(-column.lo // scale), column.hi // scale))
    scaled = f"CAST(CAST({raw} AS BIGINT) * {scale} AS {kind})" if scale > 1 else f"CAST({raw} AS {kind})"
    return f"CASE WHEN {raw} BETWEEN {lo} AND {hi} THEN {scaled} ELSE {exact} END"


def _decimal(column: PlanColumn, raw: str, kind: str, exact: str, parameters: Parameters) -> str:
    """As `_double`, where binary arithmetic is faster than decimal.

    The nearest double may stand for a decimal with more digits than it has; but that lies within 10^-d / 2 of k / 10^d,
    and is rounded to it at d decimals. A value declared as an integer must be one itself, not only its double.
    """
    fast = _whole(column, f"CAST({raw} AS DOUBLE)", kind, exact, parameters, _EXACT_DOUBLE)
    if column.declared.type is not ColumnType.INTEGER:
        return fast
    return f"CASE WHEN {raw} = trunc({raw}) THEN {fast} ELSE {exact} END"


_FAST: Final[dict[Physical, Callable[[PlanColumn, str, str, str, Parameters], str]]] = {
    Physical.FLOAT: _double,
    Physical.REAL: _real,
    Physical.INTEGER: _integer,
    Physical.DECIMAL: _decimal,
}
