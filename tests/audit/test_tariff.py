from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import Fields
from audit.errors import LimitExceededError, MalformedError
from audit.jcs import canonicalise
from audit.tariff import NO_UNITS, Tariff, Unit, Units, format_micro, price

from .mutations import accepted_or_our_error, mutated
from .samples import TARIFF, UNITS

QUANTITY = st.integers(0, 10**6)


def test_a_price_is_the_sum_of_its_four_lines() -> None:
    made = price(Units(2, 7_000, 12, 1_500_000), replace(TARIFF, per_epsilon_micro=7))
    assert [(line.unit, line.quantity, line.amount_micro) for line in made.lines] == [
        (Unit.CALL, 2, 2_000_000),
        (Unit.DECLARED_ROWS, 7_000, 1_750_000),
        (Unit.CIPHERTEXTS, 12, 40_000),
        (Unit.EPSILON, 1_500_000, 11),
    ]
    assert made.total_micro == 3_790_011
    assert made.currency == "CNY"


@pytest.mark.parametrize(("rows", "amount"), [(499, 0), (500, 1), (501, 1), (1499, 1), (1500, 2), (2500, 3)])
def test_half_a_micro_unit_is_rounded_up(rows: int, amount: int) -> None:
    assert price(Units(0, rows, 0, 0), Tariff("CNY", 0, 1, 0, 0)).total_micro == amount


@given(QUANTITY, QUANTITY, QUANTITY, QUANTITY, QUANTITY, QUANTITY)
def test_every_line_is_within_half_a_micro_unit_of_the_exact_amount(
    rows: int, ciphertexts: int, epsilon: int, per_rows: int, per_ciphertexts: int, per_epsilon: int
) -> None:
    made = price(Units(0, rows, ciphertexts, epsilon), Tariff("CNY", 0, per_rows, per_ciphertexts, per_epsilon))
    exact = [
        Fraction(0),
        Fraction(rows * per_rows, 1000),
        Fraction(ciphertexts * per_ciphertexts, 1000),
        Fraction(epsilon * per_epsilon, 10**6),
    ]
    for line, amount in zip(made.lines, exact, strict=True):
        assert -Fraction(1, 2) < line.amount_micro - amount <= Fraction(1, 2)


def test_a_price_beyond_64_bits_is_refused() -> None:
    with pytest.raises(LimitExceededError):
        price(Units(2, 0, 0, 0), Tariff("CNY", 2**63 - 1, 0, 0, 0))


@pytest.mark.parametrize("wrong", [(-1, 0, 0, 0), (0, 2**53, 0, 0), (0, 0, 0, 2**63), (0, 0, 0, -1)])
def test_units_outside_their_range_are_refused(wrong: tuple[int, int, int, int]) -> None:
    with pytest.raises(MalformedError):
        Units(*wrong)


@pytest.mark.parametrize("change", [{"currency": "cny"}, {"per_call_micro": -1}, {"per_epsilon_micro": 2**63}])
def test_a_tariff_outside_its_range_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MalformedError):
        replace(TARIFF, **change)  # type: ignore[arg-type]


def test_units_add_up() -> None:
    assert UNITS + NO_UNITS == UNITS
    assert Units(1, 2, 3, 4) + Units(10, 20, 30, 40) == Units(11, 22, 33, 44)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (1_500_000, "1.500000"),
        (0, "0.000000"),
        (1, "0.000001"),
        (-1_000_001, "-1.000001"),
        (10**12, "1000000.000000"),
    ],
)
def test_amounts_are_written_with_six_decimals(amount: int, text: str) -> None:
    assert format_micro(amount) == text


@given(mutated(canonicalise(TARIFF.to_json())))
def test_a_mutated_tariff_is_accepted_as_it_stands_or_refused(data: bytes) -> None:
    accepted_or_our_error(
        lambda raw: canonicalise(Tariff.from_json(Fields.parse(raw, limit=4096)).to_json()),
        data,
    )


@given(mutated(canonicalise(UNITS.to_json())))
def test_mutated_units_are_accepted_as_they_stand_or_refused(data: bytes) -> None:
    accepted_or_our_error(
        lambda raw: canonicalise(Units.from_json(Fields.parse(raw, limit=4096)).to_json()),
        data,
    )
