"""Exact sums by cell, in 64-bit integers that carry before they could overflow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Integers: TypeAlias = npt.NDArray[np.int64]
Cells: TypeAlias = npt.NDArray[np.intp]

_ROOM: Final = 2**62  # leaves a carry's remainder its place
_DIRECT: Final = 2**46  # smaller values are added whole, larger ones in two halves
_HALF_BITS: Final = 32
_HALF: Final = 2**_HALF_BITS - 1
_FACTOR_BITS: Final = 31


class CellSums:
    """Sums of integers in each of `cells` cells, in two 64-bit words: 2^32 rows fit.

    Args:
        bound: no value is larger in absolute terms; at most 2^62.
    """

    def __init__(self, cells: int, bound: int) -> None:
        self._low = np.zeros(cells, np.int64)
        self._high = np.zeros(cells, np.int64)
        self._halves = bound >= _DIRECT
        self._room = _ROOM // max(1, 2**_HALF_BITS if self._halves else bound)
        self._rows = 0

    def add(self, cell: Cells, values: Integers) -> None:
        """Add `values[i]` to cell `cell[i]`; at most 2^15 rows a call."""
        if self._rows + len(values) > self._room:
            self._carry()
        self._rows += len(values)
        if self._halves:
            np.add.at(self._low, cell, values & _HALF)
            np.add.at(self._high, cell, values >> _HALF_BITS)
        else:
            np.add.at(self._low, cell, values)

    def totals(self) -> list[int]:
        """The sums so far."""
        pairs = zip(self._high.tolist(), self._low.tolist(), strict=True)
        return [(high << _HALF_BITS) + low for high, low in pairs]

    def _carry(self) -> None:
        self._high += self._low >> _HALF_BITS
        self._low &= _HALF
        self._rows = 0


class ProductSums:
    """Sums of products of one or two integers below 2^60 in absolute terms, in each of `cells` cells.

    Args:
        bounds: one a factor; no value of it is larger in absolute terms.
    """

    def __init__(self, cells: int, bounds: Sequence[int]) -> None:
        self._whole = prod(bounds) < _ROOM
        shifts = (0,) if self._whole else (0, _FACTOR_BITS, 2 * _FACTOR_BITS)
        self._sums = {shift: CellSums(cells, prod(bounds) if self._whole else _ROOM) for shift in shifts}

    def add(self, cell: Cells, factors: Sequence[Integers]) -> None:
        """Add the product of all `factors[..][i]` to cell `cell[i]`; at most 2^15 rows a call."""
        if not self._whole:
            for shift, product in _partial_products(*factors):
                self._sums[shift].add(cell, product)
        elif len(factors) == 1:
            self._sums[0].add(cell, factors[0])
        else:
            self._sums[0].add(cell, factors[0] * factors[1])

    def totals(self) -> list[int]:
        """The sums so far."""
        parts = [[total << shift for total in sums.totals()] for shift, sums in self._sums.items()]
        return [sum(part) for part in zip(*parts, strict=True)]


def _partial_products(first: Integers, second: Integers) -> Iterator[tuple[int, Integers]]:
    """Products of 31-bit halves, each with the power of two that it stands for; none reaches 2^62."""
    mask = (1 << _FACTOR_BITS) - 1
    low_1, high_1, low_2, high_2 = first & mask, first >> _FACTOR_BITS, second & mask, second >> _FACTOR_BITS
    yield 0, low_1 * low_2
    yield _FACTOR_BITS, low_1 * high_2
    yield _FACTOR_BITS, high_1 * low_2
    yield 2 * _FACTOR_BITS, high_1 * high_2
