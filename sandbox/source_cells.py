"""Totals over tables of cells in one pass over the rows, exact.

A row that violates the declaration in a column that the plan uses, in any table, is left out of every cell; one that
lies in no level of a grouping column, a null there included, is left out of that table. A null in a measured column
leaves the row in ROWS alone. Rows come in batches, so memory does not grow with them but for what the plan asks of each
row: 4 bytes a table, and where persons are told apart 4 more and 8 a summed column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sandbox.cells import CellPlan, CellTotals
from sandbox.declaration_model import DatasetDeclaration
from sandbox.errors import SourceError
from sandbox.scan import Parameters, Scan
from sandbox.source_columns import PlanColumn, plan_columns, projection
from sandbox.source_levels import Mask, kept_by
from sandbox.source_persons import person_codes
from sandbox.source_rows import PERSON, POSITION, numbers, order_of, person_hash
from sandbox.source_table import Batch, TableFold

MAX_SCANNED_ROWS: Final = 2**32 - 1  # what the layout of slots rests on


def cell_totals(scan: Scan, plan: CellPlan, declaration: DatasetDeclaration) -> CellTotals:
    """Aggregate the scan as planned.

    Raises:
        ContractError: the frame does not fit the declaration.
        SourceError: a column is missing, of a type that cannot be read as declared, or 2^32 rows or more are there.
    """
    columns = plan_columns(plan, declaration)
    persons = declaration.person_id is not None
    folds = [TableFold(table, columns, shares=plan.shares, rows=plan.rows, persons=persons) for table in plan.tables]
    rows = excluded = 0
    hashes: list[pa.Array] = []
    positions: list[npt.NDArray[np.int64]] = []
    for found in _read(scan, plan, columns, declaration):
        rows += found.num_rows
        if rows > MAX_SCANNED_ROWS:
            raise SourceError(f"{scan.place} has 2^32 rows or more, more than a part can hold; split the dataset")
        if persons:
            hashes.append(found.column(PERSON))
        if plan.rows and scan.position is not None:
            positions.append(numbers(found.column(POSITION)))
        batch, bad = _judge(found, columns)
        excluded += bad
        for fold in folds:
            fold.add(batch)
    excluded += folds[0].levelless if folds else 0
    person = person_codes(hashes) if persons else None
    return CellTotals(tuple(fold.finish(person, order_of(positions)) for fold in folds), excluded)


def _read(
    scan: Scan, plan: CellPlan, columns: tuple[PlanColumn, ...], declaration: DatasetDeclaration
) -> Iterator[pa.RecordBatch]:
    parameters = Parameters()
    selected, relation = projection(scan, columns, parameters)
    if declaration.person_id is not None:
        selected += f", {person_hash(scan, declaration.person_id, declaration)}"
    if plan.rows and scan.position is not None:
        selected += f", {scan.position} AS {POSITION}"
    # S608: identifiers are quoted and every value is a parameter.
    return scan.batches(f"SELECT {selected} FROM {relation}", parameters)  # noqa: S608


def _judge(found: pa.RecordBatch, columns: Sequence[PlanColumn]) -> tuple[Batch, int]:
    """A batch's codes with what of them may be used, and the number of rows that violate the declaration."""
    codes = {column.name: numbers(found.column(f"v{column.key}")) for column in columns}
    bad: Mask | None = None
    absent: dict[str, Mask] = {}
    kept: Mask | None = None
    for column in columns:
        values = codes[column.name]
        if len(values) and values.min() < column.lo:
            bad = _either(bad, values == column.bad_code)
            absent[column.name] = values < column.lo
        if column.filter is not None:
            mask = kept_by(column, values)
            kept = mask if kept is None else kept & mask
    out = bad if kept is None else _either(bad, ~kept)
    if out is not None and not out.any():
        out = None
    return Batch(found.num_rows, codes, absent, out), 0 if bad is None else int(bad.sum())


def _either(first: Mask | None, second: Mask) -> Mask:
    return second if first is None else first | second
