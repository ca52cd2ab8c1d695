"""Receipts: what a provider answered to whom, under which contract, for how much, signed by both sides.

The provider signs when its outcome is durable; the merchant, having seen the response, countersigns the same payload.
A receipt's identifier is the SHA-256 of that payload, whoever signed it.
"""

import re
from dataclasses import dataclass
from typing import Final

from audit.canonical import Fields, JsonObject, canonicalise
from audit.entry_calls import NONCE_BYTES
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import BadSignatureError
from audit.hashes import hex_sha256
from audit.keys import SigningKey, VerifyingKey
from audit.names import DATASET_PATTERN, PARTY_PATTERN, KeyPurpose, Role, parse_key_name
from audit.tariff import CURRENCY_PATTERN, Units

SCHEME_PATTERN: Final = re.compile(r"[a-z][a-z0-9.-]{0,31}/v[0-9]{1,3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptPayload:
    """What both sides sign.

    Args:
        call: SHA-256 of the signed request's payload.
        contract: SHA-256 of the contract's payload.
        provider: party name; merchant likewise.
        computing_party: who combined, or empty where nobody does.
        participants_digest: `participants_digest` of the request's providers.
        dataset: `<party>/<dataset>@<version>`.
        scheme: of the encryption, such as paillier-djn/v1.
        key_fingerprint: of the merchant's key under which the part is encrypted, SHA-256 in hexadecimal.
        response: commitment to the part's bytes.
        units, price_micro, currency: what it cost, in micro-units of the currency.
        merchant_nonce, provider_nonce: 16 random bytes each, in hexadecimal.
        merchant_clock_ms, provider_clock_ms: each side's own clock: when the request, when the outcome was made.
        released_statistic: commitment to the sufficient statistic released, which is what is priced and graded.
        dataset_content: commitment to the hash of the rows that it was computed from.
    """

    call: str
    contract: str
    provider: str
    merchant: str
    computing_party: str
    participants_digest: str
    dataset: str
    scheme: str
    key_fingerprint: str
    response: str
    units: Units
    price_micro: int
    currency: str
    merchant_nonce: str
    provider_nonce: str
    merchant_clock_ms: int
    provider_clock_ms: int
    released_statistic: str
    dataset_content: str

    def to_body(self) -> JsonObject:
        """The signed body."""
        return {
            **PayloadType.RECEIPT.header(),
            "call": self.call,
            "contract": self.contract,
            "provider": self.provider,
            "merchant": self.merchant,
            "computing_party": self.computing_party,
            "participants_digest": self.participants_digest,
            "dataset": self.dataset,
            "scheme": str(self.scheme),
            "key_fingerprint": self.key_fingerprint,
            "response": self.response,
            "units": self.units.to_json(),
            "price_micro": str(self.price_micro),
            "currency": self.currency,
            "merchant_nonce": self.merchant_nonce,
            "provider_nonce": self.provider_nonce,
            "merchant_clock_ms": self.merchant_clock_ms,
            "provider_clock_ms": self.provider_clock_ms,
            "released_statistic": self.released_statistic,
            "dataset_content": self.dataset_content,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> "ReceiptPayload":
        """The inverse of `to_body`, from `Fields` whose header was taken; raises `MalformedError`."""
        payload = cls(
            call=fields.hex("call"),
            contract=fields.hex("contract"),
            provider=fields.text("provider", pattern=PARTY_PATTERN),
            merchant=fields.text("merchant", pattern=PARTY_PATTERN),
            computing_party=fields.text_or_empty("computing_party", pattern=PARTY_PATTERN),
            participants_digest=fields.hex("participants_digest"),
            dataset=fields.text("dataset", pattern=DATASET_PATTERN),
            scheme=fields.text("scheme", pattern=SCHEME_PATTERN),
            key_fingerprint=fields.hex("key_fingerprint"),
            response=fields.hex("response"),
            units=Units.from_json(fields.object("units")),
            price_micro=fields.big("price_micro"),
            currency=fields.text("currency", max_length=3, pattern=CURRENCY_PATTERN),
            merchant_nonce=fields.hex("merchant_nonce", NONCE_BYTES),
            provider_nonce=fields.hex("provider_nonce", NONCE_BYTES),
            merchant_clock_ms=fields.integer("merchant_clock_ms"),
            provider_clock_ms=fields.integer("provider_clock_ms"),
            released_statistic=fields.hex("released_statistic"),
            dataset_content=fields.hex("dataset_content"),
        )
        fields.finish()
        return payload


def participants_digest(participants: tuple[str, ...]) -> str:
    """SHA-256 of the canonical JSON array of the participants' names, sorted."""
    return hex_sha256(canonicalise(sorted(participants)))


def receipt_id(envelope: Envelope) -> str:
    """The receipt's identifier: SHA-256 of its payload, in hexadecimal."""
    return envelope.digest


def read_receipt(envelope: Envelope) -> ReceiptPayload:
    """The payload, its signatures unverified: for receipts out of one's own ledger. Raises `MalformedError`."""
    return ReceiptPayload.from_fields(envelope.body(PayloadType.RECEIPT))


def issue(payload: ReceiptPayload, key: SigningKey) -> Envelope:
    """The receipt under the provider's message key.

    Raises:
        BadSignatureError: the key is not a message key of the provider that the payload names.
        MalformedError: a field of the payload is outside its form, so that nobody could read the receipt.
    """
    _check_key_holder(key.verifying_key, payload.provider, Role.PROVIDER)
    envelope = seal(payload.to_body(), PayloadType.RECEIPT, key)
    read_receipt(envelope)
    return envelope


def countersign(envelope: Envelope, key: SigningKey) -> Envelope:
    """The receipt with the merchant's signature added. Verify it and look at the response first.

    Raises:
        MalformedError: not a receipt.
        BadSignatureError: the key is not a message key of the merchant that the receipt names.
    """
    _check_key_holder(key.verifying_key, read_receipt(envelope).merchant, Role.MERCHANT)
    return envelope.sign(key)


def verify_receipt(
    envelope: Envelope, *, provider_key: VerifyingKey, merchant_key: VerifyingKey | None
) -> ReceiptPayload:
    """The payload, verified.

    Args:
        envelope: a receipt of unknown origin.
        provider_key: the provider's message key, by the directory.
        merchant_key: the merchant's, or None to ask for the provider's signature alone.

    Raises:
        MalformedError: not a receipt.
        BadSignatureError: a signature is missing or wrong, or a key belongs to another party than the payload names.
    """
    payload = read_receipt(envelope)
    _check_key_holder(provider_key, payload.provider, Role.PROVIDER)
    envelope.verify(provider_key)
    if merchant_key is not None:
        _check_key_holder(merchant_key, payload.merchant, Role.MERCHANT)
        envelope.verify(merchant_key)
    return payload


def _check_key_holder(key: VerifyingKey, party: str, role: Role) -> None:
    holder = parse_key_name(key.name)
    if (holder.party, holder.role, holder.purpose) != (party, role, KeyPurpose.MESSAGE):
        raise BadSignatureError(
            f"{key.keyid} is not the message key of the {role.value} {party}, whom the receipt names"
        )
