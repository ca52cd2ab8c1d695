"""Entries of a party's own that an older backup of its ledger lost, as they come back from a witness's copy.

They are strangers' bytes until they lead to a checkpoint that the log's own key has signed. Nothing here changes a
ledger: `audit.ledger_writer` records what was verified.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from audit.chain import Chain, verify_seal
from audit.checkpoint import Checkpoint, Note
from audit.draft import LedgerIdentity
from audit.entry import Entry, Genesis, LogKeyChanged, Seal, decode_entry
from audit.errors import BadSignatureError, LedgerUnavailableError, MalformedError
from audit.keys import VerifyingKey
from audit.log_keys import KeySchedule, verified_signer
from audit.recovery import Tail
from audit.store import StoredCheckpoint
from audit.tree import leaf_hash, verify_consistency


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What a witness's copy gave back: not verified.

    Args:
        entries: the stored bytes of consecutive entries.
        note: a checkpoint of the log over these entries and all before them, or over more.
        proof: in the latter case the RFC 6962 consistency proof from the size that the entries reach to the note's.
    """

    entries: Sequence[bytes]
    note: bytes
    proof: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Adoption:
    """Verified entries that continue the ledger.

    Attributes:
        entries: each as read, and its bytes.
        target: size of the checkpoint that they lead to.
        reached: that checkpoint where they lead to it without further ones; with the log's own signature alone, since
            the other lines are not verified here.
    """

    entries: list[tuple[Entry, bytes]]
    target: int
    reached: StoredCheckpoint | None


def verify_adoption(
    retrieved: Retrieved, tail: Tail, identity: LedgerIdentity, own: Collection[VerifyingKey]
) -> Adoption:
    """Checks that the entries continue a ledger and lead to a checkpoint that its own key signed.

    Args:
        retrieved: bytes from outside.
        tail: where the ledger stands; stays as it is.
        identity: whose ledger it is.
        own: the log keys that the owner holds, which may have signed a checkpoint beyond these entries.

    Raises:
        MalformedError: an entry or the note cannot be read, or an entry is another party's or out of its place.
        BadSignatureError: the note is of another log, or not signed by a key that may sign its size.
        LedgerUnavailableError: the first entry is of another ledger.
        VerificationFailedError: the entries, behind those that are here, do not lead to the note's root.
    """
    note = Note.decode(retrieved.note)
    target = Checkpoint.from_body(note.text)
    if target.origin != identity.origin:
        raise BadSignatureError(f"a checkpoint of the log {target.origin!r}, not of {identity.origin!r}")
    growing = _Growing(tail, identity)
    entries = [(growing.take(data), data) for data in retrieved.entries]
    size = growing.frontier.size
    if growing.schedule is None or size > target.size or (not entries and size < target.size):
        raise MalformedError(
            f"{len(entries)} entries up to size {size} do not lead to a checkpoint of size {target.size}"
        )
    keys = growing.schedule.keys_for(target.size)
    if size < target.size:
        keys = (*keys, *(key for key in own if key not in keys))
    signer = verified_signer(note, keys)
    verify_consistency(size, target.size, growing.frontier.root(), target.root, retrieved.proof)
    own_lines = tuple(line for line in note.signatures if (line.name, line.key_id) == (signer.name, signer.key_id))
    reached = StoredCheckpoint(size, Note(note.text, own_lines).encode()) if size == target.size else None
    return Adoption(entries, target.size, reached)


class _Growing:
    """The ledger as it would be, without its store."""

    def __init__(self, tail: Tail, identity: LedgerIdentity) -> None:
        self.frontier = tail.frontier.copy()
        self.chain: Chain = tail.chain.copy()
        self.schedule: KeySchedule | None = None if tail.schedule is None else tail.schedule.copy()
        self._identity = identity

    def take(self, data: bytes) -> Entry:
        index = self.frontier.size
        entry = decode_entry(data)
        if entry.party != self._identity.party:
            raise MalformedError(f"entry {index} is of {entry.party!r}, not of {self._identity.party!r}")
        if isinstance(entry, Genesis) != (index == 0):
            raise MalformedError(f"entry {index}: the first entry, and no other, is the genesis entry")
        if isinstance(entry, Genesis):
            check_owner(entry, self._identity)
            self.schedule = KeySchedule.of(entry)
        elif isinstance(entry, LogKeyChanged):
            assert self.schedule is not None
            self.schedule.change(index, entry)
        elif isinstance(entry, Seal):
            verify_seal(entry.size, entry.chain, self.chain)
        leaf = leaf_hash(data)
        self.frontier.append(leaf)
        self.chain.append(leaf)
        return entry


def check_owner(genesis: Genesis, identity: LedgerIdentity) -> None:
    """Checks that a ledger's first entry is this owner's.

    Raises:
        LedgerUnavailableError: it is another's.
    """
    if (genesis.party, genesis.origin, genesis.role) != (identity.party, identity.origin, identity.role):
        raise LedgerUnavailableError(
            f"this is the ledger of {genesis.party} ({genesis.origin}), not of {identity.party} ({identity.origin})"
        )
