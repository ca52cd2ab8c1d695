"""What changes a ledger: appends, checkpoints, cosignatures, a new log key, entries taken back from a witness's copy.

Everything here is one thread's, the sequencer's. Whatever fails inside a transaction leaves the structures in memory
ahead of the store: the sequencer then has them computed anew (`set_aside`).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from audit.adoption import Adoption, Retrieved, verify_adoption
from audit.checkpoint import Checkpoint, Note, NoteSignature, sign_checkpoint
from audit.clock import Clock
from audit.cosignature import add_lines
from audit.draft import MAX_KEY_CHARACTERS, Appended, Draft, Guard, LedgerIdentity
from audit.entry import Entry, Genesis, LogKeyChanged, Seal, encode_entry
from audit.entry_keys import EntryKeys
from audit.errors import (
    DuplicateKeyError,
    LedgerDamagedError,
    LedgerError,
    LedgerUnavailableError,
    MalformedError,
    SigningHeldError,
)
from audit.keys import SigningKey
from audit.log_keys import log_key_key, schedule_after
from audit.recovery import Fold, Tail, check_key, recover
from audit.store import Batch, Head, Store, StoredCheckpoint
from audit.tree import Frontier, leaf_hash

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes: the ledger's owner, with its log key and the clock for seals."""

    identity: LedgerIdentity
    key: SigningKey
    clock: Clock


@dataclass(slots=True)
class _Growing:
    """What one transaction adds, being put together."""

    first: int
    entries: list[bytes] = field(default_factory=list)
    keys: dict[str, int] = field(default_factory=dict)


class LedgerWriter:
    """A ledger's store, and in step with it the tree, the chain, the folds and the log's keys. One thread's alone.

    Args:
        open_store: opens the store; called again after the storage failed.
        author: who writes.
        folds: states kept in step with the entries.
        seal_entries: a seal every so many entries.
        held: sign nothing until `release`.

    Raises:
        LedgerUnavailableError: the store cannot be opened, or another key signs this ledger's checkpoints.
        LedgerDamagedError: its entries are damaged.
    """

    def __init__(
        self, open_store: Callable[[], Store], author: Author, folds: Sequence[Fold], seal_entries: int, *, held: bool
    ) -> None:
        self._open_store = open_store
        self._author = author
        self._folds = tuple(folds)
        self._seal_entries = seal_entries
        self._keys = {author.key.verifying_key: author.key}
        self._store: Store | None = None
        self._entry_keys: tuple[int, EntryKeys] | None = None
        self._awaited: int | None = None
        self.held = held
        self._tail = self._load()
        self.committed = self._tail.frontier.size

    @property
    def origin(self) -> str:
        """The log's name."""
        return self._author.identity.origin

    @property
    def unsigned(self) -> int:
        """Number of entries that no checkpoint covers."""
        return self._tail.frontier.size - self._tail.signed.size

    def append(self, guards: Sequence[Guard]) -> list[Appended | Exception]:
        """Appends, in one transaction, what the guards give; for each the entry, or what it was refused with.

        Raises:
            SigningHeldError: entries lost to an older backup are being taken back; nothing was recorded.
            Exception: whatever broke; nothing was recorded, or it is not known. `set_aside` is next.
        """
        if self._awaited is not None:
            raise SigningHeldError(self._still_adopting())
        store = self._ready()
        growing = _Growing(self._tail.frontier.size)
        answers: list[Appended | Exception] = []
        with store.transaction():
            for guard in guards:
                self._seal_if_due(growing)
                try:
                    draft, data = self._judge(guard, growing, store)
                except Exception as error:  # noqa: BLE001  a guard's refusal is its caller's alone
                    answers.append(error)
                    continue
                index = self._take(draft.entry, data, growing)
                growing.keys.update(dict.fromkeys(draft.keys, index))
                answers.append(Appended(index, data, draft.entry))
            self._write(store, growing)
        self.committed = self._tail.frontier.size
        return answers

    def sign(self) -> bytes:
        """Signs over everything, unless that was done; the note with whatever cosignatures it has by now.

        Raises:
            SigningHeldError: held, and this size is not signed.
            LedgerDamagedError: what is stored is not what was appended; nothing was signed.
            LedgerUnavailableError: the storage failed.
        """
        store, tail = self._ready(), self._tail
        if tail.checkpoint is not None and tail.checkpoint.size == tail.frontier.size:
            return tail.checkpoint.note
        if self.held:
            raise SigningHeldError(
                "no checkpoint is signed until this log's witnesses have said which size they know: see that they are"
                " reachable"
            )
        with store.transaction():
            stored = self._checkpoint(store, self._signing_key())
        return stored.note

    def touch(self) -> None:
        """Writes to the storage without adding an entry."""
        store = self._ready()
        with store.transaction():
            store.touch()

    def add_cosignatures(self, size: int, lines: Sequence[NoteSignature]) -> None:
        """Adds verified lines to the stored checkpoint of `size` entries.

        Raises:
            LedgerError: no checkpoint of that size is stored.
            LimitExceededError: more lines than a note may have.
            LedgerUnavailableError: the storage failed.
        """
        store = self._ready()
        stored = store.checkpoint(size)
        if stored is None:
            raise LedgerError(f"this log has signed no checkpoint of {size} entries to add cosignatures to")
        self._merge(store, stored, lines)

    def release(self) -> None:
        """Signs again from here on.

        Raises:
            SigningHeldError: entries are still to be taken back.
            LedgerUnavailableError: the entries name another log key than this ledger was opened with.
        """
        self._ready()
        if self._awaited is not None:
            raise SigningHeldError(self._still_adopting())
        if self._tail.schedule is not None:
            check_key(self._tail.schedule, self._keys)
        self.held = False

    def adopt(self, retrieved: Retrieved) -> None:
        """Records entries of this ledger's own that an older backup lost; as `Ledger.adopt`."""
        if not self.held:
            raise LedgerError("entries are taken back before the ledger signs anything new: open it with hold")
        store = self._ready()
        adoption = verify_adoption(retrieved, self._tail, self._author.identity, self._keys)
        with store.transaction():
            self._record(store, adoption)
        size = self._tail.frontier.size
        self.committed = size
        self._awaited = None if adoption.reached is not None else adoption.target

    def rotate(self, key: SigningKey, version: int, *, vouch: bool) -> None:
        """Hands the log over to another key; as `Ledger.rotate`. Entry and checkpoint are one transaction."""
        if self.held:
            raise SigningHeldError("the log's key is not changed until its witnesses have said which size they know")
        store, schedule = self._ready(), self._tail.schedule
        assert schedule is not None  # a ledger that is not held has its genesis entry
        new = key.verifying_key
        if new in schedule.keys:
            raise MalformedError(f"{new.keyid} has signed this log before: make a fresh key")
        entry = LogKeyChanged(
            party=self._author.identity.party,
            at_ms=self._author.clock.now_ms(),
            old=schedule.current.vkey(),
            new=new.vkey(),
            version=version,
        )
        signer = self._signing_key() if vouch else key
        self._keys[new] = key  # before the commit: it may take effect and still be reported as failed
        growing = _Growing(self._tail.frontier.size)
        with store.transaction():
            self._seal_if_due(growing)
            growing.keys[log_key_key(new)] = self._take(entry, encode_entry(entry), growing)
            self._write(store, growing)
            self._checkpoint(store, signer)
        self.committed = self._tail.frontier.size

    def set_aside(self) -> None:
        """Closes a store that failed and tries at once to come back; else the next use tries again."""
        if self._store is None:
            return
        self._store.close()
        self._store = None
        try:
            self._ready()
        except Exception:  # noqa: BLE001  the thread must live on, and answer later callers with the same failure
            _LOG.exception("the ledger %s cannot be written", self.origin)

    def close(self) -> None:
        """Closes the store."""
        if self._store is not None:
            self._store.close()

    def _ready(self) -> Store:
        if self._store is None:
            self._tail = self._load()
            self.committed = self._tail.frontier.size
        assert self._store is not None
        return self._store

    def _load(self) -> Tail:
        store = self._open_store()
        try:
            tail = recover(store, self._folds, keys=self._keys, origin=self.origin)
        except BaseException:
            store.close()
            raise
        self._store = store
        return tail

    def _judge(self, guard: Guard, growing: _Growing, store: Store) -> tuple[Draft, bytes]:
        """Runs a guard; its draft must be the owner's, well formed, and hold no key twice."""
        draft = guard()
        entry, party = draft.entry, self._author.identity.party
        if entry.party != party:
            raise MalformedError(f"an entry of {entry.party!r} in the ledger of {party!r}")
        if isinstance(entry, LogKeyChanged) or (isinstance(entry, Genesis) and self._tail.frontier.size):
            raise MalformedError("the first entry is written at opening, and log keys change by rotate")
        data = encode_entry(entry)
        for position, key in enumerate(draft.keys):
            if not 0 < len(key) <= MAX_KEY_CHARACTERS:
                raise MalformedError(f"a unique key has 1 to {MAX_KEY_CHARACTERS} characters, this one {len(key)}")
            if key in draft.keys[:position] or key in growing.keys or store.find(key) is not None:
                raise DuplicateKeyError(key)
        return draft, data

    def _seal_if_due(self, growing: _Growing) -> None:
        chain = self._tail.chain
        if chain.size and chain.size % self._seal_entries == 0:
            now_ms = self._author.clock.now_ms()
            seal = Seal(party=self._author.identity.party, at_ms=now_ms, size=chain.size, chain=chain.head.hex())
            self._take(seal, encode_entry(seal), growing)

    def _take(self, entry: Entry, data: bytes, growing: _Growing) -> int:
        """Puts an accepted entry behind the others and brings the folds up to it."""
        tail = self._tail
        index = tail.frontier.size
        leaf = leaf_hash(data)
        tail.frontier.append(leaf)
        tail.edge.append(leaf)
        tail.chain.append(leaf)
        tail.schedule = schedule_after(tail.schedule, index, entry)
        growing.entries.append(data)
        try:
            for fold in self._folds:
                fold.apply(index, entry)
        except Exception as error:
            raise LedgerUnavailableError(
                f"a fold refused entry {index}, which its guard accepted; nothing was recorded: {error!r}"
            ) from error
        return index

    def _write(self, store: Store, growing: _Growing) -> None:
        if growing.entries:
            tail = self._tail
            head = Head(tail.chain.size, tail.chain.head)
            store.add(Batch(growing.first, growing.entries, list(growing.keys.items()), tail.edge.take_changed(), head))

    def _record(self, store: Store, adoption: Adoption) -> None:
        """Adds adopted entries; one that holds a key twice was written so, and the first holder keeps it."""
        growing = _Growing(self._tail.frontier.size)
        keys, self._entry_keys = self._keys_so_far(store), None
        named = [keys.keys_of(entry) for entry, _ in adoption.entries]  # refuses before anything has changed
        for (entry, data), names in zip(adoption.entries, named, strict=True):
            index = self._take(entry, data, growing)
            free = (name for name in names if name not in growing.keys and store.find(name) is None)
            growing.keys.update(dict.fromkeys(free, index))
        self._write(store, growing)
        self._entry_keys = (self._tail.frontier.size, keys)
        if adoption.reached is not None:
            self._keep(store, adoption.reached)

    def _keys_so_far(self, store: Store) -> EntryKeys:
        size = self._tail.frontier.size
        if self._entry_keys is not None and self._entry_keys[0] == size:
            return self._entry_keys[1]
        return EntryKeys.after(data for _, data in store.entries(0, size))

    def _keep(self, store: Store, reached: StoredCheckpoint) -> None:
        """Stores a checkpoint over everything that came back, unless one of that size is here."""
        self._tail.signed = self._read_back(store)
        stored = store.checkpoint(reached.size)
        if stored is None:
            store.add_checkpoint(reached)
        self._tail.checkpoint = stored or reached

    def _merge(self, store: Store, stored: StoredCheckpoint, lines: Sequence[NoteSignature]) -> None:
        merged = _with_lines(stored, lines)
        if merged == stored:
            return
        with store.transaction():
            store.replace_checkpoint(merged)
        if self._tail.checkpoint is not None and self._tail.checkpoint.size == merged.size:
            self._tail.checkpoint = merged

    def _checkpoint(self, store: Store, key: SigningKey) -> StoredCheckpoint:
        """Signs over everything, and stores it in the transaction that is open."""
        tail = self._tail
        read_back = self._read_back(store)
        checkpoint = Checkpoint(self.origin, read_back.size, read_back.root())
        stored = StoredCheckpoint(read_back.size, sign_checkpoint(checkpoint, key))
        store.add_checkpoint(stored)
        tail.signed, tail.checkpoint = read_back, stored
        return stored

    def _read_back(self, store: Store) -> Frontier:
        """The tree over everything, the leaves since the last checkpoint read back from the store.

        Raises:
            LedgerDamagedError: it is not the tree over what was appended.
        """
        tail = self._tail
        read_back, size = tail.signed.copy(), tail.frontier.size
        for index, data in store.entries(read_back.size, size):
            if index != read_back.size:
                break
            read_back.append(leaf_hash(data))
        if read_back.size != size or read_back.root() != tail.frontier.root():
            raise LedgerDamagedError("the stored entries are not those that were appended; nothing was signed")
        return read_back

    def _signing_key(self) -> SigningKey:
        schedule = self._tail.schedule
        if schedule is None:
            raise LedgerError("a ledger without entries has nothing to sign")
        check_key(schedule, self._keys)
        return self._keys[schedule.current]

    def _still_adopting(self) -> str:
        return (
            f"entries {self.committed} to {(self._awaited or 0) - 1} of this ledger are still to be taken back from a"
            " witness's copy"
        )


def _with_lines(stored: StoredCheckpoint, lines: Sequence[NoteSignature]) -> StoredCheckpoint:
    note = add_lines(Note.decode(stored.note), lines).encode()
    Note.decode(note)  # what is stored can be read
    return StoredCheckpoint(stored.size, note)
