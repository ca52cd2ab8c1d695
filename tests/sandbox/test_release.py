from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import Fields
from audit.errors import MalformedError
from sandbox.cells import CellTotals, TableTotals
from sandbox.errors import ContractError, DenialReason, DeniedError
from sandbox.query import CellGrid, CellTable
from sandbox.release import (
    PRIVATE,
    OwnTotals,
    ReleaseMode,
    ReleasePolicy,
    gate,
    least_support,
    stricter,
    withheld_cells,
)
from sandbox.statistic import ROWS, Measure

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
        gate((COUNTED,), CellTotals((counted(50),), 0), PRIVATE)
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
    policy = ReleasePolicy(ReleaseMode.EXACT, 5, 3, OwnTotals.PUBLIC, dominance, 7)
    assert ReleasePolicy.from_json(Fields(policy.to_json())) == policy


def test_no_threshold_is_signed_or_applied_in_mode_dp() -> None:
    assert PRIVATE.to_json() == {"mode": "dp"}
    assert ReleasePolicy.from_json(Fields(PRIVATE.to_json())) == PRIVATE
    with pytest.raises(ContractError, match="mode dp"):
        ReleasePolicy(ReleaseMode.DP, 10, 1, OwnTotals.PUBLIC)
    with pytest.raises(MalformedError, match="unknown"):
        ReleasePolicy.from_json(Fields({"mode": "dp", "min_group_size": 10}))


def test_an_unknown_rule_is_refused_rather_than_ignored() -> None:
    with pytest.raises(MalformedError, match="unknown"):
        ReleasePolicy.from_json(Fields({**POLICY.to_json(), "k_anonymity": 5}))


A, B = Measure(("a",), ()), Measure(("b",), ())
AA, AB, BB = (Measure(pair, ()) for pair in (("a", "a"), ("a", "b"), ("b", "b")))


@pytest.mark.parametrize(
    ("measures", "least"),
    [((), 3), ((A,), 3), ((A, B), 3), ((A, AA), 10), ((A, B, AA, AB, BB), 25), ((AB,), 10), ((A, B, AB), 15)],
)
def test_a_moment_matrix_needs_ten_rows_and_five_for_each_of_its_sums(
    measures: tuple[Measure, ...], least: int
) -> None:
    table = CellTable(CellGrid(()), (ROWS, *measures))
    assert least_support(table, ReleasePolicy(ReleaseMode.EXACT, 3)) == least
    assert least_support(table, ReleasePolicy(ReleaseMode.EXACT, 1_000)) == 1_000
    assert withheld_cells(table, counted(least - 1, least), ReleasePolicy(ReleaseMode.EXACT, 3)) == (True, False)


def test_a_cell_of_which_one_contributor_makes_more_than_the_share_is_withheld() -> None:
    dominance = ReleasePolicy(ReleaseMode.EXACT, 3, dominance_percent=70)
    shares = (Fraction(7, 10), Fraction(70_001, 100_000), Fraction(1), Fraction(0))
    totals = TableTotals(((50,),) * 4, (50,) * 4, shares, None)
    assert withheld_cells(COUNTED, totals, dominance) == (False, True, True, False)
    assert withheld_cells(COUNTED, counted(50, 50), POLICY) == (False, False)


def policies() -> st.SearchStrategy[ReleasePolicy]:
    return st.builds(
        ReleasePolicy,
        st.just(ReleaseMode.EXACT),
        st.integers(1, 50),
        st.integers(1, 5),
        st.sampled_from(OwnTotals),
        st.none() | st.integers(1, 100),
        st.integers(0, 50),
    )


@given(policies(), policies())
def test_of_two_policies_each_rule_is_as_strict_as_the_stricter_one(one: ReleasePolicy, other: ReleasePolicy) -> None:
    both = stricter(one, other)
    assert both == stricter(other, one) == stricter(both, one)
    for policy in (one, other):
        assert both.min_group_size >= policy.min_group_size
        assert both.min_contributors >= policy.min_contributors
        assert both.overlap_k >= policy.overlap_k
        assert (both.dominance_percent or 101) <= (policy.dominance_percent or 101)
        assert both.own_totals is OwnTotals.SECRET or policy.own_totals is OwnTotals.PUBLIC
        assert both.guarded or not policy.guarded


def test_a_data_set_is_never_released_both_exactly_and_privately() -> None:
    with pytest.raises(ContractError, match="never both"):
        stricter(POLICY, PRIVATE)


def test_earlier_answers_have_a_bearing_unless_neither_rule_wants_them() -> None:
    def rules(k: int, own: OwnTotals) -> bool:
        return ReleasePolicy(ReleaseMode.EXACT, 10, overlap_k=k, own_totals=own).guarded

    assert [rules(k, OwnTotals.PUBLIC) for k in (0, 1, 2)] == [False, False, True]
    assert rules(0, OwnTotals.SECRET)
