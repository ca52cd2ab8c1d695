"""Our accountant against Google's dp-accounting 0.6: Renyi at our orders and at its own, and loss distributions."""

from fractions import Fraction

import pytest

from protocols.dp_accountant import ORDERS, cost_of, micro_epsilon
from protocols.dp_events import CostEvent, NoisedBlock, NoisedVector, PoissonSampled, Repeated
from protocols.dp_gaussian import gaussian_micro_epsilon, run_micro_epsilon

dp_accounting = pytest.importorskip("dp_accounting")
from dp_accounting import pld, rdp  # noqa: E402

DELTA = Fraction(1, 10**6)
RUNS = [(0.5, 1), (1.0, 1), (5.0, 1), (5.0, 40), (30.0, 1000), (200.0, 100)]


def ours(sigma: float, times: int) -> CostEvent:
    # sensitivity 1000 and noise as much larger: so large that a discrete Gaussian is a Gaussian to 1e-12
    scaled = Fraction(sigma) ** 2 * 10**6
    vector = NoisedVector(3, (NoisedBlock(1, scaled / 3, Fraction(10**6)),))
    return vector if times == 1 else Repeated(vector, times)


def theirs(sigma: float, times: int, orders: list[float] | None) -> float:
    accountant = rdp.RdpAccountant(orders)
    accountant.compose(dp_accounting.GaussianDpEvent(sigma), times)
    return accountant.get_epsilon(float(DELTA))


@pytest.mark.parametrize(("sigma", "times"), RUNS)
def test_it_agrees_with_dp_accounting_at_the_same_orders(sigma: float, times: int) -> None:
    epsilon = micro_epsilon(cost_of(ours(sigma, times)), DELTA) / 1e6
    assert -1e-9 <= epsilon - theirs(sigma, times, [float(order) for order in ORDERS]) <= 1e-5


@pytest.mark.parametrize(("sigma", "times"), RUNS)
def test_it_is_within_1e_4_of_dp_accounting_at_its_own_orders_or_better(sigma: float, times: int) -> None:
    epsilon = micro_epsilon(cost_of(ours(sigma, times)), DELTA) / 1e6
    assert epsilon - theirs(sigma, times, None) <= 1e-4 * max(1, epsilon)


@pytest.mark.parametrize(("sigma", "times"), RUNS)
def test_a_fixed_run_is_within_1e_4_of_the_analytic_gaussian_mechanism(sigma: float, times: int) -> None:
    analytic = dp_accounting.get_epsilon_gaussian(sigma / times**0.5, float(DELTA))
    assert gaussian_micro_epsilon(times / Fraction(sigma) ** 2, DELTA) / 1e6 == pytest.approx(analytic, abs=2e-6)
    assert -1e-9 <= run_micro_epsilon(ours(sigma, times), DELTA) / 1e6 - analytic <= 1e-4


@pytest.mark.parametrize(("sigma", "times"), [(5.0, 1), (5.0, 10), (12.0, 30)])
def test_a_fixed_run_of_counts_lies_above_the_loss_distribution_of_discrete_gaussians(sigma: float, times: int) -> None:
    loss = pld.privacy_loss_distribution.from_discrete_gaussian_mechanism(
        sigma, value_discretization_interval=1e-4, pessimistic_estimate=False
    ).self_compose(times)
    truth = loss.get_epsilon_for_delta(float(DELTA))
    run = Repeated(NoisedVector(1, (NoisedBlock(1, Fraction(sigma) ** 2, Fraction(1)),)), times)
    assert truth <= run_micro_epsilon(run, DELTA) / 1e6 <= truth * (1 + 1 / sigma**2)


@pytest.mark.parametrize(("sigma", "rate", "times"), [(1.0, 0.0078125, 1000), (2.0, 0.25, 20), (5.0, 0.03125, 3000)])
def test_sampling_agrees_with_dp_accounting_at_integer_orders(sigma: float, rate: float, times: int) -> None:
    accountant = rdp.RdpAccountant([float(order) for order in ORDERS if order.denominator == 1])
    accountant.compose(dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(sigma)), times)
    run = Repeated(PoissonSampled(ours(sigma, 1), Fraction(rate)), times)
    epsilon = micro_epsilon(cost_of(run), DELTA) / 1e6
    assert epsilon <= accountant.get_epsilon(float(DELTA)) + 1e-4
    exact = rdp.RdpAccountant([1 + step / 10 for step in range(20, 300)])
    exact.compose(dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(sigma)), times)
    assert epsilon >= exact.get_epsilon(float(DELTA)) - 1e-4
