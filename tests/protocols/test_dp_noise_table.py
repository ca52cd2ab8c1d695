from bisect import bisect_right
from decimal import Context, Decimal
from fractions import Fraction
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dp_noise_table import MAX_TABLE_VARIANCE, MIN_VARIANCE, _weights, build_table
from protocols.errors import NoiseError
from tests.protocols.noise_laws import SIGNIFICANCE, chi_square_p, exact_law, seeded

VARIANCES = [Fraction(1, 4), Fraction(1), Fraction(355, 113), Fraction(100), Fraction(10**6, 7), Fraction(1 << 20)]

table_of = cache(build_table)


def counts_of(table):
    """c(-T), ..., c(T)."""
    sums = [0, *table.cumulative, 1 << 128]
    return [after - before for before, after in pairwise(sums)]


def true_distance(table):
    """The table's total variation distance to the law, by `decimal` at 90 digits, each weight by itself."""
    context = Context(prec=90)
    reach = 2 * table.largest  # the weights beyond add less than 10^-90
    exponent = context.divide(Decimal(-table.variance.denominator), Decimal(2 * table.variance.numerator))
    weights = [context.multiply(exponent, Decimal(x * x)).exp(context) for x in range(reach + 1)]
    exact = [Fraction(weight) for weight in weights]
    mass = 2 * sum(exact) - exact[0]
    counts = counts_of(table)[table.largest :] + [0] * (reach - table.largest)
    misses = [abs(Fraction(count, 1 << 128) - weight / mass) for count, weight in zip(counts, exact, strict=True)]
    return (2 * sum(misses) - misses[0]) / 2


@pytest.mark.parametrize("variance", VARIANCES[:-1], ids=str)
def test_every_weight_errs_by_no_more_than_the_proof_says(variance):
    weights, tail, error = _weights(variance)
    context = Context(prec=110)
    exponent = context.divide(Decimal(-variance.denominator), Decimal(2 * variance.numerator))
    worst = Fraction(0)
    for x, weight in enumerate(weights):
        exact = Fraction(context.multiply(exponent, Decimal(x * x)).exp(context))
        worst = max(worst, abs(Fraction(weight, 1 << 256) - exact))
    assert worst < error
    assert variance < 100 or worst > Fraction(3, 1 << 256)  # so that a bound without the growth over x would not do
    beyond = range(len(weights), 2 * len(weights))
    left_out = sum(Fraction(context.multiply(exponent, Decimal(x * x)).exp(context)) for x in beyond)
    assert left_out < tail < 2 * left_out


@pytest.mark.parametrize("variance", VARIANCES[:-1], ids=str)
def test_the_stated_distance_bounds_the_true_one_closely(variance):
    table = table_of(variance)
    truth = true_distance(table)
    assert truth <= table.distance <= 2 * truth


@given(st.fractions(MIN_VARIANCE, 300, max_denominator=10**6))
@settings(max_examples=20, deadline=None)
def test_the_stated_distance_bounds_the_true_one_for_any_variance(variance):
    table = build_table(variance)
    assert true_distance(table) <= table.distance < Fraction(1, 1 << 112)


def test_the_largest_table_keeps_the_stated_distance():
    table = table_of(MAX_TABLE_VARIANCE)
    assert table.distance < Fraction(1, 1 << 116)
    assert table.largest < 1 << 15
    law = np.array([count / 2**128 for count in counts_of(table)])
    assert np.abs(law - exact_law(1 << 20, table.largest)).max() < 1e-15


@pytest.mark.parametrize("variance", VARIANCES, ids=str)
def test_a_tables_counts_are_symmetric_and_fall_from_the_middle(variance):
    counts = counts_of(table_of(variance))
    assert counts == counts[::-1]
    assert all(count > 0 for count in counts)
    half = counts[len(counts) // 2 :]
    assert half == sorted(half, reverse=True)


# A draw is what its word of 128 bits says.


class Word:
    """A stream that yields one word: its first 16 bits, then 64, then 48, each of them little-endian."""

    def __init__(self, word):
        self.parts = [
            (word >> 112).to_bytes(2, "little"),
            (word >> 48 & 2**64 - 1).to_bytes(8, "little"),
            (word & 2**48 - 1).to_bytes(6, "little"),
        ]

    def __call__(self, count):
        part = self.parts.pop(0)
        assert len(part) == count
        return part


def drawn(table, word):
    return int(table.draw(1, Word(word))[0])


@pytest.mark.parametrize("variance", [Fraction(1, 4), Fraction(1), Fraction(100)], ids=str)
def test_words_around_every_entry_give_the_value_that_the_whole_word_says(variance):
    table = table_of(variance)
    words = {entry + step for entry in table.cumulative for step in (-1, 0, 1)} | {0}
    for word in words - {2**128}:
        assert drawn(table, word) == bisect_right(table.cumulative, word) - table.largest


@given(st.integers(0, 2**128 - 1))
def test_any_word_gives_the_value_that_the_whole_word_says(word):
    table = table_of(Fraction(10**6, 7))
    assert drawn(table, word) == bisect_right(table.cumulative, word) - table.largest


def test_the_first_and_the_last_word_give_the_largest_values():
    table = table_of(Fraction(100))
    assert (drawn(table, 0), drawn(table, 2**128 - 1)) == (-table.largest, table.largest)


@pytest.mark.parametrize("count", [0, 1, 65_536, 65_537])
def test_as_many_values_are_drawn_as_asked(count):
    values = table_of(Fraction(100)).draw(count, seeded("counts")())
    assert values.shape == (count,)
    assert count == 0 or np.unique(values[-1000:]).size > min(count, 30) - 1


@pytest.mark.parametrize("variance", VARIANCES[:5], ids=str)
def test_draws_follow_the_law(variance):
    values = table_of(variance).draw(1_000_000, seeded("law")()).astype(np.int64)
    assert chi_square_p(values, exact_law(variance)) > SIGNIFICANCE


@pytest.mark.parametrize("factor", [Fraction(99, 100), Fraction(101, 100)], ids=str)
def test_the_test_of_the_law_sees_a_hundredth_more_or_less_variance(factor):
    values = build_table(100 * factor).draw(1_000_000, seeded("law")()).astype(np.int64)
    assert chi_square_p(values, exact_law(100)) < SIGNIFICANCE


@pytest.mark.parametrize(
    "variance",
    [Fraction(0), Fraction(-1), Fraction(1, 5), MAX_TABLE_VARIANCE + 1, Fraction(2**65 + 1, 2**65)],
    ids=str,
)
def test_a_variance_out_of_range_is_refused(variance):
    with pytest.raises(NoiseError, match="variance"):
        build_table(variance)
