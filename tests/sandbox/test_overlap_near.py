"""What is near is found, all of it, whatever the sketches sift out."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from sandbox import overlap_near
from sandbox.overlap_near import Pair, near_pairs
from sandbox.row_identity import RowIdentity
from sandbox.row_sets import RowSets, RowSpace, marginals

ROWS = 200


def space(persons: list[int] | None = None) -> RowSpace:
    codes = None if persons is None else np.array(persons, dtype=np.uint32)
    return RowSpace(RowIdentity(ROWS, ROWS, None, codes, None if persons is None else "who"))


def sets(of: RowSpace, *several: set[int]) -> RowSets:
    bitmaps = [BitMap(one) for one in several]
    sketches = np.array([of.sketch(rows) for rows in bitmaps], dtype=np.int32).reshape(len(bitmaps), 64)
    return RowSets.of(bitmaps, sketches)


def by_definition(new: list[set[int]], old: list[set[int]], k: int, persons: list[int] | None) -> set[tuple[int, int]]:
    found = set()
    for (i, one), (j, other) in product(enumerate(new), enumerate(old)):
        differing = {row if persons is None else persons[row] for row in one ^ other}
        if one & other and len(differing) < max(k, 1):
            found.add((i, j))
    return found


def row_sets() -> st.SearchStrategy[list[set[int]]]:
    """Sets that are often nearly the same: a few rows more or less than a common stem."""
    stem = st.sampled_from([set(range(100)), set(range(50, 130)), {3, 7, 9}, set()])
    few = st.sets(st.integers(0, ROWS - 1), max_size=8)
    return st.lists(st.builds(lambda one, other: one ^ other, stem, few), max_size=6)


@given(row_sets(), row_sets(), st.integers(0, 12), st.none() | st.integers(1, 40))
def test_exactly_the_pairs_of_the_definition_are_found(
    new: list[set[int]], old: list[set[int]], k: int, a_person: int | None
) -> None:
    persons = None if a_person is None else [row // a_person for row in range(ROWS)]
    of = space(persons)
    found = list(near_pairs(sets(of, *new), sets(of, *old), of, k))
    assert {(pair.new, pair.old) for pair in found} == by_definition(new, old, k, persons)
    assert len(found) == len(set(found))
    assert all(pair.same == (new[pair.new] == old[pair.old]) for pair in found)


def test_many_pairs_are_compared_in_several_goes(monkeypatch) -> None:
    monkeypatch.setattr(overlap_near, "PAIRS_AT_ONCE", 7)
    of = space()
    several = [set(range(start, start + 20)) for start in range(30)]
    found = {(pair.new, pair.old) for pair in near_pairs(sets(of, *several), sets(of, *several), of, 5)}
    assert found == by_definition(several, several, 5, None)


def test_sets_without_a_common_row_are_never_near() -> None:
    of = space()
    assert list(near_pairs(sets(of, {1, 2}), sets(of, {3, 4}), of, 10)) == []
    assert list(near_pairs(sets(of, {1, 2}), sets(of, {2, 4}), of, 10)) == [Pair(0, 0, same=False)]


def test_cells_are_split_by_the_ids_of_their_rows() -> None:
    ids = np.array([5, 0, 3], dtype=np.uint32)
    of = RowSpace(RowIdentity(3, 6, ids, None, None))
    cells = np.array([1, -1, 0], dtype=np.int32)
    found = of.split(of.by_id(cells), 3)
    assert [set(found.load(cell)) for cell in range(3)] == [{3}, {5}, set()]
    assert [list(row) for row in found.sketches] == [list(of.sketch(found.load(cell))) for cell in range(3)]


@given(st.lists(st.integers(-1, 5), min_size=1, max_size=60), st.sets(st.integers(0, 5)))
def test_the_sums_that_open_cells_give_away_are_those_over_every_subset_of_columns(
    cells: list[int], closed: set[int]
) -> None:
    of = RowSpace(RowIdentity(len(cells), len(cells), None, None, None))
    split = of.split(np.array(cells, dtype=np.int32), 6)
    opened = np.array([cell not in closed and cell in cells for cell in range(6)])
    found = marginals(split, (2, 3), opened)
    groups = [{0, 1, 2}, {3, 4, 5}, {0, 3}, {1, 4}, {2, 5}, set(range(6))]
    wanted = {frozenset(group & set(np.flatnonzero(opened))) for group in groups}
    assert {frozenset(members.tolist()) for members in found.members} == {group for group in wanted if len(group) > 1}
    for index, members in enumerate(found.members):
        rows = {row for row, cell in enumerate(cells) if cell in members}
        assert set(found.sets.load(index)) == rows
        assert list(found.sets.sketches[index]) == list(of.sketch(BitMap(rows)))


def test_beyond_three_columns_the_sums_are_those_over_one_column_and_over_all() -> None:
    of = space()
    split = of.split(np.arange(ROWS, dtype=np.int32) % 16, 16)
    found = marginals(split, (2, 2, 2, 2), np.ones(16, dtype=bool))
    assert sorted(len(members) for members in found.members) == [2] * 32 + [16]
