from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from protocols.anova import one_way_anova
from protocols.errors import StatisticError
from protocols.rounding import to_float
from tests.protocols import nist
from tests.protocols.plain_rows import moments_of, tables

CERTIFIED = {"AtmWtAg": nist.ATMWTAG} | {f"SmLs0{number}": each for number, each in enumerate(nist.SIMON_LESAGE, 1)}


def _levels(levels, decimals):
    return [moments_of([[value] for value in level], (decimals,)) for level in levels]


@pytest.mark.parametrize("name", CERTIFIED)
def test_an_analysis_has_the_digits_that_nist_certifies(name):
    """NIST StRD, analysis of variance; SmLs07 to 09 have 13 constant leading digits."""
    certified = CERTIFIED[name]
    found = one_way_anova(_levels(certified.levels, certified.decimals))
    between = (found.between_degrees_of_freedom, found.between_squares, found.between_mean_square)
    within = (found.within_degrees_of_freedom, found.within_squares, found.within_mean_square)
    assert between == pytest.approx(certified.between, rel=1e-14)
    assert within == pytest.approx(certified.within, rel=1e-14)
    assert (found.f, found.eta_squared) == pytest.approx((certified.f, certified.r_squared), rel=1e-14)


def test_values_far_from_zero_keep_their_digits_where_naive_floats_lose_them():
    certified = nist.SIMON_LESAGE[6]
    values = [np.array(level) / 10 for level in certified.levels]
    naive = sum(float(np.sum(level**2) - np.sum(level) ** 2 / len(level)) for level in values)
    assert abs(naive - 1.8) > 1  # sums of squares in float64 have no right digit at 10^12
    assert one_way_anova(_levels(certified.levels, 1)).within_squares == 1.8


@given(st.lists(tables(1), min_size=2, max_size=5))
def test_sums_of_squares_are_those_of_the_definition(tables_by_level):
    levels = [[Fraction(value, 100) for (value,) in rows] for rows in tables_by_level if rows]
    found = one_way_anova([moments_of(rows, (2,)) for rows in tables_by_level])
    if len(levels) < 2:
        assert found is None
        return
    values = [value for level in levels for value in level]
    middle = sum(values) / len(values)
    means = [sum(level) / len(level) for level in levels]
    between = sum(len(level) * (mean - middle) ** 2 for level, mean in zip(levels, means, strict=True))
    within = sum((value - mean) ** 2 for level, mean in zip(levels, means, strict=True) for value in level)
    assert (found.between_squares, found.within_squares) == (to_float(between), to_float(within))
    assert found.total_squares == to_float(sum((value - middle) ** 2 for value in values))
    assert (found.levels, found.rows) == (len(levels), len(values))
    assert found.eta_squared == (to_float(between / (between + within)) if between + within else None)


def test_f_and_its_probability_are_scipys():
    generator = np.random.default_rng(7)
    levels = [generator.integers(shift, 1000 + shift, size).tolist() for shift, size in ((0, 40), (60, 25), (90, 61))]
    theirs = stats.f_oneway(*([value / 10 for value in level] for level in levels))
    ours = one_way_anova(_levels(levels, 1))
    assert (ours.f, ours.p_value) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-11)


def test_empty_levels_count_for_nothing():
    levels = [[1, 2, 3], [], [4, 4, 7]]
    assert one_way_anova(_levels(levels, 0)) == one_way_anova(_levels([levels[0], levels[2]], 0))


@pytest.mark.parametrize("levels", [[], [[1, 2]], [[], [1, 2], []]])
def test_under_two_levels_there_is_nothing_to_compare(levels):
    assert one_way_anova(_levels(levels, 0)) is None


def test_without_variation_within_levels_there_is_no_f():
    apart, alike, single = (one_way_anova(_levels(each, 0)) for each in ([[1, 1], [2, 2]], [[3], [3, 3]], [[1], [2]]))
    assert (apart.f, apart.p_value, apart.eta_squared, apart.within_mean_square) == (None, None, 1.0, 0.0)
    assert (alike.f, alike.eta_squared) == (None, None)
    assert (single.f, single.within_mean_square, single.within_degrees_of_freedom) == (None, None, 0)


def test_levels_of_other_decimals_or_more_columns_are_refused():
    first = moments_of([[1], [2]], (0,))
    for other in (moments_of([[1], [2]], (1,)), moments_of([[1, 2], [2, 2]], (0, 0))):
        with pytest.raises(StatisticError):
            one_way_anova([first, other])
