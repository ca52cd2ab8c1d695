"""Quantiles from counts per public bin: an estimate, and an interval in which the sample's quantile surely lies.

The quantile meant is the inverse of the empirical distribution: of n values in ascending order, the one at position
ceil(n p) (definition 1 of Hyndman and Fan 1996). It is always one of the values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from protocols.errors import StatisticError
from protocols.rounding import to_decimal


@dataclass(frozen=True, slots=True)
class ClosedCount:
    """What is known of a count that is not told: between `least` and `most` rows, both >= 0; `most` None is no bound.

    Raises:
        StatisticError: bounds that are negative or out of order.

    """

    least: int = 0
    most: int | None = None

    def __post_init__(self) -> None:
        if self.least < 0 or (self.most is not None and self.most < self.least):
            raise StatisticError("a closed count lies between bounds that are not negative, the lower one first")


@dataclass(frozen=True, slots=True)
class Quantile:
    """A sample's quantile as far as its histogram tells it, in the column's unit.

    Attributes:
        estimate: as if the rows of the bin that holds it lay evenly over the bin; closed counts taken at their least.
        lo: the quantile is at least this, an edge of a bin.
        hi: and less than this, an edge too; it may equal `hi` where that is the last edge of all.

    """

    estimate: Decimal
    lo: Decimal
    hi: Decimal


def quantile(
    counts: Sequence[int | ClosedCount], edges: Sequence[int], probability: Fraction, decimals: int
) -> Quantile | None:
    """Return where the quantile of the rows within the edges lies; None where these may be no rows at all.

    The interval is one bin where all counts are told: the bin's width is the stated error. Closed counts widen it to
    every bin that holds the quantile under some counts within their bounds, and to no other.

    Args:
        counts: rows per bin, told or closed. A bin has its lower edge and not its upper one, the last has both.
        edges: scaled integers (x 10^decimals), strictly increasing, one more than bins.
        probability: above 0 and below 1; 1/2 is the median.
        decimals: the column's, >= 0.

    Raises:
        StatisticError: arguments out of these ranges.

    """
    _check(counts, edges, probability, decimals)
    least = [count.least if isinstance(count, ClosedCount) else count for count in counts]
    if not any(least):
        return None
    possible = _possible_bins(least, _most(counts, least, probability), probability)
    scale = 10**decimals
    return Quantile(
        estimate=to_decimal(_interpolated(least, edges, probability) / scale),
        lo=to_decimal(Fraction(edges[possible[0]], scale)),
        hi=to_decimal(Fraction(edges[possible[-1] + 1], scale)),
    )


def _check(counts: Sequence[int | ClosedCount], edges: Sequence[int], probability: Fraction, decimals: int) -> None:
    if not counts or len(edges) != len(counts) + 1:
        raise StatisticError(f"{len(counts)} bins need {len(counts) + 1} edges; these are {len(edges)}")
    if any(low >= high for low, high in pairwise(edges)):
        raise StatisticError("edges of bins must be strictly increasing")
    if not 0 < probability < 1:
        raise StatisticError("a quantile's probability lies above 0 and below 1; the median's is 1/2")
    if decimals < 0 or any(count < 0 for count in counts if not isinstance(count, ClosedCount)):
        raise StatisticError("a number of rows or of decimals is negative")


def _most(counts: Sequence[int | ClosedCount], least: Sequence[int], probability: Fraction) -> list[int]:
    """The largest counts. One without bound counts as more than all others could balance, at this probability.

    With T = the bounded counts at their most and the others at their least, and p = a/b, (T + 1) b is enough: p and
    1 - p are 1/b at least, so that it weighs T + 1 or more on either side of `_possible_bins`' comparisons, against
    less than T + 1 on the other.
    """
    bounded = sum(
        low if isinstance(count, ClosedCount) and count.most is None else _most_of(count, low)
        for count, low in zip(counts, least, strict=True)
    )
    unbounded = (bounded + 1) * probability.denominator
    return [_most_of(count, unbounded) for count in counts]


def _most_of(count: int | ClosedCount, unbounded: int) -> int:
    if not isinstance(count, ClosedCount):
        return count
    return unbounded if count.most is None else count.most


def _possible_bins(least: Sequence[int], most: Sequence[int], probability: Fraction) -> list[int]:
    """Positions of the bins that hold the quantile under some counts within the bounds, ascending.

    With B rows below a bin, c in it and A above, it holds the value at ceil(p n) if and only if B < p n <= B + c, that
    is -(1 - p) c <= D < p c with D = (1 - p) B - p A. More rows in the bin only widen this interval, so c is taken at
    its most. It has length c >= 1, and adding single rows leads from the least D to the greatest in steps of at most 1,
    none of which leaps over it: the bin is possible if and only if the least D is below p c, and the greatest not below
    -(1 - p) c.
    """
    below = (0, 0)
    above = (sum(least), sum(most))
    possible = []
    for position, (low, high) in enumerate(zip(least, most, strict=True)):
        above = (above[0] - low, above[1] - high)
        smallest = (1 - probability) * below[0] - probability * above[1]
        greatest = (1 - probability) * below[1] - probability * above[0]
        if high and smallest < probability * high and greatest >= (probability - 1) * high:
            possible.append(position)
        below = (below[0] + low, below[1] + high)
    return possible


def _interpolated(counts: Sequence[int], edges: Sequence[int], probability: Fraction) -> Fraction:
    """The scaled value below which p of the rows lie, were each bin's rows spread evenly over it."""
    wanted = probability * sum(counts)
    below = 0
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        if wanted <= below + count:
            return low + (high - low) * (wanted - below) / count
        below += count
    raise AssertionError("a probability below 1 ends within the last bin that has rows")
