"""What changes a ledger: appends, checkpoints, cosignatures, a new log key, entries taken back from a witness's copy.

Everything here is one thread's, the sequencer's. Whatever fails inside a transaction leaves the structures in memory
ahead of the store: the sequencer then has them computed anew (`set_aside`).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from audit.adoption import Adoption, Retrieved, verify_adoption
from audit.checkpoint import Checkpoint, Note, NoteSignature
from audit.clock import Clock
from audit.cosignature import add_lines
from audit.draft import MAX_KEY_CHARACTERS, Appended, Draft, Guard, LedgerIdentity
from audit.entry import Genesis, LogKeyChanged, encode_entry
from audit.entry_keys import EntryKeys
from audit.errors import (
    DuplicateKeyError,
    LedgerDamagedError,
    LedgerError,
    MalformedError,
    SigningHeldError,
)
from audit.growing import Growing
from audit.keys import SigningKey
from audit.log_keys import log_key_key
from audit.recovery import Fold, Tail, check_key, recover
from audit.store import Store, StoredCheckpoint
from audit.tree import Frontier, leaf_hash

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes: the ledger's owner, with its log key and the clock for seals.

    Attributes:
        takes_over: version of the directory by which `key` takes the log over, should the entries name another.
    """

    identity: LedgerIdentity
    key: SigningKey
    clock: Clock
    takes_over: int | None = None


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
        growing = Growing(self._tail, self._folds)
        answers: list[Appended | Exception] = []
        with store.transaction():
            for guard in guards:
                self._seal_if_due(growing)
                try:
                    draft, data = self._judge(guard, growing, store)
                except Exception as error:  # noqa: BLE001  a guard's refusal is its caller's alone
                    answers.append(error)
                    continue
                index = growing.take(draft.entry, data, draft.keys)
                answers.append(Appended(index, data, draft.entry))
            _write(store, growing)
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
        self.take_over()
        if self._tail.schedule is not None:
            check_key(self._tail.schedule, self._keys)
        self.held = False

    def take_over(self) -> None:
        """Hands the log over to the author's key, if it is to take over and the entries name another."""
        version, schedule = self._author.takes_over, self._tail.schedule
        if version is not None and schedule is not None and schedule.current not in self._keys:
            self._hand_over(self._author.key, version, vouch=False)

    def adopt(self, retrieved: Retrieved) -> None:
        """Records entries of this ledger's own that an older backup lost; as `Ledger.adopt`."""
        if not self.held:
            raise LedgerError("entries are taken back before the ledger signs anything new: open it with hold")
        store = self._ready()
        adoption = verify_adoption(retrieved, self._tail, self._author.identity, self._keys)
        with store.transaction():
            self._record(store, adoption)
        self.committed = self._tail.frontier.size
        self._await(max(self._awaited or 0, adoption.target))

    def await_entries(self, size: int) -> None:
        """Appends nothing until the entries up to `size` are taken back; as `Ledger.await_entries`."""
        if not self.held:
            raise LedgerError("entries are awaited before the ledger signs anything new: open it with hold")
        self._ready()
        self._await(max(self._awaited or 0, size))

    def await_nothing(self) -> None:
        """Awaits no entries any more; as `Ledger.await_nothing`."""
        self._awaited = None

    def _await(self, size: int) -> None:
        self._awaited = size if self._tail.frontier.size < size else None

    def rotate(self, key: SigningKey, version: int, *, vouch: bool) -> None:
        """Hands the log over to another key; as `Ledger.rotate`. Entry and checkpoint are one transaction."""
        if self.held:
            raise SigningHeldError("the log's key is not changed until its witnesses have said which size they know")
        self._hand_over(key, version, vouch=vouch)

    def _hand_over(self, key: SigningKey, version: int, *, vouch: bool) -> None:
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
        # Witnesses soon believe the old key no longer: its last checkpoint bears the new one's line too, or a ledger to
        # which nothing is added would not be cosigned again.
        signers = (self._signing_key(), key) if vouch else (key,)
        self._keys[new] = key  # before the commit: it may take effect and still be reported as failed
        growing = Growing(self._tail, self._folds)
        with store.transaction():
            self._seal_if_due(growing)
            growing.take(entry, encode_entry(entry), [log_key_key(new)])
            _write(store, growing)
            self._checkpoint(store, *signers)
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
            any_key = self._author.takes_over is not None
            tail = recover(store, self._folds, keys=self._keys, origin=self.origin, any_key=any_key)
        except BaseException:
            store.close()
            raise
        self._store = store
        return tail

    def _judge(self, guard: Guard, growing: Growing, store: Store) -> tuple[Draft, bytes]:
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
            if key in draft.keys[:position] or growing.holds(key) or store.find(key) is not None:
                raise DuplicateKeyError(key)
        return draft, data

    def _seal_if_due(self, growing: Growing) -> None:
        size = self._tail.chain.size
        if size and size % self._seal_entries == 0:
            growing.seal(self._author.identity.party, self._author.clock.now_ms())

    def _record(self, store: Store, adoption: Adoption) -> None:
        """Adds adopted entries; one that holds a key twice was written so, and the first holder keeps it."""
        growing = Growing(self._tail, self._folds)
        keys, self._entry_keys = self._keys_so_far(store), None
        named = [keys.keys_of(entry) for entry, _ in adoption.entries]  # refuses before anything has changed
        for (entry, data), names in zip(adoption.entries, named, strict=True):
            growing.take(entry, data, [name for name in names if not growing.holds(name) and store.find(name) is None])
        _write(store, growing)
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

    def _checkpoint(self, store: Store, *keys: SigningKey) -> StoredCheckpoint:
        """Signs over everything, with each key, and stores it in the transaction that is open."""
        tail = self._tail
        read_back = self._read_back(store)
        note = Note(Checkpoint(self.origin, read_back.size, read_back.root()).body(), ())
        for key in keys:
            note = note.sign(key)
        stored = StoredCheckpoint(read_back.size, note.encode())
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


def _write(store: Store, growing: Growing) -> None:
    batch = growing.batch()
    if batch is not None:
        store.add(batch)


def _with_lines(stored: StoredCheckpoint, lines: Sequence[NoteSignature]) -> StoredCheckpoint:
    note = add_lines(Note.decode(stored.note), lines).encode()
    Note.decode(note)  # what is stored can be read
    return StoredCheckpoint(stored.size, note)
