"""What is true, computed by brute force and independently of the accountant: laws, divergences, hockey sticks."""

from collections.abc import Iterator
from fractions import Fraction

import gmpy2

PRECISION = 200
Law = dict[int, "gmpy2.mpfr"]


def discrete_gaussian(variance: Fraction, reach: int) -> Law:
    """N_Z(0, variance) on -reach..reach, normalised there."""
    with gmpy2.context(gmpy2.get_context(), precision=PRECISION):
        weights = {z: gmpy2.exp(-gmpy2.mpq(z * z) / (2 * gmpy2.mpq(variance))) for z in range(-reach, reach + 1)}
        total = sum(weights.values())
        return {z: weight / total for z, weight in weights.items()}


def law_of_sum(shares: int, variance: Fraction, reach: int) -> Law:
    """The law of the sum of independent discrete Gaussians, by convolution, kept within -reach..reach."""
    share = discrete_gaussian(variance, reach)
    law = share
    with gmpy2.context(gmpy2.get_context(), precision=PRECISION):
        for _ in range(shares - 1):
            law = {
                z: sum(law[x] * share[z - x] for x in range(max(-reach, z - reach), min(reach, z + reach) + 1))
                for z in range(-reach, reach + 1)
            }
    return law


def renyi(law: Law, shift: int, order: Fraction) -> Fraction:
    """D_order(law || law moved by shift), over the points that both have."""
    with gmpy2.context(gmpy2.get_context(), precision=PRECISION):
        a = gmpy2.mpfr(gmpy2.mpq(order))
        total = sum(law[z] ** a * law[z - shift] ** (1 - a) for z in law if z - shift in law)
        bound = gmpy2.log(total) / (a - 1)
        numerator, denominator = bound.as_integer_ratio()
        return Fraction(int(numerator), int(denominator))


def hockey_stick(law: Law, shift: int, epsilon: float) -> float:
    """delta(epsilon) of the law against itself moved by shift: the sum of (P - e^epsilon Q) where positive."""
    with gmpy2.context(gmpy2.get_context(), precision=PRECISION):
        growth = gmpy2.exp(gmpy2.mpfr(epsilon))
        return float(sum(max(0, p - growth * law.get(z - shift, 0)) for z, p in law.items()))


def epsilon_of(law: Law, shift: int, delta: float) -> float:
    """The least epsilon at `delta`, by bisection to 1e-9."""
    low, high = 0.0, 60.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if hockey_stick(law, shift, middle) <= delta else (middle, high)
    return high


def cases() -> Iterator[tuple[int, Fraction]]:
    """Numbers of shares and share variances small enough for the shape of the sums to be seen."""
    for shares in (1, 2, 3, 4, 8):
        for variance in (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4), Fraction(1), Fraction(5, 3), Fraction(3)):
            yield shares, variance
