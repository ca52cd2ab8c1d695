from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import FixedPointError
from protocols.fixed_point import from_scaled, to_scaled


@pytest.mark.parametrize(
    ("value", "decimals", "scaled"),
    [
        ("12.5", 2, 1250),
        ("-0.01", 2, -1),
        ("+7", 0, 7),
        ("1.500", 1, 15),
        (3, 3, 3000),
        (Decimal("1E+2"), 1, 1000),
        (Decimal("-0"), 5, 0),
    ],
)
def test_a_number_exact_at_its_decimals_is_scaled(value, decimals, scaled):
    assert to_scaled(value, decimals) == scaled


@pytest.mark.parametrize(
    "value",
    ["", " 1", "1 ", "1,5", "1e3", "0x10", "nan", "Infinity", ".5", "5.", "1_000", "١", "--1", "1" * 300, "1\n"],
)
def test_text_that_is_no_plain_decimal_number_is_refused(value):
    with pytest.raises(FixedPointError):
        to_scaled(value, 2)


@pytest.mark.parametrize(
    "value",
    [Decimal("NaN"), Decimal("Infinity"), Decimal("1E+999999"), Decimal("1E-999999"), 10**80, 0.5, True, None],
)
def test_a_number_that_is_no_plain_decimal_is_refused(value):
    with pytest.raises(FixedPointError):
        to_scaled(value, 2)


def test_a_number_with_too_many_decimals_is_refused_rather_than_rounded():
    with pytest.raises(FixedPointError, match="not exact at 2 decimals"):
        to_scaled("0.125", 2)


def test_a_refusal_does_not_repeat_the_value():
    for value in ("31337.125", "31337.x", Decimal("31337.125")):
        with pytest.raises(FixedPointError) as caught:
            to_scaled(value, 2)
        assert "31337" not in str(caught.value)


@pytest.mark.parametrize("decimals", [-1, 19])
def test_decimals_out_of_range_are_refused(decimals):
    with pytest.raises(FixedPointError):
        to_scaled("1", decimals)
    with pytest.raises(FixedPointError):
        from_scaled(1, decimals)


@given(st.integers(-(10**40), 10**40), st.integers(0, 18))
def test_scaled_integers_survive_the_way_to_decimal_and_text_and_back(scaled, decimals):
    number = from_scaled(scaled, decimals)
    assert to_scaled(number, decimals) == scaled
    assert to_scaled(f"{number:f}", decimals) == scaled


def test_the_decimal_context_changes_nothing():
    with localcontext() as context:
        context.prec = 3
        assert from_scaled(123456789, 4) == Decimal("12345.6789")
        assert to_scaled("12345.6789", 4) == 123456789


@given(st.text(max_size=12))
def test_any_text_is_scaled_or_refused_by_our_error(text):
    try:
        scaled = to_scaled(text, 18)
    except FixedPointError:
        return
    assert Decimal(text) == from_scaled(scaled, 18)
