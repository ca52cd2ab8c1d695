import math
from decimal import Decimal, localcontext
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from protocols.rounding import SIGNIFICANT_DIGITS, root_to_decimal, root_to_float, to_decimal, to_float

WIDE = st.fractions(min_value=0, max_value=10**40) | st.builds(Fraction, st.integers(0, 10**90), st.integers(1, 10**90))


@given(WIDE)
def test_a_root_is_the_nearest_float(square):
    root = root_to_float(square)
    half = Fraction(math.ulp(root)) / 2
    below = Fraction(root) - Fraction(math.ulp(math.nextafter(root, 0))) / 2
    assert max(below, Fraction(0)) ** 2 <= square <= (Fraction(root) + half) ** 2


@given(WIDE)
def test_a_root_is_the_nearest_decimal_of_28_digits(square):
    root = root_to_decimal(square)
    half = Fraction(10) ** (root.adjusted() - SIGNIFICANT_DIGITS + 1) / 2
    assert max(Fraction(root) - half, Fraction(0)) ** 2 <= square <= (Fraction(root) + half) ** 2


@given(st.fractions(min_value=0, max_value=10**12, max_denominator=10**6))
def test_roots_of_squares_are_as_exact_as_the_numbers_themselves(root):
    assert root_to_decimal(root**2) == to_decimal(root)
    assert root_to_float(root**2) == float(root)


def test_a_root_a_hair_from_a_tie_goes_to_its_own_side():
    tie = 1 + Fraction(5, 10**SIGNIFICANT_DIGITS)
    hair = Fraction(1, 10**70)
    assert root_to_decimal(tie**2 - hair) == Decimal(1)
    assert root_to_decimal(tie**2) == Decimal(1)
    assert root_to_decimal(tie**2 + hair) == Decimal("1." + "0" * 26 + "1")
    tie = 1 + Fraction(1, 2**53)
    assert root_to_float(tie**2 - hair) == root_to_float(tie**2) == 1.0
    assert root_to_float(tie**2 + hair) == math.nextafter(1.0, 2.0)


def test_what_no_float_can_hold_is_an_infinity_of_its_sign():
    assert to_float(Fraction(10**400)) == math.inf
    assert to_float(Fraction(-(10**400))) == -math.inf
    assert to_float(Fraction(10**400, 10**399 * 3)) == 10 / 3


def test_the_callers_decimal_context_changes_no_root():
    with localcontext() as context:
        context.prec = 2
        assert root_to_decimal(Fraction(123456**2)) == Decimal(123456)
