"""What authorise is given and what it gives: identities, limits, context, and the request that passed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from audit.commitment import Openings
from audit.directory import Directory, Role
from audit.envelope import Envelope
from audit.tariff import Price, Units
from protocols.aggregate import AggregateLayout
from protocols.dp_events import CostEvent
from protocols.dp_release import NoisePlan
from protocols.paillier_key import MINIMUM_BITS, PublicKey
from sandbox.contract import Contract
from sandbox.contract_record import ContractRecord
from sandbox.declaration_model import DatasetDescription
from sandbox.grades import Grade
from sandbox.privacy_terms import PrivacyTerms
from sandbox.request import AggregateQuery, AggregateRequest


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """Who the TLS certificate says is calling."""

    party: str
    role: Role
    spiffe_id: str
    legal_entity: str


class Leg(Enum):
    """Which way a request came: from the merchant itself, or forwarded by the computing party (in Offer alone)."""

    DIRECT = "direct"
    FORWARDED = "forwarded"


@dataclass(frozen=True, slots=True)
class AuthoriseLimits:
    """Clock skew and the farthest deadline in milliseconds; the shortest Paillier modulus in bits; the longest part.

    A modulus under 2048 bits can be factored: only tests lower `minimum_modulus_bits`. `part_bytes` leaves room in one
    message for the receipts and bitmaps beside a part.
    """

    skew_ms: int = 60_000
    horizon_ms: int = 15 * 60_000
    minimum_modulus_bits: int = MINIMUM_BITS
    part_bytes: int = 7 * 1024 * 1024


DEFAULT_LIMITS: Final = AuthoriseLimits()


@dataclass(frozen=True, slots=True)
class AuthoriseContext:
    """What this party knows: itself, the directory, the contract's record and the description of its own dataset.

    `record` is None where the contract is unknown, `description` where the contract's dataset version is not served.
    """

    self_party: str
    directory: Directory
    record: ContractRecord | None
    description: DatasetDescription | None
    leg: Leg
    limits: AuthoriseLimits = DEFAULT_LIMITS


@dataclass(frozen=True, slots=True)
class PrivateCall:
    """What a private request takes, by contract and declaration alone.

    `entity` is the merchant's legal entity in the directory, `terms` are the dataset's as declared now.
    """

    entity: str
    terms: PrivacyTerms
    release: NoisePlan
    cost: CostEvent


@dataclass(frozen=True, slots=True)
class Authorised:
    """A request that passed all nine checks at `provider`, and what follows from it by the contract alone.

    `private` is there for a release under differential privacy and for no other.
    """

    request: AggregateRequest
    envelope: Envelope
    openings: Openings
    query: AggregateQuery
    contract: Contract
    provider: str
    dataset: str
    call: str
    key: PublicKey
    layout: AggregateLayout
    units: Units
    price: Price
    grade: Grade
    private: PrivateCall | None = None

    @property
    def privacy_cost(self) -> CostEvent | None:
        """What the call takes of privacy budgets, None where it is exact."""
        return None if self.private is None else self.private.cost

    @property
    def price_micro(self) -> int:
        """The price in micro-units of the contract's currency."""
        return self.price.total_micro
