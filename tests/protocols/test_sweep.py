from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InconsistentTotalsError
from protocols.sweep import sweep

ROWS = st.lists(st.lists(st.integers(-9, 9), min_size=4, max_size=4), min_size=0, max_size=7)


def _products(rows):
    """Sums of products of four columns: positive semidefinite, of less than full rank when rows are few or alike."""
    return [[sum(row[first] * row[second] for row in rows) for second in range(4)] for first in range(4)]


@given(ROWS)
def test_swept_pivots_hold_their_inverse_and_the_solution(rows):
    matrix = _products(rows)
    swept = sweep(matrix)
    for first in swept.pivots:
        for second in swept.pivots:
            entry = sum(matrix[first][middle] * swept.entries[middle][second] for middle in swept.pivots)
            assert entry == (swept.denominator if first == second else 0)
        solved = sum(matrix[first][middle] * swept.entries[middle][-1] for middle in swept.pivots)
        assert solved == matrix[first][-1] * swept.denominator


@given(ROWS)
def test_the_last_corner_holds_the_residual_sum_of_squares(rows):
    swept = sweep(_products(rows))
    weights = {pivot: Fraction(swept.entries[pivot][-1], swept.denominator) for pivot in swept.pivots}
    residuals = [row[-1] - sum(weight * row[pivot] for pivot, weight in weights.items()) for row in rows]
    assert Fraction(swept.entries[-1][-1], swept.denominator) == sum(residual**2 for residual in residuals)


def test_a_combination_of_earlier_columns_is_no_pivot():
    rows = [[a, b, 2 * a - b, c] for a, b, c in ((1, 0, 2), (0, 1, 5), (2, 3, -1), (4, 1, 0))]
    assert sweep(_products(rows)).pivots == (0, 1)


@pytest.mark.parametrize(
    "impossible",
    [[[-1, 0], [0, 1]], [[0, 1], [1, 1]], [[1, 2], [2, 1]]],
    ids=["a negative square", "a product of zeros", "a negative residual"],
)
def test_a_matrix_of_no_rows_is_refused(impossible):
    with pytest.raises(InconsistentTotalsError):
        sweep(impossible)
