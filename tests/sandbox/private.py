"""The agreement of `tests.sandbox.agreement`, over datasets that are released under differential privacy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from sandbox.contract import Contract, Operation, Quotas
from sandbox.contract_record import ContractRecord
from sandbox.declaration_model import DatasetDescription
from sandbox.privacy_terms import AgreedPrivacy, PrivacyTerms
from sandbox.release import PRIVATE

from . import agreement

DELTA = Fraction(1, 1_000_000)
TERMS = PrivacyTerms(micro_epsilon=5_000_000, micro_epsilon_total=20_000_000, delta=DELTA)
AGREED = AgreedPrivacy(delta=DELTA, tolerated=1, persons=None, quantum_ms=1_000, max_micro_epsilon_per_call=None)
QUOTAS = Quotas(100, 100_000, 50_000_000)


def private_contract(**changes: Any) -> Contract:
    fields: dict[str, Any] = {
        "operations": (Operation.DP_AGGREGATE,),
        "release": PRIVATE,
        "privacy": AGREED,
        "quotas": QUOTAS,
    }
    return agreement.contract(**(fields | changes))


def private_description(
    party: str = "east", terms: PrivacyTerms = TERMS, **columns: Mapping[str, Any]
) -> DatasetDescription:
    return replace(agreement.description(party, **columns), release=PRIVATE, privacy=terms)


def private_record(document: Contract | None = None, **changes: Any) -> ContractRecord:
    return agreement.record(document or private_contract(), **changes)
