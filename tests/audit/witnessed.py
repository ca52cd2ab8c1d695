"""Logs in memory, honest or forked, and a real witness for them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from audit.checkpoint import Checkpoint, Note, sign_checkpoint
from audit.cosignature import CosignerKey, verify_cosignatures
from audit.errors import Refusal, WitnessRefusedError
from audit.keys import SigningKey, VerifyingKey
from audit.names import KeyPurpose
from audit.tree import consistency_proof, leaf_hash, root_of
from audit.witness import Evidence, KnownRoots, Submission, Witness
from audit.witness_store import WitnessStore
from tests.audit.samples import AT_MS, signing_key

LOG = signing_key("east", KeyPurpose.LOG)
KEYS = (LOG.verifying_key,)
ORIGIN = LOG.name
WITNESS = signing_key("watch", KeyPurpose.WITNESS)
COSIGNER = CosignerKey(WITNESS.verifying_key)


class SmallLog:
    """A log of up to a few hundred entries. `fork` shares the first entries with it, and its key."""

    def __init__(self, leaves: list[bytes] | None = None, key: SigningKey = LOG) -> None:
        self.leaves = [leaf_hash(b"%d" % number) for number in range(300)] if leaves is None else leaves
        self.key = key

    def fork(self, shared: int, name: str = "other") -> SmallLog:
        others = [leaf_hash(f"{name} {number}".encode()) for number in range(shared, len(self.leaves))]
        return SmallLog([*self.leaves[:shared], *others], self.key)

    def root(self, size: int) -> bytes:
        return root_of(self.leaves[:size])

    def note(self, size: int) -> bytes:
        return sign_checkpoint(Checkpoint(self.key.name, size, self.root(size)), self.key)

    def proof(self, old: int, new: int) -> tuple[bytes, ...]:
        return tuple(consistency_proof(old, new, self._node))

    def submission(self, old: int, new: int) -> Submission:
        return Submission(old, self.proof(old, new), self.note(new))

    def shown(self, small: int, large: int) -> tuple[bytes, ...]:
        return self.root(small), *self.proof(small, large)

    def _node(self, level: int, index: int) -> bytes:
        return root_of(self.leaves[index << level : (index + 1) << level])


class SetClock:
    """Shows what it is set to."""

    def __init__(self, now_s: int = AT_MS // 1000) -> None:
        self.now_s = now_s

    def now_ms(self) -> int:
        return self.now_s * 1000


@dataclass(slots=True)
class Watching:
    """A witness of the one log, and what it reported."""

    witness: Witness
    store: WitnessStore
    clock: SetClock
    reported: list[Evidence] = field(default_factory=list)

    def evidence(self) -> tuple[Evidence, ...]:
        return self.store.evidence(ORIGIN)

    def take(self, log: SmallLog, old: int, new: int) -> int:
        """Submits; the verified cosignature's time."""
        submission = log.submission(old, new)
        lines = self.witness.add_checkpoint(submission)
        note = Note.decode(submission.note)
        (found,) = verify_cosignatures(Note(note.text, lines), [COSIGNER])
        return found.timestamp_s


def no_roots(origin: str, size: int) -> bytes | None:
    return None


def known_logs(origin: str) -> tuple[VerifyingKey, ...]:
    return KEYS if origin == ORIGIN else ()


def over(store: WitnessStore, roots: KnownRoots = no_roots) -> Watching:
    clock, reported = SetClock(), list[Evidence]()
    return Watching(Witness(WITNESS, known_logs, store, clock, roots, reported.append), store, clock, reported)


@contextlib.contextmanager
def watching(path: Path, roots: KnownRoots = no_roots) -> Iterator[Watching]:
    store = WitnessStore.open(path)
    try:
        yield over(store, roots)
    finally:
        store.close()


def refusal(witness: Witness, submission: Submission) -> tuple[Refusal, int | None] | None:
    """Why it is refused, with the size told; None where it is cosigned."""
    try:
        witness.add_checkpoint(submission)
    except WitnessRefusedError as error:
        return error.refusal, error.size
    return None
