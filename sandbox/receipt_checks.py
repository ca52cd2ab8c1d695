"""What a provider's receipt must say, field by field: computing party and merchant hold it against what they know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from audit.directory import Directory
from audit.envelope import Envelope
from audit.errors import AuditError, MalformedError
from audit.names import KeyPurpose
from audit.receipt import ReceiptPayload, participants_digest, read_receipt, verify_receipt
from sandbox.contract import Contract
from sandbox.errors import DenialReason, PeerMisbehavedError
from sandbox.metering import price_of, units_of
from sandbox.request import AggregateRequest

CLOCK_SKEW_MS: Final = 300_000
"""How far a provider's clock may lie outside of the time between a request's issue and its deadline."""


@dataclass(frozen=True, slots=True)
class ReceiptTerms:
    """What fixes a call's receipts: the request and its id, the contract, the ciphertexts of one part."""

    call: str
    request: AggregateRequest
    contract: Contract
    ciphertexts: int


def verify_part_receipt(data: bytes, *, provider: str, terms: ReceiptTerms, directory: Directory) -> Envelope:
    """Check one receipt: `provider`'s signature, and every field that is known beforehand.

    Units and price are recomputed from the contract. The commitments to response and statistic can be opened by the
    provider alone. Blocks: a receipt for another call or key, an overstated price, a back-dated clock, signature
    lines that somebody added on its way.
    Raises `PeerMisbehavedError` naming `provider`.
    """
    try:
        envelope = Envelope.decode(data)
        # The provider may have rotated its key since: then a stored answer brings a receipt by the earlier one.
        issued_ms = read_receipt(envelope).provider_clock_ms - CLOCK_SKEW_MS
        signers = [line.keyid for line in envelope.signatures]
        key = directory.party(provider).signer_at(signers, KeyPurpose.MESSAGE, issued_ms)
        payload = verify_receipt(envelope, provider_key=key, merchant_key=None)
    except MalformedError as error:
        raise PeerMisbehavedError(provider, DenialReason.MALFORMED, f"its receipt cannot be read: {error}") from error
    except AuditError as error:
        raise PeerMisbehavedError(
            provider, DenialReason.BAD_SIGNATURE, f"its receipt is not its own: {error}"
        ) from error
    if len(envelope.signatures) != 1:
        raise PeerMisbehavedError(
            provider, DenialReason.BAD_SIGNATURE, "its receipt carries further signature lines than its own"
        )
    for name, wanted in _known(provider, terms).items():
        if getattr(payload, name) != wanted:
            raise PeerMisbehavedError(
                provider,
                DenialReason.COMMITMENT_MISMATCH,
                f"its receipt says {name} {getattr(payload, name)!s:.80}, contract and request say {wanted!s:.80}",
            )
    _verify_clock(payload, terms.request)
    return envelope


def _known(provider: str, terms: ReceiptTerms) -> dict[str, object]:
    request, contract = terms.request, terms.contract
    return {
        "call": terms.call,
        "contract": request.contract,
        "provider": provider,
        "merchant": request.merchant,
        "computing_party": request.computing_party,
        "participants_digest": participants_digest(request.participants),
        "dataset": contract.datasets[provider].dataset,
        "scheme": request.key_scheme,
        "key_fingerprint": request.key_fingerprint,
        "units": units_of(contract, provider, terms.ciphertexts),
        "price_micro": price_of(contract, provider, terms.ciphertexts).total_micro,
        "currency": contract.tariff.currency,
        "merchant_nonce": request.nonce,
        "merchant_clock_ms": request.issued_at_ms,
    }


def _verify_clock(payload: ReceiptPayload, request: AggregateRequest) -> None:
    earliest, latest = request.issued_at_ms - CLOCK_SKEW_MS, request.deadline_ms + CLOCK_SKEW_MS
    if not earliest <= payload.provider_clock_ms <= latest:
        raise PeerMisbehavedError(
            payload.provider,
            DenialReason.STALE,
            f"its receipt's clock reads {payload.provider_clock_ms} ms, outside of {earliest} to {latest}",
        )
