"""A party's ledger: append-only, durable when acknowledged, provable to others.

One process holds it open for writing. `append` is safe from any thread; so is reading.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from audit.clock import Clock
from audit.draft import Appended, Draft, Guard, LedgerConfig
from audit.entry import Genesis, decode_entry
from audit.errors import AuditError, LedgerDamagedError, LedgerError, LedgerUnavailableError
from audit.file_lock import FileLock
from audit.keys import SigningKey
from audit.names import Role
from audit.recovery import Fold
from audit.sequencer import Sequencer, Writer
from audit.store import StoreReader
from audit.store_sqlite import SqliteReader, SqliteStore, open_sqlite_reader
from audit.tiles import TileNodes
from audit.tree import Frontier, consistency_proof, inclusion_proof

__all__ = [
    "Appended",
    "Clock",
    "Draft",
    "Fold",
    "Guard",
    "Ledger",
    "LedgerConfig",
    "LedgerIdentity",
    "LedgerReader",
    "open_reader",
]


@dataclass(frozen=True, slots=True)
class LedgerIdentity:
    """Whose ledger it is; what its first entry says.

    Args:
        party: the owner's name.
        role: its role.
        legal_entity: its code in a public register.
        origin: the log's name, `<party>.<role>.<domain>/log`; the log key has the same name.
    """

    party: str
    role: Role
    legal_entity: str
    origin: str


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
        return _read_genesis(self._reader)

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

    def _check_size(self, size: int) -> None:
        have = self.size
        if size > have:
            raise LedgerError(f"a proof over {size} entries was asked of a ledger of {have}")


class Ledger(LedgerReader):
    """The one writer of a ledger. Make one with `Ledger.open`."""

    __slots__ = ("_identity", "_lock", "_sequencer")

    def __init__(self, identity: LedgerIdentity, lock: FileLock, sequencer: Sequencer, reader: SqliteReader) -> None:
        super().__init__(reader)
        self._identity = identity
        self._lock = lock
        self._sequencer = sequencer

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        identity: LedgerIdentity,
        key: SigningKey,
        clock: Clock,
        folds: Sequence[Fold] = (),
        config: LedgerConfig | None = None,
    ) -> "Ledger":
        """Opens a ledger, or makes one whose first entry is the owner's GENESIS.

        Checks and repairs what a crash may have left, and replays `folds` over all entries, in constant memory.

        Raises:
            LedgerUnavailableError: in use by another process (named), not writable, or another party's or key's ledger.
            LedgerDamagedError: its entries are damaged.
        """
        path = Path(path)
        lock = FileLock(path)
        try:
            writer = Writer(identity.party, identity.origin, key, clock)
            sequencer = Sequencer(lambda: _open_own(path, identity, key), writer, folds, config or LedgerConfig())
            try:
                if sequencer.size == 0:
                    genesis = _genesis(identity, key, clock)
                    sequencer.submit(lambda: Draft(genesis))
                return cls(identity, lock, sequencer, SqliteReader(path))
            except BaseException:
                sequencer.stop()
                sequencer.close()
                raise
        except BaseException:
            lock.release()
            raise

    @property
    def identity(self) -> LedgerIdentity:
        """Whose ledger it is."""
        return self._identity

    @property
    def size(self) -> int:
        """Number of committed entries."""
        return self._sequencer.size

    def append(self, guard_or_draft: Draft | Guard) -> Appended:
        """Appends one entry; returns once it is on the disk.

        A guard is run in the sequencer thread, inside the transaction; it sees the folds with every earlier draft
        applied. What it raises comes back to this caller alone and nothing is appended.

        Raises:
            DuplicateKeyError: one of the draft's keys is taken.
            MalformedError: the entry is not one that a verifier would accept, or is another party's.
            LedgerFullError: too many appends are waiting; nothing was recorded.
            LedgerUnavailableError: the storage failed; release nothing. The entry may or may not have been recorded.
            LedgerClosedError: closed.
        """
        if isinstance(guard_or_draft, Draft):
            draft = guard_or_draft
            return self._sequencer.submit(lambda: draft)
        return self._sequencer.submit(guard_or_draft)

    def try_writing(self) -> None:
        """Writes to the disk without adding an entry, to learn whether the next entry could be recorded.

        Raises:
            LedgerUnavailableError: the storage fails.
            LedgerDamagedError: it holds other entries than were appended.
            LedgerFullError, LedgerClosedError: as `append`.
        """
        self._sequencer.try_writing()

    def checkpoint(self) -> bytes:
        """Signs a checkpoint over everything committed, stores and returns it; the same note for the same size.

        Raises:
            LedgerUnavailableError: the storage failed.
            LedgerDamagedError: it holds other entries than were appended; nothing was signed.
            LedgerFullError, LedgerClosedError: as `append`.
        """
        return self._sequencer.sign()

    def close(self) -> None:
        """Finishes what is queued, signs a last checkpoint, closes the file and gives the lock back."""
        self._sequencer.stop()
        self._reader.close()
        self._sequencer.close()
        self._lock.release()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_reader(path: Path) -> LedgerReader:
    """Opens a ledger for reading, also while its party is running.

    Raises:
        LedgerUnavailableError: no such ledger, or it cannot be read.
        LedgerDamagedError: it is no SQLite file, or is corrupt.
    """
    return LedgerReader(open_sqlite_reader(Path(path)))


def _genesis(identity: LedgerIdentity, key: SigningKey, clock: Clock) -> Genesis:
    return Genesis(
        party=identity.party,
        at_ms=clock.now_ms(),
        origin=identity.origin,
        role=identity.role,
        legal_entity=identity.legal_entity,
        log_key=key.verifying_key.vkey(),
    )


def _open_own(path: Path, identity: LedgerIdentity, key: SigningKey) -> SqliteStore:
    """The store at `path`, whose entries, if it has any, are this owner's, signed by this key."""
    store = SqliteStore(path)
    try:
        if store.head().size:
            _check_owner(_read_genesis(store), identity, key)
    except BaseException:
        store.close()
        raise
    return store


def _read_genesis(store: StoreReader) -> Genesis:
    for _, data in store.entries(0, 1):
        try:
            entry = decode_entry(data)
        except AuditError as error:
            raise LedgerDamagedError(f"the first entry cannot be read ({error}): verify the ledger") from error
        if isinstance(entry, Genesis):
            return entry
    raise LedgerDamagedError("the ledger does not begin with a genesis entry: verify it")


def _check_owner(genesis: Genesis, identity: LedgerIdentity, key: SigningKey) -> None:
    if (genesis.party, genesis.origin, genesis.role) != (identity.party, identity.origin, identity.role):
        raise LedgerUnavailableError(
            f"this is the ledger of {genesis.party} ({genesis.origin}), not of {identity.party} ({identity.origin})"
        )
    vkey = key.verifying_key.vkey()
    if genesis.log_key != vkey:
        raise LedgerUnavailableError(
            f"this ledger's checkpoints are signed by {genesis.log_key}, not by {vkey}: use that key"
        )
