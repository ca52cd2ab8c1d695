"""Makes the portable form of a receipt (`audit.portable_receipt`) out of a ledger, also while its party is running."""

import re
from collections.abc import Iterator
from typing import Final

from audit.checkpoint import Checkpoint, Note
from audit.directory import MAX_DIRECTORY_BYTES, Directory
from audit.entry import Ack, Outcome, Side, decode_entry
from audit.envelope import Envelope, PayloadType
from audit.errors import LedgerError, ReceiptPrefixError, UnknownReceiptError
from audit.ledger import LedgerReader
from audit.portable_receipt import PortableReceipt, ProvenEntry
from audit.verify_cosignatures import Witnesses

SHORTEST_PREFIX: Final = 6
"""Characters of a receipt's identifier that are asked for at least."""

_PREFIX: Final = re.compile(rf"[0-9a-f]{{{SHORTEST_PREFIX},64}}")


def prove_receipt(reader: LedgerReader, receipt: str, directory: Envelope) -> PortableReceipt:
    """The portable form of a receipt in a ledger.

    Of the checkpoints over the receipt the earliest is taken that a witness whose time is believed has cosigned; else
    the earliest that any witness has; else the latest.

    Args:
        reader: of a provider's or a merchant's ledger.
        receipt: the receipt's identifier, or at least six characters of its beginning.
        directory: the regulator's, as signed.

    Raises:
        ReceiptPrefixError: no identifier, too little of one, or the beginning of several.
        MalformedError: its entry cannot be read.
        UnknownReceiptError: the ledger holds no such receipt.
        LedgerError: not acknowledged, or not yet under a signed checkpoint.
        LedgerDamagedError: an entry is missing.
        BadSignatureError: a cosignature in the ledger does not verify.
    """
    found = _find(reader, receipt.strip().lower())
    known = Directory.from_body(directory.body(PayloadType.DIRECTORY, limit=MAX_DIRECTORY_BYTES))
    last = max(index for index, _, _ in found)
    note, size = _checkpoint_over(reader, last, Witnesses(known, reader.genesis().party))
    proven = [ProvenEntry(data, index, tuple(reader.inclusion_proof(index, size))) for index, data, _ in found]
    return PortableReceipt(proven[0], proven[1] if len(proven) > 1 else None, note, directory)


def _checkpoint_over(reader: LedgerReader, last: int, witnesses: Witnesses) -> tuple[bytes, int]:
    """The stored checkpoint that proves most of entry `last`, and its size."""
    found: tuple[bytes, int] | None = None
    cosigned_by_any = False
    for data in reader.checkpoints():
        note = Note.decode(data)
        checkpoint = Checkpoint.from_body(note.text)
        if checkpoint.size <= last:
            continue
        cosigned = witnesses.cosigned(note, checkpoint)
        if cosigned is not None and cosigned.believed_s is not None:
            return data, checkpoint.size
        if not cosigned_by_any:
            found, cosigned_by_any = (data, checkpoint.size), cosigned is not None
    if found is None:
        raise LedgerError("the receipt is not under a signed checkpoint yet: ask again when the ledger has signed one")
    return found


def _find(reader: LedgerReader, wanted: str) -> list[tuple[int, bytes, Outcome | Ack]]:
    """The OUTCOME of the one receipt so named and, in a provider's ledger, its ACK."""
    if _PREFIX.fullmatch(wanted) is None:
        raise ReceiptPrefixError(
            f"{wanted[:70]!r} is no receipt: give {SHORTEST_PREFIX} to 64 characters of its identifier"
        )
    mentioned = list(_mentions(reader, wanted))
    identifiers = sorted({entry.receipt_id for _, _, entry in mentioned if isinstance(entry, Outcome)})
    if not identifiers:
        raise UnknownReceiptError(f"the ledger holds no receipt {wanted}: `unseen ledger show` lists what it holds")
    if len(identifiers) > 1:
        raise ReceiptPrefixError(
            f"{wanted} is the beginning of several receipts ({identifiers[0]}, ...): give more of it"
        )
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
