import math
from fractions import Fraction

import pytest
from hypothesis import given, settings

from protocols.dp_accountant import cost_of, micro_epsilon
from protocols.dp_events import Composed, CostEvent, NoisedBlock, NoisedVector, PoissonSampled, Repeated
from protocols.dp_gaussian import gaussian_micro_epsilon, run_micro_epsilon
from protocols.errors import PrivacyCostError
from tests.protocols.dp_events_strategy import vectors
from tests.protocols.dp_truth import epsilon_of, law_of_sum

DELTA = Fraction(1, 10**6)


def one_coordinate(shares: int, variance: Fraction, squared: int = 1) -> NoisedVector:
    return NoisedVector(shares, (NoisedBlock(1, variance, Fraction(squared)),))


@pytest.mark.parametrize("squared_mu", [Fraction(1, 10**4), Fraction(1, 25), Fraction(1), Fraction(30)])
@pytest.mark.parametrize("delta", [Fraction(1, 100), DELTA, Fraction(1, 10**12)])
def test_the_analytic_gaussian_mechanism_is_met_to_the_millionth(squared_mu: Fraction, delta: Fraction) -> None:
    mu = math.sqrt(squared_mu)

    def true_delta(epsilon: float) -> float:
        return (
            math.erfc((epsilon / mu - mu / 2) / math.sqrt(2))
            - math.exp(epsilon) * math.erfc((epsilon / mu + mu / 2) / math.sqrt(2))
        ) / 2

    micro = gaussian_micro_epsilon(squared_mu, delta)
    assert true_delta(micro / 1e6) <= float(delta) * (1 + 1e-9)
    assert micro == 0 or true_delta((micro - 1) / 1e6) > float(delta) * (1 - 1e-9)


@pytest.mark.parametrize(
    ("shares", "variance"),
    [
        (1, Fraction(1)),
        (1, Fraction(25)),
        (2, Fraction(1, 2)),
        (3, Fraction(25, 3)),
        (4, Fraction(1)),
        (2, Fraction(9)),
    ],
)
def test_a_run_is_never_below_the_truth(shares: int, variance: Fraction) -> None:
    truth = epsilon_of(law_of_sum(shares, variance, 70), 1, float(DELTA))
    assert run_micro_epsilon(one_coordinate(shares, variance), DELTA) >= truth * 1e6 - 1e-3


def test_the_analytic_gaussian_mechanism_would_be_below_the_truth_for_discrete_noise() -> None:
    truth = epsilon_of(law_of_sum(1, Fraction(25), 70), 1, float(DELTA))
    assert gaussian_micro_epsilon(Fraction(1, 25), DELTA) < truth * 1e6 - 500


def test_a_run_of_scaled_values_is_within_1e_4_of_the_analytic_gaussian_mechanism() -> None:
    scaled = NoisedVector(3, (NoisedBlock(10_000, Fraction(10**8), Fraction(10**6)),))
    step = Composed((scaled, one_coordinate(3, Fraction(10**6), 300)))
    run = Repeated(step, 50)
    squared_mu = 50 * (Fraction(10**6, 3 * 10**8) + Fraction(300, 3 * 10**6))
    analytic = gaussian_micro_epsilon(squared_mu, DELTA)
    assert 0 <= run_micro_epsilon(run, DELTA) - analytic <= 100
    assert micro_epsilon(cost_of(run), DELTA) - analytic > 50_000


@given(vectors)
@settings(max_examples=8, deadline=None)
def test_a_run_never_costs_more_than_its_renyi_divergences_say(event: CostEvent) -> None:
    exact = NoisedVector(event.honest_shares, event.blocks)
    assert run_micro_epsilon(exact, DELTA) <= micro_epsilon(cost_of(exact), DELTA)


def test_a_joint_sensitivity_is_not_divided_by_the_lesser_noise_alone() -> None:
    """Blocks bound the weighted sum only, so all of it may fall on the block with the least noise."""
    joint = NoisedVector(
        1, (NoisedBlock(1, Fraction(25), Fraction(1)), NoisedBlock(1, Fraction(10**8), Fraction(10**8)))
    )
    alone = one_coordinate(1, Fraction(25), 26)
    assert run_micro_epsilon(joint, DELTA) >= run_micro_epsilon(alone, DELTA) - 1


def test_what_the_rounding_distorts_is_added_to_epsilon() -> None:
    """The module's formula in floating point: a log ratio of 4 exp(-2 pi^2 w) for a variance lessened by w."""
    candidates = []
    for rounding in (Fraction(1, 2), Fraction(5, 8), Fraction(3, 4)):
        log_ratio = 4 * math.exp(-2 * math.pi**2 * float(rounding))
        within = Fraction(float(DELTA) * math.exp(-log_ratio))
        candidates.append(gaussian_micro_epsilon(1 / (100 - rounding), within) + log_ratio * 1e6)
    assert abs(run_micro_epsilon(one_coordinate(1, Fraction(100)), DELTA) - min(candidates)) <= 5


def test_a_run_that_samples_falls_back_on_renyi_divergences() -> None:
    event = PoissonSampled(one_coordinate(1, Fraction(25)), Fraction(1, 10))
    assert run_micro_epsilon(event, DELTA) == micro_epsilon(cost_of(event), DELTA)


@pytest.mark.parametrize("delta", [Fraction(0), Fraction(1), 0.5, math.nan])
def test_a_delta_that_is_none_is_refused(delta: Fraction) -> None:
    with pytest.raises(PrivacyCostError):
        gaussian_micro_epsilon(Fraction(1), delta)
    with pytest.raises(PrivacyCostError):
        run_micro_epsilon(one_coordinate(1, Fraction(25)), delta)


def test_noise_that_protects_nothing_is_refused() -> None:
    for squared_mu in (Fraction(0), Fraction(-1), Fraction(10**9)):
        with pytest.raises(PrivacyCostError):
            gaussian_micro_epsilon(squared_mu, DELTA)
