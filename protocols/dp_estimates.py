"""Figures from noised totals and the noise that is known to be in them, and nothing else.

The error stated with a figure is that of the noise alone: the standard deviation of what the release shows about what
the exact totals of the same rows would have given, by the delta method. For a figure f of totals t_i with independent
noise of variances v_i that is sqrt(sum_i (df/dt_i)^2 v_i), at the noised totals. Totals are integers and fractions
until each figure is rounded once.

A figure that noise makes nonsense of is None and its note says why; nothing here raises for what rows or noise are.
Near such a limit the figures that are told are those that noise made larger, and intervals cover somewhat less.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from math import sqrt
from operator import mul
from typing import Final

from protocols.dp_release import NoisePlan
from protocols.dp_sensitivity import BoundedColumn, CentredMeasure
from protocols.errors import StatisticError
from protocols.rounding import root_to_float, to_float

NORMAL_95: Final = 1.959963984540054
"""The normal distribution's 97.5 % quantile: 95 % of figures lie so many standard errors from the truth at most."""

LEAST_ROWS: Final = 5
"""A quotient by a number of rows is told where that number is so many standard deviations of its noise, or more."""


class Note(Enum):
    """Why a figure is missing."""

    FEW_ROWS = "the number of rows is not told apart from its noise"
    NEGATIVE_SQUARES = "the noise made a sum of squares negative"
    ILL_CONDITIONED = "the predictors vary too little, or too much alike, to be told apart from the noise"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure and the standard error that noise gives it; both None, with a note, where noise leaves nothing.

    `uneven` has the ends of the interval where it does not lie evenly about the figure.
    """

    value: float | None
    error: float | None
    note: Note | None = None
    uneven: tuple[float, float] | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Between which the exact figure lies in 95 of 100 releases."""
        if self.uneven is not None or self.value is None or self.error is None:
            return self.uneven
        return self.value - NORMAL_95 * self.error, self.value + NORMAL_95 * self.error


@dataclass(frozen=True, slots=True)
class NoisedTotal:
    """A centred total (see `dp_sensitivity`) with noise in it, and the variance of that noise, in its own units."""

    value: int
    variance: Fraction


@dataclass(frozen=True, slots=True)
class NoisedCell:
    """The noised totals of one cell.

    Args:
        measures: what they are of.
        totals: one each.

    Raises:
        StatisticError: another number of totals than of measures.

    """

    measures: tuple[CentredMeasure, ...]
    totals: tuple[NoisedTotal, ...]

    def __post_init__(self) -> None:
        if len(self.measures) != len(self.totals):
            raise StatisticError(f"{len(self.totals)} totals where the cell has {len(self.measures)} measures")

    def total(self, *columns: BoundedColumn, present: tuple[str, ...] = ()) -> NoisedTotal:
        """Return the total over these columns, in any order, of the rows in which `present` are not null.

        Raises:
            StatisticError: it was not released.

        """
        terms = tuple(sorted(columns))
        for measure, total in zip(self.measures, self.totals, strict=True):
            if measure.terms == terms and measure.present == present:
                return total
        raise StatisticError(f"a total of {[term.name for term in terms]} over {list(present)} was not released")


def open_totals(plan: NoisePlan, table: int, rows: Sequence[Sequence[int]], contributors: int) -> list[NoisedCell]:
    """Return the cells of a table of the plan from its joint totals.

    Args:
        plan: of the release.
        table: which of its tables.
        rows: for each cell its joint totals in granules, as decrypted.
        contributors: providers whose noise is in them; all of it counts for the error, known to some or not.

    Raises:
        StatisticError: another number of cells or totals.
        NoiseError: contributors fewer than the plan needs, or more than there are.

    """
    blocks = plan.blocks[table]
    if len(rows) != blocks[0].cells or any(len(row) != len(blocks) for row in rows):
        raise StatisticError(f"the table has {blocks[0].cells} cells with {len(blocks)} totals; these are others")
    blocks[0].share.remaining_tolerance(contributors)
    measures = tuple(block.measure for block in blocks)
    variances = [block.measure.granule**2 * contributors * block.share.variance for block in blocks]
    granules = [measure.granule for measure in measures]
    return [
        NoisedCell(
            measures,
            tuple(NoisedTotal(*total) for total in zip(map(mul, row, granules), variances, strict=True)),
        )
        for row in rows
    ]


def count(cell: NoisedCell, present: tuple[str, ...] = ()) -> Figure:
    """Return the number of rows in which `present` are not null; it may be negative."""
    rows = cell.total(present=present)
    return Figure(float(rows.value), root_to_float(rows.variance))


def total(cell: NoisedCell, column: BoundedColumn, present: tuple[str, ...] = ()) -> Figure:
    """Return the sum of a column in its unit: (sum(u) + (lo + hi) n) / 2."""
    rows, sums = cell.total(present=present), cell.total(column, present=present)
    unit, middle = Fraction(1, 2 * 10**column.decimals), column.twice_centre
    return Figure(
        to_float((sums.value + middle * rows.value) * unit),
        root_to_float((sums.variance + middle**2 * rows.variance) * unit**2),
    )


def mean(cell: NoisedCell, column: BoundedColumn, present: tuple[str, ...] = ()) -> Figure:
    """Return the mean of a column in its unit: (lo + hi + sum(u) / n) / 2. It may lie beyond the bounds."""
    rows, sums = cell.total(present=present), cell.total(column, present=present)
    if not enough_rows(rows):
        return Figure(None, None, Note.FEW_ROWS)
    unit, ratio = Fraction(1, 2 * 10**column.decimals), Fraction(sums.value, rows.value)
    return Figure(
        to_float((column.twice_centre + ratio) * unit),
        root_to_float((sums.variance + ratio**2 * rows.variance) * unit**2 / rows.value**2),
    )


def variance(cell: NoisedCell, column: BoundedColumn, present: tuple[str, ...] = ()) -> Figure:
    """Return the sample variance (divisor n - 1) of a column in its unit squared.

    With q the total of 2u^2 - w^2 and s that of u: ((q + w^2 n) / 2 - (s^2 - v_s) / n) / (4 (n - 1)). The known
    variance v_s of the noise in s is what noise adds to s^2 on average.
    """
    exact = _variance(cell, column, present)
    if isinstance(exact, Note):
        return Figure(None, None, exact)
    value, squared_error = exact
    return Figure(to_float(value), root_to_float(squared_error))


def deviation(cell: NoisedCell, column: BoundedColumn, present: tuple[str, ...] = ()) -> Figure:
    """Return the sample standard deviation of a column in its unit, the root of `variance`.

    Its interval is the root of the variance's, and lies unevenly about it where the noise is large.
    """
    exact = _variance(cell, column, present)
    if isinstance(exact, Note):
        return Figure(None, None, exact)
    value, squared_error = exact
    centre, reach = to_float(value), NORMAL_95 * root_to_float(squared_error)
    ends = sqrt(max(0.0, centre - reach)), sqrt(centre + reach)
    return Figure(root_to_float(value), root_to_float(squared_error / (4 * value)), uneven=ends)


def histogram(cells: Sequence[NoisedCell], *, clipped: bool = False) -> list[Figure]:
    """Return the number of rows in each cell.

    Args:
        cells: of one table.
        clipped: move negative counts to 0. That lessens each one's error, and makes sums of several too large.

    """
    figures = [count(cell) for cell in cells]
    if not clipped:
        return figures
    return [Figure(max(0.0, figure.value or 0.0), figure.error) for figure in figures]


def enough_rows(rows: NoisedTotal) -> bool:
    """Whether a quotient by this number of rows means anything: it is 2 at least, and `LEAST_ROWS` deviations."""
    return rows.value >= 2 and rows.value**2 >= LEAST_ROWS**2 * rows.variance


def _variance(cell: NoisedCell, column: BoundedColumn, present: tuple[str, ...]) -> tuple[Fraction, Fraction] | Note:
    rows, sums = cell.total(present=present), cell.total(column, present=present)
    squares = cell.total(column, column, present=present)
    if not enough_rows(rows):
        return Note.FEW_ROWS
    unit, n = Fraction(1, 4 * 10 ** (2 * column.decimals)), Fraction(rows.value)
    scatter = (squares.value + column.width**2 * n) / 2 - (sums.value**2 - sums.variance) / n
    if scatter <= 0:
        return Note.NEGATIVE_SQUARES
    by_rows = Fraction(column.width**2, 2) + (sums.value / n) ** 2 - scatter / (n - 1)
    squared = squares.variance / 4 + (2 * sums.value / n) ** 2 * sums.variance + by_rows**2 * rows.variance
    return scatter * unit / (n - 1), squared * (unit / (n - 1)) ** 2
