"""A receipt that a stranger can check: one C2SP tlog-proof file with everything but the regulator's key in it.

The file is a `c2sp.org/tlog-proof@v1` of the ledger's OUTCOME entry, so that any tool of that format can check where
the entry stands. Its `extra` line holds canonical JSON: the entry's bytes; the regulator's signed directory, which says
whose keys count; and, out of a provider's ledger, the ACK entry with the merchant's countersignature and its own
inclusion proof under the same checkpoint. The format vouches for none of this; `PortableReceipt.verify` does.

The checkpoint is the earliest that a witness cosigned, so that the proof holds also by a directory that has since
revoked a key: the witness had seen the receipt before.
"""

from dataclasses import dataclass
from typing import Final

from audit.canonical import Fields, JsonObject, body_header, canonicalise, to_base64
from audit.checkpoint import Checkpoint, Note
from audit.directory import MAX_DIRECTORY_BYTES, Directory, verify_directory
from audit.entry import MAX_ENTRY_BYTES, Ack, Outcome, Side, decode_entry
from audit.envelope import Envelope
from audit.errors import (
    BadSignatureError,
    MalformedError,
    RevokedKeyError,
)
from audit.keys import VerifyingKey
from audit.names import KeyPurpose
from audit.party_record import KeyStatus
from audit.receipt import ReceiptPayload, read_receipt
from audit.tlog_proof import MAX_EXTRA_BYTES, MAX_HASHES, TlogProof, parse_hashes
from audit.tree import leaf_hash
from audit.verify_checkpoints import LogKeys
from audit.verify_cosignatures import Cosigned, Witnesses, has_line
from audit.verify_receipts import ReceiptCheck

_KIND: Final = "portable_receipt"


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
        cosigned: the checkpoint's cosignatures by that directory's witnesses; None where there are none.
    """

    receipt_id: str
    payload: ReceiptPayload
    party: str
    index: int
    checkpoint: Checkpoint
    directory_version: int
    directory_issued_at_ms: int
    cosigned: Cosigned | None

    def to_json(self) -> JsonObject:
        """For `--json`; `cosigned_by` and `cosigned_at_s` only where a witness cosigned."""
        cosigned: JsonObject = {}
        if self.cosigned is not None:
            cosigned = {"cosigned_by": list(self.cosigned.by), "cosigned_at_s": self.cosigned.time_s}
        return {
            **cosigned,
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
        signed the receipt, the merchant also the request; no signature is by a key that was revoked before a witness
        had cosigned the checkpoint. Every log key that the directory lists may have signed it: a proof has no schedule.

        Raises:
            MalformedError: entry or checkpoint cannot be read, or the countersignature is not enclosed.
            BadSignatureError: the checkpoint is of another log, or not signed by a listed key, or a cosignature does
                not verify.
            RevokedKeyError: checkpoint or receipt are signed by a key that the directory revokes, and no witness had
                cosigned before.
            UnknownPartyError: the directory does not list the ledger's owner.
            VerificationFailedError: an entry is not in the log at its index, contradicts its receipt, or a signature
                over receipt or request is missing, wrong, or by a key that the directory does not list.
        """
        outcome = decode_entry(self.outcome.data)
        if not isinstance(outcome, Outcome):
            raise MalformedError("the entry proven is no OUTCOME: it holds no receipt")
        note = Note.decode(self.checkpoint)
        log, log_revoked_ms = _log_keys(directory, outcome.party, note)
        checkpoint = self._verify_entry(self.outcome, log)
        cosigned = Witnesses(directory, outcome.party).cosigned(note, checkpoint)
        if log_revoked_ms is not None:
            _verify_before(log_revoked_ms, cosigned, "the checkpoint")
        check = ReceiptCheck(directory)
        revoked_ms = [check.check(self.outcome.index, outcome)]
        if outcome.side is Side.PROVIDER:
            revoked_ms.append(self._verify_acknowledgement(check, outcome, log))
        elif self.acknowledgement is not None:
            raise MalformedError("the receipt out of a merchant's ledger is countersigned itself: one entry is enough")
        for until_ms in revoked_ms:
            if until_ms is not None:
                _verify_before(until_ms, cosigned, "a signature over the receipt")
        return ProvenReceipt(
            outcome.receipt_id,
            read_receipt(outcome.receipt),
            outcome.party,
            self.outcome.index,
            checkpoint,
            directory.version,
            directory.issued_at_ms,
            cosigned,
        )

    def _verify_acknowledgement(self, check: ReceiptCheck, outcome: Outcome, log: LogKeys) -> int | None:
        if self.acknowledgement is None:
            raise MalformedError("the merchant's countersignature is not enclosed: the receipt binds one side only")
        ack = decode_entry(self.acknowledgement.data)
        if not isinstance(ack, Ack) or ack.party != outcome.party:
            raise MalformedError("the entry enclosed beside the receipt is no ACK of the same ledger")
        self._verify_entry(self.acknowledgement, log)
        return check.check(self.acknowledgement.index, ack)

    def _verify_entry(self, proven: ProvenEntry, log: LogKeys) -> Checkpoint:
        return TlogProof(proven.index, proven.hashes, self.checkpoint).verify(leaf_hash(proven.data), log)


def _verify_before(until_ms: int, cosigned: Cosigned | None, what: str) -> None:
    """Raises `RevokedKeyError` unless a witness had cosigned before a key was revoked at `until_ms`."""
    if cosigned is None or not cosigned.is_before(until_ms):
        raise RevokedKeyError(
            f"{what} is by a key that the regulator has revoked, and no witness's cosignature in this proof is from"
            " before: whether it was made before, it does not show"
        )


def _log_keys(directory: Directory, party: str, note: Note) -> tuple[LogKeys, int | None]:
    """The log keys of `party` that may have signed a note, and when the one that did was revoked, if it was.

    A revoked key serves only where no other has signed.
    """
    listed = [record for record in directory.party(party).keys if record.purpose is KeyPurpose.LOG]
    if not listed:
        raise BadSignatureError(f"the directory lists no log key of {party}")
    name = listed[0].key.name
    good = tuple(record.key for record in listed if record.status is not KeyStatus.REVOKED)
    if not any(has_line(note, key) for key in good):
        for record in listed:
            if has_line(note, record.key):
                return LogKeys(name, (record.key,)), record.until_ms
    return LogKeys(name, good), None


def _acknowledgement(fields: Fields) -> ProvenEntry:
    proven = ProvenEntry(
        fields.base64("entry", max_bytes=MAX_ENTRY_BYTES),
        fields.integer("index"),
        parse_hashes(list(fields.texts("proof", max_items=MAX_HASHES))),
    )
    fields.finish()
    return proven
