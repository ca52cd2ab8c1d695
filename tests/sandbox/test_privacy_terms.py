"""Declarations and contracts under differential privacy: what is read, what is signed, and what fits."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from audit.canonical import Fields, canonicalise, parse_canonical
from audit.errors import MalformedError
from protocols.dp_sensitivity import ROW, ProtectedUnit
from sandbox.application import load_application
from sandbox.contract import Contract, Operation, Quotas, parse_contract
from sandbox.contract_checks import check_fit
from sandbox.declaration_model import DatasetDescription
from sandbox.drafting import draft_contract, sign_draft
from sandbox.errors import ContractError, DeclarationError, DenialReason, DeniedError
from sandbox.frame import Use
from sandbox.privacy_terms import AgreedPrivacy, PersonLimits, PrivacyTerms
from sandbox.release import PRIVATE

from .agreement import AT_MS, FixedEntropy, contract, description, key
from .datasets import AGE, DATASET, GRADE, SEX, WAGE, declare
from .private import AGREED, DELTA, QUOTAS, TERMS, private_contract, private_description
from .test_application import EXAMPLE

SOURCE = '\n[source]\ncsv = "people.csv"\n'
PERSONS = 'person_id = "pid"\nmax_rows_per_person = 4\n'
BUDGET = "epsilon = 1.5\nepsilon_total = 20\ndelta = 1e-6\n"
LIMITS = PersonLimits(max_rows=4, max_rows_per_cell=2, max_cells=3, max_providers=3)


def toml(privacy: str = BUDGET, dataset: str = "", release: str = 'mode = "dp"\n', columns: str = WAGE) -> str:
    table = f"\n[dataset.privacy]\n{privacy}" if privacy else ""
    return f"{DATASET}{dataset}\n[dataset.release]\n{release}{table}{SOURCE}{columns}{AGE}{SEX}"


def test_a_declaration_states_budgets_for_each_entity_and_for_all(tmp_path: Path) -> None:
    found = declare(tmp_path, toml())
    assert found.release == PRIVATE
    assert found.privacy == PrivacyTerms(micro_epsilon=1_500_000, micro_epsilon_total=20_000_000, delta=DELTA)


def test_a_declaration_of_persons_limits_what_one_of_them_counts_for(tmp_path: Path) -> None:
    privacy = declare(tmp_path, toml(BUDGET + "max_cells_per_person = 3\n", PERSONS)).privacy
    assert privacy is not None
    assert (privacy.max_cells_per_person, privacy.max_rows_per_cell) == (3, 4)
    privacy = declare(tmp_path, toml(BUDGET + "max_cells_per_person = 3\nmax_rows_per_cell = 2\n", PERSONS)).privacy
    assert privacy is not None
    assert privacy.max_rows_per_cell == 2


FLAT = f'\n[[column]]\nname = "flat"\ntype = "integer"\nlo = 3\nhi = 3\nuses = ["aggregate"]\n{GRADE}'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (toml(BUDGET.replace("1.5", "0")), "epsilon: an epsilon is"),
        (toml(BUDGET.replace("1.5", "-1")), "epsilon: an epsilon is"),
        (toml(BUDGET.replace("1.5", "nan")), "epsilon: must be finite"),
        (toml(BUDGET.replace("1.5", "inf")), "epsilon: must be finite"),
        (toml(BUDGET.replace("1.5", "0.0000001")), "epsilon: an epsilon is"),
        (toml(BUDGET.replace("1.5", "1e99")), "epsilon: an epsilon is"),
        (toml(BUDGET.replace("1.5", "0.000001")), "epsilon: this epsilon is too small"),
        (toml(BUDGET.replace("20", "1")), "epsilon_total: is under epsilon"),
        (toml(BUDGET.replace("1e-6", "1")), "delta: must be above 0 and under 1"),
        (toml(BUDGET.replace("1e-6", "0")), "delta: must be above 0 and under 1"),
        (toml(BUDGET.replace("1e-6", "1e-99")), "delta: must be above 0 and under 1"),
        (toml(BUDGET.replace("delta = 1e-6\n", "")), "delta: is missing"),
        (toml("delta = 1e-6\nepsilon = 1\n"), "epsilon_total: is missing"),
        (toml(BUDGET + "tolerated = 0\n"), "tolerated: must be an integer from 1"),
        (toml(BUDGET + "sigma = 1\n"), "sigma: this key is not known"),
        (toml(""), r"\[dataset.privacy\] is missing"),
        (toml(release='mode = "dp"\nmin_group_size = 10\n'), "min_group_size: plays no part in mode dp"),
        (toml(release='mode = "exact"\nmin_group_size = 10\n'), "privacy: is for mode"),
        (toml(BUDGET + "max_cells_per_person = 3\n"), "max_cells_per_person: needs person_id"),
        (toml(BUDGET + "max_rows_per_cell = 3\n"), "max_rows_per_cell: needs max_cells_per_person"),
        (toml(dataset=PERSONS), "max_cells_per_person: is for a dataset in which persons"),
        (toml(BUDGET + "max_cells_per_person = 3\n", 'person_id = "pid"\n'), "needs person_id and max_rows_per_person"),
        (toml(BUDGET + "max_cells_per_person = 3\nmax_rows_per_cell = 5\n", PERSONS), "max_rows_per_cell: is more"),
        (toml(columns=WAGE.replace("hi = 1000.00\n", "")), "hi: is missing; a number that is used needs"),
        (toml(columns=FLAT), "hi: is the same as lo"),
    ],
)
def test_terms_that_protect_nobody_are_refused_with_the_key(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(DeclarationError, match=named):
        declare(tmp_path, text)


def test_the_signed_description_carries_the_terms_and_an_exact_one_carries_none(tmp_path: Path) -> None:
    found = declare(tmp_path, toml(BUDGET + "max_cells_per_person = 3\nmax_epsilon_per_call = 0.5\n", PERSONS))
    public = found.describe("east", "0011223344556677")
    body = public.to_body()
    assert body["release"] == {"mode": "dp"}
    read = parse_canonical(canonicalise(body), limit=1 << 20)
    assert DatasetDescription.from_body(Fields(read).header("dataset")) == public
    assert "privacy" not in description().to_body()


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": "0"},
        {"epsilon": "-1"},
        {"epsilon": "30000000"},
        {"delta": "1/1"},
        {"delta": "2/2000000"},
        {"delta": "nan"},
        {"tolerated": 0},
        {"max_rows_per_cell": 2},
    ],
)
def test_a_description_with_terms_out_of_range_is_not_read(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        PrivacyTerms.from_json(Fields(TERMS.to_json() | changes))


def test_a_description_in_mode_dp_without_terms_is_not_read() -> None:
    body = replace(private_description(wage={"uses": frozenset({Use.AGGREGATE})}), privacy=None).to_body()
    with pytest.raises(MalformedError, match="privacy is for"):
        DatasetDescription.from_body(Fields(body).header("dataset"))


def test_a_contract_carries_the_terms_that_all_parties_share() -> None:
    for document in (private_contract(), private_contract(privacy=replace(AGREED, persons=LIMITS))):
        assert parse_contract(sign_draft(document, key("shop"))) == document
    assert "privacy" not in contract().to_body()


def test_the_unit_is_a_row_or_a_person_with_all_that_counts_of_it() -> None:
    assert AGREED.unit == ROW
    assert replace(AGREED, persons=LIMITS).unit == ProtectedUnit(4, 2, 3, 3)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"operations": (Operation.AGGREGATE,)}, "operations"),
        ({"operations": (Operation.AGGREGATE, Operation.DP_AGGREGATE)}, "operations"),
        ({"privacy": None}, "privacy"),
        ({"release": contract().release}, "operations"),
        ({"quotas": Quotas(100, 100_000)}, "micro_epsilon"),
        ({"privacy": replace(AGREED, tolerated=0)}, "tolerated"),
        ({"privacy": replace(AGREED, tolerated=3)}, "tolerated"),
        ({"privacy": replace(AGREED, persons=replace(LIMITS, max_providers=4))}, "max_providers"),
    ],
)
def test_a_contract_is_private_or_exact_and_never_both(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ContractError, match=named):
        private_contract(**changes)


def test_an_exact_contract_has_no_private_operation() -> None:
    with pytest.raises(ContractError, match="operations"):
        contract(operations=(Operation.AGGREGATE, Operation.DP_AGGREGATE))
    with pytest.raises(ContractError, match="privacy"):
        contract(privacy=AGREED)


def test_a_provider_alone_adds_all_the_noise() -> None:
    one = {"providers": ("east",), "datasets": {"east": contract().datasets["east"]}}
    assert private_contract(**one, privacy=replace(AGREED, tolerated=0)).single_provider
    with pytest.raises(ContractError, match="tolerated"):
        private_contract(**one)


PERSON_TERMS = replace(TERMS, max_cells_per_person=3, max_rows_per_cell=2)


def of_persons(**changes: Any) -> DatasetDescription:
    fields: dict[str, Any] = {"person_level": True, "max_rows_per_person": 4}
    return replace(private_description(terms=PERSON_TERMS), **(fields | changes))


@pytest.mark.parametrize(
    ("agreed", "declared", "clause"),
    [
        (replace(AGREED, delta=Fraction(1, 1000)), private_description(), "privacy.delta"),
        (AGREED, private_description(terms=replace(TERMS, tolerated=2)), "privacy.tolerated"),
        (replace(AGREED, quantum_ms=999), private_description(), "privacy.quantum_ms"),
        (
            AGREED,
            private_description(terms=replace(TERMS, max_micro_epsilon_per_call=1)),
            "privacy.max_epsilon_per_call",
        ),
        (AGREED, of_persons(), "privacy.persons"),
        (replace(AGREED, persons=LIMITS), private_description(), "privacy.persons"),
        (replace(AGREED, persons=replace(LIMITS, max_rows=5)), of_persons(), "privacy.persons.max_rows"),
        (
            replace(AGREED, persons=replace(LIMITS, max_rows_per_cell=3)),
            of_persons(),
            "privacy.persons.max_rows_per_cell",
        ),
        (replace(AGREED, persons=replace(LIMITS, max_cells=4)), of_persons(), "privacy.persons.max_cells"),
        (replace(AGREED, persons=replace(LIMITS, max_providers=2)), of_persons(), "privacy.persons.max_providers"),
        (
            replace(AGREED, persons=replace(LIMITS, max_providers=1)),
            of_persons(max_providers_per_person=2),
            "privacy.persons.max_providers",
        ),
    ],
)
def test_a_contract_laxer_than_a_provider_is_refused_with_the_clause(
    agreed: AgreedPrivacy, declared: DatasetDescription, clause: str
) -> None:
    with pytest.raises(DeniedError) as caught:
        check_fit(private_contract(privacy=agreed), declared, "east")
    assert (caught.value.reason, caught.value.clause) == (DenialReason.DECLARATION_MISMATCH, clause)


def test_a_contract_as_strict_as_the_provider_fits() -> None:
    check_fit(private_contract(), private_description(), "east")
    check_fit(private_contract(privacy=replace(AGREED, persons=LIMITS)), of_persons(), "east")
    fewer = replace(AGREED, persons=replace(LIMITS, max_providers=2))
    check_fit(private_contract(privacy=fewer), of_persons(max_providers_per_person=2), "east")


PRIVATE_EXAMPLE = (
    EXAMPLE.replace('operations = ["aggregate"]', 'operations = ["dp_aggregate"]')
    .replace("min_group_size = 10", 'mode = "dp"')
    .replace("min_contributors = 2\n", "")
    .replace("ciphertexts = 100000\n", "ciphertexts = 100000\nepsilon = 2.5\n")
)


def draft(folder: Path, text: str, east: DatasetDescription, north: DatasetDescription) -> Contract:
    path = folder / "application.toml"
    path.write_text(text)
    return draft_contract(
        load_application(path),
        {"east": east, "north": north},
        merchant="shop",
        regulator="watch",
        now_ms=AT_MS,
        entropy=FixedEntropy(),
    )


def datasets(terms: PrivacyTerms = TERMS) -> tuple[DatasetDescription, DatasetDescription]:
    north = private_description("north", terms, wage={"name": "salary"})
    return private_description(), replace(north, name="employees")


def test_a_drafted_contract_takes_the_strictest_terms_and_fits_every_provider(tmp_path: Path) -> None:
    strict = replace(TERMS, delta=DELTA / 10, quantum_ms=5_000, max_micro_epsilon_per_call=750_000)
    east, north = datasets(strict)
    document = draft(tmp_path, PRIVATE_EXAMPLE, east, north)
    assert document.privacy == AgreedPrivacy(
        delta=DELTA / 10, tolerated=1, persons=None, quantum_ms=5_000, max_micro_epsilon_per_call=750_000
    )
    assert document.quotas.micro_epsilon == 2_500_000
    check_fit(document, east, "east")
    check_fit(document, north, "north")


def test_a_merchant_may_offer_more_privacy_and_not_less(tmp_path: Path) -> None:
    offered = PRIVATE_EXAMPLE + "\n[privacy]\nmax_epsilon_per_call = 0.25\ndelta = 1e-9\n"
    privacy = draft(tmp_path, offered, *datasets()).privacy
    assert privacy is not None
    assert (privacy.max_micro_epsilon_per_call, privacy.delta) == (250_000, Fraction(1, 10**9))
    lax = draft(tmp_path, offered.replace("1e-9", "1e-3"), *datasets())
    with pytest.raises(DeniedError):
        check_fit(lax, datasets()[0], "east")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("epsilon = 2.5\n", ""), "epsilon: is missing"),
        (("epsilon = 2.5\n", "epsilon = 0\n"), "epsilon: an epsilon is"),
        (('mode = "dp"\n', 'mode = "dp"\nmin_group_size = 3\n'), "min_group_size: plays no part"),
        (('mode = "dp"\n', ""), "operations: dp_aggregate is for release mode dp"),
        (('["dp_aggregate"]', '["aggregate", "dp_aggregate"]'), "operations: aggregate is for release mode exact"),
    ],
)
def test_an_application_that_mixes_modes_is_refused(tmp_path: Path, change: tuple[str, str], named: str) -> None:
    with pytest.raises(DeclarationError, match=named):
        draft(tmp_path, PRIVATE_EXAMPLE.replace(*change), *datasets())


def test_an_exact_application_over_private_datasets_is_told_to_say_so(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match='set mode = "dp"'):
        draft(tmp_path, EXAMPLE, *datasets())


def test_a_quota_of_epsilon_is_what_the_contract_counts() -> None:
    assert private_contract().quotas == QUOTAS
