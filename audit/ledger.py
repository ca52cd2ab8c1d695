"""A party's ledger: append-only, durable when acknowledged, provable to others.

One process holds it open for writing. `append` is safe from any thread; so is reading.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from audit.adoption import Retrieved, check_owner
from audit.checkpoint import NoteSignature
from audit.clock import Clock
from audit.draft import Appended, Draft, Guard, LedgerConfig, LedgerIdentity
from audit.entry import Genesis
from audit.file_lock import FileLock
from audit.keys import SigningKey, VerifyingKey
from audit.ledger_reader import LedgerReader, open_reader
from audit.ledger_writer import Author, LedgerWriter
from audit.log_keys import read_genesis
from audit.recovery import Fold
from audit.sequencer import Sequencer
from audit.store_sqlite import SqliteReader, SqliteStore

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


class Ledger(LedgerReader):
    """The one writer of a ledger. Make one with `Ledger.open`."""

    __slots__ = ("_author", "_lock", "_sequencer", "_writer")

    def __init__(self, author: Author, lock: FileLock, writer: LedgerWriter, config: LedgerConfig, path: Path) -> None:
        super().__init__(SqliteReader(path))
        self._author = author
        self._lock = lock
        self._writer = writer
        self._sequencer = Sequencer(writer, config)

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
        hold: bool = False,
        takes_over: int | None = None,
    ) -> "Ledger":
        """Opens a ledger, or makes one whose first entry is the owner's GENESIS.

        Checks and repairs what a crash may have left, and replays `folds` over all entries, in constant memory.

        Args:
            path: the ledger's file.
            identity: whose ledger it is.
            key: the log key that the ledger's entries (GENESIS, LOG_KEY) name last.
            clock: for GENESIS, seals and LOG_KEY.
            folds: states to compute from the entries and to keep in step with them.
            config: limits and rhythms.
            hold: sign nothing until `release`, for a log whose witnesses may know more entries than are here. A new
                ledger then stays without its GENESIS until something is appended, or it is released.
            takes_over: where the entries name another key, which is lost or revoked, `key` takes the log over: as
                `rotate` without vouching, by this version of the directory, at once or at `release`.

        Raises:
            LedgerUnavailableError: in use by another process (named), not writable, or another party's or key's ledger.
            LedgerDamagedError: its entries are damaged.
            MalformedError: `key` is to take over, and is of another log or has signed this one before.
        """
        path, config = Path(path), config or LedgerConfig()
        lock = FileLock(path)
        try:
            author = Author(identity, key, clock, takes_over)
            writer = LedgerWriter(lambda: _open_own(path, identity), author, folds, config.seal_entries, held=hold)
            try:
                ledger = cls(author, lock, writer, config, path)
            except BaseException:
                writer.close()
                raise
        except BaseException:
            lock.release()
            raise
        try:
            if not hold:
                if takes_over is not None:
                    ledger._sequencer.perform(writer.take_over)
                ledger._begin()
        except BaseException:
            ledger.close()
            raise
        return ledger

    @property
    def identity(self) -> LedgerIdentity:
        """Whose ledger it is."""
        return self._author.identity

    @property
    def opened_with(self) -> VerifyingKey:
        """The log key that it was opened with."""
        return self._author.key.verifying_key

    @property
    def size(self) -> int:
        """Number of committed entries."""
        return self._writer.committed

    def append(self, guard_or_draft: Draft | Guard) -> Appended:
        """Appends one entry; returns once it is on the disk.

        A guard is run in the sequencer thread, inside the transaction; it sees the folds with every earlier draft
        applied. What it raises comes back to this caller alone and nothing is appended.

        Raises:
            DuplicateKeyError: one of the draft's keys is taken.
            MalformedError: the entry is not one that a verifier would accept, or is another party's.
            LedgerFullError: too many appends are waiting; nothing was recorded.
            LedgerUnavailableError: the storage failed; release nothing. The entry may or may not have been recorded.
            SigningHeldError: entries are to be taken back first (`adopt`, `await_entries`); nothing was recorded.
            LedgerClosedError: closed.
        """
        if not self._writer.committed:
            self._begin()
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
        self._sequencer.perform(self._writer.touch)

    def checkpoint(self) -> bytes:
        """Signs a checkpoint over everything committed, stores and returns it.

        For the same size it is the same note, with whatever cosignatures were added since.

        Raises:
            SigningHeldError: the ledger is held, and no checkpoint of its size is stored.
            LedgerUnavailableError: the storage failed.
            LedgerDamagedError: it holds other entries than were appended; nothing was signed.
            LedgerFullError, LedgerClosedError: as `append`.
        """
        return self._sequencer.perform(self._writer.sign)

    def add_cosignatures(self, size: int, lines: Sequence[NoteSignature]) -> None:
        """Adds witnesses' lines, verified by the caller, to the stored checkpoint of `size` entries, durably.

        A line by a key that has one there already is left out; with nothing to add, nothing is written.

        Raises:
            LedgerError: no checkpoint of that size is stored.
            LimitExceededError: more lines than a note may have.
            LedgerUnavailableError, LedgerFullError, LedgerClosedError: as `append`.
        """
        self._sequencer.perform(lambda: self._writer.add_cosignatures(size, lines))

    @property
    def held(self) -> bool:
        """Whether nothing is signed for now."""
        return self._writer.held

    def release(self) -> None:
        """Signs again from here on: the witnesses are known to know no entry that is not here. Twice is allowed.

        Raises:
            SigningHeldError: in the midst of `adopt`: its checkpoint's size is not reached yet.
            LedgerUnavailableError: adopted entries name another log key than this ledger was opened with.
            LedgerFullError, LedgerClosedError: as `append`.
        """
        self._sequencer.perform(self._writer.release)
        self._begin()

    def adopt(self, entries: Sequence[bytes], note: bytes, proof: Sequence[bytes] = ()) -> None:
        """Takes back entries of this ledger's own that an older backup lost, byte for byte, in one transaction.

        They continue at `size`; folds, unique keys, tiles and chain follow them. May be called batch by batch: until
        the note's size is reached nothing can be appended or released. Then the note becomes a stored checkpoint, with
        the log's own signature alone; verify its other lines and hand them to `add_cosignatures`.

        Args:
            entries: the stored bytes of the entries from `size` on, a few thousand at most.
            note: a checkpoint of this log, signed by its own key, that covers them.
            proof: where it covers more, the RFC 6962 consistency proof from the size that they reach to the note's.

        Raises:
            LedgerError: the ledger is not held.
            MalformedError: an entry or the note cannot be read, or an entry is another party's or out of its place.
            BadSignatureError: the note is of another log, or not signed by a key that may sign its size.
            VerificationFailedError: the entries, behind those that are here, do not lead to the note's root.
            LedgerUnavailableError, LedgerFullError, LedgerClosedError: as `append`.
        """
        self._sequencer.perform(lambda: self._writer.adopt(Retrieved(entries, note, proof)))

    def await_entries(self, size: int) -> None:
        """Append nothing before the entries up to `size`, which this log is known to have signed, are taken back.

        Written to meanwhile, the ledger would be another history, into which they fit no more.

        Raises:
            LedgerError: the ledger is not held.
            LedgerUnavailableError, LedgerFullError, LedgerClosedError: as `append`.
        """
        self._sequencer.perform(lambda: self._writer.await_entries(size))

    def await_nothing(self) -> None:
        """Await no entries any more: what is appended from here on is another history than what was signed.

        For a ledger that has forked already, or by its operator's decision.

        Raises:
            LedgerFullError, LedgerClosedError: as `append`.
        """
        self._sequencer.perform(self._writer.await_nothing)

    def rotate(self, key: SigningKey, version: int, *, vouch: bool = True) -> None:
        """Hands the log over to another key. When this returns, the ledger opens with that key only.

        A LOG_KEY entry and a checkpoint that ends with it are recorded in one transaction. Both keys sign that
        checkpoint, whereby the old one vouches for the new one; every larger one is the new key's alone.

        Args:
            key: the new log key, of the log's name, never used for it before.
            version: of the regulator's directory that lists the new key as active.
            vouch: False when the old key is revoked: then the new one alone signs that checkpoint, and the directory
                vouches for it.

        Raises:
            SigningHeldError: the ledger is held.
            MalformedError: the key is of another log, or has signed this one before.
            LedgerUnavailableError: the storage failed; either of the keys may be the log's now: open it with the new
                one, then with the old.
            LedgerFullError, LedgerClosedError: as `append`.
        """
        self._sequencer.perform(lambda: self._writer.rotate(key, version, vouch=vouch))

    def close(self) -> None:
        """Finishes what is queued, signs a last checkpoint unless held, closes the file and gives the lock back."""
        self._sequencer.stop()
        self._reader.close()
        self._sequencer.close()
        self._lock.release()

    def _begin(self) -> None:
        """Appends GENESIS where there is no entry."""
        if self._writer.committed:
            return

        def guard() -> Draft:
            if self._writer.committed:
                raise _BegunError
            return Draft(_genesis(self._author))

        with suppress(_BegunError):
            self._sequencer.submit(guard)


class _BegunError(Exception):
    """Another thread has appended GENESIS."""


def _genesis(author: Author) -> Genesis:
    return Genesis(
        party=author.identity.party,
        at_ms=author.clock.now_ms(),
        origin=author.identity.origin,
        role=author.identity.role,
        legal_entity=author.identity.legal_entity,
        log_key=author.key.verifying_key.vkey(),
    )


def _open_own(path: Path, identity: LedgerIdentity) -> SqliteStore:
    """The store at `path`, whose entries, if it has any, are this owner's."""
    store = SqliteStore(path)
    try:
        if store.head().size:
            check_owner(read_genesis(store), identity)
    except BaseException:
        store.close()
        raise
    return store
