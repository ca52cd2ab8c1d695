"""One-way analysis of variance from each level's rows, sum and sum of squares: exact, each figure rounded once."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from protocols.errors import StatisticError
from protocols.moments import Moments
from protocols.rounding import to_float
from protocols.tails import upper_f


@dataclass(frozen=True, slots=True)
class OneWayAnova:
    """Does the mean differ between levels? Every float is the exact figure, rounded once; the p-value follows `tails`.

    Sums of squares and mean squares are in the column's unit squared.

    Attributes:
        levels: levels with rows, k >= 2.
        rows: rows in all of them, n.
        between_squares: sum over the levels of rows times (level's mean - mean)^2.
        within_squares: sum over all rows of (value - level's mean)^2.
        total_squares: sum over all rows of (value - mean)^2, which is the two together.
        between_degrees_of_freedom: k - 1.
        within_degrees_of_freedom: n - k.
        between_mean_square: between_squares over its degrees of freedom.
        within_mean_square: likewise; None where every level has one row.
        f: the mean square between over that within; None also where values differ within no level.
        p_value: the probability of at least `f`, were all levels' means equal; None where `f` is.
        eta_squared: share of the total sum of squares that lies between the levels, 0 to 1; None where all values are
            equal.

    """

    levels: int
    rows: int
    between_squares: float
    within_squares: float
    total_squares: float
    between_degrees_of_freedom: int
    within_degrees_of_freedom: int
    between_mean_square: float
    within_mean_square: float | None
    f: float | None
    p_value: float | None
    eta_squared: float | None


def one_way_anova(levels: Sequence[Moments]) -> OneWayAnova | None:
    """Compare a column's means between levels; None where fewer than two levels have rows.

    Args:
        levels: the moments of the one column, level by level, at the same decimals. Levels that are not known are left
            out by the caller, who says so beside the result: it is then about the others alone.

    Raises:
        StatisticError: a level has more than one column, or other decimals than the first.

    """
    if any(len(level.sums) != 1 or level.decimals != levels[0].decimals for level in levels):
        raise StatisticError("levels are compared in one column, at the same decimals in each")
    filled = [level for level in levels if level.rows]
    if len(filled) < 2:
        return None
    rows, unit = sum(level.rows for level in filled), 10 ** (2 * filled[0].decimals[0])
    within = sum(Fraction(level.scatter(0, 0), level.rows) for level in filled) / unit
    squares, total_sum = sum(level.products[0] for level in filled), sum(level.sums[0] for level in filled)
    total = (squares - Fraction(total_sum**2, rows)) / unit
    between = total - within
    model, freedom = len(filled) - 1, rows - len(filled)
    f = to_float(between * freedom / (within * model)) if within and freedom else None
    return OneWayAnova(
        levels=len(filled),
        rows=rows,
        between_squares=to_float(between),
        within_squares=to_float(within),
        total_squares=to_float(total),
        between_degrees_of_freedom=model,
        within_degrees_of_freedom=freedom,
        between_mean_square=to_float(between / model),
        within_mean_square=to_float(within / freedom) if freedom else None,
        f=f,
        p_value=None if f is None else upper_f(f, model, freedom),
        eta_squared=to_float(between / total) if total else None,
    )
