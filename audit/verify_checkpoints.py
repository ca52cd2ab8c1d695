"""Holds the recomputed roots against signed checkpoints: the ledger's own, and those kept outside it (anchors)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from audit.checkpoint import MAX_SIZE, Checkpoint, Note
from audit.errors import (
    AuditError,
    BadSignatureError,
    Damage,
    MalformedError,
    UnknownKeyError,
    VerificationFailedError,
    VerificationImpossibleError,
)
from audit.keys import VerifyingKey
from audit.store import StoredCheckpoint
from audit.verify_cosignatures import Vouched, has_line
from audit.verify_log import LogHistory
from audit.verify_vouching import Vouching


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
            if has_line(note, key):
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

    Args:
        stored: by size.
        vouching: told of each that agrees.
    """

    __slots__ = ("_next", "_seen", "_stored", "_suspect", "_vouching", "agreed", "count")

    def __init__(self, stored: Iterator[StoredCheckpoint], vouching: Vouching) -> None:
        self._stored = stored
        self._vouching = vouching
        self._next = next(stored, None)
        self._seen: Checkpoint | None = None
        self._suspect: VerificationFailedError | None = None
        self.agreed = 0
        self.count = 0

    @property
    def next_size(self) -> int:
        """The size of the next one, beyond any ledger's after the last."""
        return MAX_SIZE if self._next is None else self._next.size

    def check(self, size: int, root: bytes, log: LogHistory) -> None:
        """Checks those over the first `size` entries.

        Raises:
            VerificationFailedError: a signature is wrong, or the log signed two histories.
        """
        while self._next is not None and self._next.size <= size:
            self._check_one(self._take(log), root)

    def finish(self, size: int, log: LogHistory) -> None:
        """After the last entry: none may be over more entries than there are."""
        self.settle()
        if self._next is not None:
            ahead = self._take(log, outside=True).checkpoint
            raise VerificationFailedError(
                Damage.TRUNCATED, size, f"a checkpoint over {ahead.size} entries was signed, {size} are here"
            )

    def settle(self) -> None:
        """Raises what an earlier disagreement has turned out to be."""
        if self._suspect is not None:
            raise self._suspect

    def _take(self, log: LogHistory, *, outside: bool = False) -> Vouched:
        assert self._next is not None
        stored, self._next = self._next, next(self._stored, None)
        self.count += 1
        try:
            vouched = log.verify(Note.decode(stored.note), outside=outside)
        except (MalformedError, BadSignatureError, UnknownKeyError) as error:
            raise VerificationFailedError(
                Damage.BAD_SIGNATURE,
                max(stored.size - 1, 0),
                f"the stored checkpoint over {stored.size} entries: {error}",
            ) from error
        if vouched.checkpoint.size != stored.size:
            raise VerificationFailedError(
                Damage.ALTERED,
                None,
                f"a checkpoint over {vouched.checkpoint.size} entries is stored as one over {stored.size}",
            )
        return vouched

    def _check_one(self, vouched: Vouched, root: bytes) -> None:
        checkpoint = vouched.checkpoint
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
            self._vouching.take(vouched)
        elif self._suspect is None:
            self._suspect = VerificationFailedError(
                Damage.REWRITTEN,
                self.agreed,
                f"the entries {self.agreed} to {checkpoint.size - 1} are not those under the signed checkpoint",
            )


@dataclass(frozen=True, slots=True)
class _Anchor:
    note: Note
    size: int


class Anchors:
    """Checkpoints that were kept outside the ledger, by a witness for instance, in order of size.

    Each is verified when its entries have been read: which key may sign it is for the entries before it to say.

    Args:
        notes: signed checkpoints' bytes.
        log: the log's origin and keys.
        vouching: told of each that agrees.

    Raises:
        VerificationImpossibleError: one is no checkpoint of this log.
    """

    __slots__ = ("_agreed", "_log", "_vouching", "_waiting")

    def __init__(self, notes: Sequence[bytes], log: LogHistory, vouching: Vouching) -> None:
        self._agreed = 0
        self._log = log
        self._vouching = vouching
        self._waiting = sorted((_read_anchor(note, log.origin) for note in notes), key=lambda anchor: anchor.size)

    @property
    def next_size(self) -> int:
        """The size of the next one, beyond any ledger's after the last."""
        return self._waiting[0].size if self._waiting else MAX_SIZE

    def check(self, size: int, root: bytes) -> None:
        """Compares those over the first `size` entries.

        Raises:
            VerificationFailedError: `rewritten`, or `forked` where an earlier one still agreed or two contradict each
                other.
            VerificationImpossibleError: as `_vouched`.
        """
        due = [anchor for anchor in self._waiting if anchor.size <= size]
        self._waiting = self._waiting[len(due) :]
        vouched = [self._vouched(anchor) for anchor in due]
        if len({each.checkpoint.root for each in vouched}) > 1:
            raise VerificationFailedError(
                Damage.FORKED, self._agreed, f"two outside checkpoints over {size} entries have different roots"
            )
        for each in vouched:
            self._compare(each, root)
            self._vouching.take(each)
            self._agreed = size

    def finish(self, size: int) -> None:
        """After the last entry: none may be over more entries than there are."""
        if self._waiting:
            ahead = self._vouched(self._waiting[-1], ahead=True)
            raise VerificationFailedError(
                Damage.TRUNCATED,
                size,
                f"an outside checkpoint is over {ahead.checkpoint.size} entries, {size} are here",
            )

    def _compare(self, vouched: Vouched, root: bytes) -> None:
        size = vouched.checkpoint.size
        if vouched.checkpoint.root != root:
            raise VerificationFailedError(
                Damage.FORKED if self._agreed else Damage.REWRITTEN,
                self._agreed,
                f"the outside checkpoint over {size} entries has another root; entries {self._agreed} to {size - 1}"
                " are not those that it was made over",
            )
        if not self._log.may_sign(vouched.signer, size):
            raise VerificationFailedError(
                Damage.REWRITTEN,
                self._agreed,
                f"the outside checkpoint over {size} entries is signed by {vouched.signer.keyid}, which signs none of"
                " that size by the ledger's own entries",
            )

    def _vouched(self, anchor: _Anchor, *, ahead: bool = False) -> Vouched:
        """An outside checkpoint that may be believed.

        Raises:
            VerificationImpossibleError: it is damaged, or signed by a key that the directory does not list, or revoked
                before any witness had seen it.
            VerificationFailedError: `rewritten` where no directory tells whose the keys are, and it is signed by
                another key than the ledger names.
        """
        try:
            vouched = self._log.verify(anchor.note, outside=True)
        except UnknownKeyError as error:
            if self._log.is_held_against_directory:
                raise VerificationImpossibleError(
                    f"an outside checkpoint is signed by no log key of this party ({error}): it proves nothing, give"
                    " another"
                ) from error
            raise VerificationFailedError(
                Damage.REWRITTEN,
                self._agreed,
                "the outside checkpoint of this log is signed by another key than the ledger names"
                + (", and is over more entries" if ahead else ""),
            ) from error
        except AuditError as error:
            raise VerificationImpossibleError(f"an outside checkpoint is damaged ({error}): fetch it again") from error
        if not vouched.counts:
            raise VerificationImpossibleError(
                f"an outside checkpoint is signed by {vouched.signer.keyid}, which was revoked before any witness had"
                " seen it: it proves nothing, give another"
            )
        return vouched


def _read_anchor(data: bytes, origin: str) -> _Anchor:
    try:
        note = Note.decode(data)
        checkpoint = Checkpoint.from_body(note.text)
    except MalformedError as error:
        raise VerificationImpossibleError(f"an outside checkpoint cannot be read ({error}): fetch it again") from error
    if checkpoint.origin != origin:
        raise VerificationImpossibleError(
            f"the outside checkpoint is of the log {checkpoint.origin!r}, this is {origin!r}: give the right one"
        )
    return _Anchor(note, checkpoint.size)
