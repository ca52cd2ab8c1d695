"""What a provider refuses because of what it has answered before: rules over sets of rows, without state.

An answered cell is a set of rows, and so is every sum over grouping columns that the open cells of a table give away.
Two answered sets that differ in a few rows tell those rows' values apart, by subtraction. Where a provider's own totals
are secret it is the same with a set that it answers while other providers take part, or that it withheld while the
others' total was given: the difference of the two totals would be its own, or another's.

A refusal closes the cell for every provider. Were only this provider's contribution to vanish between two overlapping
cells, the difference of the totals would be that very contribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from sandbox.overlap_near import near_pairs
from sandbox.row_sets import Index, Marginals, Mask, RowSets, RowSpace, marginals


class Role(IntEnum):
    """What became of a set. The value is stored and never changes its meaning."""

    ANSWERED = 1
    WITHHELD = 2
    BESIDE_OTHERS = 3
    """Withheld here, while a total of the other providers' rows was answered."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """Sets of before: the role of each, and the number that stands for the participants of its answer."""

    sets: RowSets
    roles: npt.NDArray[np.uint8]
    participants: npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class OverlapRule:
    """Under which terms new cells are answered: the effective `overlap_k`, own totals, the participants' number."""

    k: int
    secret: bool
    participants: int


@dataclass(slots=True)
class GuardedTable:
    """A table's cells as sets of rows, on a grid of `shape` (levels a column).

    `opened` are the cells that this provider would answer, `withheld` those with rows that it withholds; both masks
    shrink as the rules refuse. A table whose measures ask for values that some rows lack stands here once more for
    each such demand, with the rows that meet it, behind the one that is `whole`. These share its masks: a cell is
    refused with all that it gives away.
    """

    shape: tuple[int, ...]
    cells: RowSets
    opened: Mask
    withheld: Mask
    whole: bool = True

    def answers(self) -> Answers:
        """All that the open cells give away."""
        numbers = np.flatnonzero(self.opened)
        return Answers(self.cells, numbers, marginals(self.cells, self.shape, self.opened))


@dataclass(frozen=True, slots=True)
class Answers:
    """What a table gives away: its open cells, by number, and the sums over them."""

    cells: RowSets
    numbers: Index
    unions: Marginals

    @property
    def sets(self) -> RowSets:
        """Cells first, then unions."""
        return RowSets.join([self.cells.take(self.numbers), self.unions.sets])

    def members(self, index: int) -> Index:
        """The cells in set `index`."""
        if index < len(self.numbers):
            return self.numbers[index : index + 1]
        return self.unions.members[index - len(self.numbers)]


def refuse(tables: Sequence[GuardedTable], earlier: Sequence[Earlier], rule: OverlapRule, space: RowSpace) -> None:
    """Take out of the tables' masks what must not be answered, until nothing conflicts.

    First the open cells, against all that is earlier. Then the sums over them, against the same, and the tables against
    one another: for each that conflicts its smallest open cell goes. Last the withheld cells: one that must not show
    as withheld is taken out of `withheld`, and is refused like the others.
    """
    for table in tables:
        numbers = np.flatnonzero(table.opened)
        table.opened[numbers[_conflicting(table.cells.take(numbers), earlier, rule, space)]] = False
    answers = [table.answers() for table in tables]
    while _refuse_sums(tables, answers, earlier, rule, space) or _refuse_between(tables, answers, rule, space):
        answers = [table.answers() for table in tables]
    for index, table in enumerate(tables):
        others = [_as_earlier(other, rule) for number, other in enumerate(answers) if number != index]
        numbers = np.flatnonzero(table.withheld)
        shown = _betraying(table.cells.take(numbers), [*earlier, *others], rule, space)
        table.withheld[numbers[shown]] = False


def _conflicting(new: RowSets, earlier: Sequence[Earlier], rule: OverlapRule, space: RowSpace) -> Mask:
    """Which sets must not be answered. What has been answered to the same participants may be answered again."""
    found = np.zeros(len(new), dtype=bool)
    again = np.zeros(len(new), dtype=bool)
    for before in earlier:
        for pair in near_pairs(new, before.sets, space, rule.k):
            role, participants = before.roles[pair.old], before.participants[pair.old]
            if pair.same and role == Role.ANSWERED and participants == rule.participants:
                again[pair.new] = True
            elif not pair.same or (rule.secret and role != Role.WITHHELD):
                found[pair.new] = True
    return found & ~again


def _betraying(withheld: RowSets, earlier: Sequence[Earlier], rule: OverlapRule, space: RowSpace) -> Mask:
    """Which withheld sets would tell, by this provider's absence, of an answer over nearly the same rows."""
    found = np.zeros(len(withheld), dtype=bool)
    for before in earlier:
        for pair in near_pairs(withheld, before.sets, space, rule.k):
            if before.roles[pair.old] == Role.ANSWERED and (rule.secret or not pair.same):
                found[pair.new] = True
    return found


def _refuse_sums(
    tables: Sequence[GuardedTable],
    answers: Sequence[Answers],
    earlier: Sequence[Earlier],
    rule: OverlapRule,
    space: RowSpace,
) -> bool:
    """Refuse the smallest open cell of every sum that must not be known; returns whether there was one."""
    changed = False
    for table, given in zip(tables, answers, strict=True):
        for index in np.flatnonzero(_conflicting(given.unions.sets, earlier, rule, space)):
            table.opened[_smallest(table.cells, given.unions.members[index])] = False
            changed = True
    return changed


def _refuse_between(
    tables: Sequence[GuardedTable], answers: Sequence[Answers], rule: OverlapRule, space: RowSpace
) -> bool:
    """Refuse, of two sets of different tables that are too near, the smallest open cell in either."""
    changed = False
    for second in range(1, len(tables)):
        for first in range(second):
            one, other = answers[first], answers[second]
            for pair in near_pairs(one.sets, other.sets, space, rule.k):
                if pair.same:
                    continue
                in_one = _smallest(tables[first].cells, one.members(pair.new))
                in_other = _smallest(tables[second].cells, other.members(pair.old))
                of_one, of_other = _rows(tables[first], in_one), _rows(tables[second], in_other)
                table, cell = (tables[first], in_one) if of_one < of_other else (tables[second], in_other)
                table.opened[cell] = False
                changed = True
    return changed


def _as_earlier(answers: Answers, rule: OverlapRule) -> Earlier:
    sets = answers.sets
    return Earlier(
        sets,
        np.full(len(sets), Role.ANSWERED, dtype=np.uint8),
        np.full(len(sets), rule.participants, dtype=np.uint32),
    )


def _smallest(cells: RowSets, members: Index) -> int:
    return int(members[np.argmin(cells.sketches[members].sum(axis=1, dtype=np.int64))])


def _rows(table: GuardedTable, cell: int) -> int:
    return int(table.cells.sketches[cell].sum(dtype=np.int64))
