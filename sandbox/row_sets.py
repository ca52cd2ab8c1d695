"""Sets of a dataset's rows: the cells of a table and the sums over them, as bitmaps with a sketch of each.

A sketch counts a set's rows in 64 buckets, by row or, where persons are told apart, by person. The sum of the absolute
differences of two sketches is at most the number of rows in which the sets differ, and the number of differing buckets
at most the number of persons: pairs that differ in much are told so without looking at their rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from sandbox.cells import CellOfRow
from sandbox.errors import SourceError
from sandbox.row_identity import RowIdentity

BUCKETS: Final = 64
EVERY_SUBSET_UP_TO: Final = 3
"""Up to so many grouping columns the sums over every subset of them are looked at."""

_MIX: Final = np.uint32(2_654_435_761)  # Knuth's multiplicative hash
_BUCKET_SHIFT: Final = np.uint32(26)
_SHORT: Final = 2**16 - 1

Mask = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64]


class RowSpace:
    """The rows that sets are made of: their stable ids, and how they fall into buckets. Threads may share one."""

    def __init__(self, identity: RowIdentity) -> None:
        self._identity = identity
        codes = np.arange(identity.count, dtype=np.uint32) if identity.persons is None else identity.persons
        self._buckets = (codes * _MIX >> _BUCKET_SHIFT).astype(np.uint8)
        self.persons = identity.persons
        self.most_rows_a_person = 1
        if identity.persons is not None and identity.count:
            self.most_rows_a_person = int(np.bincount(identity.persons).max())

    @property
    def count(self) -> int:
        """How many ids there are; `by_id` has so many."""
        return self._identity.count

    @property
    def scheme(self) -> str:
        """By what rows fall into buckets; sketches of another scheme say nothing here."""
        return "rows" if self._identity.person_column is None else f"persons {self._identity.person_column}"

    def by_id(self, cells: CellOfRow) -> CellOfRow:
        """The cell of each row id; `cells` has those of the positions.

        Raises:
            SourceError: there is another number of positions than there were rows when they got their ids.
        """
        identity = self._identity
        if len(cells) != identity.rows:
            raise SourceError("the data have not as many rows as they had at the start; start the provider again")
        if identity.ids is None:
            return cells
        found = np.full(identity.count, -1, dtype=np.int32)
        found[identity.ids] = cells
        return found

    def split(self, by_id: CellOfRow, cells: int) -> RowSets:
        """The rows of each cell (0 to `cells` - 1), of rows by id."""
        # One is added so that rows in no cell come first and the numbers may be unsigned: short ones sort by radix.
        keys = (by_id + np.int32(1)).astype(np.uint16 if cells < _SHORT else np.int32)
        order = np.argsort(keys, kind="stable").astype(np.uint32)
        ends = np.cumsum(np.bincount(keys, minlength=cells + 1))
        buckets = keys.astype(np.int64) * BUCKETS + self._buckets
        counts = np.bincount(buckets, minlength=(cells + 1) * BUCKETS)
        sketches = counts.reshape(cells + 1, BUCKETS)[1:].astype(np.int32)
        return RowSets.of([_bitmap(order[ends[i] : ends[i + 1]]) for i in range(cells)], sketches)

    def sketch(self, rows: BitMap) -> npt.NDArray[np.int32]:
        """The sketch of one set."""
        return np.bincount(self._buckets[_ids(rows)], minlength=BUCKETS).astype(np.int32)

    def persons_among(self, rows: BitMap) -> int:
        """How many persons the rows are of; as many as there are rows where persons are not told apart."""
        return len(rows) if self.persons is None else len(np.unique(self.persons[_ids(rows)]))


@dataclass(frozen=True, slots=True)
class RowSets:
    """Several sets: `sketches` has a row of `BUCKETS` counts for each, `load` gives the ids in one."""

    sketches: npt.NDArray[np.int32]
    load: Callable[[int], BitMap]

    @classmethod
    def of(cls, bitmaps: Sequence[BitMap], sketches: npt.NDArray[np.int32]) -> RowSets:
        """Sets that are in memory."""
        return cls(sketches, bitmaps.__getitem__)

    @classmethod
    def none(cls) -> RowSets:
        """No sets."""
        return cls.of([], np.zeros((0, BUCKETS), np.int32))

    @classmethod
    def join(cls, several: Sequence[RowSets]) -> RowSets:
        """All sets of several, in order."""
        ends = np.cumsum([0, *map(len, several)])

        def load(index: int) -> BitMap:
            which = int(np.searchsorted(ends, index, side="right")) - 1
            return several[which].load(index - int(ends[which]))

        return cls(np.concatenate([sets.sketches for sets in several]), load) if several else cls.none()

    def __len__(self) -> int:
        return len(self.sketches)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Rows a set."""
        sizes: npt.NDArray[np.int64] = self.sketches.sum(axis=1, dtype=np.int64)
        return sizes

    def take(self, index: Index) -> RowSets:
        """The sets of these numbers, in this order."""
        return RowSets(self.sketches[index], lambda number: self.load(int(index[number])))


@dataclass(frozen=True, slots=True)
class Marginals:
    """The sums over grouping columns that open cells give away: each a union of `members`, numbers of cells."""

    sets: RowSets
    members: tuple[Index, ...]


def marginals(cells: RowSets, shape: Sequence[int], opened: Mask) -> Marginals:
    """The unions of open cells that sum over some grouping columns, for a grid of `shape` (levels a column).

    Up to `EVERY_SUBSET_UP_TO` columns those over every subset of them, beyond that those over any one column and over
    all. A union of one cell is that cell, and is left out.
    """
    found: dict[bytes, tuple[Index, npt.NDArray[np.int32]]] = {}
    numbers = np.flatnonzero(opened)
    if len(shape) and len(numbers):
        levels = np.unravel_index(numbers, tuple(shape))
        for kept in _kept_columns(len(shape)):
            groups = np.zeros(len(numbers), dtype=np.int64)
            for column in kept:
                groups = groups * shape[column] + levels[column]
            order = np.argsort(groups, kind="stable")
            starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
            sums = np.add.reduceat(cells.sketches[numbers[order]], starts, axis=0)
            for members, sketch in zip(np.split(numbers[order], starts[1:]), sums, strict=True):
                if len(members) > 1:
                    found[members.tobytes()] = (members, sketch)
    if not found:
        return Marginals(RowSets.none(), ())
    unions = tuple(union for union, _ in found.values())

    def load(index: int) -> BitMap:
        return BitMap.union(*(cells.load(int(number)) for number in unions[index]))

    return Marginals(RowSets(np.stack([sketch for _, sketch in found.values()]), load), unions)


def _kept_columns(columns: int) -> Iterator[tuple[int, ...]]:
    yield ()
    least = 1 if columns <= EVERY_SUBSET_UP_TO else columns - 1
    for size in range(least, columns):
        yield from combinations(range(columns), size)


def _bitmap(ids: npt.NDArray[np.uint32]) -> BitMap:
    rows = BitMap(array("I", ids.tobytes()))  # by far the fastest way in
    rows.run_optimize()
    return rows


def _ids(rows: BitMap) -> npt.NDArray[np.uint32]:
    return np.frombuffer(rows.to_array(), dtype=np.uint32) if rows else np.zeros(0, np.uint32)
