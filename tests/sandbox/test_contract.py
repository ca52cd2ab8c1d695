from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import Json
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import AuditError, MalformedError
from audit.hashes import hex_sha256
from sandbox.contract import (
    MAX_CONTRACT_BYTES,
    Contract,
    DatasetBinding,
    Validity,
    parse_contract,
    sign_contract,
)
from sandbox.errors import ContractError
from sandbox.frame import Use
from sandbox.grades import Grade
from tests.audit.golden import assert_golden

from .agreement import AT_MS, DAY_MS, IMPORTANT, VERSION, contract, key, signed

COLUMNS = {"wage": "wage", "education": "education", "sector": "sector"}


def rewritten(**changes: Json) -> Envelope:
    return seal(dict(contract().to_body()) | changes, PayloadType.CONTRACT, key("shop"))


def test_the_contract_keeps_its_bytes() -> None:
    assert_golden("contract", signed().encode())


def test_a_contract_reads_back_as_it_was_signed() -> None:
    envelope = Envelope.decode(signed().encode(), limit=MAX_CONTRACT_BYTES)
    assert parse_contract(envelope) == contract()
    assert envelope.digest == hex_sha256(envelope.payload)


def test_its_id_does_not_depend_on_who_signs() -> None:
    assert sign_contract(contract(), key("shop")).digest == signed().digest


def test_its_grade_is_the_strictest_of_its_columns() -> None:
    document = contract(grades=IMPORTANT)
    assert document.grade is Grade.IMPORTANT
    assert document.grade_of(("education",)) is Grade.GENERAL
    assert document.grade_of(("education", "wage")) is Grade.IMPORTANT
    assert document.grade_of(()) is Grade.GENERAL


def test_it_names_its_parties() -> None:
    assert contract().parties == {"east", "north", "south", "shop", "watch"}


def binding(party: str, **changes: Any) -> dict[str, DatasetBinding]:
    own = replace(DatasetBinding(f"{party}/workers@{VERSION}", 1_000, COLUMNS), **changes)
    return dict(contract().datasets) | {party: own}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"providers": ()}, "providers"),
        ({"providers": ("south", "east", "north")}, "sorted"),
        ({"providers": tuple(f"p{index:02}" for index in range(21))}, "20"),
        ({"merchant": "east"}, "different parties"),
        ({"regulator": "shop"}, "different parties"),
        ({"regulator": "east"}, "different parties"),
        ({"computing_party": "shop"}, "none of the contract's providers"),
        ({"uses": {"wage": frozenset({Use.AGGREGATE})}}, "uses"),
        ({"uses": dict(contract().uses) | {"wage": frozenset()}}, "uses.wage"),
        ({"uses": dict(contract().uses) | {"wage": frozenset({Use.GROUP_BY})}}, "bin edges"),
        ({"grades": {"wage": Grade.GENERAL}}, "grades"),
        ({"datasets": {}}, "datasets"),
        ({"datasets": binding("east", dataset=f"north/workers@{VERSION}")}, "datasets.east"),
        ({"datasets": binding("east", columns={"wage": "wage"})}, "datasets.east.columns"),
        ({"datasets": binding("east", columns=COLUMNS | {"wage": "sector"})}, "datasets.east.columns"),
        ({"operations": ()}, "operations"),
        ({"onward_sharing": True}, "onward_sharing"),
        ({"validity": Validity(AT_MS, AT_MS)}, "validity"),
        ({"validity": Validity(AT_MS, AT_MS + 4_000 * DAY_MS)}, "ten years"),
        ({"lease_ms": 999}, "lease_ms"),
        ({"lease_ms": 31 * DAY_MS}, "lease_ms"),
        ({"release": replace(contract().release, min_contributors=4)}, "min_contributors"),
        ({"release": replace(contract().release, min_contributors=1)}, "min_contributors"),
    ],
)
def test_a_contradictory_contract_cannot_be_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        contract(**changes)


def test_one_provider_alone_needs_one_contributor() -> None:
    alone = contract(
        providers=("east",),
        datasets={"east": contract().datasets["east"]},
        release=replace(contract().release, min_contributors=1),
    )
    assert alone.single_provider
    assert not contract().single_provider


@pytest.mark.parametrize(
    "changes",
    [
        {"note": "an unknown field"},
        {"v": 2},
        {"hash": "sm3"},
        {"grade": "important"},
        {"operations": ["aggregate", "aggregate"]},
        {"operations": ["steal"]},
        {"onward_sharing": True},
        {"fee_cap_micro": 5},
        {"fee_cap_micro": "-5"},
        {"quotas": {"calls": 1, "ciphertexts": "1"}},
        {"quotas": {"calls": 0, "ciphertexts": "1", "micro_epsilon": "0"}},
        {"uses": {"wage": ["aggregate"], "education": ["group_by"]}},
        {"uses": {"wage": ["aggregate"], "education": ["group_by"], "sector": ["filter"], "other": ["filter"]}},
        {"uses": {"wage": ["peek"], "education": ["group_by"], "sector": ["filter"]}},
        {"frame": []},
        {"obligations": ["x" * 501]},
        {"obligations": [f"{index}" for index in range(51)]},
        {"supersedes": "ff"},
        {"nonce": ""},
        {"validity": {"not_before_ms": AT_MS}},
        {"purpose": {"code": "Bad Code", "text": "x"}},
        {"fee_split": "by_weight"},
        {"datasets": {"east": {"dataset": "east/workers", "declared_rows": 1, "columns": COLUMNS}}},
    ],
)
def test_a_malformed_contract_is_refused(changes: dict[str, Json]) -> None:
    with pytest.raises((MalformedError, ContractError)):
        parse_contract(rewritten(**changes))


def test_another_kind_of_body_is_no_contract() -> None:
    with pytest.raises(MalformedError):
        parse_contract(seal(PayloadType.DATASET.header(), PayloadType.DATASET, key("shop")))


json_values: st.SearchStrategy[Json] = st.recursive(
    st.booleans() | st.integers(-3, 3) | st.sampled_from(["general", "aggregate", "east", "0", "wage", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["wage", "east", "columns", "calls", "mode"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(contract().to_body())), json_values, min_size=1, max_size=3))
def test_any_body_is_a_contract_or_our_error(changes: dict[str, Json]) -> None:
    body = dict(contract().to_body()) | changes
    if body["type"] != "contract":
        return
    try:
        document: Contract = parse_contract(seal(body, PayloadType.CONTRACT, key("shop")))
    except (AuditError, ContractError):
        return
    assert parse_contract(sign_contract(document, key("shop"))) == document
