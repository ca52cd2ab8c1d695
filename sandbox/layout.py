"""From a query over a frame to the layout of slots: bounds from declarations alone, so that nothing can overflow."""

from __future__ import annotations

from typing import Final

from protocols.aggregate import AggregateLayout, MeasureBound, plan
from sandbox.contract import Contract
from sandbox.errors import ContractError
from sandbox.frame import Frame
from sandbox.request import AggregateQuery, MeasureKind

ROWS_LIMIT: Final = 2**32
"""Rows that one provider may have in one cell."""


def measure_bounds(query: AggregateQuery, frame: Frame, rows_limit: int = ROWS_LIMIT) -> tuple[MeasureBound, ...]:
    """Bounds of one provider's total in one cell, one a measure, in scaled units.

    Zero is always within, since a withheld or closed cell contributes zero.

    Raises:
        ContractError: a sum over a column that is no number, or a column that is not in the frame.
    """
    bounds = []
    for measure in query.measures(frame):
        if measure.kind is not MeasureKind.SUM or measure.column is None:
            bounds.append(MeasureBound(0, rows_limit))
            continue
        column = frame.column(measure.column)
        if column.lo is None or column.hi is None:
            raise ContractError(f"{column.name} is a category: it can be counted, not added up")
        bounds.append(MeasureBound(min(0, rows_limit * column.lo), max(0, rows_limit * column.hi)))
    return tuple(bounds)


def plan_aggregate(contract: Contract, query: AggregateQuery, modulus_bits: int) -> AggregateLayout:
    """The layout that every party of the contract derives for this query and this length of key.

    Raises:
        ContractError: as `measure_bounds`.
        LayoutError: a slot is wider than the modulus.
    """
    return plan(
        measure_bounds(query, contract.frame),
        cells=query.grid(contract.frame).size,
        parties=len(contract.providers),
        modulus_bits=modulus_bits,
    )
