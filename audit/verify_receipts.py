"""Checks what entries carry that was signed: OUTCOME and ACK the merchant's request and both sides' signatures over the
receipt, DISCREPANCY the finder's statement."""

import re
from typing import Final

from audit.directory import Directory
from audit.discrepancy import read_discrepancy
from audit.entry import Ack, DiscrepancyFound, Entry, Outcome, Side
from audit.envelope import Envelope, pae
from audit.errors import AuditError, BadSignatureError, Damage, VerificationFailedError
from audit.keys import VerifyingKey
from audit.names import KeyPurpose
from audit.party_record import KeyStatus
from audit.receipt import ReceiptPayload, read_receipt, verify_receipt

_REQUEST: Final = re.compile(r"application/vnd\.unseen\.[a-z_]+_request\.v1\+json")


class ReceiptCheck:
    """Sees every entry in order; remembers the receipts that await their ACK (a merchant may owe 16).

    Args:
        directory: the regulator's, or None: then only what needs no key is checked.

    A signature by a key that was revoked since is counted in `revoked`, not refused: whether it was made before the
    revocation is for a witness's cosignature to say.
    """

    __slots__ = ("_awaiting", "_directory", "revoked")

    def __init__(self, directory: Directory | None) -> None:
        self._directory = directory
        self._awaiting: dict[str, tuple[Envelope, ReceiptPayload]] = {}
        self.revoked = 0

    def check(self, index: int, entry: Entry) -> None:
        """Checks one entry.

        Raises:
            VerificationFailedError: `altered` where an entry contradicts its receipt, `bad-signature` where a signature
                is missing, wrong, or by a key that the directory does not list.
        """
        if isinstance(entry, Outcome):
            if entry.receipt_id in self._awaiting:
                raise VerificationFailedError(Damage.ALTERED, index, f"receipt {entry.receipt_id} is entered twice")
            self._awaiting[entry.receipt_id] = (entry.receipt, self._check_outcome(index, entry))
        elif isinstance(entry, Ack):
            self._check_ack(index, entry)
        elif isinstance(entry, DiscrepancyFound):
            self._check_discrepancy(index, entry)

    def _check_outcome(self, index: int, entry: Outcome) -> ReceiptPayload:
        try:
            payload = read_receipt(entry.receipt)
        except AuditError as error:
            raise VerificationFailedError(Damage.ALTERED, index, f"the receipt cannot be read: {error}") from error
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
            return payload
        try:
            merchant_key = None
            if entry.side is Side.MERCHANT:
                merchant_key = self._signer(entry.receipt, payload.merchant)
            provider_key = self._signer(entry.receipt, payload.provider)
            verify_receipt(entry.receipt, provider_key=provider_key, merchant_key=merchant_key)
            entry.request.verify(self._signer(entry.request, payload.merchant))
        except AuditError as error:
            raise VerificationFailedError(Damage.BAD_SIGNATURE, index, str(error)) from error
        return payload

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
            key = self._key(entry.signature.keyid, payload.merchant)
            key.verify(pae(receipt.payload_type, receipt.payload), entry.signature.signature)
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
        """The key of `party` by which the envelope is signed, whatever other lines claim its name."""
        refused = BadSignatureError(f"{party} has not signed")
        for line in envelope.signatures:
            if line.keyid.startswith(f"{party}."):
                try:
                    key = self._key(line.keyid, party)
                    envelope.verify(key)
                except BadSignatureError as error:
                    refused = error
                else:
                    return key
        raise refused

    def _key(self, keyid: str, party: str) -> VerifyingKey:
        assert self._directory is not None
        for record in self._directory.party(party).keys:
            if record.key.keyid == keyid and record.purpose is KeyPurpose.MESSAGE:
                self.revoked += record.status is KeyStatus.REVOKED
                return record.key
        raise BadSignatureError(f"{keyid} is no message key of {party} in the directory")
