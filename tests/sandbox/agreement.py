"""One deterministic agreement: three providers, a merchant, a regulator, their directory, contract and requests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from audit.commitment import Openings, encode_openings
from audit.directory import Directory, KeyRecord, KeyStatus, PartyRecord
from audit.envelope import Envelope
from audit.keys import SigningKey
from audit.ledger import Ledger, LedgerConfig, LedgerIdentity
from audit.names import KeyPurpose, Role, dns_name, key_name, spiffe_id
from audit.tariff import Tariff
from protocols.paillier_key import PrivateKey, PublicKey, Scheme, generate_key
from sandbox.authorised import AuthoriseContext, AuthoriseLimits, Leg, PeerIdentity
from sandbox.contract import Contract, DatasetBinding, FeeSplit, Operation, Quotas, Validity, sign_contract
from sandbox.contract_book import ContractBook
from sandbox.contract_record import ContractRecord
from sandbox.contract_states import ContractState
from sandbox.declaration_model import ColumnDescription, DatasetDescription, OnViolation, Sharing
from sandbox.frame import ColumnType, Frame, FrameColumn, Use
from sandbox.grades import Grade
from sandbox.purpose import Purpose
from sandbox.release import OwnTotals, ReleaseMode, ReleasePolicy
from sandbox.request import (
    AggregateQuery,
    AggregateRequest,
    DomainFilter,
    RangeFilter,
    RequestTerms,
    Statistic,
    StatisticKind,
    build_request,
    parse_request,
    sign_request,
)
from sandbox.vault import Vault

DOMAIN = "stats.example"
AT_MS = 1_760_000_000_000
DAY_MS = 86_400_000
VERSION = "0011223344556677"
PROVIDERS = ("east", "north", "south")
ROLES = dict.fromkeys(PROVIDERS, Role.PROVIDER) | {"shop": Role.MERCHANT, "watch": Role.REGULATOR}
TARIFF = Tariff("CNY", 1_500_000, 20_000, 500_000, 0)
PURPOSE = Purpose("labour.wage-structure", "Joint wage statistics by education, for the labour report.")
ANCHOR = "-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n"
FRAME = Frame(
    (
        FrameColumn("wage", ColumnType.DECIMAL, "CNY", 2, 0, 2_000_000, (), (), True),
        FrameColumn("education", ColumnType.INTEGER, "years", 0, 0, 18, (), (0, 8, 12, 16, 18), False),
        FrameColumn("sector", ColumnType.CATEGORY, "", 0, None, None, ("farm", "shop", "office"), (), False),
    )
)
QUERY = AggregateQuery(
    (Statistic(StatisticKind.MEAN, "wage"), Statistic(StatisticKind.COUNT, None)),
    ("education",),
    (DomainFilter("sector", ("farm", "office")),),
)


class FixedEntropy:
    """Different bytes each time, the same in every run."""

    def __init__(self) -> None:
        self.count = 0

    def token(self, nbytes: int) -> bytes:
        self.count += 1
        return hashlib.sha256(f"entropy {self.count}".encode()).digest()[:nbytes]


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self, at_ms: int = AT_MS) -> None:
        self.at_ms = at_ms

    def now_ms(self) -> int:
        return self.at_ms


def key(party: str, purpose: KeyPurpose = KeyPurpose.MESSAGE, generation: int = 0) -> SigningKey:
    seed = hashlib.sha256(f"agreement {party} {purpose.value} {generation}".encode()).digest()
    return SigningKey.from_seed(key_name(party, ROLES[party], DOMAIN, purpose), seed)


def party_record(party: str, **changes: Any) -> PartyRecord:
    role = ROLES[party]
    keys = tuple(
        KeyRecord(purpose, key(party, purpose).verifying_key, KeyStatus.ACTIVE, AT_MS - DAY_MS, None)
        for purpose in (KeyPurpose.LOG, KeyPurpose.MESSAGE)
    )
    record = PartyRecord(
        party,
        role,
        f"LEGAL-{party.upper()}",
        spiffe_id(party, role, DOMAIN),
        dns_name(party, role, DOMAIN),
        None,
        keys,
    )
    return replace(record, **changes)


def message_keys(party: str, *statuses: KeyStatus) -> tuple[KeyRecord, ...]:
    """The party's log key and one message key a status, of generations 0, 1, ..."""
    return (
        KeyRecord(KeyPurpose.LOG, key(party, KeyPurpose.LOG).verifying_key, KeyStatus.ACTIVE, AT_MS - DAY_MS, None),
        *(
            KeyRecord(
                KeyPurpose.MESSAGE,
                key(party, KeyPurpose.MESSAGE, generation).verifying_key,
                status,
                AT_MS - DAY_MS,
                None if status is KeyStatus.ACTIVE else AT_MS,
            )
            for generation, status in enumerate(statuses)
        ),
    )


def directory(*, without: str = "", **records: PartyRecord) -> Directory:
    parties = tuple(records.get(name) or party_record(name) for name in sorted(ROLES) if name != without)
    return Directory(DOMAIN, 1, AT_MS, AT_MS + 365 * DAY_MS, "watch", parties, (ANCHOR,))


def identity(party: str) -> PeerIdentity:
    record = party_record(party)
    return PeerIdentity(record.name, record.role, record.spiffe_id, record.legal_entity)


def contract(**changes: Any) -> Contract:
    columns = {column.name: column.name for column in FRAME.columns}
    fields: dict[str, Any] = {
        "merchant": "shop",
        "providers": PROVIDERS,
        "computing_party": "east",
        "regulator": "watch",
        "frame": FRAME,
        "datasets": {party: DatasetBinding(f"{party}/workers@{VERSION}", 1_000, columns) for party in PROVIDERS},
        "uses": {
            "wage": frozenset({Use.AGGREGATE}),
            "education": frozenset({Use.GROUP_BY, Use.FILTER}),
            "sector": frozenset({Use.FILTER}),
        },
        "grades": dict.fromkeys(columns, Grade.GENERAL),
        "operations": (Operation.AGGREGATE,),
        "purpose": PURPOSE,
        "onward_sharing": False,
        "release": ReleasePolicy(ReleaseMode.EXACT, 10, 2, OwnTotals.SECRET, None, 0),
        "quotas": Quotas(100, 100_000),
        "validity": Validity(AT_MS, AT_MS + 90 * DAY_MS),
        "tariff": TARIFF,
        "fee_cap_micro": 500_000_000,
        "fee_split": FeeSplit.BY_TARIFF,
        "lease_ms": DAY_MS,
        "obligations": ("Publish no figure under ten persons.",),
        "supersedes": "",
        "created_at_ms": AT_MS,
        "nonce": "0123456789abcdef" * 2,
    }
    return Contract(**(fields | changes))


IMPORTANT = {"wage": Grade.IMPORTANT, "education": Grade.GENERAL, "sector": Grade.GENERAL}


def signed(document: Contract | None = None, *signers: str) -> Envelope:
    """The contract signed by the merchant and the signers named; by all providers where none is."""
    envelope = sign_contract(document or contract(), key("shop"))
    for party in signers or PROVIDERS:
        envelope = envelope.sign(key(party))
    return envelope


def record(document: Contract | None = None, **changes: Any) -> ContractRecord:
    """The contract in force, just heard of."""
    document = document or contract()
    envelope = changes.pop("envelope", None) or signed(document)
    fields: dict[str, Any] = {"state": ContractState.ACTIVE, "actions": (), "heard_ms": AT_MS, "regulator_ms": AT_MS}
    return ContractRecord(envelope.digest, document, envelope, **(fields | {"transitions": 3} | changes))


def description(party: str = "east", **columns: Mapping[str, Any]) -> DatasetDescription:
    """What a provider declares; `columns` change fields of one column, as `wage={"nullable": False}`."""
    return DatasetDescription(
        name="workers",
        title="Workers",
        description="Persons of a survey.",
        owner="Bureau",
        office="Data office",
        registration="REG-1",
        sharing=Sharing.CONDITIONAL,
        declared_rows=1_000,
        update_cycle="yearly",
        quality={},
        release=ReleasePolicy(ReleaseMode.EXACT, 10, 2, OwnTotals.SECRET, None, 0),
        max_providers_per_person=None,
        max_rows_per_person=None,
        party=party,
        version=VERSION,
        person_level=False,
        columns=tuple(
            ColumnDescription(
                **{
                    "name": column.name,
                    "title": column.name,
                    "type": column.type,
                    "unit": column.unit,
                    "decimals": column.decimals,
                    "lo": column.lo,
                    "hi": column.hi,
                    "domain": column.domain,
                    "edges": column.edges,
                    "nullable": column.nullable,
                    "grade": Grade.GENERAL,
                    "grade_basis": "GB/T 43697-2024",
                    "grade_review": "2027-01-01",
                    "uses": frozenset({Use.AGGREGATE, Use.GROUP_BY, Use.FILTER}),
                    "on_violation": OnViolation.EXCLUDE,
                    "identifies_provider": False,
                }
                | columns.get(column.name, {})
            )
            for column in FRAME.columns
        ),
    )


@cache
def paillier_key(number: int = 0) -> PrivateKey:
    """A key too short for anything but tests."""
    del number
    return generate_key(512, minimum_bits=512)


def public_key_of_golden_files() -> PublicKey:
    """2048 bits of a hash: a modulus nobody can decrypt under, the same in every run."""
    blocks = b"".join(hashlib.sha256(f"modulus {index}".encode()).digest() for index in range(8))
    return PublicKey(int.from_bytes(blocks, "big") | 1 << 2047 | 1, Scheme.TEXTBOOK)


def request(
    query: AggregateQuery = QUERY,
    purpose: Purpose = PURPOSE,
    public_key: PublicKey | None = None,
    document: Contract | None = None,
    **changes: Any,
) -> tuple[AggregateRequest, Openings]:
    fields: dict[str, Any] = {
        "contract": signed(document).digest,
        "merchant": "shop",
        "participants": PROVIDERS,
        "computing_party": "east",
        "attempt": 1,
        "issued_at_ms": AT_MS,
        "deadline_ms": AT_MS + 60_000,
    }
    terms = RequestTerms(**(fields | changes))
    return build_request(terms, query, purpose, public_key or paillier_key().public_key, FixedEntropy())


def context(**changes: Any) -> AuthoriseContext:
    fields: dict[str, Any] = {
        "self_party": "east",
        "directory": directory(),
        "record": record(),
        "description": description(changes.get("self_party", "east")),
        "leg": Leg.DIRECT,
        "limits": AuthoriseLimits(minimum_modulus_bits=512),
    }
    return AuthoriseContext(**(fields | changes))


def wire(made: AggregateRequest, openings: Openings, signer: SigningKey | None = None) -> tuple[Any, bytes]:
    """The request as it arrives: parsed from bytes, and the openings' bytes."""
    return parse_request(sign_request(made, signer or key("shop")).encode()), encode_openings(openings)


class Home:
    """A party's real vault and ledger with a book over them; `reopen` is a restart."""

    def __init__(self, folder: Path, party: str, clock: ManualClock) -> None:
        self.folder = folder
        self.party = party
        self.clock = clock
        self.open()

    def open(self) -> None:
        role = ROLES[self.party]
        log_key = key(self.party, KeyPurpose.LOG)
        self.vault = Vault.open(self.folder / f"{self.party}-vault.db")
        self.ledger = Ledger.open(
            self.folder / f"{self.party}-ledger.db",
            identity=LedgerIdentity(self.party, role, f"LEGAL-{self.party.upper()}", log_key.name),
            key=log_key,
            clock=self.clock,
            config=LedgerConfig(flush_ms=0, checkpoint_idle_ms=60_000),
        )
        self.book = ContractBook(self.vault, self.ledger, self.party, role, self.clock, FixedEntropy())

    def close(self) -> None:
        self.ledger.close()
        self.vault.close()

    def reopen(self) -> None:
        self.close()
        self.open()


EDUCATION_FILTER = RangeFilter("education", 8, 16)
