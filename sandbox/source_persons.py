"""Contributors that are persons: codes for them, how many a cell has, how much of its sums the largest one makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sandbox.cells import CellOfRow
from sandbox.source_sums import Integers

PersonOfRow: TypeAlias = npt.NDArray[np.uint32]
"""For each row a dense code of its person, 0 and up."""

_SAFE: Final = 2**62


def person_codes(hashes: Sequence[pa.Array]) -> PersonOfRow:
    """Codes from 64-bit hashes of the person column, in batches; a null is a person of its own.

    Two persons whose hashes collide count as one: fewer contributors and larger shares, so the stricter outcome.
    """
    encoded = pa.chunked_array(hashes, pa.uint64()).combine_chunks().dictionary_encode()
    known = np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)).astype(np.int64)
    unknown = known < 0
    known[unknown] = len(encoded.dictionary) + np.arange(int(unknown.sum()))
    return known.astype(np.uint32)


def persons_in_cells(cell: CellOfRow, person: PersonOfRow, cells: int) -> list[int]:
    """The number of persons in each cell; rows in cell -1 count nowhere."""
    inside = cell >= 0
    keys = np.sort(cell[inside].astype(np.int64) * _stride(person) + person[inside])
    owners = keys[_changes(keys)] // _stride(person)
    counts: list[int] = np.bincount(owners, minlength=cells).tolist()
    return counts


class Contributions:
    """The rows of a table's cells, put together by cell and person.

    Args:
        cell: the cell of each row, -1 for none.
        person: the person of each row.
        cells: how many cells there are.
    """

    def __init__(self, cell: CellOfRow, person: PersonOfRow, cells: int) -> None:
        self._cells = cells
        self._inside = np.flatnonzero(cell >= 0)
        keys = cell[self._inside].astype(np.int64) * _stride(person) + person[self._inside]
        self._order = np.argsort(keys, kind="stable")
        keys = keys[self._order]
        self._starts = _changes(keys)
        owners = keys[self._starts] // _stride(person)
        self._firsts = _changes(owners)
        self._owners: list[int] = owners[self._firsts].tolist()

    def largest(self, values: Integers, bound: int) -> list[int]:
        """The largest sum that one person has in each cell.

        Args:
            values: of each row, 0 to `bound`.
        """
        largest = [0] * self._cells
        if len(self._starts) == 0:
            return largest
        amounts: npt.NDArray[np.int64] | npt.NDArray[np.object_] = values[self._inside][self._order]
        rows = int(np.diff(np.append(self._starts, len(amounts))).max())
        if bound * rows >= _SAFE:
            amounts = amounts.astype(object)  # one person's sum could pass 64 bits
        parts = np.maximum.reduceat(np.add.reduceat(amounts, self._starts), self._firsts)
        for index, part in zip(self._owners, parts.tolist(), strict=True):
            largest[index] = part
        return largest


def _changes(keys: Integers) -> npt.NDArray[np.intp]:
    """Where a sorted array's values begin."""
    return np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if len(keys) else np.zeros(0, np.intp)


def _stride(person: PersonOfRow) -> int:
    return int(person.max(initial=0)) + 1
