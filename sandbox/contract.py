"""The usage contract 数字合约: one frozen document that merchant, providers and, at need, the regulator sign.

Its id is the hash of the bytes that were signed. This module knows the document's form and the rules that it can check
alone; `contract_checks` holds it against the directory, the signatures and a provider's declaration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

from audit.canonical import Fields, Json
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import MalformedError
from audit.keys import SigningKey
from audit.names import DATASET_PATTERN, PARTY_PATTERN
from audit.tariff import Tariff
from sandbox.errors import ContractError
from sandbox.frame import MAX_COLUMNS, Frame, Use
from sandbox.grades import Grade, strictest
from sandbox.privacy_terms import AgreedPrivacy
from sandbox.purpose import Purpose
from sandbox.release import ReleaseMode, ReleasePolicy

__all__ = [
    "MAX_CONTRACT_BYTES",
    "MAX_PROVIDERS",
    "Contract",
    "DatasetBinding",
    "FeeSplit",
    "Operation",
    "Purpose",
    "Quotas",
    "Validity",
    "parse_contract",
    "sign_contract",
]

MAX_CONTRACT_BYTES: Final = 1024 * 1024  # the envelope
MAX_PROVIDERS: Final = 20
MAX_OBLIGATIONS: Final = 50
MAX_OBLIGATION_LENGTH: Final = 500  # characters
MAX_CALLS: Final = 10**9
MAX_DECLARED_ROWS: Final = 2**32 - 1
MIN_LEASE_MS: Final = 1_000  # a provider asks three times a lease; faster than that says nothing
MAX_LEASE_MS: Final = 30 * 24 * 3_600_000
MAX_VALIDITY_MS: Final = 10 * 366 * 24 * 3_600_000
NONCE_BYTES: Final = 16

_Choice = TypeVar("_Choice", bound=Enum)


class Operation(StrEnum):
    """What a contract may permit to be run."""

    AGGREGATE = "aggregate"
    DP_AGGREGATE = "dp_aggregate"

    @property
    def mode(self) -> ReleaseMode:
        """The release mode of the datasets that it runs over."""
        return ReleaseMode.DP if self is Operation.DP_AGGREGATE else ReleaseMode.EXACT


class FeeSplit(Enum):
    """How fees fall to the providers. BY_TARIFF: each is paid for its own units at the contract's tariff."""

    BY_TARIFF = "by_tariff"


@dataclass(frozen=True, slots=True)
class DatasetBinding:
    """One provider's dataset `<party>/<dataset>@<version>`, its declared size, and logical -> declared column names."""

    dataset: str
    declared_rows: int
    columns: Mapping[str, str]

    def to_json(self) -> dict[str, Json]:
        """As signed."""
        return {"dataset": self.dataset, "declared_rows": self.declared_rows, "columns": dict(self.columns)}

    @classmethod
    def from_json(cls, fields: Fields) -> DatasetBinding:
        """The inverse of `to_json`; raises `MalformedError`."""
        binding = cls(
            fields.text("dataset", max_length=128, pattern=DATASET_PATTERN),
            fields.integer("declared_rows", 1, MAX_DECLARED_ROWS),
            MappingProxyType(fields.text_map("columns", max_items=MAX_COLUMNS, max_length=63)),
        )
        fields.finish()
        return binding


@dataclass(frozen=True, slots=True)
class Quotas:
    """What the merchant may use up at each provider over the contract's life.

    `micro_epsilon` bounds the privacy spent under this contract; 0 where only exact totals are released.
    """

    calls: int
    ciphertexts: int
    micro_epsilon: int = 0

    def to_json(self) -> dict[str, Json]:
        """As signed."""
        return {
            "calls": self.calls,
            "ciphertexts": str(self.ciphertexts),
            "micro_epsilon": str(self.micro_epsilon),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Quotas:
        """The inverse of `to_json`; raises `MalformedError`."""
        quotas = cls(
            fields.integer("calls", 1, MAX_CALLS), fields.big("ciphertexts", lo=1), fields.big("micro_epsilon")
        )
        fields.finish()
        return quotas


@dataclass(frozen=True, slots=True)
class Validity:
    """In force from `not_before_ms` until just before `not_after_ms`, milliseconds since the epoch."""

    not_before_ms: int
    not_after_ms: int

    def to_json(self) -> dict[str, Json]:
        """As signed."""
        return {"not_before_ms": self.not_before_ms, "not_after_ms": self.not_after_ms}

    @classmethod
    def from_json(cls, fields: Fields) -> Validity:
        """The inverse of `to_json`; raises `MalformedError`."""
        validity = cls(fields.integer("not_before_ms"), fields.integer("not_after_ms"))
        fields.finish()
        return validity


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The document.

    `uses` and `grades` have an entry for every column of the frame; `datasets` has one for every provider and maps
    every column. `fee_cap_micro` bounds what each provider may earn over the contract's life. `lease_ms` is how long a
    provider goes on without hearing from the regulator. `supersedes` is the id of an earlier contract, or "". `privacy`
    is there where totals are released under differential privacy, and nowhere else.

    Raises:
        ContractError: the fields contradict one another.
    """

    merchant: str
    providers: tuple[str, ...]
    computing_party: str
    regulator: str
    frame: Frame
    datasets: Mapping[str, DatasetBinding]
    uses: Mapping[str, frozenset[Use]]
    grades: Mapping[str, Grade]
    operations: tuple[Operation, ...]
    purpose: Purpose
    onward_sharing: bool
    release: ReleasePolicy
    quotas: Quotas
    validity: Validity
    tariff: Tariff
    fee_cap_micro: int
    fee_split: FeeSplit
    lease_ms: int
    obligations: tuple[str, ...]
    supersedes: str
    created_at_ms: int
    nonce: str
    privacy: AgreedPrivacy | None = None

    def __post_init__(self) -> None:
        self._check_parties()
        self._check_columns()
        self._check_terms()
        self._check_release()

    @property
    def grade(self) -> Grade:
        """The strictest grade of its columns: what a result over all of them carries."""
        return strictest(self.grades.values())

    @property
    def single_provider(self) -> bool:
        """Whether one provider alone answers, so that its own totals are what the merchant sees."""
        return len(self.providers) == 1

    @property
    def parties(self) -> frozenset[str]:
        """Everyone whose signature or supervision the contract names."""
        return frozenset({self.merchant, self.regulator, *self.providers})

    def grade_of(self, columns: tuple[str, ...]) -> Grade:
        """The grade that a result over these logical columns carries; general over none."""
        return strictest(self.grades[name] for name in columns)

    def _check_parties(self) -> None:
        if not 1 <= len(self.providers) <= MAX_PROVIDERS or list(self.providers) != sorted(set(self.providers)):
            raise ContractError(f"providers: 1 to {MAX_PROVIDERS}, sorted, each once")
        if self.merchant in self.providers or self.regulator in {self.merchant, *self.providers}:
            raise ContractError("merchant, regulator and providers must be different parties")
        if self.computing_party not in self.providers:
            raise ContractError(f"computing_party: {self.computing_party!r:.40} is none of the contract's providers")

    def _check_columns(self) -> None:
        names = {column.name for column in self.frame.columns}
        for clause, keys in (("uses", self.uses.keys()), ("grades", self.grades.keys())):
            if set(keys) != names:
                raise ContractError(f"{clause} must name every column of the frame and no other")
        if set(self.datasets) != set(self.providers):
            raise ContractError("datasets must have one entry for every provider and no other")
        for party, binding in self.datasets.items():
            if not binding.dataset.startswith(f"{party}/"):
                raise ContractError(f"datasets.{party}: {binding.dataset!r:.80} is not this provider's dataset")
            if set(binding.columns) != names or len(set(binding.columns.values())) != len(names):
                raise ContractError(f"datasets.{party}.columns must map every column of the frame, each to another")
        for column in self.frame.columns:
            uses = self.uses[column.name]
            if not uses:
                raise ContractError(f"uses.{column.name}: permit at least one use or leave the column out")
            if uses & {Use.GROUP_BY, Use.FILTER} and not column.level_count:
                raise ContractError(
                    f"uses.{column.name}: a number needs bin edges in the frame to be grouped or filtered"
                )

    def _check_terms(self) -> None:
        if not self.operations or list(self.operations) != sorted(set(self.operations)):
            raise ContractError("operations: at least one, sorted, each once")
        if self.onward_sharing:
            raise ContractError("onward_sharing must be false: results are for this merchant and this purpose alone")
        if not self.validity.not_before_ms < self.validity.not_after_ms:
            raise ContractError("validity ends before it begins")
        if self.validity.not_after_ms - self.validity.not_before_ms > MAX_VALIDITY_MS:
            raise ContractError("validity lasts more than ten years; make it shorter and renew it")
        if not MIN_LEASE_MS <= self.lease_ms <= MAX_LEASE_MS:
            raise ContractError(f"lease_ms must be {MIN_LEASE_MS} to {MAX_LEASE_MS} (one second to 30 days)")

    def _check_release(self) -> None:
        mode = self.release.mode
        if any(operation.mode is not mode for operation in self.operations):
            raise ContractError(f"operations: a contract in release mode {mode.value} has those of that mode alone")
        if (mode is ReleaseMode.DP) != (self.privacy is not None):
            raise ContractError("privacy: the terms are for release mode dp, which needs them, and for no other")
        if self.privacy is not None:
            self._check_privacy(self.privacy)
            return
        if self.release.min_contributors > len(self.providers):
            raise ContractError(
                "release.min_contributors is more than there are providers, so that every cell would be closed: "
                "set min_contributors under [release], 1 for a provider that answers alone"
            )
        if self.release.min_contributors < 2 and not self.single_provider:
            raise ContractError("release.min_contributors must be at least 2 where several providers answer jointly")

    def _check_privacy(self, privacy: AgreedPrivacy) -> None:
        privacy.check(len(self.providers))
        if not self.quotas.micro_epsilon:
            raise ContractError("quotas.micro_epsilon must be positive in release mode dp: every call takes epsilon")
        for column in self.frame.columns:
            if Use.AGGREGATE in self.uses[column.name] and column.lo is not None and column.lo == column.hi:
                raise ContractError(f"uses.{column.name}: its bounds hold one value, of which nothing is to be told")

    def to_body(self) -> dict[str, Json]:
        """The body that is signed."""
        privacy: dict[str, Json] = {} if self.privacy is None else {"privacy": self.privacy.to_json()}
        return PayloadType.CONTRACT.header() | {
            "merchant": self.merchant,
            "providers": list(self.providers),
            "computing_party": self.computing_party,
            "regulator": self.regulator,
            "frame": self.frame.to_json(),
            "datasets": {party: binding.to_json() for party, binding in self.datasets.items()},
            "uses": {name: sorted(use.value for use in uses) for name, uses in self.uses.items()},
            "grades": {name: grade.value for name, grade in self.grades.items()},
            "grade": self.grade.value,
            "operations": [operation.value for operation in self.operations],
            "purpose": self.purpose.to_json(),
            "onward_sharing": self.onward_sharing,
            "release": self.release.to_json(),
            **privacy,
            "quotas": self.quotas.to_json(),
            "validity": self.validity.to_json(),
            "tariff": self.tariff.to_json(),
            "fee_cap_micro": str(self.fee_cap_micro),
            "fee_split": self.fee_split.value,
            "lease_ms": self.lease_ms,
            "obligations": list(self.obligations),
            "supersedes": self.supersedes,
            "created_at_ms": self.created_at_ms,
            "nonce": self.nonce,
        }

    @classmethod
    def from_body(cls, fields: Fields) -> Contract:
        """Read a body whose header has been taken.

        Raises:
            MalformedError: a field is missing, unknown, of the wrong type or out of range.
            ContractError: the fields contradict one another.
        """
        frame = Frame.from_json(fields.objects("frame", max_items=MAX_COLUMNS))
        privacy = fields.optional_object("privacy")
        contract = cls(
            merchant=fields.text("merchant", pattern=PARTY_PATTERN),
            providers=fields.texts("providers", max_items=MAX_PROVIDERS, pattern=PARTY_PATTERN),
            computing_party=fields.text("computing_party", pattern=PARTY_PATTERN),
            regulator=fields.text("regulator", pattern=PARTY_PATTERN),
            frame=frame,
            datasets=_datasets(fields),
            uses=_uses(fields.object("uses"), frame),
            grades=_grades(fields.object("grades"), frame),
            operations=_members(fields.texts("operations", max_items=len(Operation)), Operation, "operations"),
            purpose=Purpose.from_json(fields.object("purpose")),
            onward_sharing=fields.boolean("onward_sharing"),
            release=ReleasePolicy.from_json(fields.object("release")),
            quotas=Quotas.from_json(fields.object("quotas")),
            validity=Validity.from_json(fields.object("validity")),
            tariff=Tariff.from_json(fields.object("tariff")),
            fee_cap_micro=fields.big("fee_cap_micro"),
            fee_split=fields.choice("fee_split", FeeSplit),
            lease_ms=fields.integer("lease_ms", 0, MAX_LEASE_MS),
            obligations=fields.texts("obligations", max_items=MAX_OBLIGATIONS, max_length=MAX_OBLIGATION_LENGTH),
            supersedes=fields.hex_or_empty("supersedes"),
            created_at_ms=fields.integer("created_at_ms"),
            nonce=fields.hex("nonce", NONCE_BYTES),
            privacy=None if privacy is None else AgreedPrivacy.from_json(privacy),
        )
        if fields.choice("grade", Grade) is not contract.grade:
            raise ContractError(f"grade must be {contract.grade.value}, the strictest of its columns")
        fields.finish()
        return contract


def sign_contract(contract: Contract, key: SigningKey) -> Envelope:
    """Seal a contract with the merchant's message key; the others then sign the same bytes."""
    return seal(contract.to_body(), PayloadType.CONTRACT, key)


def parse_contract(envelope: Envelope) -> Contract:
    """Read the contract of an envelope as received. No signature is verified.

    Raises:
        MalformedError: another kind of body, or a malformed one.
        ContractError: the fields contradict one another.
    """
    return Contract.from_body(envelope.body(PayloadType.CONTRACT, limit=MAX_CONTRACT_BYTES))


def _datasets(fields: Fields) -> Mapping[str, DatasetBinding]:
    bindings = fields.object_map("datasets", max_items=MAX_PROVIDERS)
    return MappingProxyType({party: DatasetBinding.from_json(binding) for party, binding in bindings.items()})


def _uses(fields: Fields, frame: Frame) -> Mapping[str, frozenset[Use]]:
    uses = {
        column.name: frozenset(_members(fields.texts(column.name, max_items=len(Use)), Use, f"uses.{column.name}"))
        for column in frame.columns
    }
    fields.finish()
    return MappingProxyType(uses)


def _grades(fields: Fields, frame: Frame) -> Mapping[str, Grade]:
    grades = {column.name: fields.choice(column.name, Grade) for column in frame.columns}
    fields.finish()
    return MappingProxyType(grades)


def _members(values: tuple[str, ...], choices: type[_Choice], where: str) -> tuple[_Choice, ...]:
    members = {str(choice.value): choice for choice in choices}
    if list(values) != sorted(set(values)) or not set(values) <= set(members):
        raise MalformedError(f"{where}: must be sorted, each once, out of {', '.join(members)}")
    return tuple(members[value] for value in values)
