"""Which of several sets of rows are the same as, or too near to, which of several others.

Exact, and fast where nearly all pairs differ in much: sizes and sketches sift out what cannot be near, without false
negatives, and only what is left is compared row by row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from sandbox.row_sets import BUCKETS, Index, RowSets, RowSpace

PAIRS_AT_ONCE: Final = 2**18
COARSE: Final = 8

_Sketches = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Pair:
    """Set `new` of the ones is `same` as set `old` of the others, or else too near to it."""

    new: int
    old: int
    same: bool


def near_pairs(new: RowSets, old: RowSets, space: RowSpace, k: int) -> Iterator[Pair]:
    """The pairs with the same rows, and those that overlap and differ in 1 to k-1 rows.

    Where persons are told apart, persons among the differing rows count instead of rows. Two sets that have no row in
    common are never near: the one tells nothing about the other. Empty sets are in no pair.
    """
    most = max(k - 1, 0)
    for i, j in _sifted(new, old, most * space.most_rows_a_person, most):
        one, other = new.load(i), old.load(j)
        differing = one.symmetric_difference_cardinality(other)
        if differing == 0:
            if one:
                yield Pair(i, j, same=True)
        elif (
            differing <= most * space.most_rows_a_person
            and one.intersect(other)
            and space.persons_among(one ^ other) <= most
        ):
            yield Pair(i, j, same=False)


def _sifted(new: RowSets, old: RowSets, rows: int, persons: int) -> Iterator[tuple[int, int]]:
    """The pairs that may differ in at most `rows` rows and `persons` persons, and all that do."""
    sizes, order = new.sizes, np.argsort(old.sizes, kind="stable")
    in_order = old.sizes[order]
    first = np.searchsorted(in_order, sizes - rows, side="left")
    counts = np.searchsorted(in_order, sizes + rows, side="right") - first
    coarse_new, coarse_old = _coarse(new.sketches), _coarse(old.sketches)
    start = 0
    ends = np.cumsum(counts)
    while start < len(sizes):
        # As many of the new sets as have `PAIRS_AT_ONCE` pairs together, but one at least.
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + PAIRS_AT_ONCE, side="right")))
        taken = counts[start:stop]
        i = np.repeat(np.arange(start, stop), taken)
        within = np.arange(len(i)) - np.repeat(np.cumsum(taken) - taken, taken)
        j = order[np.repeat(first[start:stop], taken) + within]
        i, j = _closer(coarse_new, coarse_old, i, j, rows)
        i, j = _closer(new.sketches, old.sketches, i, j, rows)
        differ = np.count_nonzero(new.sketches[i] != old.sketches[j], axis=1) <= persons
        yield from zip(i[differ].tolist(), j[differ].tolist(), strict=True)
        start = stop


def _closer(new: _Sketches, old: _Sketches, i: Index, j: Index, rows: int) -> tuple[Index, Index]:
    kept = np.abs(new[i] - old[j]).sum(axis=1, dtype=np.int64) <= rows
    return i[kept], j[kept]


def _coarse(sketches: _Sketches) -> _Sketches:
    sums: _Sketches = sketches.reshape(len(sketches), COARSE, BUCKETS // COARSE).sum(axis=2, dtype=np.int32)
    return sums
