"""Discrepancies: what two parties' ledgers say differently about one call, as a signed, citable statement.

A discrepancy names both ledgers' heads and what each shows, so that anybody with the ledgers can look it up; it does
not say who is right, but `ledger` names whose ledger is incomplete or contradicts itself where that can be told.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from audit.canonical import Fields, JsonObject
from audit.envelope import Envelope, PayloadType, seal
from audit.keys import SigningKey
from audit.names import PARTY_PATTERN
from audit.tariff import CURRENCY_PATTERN, Units

_MAX_ORIGIN: Final = 255


class DiscrepancyKind(Enum):
    """In what two ledgers differ.

    MISSING: an acknowledged receipt, or one that a merchant holds, is in one ledger only.
    ALTERED: the ledgers hold different receipts for one call and provider, or an entry contradicts its own receipt.
    DUPLICATED: one ledger holds a receipt twice, or a second receipt for the call.
    DIFFERENTLY_PRICED: contract and units are equal and the price is not, or one ledger has the call aborted.
    """

    MISSING = "missing"
    ALTERED = "altered"
    DUPLICATED = "duplicated"
    DIFFERENTLY_PRICED = "differently-priced"


class Standing(Enum):
    """How a ledger holds a receipt: not acknowledged yet, acknowledged (so charged), or its call aborted (so not)."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    ABORTED = "aborted"


class SignatureState(Enum):
    """Whether the signatures over a receipt, as its ledger shows it, were checked by a directory, and held."""

    UNCHECKED = "unchecked"
    VERIFIED = "verified"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A receipt as one ledger shows it.

    Args:
        receipt_id: SHA-256 of the receipt's payload, recomputed.
        index: of its OUTCOME entry.
        units, price_micro, currency: as the entry records them, in micro-units of the currency.
    """

    receipt_id: str
    index: int
    standing: Standing
    units: Units
    price_micro: int
    currency: str
    signatures: SignatureState

    def to_json(self) -> JsonObject:
        """As it stands in the discrepancy."""
        return {
            "receipt_id": self.receipt_id,
            "index": self.index,
            "standing": self.standing.value,
            "units": self.units.to_json(),
            "price_micro": str(self.price_micro),
            "currency": self.currency,
            "signatures": self.signatures.value,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> "Sighting":
        """The inverse of `to_json`; raises `MalformedError`."""
        sighting = cls(
            fields.hex("receipt_id"),
            fields.integer("index"),
            fields.choice("standing", Standing),
            Units.from_json(fields.object("units")),
            fields.big("price_micro"),
            fields.text("currency", max_length=3, pattern=CURRENCY_PATTERN),
            fields.choice("signatures", SignatureState),
        )
        fields.finish()
        return sighting


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """The state in which a ledger was read: the log's origin, its size, and the RFC 6962 root in hexadecimal."""

    origin: str
    size: int
    root: str

    def to_json(self) -> JsonObject:
        """As it stands in the discrepancy."""
        return {"origin": self.origin, "size": self.size, "root": self.root}

    @classmethod
    def from_json(cls, fields: Fields) -> "LedgerHead":
        """The inverse of `to_json`; raises `MalformedError`."""
        head = cls(fields.text("origin", max_length=_MAX_ORIGIN), fields.integer("size"), fields.hex("root"))
        fields.finish()
        return head


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One difference between the ledgers of a provider and a merchant.

    Args:
        ledger: the party whose ledger lacks, repeats or contradicts; empty where both merely differ.
        call, contract: of the receipt in question, SHA-256 in hexadecimal.
        at_provider, at_merchant: the receipt as each ledger shows it, None where it does not.
        again: the second showing, in `ledger`, of what is duplicated.
    """

    kind: DiscrepancyKind
    provider: str
    merchant: str
    ledger: str
    call: str
    contract: str
    at_provider: Sighting | None
    at_merchant: Sighting | None
    again: Sighting | None = None

    def to_json(self) -> JsonObject:
        """As it stands in the discrepancy, and in `--json`."""
        body: JsonObject = {
            "kind": self.kind.value,
            "provider": self.provider,
            "merchant": self.merchant,
            "ledger": self.ledger,
            "call": self.call,
            "contract": self.contract,
        }
        shown = {"at_provider": self.at_provider, "at_merchant": self.at_merchant, "again": self.again}
        return body | {name: sighting.to_json() for name, sighting in shown.items() if sighting is not None}

    @classmethod
    def from_fields(cls, fields: Fields) -> "Finding":
        """The inverse of `to_json`; takes its own fields and leaves the rest. Raises `MalformedError`."""
        shown: dict[str, Sighting | None] = {}
        for name in ("at_provider", "at_merchant", "again"):
            given = fields.optional_object(name)
            shown[name] = None if given is None else Sighting.from_json(given)
        return cls(
            kind=fields.choice("kind", DiscrepancyKind),
            provider=fields.text("provider", pattern=PARTY_PATTERN),
            merchant=fields.text("merchant", pattern=PARTY_PATTERN),
            ledger=fields.text_or_empty("ledger", pattern=PARTY_PATTERN),
            call=fields.hex("call"),
            contract=fields.hex("contract"),
            at_provider=shown["at_provider"],
            at_merchant=shown["at_merchant"],
            again=shown["again"],
        )

    @property
    def unique_key(self) -> str:
        """The same for the same finding at a later reconciliation, so that a ledger records it once."""
        shown = (self.at_provider, self.at_merchant, self.again)
        receipts = ":".join("" if each is None else f"{each.receipt_id[:32]}@{each.index}" for each in shown)
        return f"discrepancy:{self.kind.value}:{self.provider}:{self.merchant}:{self.ledger}:{self.call}:{receipts}"


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A finding, between which states of the two ledgers, found by whom and when.

    Args:
        found_by: the party that signs.
        found_at_ms: milliseconds since the Unix epoch, by its clock.
        provider_head, merchant_head: the ledgers as they were read.
    """

    finding: Finding
    found_by: str
    found_at_ms: int
    provider_head: LedgerHead
    merchant_head: LedgerHead

    def sign(self, key: SigningKey) -> Envelope:
        """Under the finder's message key."""
        body: JsonObject = {
            **PayloadType.DISCREPANCY.header(),
            **self.finding.to_json(),
            "found_by": self.found_by,
            "found_at_ms": self.found_at_ms,
            "provider_head": self.provider_head.to_json(),
            "merchant_head": self.merchant_head.to_json(),
        }
        return seal(body, PayloadType.DISCREPANCY, key)


def read_discrepancy(envelope: Envelope) -> Discrepancy:
    """The content, its signatures unverified. Raises `MalformedError`."""
    fields = envelope.body(PayloadType.DISCREPANCY)
    discrepancy = Discrepancy(
        Finding.from_fields(fields),
        fields.text("found_by", pattern=PARTY_PATTERN),
        fields.integer("found_at_ms"),
        LedgerHead.from_json(fields.object("provider_head")),
        LedgerHead.from_json(fields.object("merchant_head")),
    )
    fields.finish()
    return discrepancy
