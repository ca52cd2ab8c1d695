import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InconsistentTotalsError, ProtocolError, StatisticError
from protocols.moments import Moments, exact_covariance
from protocols.regression import MAXIMUM_PREDICTORS, exact_fit, linear_regression
from protocols.rounding import root_to_float, to_float
from tests.protocols import nist
from tests.protocols.plain_rows import moments_of, tables

CERTIFIED = {
    "Longley": nist.LONGLEY,
    "Filip": nist.FILIP,
    "Wampler1": nist.WAMPLER_1,
    "Wampler2": nist.WAMPLER_2,
    "Wampler3": nist.WAMPLER_3,
    "Wampler4": nist.WAMPLER_4,
    "Wampler5": nist.WAMPLER_5,
}


def _generated(rows=500):
    generator = np.random.default_rng(2024)
    predictors = generator.integers(-4000, 4000, (rows, 4))
    predictors[:, 2] += 3 * predictors[:, 0]
    outcome = predictors @ [2, -1, 3, 0] + generator.integers(-9000, 9000, rows) + 12345
    return np.column_stack([outcome, predictors]), (1, 0, 2, 1, 3)


def _residuals(rows, decimals, fit):
    """Residuals in the outcome's unit, exactly, from the rows themselves."""
    for outcome, *predictors in rows:
        fitted = fit.intercept.value
        for coefficient, value, places in zip(fit.coefficients, predictors, decimals[1:], strict=True):
            if coefficient is not None:
                fitted += coefficient.value * Fraction(value, 10**places)
        yield Fraction(outcome, 10 ** decimals[0]) - fitted


@pytest.mark.parametrize("name", CERTIFIED)
def test_a_fit_has_the_digits_that_nist_certifies(name):
    """NIST StRD, linear regression; Filip's powers of x are so nearly collinear that float64 often fails on them."""
    certified = CERTIFIED[name]
    columns = range(1, len(certified.decimals))
    fit = linear_regression(moments_of(certified.rows, certified.decimals), 0, columns)
    found = [(each.value, each.standard_error) for each in (fit.intercept, *fit.coefficients)]
    np.testing.assert_allclose(found, certified.parameters, rtol=1e-14)
    assert fit.residual_standard_error == pytest.approx(certified.residual_standard_deviation, rel=1e-14)
    assert fit.r_squared == pytest.approx(certified.r_squared, rel=1e-14)
    assert fit.f == (None if certified.f is None else pytest.approx(certified.f, rel=1e-14))


def test_every_figure_is_that_of_statsmodels():
    table, decimals = _generated()
    scaled = table / 10.0 ** np.array(decimals)
    theirs = sm.OLS(scaled[:, 0], sm.add_constant(scaled[:, 1:])).fit()
    ours = linear_regression(moments_of(table.tolist(), decimals), 0, (1, 2, 3, 4))
    found = [(each.value, each.standard_error, each.t, each.p_value) for each in (ours.intercept, *ours.coefficients)]
    expected = np.column_stack([theirs.params, theirs.bse, theirs.tvalues, theirs.pvalues])
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert ours.r_squared == pytest.approx(theirs.rsquared, rel=1e-9)
    assert ours.adjusted_r_squared == pytest.approx(theirs.rsquared_adj, rel=1e-9)
    assert ours.f == pytest.approx(theirs.fvalue, rel=1e-9)
    assert ours.f_p_value == pytest.approx(theirs.f_pvalue, rel=1e-9, abs=1e-300)
    assert ours.residual_standard_error == pytest.approx(math.sqrt(theirs.mse_resid), rel=1e-9)
    assert (ours.model_degrees_of_freedom, ours.residual_degrees_of_freedom) == (theirs.df_model, theirs.df_resid)


@pytest.mark.filterwarnings("ignore:The design matrix is rank-deficient")
def test_predictors_far_from_zero_keep_their_digits_where_statsmodels_loses_them():
    table, decimals = _generated()
    near = moments_of(table.tolist(), decimals)
    table[:, 1:] += 10**15
    far = moments_of(table.tolist(), decimals)
    ours = linear_regression(far, 0, (1, 2, 3, 4)).coefficients
    assert ours == linear_regression(near, 0, (1, 2, 3, 4)).coefficients
    scaled = table / 10.0 ** np.array(decimals)
    theirs = sm.OLS(scaled[:, 0], sm.add_constant(scaled[:, 1:])).fit().params[1:]
    assert not np.allclose([each.value for each in ours], theirs, rtol=1e-3)


@given(tables(3, least_rows=1))
def test_residuals_are_orthogonal_to_the_design_exactly(rows):
    """The normal equations themselves: no other coefficients leave residuals with a smaller sum of squares."""
    decimals = (2, 0, 3)
    fit = exact_fit(moments_of(rows, decimals), 0, (1, 2))
    residuals = list(_residuals(rows, decimals, fit))
    assert sum(residuals) == 0
    for column in (1, 2):
        assert sum(residual * row[column] for residual, row in zip(residuals, rows, strict=True)) == 0
    assert fit.residual_squares == sum(residual**2 for residual in residuals)


@given(tables(3, least_rows=3))
def test_a_standard_error_is_that_of_the_predictor_cleared_of_the_others(rows):
    """Frisch, Waugh and Lovell: var(b) is the residual variance over what no other predictor explains of this one."""
    moments = moments_of(rows, (2, 0, 3))
    fit = exact_fit(moments, 0, (1, 2))
    for coefficient, own, other in ((fit.coefficients[0], 1, 2), (fit.coefficients[1], 2, 1)):
        if coefficient is None or not fit.residual_degrees_of_freedom:
            continue
        cleared = exact_fit(moments, own, (other,)).residual_squares
        if cleared:
            assert coefficient.squared_error == fit.residual_squares / fit.residual_degrees_of_freedom / cleared


@given(tables(2, least_rows=3))
def test_the_intercepts_error_is_that_of_a_prediction_at_zero(rows):
    """With predictors moved so that their mean is 0, the intercept is the mean: its variance is s^2 / n."""
    count = len(rows)
    mean_sum = sum(row[1] for row in rows)
    centred = [[outcome, count * value - mean_sum] for outcome, value in rows]
    fit, moved = (exact_fit(moments_of(each, (0, 0)), 0, (1,)) for each in (rows, centred))
    if fit.residual_degrees_of_freedom and fit.coefficients[0] is not None:
        variance = fit.residual_squares / fit.residual_degrees_of_freedom
        assert moved.intercept.squared_error == variance / count
        at_mean = Fraction(mean_sum, count)
        assert fit.intercept.squared_error == variance / count + at_mean**2 * fit.coefficients[0].squared_error


@given(tables(2, least_rows=2))
def test_with_one_predictor_the_slope_is_covariance_over_variance(rows):
    moments = moments_of(rows, (0, 0))
    fit, spread = linear_regression(moments, 0, (1,)), exact_covariance(moments, 1, 1)
    if spread:
        slope = exact_covariance(moments, 0, 1) / spread
        assert fit.coefficients[0].value == to_float(slope)
    else:
        assert fit.aliased == (0,)


def test_a_collinear_predictor_is_named_and_the_others_are_fitted_as_without_it():
    table, decimals = _generated(60)
    rows = [[*row, 5 * row[1] - 2 * row[2] + 7, 11] for row in table.tolist()]
    fit = linear_regression(moments_of(rows, (*decimals, 0, 0)), 0, (1, 2, 5, 3, 6, 4))
    without = linear_regression(moments_of(rows, (*decimals, 0, 0)), 0, (1, 2, 3, 4))
    assert fit.aliased == (2, 4)
    assert [fit.coefficients[index].value for index in fit.aliased] == [None, None]
    kept = tuple(each for index, each in enumerate(fit.coefficients) if index not in fit.aliased)
    assert replace(fit, coefficients=kept, aliased=()) == without


def test_a_perfect_fit_has_no_t_and_no_f():
    fit = linear_regression(moments_of([[2 * x + 1, x] for x in range(5)], (0, 0)), 0, (1,))
    assert (fit.intercept.value, fit.coefficients[0].value, fit.r_squared) == (1.0, 2.0, 1.0)
    assert (fit.coefficients[0].standard_error, fit.coefficients[0].t, fit.coefficients[0].p_value) == (0.0, None, None)
    assert (fit.f, fit.f_p_value, fit.residual_standard_error) == (None, None, 0.0)


def test_without_residual_degrees_of_freedom_there_are_coefficients_alone():
    fit = linear_regression(moments_of([[1, 0], [4, 2]], (0, 0)), 0, (1,))
    assert (fit.intercept.value, fit.coefficients[0].value, fit.residual_degrees_of_freedom) == (1.0, 1.5, 0)
    assert fit.coefficients[0].standard_error is fit.residual_standard_error is fit.adjusted_r_squared is fit.f is None


def test_an_outcome_that_never_varies_has_no_share_explained():
    fit = linear_regression(moments_of([[7, 0], [7, 2], [7, 5]], (1, 0)), 0, (1,))
    assert (fit.intercept.value, fit.coefficients[0].value, fit.r_squared) == (0.7, 0.0, None)


def test_over_no_rows_there_is_no_fit():
    assert linear_regression(moments_of([], (0, 0)), 0, (1,)) is None


def test_coefficients_are_in_units_whatever_the_decimals():
    rows = [[3, 1], [5, 2], [10, 3], [11, 4]]
    plain = linear_regression(moments_of(rows, (0, 0)), 0, (1,))
    scaled = linear_regression(moments_of([[1000 * y, 10 * x] for y, x in rows], (3, 1)), 0, (1,))
    assert scaled == plain


def test_sixteen_predictors_are_fitted_exactly():
    generator = np.random.default_rng(16)
    table = generator.integers(0, 10**9, (60, MAXIMUM_PREDICTORS + 1)).tolist()
    decimals = (2,) * (MAXIMUM_PREDICTORS + 1)
    fit = exact_fit(moments_of(table, decimals), 0, range(1, MAXIMUM_PREDICTORS + 1))
    residuals = list(_residuals(table, decimals, fit))
    assert all(sum(r * row[column] for r, row in zip(residuals, table, strict=True)) == 0 for column in range(1, 17))
    rounded = linear_regression(moments_of(table, decimals), 0, range(1, MAXIMUM_PREDICTORS + 1))
    assert rounded.coefficients[15].standard_error == root_to_float(fit.coefficients[15].squared_error)


@pytest.mark.parametrize("predictors", [(), (0, 1), (1, 1), (3,), (-1,), tuple(range(1, 18))])
def test_predictors_that_are_none_are_refused(predictors):
    with pytest.raises(StatisticError):
        linear_regression(moments_of([[1, 2, 3], [3, 5, 4]], (0, 0, 0)), 0, predictors)


def test_moments_of_which_every_two_columns_agree_but_all_three_do_not_are_refused():
    """Correlations 0.9, 0.9 and -0.9: each is possible, and no three columns have them together."""
    moments = Moments(2, (0, 0, 0), (10, 9, 9, 10, -9, 10), (0, 0, 0))
    with pytest.raises(InconsistentTotalsError):
        linear_regression(moments, 0, (1, 2))


def test_more_independent_columns_than_rows_allow_are_refused():
    with pytest.raises(InconsistentTotalsError):
        linear_regression(Moments(2, (0, 0, 0), (10, 0, 0, 10, 0, 10), (0, 0, 0)), 0, (1, 2))


@given(st.integers(0, 5), st.lists(st.integers(-3, 3), min_size=3, max_size=3), st.data())
def test_any_moments_are_fitted_or_refused_by_our_own_error(rows, sums, data):
    products = data.draw(st.lists(st.integers(-4, 20), min_size=6, max_size=6))
    try:
        fit = linear_regression(Moments(rows, tuple(sums), tuple(products), (0, 0, 0)), 0, (1, 2))
    except ProtocolError:
        return
    assert fit is None or fit.r_squared is None or 0 <= fit.r_squared <= 1
