"""The witness: cosigns a log's checkpoint if it extends the one cosigned before (c2sp.org/tlog-witness), and no other.

These are the rules without network and storage. What a witness promises is one line of history for each log: it never
cosigns two checkpoints that contradict each other, nor a smaller one after a larger. Hence the check and the record are
one transaction, which is durable before the cosignature leaves.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from audit.canonical import MAX_INTEGER
from audit.checkpoint import MAX_NOTE_BYTES, Checkpoint, Note, NoteSignature
from audit.clock import Clock
from audit.cosignature import CosignerKey, add_lines, cosign, verify_cosignatures
from audit.entry_logs import Misbehaviour
from audit.errors import (
    BadSignatureError,
    MalformedError,
    Refusal,
    VerificationFailedError,
    WitnessRefusedError,
)
from audit.evidence import Evidence, prefix_root, verify_log_signature
from audit.keys import SigningKey, VerifyingKey
from audit.submission import MAX_SUBMISSION_BYTES, Submission
from audit.tree import EMPTY_ROOT, verify_consistency

__all__ = [
    "MAX_SUBMISSION_BYTES",
    "MAX_WITNESSED_SIZE",
    "Evidence",
    "KnownLogs",
    "KnownRoots",
    "Submission",
    "Witness",
    "WitnessRecords",
    "WitnessedLog",
]

MAX_WITNESSED_SIZE: Final = MAX_INTEGER
"""Entries of a log that is witnessed, 2^53 - 1: its sizes must fit into signed JSON. A larger one is refused (400)."""

KnownLogs: TypeAlias = Callable[[str], tuple[VerifyingKey, ...]]
"""Origin -> the keys that may sign for that log now; none where the log is unknown."""

KnownRoots: TypeAlias = Callable[[str, int], bytes | None]
"""(origin, size) -> the root at that size of the log as cosigned, from a replica of it; None where there is none."""


@dataclass(frozen=True, slots=True)
class WitnessedLog:
    """The latest checkpoint of a log that a witness cosigned.

    Attributes:
        origin: the log.
        size, root: number of entries and root (32 bytes).
        note: the signed checkpoint with the log's lines and this witness's.
        cosigned_s: the time in the cosignature, in seconds since the Unix epoch.
    """

    origin: str
    size: int
    root: bytes
    note: bytes
    cosigned_s: int


class WitnessRecords(Protocol):
    """What a witness remembers; `audit.witness_store` keeps it. Every method may raise `LedgerUnavailableError`."""

    def transaction(self) -> AbstractContextManager[None]:
        """Nobody else writes inside; durable at the end, or rolled back when the body raises."""
        ...

    def latest(self, origin: str) -> WitnessedLog | None:
        """The checkpoint of the largest size cosigned for a log."""
        ...

    def cosigned(self, origin: str, size: int) -> WitnessedLog | None:
        """The checkpoint cosigned at that size, where it is still remembered."""
        ...

    def logs(self) -> tuple[WitnessedLog, ...]:
        """The latest of each log, by origin."""
        ...

    def put(self, log: WitnessedLog) -> None:
        """Remembers a cosigned checkpoint; inside a transaction only."""
        ...

    def keep(self, evidence: Evidence) -> bool:
        """Keeps evidence; whether it is new and to be reported."""
        ...

    def unreported(self) -> tuple[Evidence, ...]:
        """Evidence to be reported that `mark_reported` has not seen."""
        ...

    def mark_reported(self, evidence: Evidence) -> None:
        """Notes that evidence was reported."""
        ...


class Witness:
    """One party's witness. Safe to share between threads, and its records between processes.

    Args:
        key: the witness key; it signs cosignatures and nothing else.
        logs: which logs are witnessed, and under which keys.
        store: what was cosigned before (`audit.witness_store`).
        clock: for the times in cosignatures; of one log they never go backwards, also when the clock does.
        roots: tells an old checkpoint that is sent again from one of another history.
        report: is told of each new piece of evidence once it is kept. If it raises, or the process dies first, it is
            told again by `report_pending`: what it does must bear repetition.
    """

    def __init__(
        self,
        key: SigningKey,
        logs: KnownLogs,
        store: WitnessRecords,
        clock: Clock,
        roots: KnownRoots,
        report: Callable[[Evidence], None],
    ) -> None:
        self._key = key
        self._known_logs = logs
        self._store = store
        self._clock = clock
        self._roots = roots
        self._report = report

    @property
    def key(self) -> CosignerKey:
        """What verifies this witness's cosignatures."""
        return CosignerKey(self._key.verifying_key)

    def witnessed(self, origin: str) -> WitnessedLog | None:
        """The latest checkpoint cosigned for a log, None where there is none."""
        return self._store.latest(origin)

    def logs(self) -> tuple[WitnessedLog, ...]:
        """The latest checkpoint of each log, by origin."""
        return self._store.logs()

    def add_checkpoint(self, submission: Submission, *, by_log: bool = True) -> tuple[NoteSignature, ...]:
        """Cosigns a checkpoint that extends the one cosigned before.

        Args:
            submission: what is to be cosigned.
            by_log: it is known to come from the log itself. From anybody else an old checkpoint says nothing: it may
                have been kept, and accuses nobody.

        Returns:
            This witness's line, recorded durably.

        Raises:
            WitnessRefusedError: it is not cosigned; `refusal` is the specification's status, and CONFLICT names the
                size to start from.
            LedgerUnavailableError: the records cannot be read or written; nothing was cosigned.
        """
        note, offered = self._authentic(submission)
        try:
            with self._store.transaction():
                held = self._store.latest(offered.origin)
                _check(held, offered, submission)
                return (self._cosign(note, offered, held),)
        except WitnessRefusedError:
            self._look_into(offered, submission, by_log=by_log)
            raise

    def cosigned(self, data: bytes) -> WitnessedLog:
        """What was recorded when this witness cosigned the checkpoint in an untrusted note; only its text counts.

        Raises:
            WitnessRefusedError: it is no checkpoint (MALFORMED), or none of those that are remembered (CONFLICT, with
                the size of the latest).
        """
        try:
            checkpoint = Checkpoint.from_body(Note.decode(data).text)
        except MalformedError as error:
            raise WitnessRefusedError(Refusal.MALFORMED, f"not a signed checkpoint: {error}") from error
        size = checkpoint.size
        found = self._store.cosigned(checkpoint.origin, size) if size <= MAX_WITNESSED_SIZE else None
        if found is None or found.root != checkpoint.root:
            latest = self._store.latest(checkpoint.origin)
            raise WitnessRefusedError(
                Refusal.CONFLICT, f"no checkpoint cosigned here: {size} entries", latest.size if latest else 0
            )
        return found

    def recall(self, data: bytes, keys: Sequence[CosignerKey]) -> bool:
        """Takes over a checkpoint that this witness cosigned, out of a copy of its log, where its records are behind.

        Records that were lost or put back to an older state would let a log show another history than it did.

        Args:
            data: the note.
            keys: this witness's, past and present.

        Returns:
            Whether the records were behind.

        Raises:
            MalformedError, BadSignatureError: it is no checkpoint that this witness cosigned.
            LedgerUnavailableError: the records cannot be read or written.
        """
        note = Note.decode(data)
        checkpoint = Checkpoint.from_body(note.text)
        lines = verify_cosignatures(note, keys)
        if not lines:
            raise BadSignatureError("a checkpoint without this witness's cosignature")
        cosigned_s = max(line.timestamp_s for line in lines)
        with self._store.transaction():
            held = self._store.latest(checkpoint.origin)
            if held is not None and held.size >= checkpoint.size:
                return False
            self._store.put(WitnessedLog(checkpoint.origin, checkpoint.size, checkpoint.root, data, cosigned_s))
        return True

    def report_pending(self) -> None:
        """Reports the evidence whose report a crash or an error cut off; call it when the party starts."""
        for evidence in self._store.unreported():
            self._tell(evidence)

    def _authentic(self, submission: Submission) -> tuple[Note, Checkpoint]:
        """The checkpoint offered, signed by a log that is witnessed; its note without other keys' lines."""
        try:
            note = Note.decode(submission.note)
            offered = Checkpoint.from_body(note.text)
        except MalformedError as error:
            raise WitnessRefusedError(Refusal.MALFORMED, f"not a signed checkpoint: {error}") from error
        if offered.size > MAX_WITNESSED_SIZE:
            raise WitnessRefusedError(Refusal.MALFORMED, f"a log of more than {MAX_WITNESSED_SIZE} entries")
        keys = self._known_logs(offered.origin)
        if not keys:
            raise WitnessRefusedError(Refusal.UNKNOWN_LOG, f"the log {offered.origin!r:.300} is not witnessed here")
        try:
            verify_log_signature(note, keys)
        except BadSignatureError as error:
            raise WitnessRefusedError(Refusal.UNTRUSTED_KEY, str(error)) from error
        names = {(key.name, key.key_id) for key in keys}
        lines = [line for line in note.signatures if (line.name, line.key_id) in names]
        return add_lines(Note(note.text, ()), lines), offered

    def _cosign(self, note: Note, offered: Checkpoint, held: WitnessedLog | None) -> NoteSignature:
        now_s = self._clock.now_ms() // 1000
        cosigned_s = now_s if held is None else max(now_s, held.cosigned_s)
        line = cosign(note.text, self._key, cosigned_s)
        cosigned = add_lines(note, [line]).encode()
        if len(cosigned) > MAX_NOTE_BYTES:
            raise WitnessRefusedError(Refusal.MALFORMED, "the note has no room for a cosignature: fewer extensions")
        if held is None or held.note != cosigned:  # a stranger who repeats it keeps no disk busy
            self._store.put(WitnessedLog(offered.origin, offered.size, offered.root, cosigned, cosigned_s))
        return line

    def _look_into(self, offered: Checkpoint, submission: Submission, *, by_log: bool) -> None:
        """Keeps and reports what a refused checkpoint, validly signed, shows of its log."""
        evidence = self._judge(offered, submission)
        if evidence is None or (evidence.misbehaviour is Misbehaviour.SHRUNK and not by_log):
            return
        if self._store.keep(evidence):
            self._tell(evidence)

    def _judge(self, offered: Checkpoint, submission: Submission) -> Evidence | None:
        """Evidence, if there is any: see `audit.evidence` for what proves what."""
        latest = self._store.latest(offered.origin)
        if latest is None:
            return None
        forked = Misbehaviour.FORKED
        same = self._store.cosigned(offered.origin, offered.size)
        if same is not None:
            return None if same.root == offered.root else self._evidence(forked, same, submission)
        base = self._store.cosigned(offered.origin, submission.old_size)
        if base is not None:
            root = prefix_root(base.size, offered.size, offered.root, submission.proof)
            if root not in (None, base.root):
                assert root is not None
                return self._evidence(forked, base, submission, (root, *submission.proof))
        if offered.size > latest.size:
            return None
        known = self._root(offered.origin, offered.size)
        if known is None:
            return self._evidence(Misbehaviour.SHRUNK, latest, submission)
        return None if known == offered.root else self._evidence(forked, latest, submission)

    def _root(self, origin: str, size: int) -> bytes | None:
        return EMPTY_ROOT if size == 0 else self._roots(origin, size)

    def _evidence(
        self, what: Misbehaviour, held: WitnessedLog, submission: Submission, shown: tuple[bytes, ...] = ()
    ) -> Evidence:
        return Evidence(
            origin=held.origin,
            misbehaviour=what,
            held=held.note,
            offered=submission.note,
            shown=shown,
            at_ms=self._clock.now_ms(),
        )

    def _tell(self, evidence: Evidence) -> None:
        self._report(evidence)
        self._store.mark_reported(evidence)


def _check(held: WitnessedLog | None, offered: Checkpoint, submission: Submission) -> None:
    """The specification's checks against what is held, in its order."""
    size, root = (0, EMPTY_ROOT) if held is None else (held.size, held.root)
    if submission.old_size > offered.size:
        raise WitnessRefusedError(
            Refusal.MALFORMED, f"a checkpoint of {offered.size} entries does not follow one of {submission.old_size}"
        )
    if submission.old_size != size:
        raise WitnessRefusedError(
            Refusal.CONFLICT, f"the latest checkpoint cosigned has {size} entries, not {submission.old_size}", size
        )
    if offered.size == size and offered.root != root:
        raise WitnessRefusedError(Refusal.CONFLICT, f"another root was cosigned at {size} entries", size)
    try:
        verify_consistency(size, offered.size, root, offered.root, submission.proof)
    except VerificationFailedError as error:
        raise WitnessRefusedError(Refusal.BAD_PROOF, f"no consistency proof from {size} entries: {error}") from error
