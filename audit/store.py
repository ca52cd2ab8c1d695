"""The ledger's storage port: what a store keeps and promises. `store_sqlite` is the default one.

A store keeps five tables: entries (index, bytes), tiles (level, index, hashes), keys (unique key, index), checkpoints
(unique size, note) and its head (size and chain). One writer at a time changes it, in transactions that either happen
wholly or not at all and that survive a crash once committed; any number of readers see whole transactions only.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Head:
    """How much a store holds: the number of entries, and the chain head over them (32 bytes)."""

    size: int
    chain: bytes


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A signed checkpoint as stored: the size it was stored under, and the note's bytes."""

    size: int
    note: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction adds.

    Attributes:
        first: index of the first entry; the store's size before.
        entries: the entries' bytes in order.
        keys: (unique key, index of its entry).
        tiles: (level, index, hashes) of each new or grown tile.
        head: size and chain after.
    """

    first: int
    entries: Sequence[bytes]
    keys: Sequence[tuple[str, int]]
    tiles: Sequence[tuple[int, int, bytes]]
    head: Head


class StoreReader(Protocol):
    """Reads committed state. Every method may raise `LedgerUnavailableError` when the storage fails."""

    def head(self) -> Head:
        """Size and chain as recorded by the last transaction."""
        ...

    def entries(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """(index, bytes) of the stored entries with start <= index < end, by index; gaps are left out."""
        ...

    def bounds(self) -> tuple[int, int] | None:
        """The smallest and the largest index stored, None without entries."""
        ...

    def tile(self, level: int, index: int) -> bytes:
        """A tile's hashes so far, empty where there is none."""
        ...

    def find(self, key: str) -> int | None:
        """The index of the entry that holds a unique key."""
        ...

    def keys_under(self, prefix: str) -> list[tuple[str, int]]:
        """(unique key, index of its entry) of the keys that start with `prefix`, by index."""
        ...

    def checkpoints(self) -> Iterator[StoredCheckpoint]:
        """All signed checkpoints, by size."""
        ...

    def checkpoints_backwards(self) -> Iterator[StoredCheckpoint]:
        """All signed checkpoints, the largest size first."""
        ...

    def checkpoint(self, size: int) -> StoredCheckpoint | None:
        """The signed checkpoint of exactly that size."""
        ...

    def latest_checkpoint(self) -> StoredCheckpoint | None:
        """The signed checkpoint of the largest size."""
        ...

    def close(self) -> None:
        """Releases the storage."""
        ...


class Store(StoreReader, Protocol):
    """The one writer."""

    def transaction(self) -> AbstractContextManager[None]:
        """Begins; commits durably at the end, or rolls everything back when the body raises.

        Raises:
            LedgerUnavailableError: nothing could be begun or committed.
        """
        ...

    def add(self, batch: Batch) -> None:
        """Adds a batch; inside a transaction only."""
        ...

    def touch(self) -> None:
        """Has the transaction write to the disk, and change nothing that is read; inside a transaction only."""
        ...

    def add_checkpoint(self, checkpoint: StoredCheckpoint) -> None:
        """Adds a signed checkpoint; a second one of the same size is refused. Inside a transaction only."""
        ...

    def replace_checkpoint(self, checkpoint: StoredCheckpoint) -> None:
        """Stores the note in the place of the one of the same size; inside a transaction only."""
        ...

    def replace_tiles(self, tiles: Iterator[tuple[int, int, bytes]]) -> None:
        """Throws away every tile and stores these: they are derived from the entries. Inside a transaction only."""
        ...
