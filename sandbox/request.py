"""A merchant's request: what is signed around what is asked (`sandbox.query`).

The signed body binds the contract's hash, the Paillier key's fingerprint, the participant set, the computing party, the
attempt, the nonce, the audience and the deadline in clear, and the query and purpose as salted commitments, so that
a ledger can hold the request and still open one field alone. The query itself travels beside it as openings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from audit.canonical import MAX_INTEGER, Fields, Json, parse_canonical
from audit.commitment import Opening, Openings, commit
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import MalformedError
from audit.keys import SigningKey
from audit.names import PARTY_PATTERN
from protocols.paillier_key import PublicKey
from sandbox.errors import DenialReason, DeniedError
from sandbox.frame import Frame
from sandbox.ports import Entropy
from sandbox.purpose import Purpose
from sandbox.query import (
    MAX_CELLS,
    MAX_FILTERS,
    MAX_GROUP_BY,
    MAX_STATISTICS,
    AggregateQuery,
    CellGrid,
    CellTable,
    DomainFilter,
    Filter,
    RangeFilter,
)
from sandbox.statistic import Measure, Statistic, StatisticKind

__all__ = [
    "AGGREGATE",
    "DP_AGGREGATE",
    "MAX_ATTEMPTS",
    "MAX_CELLS",
    "MAX_FILTERS",
    "MAX_GROUP_BY",
    "MAX_KEY_BITS",
    "MAX_OPENINGS_BYTES",
    "MAX_PARTICIPANTS",
    "MAX_REQUEST_BYTES",
    "MAX_STATISTICS",
    "NONCE_BYTES",
    "REQUEST_FIELDS",
    "SALT_BYTES",
    "AggregateQuery",
    "AggregateRequest",
    "CellGrid",
    "CellTable",
    "DomainFilter",
    "Filter",
    "Measure",
    "ParsedRequest",
    "RangeFilter",
    "RequestTerms",
    "Statistic",
    "StatisticKind",
    "build_request",
    "parse_purpose",
    "parse_query",
    "parse_request",
    "sign_request",
]

AGGREGATE: Final = "aggregate"
DP_AGGREGATE: Final = "dp_aggregate"
REQUEST_FIELDS: Final = ("filters", "group_by", "purpose", "statistics")  # committed, one salt each

MAX_PARTICIPANTS: Final = 20
MAX_ATTEMPTS: Final = 16
MAX_REQUEST_BYTES: Final = 64 * 1024  # the envelope
MAX_OPENINGS_BYTES: Final = 1024 * 1024
MAX_KEY_BITS: Final = 16_384
NONCE_BYTES: Final = 16
SALT_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class RequestTerms:
    """What binds a request to its place and time. `participants` is sorted; times are milliseconds since the epoch.

    `micro_epsilon`, in millionths, is what a private release may cost; None asks for an exact one.
    """

    contract: str
    merchant: str
    participants: tuple[str, ...]
    computing_party: str
    attempt: int
    issued_at_ms: int
    deadline_ms: int
    micro_epsilon: int | None = None


@dataclass(frozen=True, slots=True)
class AggregateRequest:
    """The signed body. `audience` are the parties that may act on it: the participants.

    `micro_epsilon` is there in a private request, in clear, and absent in an exact one; authorise judges its value.
    """

    contract: str
    operation: str
    merchant: str
    participants: tuple[str, ...]
    computing_party: str
    attempt: int
    nonce: str
    audience: tuple[str, ...]
    issued_at_ms: int
    deadline_ms: int
    key_fingerprint: str
    key_scheme: str
    key_bits: int
    commitments: Mapping[str, str]
    micro_epsilon: int | None = None

    def to_body(self) -> dict[str, Json]:
        """The body that is signed."""
        epsilon: dict[str, Json] = {} if self.micro_epsilon is None else {"micro_epsilon": self.micro_epsilon}
        return PayloadType.AGGREGATE_REQUEST.header() | {
            **epsilon,
            "contract": self.contract,
            "operation": self.operation,
            "merchant": self.merchant,
            "participants": list(self.participants),
            "computing_party": self.computing_party,
            "attempt": self.attempt,
            "nonce": self.nonce,
            "audience": list(self.audience),
            "issued_at_ms": self.issued_at_ms,
            "deadline_ms": self.deadline_ms,
            "key": {"fingerprint": self.key_fingerprint, "scheme": self.key_scheme, "bits": self.key_bits},
            "commitments": dict(self.commitments),
        }

    @classmethod
    def from_envelope(cls, envelope: Envelope, *, limit: int = MAX_REQUEST_BYTES) -> AggregateRequest:
        """Read the signed bytes as received; the signatures are the caller's to verify.

        Raises:
            MalformedError: another kind of body, unknown or missing fields, or values out of their range.
        """
        fields = envelope.body(PayloadType.AGGREGATE_REQUEST, limit=limit)
        key = fields.object("key")
        request = cls(
            contract=fields.hex("contract", 32),
            operation=fields.text("operation", max_length=40),
            merchant=fields.text("merchant", pattern=PARTY_PATTERN),
            participants=_parties(fields, "participants"),
            computing_party=fields.text("computing_party", pattern=PARTY_PATTERN),
            attempt=fields.integer("attempt", 1, MAX_ATTEMPTS),
            nonce=fields.hex("nonce", NONCE_BYTES),
            audience=_parties(fields, "audience"),
            issued_at_ms=fields.integer("issued_at_ms", 0, MAX_INTEGER),
            deadline_ms=fields.integer("deadline_ms", 0, MAX_INTEGER),
            key_fingerprint=key.hex("fingerprint", 32),
            key_scheme=key.text("scheme", max_length=40),
            key_bits=key.integer("bits", 1, MAX_KEY_BITS),
            commitments=_commitments(fields.object("commitments")),
            micro_epsilon=fields.optional_integer("micro_epsilon", -MAX_INTEGER, MAX_INTEGER),
        )
        key.finish()
        fields.finish()
        return request


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request as received: `call` is its id, the hex SHA-256 of the signed bytes. Nothing in it is verified yet."""

    request: AggregateRequest
    envelope: Envelope
    call: str


def build_request(
    terms: RequestTerms, query: AggregateQuery, purpose: Purpose, key: PublicKey, entropy: Entropy
) -> tuple[AggregateRequest, Openings]:
    """Make a request and the openings of its commitments, with a fresh nonce and one fresh salt a field."""
    openings: Openings = {
        name: Opening(entropy.token(SALT_BYTES), value) for name, value in query.to_fields(purpose).items()
    }
    request = AggregateRequest(
        contract=terms.contract,
        operation=AGGREGATE if terms.micro_epsilon is None else DP_AGGREGATE,
        merchant=terms.merchant,
        participants=terms.participants,
        computing_party=terms.computing_party,
        attempt=terms.attempt,
        nonce=entropy.token(NONCE_BYTES).hex(),
        audience=terms.participants,
        issued_at_ms=terms.issued_at_ms,
        deadline_ms=terms.deadline_ms,
        key_fingerprint=key.fingerprint,
        key_scheme=key.scheme.value,
        key_bits=key.bits,
        commitments=MappingProxyType(
            {name: commit(name, opening.salt, opening.value) for name, opening in openings.items()}
        ),
        micro_epsilon=terms.micro_epsilon,
    )
    return request, openings


def sign_request(request: AggregateRequest, key: SigningKey) -> Envelope:
    """Seal a request with the merchant's message key."""
    return seal(request.to_body(), PayloadType.AGGREGATE_REQUEST, key)


def parse_request(envelope_bytes: bytes, limit: int = MAX_REQUEST_BYTES) -> ParsedRequest:
    """Decode an envelope of at most `limit` bytes that holds a request. Nothing is verified.

    Raises:
        MalformedError: no envelope, another payload type, or a malformed body.
    """
    envelope = Envelope.decode(envelope_bytes, limit=limit)
    return ParsedRequest(AggregateRequest.from_envelope(envelope, limit=limit), envelope, envelope.digest)


def parse_query(openings: Openings, frame: Frame) -> AggregateQuery:
    """Read the query from openings that have been verified against the request's commitments.

    Raises:
        MalformedError: a field is missing or malformed.
        ContractError: the query asks nothing, something twice, or too much.
        DeniedError: COLUMN_NOT_PERMITTED, a column is not in the contract's frame.
    """
    query = AggregateQuery.from_json(
        _opened_list(openings, "statistics", MAX_STATISTICS),
        _opened_list(openings, "group_by", MAX_GROUP_BY),
        _opened_list(openings, "filters", MAX_FILTERS),
    )
    for name in query.columns:
        if name not in frame:
            known = ", ".join(column.name for column in frame.columns)
            detail = f"the contract's frame has no column {name[:80]!r}; it has {known}"
            raise DeniedError(DenialReason.COLUMN_NOT_PERMITTED, f"uses.{name[:80]}", detail, check=6)
    return query


def parse_purpose(openings: Openings) -> Purpose:
    """Read the purpose from verified openings.

    Raises:
        MalformedError: the field is missing or malformed.
        ContractError: as for `Purpose`.
    """
    return Purpose.from_json(Fields(_opened(openings, "purpose"), where="purpose"))


def _commitments(fields: Fields) -> Mapping[str, str]:
    commitments = {name: fields.hex(name, 32) for name in REQUEST_FIELDS}
    fields.finish()
    return MappingProxyType(commitments)


def _parties(fields: Fields, name: str) -> tuple[str, ...]:
    parties = fields.texts(name, max_items=MAX_PARTICIPANTS, pattern=PARTY_PATTERN)
    if not parties or list(parties) != sorted(set(parties)):
        raise MalformedError(f"{name}: 1 to {MAX_PARTICIPANTS} parties, sorted, each once")
    return parties


def _opened(openings: Openings, name: str) -> Json:
    if name not in openings:
        raise MalformedError(f"the opening of {name} is missing; send all of {', '.join(REQUEST_FIELDS)}")
    return parse_canonical(openings[name].value, limit=MAX_OPENINGS_BYTES)


def _opened_list(openings: Openings, name: str, limit: int) -> list[Json]:
    value = _opened(openings, name)
    if not isinstance(value, list) or len(value) > limit:
        raise MalformedError(f"{name} must be a list of at most {limit} items")
    return value
