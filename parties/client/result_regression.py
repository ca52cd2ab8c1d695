"""A regression's tables: its coefficients, and how well it fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import pandas as pd

from parties.client.result_cells import Answer, group_label
from parties.client.result_columns import Columns
from parties.client.result_figures import quotient_unit
from parties.client.result_moments import NO_ROWS_HAVE_THESE, StatisticSums, moments_by_cell
from parties.client.result_notes import Notes
from parties.client.statistic_text import statistic_name
from protocols.errors import InconsistentTotalsError
from protocols.moments import Moments
from protocols.regression import Coefficient, LinearRegression, linear_regression
from sandbox.statistic import Statistic

INTERCEPT: Final = "(intercept)"
"""The term of the constant."""

T = TypeVar("T")
_NOTHING: Final = Coefficient(None, None, None, None)


def fit_name(statistic: Statistic) -> str:
    """Return the name of the table that says how well a regression fits."""
    return f"{statistic_name(statistic)} fit"


def regression_tables(answer: Answer, statistic: Statistic, notes: Notes) -> Mapping[str, pd.DataFrame]:
    """Return the table of the coefficients under the statistic's name, and that of the fit under `fit_name`."""
    name = statistic_name(statistic)
    sums = StatisticSums.of(statistic, answer.frame)
    fits = [
        None if moments is None else _fit(answer, sums, moments, index, notes)
        for index, moments in enumerate(moments_by_cell(answer, sums, notes))
    ]
    return {name: _coefficients(answer, statistic, fits), fit_name(statistic): _fits(answer, statistic, fits)}


def _fit(answer: Answer, sums: StatisticSums, moments: Moments, index: int, notes: Notes) -> LinearRegression | None:
    """Fit one cell. Collinear predictors leave the others standing, and are named."""
    statistic = sums.statistic
    name, place = statistic_name(statistic), group_label(answer.groups, index)
    outcome, *predictors = (sums.added.index(column) for column in statistic.columns)
    try:
        fit = linear_regression(moments, outcome, predictors)
    except InconsistentTotalsError:
        notes.add(f"{name}: {NO_ROWS_HAVE_THESE}", place)
        return None
    if fit is None:
        notes.add(f"{name}: undefined, no row has a value in all of its columns", place)
    elif fit.aliased:
        left_out = ", ".join(statistic.others[position] for position in fit.aliased)
        reason = "which does not vary, or follows from the predictors before it"
        notes.add(f"{name}: fitted without {left_out}, {reason}", place)
    elif not fit.residual_degrees_of_freedom:
        notes.add(f"{name}: no errors can be estimated, there are as many coefficients as rows", place)
    return fit


def _coefficients(answer: Answer, statistic: Statistic, fits: Sequence[LinearRegression | None]) -> pd.DataFrame:
    terms = [INTERCEPT, *statistic.others]
    found = [
        coefficient
        for fit in fits
        for coefficient in ([_NOTHING] * len(terms) if fit is None else [fit.intercept, *fit.coefficients])
    ]
    outcome, *predictors = (answer.frame.column(column).unit for column in statistic.columns)
    units = [outcome, *(quotient_unit(outcome, unit) for unit in predictors)]
    columns = Columns(answer.groups, len(terms))
    columns.add("term", terms * answer.groups.size)
    columns.floats("coefficient", (coefficient.value for coefficient in found), "see unit")
    columns.floats("std error", (coefficient.standard_error for coefficient in found), "see unit")
    columns.floats("t", (coefficient.t for coefficient in found))
    columns.floats("p", (coefficient.p_value for coefficient in found))
    columns.add("unit", units * answer.groups.size)
    columns.contributors(answer.table(None).contributors)
    return columns.frame()


def _fits(answer: Answer, statistic: Statistic, fits: Sequence[LinearRegression | None]) -> pd.DataFrame:
    def of(figure: Callable[[LinearRegression], T | None]) -> list[T | None]:
        return [None if fit is None else figure(fit) for fit in fits]

    unit = answer.frame.column(statistic.columns[0]).unit
    columns = Columns(answer.groups)
    columns.integers("n", of(lambda fit: fit.rows), "rows")
    columns.floats("R2", of(lambda fit: fit.r_squared))
    columns.floats("adjusted R2", of(lambda fit: fit.adjusted_r_squared))
    columns.floats("residual std error", of(lambda fit: fit.residual_standard_error), unit)
    columns.floats("F", of(lambda fit: fit.f))
    columns.floats("p", of(lambda fit: fit.f_p_value))
    columns.integers("df model", of(lambda fit: fit.model_degrees_of_freedom))
    columns.integers("df residual", of(lambda fit: fit.residual_degrees_of_freedom))
    columns.contributors(answer.table(None).contributors)
    return columns.frame()
