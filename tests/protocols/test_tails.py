import math

import pytest

from protocols.tails import two_sided_t, upper_f

POINTS = (0.01, 0.5, 1.0, 3.0, 12.0, 250.0)


@pytest.mark.parametrize("t", POINTS)
def test_t_at_one_and_two_degrees_of_freedom_follows_its_closed_form(t):
    """Cauchy's distribution and the one after it: 2/pi arctan(1/t), and 1 - t / sqrt(2 + t^2) without cancellation."""
    root = math.hypot(math.sqrt(2), t)
    assert two_sided_t(t, 1) == pytest.approx(2 / math.pi * math.atan2(1, t), rel=1e-12)
    assert two_sided_t(t, 2) == pytest.approx(2 / (root * (root + t)), rel=1e-12)
    assert two_sided_t(-t, 2) == two_sided_t(t, 2)


@pytest.mark.parametrize("freedom", [1, 7, 200, 10**6])
@pytest.mark.parametrize("f", POINTS)
def test_f_at_two_degrees_of_freedom_follows_its_closed_form(f, freedom):
    closed = math.exp(-freedom / 2 * math.log1p(2 * f / freedom))
    assert upper_f(f, 2, freedom) == pytest.approx(closed, rel=1e-11)


@pytest.mark.parametrize("freedom", [3, 30, 3000])
@pytest.mark.parametrize("t", POINTS)
def test_the_square_of_t_is_f_at_one_degree_of_freedom(t, freedom):
    assert upper_f(t * t, 1, freedom) == pytest.approx(two_sided_t(t, freedom), rel=1e-10)


def test_nothing_extreme_has_probability_one_and_the_infinitely_extreme_none():
    assert two_sided_t(0.0, 5) == upper_f(0.0, 2, 5) == 1.0
    assert two_sided_t(math.inf, 5) == upper_f(math.inf, 2, 5) == 0.0
