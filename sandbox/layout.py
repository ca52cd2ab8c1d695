"""From a query over a frame to the layout of slots: bounds from declarations alone, so that nothing can overflow."""

from __future__ import annotations

from itertools import product
from typing import Final

from protocols.aggregate import AggregateLayout, MeasureBound, TableShape, plan
from sandbox.contract import Contract
from sandbox.errors import ContractError
from sandbox.frame import Frame
from sandbox.request import AggregateQuery, Measure

ROWS_LIMIT: Final = 2**32
"""Rows that one provider may have in one cell."""

MAX_PRODUCT: Final = 2**94
"""Largest product of two scaled values: a sum of `ROWS_LIMIT` of them fits the 128-bit integers that sources add in."""


def measure_bounds(measure: Measure, frame: Frame, rows_limit: int = ROWS_LIMIT) -> MeasureBound:
    """Bounds of one provider's total in one cell, in scaled units.

    Zero is always within, since a withheld or closed cell contributes zero.

    Raises:
        ContractError: a sum over a column that is no number, bounds too wide for products, or an unknown column.
    """
    if not measure.terms:
        return MeasureBound(0, rows_limit)
    ranges = []
    for name in measure.terms:
        column = frame.column(name)
        if column.lo is None or column.hi is None:
            raise ContractError(f"{column.name} is a category: it can be counted, not added up")
        ranges.append((column.lo, column.hi))
    corners = [first * second for first, second in product(*ranges)] if len(ranges) == 2 else list(ranges[0])
    if len(ranges) == 2 and max(map(abs, corners)) > MAX_PRODUCT:
        raise ContractError(
            f"{measure.name}: the declared bounds at their decimals are too wide for sums of products (about 14 digits "
            "a column); declare fewer decimals or narrower bounds"
        )
    lo = 0 if len(set(measure.terms)) < len(measure.terms) else min(0, *corners)  # a square is never negative
    return MeasureBound(rows_limit * lo, rows_limit * max(0, *corners))


def plan_aggregate(contract: Contract, query: AggregateQuery, modulus_bits: int) -> AggregateLayout:
    """The layout that every party of the contract derives for this query and this length of key.

    Raises:
        ContractError: as `measure_bounds`.
        LayoutError: a slot is wider than the modulus.
    """
    frame = contract.frame
    shapes = [
        TableShape(table.grid.size, tuple(measure_bounds(measure, frame) for measure in table.measures))
        for table in query.tables(frame)
    ]
    return plan(shapes, parties=len(contract.providers), modulus_bits=modulus_bits)
