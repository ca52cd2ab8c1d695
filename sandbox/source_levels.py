"""From a column's integers to its levels, for millions of rows: by tables, exact at every edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from sandbox.frame import ColumnType
from sandbox.query import DomainFilter
from sandbox.source_columns import PlanColumn

Integers: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]

TABLE_BITS: Final = 16
MAX_STEPS: Final = 4  # more corrections than these cost more than a binary search


@dataclass(frozen=True, slots=True)
class Levels:
    """The level of each value of one column, -1 for none.

    The values' range is cut into at most 2^16 buckets of 2^shift values. `starts` is the level at the beginning of each
    bucket, and a value is at most `steps` levels further on; it is moved up while it has passed the next of `breaks`,
    where levels begin. With shift 0 nothing is left to move. `steps` is None where a binary search is faster.
    """

    base: int
    shift: int
    starts: npt.NDArray[np.int16]
    breaks: Integers
    steps: int | None
    count: int

    def of(self, codes: npt.NDArray[np.signedinteger]) -> npt.NDArray[np.intp]:
        """The levels of a column's codes; those of nulls and bad values are -1 or not, and must be masked."""
        values = codes.astype(np.int64)
        if self.shift == 0:
            return self.starts[values - self.base].astype(np.intp)
        if self.steps is None:
            level = np.searchsorted(self.breaks, values, side="right") - 1
        else:
            level = self.starts[(values - self.base) >> self.shift].astype(np.intp)
            for _ in range(self.steps):
                level += values >= self.breaks[level + 1]
        level[level >= self.count] = -1
        return level


def levels_of(column: PlanColumn) -> Levels:
    """The levels of a grouping column in its declared units."""
    if column.frame.type is ColumnType.CATEGORY:
        place = {value: index for index, value in enumerate(column.frame.domain)}
        found = [-1, -1, *(place.get(value, -1) for value in column.declared.domain)]
        return Levels(column.bad_code, 0, np.array(found, np.int16), np.zeros(0, np.int64), 0, len(place))
    edges = column.frame.edges
    begins = [*(column.least(edge) for edge in edges[:-1]), column.greatest(edges[-1]) + 1]
    return _of_number(column.bad_code, max(column.hi, column.bad_code), begins)


def kept_by(column: PlanColumn, codes: npt.NDArray[np.signedinteger]) -> Mask:
    """Which rows the column's filter keeps; a null is never kept."""
    condition = column.filter
    assert condition is not None
    if isinstance(condition, DomainFilter):
        kept = [False, False, *(value in condition.values for value in column.declared.domain)]
        return np.array(kept, np.bool_)[codes.astype(np.int64) - column.bad_code]
    mask: Mask = codes >= (column.lo if condition.lo is None else max(column.lo, column.least(condition.lo)))
    if condition.hi is not None:
        is_last = bool(column.frame.edges) and condition.hi == column.frame.edges[-1]
        mask &= codes <= column.greatest(condition.hi) if is_last else codes < column.least(condition.hi)
    return mask


def _of_number(lo: int, hi: int, begins: list[int]) -> Levels:
    """Levels of the integers from `lo` to `hi`, where level i goes from begins[i] to begins[i + 1] - 1."""
    count = len(begins) - 1
    shift = max(0, (hi - lo).bit_length() - TABLE_BITS)
    far = np.iinfo(np.int64).max
    breaks = np.array([*begins, far, far], np.int64)
    places = lo + (np.arange(((hi - lo) >> shift) + 1, dtype=np.int64) << shift)
    starts = np.searchsorted(breaks, places, side="right") - 1
    if shift == 0:
        starts[starts >= count] = -1
        return Levels(lo, 0, starts.astype(np.int16), breaks, 0, count)
    ends = np.searchsorted(breaks, places + ((1 << shift) - 1), side="right") - 1
    steps = int((ends - starts).max())
    return Levels(lo, shift, starts.astype(np.int16), breaks, steps if steps <= MAX_STEPS else None, count)
