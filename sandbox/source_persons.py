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
    counts: list[int] = np.bincount(_owners(_pairs(cell, person), person), minlength=cells).tolist()
    return counts


def largest_parts(cell: CellOfRow, person: PersonOfRow, values: Integers, cells: int, bound: int) -> list[int]:
    """The largest sum that one person has in each cell.

    Args:
        values: absolute values, int64, at most `bound`.
    """
    inside = cell >= 0
    keys = cell[inside].astype(np.int64) * _stride(person) + person[inside]
    order = np.argsort(keys, kind="stable")
    keys, amounts = keys[order], values[inside][order]
    largest = [0] * cells
    if len(keys) == 0:
        return largest
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    if bound * int(np.diff(np.append(starts, len(keys))).max()) >= _SAFE:
        amounts = amounts.astype(object)  # one person's sum could pass 64 bits
    parts = np.add.reduceat(amounts, starts)
    owner = keys[starts] // _stride(person)
    first = np.flatnonzero(np.concatenate(([True], owner[1:] != owner[:-1])))
    for index, part in zip(owner[first].tolist(), np.maximum.reduceat(parts, first).tolist(), strict=True):
        largest[index] = part
    return largest


def _pairs(cell: CellOfRow, person: PersonOfRow) -> Integers:
    """Each pair of cell and person once, as one number."""
    inside = cell >= 0
    keys = np.sort(cell[inside].astype(np.int64) * _stride(person) + person[inside])
    return keys[np.concatenate(([True], keys[1:] != keys[:-1]))] if len(keys) else keys


def _owners(pairs: Integers, person: PersonOfRow) -> Integers:
    return pairs // _stride(person)


def _stride(person: PersonOfRow) -> int:
    return int(person.max(initial=0)) + 1
