"""The release that an epsilon buys: the search for the cost rho at which the accountant says what was asked for."""

from collections.abc import Callable
from fractions import Fraction
from math import log, sqrt
from typing import Final

from protocols.dp_accountant import require_delta
from protocols.dp_events import NoisedBlock, NoisedVector
from protocols.dp_release import NoisePlan, ReleaseShape, plan_noise, round_up, share_variance
from protocols.errors import PrivacyCostError

EpsilonOf = Callable[[NoisedVector, Fraction], int]
"""Epsilon of an event at a delta, in millionths: `dp_gaussian.run_micro_epsilon`, or what a budget would charge."""

_STEP: Final = 1 << 20
_PLAIN_VARIANCE: Final = Fraction(1 << 14)
_SMALLEST_RHO: Final = Fraction(1, 1 << 64)
_LARGEST_RHO: Final = Fraction(1 << 16)


def plan_for_epsilon(shape: ReleaseShape, micro_epsilon: int, delta: Fraction, epsilon_of: EpsilonOf) -> NoisePlan:
    """Return the release of least noise that costs at most an epsilon at `delta`, and at least 1 - 1e-4 of it.

    Args:
        shape: what is released.
        micro_epsilon: millionths, at least 1.
        delta: strictly between 0 and 1.
        epsilon_of: the accountant; it must not fall as noise is lessened.

    Raises:
        PrivacyCostError: epsilon is not positive, or too small for delta; delta out of range; or as `epsilon_of`.
        NoiseError: as `plan_noise`.

    """
    require_delta(delta)
    if micro_epsilon < 1:
        raise PrivacyCostError("epsilon: a positive number of millionths is wanted")

    def over(rho: Fraction) -> int:
        return epsilon_of(_merged(shape, rho), delta) - micro_epsilon

    low = _most_admitted(over, _guess(micro_epsilon, delta))
    plan = plan_noise(shape, low)
    if epsilon_of(plan.event(), delta) > micro_epsilon:
        raise PrivacyCostError("the accountant charges a release more than a coarser one that hides less")
    return plan


def _merged(shape: ReleaseShape, rho: Fraction) -> NoisedVector:
    """Return an event that costs what the release does, or a little more, with few different variances.

    A sum's distance from one Gaussian only falls as its variance grows, and is below any rounding long before 2^14. So
    blocks above that are taken together there, their sensitivities scaled alike.
    """
    merged: dict[Fraction, tuple[int, Fraction]] = {}
    for table in shape.tables:
        for measure in table.measures:
            own = share_variance(shape, table, measure, rho)
            variance = min(own, _PLAIN_VARIANCE)
            changed, squared = merged.get(variance, (0, Fraction(0)))
            scaled = round_up(shape.unit.squared_sensitivity(table, measure) * variance / own, 1 << 64)
            merged[variance] = (changed + shape.unit.changed_cells(table), squared + scaled)
    return NoisedVector(
        shape.honest, tuple(NoisedBlock(changed, variance, squared) for variance, (changed, squared) in merged.items())
    )


def _guess(micro_epsilon: int, delta: Fraction) -> Fraction:
    """Return the rho of which epsilon = rho + 2 sqrt(rho log(1 / delta)), about (Bun and Steinke 2016)."""
    price = log(delta.denominator) - log(delta.numerator)
    epsilon = micro_epsilon / 1_000_000
    return Fraction((epsilon / (sqrt(price + epsilon) + sqrt(price))) ** 2)


def _most_admitted(over: Callable[[Fraction], int], start: Fraction) -> Fraction:
    """Return the largest rho for which `over` is not positive, to 2^-20 of it or to one that is exactly 0.

    Bracketed by doubling; then regula falsi with the Illinois rule (Dowell and Jarratt 1971).
    """
    low = high = start
    below = above = over(start)
    while below > 0:
        low, high, above = low / 2, low, below
        if low < _SMALLEST_RHO:
            raise PrivacyCostError("this epsilon is too small for this delta to admit any release; raise one of them")
        below = over(low)
    while above <= 0:
        low, high, below = high, high * 2, above
        if high > _LARGEST_RHO:
            return low
        above = over(high)
    left, right, last = Fraction(below), Fraction(above), 0
    while below and high - low > low / _STEP:
        middle = _near((low * right - high * left) / (right - left), low, high)
        found = over(middle)
        side = 1 if found > 0 else -1
        if side < 0:
            low, below, left = middle, found, Fraction(found)
            right = right / 2 if side == last else right
        else:
            high, right = middle, Fraction(found)
            left = left / 2 if side == last else left
        last = side
    return low


def _near(value: Fraction, low: Fraction, high: Fraction) -> Fraction:
    """Return a short fraction near `value`, well between the ends."""
    step = (high - low) / _STEP
    return low + step * max(1, min(_STEP - 1, round((value - low) / step)))
