"""The overlap guard: what a dataset was answered for is remembered, and what it must not be asked for is refused.

A call reserves its cells when it makes its offer, settles on those that the roster leaves open, and remembers them
before its part leaves. Checking and reserving is one step under the dataset's lock, so that calls at the same time are
never answered what one of them alone would not be. A reservation ends with its call; what is remembered stays, over
all queries, contracts, merchants and versions of the dataset, and is backed up with the vault.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from audit.canonical import canonicalise
from audit.receipt import participants_digest
from sandbox.cells import CellOfRow, CellTotals, Missing
from sandbox.errors import SandboxError, SourceError
from sandbox.overlap_near import near_pairs
from sandbox.overlap_rules import Earlier, GuardedTable, OverlapRule, Role, refuse
from sandbox.overlap_store import Became, OverlapStore, SetNumbers
from sandbox.query import CellTable
from sandbox.release import OwnTotals, ReleasePolicy
from sandbox.row_identity import RowIdentity
from sandbox.row_sets import Index, Mask, RowSets, RowSpace
from sandbox.vault import Vault

_Value = TypeVar("_Value", np.bool_, np.int64)

_NO_SET: Final = 2**32 - 1
_RECALLED: Final = np.dtype([("refused", "?"), ("closed", "?"), ("set", "<u4")])


class OverlapError(SandboxError):
    """The cells that a roster leaves open must not be answered, or the call's reservation has ended."""


@dataclass(frozen=True, slots=True)
class AskedTable:
    """One table of a question: levels a grouping column, and for each row position its cell (-1: none).

    `missing` has, for each demand of some measure that values are there, the rows that do not meet it.
    """

    shape: tuple[int, ...]
    rows: CellOfRow
    missing: tuple[Missing, ...] = ()

    def layers(self) -> Iterator[CellOfRow]:
        """The cell of each row over which something is added up: of all rows first, then for each demand."""
        yield self.rows
        for missing in self.missing:
            yield np.where(missing, np.int32(-1), self.rows)


@dataclass(frozen=True, slots=True)
class Question:
    """What a call asks of a dataset, after the rules that need no memory: `withheld` cells over all tables."""

    tables: tuple[AskedTable, ...]
    withheld: tuple[bool, ...]
    participants: tuple[str, ...]
    policy: ReleasePolicy

    @classmethod
    def of(
        cls,
        asked: Sequence[CellTable],
        totals: CellTotals,
        withheld: tuple[bool, ...],
        participants: tuple[str, ...],
        policy: ReleasePolicy,
    ) -> Question:
        """The question behind a scan of the tables that are `asked`, which was asked for rows too.

        Raises `SourceError` when it was not.
        """
        tables = []
        for table, found in zip(asked, totals.tables, strict=True):
            if found.rows is None:
                raise SourceError("the scan gave no rows, so that nothing can be held against earlier answers")
            tables.append(AskedTable(table.grid.shape, found.rows, found.missing))
        return cls(tuple(tables), withheld, participants, policy)

    @property
    def layers(self) -> list[tuple[int, bool]]:
        """For every layer of every table its number of cells, and whether it is of all rows."""
        return [(prod(table.shape), number == 0) for table in self.tables for number in range(1 + len(table.missing))]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which cells are withheld, and which are refused to all; no cell is both."""

    withheld: tuple[bool, ...]
    refused: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class _Reservation:
    """A call's cells. `tables` are as the rules left them: what would be answered, and what is withheld for itself.

    `question` is the hash of all that was asked, None where the answer is not the one that the rules alone would give.
    `numbers` has for each table those of cells that are kept already, -1 for others. `closed` is what the roster
    closes, None before it is known; `kept_closed` what it closed when this very question was answered before.
    """

    question: str | None
    digest: str
    rule: OverlapRule
    tables: Sequence[GuardedTable]
    refused: Mask
    numbers: Sequence[Index]
    kept_closed: Mask | None = None
    closed: Mask | None = None

    def earlier(self) -> Earlier:
        """What other calls are held against: whether others' totals go with a withheld cell is not known yet."""
        sets: list[RowSets] = []
        roles: list[Role] = []
        for table in self.tables:
            answered, withheld = table.answers().sets, table.cells.take(np.flatnonzero(table.withheld))
            sets += [answered, withheld]
            roles += [Role.ANSWERED] * len(answered) + [Role.BESIDE_OTHERS] * len(withheld)
        participants = np.full(len(roles), self.rule.participants, dtype=np.uint32)
        return Earlier(RowSets.join(sets), np.array(roles, dtype=np.uint8), participants)


class OverlapGuard:
    """One dataset's guard. Threads may share it.

    Every method raises `VaultError` when what is remembered cannot be read.
    """

    def __init__(self, vault: Vault, dataset: str, identity: RowIdentity) -> None:
        self._space = RowSpace(identity)
        self._store = OverlapStore(vault, dataset, self._space)
        self._reserved: dict[str, tuple[_Reservation, Earlier]] = {}
        self._lock = threading.Lock()

    @property
    def answered(self) -> int:
        """How many different sets of rows have been answered, sums over cells included."""
        with self._lock:
            return self._store.answered

    def reserve(self, call: str, question: Question) -> Verdict:
        """Decide which cells are refused, and reserve the others for the call until `release`.

        Raises `SourceError` when the rows are not those that have ids.
        """
        name = _hash(question, self._space)
        with self._lock:
            recalled = self._store.recall(name)
        cells = []
        if recalled is None:  # outside of the lock, for it takes the longest
            cells = [
                self._space.split(self._space.by_id(rows), prod(table.shape))
                for table in question.tables
                for rows in table.layers()
            ]
        digest = participants_digest(question.participants)
        secret = question.policy.own_totals is OwnTotals.SECRET
        with self._lock:
            rule = OverlapRule(question.policy.overlap_k, secret, self._store.participants(digest))
            if recalled is None:
                tables, refused = self._decide(question, cells, rule)
                held = _Reservation(name, digest, rule, tables, refused, [np.full(len(sets), -1) for sets in cells])
            else:
                layers, ends = question.layers, np.cumsum([cells for cells, _ in question.layers])
                parts = np.split(np.frombuffer(recalled, dtype=_RECALLED), ends[:-1])
                numbers = [np.where(part["set"] == _NO_SET, -1, part["set"].astype("i8")) for part in parts]
                known = np.concatenate([part for part, (_, whole) in zip(parts, layers, strict=True) if whole])
                tables = _guarded(question, [self._store.kept(part) for part in numbers], known["refused"])
                held = _Reservation(name, digest, rule, tables, known["refused"], numbers, known["closed"])
            self._reserved[call] = held, held.earlier()
        withheld = np.array(question.withheld, dtype=bool) & ~held.refused
        return Verdict(tuple(withheld.tolist()), tuple(held.refused.tolist()))

    def settle(self, call: str, closed: Sequence[bool]) -> None:
        """Hold what the roster leaves open against all that is earlier: closing a cell changes the sums over it.

        Raises `OverlapError`: some sum must not be known, or the call's reservation has ended.
        """
        shut = np.array(closed, dtype=bool)
        with self._lock:
            held = self._held(call)
            if held.closed is not None and not np.array_equal(held.closed, shut):
                raise OverlapError("the call is settled for another roster")
            held = replace(held, closed=shut)
            tables = _copies(held.tables)
            for table, part in zip(tables, _parts(shut, tables), strict=True):
                table.opened &= ~part
            if _differ(tables, held.tables):
                checked = _copies(tables)
                refuse(checked, self._earlier(but=call), held.rule, self._space)
                if _differ(tables, checked):
                    raise OverlapError("what others closed leaves sums open that are too near to earlier answers")
                held = replace(held, tables=tables, question=None, kept_closed=None)
            self._reserved[call] = held, held.earlier()

    def remember(self, call: str) -> None:
        """Make durable what the call is about to be answered; its reservation ends.

        Raises:
            OverlapError: the call's reservation has ended, or the call is not settled.
            VaultError: nothing could be kept, and nothing may leave.
        """
        with self._lock:
            held = self._held(call)
            if held.closed is None:
                raise OverlapError("the call is not settled")
            if held.kept_closed is None or not np.array_equal(held.kept_closed, held.closed):
                self._keep(held, held.closed)
            del self._reserved[call]

    def release(self, call: str) -> None:
        """End the call's reservation; nothing happens if there is none."""
        with self._lock:
            self._reserved.pop(call, None)

    def _held(self, call: str) -> _Reservation:
        if call not in self._reserved:
            raise OverlapError("the call has ended")
        return self._reserved[call][0]

    def _earlier(self, but: str = "") -> list[Earlier]:
        return [self._store.earlier, *(sets for call, (_, sets) in self._reserved.items() if call != but)]

    def _decide(
        self, question: Question, cells: Sequence[RowSets], rule: OverlapRule
    ) -> tuple[list[GuardedTable], Mask]:
        """The tables as the rules leave them, and the cells that are refused."""
        tables = _guarded(question, cells, np.zeros(len(question.withheld), dtype=bool))
        before = _copies(tables)
        refuse(tables, self._earlier(), rule, self._space)
        taken = [
            (old.opened ^ new.opened) | (old.withheld ^ new.withheld)
            for old, new in zip(before, tables, strict=True)
            if new.whole
        ]
        return tables, np.concatenate(taken)

    def _keep(self, held: _Reservation, closed: Mask) -> None:
        sets: list[RowSets] = []
        roles: list[Index] = []
        numbers: list[Index] = []
        unions: dict[int, Index] = {}
        places: list[Index] = []
        count = 0
        for table, known, shut in zip(held.tables, held.numbers, _parts(closed, held.tables), strict=True):
            answers, withheld = table.answers(), np.flatnonzero(table.withheld & table.cells.sketches.any(axis=1))
            own = np.concatenate([answers.numbers, withheld])
            place = np.full(len(table.opened), -1)
            place[own] = np.arange(count, count + len(own))
            count += len(own)
            sums = answers.unions
            unions |= {count + index: place[members] for index, members in enumerate(sums.members)}
            count += len(sums.members)
            sets += [table.cells.take(own), sums.sets]
            numbers += [known[own], np.full(len(sums.members), -1)]
            beside = np.where(shut[withheld], Role.WITHHELD, Role.BESIDE_OTHERS)
            roles += [np.full(len(answers.numbers), Role.ANSWERED), beside, np.full(len(sums.members), Role.ANSWERED)]
            places.append(place)
        joined, all_numbers = RowSets.join(sets), np.concatenate(numbers)
        unknown = np.flatnonzero(all_numbers < 0)
        for pair in near_pairs(joined.take(unknown), self._store.earlier.sets, self._space, k=0):
            all_numbers[unknown[pair.new]] = self._store.numbers[pair.old]
        became = Became(joined, np.concatenate(roles).astype(np.uint8), all_numbers, unions)

        def pack(kept: SetNumbers) -> bytes:
            where = np.concatenate(places)
            recalled = np.zeros(len(where), dtype=_RECALLED)
            recalled["refused"] = np.concatenate(_parts(held.refused, held.tables))
            recalled["closed"] = np.concatenate(_parts(closed, held.tables))
            recalled["set"] = _NO_SET
            recalled["set"][where >= 0] = kept[where[where >= 0]]
            return recalled.tobytes()

        self._store.remember(became, held.digest, held.question, pack)


def _hash(question: Question, space: RowSpace) -> str:
    """Everything that the rules look at, but what is remembered."""
    policy = question.policy
    head = canonicalise(
        {
            "participants": participants_digest(question.participants),
            "k": policy.overlap_k,
            "own_totals": policy.own_totals.value,
            "scheme": space.scheme,
            "shapes": [list(table.shape) for table in question.tables],
            "layers": [1 + len(table.missing) for table in question.tables],
            "rows": space.count,
        }
    )
    digest = hashlib.sha256(head + b"\x00" + bytes(question.withheld))
    for table in question.tables:
        for rows in table.layers():
            digest.update(np.ascontiguousarray(space.by_id(rows), dtype="<i4").data)
    return digest.hexdigest()


def _guarded(question: Question, cells: Sequence[RowSets], refused: Mask) -> list[GuardedTable]:
    tables: list[GuardedTable] = []
    layers, start = iter(cells), 0
    for table in question.tables:
        end = start + prod(table.shape)
        own, shut = np.array(question.withheld[start:end], dtype=bool), refused[start:end]
        sets = next(layers)
        whole = GuardedTable(table.shape, sets, ~own & ~shut, own & ~shut & sets.sketches.any(axis=1))
        tables += [whole, *(replace(whole, cells=next(layers), whole=False) for _ in table.missing)]
        start = end
    return tables


def _parts(values: npt.NDArray[_Value], tables: Sequence[GuardedTable]) -> list[npt.NDArray[_Value]]:
    """For each table its part of what is numbered through over all cells; one that is not whole has its whole's."""
    parts: list[npt.NDArray[_Value]] = []
    start = 0
    for table in tables:
        if table.whole:
            end = start + prod(table.shape)
            parts.append(values[start:end])
            start = end
        else:
            parts.append(parts[-1])
    return parts


def _copies(tables: Sequence[GuardedTable]) -> list[GuardedTable]:
    """Copies whose masks are shared as they were."""
    masks = {id(mask): mask.copy() for table in tables for mask in (table.opened, table.withheld)}
    return [replace(table, opened=masks[id(table.opened)], withheld=masks[id(table.withheld)]) for table in tables]


def _differ(one: Sequence[GuardedTable], other: Sequence[GuardedTable]) -> bool:
    return any(
        not np.array_equal(first.opened, second.opened) or not np.array_equal(first.withheld, second.withheld)
        for first, second in zip(one, other, strict=True)
    )
