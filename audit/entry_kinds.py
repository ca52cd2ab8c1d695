"""The kinds of ledger entry: what each records, which of it is clear and which committed.

Clear are kinds, party names, contract and call identifiers, units, prices and times. Whatever describes a question or
an answer is a salted commitment (`audit.commitment`) or the hash of one. No personal data enters an entry.

Here are the entries about ledgers, parties and contracts; those about calls are in `audit.entry_calls`.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from audit.canonical import Fields, JsonObject
from audit.envelope import Envelope, PayloadType
from audit.errors import MalformedError
from audit.keys import VerifyingKey
from audit.names import LEGAL_ENTITY_PATTERN, PARTY_PATTERN, Role

WORD_PATTERN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")
"""A state, operation or reason code: one word, so that no free text (and nothing of a row) gets in."""
_KEY_NAME: Final = 255


class EntryKind(Enum):
    """The kinds of entry that this release writes and reads."""

    GENESIS = "genesis"
    SEAL = "seal"
    DIRECTORY = "directory"
    ENROLLED = "enrolled"
    CONTRACT = "contract"
    INTENT = "intent"
    OUTCOME = "outcome"
    ACK = "ack"
    DENIED = "denied"
    ABORTED = "aborted"
    DISCREPANCY = "discrepancy"
    LOG_KEY = "log-key"
    LOG_REFUSED = "log-refused"
    WITNESS_OVERRIDE = "witness-override"


class Side(Enum):
    """Whose view an entry gives: the ledger's owner acts in this call as provider, merchant or regulator."""

    PROVIDER = "provider"
    MERCHANT = "merchant"
    REGULATOR = "regulator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """The first entry of every ledger: whose it is and which key signs its checkpoints.

    Args:
        party: the ledger's owner.
        at_ms: milliseconds since the Unix epoch, by the owner's clock (so in every kind).
        origin: the log's origin line (https://c2sp.org/tlog-checkpoint).
        role: the owner's role.
        legal_entity: the owner's code in a public register.
        log_key: the vkey of the first log key.
    """

    party: str
    at_ms: int
    origin: str
    role: Role
    legal_entity: str
    log_key: str

    def to_fields(self) -> JsonObject:
        """The kind's own fields."""
        return {
            "origin": self.origin,
            "role": self.role.value,
            "legal_entity": self.legal_entity,
            "log_key": self.log_key,
        }

    @classmethod
    def from_fields(cls, fields: Fields, party: str, at_ms: int) -> "Genesis":
        """The inverse of `to_fields`; raises `MalformedError`."""
        return cls(
            party=party,
            at_ms=at_ms,
            origin=fields.text("origin", max_length=_KEY_NAME),
            role=fields.choice("role", Role),
            legal_entity=fields.text("legal_entity", pattern=LEGAL_ENTITY_PATTERN),
            log_key=VerifyingKey.parse(fields.text("log_key", max_length=_KEY_NAME + 64)).vkey(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """The head of the hash chain over the first `size` entries, from which a check may start anew."""

    party: str
    at_ms: int
    size: int
    chain: str

    def to_fields(self) -> JsonObject:
        """The kind's own fields."""
        return {"size": self.size, "chain": self.chain}

    @classmethod
    def from_fields(cls, fields: Fields, party: str, at_ms: int) -> "Seal":
        """The inverse of `to_fields`; raises `MalformedError`."""
        return cls(party=party, at_ms=at_ms, size=fields.integer("size", 1), chain=fields.hex("chain"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryAccepted:
    """A directory of the regulator was verified and taken: its version and the SHA-256 of its payload."""

    party: str
    at_ms: int
    version: int
    digest: str

    def to_fields(self) -> JsonObject:
        """The kind's own fields."""
        return {"version": self.version, "digest": self.digest}

    @classmethod
    def from_fields(cls, fields: Fields, party: str, at_ms: int) -> "DirectoryAccepted":
        """The inverse of `to_fields`; raises `MalformedError`."""
        return cls(party=party, at_ms=at_ms, version=fields.integer("version", 1), digest=fields.hex("digest"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """The regulator enrolled a party.

    Args:
        subject: the party enrolled.
        role: its role.
        legal_entity: its code in a public register.
        certificate: SHA-256 of the certificate's DER bytes.
        version: the directory version that lists it first so.
    """

    party: str
    at_ms: int
    subject: str
    role: Role
    legal_entity: str
    certificate: str
    version: int

    def to_fields(self) -> JsonObject:
        """The kind's own fields."""
        return {
            "subject": self.subject,
            "role": self.role.value,
            "legal_entity": self.legal_entity,
            "certificate": self.certificate,
            "version": self.version,
        }

    @classmethod
    def from_fields(cls, fields: Fields, party: str, at_ms: int) -> "Enrolled":
        """The inverse of `to_fields`; raises `MalformedError`."""
        return cls(
            party=party,
            at_ms=at_ms,
            subject=fields.text("subject", pattern=PARTY_PATTERN),
            role=fields.choice("role", Role),
            legal_entity=fields.text("legal_entity", pattern=LEGAL_ENTITY_PATTERN),
            certificate=fields.hex("certificate"),
            version=fields.integer("version", 1),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractTransition:
    """A contract came into a state.

    Args:
        contract: SHA-256 of the contract's payload.
        state: the state reached, one word.
        actor: the party that brought it there.
        digest: SHA-256 of the payload that did: the contract's own, a signed action's or a signed status's.
        reason: commitment to the actor's reason, or empty.
    """

    party: str
    at_ms: int
    contract: str
    state: str
    actor: str
    digest: str
    reason: str

    def to_fields(self) -> JsonObject:
        """The kind's own fields."""
        return {
            "contract": self.contract,
            "state": str(self.state),
            "actor": self.actor,
            "digest": self.digest,
            "reason": self.reason,
        }

    @classmethod
    def from_fields(cls, fields: Fields, party: str, at_ms: int) -> "ContractTransition":
        """The inverse of `to_fields`; raises `MalformedError`."""
        return cls(
            party=party,
            at_ms=at_ms,
            contract=fields.hex("contract"),
            state=fields.text("state", pattern=WORD_PATTERN),
            actor=fields.text("actor", pattern=PARTY_PATTERN),
            digest=fields.hex("digest"),
            reason=fields.hex_or_empty("reason"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscrepancyFound:
    """A reconciliation found two ledgers to differ; see `audit.discrepancy`.

    Args:
        discrepancy_id: SHA-256 of `discrepancy`'s payload.
        discrepancy: the statement, signed by this ledger's owner with its message key.

    Raises:
        MalformedError: the identifier is not that of a discrepancy's payload.
    """

    party: str
    at_ms: int
    discrepancy_id: str
    discrepancy: Envelope

    def __post_init__(self) -> None:
        if self.discrepancy_id != self.discrepancy.digest or self.discrepancy.payload_type != PayloadType.DISCREPANCY:
            raise MalformedError("a discrepancy_id is not the SHA-256 of a discrepancy's payload")

    def to_fields(self) -> JsonObject:
        """The kind's own fields."""
        return {"discrepancy_id": self.discrepancy_id, "discrepancy": self.discrepancy.to_json()}

    @classmethod
    def from_fields(cls, fields: Fields, party: str, at_ms: int) -> "DiscrepancyFound":
        """The inverse of `to_fields`; raises `MalformedError`."""
        return cls(
            party=party,
            at_ms=at_ms,
            discrepancy_id=fields.hex("discrepancy_id"),
            discrepancy=Envelope.from_json(fields.object("discrepancy")),
        )
