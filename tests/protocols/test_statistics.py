from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import FixedPointError
from protocols.rounding import SIGNIFICANT_DIGITS
from protocols.statistics import exact_mean, mean


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
