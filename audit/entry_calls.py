"""The entries about calls: admitted, answered, acknowledged, refused, aborted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from audit.canonical import Fields, JsonObject
from audit.entry_kinds import WORD_PATTERN, Side
from audit.entry_privacy import PrivacyTaken
from audit.envelope import Envelope, PayloadType, Signature
from audit.errors import MalformedError
from audit.names import DATASET_PATTERN, PARTY_PATTERN
from audit.tariff import CURRENCY_PATTERN, Units

MAX_PARTICIPANTS: Final = 64
MAX_COMMITMENTS: Final = 32
NONCE_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A call was admitted (provider) or is about to be sent (merchant), and its budget is taken.

    A provider's ledger has one per call, its own. A merchant's has one per call, whatever the number of providers:
    provider, dataset and provider_nonce are empty there, and units and price are sums over the providers.

    Args:
        call: SHA-256 of the signed request's payload.
        operation: one word, such as aggregate.
        computing_party: who combines, or empty where nobody does.
        participants: the request's providers, sorted.
        attempt: the request's attempt number.
        nonce: the merchant's, 16 bytes in hexadecimal; provider_nonce likewise.
        dataset: `<party>/<dataset>@<version>`.
        price_micro: by the contract's tariff, in micro-units of `currency`.
        deadline_ms: after which the call is over.
        commitments: the request's, by field.
        privacy: what it takes of a budget, absent in the entry where it is None: in a provider's, where its units hold
            epsilon.
    """

    party: str
    at_ms: int
    side: Side
    call: str
    contract: str
    operation: str
    merchant: str
    provider: str
    computing_party: str
    participants: tuple[str, ...]
    attempt: int
    nonce: str
    provider_nonce: str
    dataset: str
    units: Units
    price_micro: int
    currency: str
    deadline_ms: int
    commitments: Mapping[str, str]
    privacy: PrivacyTaken | None = None

    def __post_init__(self) -> None:
        if list(self.participants) != sorted(set(self.participants)):
            raise MalformedError("an intent's participants are sorted, each once")
        own = (self.provider, self.provider_nonce, self.dataset)
        if self.side is Side.PROVIDER and not all(own):
            raise MalformedError("a provider's intent names provider, provider_nonce and dataset")
        if self.side is not Side.PROVIDER and any(own):
            raise MalformedError("only a provider's intent names provider, provider_nonce and dataset")

    def to_fields(self) -> JsonObject:
        """The kind's own fields."""
        privacy: JsonObject = {} if self.privacy is None else {"privacy": self.privacy.to_fields()}
        return {
            **privacy,
            "side": self.side.value,
            "call": self.call,
            "contract": self.contract,
            "operation": str(self.operation),
            "merchant": self.merchant,
            "provider": self.provider,
            "computing_party": self.computing_party,
            "participants": self.participants,
            "attempt": self.attempt,
            "nonce": self.nonce,
            "provider_nonce": self.provider_nonce,
            "dataset": self.dataset,
            "units": self.units.to_json(),
            "price_micro": str(self.price_micro),
            "currency": self.currency,
            "deadline_ms": self.deadline_ms,
            "commitments": self.commitments,
        }

    @classmethod
    def from_fields(cls, fields: Fields, party: str, at_ms: int) -> "Intent":
        """The inverse of `to_fields`; raises `MalformedError`."""
        privacy = fields.optional_object("privacy")
        return cls(
            party=party,
            at_ms=at_ms,
            privacy=None if privacy is None else PrivacyTaken.from_fields(privacy),
            side=fields.choice("side", Side),
            call=fields.hex("call"),
            contract=fields.hex("contract"),
            operation=fields.text("operation", pattern=WORD_PATTERN),
            merchant=fields.text("merchant", pattern=PARTY_PATTERN),
            provider=fields.text_or_empty("provider", pattern=PARTY_PATTERN),
            computing_party=fields.text_or_empty("computing_party", pattern=PARTY_PATTERN),
            participants=fields.texts("participants", max_items=MAX_PARTICIPANTS, pattern=PARTY_PATTERN),
            attempt=fields.integer("attempt", 0, 2**31 - 1),
            nonce=fields.hex("nonce", NONCE_BYTES),
            provider_nonce=fields.hex_or_empty("provider_nonce", NONCE_BYTES),
            dataset=fields.text_or_empty("dataset", pattern=DATASET_PATTERN),
            units=Units.from_json(fields.object("units")),
            price_micro=fields.big("price_micro"),
            currency=fields.text("currency", max_length=3, pattern=CURRENCY_PATTERN),
            deadline_ms=fields.integer("deadline_ms"),
            commitments=fields.hex_map("commitments", max_items=MAX_COMMITMENTS),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A provider's part was computed; durable before it leaves.

    In a provider's ledger the receipt bears the provider's signature; in a merchant's there is one entry per provider's
    receipt, with the merchant's signature beside.

    Args:
        call: SHA-256 of `request`'s payload.
        receipt_id: SHA-256 of `receipt`'s payload.
        request: the merchant's signed request, as received.
        receipt: see `audit.receipt`.
        price_micro: by the contract's tariff, in micro-units of `currency`.

    Raises:
        MalformedError: the call or receipt identifier is not the hash of what the entry carries.
    """

    party: str
    at_ms: int
    side: Side
    call: str
    contract: str
    receipt_id: str
    request: Envelope
    receipt: Envelope
    units: Units
    price_micro: int
    currency: str

    def __post_init__(self) -> None:
        if self.call != self.request.digest:
            raise MalformedError("an outcome's call is not the SHA-256 of its request's payload")
        if self.receipt_id != self.receipt.digest or self.receipt.payload_type != PayloadType.RECEIPT:
            raise MalformedError("an outcome's receipt_id is not the SHA-256 of a receipt's payload")

    def to_fields(self) -> JsonObject:
        """The kind's own fields."""
        return {
            "side": self.side.value,
            "call": self.call,
            "contract": self.contract,
            "receipt_id": self.receipt_id,
            "request": self.request.to_json(),
            "receipt": self.receipt.to_json(),
            "units": self.units.to_json(),
            "price_micro": str(self.price_micro),
            "currency": self.currency,
        }

    @classmethod
    def from_fields(cls, fields: Fields, party: str, at_ms: int) -> "Outcome":
        """The inverse of `to_fields`; raises `MalformedError`."""
        return cls(
            party=party,
            at_ms=at_ms,
            side=fields.choice("side", Side),
            call=fields.hex("call"),
            contract=fields.hex("contract"),
            receipt_id=fields.hex("receipt_id"),
            request=Envelope.from_json(fields.object("request")),
            receipt=Envelope.from_json(fields.object("receipt")),
            units=Units.from_json(fields.object("units")),
            price_micro=fields.big("price_micro"),
            currency=fields.text("currency", max_length=3, pattern=CURRENCY_PATTERN),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """The merchant, having seen the response, countersigned the receipt: `signature` is over the receipt's payload."""

    party: str
    at_ms: int
    side: Side
    call: str
    contract: str
    receipt_id: str
    signature: Signature

    def to_fields(self) -> JsonObject:
        """The kind's own fields."""
        return {
            "side": self.side.value,
            "call": self.call,
            "contract": self.contract,
            "receipt_id": self.receipt_id,
            "signature": self.signature.to_json(),
        }

    @classmethod
    def from_fields(cls, fields: Fields, party: str, at_ms: int) -> "Ack":
        """The inverse of `to_fields`; raises `MalformedError`."""
        return cls(
            party=party,
            at_ms=at_ms,
            side=fields.choice("side", Side),
            call=fields.hex("call"),
            contract=fields.hex("contract"),
            receipt_id=fields.hex("receipt_id"),
            signature=Signature.from_json(fields.object("signature")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """A call was refused and nothing computed.

    Args:
        identity: the SPIFFE ID of the connection, or empty where none was established.
        merchant: the merchant named by the request, or empty where it could not be read; call and contract likewise.
        reason: the reason code, one word.
        clause: the clause of the contract or the rule that refused, at most 256 characters.
        check: the number of the check that refused; 0 for admission and everything before the checks.
        count: how many refusals this entry stands for (past the limit a minute they are collapsed into one).
    """

    party: str
    at_ms: int
    side: Side
    identity: str
    merchant: str
    call: str
    contract: str
    reason: str
    clause: str
    check: int
    count: int

    def to_fields(self) -> JsonObject:
        """The kind's own fields."""
        return {
            "side": self.side.value,
            "identity": self.identity,
            "merchant": self.merchant,
            "call": self.call,
            "contract": self.contract,
            "reason": str(self.reason),
            "clause": self.clause,
            "check": self.check,
            "count": self.count,
        }

    @classmethod
    def from_fields(cls, fields: Fields, party: str, at_ms: int) -> "Denied":
        """The inverse of `to_fields`; raises `MalformedError`."""
        return cls(
            party=party,
            at_ms=at_ms,
            side=fields.choice("side", Side),
            identity=fields.text_or_empty("identity"),
            merchant=fields.text_or_empty("merchant", pattern=PARTY_PATTERN),
            call=fields.hex_or_empty("call"),
            contract=fields.hex_or_empty("contract"),
            reason=fields.text("reason", pattern=WORD_PATTERN),
            clause=fields.text_or_empty("clause"),
            check=fields.integer("check", 0, 99),
            count=fields.integer("count", 1),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Aborted:
    """An admitted call ended without a result. Its fee is zero.

    Args:
        reason: the reason code, one word.
        released: whether parts may have left; then calls and privacy stay spent, else they are given back.
    """

    party: str
    at_ms: int
    side: Side
    call: str
    contract: str
    reason: str
    released: bool

    def to_fields(self) -> JsonObject:
        """The kind's own fields."""
        return {
            "side": self.side.value,
            "call": self.call,
            "contract": self.contract,
            "reason": str(self.reason),
            "released": self.released,
        }

    @classmethod
    def from_fields(cls, fields: Fields, party: str, at_ms: int) -> "Aborted":
        """The inverse of `to_fields`; raises `MalformedError`."""
        return cls(
            party=party,
            at_ms=at_ms,
            side=fields.choice("side", Side),
            call=fields.hex("call"),
            contract=fields.hex("contract"),
            reason=fields.text("reason", pattern=WORD_PATTERN),
            released=fields.boolean("released"),
        )
