from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InconsistentTotalsError, ProtocolError, StatisticError
from protocols.moments import (
    Moments,
    correlation,
    covariance,
    exact_covariance,
    standard_deviation,
    variance,
)
from protocols.rounding import root_to_decimal, to_decimal
from protocols.statistics import mean
from tests.protocols.plain_rows import moments_of, tables


def _covariance_by_definition(rows, first, second, unit):
    """The mean product of deviations from the mean, in fractions: the two-pass definition."""
    means = [Fraction(sum(row[column] for row in rows), len(rows)) for column in (first, second)]
    products = ((row[first] - means[0]) * (row[second] - means[1]) for row in rows)
    return sum(products) / (len(rows) - 1) / unit


@given(tables(3, least_rows=2))
def test_covariances_are_those_of_the_definition_exactly(rows):
    decimals = (0, 2, 5)
    moments = moments_of(rows, decimals)
    for first in range(3):
        for second in range(3):
            exact = _covariance_by_definition(rows, first, second, 10 ** (decimals[first] + decimals[second]))
            assert exact_covariance(moments, first, second) == exact
            assert covariance(moments, first, second) == to_decimal(exact)


@given(tables(1, least_rows=2))
def test_a_deviation_is_a_root_rounded_once(rows):
    moments = moments_of(rows, (3,))
    exact = _covariance_by_definition(rows, 0, 0, 10**6)
    assert standard_deviation(moments) == root_to_decimal(exact)


@given(tables(2, least_rows=2))
def test_correlations_stay_within_one_and_are_those_of_the_definition(rows):
    own = [_covariance_by_definition(rows, column, column, 1) for column in (0, 1)]
    joint = _covariance_by_definition(rows, 0, 1, 1)
    found = correlation(moments_of(rows, (0, 4)))
    if not all(own):
        assert found is None
    else:
        magnitude = root_to_decimal(joint**2 / (own[0] * own[1]))
        assert found == (magnitude.copy_negate() if joint < 0 else magnitude)
        assert -1 <= found <= 1


def test_a_spread_far_from_zero_survives_where_naive_floats_lose_it():
    rows = [[10**15 + step] for step in (0, 1, 2, 3, 4)]
    values = np.array(rows, dtype=float)[:, 0]
    naive = (np.sum(values**2) - np.sum(values) ** 2 / 5) / 4
    assert abs(naive - 2.5) > 1  # the same formula in float64 has no right digit
    assert variance(moments_of(rows, (0,))) == Decimal("2.5")


@pytest.mark.parametrize("offset", [1000000, 10000000])
def test_nists_numacc3_and_numacc4_come_out_exactly(offset):
    """NIST StRD, univariate, NumAcc3 and NumAcc4: mean offset + 0.2 and standard deviation 0.1, both exact."""
    rows = [[10 * offset + 2]] + [[10 * offset + 1], [10 * offset + 3]] * 500
    moments = moments_of(rows, (1,))
    assert mean(moments.sums[0], moments.rows, 1) == offset + Decimal("0.2")
    assert standard_deviation(moments) == Decimal("0.1")


def matrix(of_two, moments):
    columns = range(len(moments.sums))
    return tuple(tuple(of_two(moments, first, second) for second in columns) for first in columns)


def test_matrices_are_numpys():
    generator = np.random.default_rng(1988)
    table = generator.integers(-5000, 5000, (400, 4))
    table[:, 3] += 2 * table[:, 0]
    moments = moments_of(table.tolist(), (0, 1, 2, 3))
    scaled = table / 10.0 ** np.arange(4)
    np.testing.assert_allclose(np.array(matrix(covariance, moments), float), np.cov(scaled.T), rtol=1e-12)
    np.testing.assert_allclose(np.array(matrix(correlation, moments), float), np.corrcoef(scaled.T), rtol=1e-12)


def test_a_matrix_has_ones_on_its_diagonal_but_for_a_column_that_does_not_vary():
    moments = moments_of([[1, 7, -2], [2, 7, -4], [5, 7, -10]], (0, 0, 0))
    assert matrix(correlation, moments) == ((1, None, -1), (None, None, None), (-1, None, 1))


@pytest.mark.parametrize("rows", [[], [[4, 5]]])
def test_under_two_rows_no_spread_is_defined(rows):
    moments = moments_of(rows, (0, 0))
    assert variance(moments) is None
    assert standard_deviation(moments) is None
    assert covariance(moments) is None
    assert correlation(moments) is None


@pytest.mark.parametrize(
    "impossible",
    [(0, (1,), (0,)), (0, (0,), (1,)), (3, (3,), (2,)), (2, (0, 0), (1, 2, 1))],
    ids=["a sum of no rows", "squares of no rows", "a negative variance", "a correlation beyond 1"],
)
def test_totals_that_no_rows_have_are_refused(impossible):
    rows, sums, products = impossible
    with pytest.raises(InconsistentTotalsError):
        Moments(rows, sums, products, (0,) * len(sums))


@pytest.mark.parametrize(
    "misfit",
    [
        (1, (), (), ()),
        (1, (1, 1), (1, 1), (0, 0)),
        (1, (1,), (1,), (0, 0)),
        (-1, (0,), (0,), (0,)),
        (1, (1,), (1,), (-1,)),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(misfit):
    with pytest.raises(StatisticError):
        Moments(*misfit)


@pytest.mark.parametrize("positions", [(0, 2), (-1, 0)])
def test_a_position_without_a_column_is_refused(positions):
    moments = moments_of([[1, 2], [3, 5]], (0, 0))
    for statistic in (covariance, correlation):
        with pytest.raises(StatisticError):
            statistic(moments, *positions)


@given(st.integers(-2, 5), st.lists(st.integers(), max_size=4), st.lists(st.integers(), max_size=10))
def test_any_integers_are_moments_or_refused_by_our_own_error(rows, sums, products):
    try:
        moments = Moments(rows, tuple(sums), tuple(products), (0,) * len(sums))
    except ProtocolError:
        return
    for row in matrix(correlation, moments):
        assert all(entry is None or abs(entry) <= 1 for entry in row)
