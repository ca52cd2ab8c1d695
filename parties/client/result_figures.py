"""Figures of one cell from its exact sums. Each is a fraction, or the root of one, until it is rounded once at the end.

None stands for what is not defined there; a figure never raises for what providers sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from parties.client.result_cells import Sums
from parties.client.result_moments import StatisticSums
from protocols.errors import InconsistentTotalsError
from protocols.moments import Moments, exact_covariance
from protocols.rounding import root_to_float, to_float
from protocols.statistics import exact_mean
from sandbox.frame import Frame
from sandbox.statistic import Statistic, StatisticKind

WHY_UNDEFINED: Final[Mapping[StatisticKind, str]] = MappingProxyType(
    {
        StatisticKind.MEAN: "no value is there",
        StatisticKind.VARIANCE: "fewer than two values",
        StatisticKind.STD: "fewer than two values",
        StatisticKind.COVARIANCE: "fewer than two rows",
        StatisticKind.CORRELATION: "fewer than two rows, or a column that does not vary",
        StatisticKind.WEIGHTED_MEAN: "the weights sum to 0",
    }
)
"""Why a figure of this kind may be missing in an open cell."""


def is_table(statistic: Statistic) -> bool:
    """Tell whether a statistic is a table of figures a group, and not one number; a quantile is both."""
    match statistic.kind:
        case StatisticKind.REGRESSION | StatisticKind.HISTOGRAM | StatisticKind.QUANTILE | StatisticKind.ANOVA:
            return True
        case StatisticKind.CORRELATION:
            return len(statistic.columns) > 2
        case _:
            return False


def figure(sums: StatisticSums, cell: Sums) -> int | float | None:
    """Return a statistic that is one number, over one cell; a count is an integer.

    Raises:
        InconsistentTotalsError: no rows have these sums.
    """
    values, decimals = sums.values(cell), sums.decimals
    match sums.statistic.kind:
        case StatisticKind.COUNT:
            return values[-1]
        case StatisticKind.SUM:
            return to_float(Fraction(values[0], 10 ** decimals[0]))
        case StatisticKind.MEAN:
            mean = exact_mean(values[0], values[-1], decimals[0])
            return None if mean is None else to_float(mean)
        case StatisticKind.VARIANCE | StatisticKind.STD:
            variance = exact_covariance(sums.moments(cell), 0, 0)
            rounded = root_to_float if sums.statistic.kind is StatisticKind.STD else to_float
            return None if variance is None else rounded(variance)
        case StatisticKind.COVARIANCE:
            return _covariance(values, sum(decimals))
        case StatisticKind.WEIGHTED_MEAN:
            products, weights, _ = values
            return to_float(Fraction(products, weights * 10 ** decimals[0])) if weights else None
        case _:
            return correlation(sums.moments(cell), 0, 1)


def correlation(moments: Moments, first: int, second: int) -> float | None:
    """Return Pearson's coefficient of two columns; None under two rows, or where one of them does not vary."""
    joint = moments.scatter(first, second)
    own = moments.scatter(first, first) * moments.scatter(second, second)
    if not own:
        return None
    magnitude = root_to_float(Fraction(joint * joint, own))
    return -magnitude if joint < 0 else magnitude


def unit_of(statistic: Statistic, frame: Frame) -> str:
    """Return the unit of a statistic that is one number; empty for one without."""
    units = [frame.column(name).unit for name in statistic.columns]
    match statistic.kind:
        case StatisticKind.COUNT:
            return "rows"
        case StatisticKind.VARIANCE:
            return product_unit(units[0], units[0])
        case StatisticKind.COVARIANCE:
            return product_unit(*units)
        case StatisticKind.CORRELATION:
            return ""
        case _:
            return units[0]


def product_unit(first: str, second: str) -> str:
    """Return the unit of a product: `years^2`, `USD/week * years`."""
    if first == second:
        whole = first if first.isalnum() else f"({first})"
        return f"{whole}^2" if first else ""
    return " * ".join(unit for unit in (first, second) if unit)


def quotient_unit(first: str, second: str) -> str:
    """Return the unit of a quotient: `USD/week per years`."""
    return f"{first or 1} per {second}" if second else first


def _covariance(sums: list[int], decimals: int) -> float | None:
    """Sample covariance from sum(x), sum(y), sum(xy) and n: the squares, of no use here, are not asked for."""
    first, second, product, rows = sums
    if rows < 2:
        if rows == 0 and any(sums):
            raise InconsistentTotalsError("there are sums over no rows")
        return None
    return to_float(Fraction(rows * product - first * second, rows * (rows - 1) * 10**decimals))
