"""Checks what entries carry that was signed: OUTCOME and ACK the merchant's request and both sides' signatures over the
receipt, DISCREPANCY the finder's statement."""

import re
from typing import Final

from audit.directory import Directory
from audit.discrepancy import read_discrepancy
from audit.entry import Aborted, Ack, DiscrepancyFound, Entry, Outcome, Side
from audit.envelope import Envelope, pae
from audit.errors import AuditError, BadSignatureError, Damage, VerificationFailedError
from audit.keys import VerifyingKey
from audit.names import KeyPurpose
from audit.party_record import KeyRecord, KeyStatus
from audit.receipt import ReceiptPayload, read_receipt, verify_receipt

_REQUEST: Final = re.compile(r"application/vnd\.unseen\.[a-z_]+_request\.v1\+json")


def read_outcome(index: int, entry: Outcome) -> ReceiptPayload:
    """The receipt that an OUTCOME carries; raises `VerificationFailedError`, `altered`, where it cannot be read."""
    try:
        return read_receipt(entry.receipt)
    except AuditError as error:
        raise VerificationFailedError(Damage.ALTERED, index, f"the receipt cannot be read: {error}") from error


class ReceiptCheck:
    """Sees every entry in order; remembers the receipts that await their ACK (a merchant may owe 16).

    Args:
        directory: the regulator's, or None: then only what needs no key is checked.

    A signature by a key that was revoked since is counted in `revoked`, not refused: whether it was made before the
    revocation is for a witness's cosignature to say.
    """

    __slots__ = ("_awaiting", "_directory", "_revoked_ms", "revoked")

    def __init__(self, directory: Directory | None) -> None:
        self._directory = directory
        self._awaiting: dict[str, tuple[Envelope, ReceiptPayload]] = {}
        self._revoked_ms: list[int] = []
        self.revoked = 0

    def check(self, index: int, entry: Entry, receipt: ReceiptPayload | None = None) -> int | None:
        """Checks one entry.

        Args:
            index: where it stands.
            receipt: an OUTCOME's, where it was read already (`read_outcome`).

        Returns:
            When the first of the keys that signed it was revoked, in milliseconds since the epoch; None if none was.

        Raises:
            VerificationFailedError: `altered` where an entry contradicts its receipt, `bad-signature` where a signature
                is missing, wrong, or by a key that the directory does not list.
        """
        self._revoked_ms = []
        if isinstance(entry, Outcome):
            if entry.receipt_id in self._awaiting:
                raise VerificationFailedError(Damage.ALTERED, index, f"receipt {entry.receipt_id} is entered twice")
            payload = receipt if receipt is not None else read_outcome(index, entry)
            self._check_outcome(index, entry, payload)
            self._awaiting[entry.receipt_id] = (entry.receipt, payload)
        elif isinstance(entry, Ack):
            self._check_ack(index, entry)
        elif isinstance(entry, DiscrepancyFound):
            self._check_discrepancy(index, entry)
        elif isinstance(entry, Aborted):
            left = {key: item for key, item in self._awaiting.items() if item[1].call != entry.call}
            self._awaiting = left
        return min(self._revoked_ms, default=None)

    def _check_outcome(self, index: int, entry: Outcome, payload: ReceiptPayload) -> None:
        recorded = (entry.call, entry.contract, entry.units, entry.price_micro, entry.currency)
        if recorded != (payload.call, payload.contract, payload.units, payload.price_micro, payload.currency):
            raise VerificationFailedError(
                Damage.ALTERED, index, "call, contract, units or price differ from the receipt's"
            )
        if _REQUEST.fullmatch(entry.request.payload_type) is None:
            raise VerificationFailedError(Damage.ALTERED, index, f"{entry.request.payload_type} is no kind of request")
        if entry.party != (payload.merchant if entry.side is Side.MERCHANT else payload.provider):
            raise VerificationFailedError(Damage.ALTERED, index, "the receipt is between other parties")
        if self._directory is None:
            return
        try:
            merchant_key = None
            if entry.side is Side.MERCHANT:
                merchant_key = self._signer(entry.receipt, payload.merchant)
            provider_key = self._signer(entry.receipt, payload.provider)
            verify_receipt(entry.receipt, provider_key=provider_key, merchant_key=merchant_key)
            entry.request.verify(self._signer(entry.request, payload.merchant))
        except AuditError as error:
            raise VerificationFailedError(Damage.BAD_SIGNATURE, index, str(error)) from error

    def _check_ack(self, index: int, entry: Ack) -> None:
        if entry.receipt_id not in self._awaiting:
            raise VerificationFailedError(
                Damage.BAD_SIGNATURE,
                index,
                f"it acknowledges receipt {entry.receipt_id}, which awaits no acknowledgement",
            )
        receipt, payload = self._awaiting.pop(entry.receipt_id)
        if (entry.call, entry.contract) != (payload.call, payload.contract):
            raise VerificationFailedError(Damage.ALTERED, index, "call or contract differ from the receipt's")
        if self._directory is None:
            return
        try:
            record = self._record(entry.signature.keyid, payload.merchant)
            record.key.verify(pae(receipt.payload_type, receipt.payload), entry.signature.signature)
            self._counted(record)
        except AuditError as error:
            raise VerificationFailedError(Damage.BAD_SIGNATURE, index, str(error)) from error

    def _check_discrepancy(self, index: int, entry: DiscrepancyFound) -> None:
        try:
            found_by = read_discrepancy(entry.discrepancy).found_by
        except AuditError as error:
            raise VerificationFailedError(Damage.ALTERED, index, f"the discrepancy cannot be read: {error}") from error
        if found_by != entry.party:
            raise VerificationFailedError(Damage.ALTERED, index, "the discrepancy was found by another party")
        if self._directory is None:
            return
        try:
            self._signer(entry.discrepancy, entry.party)
        except AuditError as error:
            raise VerificationFailedError(Damage.BAD_SIGNATURE, index, str(error)) from error

    def _signer(self, envelope: Envelope, party: str) -> VerifyingKey:
        """The key of `party` by which the envelope is signed, whatever other lines claim its name.

        Where several of its keys have signed, one that was not revoked is taken.
        """
        refused = BadSignatureError(f"{party} has not signed")
        revoked: KeyRecord | None = None
        for line in envelope.signatures:
            if line.keyid.startswith(f"{party}."):
                try:
                    record = self._record(line.keyid, party)
                    envelope.verify(record.key)
                except BadSignatureError as error:
                    refused = error
                    continue
                if record.status is not KeyStatus.REVOKED:
                    return record.key
                revoked = record
        if revoked is None:
            raise refused
        return self._counted(revoked)

    def _counted(self, record: KeyRecord) -> VerifyingKey:
        """The key of a record whose signature was found good, remembered where it is revoked."""
        if record.status is KeyStatus.REVOKED and record.until_ms is not None:
            self.revoked += 1
            self._revoked_ms.append(record.until_ms)
        return record.key

    def _record(self, keyid: str, party: str) -> KeyRecord:
        assert self._directory is not None
        for record in self._directory.party(party).keys:
            if record.key.keyid == keyid and record.purpose is KeyPurpose.MESSAGE:
                return record
        raise BadSignatureError(f"{keyid} is no message key of {party} in the directory")
