"""Which key may sign a log's checkpoints of which sizes, as the log's own entries say.

A log begins under the key that its GENESIS entry names. A LOG_KEY entry at index j hands over: the old key's last
checkpoint is the one over exactly j + 1 entries, this entry the last of them; every larger one is the new key's. Where
the old key was revoked, the new one signs that size too.
"""

from collections.abc import Iterator
from typing import Final

from audit.checkpoint import Checkpoint, Note
from audit.entry import Entry, Genesis, LogKeyChanged, decode_entry
from audit.errors import AuditError, BadSignatureError, LedgerDamagedError, MalformedError
from audit.keys import VerifyingKey
from audit.store import StoreReader

KEY_PREFIX: Final = "log_key:"
_MARK: Final = b'"kind":"log-key"'  # in canonical JSON these bytes occur as the entry's own field only


class KeySchedule:
    """The log keys over a ledger's entries so far, folded from its GENESIS and LOG_KEY entries in order.

    Args:
        first: the key that GENESIS names.
    """

    __slots__ = ("_changes", "_first")

    def __init__(self, first: VerifyingKey) -> None:
        self._first = first
        self._changes: list[tuple[int, VerifyingKey]] = []

    @classmethod
    def of(cls, genesis: Genesis) -> "KeySchedule":
        """The schedule over a ledger's first entry."""
        return cls(VerifyingKey.parse(genesis.log_key))

    def change(self, index: int, entry: LogKeyChanged) -> None:
        """Takes in the LOG_KEY entry at `index`.

        Raises:
            MalformedError: it takes over from another key than the current one, hands back to an earlier one, or does
                not stand behind the entries taken in before. The schedule is as it was.
        """
        old, new = VerifyingKey.parse(entry.old), VerifyingKey.parse(entry.new)
        if old != self.current:
            raise MalformedError(
                f"entry {index} takes the log over from {old.keyid}, but {self.current.keyid} signs it until then"
            )
        if new in self.keys:
            raise MalformedError(f"entry {index} hands the log back to {new.keyid}, which has signed it before")
        if index <= (self._changes[-1][0] if self._changes else 0):
            raise MalformedError(f"a log-key entry at index {index}, before the last one or in the place of the first")
        self._changes.append((index, new))

    @property
    def current(self) -> VerifyingKey:
        """The key that signs from here on."""
        return self._changes[-1][1] if self._changes else self._first

    @property
    def since(self) -> int:
        """Index of the entry that named the current key."""
        return self._changes[-1][0] if self._changes else 0

    @property
    def keys(self) -> tuple[VerifyingKey, ...]:
        """Every key so far, the first one first."""
        return (self._first, *(key for _, key in self._changes))

    def keys_for(self, size: int) -> tuple[VerifyingKey, ...]:
        """The keys that may have signed a checkpoint of `size` entries: one, or two where a LOG_KEY entry is its last.

        Beyond the entries taken in, this is the current key: a later LOG_KEY entry is not known yet.
        """
        allowed = [self._first]
        for index, key in self._changes:
            if size == index + 1:
                allowed.append(key)
            elif size > index + 1:
                allowed = [key]
        return tuple(allowed)

    def verify(self, note: Note, *, origin: str) -> Checkpoint:
        """The checkpoint in a note of this log, signed by a key that may sign one of its size.

        Raises:
            MalformedError: not a checkpoint.
            BadSignatureError: of another log, or not validly signed by such a key.
        """
        checkpoint = Checkpoint.from_body(note.text)
        verified_signer(note, self.keys_for(checkpoint.size))
        if checkpoint.origin != origin:
            raise BadSignatureError(f"a checkpoint of the log {checkpoint.origin!r}, not of {origin!r}")
        return checkpoint

    def copy(self) -> "KeySchedule":
        """An independent schedule of the same keys."""
        schedule = KeySchedule(self._first)
        schedule._changes = list(self._changes)
        return schedule


def verified_signer(note: Note, keys: tuple[VerifyingKey, ...]) -> VerifyingKey:
    """The first of `keys` that has a signature line in the note, the line verified.

    Raises:
        BadSignatureError: none of them has one, or it does not verify.
    """
    for key in keys:
        if any((line.name, line.key_id) == (key.name, key.key_id) for line in note.signatures):
            note.verify(key)
            return key
    raise BadSignatureError(f"not signed by {' or '.join(key.keyid for key in keys)}")


def schedule_after(schedule: KeySchedule | None, index: int, entry: Entry) -> KeySchedule | None:
    """The log's keys with one more entry of its ledger.

    Raises:
        LedgerDamagedError: the entry names a key that cannot follow.
    """
    if isinstance(entry, Genesis) and index == 0:
        return KeySchedule.of(entry)
    if isinstance(entry, LogKeyChanged) and schedule is not None:
        try:
            schedule.change(index, entry)
        except MalformedError as error:
            raise LedgerDamagedError(f"the ledger's log keys do not follow one another ({error}): verify it") from error
    return schedule


def log_key_key(key: VerifyingKey) -> str:
    """The unique key of the LOG_KEY entry that names `key` as the new one."""
    return f"{KEY_PREFIX}{key.keyid}"


def recorded_schedule(store: StoreReader) -> KeySchedule:
    """The schedule as the store's unique keys lead to it: fast, and only as good as they are.

    Raises:
        MalformedError: they do not lead to a schedule; `scanned_schedule` has the truth.
        LedgerDamagedError: the first entry is no genesis entry.
    """
    return _schedule(store, ((index, *_one(store, index)) for _, index in store.keys_under(KEY_PREFIX)))


def scanned_schedule(store: StoreReader, size: int) -> KeySchedule:
    """The schedule out of the first `size` entries themselves; reads them all.

    Raises:
        LedgerDamagedError: they hold none.
    """
    found = ((index, data) for index, data in store.entries(1, size) if _MARK in data)
    try:
        return _schedule(store, found)
    except MalformedError as error:
        raise LedgerDamagedError(f"the ledger's log keys do not follow one another ({error}): verify it") from error


def read_genesis(store: StoreReader) -> Genesis:
    """The first entry: whose ledger it is.

    Raises:
        LedgerDamagedError: it is missing or is no genesis entry.
    """
    for _, data in store.entries(0, 1):
        try:
            entry = decode_entry(data)
        except AuditError as error:
            raise LedgerDamagedError(f"the first entry cannot be read ({error}): verify the ledger") from error
        if isinstance(entry, Genesis):
            return entry
    raise LedgerDamagedError("the ledger does not begin with a genesis entry: verify it")


def _one(store: StoreReader, index: int) -> tuple[bytes]:
    for _, data in store.entries(index, index + 1):
        return (data,)
    raise MalformedError(f"a log key is recorded at entry {index}, which is missing")


def _schedule(store: StoreReader, found: Iterator[tuple[int, bytes]]) -> KeySchedule:
    schedule = KeySchedule.of(read_genesis(store))
    for index, data in found:
        entry = decode_entry(data)
        if not isinstance(entry, LogKeyChanged):
            raise MalformedError(f"entry {index} is recorded as naming a log key and does not")
        schedule.change(index, entry)
    return schedule
