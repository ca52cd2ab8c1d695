"""A merchant's request: what is asked (`AggregateQuery`) and what is signed (`AggregateRequest`).

The signed body binds the contract's hash, the Paillier key's fingerprint, the participant set, the computing party, the
attempt, the nonce, the audience and the deadline in clear, and the query and purpose as salted commitments, so that
a ledger can hold the request and still open one field alone. The query itself travels beside it as openings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import prod
from types import MappingProxyType
from typing import Final, TypeAlias

from audit.canonical import MAX_INTEGER, Fields, Json, canonicalise, parse_canonical
from audit.commitment import Opening, Openings, commit
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import MalformedError
from audit.keys import SigningKey
from audit.names import PARTY_PATTERN
from protocols.paillier_key import PublicKey
from sandbox.errors import ContractError, DenialReason, DeniedError
from sandbox.frame import MAX_LEVEL_LENGTH, MAX_LEVELS, MAX_SCALED, Frame, FrameColumn, Level
from sandbox.ports import Entropy
from sandbox.purpose import Purpose

AGGREGATE: Final = "aggregate"
REQUEST_FIELDS: Final = ("filters", "group_by", "purpose", "statistics")  # committed, one salt each

MAX_CELLS: Final = 100_000
MAX_STATISTICS: Final = 64
MAX_GROUP_BY: Final = 8
MAX_FILTERS: Final = 16
MAX_PARTICIPANTS: Final = 20
MAX_ATTEMPTS: Final = 16
MAX_REQUEST_BYTES: Final = 64 * 1024  # the envelope
MAX_OPENINGS_BYTES: Final = 1024 * 1024
MAX_KEY_BITS: Final = 16_384
NONCE_BYTES: Final = 16
SALT_BYTES: Final = 32


class StatisticKind(Enum):
    """What a merchant may ask for."""

    COUNT = "count"
    SUM = "sum"
    MEAN = "mean"


@dataclass(frozen=True, slots=True)
class Statistic:
    """One figure a cell. COUNT without a column counts rows; with one, its values that are not null."""

    kind: StatisticKind
    column: str | None

    def to_json(self) -> dict[str, Json]:
        """The statistic as committed."""
        body: dict[str, Json] = {"kind": self.kind.value}
        if self.column is not None:
            body["column"] = self.column
        return body


class MeasureKind(Enum):
    """A component of the sufficient statistic that the providers add up."""

    ROWS = "rows"
    NONNULL = "nonnull"
    SUM = "sum"


@dataclass(frozen=True, slots=True)
class Measure:
    """ROWS has no column; NONNULL counts a column's values that are not null; SUM adds them up in scaled units."""

    kind: MeasureKind
    column: str | None


@dataclass(frozen=True, slots=True)
class DomainFilter:
    """Keeps rows whose category is one of `values`, each of them in the column's domain."""

    column: str
    values: tuple[str, ...]

    def check(self) -> None:
        """Raise `ContractError` for a filter that keeps nothing or lists a value twice."""
        if not self.values or len(set(self.values)) != len(self.values):
            raise ContractError(f"the filter on {self.column} must list values, each once")

    def to_json(self) -> dict[str, Json]:
        """The filter as committed."""
        return {"kind": "domain", "column": self.column, "values": list(self.values)}


@dataclass(frozen=True, slots=True)
class RangeFilter:
    """Keeps rows with lo <= x < hi, or x <= hi where `hi` is the column's last edge.

    Both are declared edges in scaled units; None leaves that side open.
    """

    column: str
    lo: int | None
    hi: int | None

    def check(self) -> None:
        """Raise `ContractError` for a filter that keeps everything or nothing."""
        if self.lo is None and self.hi is None:
            raise ContractError(f"the filter on {self.column} needs lo, hi, or both")
        if self.lo is not None and self.hi is not None and self.lo >= self.hi:
            raise ContractError(f"the filter on {self.column} needs lo < hi")

    def to_json(self) -> dict[str, Json]:
        """The filter as committed."""
        body: dict[str, Json] = {"kind": "range", "column": self.column}
        if self.lo is not None:
            body["lo"] = str(self.lo)
        if self.hi is not None:
            body["hi"] = str(self.hi)
        return body


Filter: TypeAlias = DomainFilter | RangeFilter


class _FilterKind(Enum):
    DOMAIN = "domain"
    RANGE = "range"


@dataclass(frozen=True, slots=True)
class CellGrid:
    """The cells of a query: the product of its grouping columns' levels, row-major (the last column runs fastest)."""

    columns: tuple[FrameColumn, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Levels a column."""
        return tuple(column.level_count for column in self.columns)

    @property
    def size(self) -> int:
        """Number of cells; 1 without grouping columns."""
        return prod(self.shape)

    def levels(self, index: int) -> tuple[Level, ...]:
        """The level of each column in cell `index` (0 <= index < size).

        Raises:
            IndexError: no such cell.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"cell {index} of a grid of {self.size}")
        positions: list[int] = []
        for count in reversed(self.shape):
            index, position = divmod(index, count)
            positions.append(position)
        return tuple(column.level(position) for column, position in zip(self.columns, reversed(positions), strict=True))

    def labels(self, index: int) -> tuple[str, ...]:
        """The labels of cell `index`, one a column."""
        return tuple(level.label for level in self.levels(index))


@dataclass(frozen=True, slots=True)
class AggregateQuery:
    """What is asked, in logical columns.

    Raises:
        ContractError: nothing asked, something asked twice, or a limit of this module exceeded.
    """

    statistics: tuple[Statistic, ...]
    group_by: tuple[str, ...]
    filters: tuple[Filter, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.statistics) <= MAX_STATISTICS:
            raise ContractError(f"ask for 1 to {MAX_STATISTICS} statistics, not {len(self.statistics)}")
        if len(self.group_by) > MAX_GROUP_BY or len(self.filters) > MAX_FILTERS:
            raise ContractError(f"at most {MAX_GROUP_BY} grouping columns and {MAX_FILTERS} filters are allowed")
        filtered = tuple(item.column for item in self.filters)
        for what, items in (("statistic", self.statistics), ("grouping column", self.group_by), ("filter", filtered)):
            if len(set(items)) != len(items):
                raise ContractError(f"a {what} is given twice; give each once")
        for statistic in self.statistics:
            if statistic.column is None and statistic.kind is not StatisticKind.COUNT:
                raise ContractError(f"{statistic.kind.value} needs a column; only count may go without")
        for item in self.filters:
            item.check()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every logical column that the query touches, sorted."""
        asked = {statistic.column for statistic in self.statistics if statistic.column is not None}
        return tuple(sorted(asked | set(self.group_by) | {item.column for item in self.filters}))

    def measures(self, frame: Frame) -> tuple[Measure, ...]:
        """The sufficient statistic behind the query, each component once, ROWS first.

        A mean is SUM over NONNULL where the frame says that the column may be null, and SUM over ROWS otherwise. The
        whole of it is released, and is priced and graded as such.

        Raises:
            ContractError: a column is not in the frame.
        """
        measures = {Measure(MeasureKind.ROWS, None): None}
        for statistic in self.statistics:
            if statistic.column is None:
                continue
            column = frame.column(statistic.column)
            if statistic.kind is not StatisticKind.COUNT:
                measures[Measure(MeasureKind.SUM, column.name)] = None
            if statistic.kind is StatisticKind.COUNT or column.nullable:
                measures[Measure(MeasureKind.NONNULL, column.name)] = None
        return tuple(measures)

    def grid(self, frame: Frame) -> CellGrid:
        """The query's cells.

        Raises:
            ContractError: a column is not in the frame.
        """
        return CellGrid(tuple(frame.column(name) for name in self.group_by))

    def to_fields(self, purpose: Purpose) -> dict[str, bytes]:
        """The committed fields: name -> canonical JSON."""
        return {
            "statistics": canonicalise([statistic.to_json() for statistic in self.statistics]),
            "group_by": canonicalise(list(self.group_by)),
            "filters": canonicalise([item.to_json() for item in self.filters]),
            "purpose": canonicalise(purpose.to_json()),
        }


@dataclass(frozen=True, slots=True)
class RequestTerms:
    """What binds a request to its place and time. `participants` is sorted; times are milliseconds since the epoch."""

    contract: str
    merchant: str
    participants: tuple[str, ...]
    computing_party: str
    attempt: int
    issued_at_ms: int
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class AggregateRequest:
    """The signed body. `audience` are the parties that may act on it: the participants."""

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

    def to_body(self) -> dict[str, Json]:
        """The body that is signed."""
        return PayloadType.AGGREGATE_REQUEST.header() | {
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
        operation=AGGREGATE,
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
    query = AggregateQuery(
        statistics=tuple(_statistic(item) for item in _opened_list(openings, "statistics", MAX_STATISTICS)),
        group_by=tuple(_text(item, "group_by") for item in _opened_list(openings, "group_by", MAX_GROUP_BY)),
        filters=tuple(_filter(item) for item in _opened_list(openings, "filters", MAX_FILTERS)),
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


def _text(value: Json, where: str) -> str:
    if not isinstance(value, str):
        raise MalformedError(f"{where}: a column's name is text")
    return value


def _statistic(item: Json) -> Statistic:
    fields = Fields(item, where="statistics")
    kind = fields.choice("kind", StatisticKind)
    statistic = Statistic(kind, fields.optional_text("column", max_length=63))
    fields.finish()
    return statistic


def _filter(item: Json) -> Filter:
    fields = Fields(item, where="filters")
    column = fields.text("column", max_length=63)
    parsed: Filter
    match fields.choice("kind", _FilterKind):
        case _FilterKind.DOMAIN:
            parsed = DomainFilter(column, fields.texts("values", max_items=MAX_LEVELS, max_length=MAX_LEVEL_LENGTH))
        case _FilterKind.RANGE:
            lo = fields.optional_big("lo", lo=-MAX_SCALED, hi=MAX_SCALED)
            hi = fields.optional_big("hi", lo=-MAX_SCALED, hi=MAX_SCALED)
            parsed = RangeFilter(column, lo, hi)
    fields.finish()
    return parsed
