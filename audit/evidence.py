"""What shows that a log misbehaved, and what only looks like it.

Two checkpoints of one log, each signed by its key, prove misbehaviour if they cannot both cover the beginning of one
list of entries. That is so where

- they are of one size and have different roots; or
- a consistency proof leads to the root of the larger from another root, of the smaller one's size, than the smaller
  one's own. Under a collision-resistant hash the larger root has one root at each smaller size, so that nobody can make
  such a proof against a log that signed one history; or
- one is of no entries, and its root is not the empty tree's.

What proves nothing: a consistency proof that leads nowhere, since anybody who has a signed checkpoint can send it with
a wrong proof; and a checkpoint of fewer entries than another, which every honest log has signed once. The former is
never evidence here. The latter is kept as `SHRUNK` where its root is not known to be right, and is cleared by a
consistency proof from it to the checkpoint held.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from audit.canonical import Fields, JsonObject, body_header, canonicalise, from_base64, to_base64
from audit.checkpoint import MAX_NOTE_BYTES, Checkpoint, Note
from audit.entry_logs import Misbehaviour
from audit.errors import (
    AuditError,
    BadSignatureError,
    Damage,
    MalformedError,
    VerificationFailedError,
    VerificationImpossibleError,
)
from audit.hashes import hex_sha256
from audit.keys import VerifyingKey
from audit.submission import MAX_PROOF_LINES
from audit.tree import EMPTY_ROOT, HASH_BYTES, node_hash, verify_consistency

MAX_EVIDENCE_BYTES: Final = 64 * 1024
_TYPE: Final = "witness-evidence"
_MAX_ORIGIN: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Two checkpoints of one log, verbatim, for which a witness refused to cosign the one offered.

    Attributes:
        origin: the log.
        misbehaviour: FORKED is proof of two histories (`audit.evidence` says why). SHRUNK is a suspicion: the log did
            sign a checkpoint of fewer entries than it had signed before, which is innocent if it is an old one that
            arrived late, and shows a log set back if it is a new one; its date nobody can tell.
        held: the note that the witness held: the log's signature, and the witness's line.
        offered: the note refused, as it was received.
        shown: for two sizes, the root of the smaller size in the larger one's history, followed by the consistency
            proof from it. Empty for one size, for SHRUNK, and where a replica's entries show it instead.
        at_ms: when it was refused, by the witness's clock.
    """

    origin: str
    misbehaviour: Misbehaviour
    held: bytes
    offered: bytes
    shown: tuple[bytes, ...]
    at_ms: int

    def encode(self) -> bytes:
        """The canonical bytes, whose hash is `digest`."""
        body: JsonObject = {
            **body_header(_TYPE),
            "origin": self.origin,
            "misbehaviour": self.misbehaviour.value,
            "held": to_base64(self.held),
            "offered": to_base64(self.offered),
            "shown": [to_base64(node) for node in self.shown],
            "at_ms": self.at_ms,
        }
        return canonicalise(body)

    @property
    def digest(self) -> str:
        """SHA-256 of `encode`, lowercase hexadecimal."""
        return hex_sha256(self.encode())

    @classmethod
    def decode(cls, data: bytes) -> "Evidence":
        """The evidence in untrusted bytes, at most 64 KiB. Holding one says nothing yet: `verify` does.

        Raises:
            MalformedError: not of this form.
        """
        fields = Fields.parse(data, limit=MAX_EVIDENCE_BYTES, where="evidence").header(_TYPE)
        evidence = cls(
            origin=fields.text("origin", max_length=_MAX_ORIGIN),
            misbehaviour=fields.choice("misbehaviour", Misbehaviour),
            held=fields.base64("held", max_bytes=MAX_NOTE_BYTES),
            offered=fields.base64("offered", max_bytes=MAX_NOTE_BYTES),
            shown=tuple(
                _node(text) for text in fields.texts("shown", max_items=MAX_PROOF_LINES + 1, max_length=_NODE_TEXT)
            ),
            at_ms=fields.integer("at_ms"),
        )
        fields.finish()
        return evidence

    def verify(self, keys: Sequence[VerifyingKey], shown: Sequence[bytes] = ()) -> None:
        """Checks that the two notes are what the evidence calls them.

        Args:
            keys: every key that may have signed for the log.
            shown: as the attribute, from a replica, where the evidence has none of its own.

        Raises:
            BadSignatureError: one of the notes is not signed by the log.
            MalformedError: one of them is no checkpoint of this log, or they show no misbehaviour.
            VerificationImpossibleError: whether the log forked is for its entries to show.
        """
        held, offered = (signed_checkpoint(note, keys) for note in (self.held, self.offered))
        if not held.origin == offered.origin == self.origin:
            raise MalformedError("the evidence is of another log than it names")
        if self.misbehaviour is Misbehaviour.SHRUNK:
            if offered.size >= held.size:
                raise MalformedError("the checkpoint offered is not of fewer entries than the one held")
            return
        try:
            contradiction(self.held, self.offered, keys, self.shown or shown)
        except VerificationFailedError:
            return
        raise MalformedError("the two checkpoints do not contradict each other")


def contradiction(one: bytes, other: bytes, keys: Sequence[VerifyingKey], shown: Sequence[bytes] = ()) -> None:
    """Checks that two signed checkpoints of one log, from two witnesses for instance, do not contradict each other.

    Args:
        one, other: the notes, in either order.
        keys: every key that may have signed for the log.
        shown: for two sizes, the root of the smaller size in the larger one's history (a replica's `root`) and
            behind it the consistency proof from that size to the larger (its `consistency_proof`).

    Raises:
        VerificationFailedError: they do (damage FORKED): the log signed two histories.
        VerificationImpossibleError: they are of two logs; or of two sizes, and `shown` does not tell.
        BadSignatureError: one is not signed by the log.
        MalformedError: one is no signed checkpoint.
    """
    small, large = sorted((signed_checkpoint(note, keys) for note in (one, other)), key=lambda each: each.size)
    if small.origin != large.origin:
        raise VerificationImpossibleError(f"the checkpoints are of two logs, {small.origin!r} and {large.origin!r}")
    if small.size == large.size:
        root = large.root
    elif small.size == 0:
        root = EMPTY_ROOT
    else:
        root = _root_shown(small.size, large, shown)
    if small.root != root:
        raise VerificationFailedError(
            Damage.FORKED,
            None,
            f"the log {small.origin} signed two histories: its checkpoints over {small.size} and {large.size} entries",
        )


def signed_checkpoint(data: bytes, keys: Sequence[VerifyingKey]) -> Checkpoint:
    """The checkpoint in an untrusted note that one of the keys signed.

    Raises:
        MalformedError: not a signed checkpoint.
        BadSignatureError: as `verify_log_signature`.
    """
    note = Note.decode(data)
    verify_log_signature(note, keys)
    return Checkpoint.from_body(note.text)


def verify_log_signature(note: Note, keys: Sequence[VerifyingKey]) -> None:
    """Checks that a note is signed by one of the keys; lines of others are ignored.

    Raises:
        BadSignatureError: it is by none, or a line that names one of the keys does not verify.
    """
    signed = False
    for line in note.signatures:
        for key in keys:
            if (line.name, line.key_id) == (key.name, key.key_id):
                key.verify(note.text, line.signature)
                signed = True
    if not signed:
        raise BadSignatureError(f"not signed by {', '.join(key.keyid for key in keys) or 'any key known'}")


def prefix_root(old: int, new: int, new_root: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The root of the first `old` leaves that a consistency proof shows, whatever root was expected there.

    Args:
        old, new: sizes, 0 < old < new.
        new_root: over `new` leaves, 32 bytes.
        proof: as RFC 6962 has it; 32 bytes each.

    Returns:
        The root (32 bytes); None where the proof leads nowhere, or `old` is a power of two: that root is no part of its
        proof, for the verifier is to put in the one it holds.
    """
    if not proof or not 0 < old < new:
        return None
    node, last, root = old - 1, new - 1, proof[0]
    while node & 1:
        node, last = node >> 1, last >> 1
    for sibling in proof[1:]:
        if node & 1 or node == last:
            root = node_hash(sibling, root)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    try:
        verify_consistency(old, new, root, new_root, proof)
    except VerificationFailedError:
        return None
    return root


def _root_shown(size: int, large: Checkpoint, shown: Sequence[bytes]) -> bytes:
    if not shown:
        raise VerificationImpossibleError(
            f"checkpoints over {size} and {large.size} entries: whether they agree is for a consistency proof to tell;"
            " ask the log or a replica for it"
        )
    root, *proof = shown
    try:
        verify_consistency(size, large.size, root, large.root, proof)
    except AuditError as error:
        raise VerificationImpossibleError(f"the consistency proof shows nothing: {error}") from error
    return root


_NODE_TEXT: Final = 4 * ((HASH_BYTES + 2) // 3)


def _node(text: str) -> bytes:
    node = from_base64(text, what="evidence: shown")
    if len(node) != HASH_BYTES:
        raise MalformedError(f"evidence: shown holds {len(node)} bytes where a hash has {HASH_BYTES}")
    return node
