"""Holds the recomputed roots against signed checkpoints: the ledger's own, and those kept outside it (anchors)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from audit.checkpoint import MAX_SIZE, Checkpoint, Note
from audit.errors import (
    AuditError,
    BadSignatureError,
    Damage,
    MalformedError,
    VerificationFailedError,
    VerificationImpossibleError,
)
from audit.keys import VerifyingKey
from audit.store import StoredCheckpoint


@dataclass(frozen=True, slots=True)
class LogKeys:
    """The log's origin, and every key that may have signed for it."""

    origin: str
    keys: tuple[VerifyingKey, ...]

    def verify(self, note: Note) -> Checkpoint:
        """The checkpoint in a note signed by one of the keys.

        Raises:
            BadSignatureError: signed by none of them, or wrongly, or of another log.
            MalformedError: not a checkpoint.
        """
        for key in self.keys:
            if any((line.name, line.key_id) == (key.name, key.key_id) for line in note.signatures):
                note.verify(key)
                break
        else:
            raise BadSignatureError(f"not signed by {', '.join(key.keyid for key in self.keys)}")
        checkpoint = Checkpoint.from_body(note.text)
        if checkpoint.origin != self.origin:
            raise BadSignatureError(f"a checkpoint of the log {checkpoint.origin!r}, not of {self.origin!r}")
        return checkpoint


class OwnCheckpoints:
    """The ledger's stored checkpoints, met in order of size while the entries are read.

    A checkpoint that disagrees is remembered until it is known what it shows: if a later one agrees, the log's key
    signed two histories (`forked`); if none does, the entries were changed after it was signed (`rewritten`).
    """

    __slots__ = ("_next", "_seen", "_stored", "_suspect", "agreed", "count")

    def __init__(self, stored: Iterator[StoredCheckpoint]) -> None:
        self._stored = stored
        self._next = next(stored, None)
        self._seen: Checkpoint | None = None
        self._suspect: VerificationFailedError | None = None
        self.agreed = 0
        self.count = 0

    @property
    def next_size(self) -> int:
        """The size of the next one, beyond any ledger's after the last."""
        return MAX_SIZE if self._next is None else self._next.size

    def check(self, size: int, root: bytes, log: LogKeys) -> None:
        """Checks those over the first `size` entries.

        Raises:
            VerificationFailedError: a signature is wrong, or the log signed two histories.
        """
        while self._next is not None and self._next.size <= size:
            self._check_one(self._take(log), root)

    def finish(self, size: int, log: LogKeys) -> None:
        """After the last entry: none may be over more entries than there are."""
        self.settle()
        if self._next is not None:
            ahead = self._take(log)
            raise VerificationFailedError(
                Damage.TRUNCATED, size, f"a checkpoint over {ahead.size} entries was signed, {size} are here"
            )

    def settle(self) -> None:
        """Raises what an earlier disagreement has turned out to be."""
        if self._suspect is not None:
            raise self._suspect

    def _take(self, log: LogKeys) -> Checkpoint:
        assert self._next is not None
        stored, self._next = self._next, next(self._stored, None)
        self.count += 1
        try:
            checkpoint = log.verify(Note.decode(stored.note))
        except (MalformedError, BadSignatureError) as error:
            raise VerificationFailedError(
                Damage.BAD_SIGNATURE,
                max(stored.size - 1, 0),
                f"the stored checkpoint over {stored.size} entries: {error}",
            ) from error
        if checkpoint.size != stored.size:
            raise VerificationFailedError(
                Damage.ALTERED, None, f"a checkpoint over {checkpoint.size} entries is stored as one over {stored.size}"
            )
        return checkpoint

    def _check_one(self, checkpoint: Checkpoint, root: bytes) -> None:
        twice = self._seen is not None and self._seen.size == checkpoint.size and self._seen.root != checkpoint.root
        self._seen = checkpoint
        agrees = checkpoint.root == root
        if twice or (agrees and self._suspect is not None):
            self._suspect = None
            raise VerificationFailedError(
                Damage.FORKED, self.agreed, f"the log's key signed two histories up to {checkpoint.size} entries"
            )
        if agrees:
            self.agreed = checkpoint.size
        elif self._suspect is None:
            self._suspect = VerificationFailedError(
                Damage.REWRITTEN,
                self.agreed,
                f"the entries {self.agreed} to {checkpoint.size - 1} are not those under the signed checkpoint",
            )


class Anchors:
    """Checkpoints that were kept outside the ledger, by a witness for instance.

    Args:
        notes: signed checkpoints' bytes, trusted for where they come from.
        log: the log's origin and keys.

    Raises:
        VerificationImpossibleError: one is no checkpoint of this log, or damaged.
        VerificationFailedError: `forked` when two of them contradict each other; `rewritten` when one is signed by
            another key of this log's name than the ledger's.
    """

    __slots__ = ("_agreed", "_waiting")

    def __init__(self, notes: Sequence[bytes], log: LogKeys) -> None:
        self._agreed = 0
        self._waiting = sorted((_read_anchor(note, log) for note in notes), key=lambda anchor: anchor.size)
        for one, other in zip(self._waiting, self._waiting[1:], strict=False):
            if one.size == other.size and one.root != other.root:
                raise VerificationFailedError(
                    Damage.FORKED, None, f"two outside checkpoints over {one.size} entries have different roots"
                )

    @property
    def next_size(self) -> int:
        """The size of the next one, beyond any ledger's after the last."""
        return self._waiting[0].size if self._waiting else MAX_SIZE

    def check(self, size: int, root: bytes) -> None:
        """Compares those over the first `size` entries.

        Raises:
            VerificationFailedError: `rewritten`, or `forked` where an earlier one still agreed.
        """
        while self._waiting and self._waiting[0].size <= size:
            anchor = self._waiting.pop(0)
            if anchor.root != root:
                raise VerificationFailedError(
                    Damage.FORKED if self._agreed else Damage.REWRITTEN,
                    self._agreed,
                    f"the outside checkpoint over {size} entries has another root; entries {self._agreed} to {size - 1}"
                    " are not those that it was made over",
                )
            self._agreed = size

    def finish(self, size: int) -> None:
        """After the last entry: none may be over more entries than there are."""
        if self._waiting:
            raise VerificationFailedError(
                Damage.TRUNCATED,
                size,
                f"an outside checkpoint is over {self._waiting[-1].size} entries, {size} are here",
            )


def _read_anchor(data: bytes, log: LogKeys) -> Checkpoint:
    try:
        note = Note.decode(data)
        checkpoint = Checkpoint.from_body(note.text)
    except MalformedError as error:
        raise VerificationImpossibleError(f"an outside checkpoint cannot be read ({error}): fetch it again") from error
    if checkpoint.origin != log.origin:
        raise VerificationImpossibleError(
            f"the outside checkpoint is of the log {checkpoint.origin!r}, this is {log.origin!r}: give the right one"
        )
    known = {(key.name, key.key_id) for key in log.keys}
    if not any((line.name, line.key_id) in known for line in note.signatures):
        raise VerificationFailedError(
            Damage.REWRITTEN, 0, "the outside checkpoint of this log is signed by another key than the ledger names"
        )
    try:
        return log.verify(note)
    except AuditError as error:
        raise VerificationImpossibleError(f"the outside checkpoint is damaged ({error}): fetch it again") from error
