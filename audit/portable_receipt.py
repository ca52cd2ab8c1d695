"""A receipt that a stranger can check: one C2SP tlog-proof file with everything but the regulator's key in it.

The file is a `c2sp.org/tlog-proof@v1` of the ledger's OUTCOME entry, so that any tool of that format can check where
the entry stands. Its `extra` line holds canonical JSON: the entry's bytes; the regulator's signed directory, which says
whose keys count; and, out of a provider's ledger, the ACK entry with the merchant's countersignature and its own
inclusion proof under the same checkpoint. The format vouches for none of this; `PortableReceipt.verify` does.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from audit.canonical import Fields, JsonObject, body_header, canonicalise, to_base64
from audit.checkpoint import Checkpoint, Note
from audit.directory import MAX_DIRECTORY_BYTES, Directory, verify_directory
from audit.entry import MAX_ENTRY_BYTES, Ack, Outcome, Side, decode_entry
from audit.envelope import Envelope
from audit.errors import (
    BadSignatureError,
    LedgerError,
    MalformedError,
    RevokedKeyError,
    UnknownReceiptError,
)
from audit.keys import VerifyingKey
from audit.ledger import LedgerReader
from audit.names import KeyPurpose
from audit.party_record import KeyStatus
from audit.receipt import ReceiptPayload, read_receipt
from audit.tlog_proof import MAX_EXTRA_BYTES, MAX_HASHES, TlogProof, parse_hashes
from audit.tree import leaf_hash
from audit.verify_checkpoints import LogKeys
from audit.verify_receipts import ReceiptCheck

SHORTEST_PREFIX: Final = 6
"""Characters of a receipt's identifier that are asked for at least."""

_KIND: Final = "portable_receipt"
_PREFIX: Final = re.compile(rf"[0-9a-f]{{{SHORTEST_PREFIX},64}}")


@dataclass(frozen=True, slots=True)
class ProvenEntry:
    """An entry's bytes, its index, and its inclusion proof under some checkpoint."""

    data: bytes
    index: int
    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ProvenReceipt:
    """What a check has established: both sides signed `payload`, and it stands in the ledger of `origin`.

    Attributes:
        receipt_id: SHA-256 of the payload.
        party: whose ledger it is in.
        index: of the OUTCOME entry there.
        checkpoint: under which it stands.
        directory_version, directory_issued_at_ms: of the directory by which the keys were judged.
    """

    receipt_id: str
    payload: ReceiptPayload
    party: str
    index: int
    checkpoint: Checkpoint
    directory_version: int
    directory_issued_at_ms: int

    def to_json(self) -> JsonObject:
        """For `--json`."""
        return {
            "verified": True,
            "receipt_id": self.receipt_id,
            "receipt": self.payload.to_body(),
            "party": self.party,
            "origin": self.checkpoint.origin,
            "index": self.index,
            "size": self.checkpoint.size,
            "root": self.checkpoint.root.hex(),
            "directory_version": self.directory_version,
            "directory_issued_at_ms": self.directory_issued_at_ms,
        }


@dataclass(frozen=True, slots=True)
class PortableReceipt:
    """The file's content: well-formed, not verified.

    Attributes:
        outcome: the entry that holds the receipt.
        acknowledgement: the entry that holds the merchant's countersignature, where the receipt itself lacks it.
        checkpoint: the signed checkpoint over both.
        directory: the regulator's directory, as signed.
    """

    outcome: ProvenEntry
    acknowledgement: ProvenEntry | None
    checkpoint: bytes
    directory: Envelope

    def encode(self) -> bytes:
        """The file's bytes; raises `LimitExceededError` where the directory is too large to enclose."""
        extra: JsonObject = {
            **body_header(_KIND),
            "entry": to_base64(self.outcome.data),
            "directory": self.directory.to_json(),
        }
        if self.acknowledgement is not None:
            extra["acknowledgement"] = {
                "entry": to_base64(self.acknowledgement.data),
                "index": self.acknowledgement.index,
                "proof": [to_base64(each) for each in self.acknowledgement.hashes],
            }
        return TlogProof(self.outcome.index, self.outcome.hashes, self.checkpoint, canonicalise(extra)).encode()

    @classmethod
    def decode(cls, data: bytes) -> "PortableReceipt":
        """The inverse of `encode`, from untrusted bytes.

        Raises:
            LimitExceededError: longer than the limits of `audit.tlog_proof`, or an entry of more than 8 KiB.
            MalformedError: not a tlog-proof, or one that holds no receipt.
        """
        proof = TlogProof.decode(data)
        if not proof.extra:
            raise MalformedError("this tlog-proof encloses no receipt: make one with `unseen ledger prove`")
        fields = Fields.parse(proof.extra, limit=MAX_EXTRA_BYTES, where="portable receipt").header(_KIND)
        entry = fields.base64("entry", max_bytes=MAX_ENTRY_BYTES)
        directory = Envelope.from_json(fields.object("directory"), limit=MAX_DIRECTORY_BYTES)
        enclosed = fields.optional_object("acknowledgement")
        acknowledgement = None if enclosed is None else _acknowledgement(enclosed)
        fields.finish()
        return cls(ProvenEntry(entry, proof.index, proof.hashes), acknowledgement, proof.checkpoint, directory)

    def enclosed_directory(self, regulator_key: VerifyingKey) -> Directory:
        """The enclosed directory, believed because of the regulator's key, which is known from elsewhere.

        Expired ones serve: they say which keys were whose. Errors as `audit.directory.verify_directory`.
        """
        return verify_directory(self.directory.encode(), regulator_key, now_ms=0)

    def verify(self, directory: Directory) -> ProvenReceipt:
        """Checks the whole by a verified directory: the enclosed one, or a later one.

        In order: the entry is an OUTCOME; the checkpoint is of its owner's log, signed by that log's key (not another
        log's); the entry stands under it at its index (none made up, moved, or changed since); provider and merchant
        signed the receipt, the merchant also the request; no signature is by a key that was revoked.

        Raises:
            MalformedError: entry or checkpoint cannot be read, or the countersignature is not enclosed.
            BadSignatureError: the checkpoint is of another log, or not signed by a listed key.
            RevokedKeyError: checkpoint or receipt are signed by a key that the directory revokes.
            UnknownPartyError: the directory does not list the ledger's owner.
            VerificationFailedError: an entry is not in the log at its index, contradicts its receipt, or a signature
                over receipt or request is missing, wrong, or by a key that the directory does not list.
        """
        outcome = decode_entry(self.outcome.data)
        if not isinstance(outcome, Outcome):
            raise MalformedError("the entry proven is no OUTCOME: it holds no receipt")
        log = _log_keys(directory, outcome.party, Note.decode(self.checkpoint))
        checkpoint = self._verify_entry(self.outcome, log)
        check = ReceiptCheck(directory)
        check.check(self.outcome.index, outcome)
        if outcome.side is Side.PROVIDER:
            self._verify_acknowledgement(check, outcome, log)
        elif self.acknowledgement is not None:
            raise MalformedError("the receipt out of a merchant's ledger is countersigned itself: one entry is enough")
        if check.revoked:
            raise RevokedKeyError(
                "a signature over the receipt is by a key that the regulator has revoked: whether it was made before,"
                " this proof does not show"
            )
        return ProvenReceipt(
            outcome.receipt_id,
            read_receipt(outcome.receipt),
            outcome.party,
            self.outcome.index,
            checkpoint,
            directory.version,
            directory.issued_at_ms,
        )

    def _verify_acknowledgement(self, check: ReceiptCheck, outcome: Outcome, log: LogKeys) -> None:
        if self.acknowledgement is None:
            raise MalformedError("the merchant's countersignature is not enclosed: the receipt binds one side only")
        ack = decode_entry(self.acknowledgement.data)
        if not isinstance(ack, Ack) or ack.party != outcome.party:
            raise MalformedError("the entry enclosed beside the receipt is no ACK of the same ledger")
        self._verify_entry(self.acknowledgement, log)
        check.check(self.acknowledgement.index, ack)

    def _verify_entry(self, proven: ProvenEntry, log: LogKeys) -> Checkpoint:
        return TlogProof(proven.index, proven.hashes, self.checkpoint).verify(leaf_hash(proven.data), log)


def prove_receipt(reader: LedgerReader, receipt: str, directory: Envelope) -> PortableReceipt:
    """The portable form of a receipt in a ledger, also while its party is running.

    Args:
        reader: of a provider's or a merchant's ledger.
        receipt: the receipt's identifier, or at least six characters of its beginning.
        directory: the regulator's, as signed.

    Raises:
        MalformedError: no identifier, or the beginning of several; or its entry cannot be read.
        UnknownReceiptError: the ledger holds no such receipt.
        LedgerError: not acknowledged, or not yet under a signed checkpoint.
        LedgerDamagedError: an entry is missing.
    """
    found = _find(reader, receipt.strip().lower())
    note = reader.latest_checkpoint()
    size = 0 if note is None else Checkpoint.from_body(Note.decode(note).text).size
    if note is None or max(index for index, _, _ in found) >= size:
        raise LedgerError("the receipt is not under a signed checkpoint yet: ask again when the ledger has signed one")
    proven = [ProvenEntry(data, index, tuple(reader.inclusion_proof(index, size))) for index, data, _ in found]
    return PortableReceipt(proven[0], proven[1] if len(proven) > 1 else None, note, directory)


def _find(reader: LedgerReader, wanted: str) -> list[tuple[int, bytes, Outcome | Ack]]:
    """The OUTCOME of the one receipt so named and, in a provider's ledger, its ACK."""
    if _PREFIX.fullmatch(wanted) is None:
        raise MalformedError(
            f"{wanted[:70]!r} is no receipt: give {SHORTEST_PREFIX} to 64 characters of its identifier"
        )
    mentioned = list(_mentions(reader, wanted))
    identifiers = sorted({entry.receipt_id for _, _, entry in mentioned if isinstance(entry, Outcome)})
    if not identifiers:
        raise UnknownReceiptError(f"the ledger holds no receipt {wanted}: `unseen ledger show` lists what it holds")
    if len(identifiers) > 1:
        raise MalformedError(f"{wanted} is the beginning of several receipts ({identifiers[0]}, ...): give more of it")
    outcome = next(each for each in mentioned if isinstance(each[2], Outcome))
    if outcome[2].side is Side.MERCHANT:
        return [outcome]
    for each in mentioned:
        if isinstance(each[2], Ack) and each[2].receipt_id == identifiers[0]:
            return [outcome, each]
    raise LedgerError(f"receipt {identifiers[0]} is not acknowledged by the merchant: it binds one side only as yet")


def _mentions(reader: LedgerReader, wanted: str) -> Iterator[tuple[int, bytes, Outcome | Ack]]:
    mark = f'"receipt_id":"{wanted}'.encode()
    for index, data in enumerate(reader.read(0, reader.size)):
        if mark in data:
            entry = decode_entry(data)
            if isinstance(entry, Outcome | Ack):
                yield index, data, entry


def _log_keys(directory: Directory, party: str, note: Note) -> LogKeys:
    """The log keys of `party` that are not revoked; a note signed by none of them but by a revoked one says so."""
    listed = [record for record in directory.party(party).keys if record.purpose is KeyPurpose.LOG]
    if not listed:
        raise BadSignatureError(f"the directory lists no log key of {party}")
    good = tuple(record.key for record in listed if record.status is not KeyStatus.REVOKED)
    made = {(line.name, line.key_id) for line in note.signatures}
    if not any((key.name, key.key_id) in made for key in good):
        for record in listed:
            if (record.key.name, record.key.key_id) in made:
                raise RevokedKeyError(
                    f"the checkpoint is signed by {record.key.keyid}, which the regulator has revoked"
                )
    return LogKeys(listed[0].key.name, good)


def _acknowledgement(fields: Fields) -> ProvenEntry:
    proven = ProvenEntry(
        fields.base64("entry", max_bytes=MAX_ENTRY_BYTES),
        fields.integer("index"),
        parse_hashes(list(fields.texts("proof", max_items=MAX_HASHES))),
    )
    fields.finish()
    return proven
