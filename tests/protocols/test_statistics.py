from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import FixedPointError
from protocols.rounding import SIGNIFICANT_DIGITS, to_decimal
from protocols.statistics import exact_mean, mean, weighted_mean


def test_the_mean_of_no_values_is_none():
    assert mean(0, 0, 2) is None
    assert exact_mean(0, 0, 2) is None


def test_a_mean_that_a_decimal_can_hold_is_exact():
    assert mean(1250, 4, 2) == Decimal("3.125")


def test_other_means_are_rounded_half_to_even_at_28_digits():
    assert mean(-2, 3, 0) == Decimal("-0." + "6" * 27 + "7")


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**9), st.integers(0, 18))
def test_the_decimal_is_the_nearest_to_the_exact_mean(total, count, decimals):
    exact, rounded = exact_mean(total, count, decimals), mean(total, count, decimals)
    assert exact == Fraction(total, count * 10**decimals)
    last_place = Fraction(10) ** (rounded.adjusted() - SIGNIFICANT_DIGITS + 1)
    assert abs(Fraction(rounded) - exact) <= last_place / 2


def test_the_callers_decimal_context_changes_nothing():
    with localcontext() as context:
        context.prec = 2
        assert mean(123456, 1, 0) == Decimal(123456)


@pytest.mark.parametrize(("count", "decimals"), [(-1, 0), (1, -1)])
def test_negative_counts_and_decimals_are_refused(count, decimals):
    with pytest.raises(FixedPointError):
        mean(1, count, decimals)


def test_a_weighted_mean_does_not_depend_on_the_weights_decimals():
    values, weights = (125, 250, 1000), (3, 1, 2)
    products = sum(value * weight for value, weight in zip(values, weights, strict=True))
    assert weighted_mean(products, sum(weights), 2) == to_decimal(Fraction(2625, 600))
    assert weighted_mean(1000 * products, 1000 * sum(weights), 2) == weighted_mean(products, sum(weights), 2)


def test_a_weighted_mean_under_equal_weights_is_the_mean():
    assert weighted_mean(7 * 1250, 7 * 4, 2) == mean(1250, 4, 2) == Decimal("3.125")


@given(st.lists(st.tuples(st.integers(-1000, 1000), st.integers(0, 50)), min_size=1))
def test_a_weighted_mean_is_numpys_average(rows):
    values, weights = zip(*rows, strict=True)
    weighted = weighted_mean(sum(value * weight for value, weight in rows), sum(weights), 0)
    if not any(weights):
        assert weighted is None
    else:
        assert float(weighted) == pytest.approx(np.average(values, weights=weights), rel=1e-12, abs=1e-12)


def test_a_weighted_mean_at_negative_decimals_is_refused():
    with pytest.raises(FixedPointError):
        weighted_mean(1, 1, -1)
