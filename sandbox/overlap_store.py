"""The sets of rows that a dataset's answers were over, kept in the vault; sketches in memory, rows read when needed.

A set is kept once: a cell as a roaring bitmap, a sum over cells as the numbers of the sets that it is made of. What
became of sets is kept in batches, one an answer. A whole question that comes again is known by the hash of its cells.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from sandbox.errors import VaultError
from sandbox.overlap_rules import Earlier, Role
from sandbox.row_sets import BUCKETS, Index, RowSets, RowSpace
from sandbox.vault import Vault, VaultKind

CACHE_BYTES: Final = 64 * 2**20

_ROWS: Final = b"\x01"
_UNION: Final = b"\x02"
_DIGEST_BYTES: Final = 32
_ENTRY: Final = np.dtype([("set", "<u4"), ("role", "u1"), ("sketch", "<i4", (BUCKETS,))])

SetNumbers = npt.NDArray[np.uint32]
_Batch = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Became:
    """What becomes of sets in one answer.

    `numbers` are those of sets that are kept already, -1 for others. `unions` says of which sets (numbers within
    `sets`) a set is the union; a set without an entry there is kept row by row.
    """

    sets: RowSets
    roles: npt.NDArray[np.uint8]
    numbers: Index
    unions: Mapping[int, Index]


def count_answered(vault: Vault, dataset: str) -> int:
    """How many different sets of rows have been answered, sums over cells included; for the provider's own eyes.

    Raises `VaultError` when the vault cannot be read, or is damaged.
    """
    batches = [_unpacked(data, dataset)[1] for _, data in vault.items(VaultKind.OVERLAP, f"{dataset}/batch/")]
    return len({number for batch in batches for number in batch["set"][batch["role"] == Role.ANSWERED].tolist()})


class OverlapStore:
    """One dataset's sets. Not for several threads: the guard has the lock.

    Every method raises `VaultError` when the vault cannot be read or written, or is damaged; nothing is half kept.
    """

    def __init__(self, vault: Vault, dataset: str, space: RowSpace) -> None:
        self._vault = vault
        self._dataset = dataset
        self._space = space
        self._cache: OrderedDict[int, tuple[BitMap, int]] = OrderedDict()
        self._cached_bytes = 0
        self._participants: dict[str, int] = {}
        self._known: set[tuple[int, int, int]] = set()
        self._batches = 0
        self._sets = 0
        self._numbers = np.zeros(0, np.uint32)
        self._earlier = Earlier(RowSets(np.zeros((0, BUCKETS), np.int32), self._load), np.zeros(0, "u1"), self._numbers)
        self._read()

    @property
    def earlier(self) -> Earlier:
        """All that is remembered."""
        return self._earlier

    @property
    def numbers(self) -> SetNumbers:
        """The number of each remembered set, in the order of `earlier`; one set may be there in several roles."""
        return self._numbers

    @property
    def answered(self) -> int:
        """How many different sets have been answered, sums included."""
        return len(np.unique(self._numbers[self._earlier.roles == Role.ANSWERED]))

    def participants(self, digest: str) -> int:
        """A number for the participants of this digest (hex SHA-256), the same until the process ends."""
        return self._participants.setdefault(digest, len(self._participants))

    def kept(self, numbers: Index) -> RowSets:
        """Sets that are kept, by their numbers; -1 stands for the empty set."""
        sketches = np.zeros((len(numbers), BUCKETS), dtype=np.int32)
        there = np.flatnonzero(numbers >= 0)
        if len(there):
            order = np.argsort(self._numbers, kind="stable")
            at = order[np.searchsorted(self._numbers[order[:-1]], numbers[there])]
            if not np.array_equal(self._numbers[at], numbers[there]):
                raise self._damaged("a question was over sets that are gone")
            sketches[there] = self._earlier.sets.sketches[at]
        return RowSets(sketches, lambda index: self._rows(int(numbers[index])) if numbers[index] >= 0 else BitMap())

    def remember(self, became: Became, digest: str, question: str | None, pack: Callable[[SetNumbers], bytes]) -> None:
        """Keep sets and what became of them, for the participants of `digest`; durable on return.

        What is known already is not kept again. With a `question` (hex of its hash) also what `pack` makes of the
        numbers of `became`'s sets.
        """
        with self._vault.transaction():
            numbers, count = self._keep_sets(became)
            batch = self._fresh(became, numbers, digest)
            if len(batch):
                self._vault.put(VaultKind.OVERLAP, self._key("batch", self._batches), _packed(digest, batch))
            if question is not None:
                self._vault.put(VaultKind.OVERLAP, f"{self._dataset}/question/{question}", pack(numbers))
        self._sets = count
        if len(batch):
            self._add(digest, batch)

    def recall(self, question: str) -> bytes | None:
        """What was kept of a question, None if nothing was."""
        return self._vault.get(VaultKind.OVERLAP, f"{self._dataset}/question/{question}")

    def _keep_sets(self, became: Became) -> tuple[SetNumbers, int]:
        numbers, count = became.numbers.astype(np.uint32), self._sets
        new = np.flatnonzero(became.numbers < 0)
        numbers[new] = np.arange(count, count + len(new))
        for index in new.tolist():
            parts = became.unions.get(index)
            if parts is None:
                data = _ROWS + became.sets.load(index).serialize()
            else:
                data = _UNION + numbers[parts].astype("<u4").tobytes()
            self._vault.put(VaultKind.OVERLAP, self._key("set", int(numbers[index])), data)
        return numbers, count + len(new)

    def _fresh(self, became: Became, numbers: SetNumbers, digest: str) -> _Batch:
        code, seen, fresh = self.participants(digest), set(self._known), []
        for index, pair in enumerate(zip(numbers.tolist(), became.roles.tolist(), strict=True)):
            if (*pair, code) not in seen:
                seen.add((*pair, code))
                fresh.append(index)
        batch = np.zeros(len(fresh), dtype=_ENTRY)
        batch["set"] = numbers[fresh]
        batch["role"] = became.roles[fresh]
        batch["sketch"] = became.sets.sketches[fresh]
        return batch

    def _add(self, digest: str, batch: _Batch) -> None:
        code, before = self.participants(digest), self._earlier
        codes = np.full(len(batch), code, dtype=np.uint32)
        self._known.update(zip(batch["set"].tolist(), batch["role"].tolist(), codes.tolist(), strict=True))
        self._numbers = np.concatenate([self._numbers, batch["set"]])
        self._earlier = Earlier(
            RowSets(np.concatenate([before.sets.sketches, batch["sketch"]]), self._load),
            np.concatenate([before.roles, batch["role"]]),
            np.concatenate([before.participants, codes]),
        )
        self._batches += 1

    def _load(self, index: int) -> BitMap:
        return self._rows(int(self._numbers[index]))

    def _rows(self, number: int) -> BitMap:
        found = self._cache.get(number)
        if found is not None:
            self._cache.move_to_end(number)
            return found[0]
        data = self._vault.get(VaultKind.OVERLAP, self._key("set", number))
        if data is None:
            raise self._damaged(f"set {number} is gone")
        try:
            if data[:1] == _UNION:
                rows = BitMap.union(*(self._rows(int(part)) for part in np.frombuffer(data, "<u4", offset=1)))
            else:
                rows = BitMap.deserialize(data[1:])
        except ValueError as error:
            raise self._damaged(f"set {number}: {error}") from error
        self._cache[number] = (rows, len(data))
        self._cached_bytes += len(data)
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1][1]
        return rows

    def _read(self) -> None:
        """Read what became of all sets; sketches of another scheme are made anew."""
        scheme = self._vault.get(VaultKind.OVERLAP, f"{self._dataset}/scheme")
        stored = self._vault.items(VaultKind.OVERLAP, f"{self._dataset}/batch/")
        with self._vault.transaction():
            for key, data in stored:
                digest, batch = _unpacked(data, self._dataset)
                if scheme != self._space.scheme.encode():
                    batch["sketch"] = [self._space.sketch(self._rows(int(number))) for number in batch["set"]]
                    self._vault.put(VaultKind.OVERLAP, key, _packed(digest, batch))
                self._add(digest, batch)
            if scheme != self._space.scheme.encode():
                self._vault.put(VaultKind.OVERLAP, f"{self._dataset}/scheme", self._space.scheme.encode())
        self._sets = int(self._numbers.max()) + 1 if len(self._numbers) else 0

    def _key(self, what: str, number: int) -> str:
        return f"{self._dataset}/{what}/{number:010d}"

    def _damaged(self, detail: str) -> VaultError:
        return _damaged(self._dataset, detail)


def _packed(digest: str, batch: _Batch) -> bytes:
    return bytes.fromhex(digest) + batch.tobytes()


def _unpacked(data: bytes, dataset: str) -> tuple[str, _Batch]:
    if len(data) < _DIGEST_BYTES or (len(data) - _DIGEST_BYTES) % _ENTRY.itemsize:
        raise _damaged(dataset, f"a batch of {len(data)} bytes")
    return data[:_DIGEST_BYTES].hex(), np.frombuffer(data, dtype=_ENTRY, offset=_DIGEST_BYTES).copy()


def _damaged(dataset: str, detail: str) -> VaultError:
    return VaultError(f"what {dataset} was answered over cannot be read: {detail}; restore the backup")
