"""What a private release would show, before any row is touched: expected errors from declarations alone.

The errors are those that `dp_estimates` and its neighbours would state, at totals that are expected where nothing is
known but declarations: rows spread evenly over the cells, values evenly over their bounds, columns independent of each
other, nothing null. Real cells with fewer rows have larger errors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from protocols.dp_estimates import Figure, NoisedCell, NoisedTotal, count, deviation, mean, total, variance
from protocols.dp_quantiles import quantile
from protocols.dp_regression import regression
from protocols.dp_release import NoisePlan, ReleaseShape
from protocols.dp_sensitivity import BoundedColumn, CentredMeasure
from protocols.dp_target import EpsilonOf, plan_for_epsilon
from protocols.errors import StatisticError


class FigureKind(Enum):
    """What may be asked of a private release."""

    COUNT = "count"
    SUM = "sum"
    MEAN = "mean"
    VARIANCE = "variance"
    DEVIATION = "deviation"
    QUANTILE = "quantile"
    REGRESSION = "regression"


@dataclass(frozen=True, slots=True)
class AskedFigure:
    """A figure that is asked of every cell of a table; a histogram asks the count of each.

    Args:
        kind: what it is.
        table: the place of its table in the release.
        columns: none for COUNT, the one that it is of, or a regression's outcome and then its predictors. For QUANTILE
            none: its bins are cells of the table, one group's after another's.
        present: columns that are not null in the rows that count.
        edges: of QUANTILE: scaled, one more than bins.
        probability: of QUANTILE.
        decimals: of QUANTILE's edges.

    Raises:
        StatisticError: columns or edges that the kind does not have, or lacks.

    """

    kind: FigureKind
    table: int
    columns: tuple[BoundedColumn, ...] = ()
    present: tuple[str, ...] = ()
    edges: tuple[int, ...] = ()
    probability: Fraction = Fraction(1, 2)
    decimals: int = 0

    def __post_init__(self) -> None:
        without = self.kind in {FigureKind.COUNT, FigureKind.QUANTILE}
        few = len(self.columns) < 2 if self.kind is FigureKind.REGRESSION else len(self.columns) != int(not without)
        if few or bool(self.edges) != (self.kind is FigureKind.QUANTILE):
            raise StatisticError(f"{self.kind.value}: another number of columns, or edges where it has none")


@dataclass(frozen=True, slots=True)
class ExpectedError:
    """What a figure's error would be in a cell of average size.

    Args:
        asked: the figure.
        rows: rows of that cell.
        errors: standard errors that noise alone gives it, in its unit: one, or of a regression the intercept's and
            each coefficient's; for QUANTILE half the length of its interval, the bin's width included. None: noise
            would leave nothing to tell.

    """

    asked: AskedFigure
    rows: int
    errors: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Forecast:
    """A release at one epsilon: its noise, and the errors of what is asked."""

    micro_epsilon: int
    plan: NoisePlan
    errors: tuple[ExpectedError, ...]


def error_before(plan: NoisePlan, asked: Sequence[AskedFigure], declared_rows: int) -> tuple[ExpectedError, ...]:
    """Return the expected errors of a planned release.

    Args:
        plan: its noise; all providers are taken to contribute.
        asked: what of it is wanted.
        declared_rows: of all providers together, at least 1, as declared.

    Raises:
        StatisticError: a figure of totals that are not planned, or no rows.

    """
    if declared_rows < 1:
        raise StatisticError("errors before a release need a declared number of rows, at least 1")
    return tuple(_expected(plan, figure, declared_rows) for figure in asked)


def compare_epsilons(
    shape: ReleaseShape,
    asked: Sequence[AskedFigure],
    declared_rows: int,
    micro_epsilons: Sequence[int],
    delta: Fraction,
    epsilon_of: EpsilonOf,
) -> tuple[Forecast, ...]:
    """Return, for each epsilon in millionths, the plan and its errors; raises as `plan_for_epsilon`, `error_before`."""
    plans = [(micro, plan_for_epsilon(shape, micro, delta, epsilon_of)) for micro in micro_epsilons]
    return tuple(Forecast(micro, plan, error_before(plan, asked, declared_rows)) for micro, plan in plans)


def _expected(plan: NoisePlan, asked: AskedFigure, declared_rows: int) -> ExpectedError:
    cells = plan.shape.tables[asked.table].cells
    bins = max(1, len(asked.edges) - 1)
    rows = max(1, declared_rows // cells)
    cell = _expected_cell(plan, asked.table, rows)
    if asked.kind is FigureKind.QUANTILE:
        counts = [cell.total(present=asked.present)] * bins
        found = quantile(counts, asked.edges, asked.probability, asked.decimals)
        half = None if found.lo is None or found.hi is None else (found.hi - found.lo) / 2
        return ExpectedError(asked, rows * bins, (half,))
    if asked.kind is FigureKind.REGRESSION:
        outcome, *predictors = asked.columns
        fit = regression(cell, outcome, predictors, asked.present)
        return ExpectedError(asked, rows, tuple(each.noise_error for each in (fit.intercept, *fit.coefficients)))
    return ExpectedError(asked, rows, (_figure(cell, asked).error,))


def _figure(cell: NoisedCell, asked: AskedFigure) -> Figure:
    match asked.kind:
        case FigureKind.SUM:
            return total(cell, asked.columns[0], asked.present)
        case FigureKind.MEAN:
            return mean(cell, asked.columns[0], asked.present)
        case FigureKind.VARIANCE:
            return variance(cell, asked.columns[0], asked.present)
        case FigureKind.DEVIATION:
            return deviation(cell, asked.columns[0], asked.present)
        case _:
            return count(cell, asked.present)


def _expected_cell(plan: NoisePlan, table: int, rows: int) -> NoisedCell:
    blocks = plan.blocks[table]
    totals = tuple(
        NoisedTotal(
            _expected_total(block.measure, rows),
            block.measure.granule**2 * plan.shape.providers * block.share.variance,
        )
        for block in blocks
    )
    return NoisedCell(tuple(block.measure for block in blocks), totals)


def _expected_total(measure: CentredMeasure, rows: int) -> int:
    """With u even between -w and w: u is 0 on average, and so are products of two; 2u^2 - w^2 is -w^2 / 3."""
    if not measure.terms:
        return rows
    return -rows * measure.row_change // 3 if measure.is_square else 0
