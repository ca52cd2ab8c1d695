import math
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dp_accountant import (
    NOTHING,
    ORDERS,
    Cost,
    cost_of,
    distance_limit,
    from_micro,
    micro_epsilon,
    to_micro,
)
from protocols.dp_events import Composed, CostEvent, NoisedBlock, NoisedVector, PoissonSampled, Repeated
from protocols.errors import PrivacyCostError
from tests.protocols.dp_events_strategy import events, plain_events, vectors
from tests.protocols.dp_truth import epsilon_of, law_of_sum

DELTA = Fraction(1, 10**6)
COUNT = NoisedVector(3, (NoisedBlock(1, Fraction(25, 3), Fraction(1)),))


@given(st.lists(vectors, min_size=2, max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_the_order_of_events_changes_nothing_at_all(parts: list[NoisedVector], order: random.Random) -> None:
    shuffled = list(parts)
    order.shuffle(shuffled)
    nested = Composed((Composed(tuple(shuffled[1:])), shuffled[0]))
    assert cost_of(nested) == cost_of(Composed(tuple(parts)))


@given(vectors, st.integers(1, 6))
@settings(max_examples=10, deadline=None)
def test_a_repetition_costs_what_so_many_events_cost(event: NoisedVector, times: int) -> None:
    assert cost_of(Repeated(event, times)) == cost_of(Composed((event,) * times))


@given(plain_events)
@settings(max_examples=15, deadline=None)
def test_a_cost_is_never_below_the_exact_gaussian_part_and_under_a_unit_above_it_a_vector(event: CostEvent) -> None:
    exact, count = _gaussian_part(event)
    cost = cost_of(event)
    for order, units in zip(ORDERS[::24], cost.units[::24], strict=True):
        assert units >= order * exact / 2 * (1 << 40)
        if _least_variance(event) >= 5:
            assert units <= order * exact / 2 * (1 << 40) + count


@given(events, events)
@settings(max_examples=8, deadline=None)
def test_more_events_never_cost_less(one: CostEvent, other: CostEvent) -> None:
    together = cost_of(Composed((one, other)))
    assert all(map(int.__ge__, together.units, cost_of(one).units))


def test_sampling_never_costs_more_than_not_sampling() -> None:
    base = cost_of(COUNT).units
    for rate in (Fraction(1, 1000), Fraction(1, 3), Fraction(99, 100)):
        sampled = cost_of(PoissonSampled(COUNT, rate)).units
        whole = [place for place, order in enumerate(ORDERS) if order.denominator == 1]
        assert all(sampled[place] <= base[place] for place in whole)
    assert micro_epsilon(cost_of(PoissonSampled(COUNT, Fraction(1, 1000))), DELTA) < micro_epsilon(
        cost_of(COUNT), DELTA
    )


@pytest.mark.parametrize(
    ("shares", "variance"), [(1, Fraction(4)), (2, Fraction(2)), (3, Fraction(25, 3)), (4, Fraction(1))]
)
def test_epsilon_is_never_below_the_true_one(shares: int, variance: Fraction) -> None:
    truth = epsilon_of(law_of_sum(shares, variance, 60), 1, float(DELTA))
    event = NoisedVector(shares, (NoisedBlock(1, variance, Fraction(1)),))
    assert truth * 1e6 <= micro_epsilon(cost_of(event), DELTA) <= 1.2e6 * truth


def test_epsilon_is_the_best_that_real_orders_could_give_up_to_their_spacing() -> None:
    """For divergences a r / 2 the best real order a is found by search; the grid loses 1.3e-4 of epsilon at most."""
    for squared in (Fraction(1, 10**4), Fraction(1, 25), Fraction(1), Fraction(20)):
        event = NoisedVector(1, (NoisedBlock(1, 1000 / squared, Fraction(1000)),))
        delta = float(DELTA) * (1 - 2**-20)
        best = min(
            a * float(squared) / 2 + math.log1p(-1 / a) - math.log(delta * a) / (a - 1)
            for a in (1 + 0.25 * 1.0005**step for step in range(16_700))
        )
        assert best - 1e-6 <= micro_epsilon(cost_of(event), DELTA) / 1e6 <= best * (1 + 1.3e-4) + 1e-6


def test_nothing_spent_is_epsilon_0() -> None:
    assert micro_epsilon(NOTHING, DELTA) == 0


@pytest.mark.parametrize("delta", [Fraction(0), Fraction(1), Fraction(3, 2), Fraction(-1, 10), 1e-6, math.nan, 0, None])
def test_a_delta_that_is_none_is_refused(delta: Fraction) -> None:
    for cost in (NOTHING, cost_of(COUNT)):
        with pytest.raises(PrivacyCostError):
            micro_epsilon(cost, delta)


def test_a_negative_cost_cannot_be_made() -> None:
    with pytest.raises(PrivacyCostError):
        Cost((-1,) * len(ORDERS))
    with pytest.raises(PrivacyCostError):
        Cost((0,) * len(ORDERS), -1)
    with pytest.raises(PrivacyCostError):
        Cost((0,))


@given(st.integers(-(1 << 80), 1 << 80), st.integers(0, 10**9))
def test_micro_epsilon_and_units_agree_on_what_fits(units: int, micro: int) -> None:
    assert (to_micro(units) <= micro) == (units <= from_micro(micro))


def test_a_sampler_too_far_from_its_law_is_not_covered_by_delta() -> None:
    near = NoisedVector(3, COUNT.blocks, Fraction(1, 1 << 90))
    assert micro_epsilon(cost_of(near), DELTA) == micro_epsilon(cost_of(COUNT), DELTA)
    far = NoisedVector(3, COUNT.blocks, Fraction(1, 1 << 40))
    with pytest.raises(PrivacyCostError, match="distances"):
        micro_epsilon(cost_of(far), DELTA)


def test_the_distances_that_are_let_through_fit_into_what_delta_keeps() -> None:
    for epsilon in (1, 10**6, 7_300_000, 100_000_000):
        kappa = distance_limit(epsilon, DELTA) / 2**200
        assert 0 < kappa * (1 + math.exp(epsilon / 1e6)) <= float(DELTA) / 2**20


def _gaussian_part(event: CostEvent) -> tuple[Fraction, int]:
    """The sum of squared sensitivities over variances, and the number of vectors."""
    match event:
        case NoisedVector(shares, blocks, _):
            return sum(block.squared_sensitivity / (shares * block.share_variance) for block in blocks), 1
        case Composed(parts):
            sums = [_gaussian_part(part) for part in parts]
            return sum(one for one, _ in sums), sum(number for _, number in sums)
        case Repeated(part, times):
            one, number = _gaussian_part(part)
            return times * one, times * number
    raise AssertionError(event)


def _least_variance(event: CostEvent) -> Fraction:
    match event:
        case NoisedVector(_, blocks, _):
            return min(block.share_variance for block in blocks)
        case Composed(parts):
            return min(map(_least_variance, parts))
        case Repeated(part, _):
            return _least_variance(part)
    raise AssertionError(event)
