import math
from bisect import bisect_right
from decimal import Decimal
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import StatisticError
from protocols.quantiles import ClosedCount, Quantile, quantile
from protocols.rounding import to_decimal

PROBABILITIES = st.sampled_from([Fraction(n, 4) for n in (1, 2, 3)]) | st.fractions(
    min_value=Fraction(1, 50), max_value=Fraction(49, 50), max_denominator=50
)
"""Quarters often fall between two of few values, where `<` and `<=` differ."""

EDGES = st.sets(st.integers(-30, 30), min_size=3, max_size=7).map(sorted)
MEDIAN = Fraction(1, 2)


def _sample_quantile(values, probability):
    """Definition 1 of Hyndman and Fan (1996): the value at position ceil(n p)."""
    return sorted(values)[math.ceil(len(values) * probability) - 1]


def _bin(value, edges):
    return min(bisect_right(edges, value) - 1, len(edges) - 2)


def _counts(values, edges):
    counts = [0] * (len(edges) - 1)
    for value in values:
        counts[_bin(value, edges)] += 1
    return counts


@st.composite
def _closed_histograms(draw):
    """Values, their edges, and their counts, some of them closed within true bounds."""
    edges = draw(EDGES)
    values = draw(st.lists(st.integers(edges[0], edges[-1]), min_size=1, max_size=25))
    counts = []
    for count in _counts(values, edges):
        least = draw(st.integers(0, count))
        most = draw(st.none() | st.integers(count, count + 5))
        counts.append(draw(st.sampled_from((count, count, ClosedCount(least, most), ClosedCount()))))
    return values, edges, counts


@given(_closed_histograms(), PROBABILITIES)
def test_the_samples_quantile_lies_within_the_interval_whatever_is_closed(histogram, probability):
    values, edges, counts = histogram
    found = quantile(counts, edges, probability, 0)
    if found is not None:
        true = _sample_quantile(values, probability)
        assert found.lo <= true <= found.hi
        assert true < found.hi or found.hi == edges[-1]
        assert found.lo <= found.estimate <= found.hi


@given(EDGES, st.data(), PROBABILITIES)
def test_with_every_count_told_the_interval_is_the_quantiles_bin(edges, data, probability):
    values = data.draw(st.lists(st.integers(edges[0], edges[-1]), min_size=1, max_size=25))
    found = quantile(_counts(values, edges), edges, probability, 0)
    position = _bin(_sample_quantile(values, probability), edges)
    assert (found.lo, found.hi) == (edges[position], edges[position + 1])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=4), PROBABILITIES)
def test_the_interval_holds_just_the_bins_that_some_counts_within_the_bounds_allow(bounds, probability):
    counts = [ClosedCount(least, least + spread) for least, spread in bounds]
    edges = list(range(len(counts) + 1))
    allowed = set()
    for guess in product(*(range(count.least, count.most + 1) for count in counts)):
        values = [position for position, count in enumerate(guess) for _ in range(count)]
        if values:
            allowed.add(_sample_quantile(values, probability))
    found = quantile(counts, edges, probability, 0)
    if any(count.least for count in counts):
        assert (found.lo, found.hi) == (min(allowed), max(allowed) + 1)
    else:
        assert found is None


@given(st.lists(st.integers(0, 3), min_size=2, max_size=4), st.data(), PROBABILITIES)
def test_a_count_without_bound_is_as_good_as_any_large_one(counts, data, probability):
    position = data.draw(st.integers(0, len(counts) - 1))
    edges = list(range(len(counts) + 1))
    unbounded, large = (
        [*counts[:position], each, *counts[position + 1 :]] for each in (ClosedCount(), ClosedCount(0, 10**6))
    )
    assert quantile(unbounded, edges, probability, 0) == quantile(large, edges, probability, 0)


def test_a_quantile_that_ends_just_at_a_bins_last_row_lies_in_that_bin():
    """Of four values, the second is the median; the empty bin after it and the bin of the third do not hold it."""
    assert quantile([2, 0, 2], [0, 10, 20, 30], MEDIAN, 0) == Quantile(Decimal(10), lo=Decimal(0), hi=Decimal(10))


def test_bins_that_do_not_move_the_median_may_stay_closed():
    """Two rows at most above: of 12 to 14 rows, the sixth or seventh is the median, in the second bin either way."""
    assert quantile([4, 6, 2, ClosedCount(0, 2)], [0, 10, 20, 30, 40], MEDIAN, 0) == Quantile(
        estimate=10 + to_decimal(Fraction(10, 3)), lo=Decimal(10), hi=Decimal(20)
    )


def test_the_estimate_spreads_the_rows_of_a_bin_evenly():
    found = quantile([10, 20, 10], [0, 100, 300, 400], Fraction(3, 10), 2)
    assert found == Quantile(estimate=Decimal("1.2"), lo=Decimal(1), hi=Decimal(3))


def test_in_fine_bins_the_interval_holds_numpys_inverted_distribution_function():
    values = np.random.default_rng(3).integers(0, 1000, 4001)
    counts, edges = np.histogram(values, bins=range(0, 1001, 10))
    for probability in (Fraction(1, 4), MEDIAN, Fraction(9, 10)):
        theirs = int(np.quantile(values, float(probability), method="inverted_cdf"))
        found = quantile(counts.tolist(), edges.tolist(), probability, 0)
        assert found.lo <= theirs < found.hi == found.lo + 10


@pytest.mark.parametrize("counts", [[0, 0], [ClosedCount(), 0], [ClosedCount(), ClosedCount(0, 9)]])
def test_of_what_may_be_no_rows_nothing_is_said(counts):
    assert quantile(counts, [0, 1, 2], MEDIAN, 0) is None


@pytest.mark.parametrize(
    ("counts", "edges", "probability", "decimals"),
    [
        ([], [0], MEDIAN, 0),
        ([1, 2], [0, 1], MEDIAN, 0),
        ([1, 2], [0, 1, 1], MEDIAN, 0),
        ([1, 2], [0, 1, 2], Fraction(0), 0),
        ([1, 2], [0, 1, 2], Fraction(1), 0),
        ([1, -1], [0, 1, 2], MEDIAN, 0),
        ([1, 2], [0, 1, 2], MEDIAN, -1),
    ],
)
def test_what_is_no_histogram_or_no_probability_is_refused(counts, edges, probability, decimals):
    with pytest.raises(StatisticError):
        quantile(counts, edges, probability, decimals)


@pytest.mark.parametrize("bounds", [(-1, None), (3, 2)])
def test_bounds_out_of_order_are_refused(bounds):
    with pytest.raises(StatisticError):
        ClosedCount(*bounds)
