"""The regulator's copy of another party's ledger: a ledger file like any other, which grows under cosigned checkpoints.

Nothing enters it that does not lead to a checkpoint which this witness cosigned. `audit.verify` verifies it like the
original, and what the original's party later loses or changes can be had from here. The replica does not look at keys:
its caller has verified the note, which the log signed and this witness cosigned.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from audit.chain import Chain
from audit.checkpoint import Checkpoint, Note
from audit.entry import MAX_ENTRY_BYTES, decode_entry
from audit.entry_keys import EntryKeys
from audit.errors import (
    Damage,
    LedgerDamagedError,
    LimitExceededError,
    MalformedError,
    OutOfStepError,
    VerificationFailedError,
)
from audit.ledger import LedgerReader
from audit.store import Batch, Head, StoredCheckpoint
from audit.store_sqlite import SqliteReader, SqliteStore
from audit.tiles import TileEdge, TileNodes
from audit.tree import Frontier, leaf_hash, verify_consistency

MAX_EXTENSION_ENTRIES: Final = 16_384
MAX_EXTENSION_BYTES: Final = 2 * 1024 * 1024
"""Limits of one `extend`: number of entries, and bytes of all of them together."""

_CONTRACT_MARK: Final = b'"kind":"contract"'
"""Only these entries' keys depend on those before; in canonical JSON the bytes occur as the entry's own field only."""


class Replica(LedgerReader):
    """One party's entries as far as they were sent. Safe to share between threads; make one with `open`."""

    __slots__ = ("_entry_keys", "_lock", "_store")

    def __init__(self, store: SqliteStore, reader: SqliteReader) -> None:
        super().__init__(reader)
        self._store = store
        self._lock = threading.Lock()
        self._entry_keys: tuple[int, EntryKeys] | None = None

    @classmethod
    def open(cls, path: Path) -> "Replica":
        """The replica at `path`, made with its folder (modes 0600 and 0700) when it is missing.

        Raises:
            LedgerUnavailableError: it cannot be made, opened or written.
            LedgerDamagedError: it is no SQLite file, or is corrupt.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = SqliteStore(path)
        try:
            return cls(store, SqliteReader(path))
        except BaseException:
            store.close()
            raise

    def extend(self, entries: Sequence[bytes], proof: Sequence[bytes], note: bytes, *, start: int | None = None) -> int:
        """Adds entries, in one durable transaction, or none of them.

        Args:
            entries: those from `size` on, at most 16,384 and 2 MiB together; none to add the checkpoint alone.
            proof: RFC 6962 consistency proof from their end to the size of `note`; empty where they are equal.
            note: a checkpoint of the log that this witness cosigned, with its lines; verified by the caller. It is
                stored when the entries reach its size.
            start: where the sender believes that they continue.

        Returns:
            The size after.

        Raises:
            OutOfStepError: `start` is not the replica's size, which the error names.
            VerificationFailedError: the entries do not lead to the checkpoint.
            LimitExceededError: too many entries, or too large ones.
            MalformedError: the note is no signed checkpoint.
            LedgerUnavailableError: the storage failed; nothing was added.
            LedgerDamagedError: the replica itself is damaged: move it away, and have the entries sent anew.
        """
        _check_limits(entries)
        checkpoint = Checkpoint.from_body(Note.decode(note).text)
        with self._lock, self._store.transaction():
            head = self._store.head()
            if start is not None and start != head.size:
                raise OutOfStepError(head.size, f"the replica continues at entry {head.size}, not {start}")
            leaves = [leaf_hash(data) for data in entries]
            self._verify(head.size, leaves, proof, checkpoint)
            if entries:
                self._store.add(self._batch(head, entries, leaves))
            end = head.size + len(entries)
            if end == checkpoint.size and self._store.checkpoint(end) is None:
                self._store.add_checkpoint(StoredCheckpoint(end, note))
        return end

    def close(self) -> None:
        """Closes the file; a second time does nothing."""
        super().close()
        self._store.close()

    def _verify(self, size: int, leaves: Sequence[bytes], proof: Sequence[bytes], checkpoint: Checkpoint) -> None:
        """Checks that the entries here and the new ones are the beginning of what the checkpoint covers."""
        frontier = self._frontier(size)
        for leaf in leaves:
            frontier.append(leaf)
        end, root = frontier.size, frontier.root()
        try:
            # Equal sizes are compared here: over no entries the proof's check would not look at the new root.
            if end == checkpoint.size and root != checkpoint.root:
                raise VerificationFailedError(Damage.ALTERED, None, "their root is another")
            verify_consistency(end, checkpoint.size, root, checkpoint.root, proof)
        except VerificationFailedError as error:
            self._check_own_root()
            raise VerificationFailedError(
                Damage.ALTERED, size, f"the entries do not lead to the cosigned checkpoint ({error}); none was stored"
            ) from error

    def _check_own_root(self) -> None:
        """A replica that was changed must not make its party look guilty."""
        stored = self._store.latest_checkpoint()
        if stored is None:
            return
        signed = Checkpoint.from_body(Note.decode(stored.note).text)
        if self._frontier(stored.size).root() != signed.root:
            raise LedgerDamagedError("the replica's tiles do not lead to its own last checkpoint: verify it")

    def _frontier(self, size: int) -> Frontier:
        try:
            return Frontier.load(size, TileNodes(self._store.tile))
        except MalformedError as error:
            raise LedgerDamagedError(f"the replica's tiles are damaged ({error}): verify it") from error

    def _batch(self, head: Head, entries: Sequence[bytes], leaves: Sequence[bytes]) -> Batch:
        edge, chain = TileEdge.load(head.size, self._store.tile), Chain(head.size, head.chain)
        for leaf in leaves:
            edge.append(leaf)
            chain.append(leaf)
        keys = self._keys(head.size, entries)
        return Batch(head.size, entries, keys, edge.take_changed(), Head(chain.size, chain.head))

    def _keys(self, size: int, entries: Sequence[bytes]) -> list[tuple[str, int]]:
        """The unique keys of new entries; one that the log itself wrote twice stays with the first that holds it."""
        kept, self._entry_keys = self._entry_keys, None
        if kept is not None and kept[0] == size:
            names = kept[1]
        else:
            names = EntryKeys()
            for _, data in self._store.entries(0, size):
                if _CONTRACT_MARK in data:
                    _names(names, data)
        found: dict[str, int] = {}
        for index, data in enumerate(entries, size):
            for name in _names(names, data):
                if name not in found and self._store.find(name) is None:
                    found[name] = index
        self._entry_keys = (size + len(entries), names)
        return list(found.items())


def _names(keys: EntryKeys, data: bytes) -> tuple[str, ...]:
    """An entry's keys. What is no entry is kept too, for its log signed it: verifying the replica finds it."""
    try:
        return keys.keys_of(decode_entry(data))
    except MalformedError:
        return ()


def _check_limits(entries: Sequence[bytes]) -> None:
    if len(entries) > MAX_EXTENSION_ENTRIES or sum(map(len, entries)) > MAX_EXTENSION_BYTES:
        raise LimitExceededError(f"at most {MAX_EXTENSION_ENTRIES} entries and {MAX_EXTENSION_BYTES} bytes at a time")
    if any(len(data) > MAX_ENTRY_BYTES for data in entries):
        raise LimitExceededError(f"an entry of more than {MAX_ENTRY_BYTES} bytes")
