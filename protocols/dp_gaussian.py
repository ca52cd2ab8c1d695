"""Epsilon of a run that was fixed beforehand and only adds Gaussian noise: as tight as the analytic Gaussian mechanism.

Renyi divergences lose five to twenty per cent of epsilon when they are converted, whatever the orders. Where nothing
samples, more can be said. Let a coordinate's noise be a sum of m draws of N_Z(0, s), v = m s, and 0 < w < v. Take the
continuous mechanism x + N(0, v - w) and round its output y at random, to z with probability exp(-(z-y)^2 / 2w) / S(y).
Since the Gaussians' product integrates in closed form, z has a law proportional to exp(-(z-x)^2 / 2v) g(z-x),
where log g ranges over at most eta = log(theta_3 / theta_4)(exp(-2 pi^2 w)), as log S does; that of the real noise is
proportional to exp(-(z-x)^2 / 2v) T(z-x), where log T ranges over at most tau (`dp_divergence`). So their ratio lies
within [k, k R], log R = tau + eta, with one k for all x, and k <= 1 <= k R. Ratios multiply over the coordinates that
one unit changes, and over adaptively chosen steps. Rounding is post-processing, and Gaussian mechanisms of any number,
chosen adaptively, compose to one with mu^2 = sum d_i^2 / (v_i - w_i) (Dong, Roth and Su 2022, corollary 3.3). If that
is (epsilon, delta), then for neighbours, with all R multiplied,

    P(S) <= k R G(S) <= k R (e^epsilon G'(S) + delta) <= R e^epsilon P'(S) + R delta.

w is the same part of every v, which serves whatever the d_i are, and is chosen for the least epsilon. The loss against
the analytic Gaussian mechanism of variance v is about w / 2v of epsilon: 1e-6 for sums of scaled values, where v is a
million, and some per cent for a plain count with v = 25. The analytic Gaussian mechanism itself is no bound for
discrete noise: at v = 25 the truth lies 1e-3 above it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import gmpy2

from protocols.dp_accountant import DELTA_FOR_DISTANCES, cost_of, distance_limit, micro_epsilon, require_delta
from protocols.dp_divergence import sum_defect, theta_log_range
from protocols.dp_events import Composed, CostEvent, NoisedVector, PoissonSampled, Repeated, require_event, samples
from protocols.errors import PrivacyCostError

_BITS = 160
_UP = gmpy2.context(precision=_BITS, round=gmpy2.RoundUp)
_DOWN = gmpy2.context(precision=_BITS, round=gmpy2.RoundDown)
_MICRO = 1_000_000
_LARGEST = 1000 * _MICRO
_ROUNDING = tuple(Fraction(eighths, 8) for eighths in (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40))
"""Variances of the random rounding that are tried; at the last, 5, its defect is under 1e-41 a coordinate."""


def run_micro_epsilon(event: CostEvent, delta: Fraction) -> int:
    """Return epsilon at `delta` of a run fixed beforehand, in millionths, rounded up: the lesser of this and Renyi's.

    Raises:
        PrivacyCostError: an unknown event, or delta not strictly between 0 and 1.

    """
    require_event(event)
    cost = cost_of(event)
    best = micro_epsilon(cost, delta)
    if samples(event):
        return best
    usable = delta * (1 - DELTA_FOR_DISTANCES)
    run = _whole_run(event)
    for rounding in _ROUNDING:
        found = _by_rounding(run, rounding, usable)
        if found is not None and found < best and cost.distance <= distance_limit(found, delta):
            best = found
    return best


def gaussian_micro_epsilon(squared_mu: Fraction, delta: Fraction) -> int:
    """Return epsilon of the Gaussian mechanism at `delta`, in millionths, rounded up.

    Source: Balle and Wang 2018, "Improving the Gaussian Mechanism for Differential Privacy", theorem 8: delta(epsilon)
    is Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu).

    Args:
        squared_mu: squared L2 sensitivity over variance; positive.
        delta: strictly between 0 and 1.

    Raises:
        PrivacyCostError: squared_mu not positive, delta out of range, or epsilon above 1000.

    """
    require_delta(delta)
    if squared_mu <= 0:
        raise PrivacyCostError("a Gaussian mechanism's squared sensitivity over variance is positive")
    low, high = -1, _LARGEST
    if not _holds(high, squared_mu, delta):
        raise PrivacyCostError("epsilon is above 1000: this noise protects nothing")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _holds(middle, squared_mu, delta) else (middle, high)
    return high


def _holds(micro: int, squared_mu: Fraction, delta: Fraction) -> bool:
    """Say whether delta(epsilon), computed from above, is at most delta."""
    epsilon = Fraction(micro, _MICRO)
    mu_up, mu_down = _UP.sqrt(_rational(_UP, squared_mu)), _DOWN.sqrt(_rational(_DOWN, squared_mu))
    root = _UP.sqrt(gmpy2.mpfr(2)), _DOWN.sqrt(gmpy2.mpfr(2))
    # Phi(x) = erfc(-x / sqrt 2) / 2; the first term from above, the second from below.
    first = _DOWN.sub(_DOWN.div(_rational(_DOWN, epsilon), mu_up), _UP.div(mu_up, 2))
    first = _DOWN.div(first, root[0] if first > 0 else root[1])
    second = _UP.div(_UP.add(_UP.div(_rational(_UP, epsilon), mu_down), _UP.div(mu_up, 2)), root[1])
    lost = _DOWN.mul(_DOWN.exp(_rational(_DOWN, epsilon)), _DOWN.erfc(second))
    return bool(_UP.div(_UP.sub(_UP.erfc(first), lost), 2) <= _rational(_DOWN, delta))


@dataclass(frozen=True, slots=True)
class _Run:
    """All noise of a run: mu^2, the least v, the number of coordinates that change and the sum of their tau."""

    squared_mu: Fraction
    least_variance: Fraction
    changed: int
    log_range: Fraction


def _whole_run(event: CostEvent) -> _Run:
    squared_mu, changed = Fraction(0), Counter[tuple[int, Fraction]]()
    for vector, times in _vectors(event, 1):
        for block in vector.blocks:
            squared_mu += times * block.squared_sensitivity / (vector.honest_shares * block.share_variance)
            changed[vector.honest_shares, block.share_variance] += times * block.changed
    log_range = sum((number * sum_defect(*law).log_range for law, number in changed.items()), Fraction(0))
    return _Run(squared_mu, min(shares * variance for shares, variance in changed), changed.total(), log_range)


def _by_rounding(run: _Run, rounding: Fraction, delta: Fraction) -> int | None:
    """Return epsilon where w is `rounding` at the least v, as large a part of every v; None where there is no bound."""
    log_ratio = run.log_range + run.changed * theta_log_range(rounding)
    if log_ratio > 1 or run.least_variance <= rounding:
        return None
    squared_mu = run.squared_mu * run.least_variance / (run.least_variance - rounding)
    less = _DOWN.exp(_DOWN.minus(_rational(_UP, log_ratio)))
    numerator, denominator = map(int, less.as_integer_ratio())
    try:
        epsilon = gaussian_micro_epsilon(squared_mu, _short(delta * Fraction(numerator, denominator)))
    except PrivacyCostError:
        return None
    return epsilon - (-log_ratio.numerator * _MICRO // log_ratio.denominator)


def _vectors(event: CostEvent, times: int) -> Iterator[tuple[NoisedVector, int]]:
    """Yield the run's vectors and how often each occurs."""
    match event:
        case NoisedVector():
            yield event, times
        case Composed(events):
            for part in events:
                yield from _vectors(part, times)
        case Repeated(part, number):
            yield from _vectors(part, times * number)
        case PoissonSampled(part, _):
            yield from _vectors(part, times)


def _short(delta: Fraction) -> Fraction:
    """Round down to 400 bits, which is within the limit for a delta."""
    return Fraction(delta.numerator * (1 << 400) // delta.denominator, 1 << 400)


def _rational(context: "gmpy2.context", value: Fraction) -> "gmpy2.mpfr":
    return context.div(gmpy2.mpz(value.numerator), gmpy2.mpz(value.denominator))
