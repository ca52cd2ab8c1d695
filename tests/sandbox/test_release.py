from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import Fields
from audit.errors import MalformedError
from sandbox.cells import CellTotals, TableTotals
from sandbox.errors import ContractError, DenialReason, DeniedError
from sandbox.query import CellGrid, CellTable
from sandbox.release import OwnTotals, ReleaseMode, ReleasePolicy, gate, verify_enforceable, withheld_cells
from sandbox.statistic import ROWS

COUNTED = CellTable(CellGrid(()), (ROWS,))
POLICY = ReleasePolicy(ReleaseMode.EXACT, min_group_size=10)


def counted(*support: int) -> TableTotals:
    return TableTotals(tuple((rows,) for rows in support), support, (), None)


@given(st.lists(st.integers(0, 30)), st.integers(1, 20))
def test_cells_below_the_minimum_group_size_are_withheld(support: list[int], minimum: int) -> None:
    policy = ReleasePolicy(ReleaseMode.EXACT, minimum)
    assert withheld_cells(COUNTED, counted(*support), policy) == tuple(rows < minimum for rows in support)


def test_an_empty_cell_is_always_withheld() -> None:
    assert withheld_cells(COUNTED, counted(0, 1), ReleasePolicy(ReleaseMode.EXACT, 1)) == (True, False)


def test_the_gate_goes_by_the_least_supported_measure() -> None:
    totals = TableTotals(((50, 9, 900), (50, 10, 900)), (9, 10), (), None)
    assert gate((COUNTED,), CellTotals((totals,), 0), POLICY) == (True, False)


def test_exact_totals_of_a_dp_dataset_pass_no_gate() -> None:
    with pytest.raises(DeniedError) as caught:
        gate((COUNTED,), CellTotals((counted(50),), 0), ReleasePolicy(ReleaseMode.DP, 1))
    assert (caught.value.reason, caught.value.clause) == (DenialReason.OPERATION_NOT_PERMITTED, "release.mode")


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_group_size": 0},
        {"min_contributors": 0},
        {"overlap_k": -1},
        {"dominance_percent": 0},
        {"dominance_percent": 101},
    ],
)
def test_a_policy_out_of_range_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ContractError, match=next(iter(wrong))):
        ReleasePolicy(**{"mode": ReleaseMode.EXACT, "min_group_size": 1, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("dominance", [None, 80])
def test_a_policy_comes_back_as_it_was_signed(dominance: int | None) -> None:
    policy = ReleasePolicy(ReleaseMode.DP, 5, 3, OwnTotals.PUBLIC, dominance, 7)
    assert ReleasePolicy.from_json(Fields(policy.to_json())) == policy


def test_an_unknown_rule_is_refused_rather_than_ignored() -> None:
    with pytest.raises(MalformedError, match="unknown"):
        ReleasePolicy.from_json(Fields({**POLICY.to_json(), "k_anonymity": 5}))


@pytest.mark.parametrize("rule", [{"dominance_percent": 80}, {"overlap_k": 1}])
def test_a_rule_that_this_release_does_not_enforce_is_refused(rule: dict[str, int]) -> None:
    verify_enforceable(ReleasePolicy(ReleaseMode.EXACT, 10))
    with pytest.raises(DeniedError) as refused:
        verify_enforceable(ReleasePolicy(ReleaseMode.EXACT, 10, **rule))
    assert refused.value.reason is DenialReason.OPERATION_NOT_PERMITTED
    assert refused.value.clause == f"release.{next(iter(rule))}"
