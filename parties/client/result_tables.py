"""The statistics that are tables: histogram, correlation matrix, regression, analysis of variance, quantiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeVar

import pandas as pd

from parties.client.result_cells import Answer, group_label
from parties.client.result_columns import Columns
from parties.client.result_figures import WHY_UNDEFINED, correlation, is_table, product_unit
from parties.client.result_moments import NO_ROWS_HAVE_THESE, StatisticSums, moments_by_cell
from parties.client.result_notes import Notes
from parties.client.result_regression import fit_name, regression_tables
from parties.client.statistic_text import statistic_name
from protocols.anova import OneWayAnova, one_way_anova
from protocols.errors import InconsistentTotalsError
from protocols.quantiles import ClosedCount, Quantile, quantile
from sandbox.frame import FrameColumn
from sandbox.query import AggregateQuery
from sandbox.statistic import MILLION, ROWS, Statistic, StatisticKind

SOURCES: Final = ("between", "within", "total")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QuantileFigure:
    """A quantile in one group, None where nothing can be said.

    `released` is of the rows in open bins; `all_rows` has the interval of the quantile over all rows within the edges,
    whatever closed bins hold and whatever providers withheld from the others.
    """

    released: Quantile | None
    all_rows: Quantile | None


def table_names(query: AggregateQuery) -> tuple[str, ...]:
    """Return the names of the tables that a query's answer has, in order."""
    names = []
    for statistic in query.statistics:
        if is_table(statistic):
            names.append(statistic_name(statistic))
        if statistic.kind is StatisticKind.REGRESSION:
            names.append(fit_name(statistic))
    return tuple(names)


def tables_of(answer: Answer, statistic: Statistic, notes: Notes) -> Mapping[str, pd.DataFrame]:
    """Return a statistic's tables by name; most have one."""
    name = statistic_name(statistic)
    match statistic.kind:
        case StatisticKind.HISTOGRAM:
            return {name: _histogram(answer, statistic)}
        case StatisticKind.CORRELATION:
            return {name: _correlations(answer, statistic, notes)}
        case StatisticKind.QUANTILE:
            return {name: _quantiles(answer, statistic)}
        case StatisticKind.ANOVA:
            return {name: _anova(answer, statistic, notes)}
        case _:
            return regression_tables(answer, statistic, notes)


def quantile_figures(answer: Answer, statistic: Statistic, millionths: int) -> list[QuantileFigure]:
    """Return one quantile in each group of the query.

    The quantile is a value of the sample (definition 1 of Hyndman and Fan 1996), among the values within the edges.
    """
    column = answer.frame.column(statistic.columns[0])
    table = answer.table(column.name)
    measure = statistic.measures(answer.frame)[-1]
    probability = Fraction(millionths, MILLION)
    found = []
    for group in range(answer.groups.size):
        cells = table.group(group)
        counts = [0 if cell is None else cell[measure] for cell in cells]
        first = group * table.bins
        complete = [table.contributors[first + position] == answer.providers for position in range(table.bins)]
        bounds = [
            count if whole else ClosedCount(least=count, most=None)
            for count, whole in zip(counts, complete, strict=True)
        ]
        found.append(
            QuantileFigure(
                quantile(counts, column.edges, probability, column.decimals),
                quantile(bounds, column.edges, probability, column.decimals),
            )
        )
    return found


def _histogram(answer: Answer, statistic: Statistic) -> pd.DataFrame:
    table = answer.table(statistic.refined_by)
    columns = Columns(table.table.grid)
    columns.integers("count", (None if cell is None else cell[ROWS] for cell in table.cells()), "rows")
    columns.contributors(table.contributors)
    return columns.frame()


def _correlations(answer: Answer, statistic: Statistic, notes: Notes) -> pd.DataFrame:
    names = statistic.columns
    sums = StatisticSums.of(statistic, answer.frame)
    order = [sums.added.index(name) for name in names]
    rows: list[list[float | None]] = []
    for index, moments in enumerate(moments_by_cell(answer, sums, notes)):
        rows.extend(
            [None if moments is None else correlation(moments, first, second) for second in order] for first in order
        )
        if moments is not None and any(figure is None for row in rows[-len(names) :] for figure in row):
            reason = WHY_UNDEFINED[statistic.kind]
            notes.add(f"{statistic_name(statistic)}: partly undefined, {reason}", group_label(answer.groups, index))
    columns = Columns(answer.groups, len(names))
    columns.add("column", list(names) * answer.groups.size)
    for position, name in enumerate(names):
        columns.floats(f"r({name})", (row[position] for row in rows))
    columns.contributors(answer.table(None).contributors)
    return columns.frame()


def _quantiles(answer: Answer, statistic: Statistic) -> pd.DataFrame:
    """One row a group and probability, the groups outermost."""
    by_probability = [quantile_figures(answer, statistic, millionths) for millionths in statistic.probabilities]
    found = [figures[group] for group in range(answer.groups.size) for figures in by_probability]
    unit = answer.frame.column(statistic.columns[0]).unit
    released, all_rows = [figure.released for figure in found], [figure.all_rows for figure in found]
    columns = Columns(answer.groups, len(by_probability))
    columns.floats("probability", [value / MILLION for value in statistic.probabilities] * answer.groups.size)
    columns.floats("estimate", (None if figure is None else float(figure.estimate) for figure in released), unit)
    for name, figures in (("", released), (" of all rows", all_rows)):
        columns.floats(f"lo{name}", (None if figure is None else float(figure.lo) for figure in figures), unit)
        columns.floats(f"hi{name}", (None if figure is None else float(figure.hi) for figure in figures), unit)
    return columns.frame()


def _anova(answer: Answer, statistic: Statistic, notes: Notes) -> pd.DataFrame:
    outcome, factor = (answer.frame.column(name) for name in statistic.columns)
    sums = StatisticSums.of(statistic, answer.frame)
    found = [_anova_of(answer, sums, factor, group, notes) for group in range(answer.groups.size)]
    squared = product_unit(outcome.unit, outcome.unit)
    columns = Columns(answer.groups, len(SOURCES))
    columns.add("source", list(SOURCES) * answer.groups.size)
    columns.floats("sum of squares", _by_source(found, _squares), squared)
    columns.integers("df", _by_source(found, _freedom))
    columns.floats("mean square", _by_source(found, lambda a: (a.between_mean_square, a.within_mean_square)), squared)
    columns.floats("F", _by_source(found, lambda a: (a.f,)))
    columns.floats("p", _by_source(found, lambda a: (a.p_value,)))
    columns.floats("eta squared", _by_source(found, lambda a: (a.eta_squared,)))
    return columns.frame()


def _anova_of(answer: Answer, sums: StatisticSums, factor: FrameColumn, group: int, notes: Notes) -> OneWayAnova | None:
    """Compare the open levels of one group; those that are closed are named."""
    name, place = statistic_name(sums.statistic), group_label(answer.groups, group)
    cells = answer.table(factor.name).group(group)
    closed = [level.label for level, cell in zip(factor.levels, cells, strict=True) if cell is None]
    if closed:
        notes.add(f"{name}: without {', '.join(closed)}, closed", place)
    try:
        found = one_way_anova([sums.moments(cell) for cell in cells if cell is not None])
    except InconsistentTotalsError:
        notes.add(f"{name}: {NO_ROWS_HAVE_THESE}", place)
        return None
    if found is None and len(closed) < len(cells):
        notes.add(f"{name}: undefined, fewer than two levels are open", place)
    return found


def _squares(found: OneWayAnova) -> tuple[float, ...]:
    return found.between_squares, found.within_squares, found.total_squares


def _freedom(found: OneWayAnova) -> tuple[int, ...]:
    model, residual = found.between_degrees_of_freedom, found.within_degrees_of_freedom
    return model, residual, model + residual


def _by_source(
    found: Sequence[OneWayAnova | None], figures: Callable[[OneWayAnova], Sequence[T | None]]
) -> list[T | None]:
    """One figure a group and source; None for the sources that have no such figure."""
    column: list[T | None] = []
    for analysis in found:
        values = [] if analysis is None else list(figures(analysis))
        column.extend([*values, *[None] * (len(SOURCES) - len(values))])
    return column
