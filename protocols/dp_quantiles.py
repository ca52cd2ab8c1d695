"""A quantile from one noised histogram, with an interval that allows for the noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from protocols.dp_estimates import NORMAL_95, NoisedTotal, Note, enough_rows
from protocols.errors import StatisticError
from protocols.rounding import to_float


@dataclass(frozen=True, slots=True)
class NoisedQuantile:
    """A quantile in the column's unit; all None, with a note, where noise leaves nothing.

    Args:
        estimate: as if the rows of a bin lay evenly over it.
        lo: an edge: the quantile of the exact rows is at least this,
        hi: and at most this edge, in 95 of 100 releases or more.
        note: why there is none.

    """

    estimate: float | None
    lo: float | None
    hi: float | None
    note: Note | None = None


def quantile(
    counts: Sequence[NoisedTotal], edges: Sequence[int], probability: Fraction, decimals: int
) -> NoisedQuantile:
    """Return where the quantile of the rows within the edges lies.

    Let G(e) = (1 - p) times the rows below the edge e less p times those above: it is below 0 at the lower edge of the
    bin that holds the quantile, and not below 0 at its upper one. The noise of G(e) has the variance (1 - p)^2 times
    that of the counts below plus p^2 times that of those above. A bin is possible unless its lower edge's noised G is
    more than 1.96 deviations above 0, or its upper edge's as far below: the true bin passes either test with
    probability 97.5 % at least, whatever the others do, hence both with 95 %. The interval covers all possible bins.
    The estimate lies midway between the first and the last place where noised G crosses 0 upwards, so that noise
    draws it to neither side.

    Args:
        counts: noised rows per bin.
        edges: scaled integers, strictly increasing, one more than bins.
        probability: above 0 and below 1.
        decimals: the column's, 0 or more.

    Raises:
        StatisticError: arguments out of these ranges.

    """
    if not counts or len(edges) != len(counts) + 1 or any(low >= high for low, high in pairwise(edges)):
        raise StatisticError(f"{len(counts)} bins with {len(edges)} edges: one more edge than bins, increasing")
    if not 0 < probability < 1 or decimals < 0:
        raise StatisticError("a quantile's probability lies above 0 and below 1, and decimals are 0 or more")
    rows = NoisedTotal(sum(each.value for each in counts), sum((each.variance for each in counts), Fraction(0)))
    if not enough_rows(rows):
        return NoisedQuantile(None, None, None, Note.FEW_ROWS)
    balance = _balance(counts, probability)
    possible = [bin_ for bin_ in range(len(counts)) if not (_sure(balance[bin_], 1) or _sure(balance[bin_ + 1], -1))]
    crossings = [
        low + (high - low) * before / (before - after)
        for (before, _), (after, _), low, high in zip(balance, balance[1:], edges, edges[1:], strict=False)
        if before < 0 <= after
    ]
    unit = Fraction(1, 10**decimals)
    return NoisedQuantile(
        to_float((crossings[0] + crossings[-1]) / 2 * unit),
        to_float(edges[possible[0]] * unit),
        to_float(edges[possible[-1] + 1] * unit),
    )


def _balance(counts: Sequence[NoisedTotal], probability: Fraction) -> list[tuple[Fraction, Fraction]]:
    """G of the text at every edge, and the variance of its noise."""
    below, above = (1 - probability), probability
    value = -above * sum(each.value for each in counts)
    noise = above**2 * sum((each.variance for each in counts), Fraction(0))
    balance = [(value, noise)]
    for each in counts:
        value += each.value  # its weight goes from -p to 1 - p
        noise += (below**2 - above**2) * each.variance
        balance.append((value, noise))
    return balance


def _sure(balance: tuple[Fraction, Fraction], sign: int) -> bool:
    value, noise = balance
    return sign * value > 0 and value**2 > Fraction(NORMAL_95) ** 2 * noise
