"""Reads a ledger: its entries, checkpoints and proofs, also while its party is writing."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from audit.entry import Genesis
from audit.errors import LedgerDamagedError, LedgerError
from audit.keys import VerifyingKey
from audit.log_keys import read_genesis, scanned_schedule
from audit.store_sqlite import SqliteReader, open_sqlite_reader
from audit.tiles import TileNodes
from audit.tree import Frontier, consistency_proof, inclusion_proof


class LedgerReader:
    """Reads a ledger's committed entries, checkpoints and proofs. Safe to share between threads."""

    __slots__ = ("_reader",)

    def __init__(self, reader: SqliteReader) -> None:
        self._reader = reader

    @property
    def size(self) -> int:
        """Number of committed entries."""
        return self._reader.head().size

    def genesis(self) -> Genesis:
        """The first entry: whose ledger this is.

        Raises:
            LedgerDamagedError: it is missing or is no genesis entry.
        """
        return read_genesis(self._reader)

    def named_log_key(self) -> VerifyingKey | None:
        """The key that the entries name last as the log's, None over no entries; reads them all.

        Raises:
            LedgerDamagedError: the first is no genesis entry, or the log keys do not follow one another.
        """
        return scanned_schedule(self._reader, self.size).current if self.size else None

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The stored bytes of entries start to end - 1, in order; fewer where the ledger ends before.

        Raises:
            LedgerDamagedError: an entry is missing.
        """
        expected = start
        for index, data in self._reader.entries(start, min(end, self.size)):
            if index != expected:
                raise LedgerDamagedError(f"entry {expected} is missing: verify the ledger")
            yield data
            expected += 1

    def find(self, key: str) -> int | None:
        """The index of the entry that holds a unique key, or None."""
        return self._reader.find(key)

    def latest_checkpoint(self) -> bytes | None:
        """The signed checkpoint of the largest size, or None before the first."""
        stored = self._reader.latest_checkpoint()
        return None if stored is None else stored.note

    def checkpoints(self) -> Iterator[bytes]:
        """All signed checkpoints, by size."""
        return (stored.note for stored in self._reader.checkpoints())

    def checkpoints_backwards(self) -> Iterator[bytes]:
        """All signed checkpoints, the largest size first."""
        return (stored.note for stored in self._reader.checkpoints_backwards())

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        """RFC 6962 proof that entry `index` is in the tree of the first `size` entries.

        Raises:
            LedgerError: not 0 <= index < size <= the ledger's size.
        """
        self._check_size(size)
        return inclusion_proof(index, size, TileNodes(self._reader.tile))

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """RFC 6962 proof that the tree of `new` entries extends that of `old`.

        Raises:
            LedgerError: not 0 <= old <= new <= the ledger's size.
        """
        self._check_size(new)
        return consistency_proof(old, new, TileNodes(self._reader.tile))

    def root(self, size: int) -> bytes:
        """The RFC 6962 root over the first `size` entries (32 bytes), from the stored tiles.

        Raises:
            LedgerError: size exceeds the ledger's.
            MalformedError: the tiles are damaged: verify the ledger.
        """
        self._check_size(size)
        return Frontier.load(size, TileNodes(self._reader.tile)).root()

    def tile(self, level: int, index: int) -> bytes:
        """The hashes of a C2SP tile as far as it is filled, empty where there is none."""
        return self._reader.tile(level, index)

    def close(self) -> None:
        """Closes the file; a second time does nothing."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_size(self, size: int) -> None:
        have = self.size
        if size > have:
            raise LedgerError(f"a proof over {size} entries was asked of a ledger of {have}")


def open_reader(path: Path) -> LedgerReader:
    """Opens a ledger for reading, also while its party is running.

    Raises:
        LedgerUnavailableError: no such ledger, or it cannot be read.
        LedgerDamagedError: it is no SQLite file, or is corrupt.
    """
    return LedgerReader(open_sqlite_reader(Path(path)))
