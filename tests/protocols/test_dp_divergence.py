import math
from fractions import Fraction
from itertools import pairwise

import pytest

from protocols.dp_accountant import ORDERS
from protocols.dp_divergence import poisson_sampled, sum_defect, theta_log_range
from tests.protocols.dp_truth import cases, discrete_gaussian, law_of_sum, renyi

CHECKED_ORDERS = (Fraction(5, 4), Fraction(3, 2), Fraction(2), Fraction(33, 8), Fraction(16))
NUMERICAL = Fraction(1, 10**40)


@pytest.mark.parametrize(("shares", "variance"), list(cases()))
def test_a_sum_of_discrete_gaussians_never_diverges_more_than_the_bound(shares: int, variance: Fraction) -> None:
    law, defect, worst = law_of_sum(shares, variance, 80), sum_defect(shares, variance), Fraction(0)
    for order in CHECKED_ORDERS:
        for shift in (1, 2, 3):
            truth = renyi(law, shift, order)
            bound = order * shift**2 / (2 * shares * variance) + defect.excess(order)
            assert bound >= truth - NUMERICAL
            worst = max(worst, bound - truth)
    if variance >= Fraction(3, 4):
        assert worst <= Fraction(1, 10**4)


def test_the_gaussian_part_alone_would_be_below_the_truth() -> None:
    """What the Kairouz-Liu-Steinke term is there for: a sum of discrete Gaussians is worse than a Gaussian."""
    truth = renyi(law_of_sum(2, Fraction(1, 2), 60), 1, Fraction(16))
    assert truth > Fraction(16, 2) + Fraction(5, 10**3)


@pytest.mark.parametrize(("shares", "variance"), [(2, Fraction(1, 2)), (3, Fraction(1)), (8, Fraction(1))])
def test_the_log_range_is_close_to_the_true_one_and_not_below(shares: int, variance: Fraction) -> None:
    law = law_of_sum(shares, variance, 40)
    logs = [float(math.log(law[z])) + z * z / float(2 * shares * variance) for z in range(shares)]
    truth = max(logs) - min(logs)
    assert truth - 1e-12 <= float(sum_defect(shares, variance).log_range) <= 1.34 * truth


def test_the_defect_is_no_more_than_that_of_the_paper() -> None:
    for shares, variance in [
        (2, Fraction(1)),
        (4, Fraction(1)),
        (64, Fraction(1)),
        (1024, Fraction(2)),
        (5, Fraction(9)),
    ]:
        exponents = [2 * math.pi**2 * float(variance) * k / (k + 1) for k in range(1, shares)]
        assert float(sum_defect(shares, variance).log_range) < 10 * sum(math.exp(-exponent) for exponent in exponents)


def test_one_share_has_no_defect() -> None:
    assert sum_defect(1, Fraction(1, 4)).excess(Fraction(2)) == 0


def test_sums_over_shifted_integers_range_no_more_than_said() -> None:
    for variance in (Fraction(1, 4), Fraction(1, 2), Fraction(1)):
        sums = [
            math.log(math.fsum(math.exp(-((z - y / 64) ** 2) / (2 * float(variance))) for z in range(-40, 41)))
            for y in range(65)
        ]
        assert (
            max(sums) - min(sums) - 1e-12 <= float(theta_log_range(variance)) <= 1.02 * (max(sums) - min(sums)) + 1e-12
        )


def test_the_bound_stays_finite_and_short_for_enormous_noise() -> None:
    defect = sum_defect(1000, Fraction(1 << 500))
    assert 0 < defect.log_range < Fraction(1, 1 << 200)
    assert defect.log_range.denominator.bit_length() <= 257


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("rate", [Fraction(1, 100), Fraction(1, 4), Fraction(9, 10)])
def test_a_poisson_sample_never_diverges_more_than_the_bound(rate: Fraction, symmetric: bool) -> None:
    variance, orders = Fraction(4), tuple(range(2, 17))
    law = discrete_gaussian(variance, 90)
    bounds = poisson_sampled(lambda order: Fraction(order, 8), rate, orders, symmetric=symmetric)
    q = float(rate)
    with_unit = {z: (1 - q) * float(p) + q * float(law.get(z - 1, 0)) for z, p in law.items()}
    for order, bound in zip(orders, bounds, strict=True):
        truths = []
        for upper, lower in ((with_unit, law), (law, with_unit)):
            moment = math.fsum(
                float(p) * (float(p) / float(lower[z])) ** (order - 1) for z, p in upper.items() if abs(z) <= 60
            )
            truths.append(math.log(moment) / (order - 1))
        assert max(truths) <= float(bound) + 1e-12
        if symmetric:
            assert max(truths) >= float(bound) - 1e-9
        assert bound <= Fraction(order, 8)


def test_the_orders_hold_every_integer_from_2_to_65_and_are_fine() -> None:
    assert set(map(Fraction, range(2, 66))) <= set(ORDERS)
    assert list(ORDERS) == sorted(set(ORDERS))
    assert max((b - 1) / (a - 1) for a, b in pairwise(ORDERS)) <= Fraction(33, 32)
