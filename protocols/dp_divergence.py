"""Renyi divergences of sums of discrete Gaussians and of Poisson sampling, bounded from above, with proofs.

**Sums of discrete Gaussians.** Let Z be the sum of m independent N_Z(0, s) (s: the variance parameter), v = m s, P its
law and d an integer. A sum of discrete Gaussians is no discrete Gaussian (Kairouz, Liu and Steinke 2021, "The
Distributed Discrete Gaussian Mechanism", whose term this is; here with sharper constants). Completing the square in
sum_{x in Z^m, sum x = z} exp(-|x|^2 / 2s) gives

    P(z) proportional to exp(-z^2 / 2v) T(z),    T(z) = sum over y in L* of exp(-2 pi^2 s |y|^2) cos(2 pi <y, c_z>),

by Poisson's summation over the root lattice L = A_{m-1}; T depends on z modulo m only, and T(0) is its largest value.
Write h = log T, tau for a bound on max h - min h, and D_a for the divergence of order a > 1. Expanding P^a P_d^(1-a),

    exp((a-1) D_a(P || P + d)) = exp(a(a-1) d^2 / 2v) C,
    C = sum_z exp(-(z-t)^2 / 2v) T(z)^a T(z-d)^(1-a) / sum_z exp(-z^2 / 2v) T(z),    t = -(a-1) d.

So D_a <= a d^2 / 2v + e, e = log(C) / (a-1), of which two bounds hold, and the lesser is taken:

1. e <= tau. T(z)^a T(z-d)^(1-a) <= T(z) exp((a-1) tau); and sum_z exp(-(z-t)^2 / 2v) T(z) is largest at t = 0, since
   both factors have Fourier coefficients of one sign only.
2. e <= (a b tau + (2a-1)^2 tau^2 / 8) / (a-1), where b bounds |m P(z = j mod m) - 1| for z of law N_Z(t, v), all t
   and j. The sum's mass is at most that of t = 0; under p, that law modulo m, log E_p exp(y) <= E_p y + range(y)^2 / 8
   (Hoeffding) with y = a h(z) - (a-1) h(z-d), and log E_q exp(h) >= E_q h (Jensen) with q the law for t = 0; a mean of
   h under any of those laws is within b tau / 2 of its plain mean, so the first-order terms differ by a b tau at most.

For d = 0 there is no cost, coordinates are independent, so costs add over the coordinates that differ; D_a(P + d || P)
is the same since P is even; for m = 1, T is constant and tau = 0 (Canonne, Kamath and Steinke 2020, proposition 5).

tau is the lesser of two bounds. Adding one share to k of them multiplies the range of P(z) exp(z^2 / 2v) by
theta_3(w) / theta_4(w) at most, w = exp(-2 pi^2 s k / (k+1)) (one dimension of the argument above; an average lies
within the range of what it averages), so tau <= sum over k < m of its logarithm, about 4 w (10 w in the paper). And
|T - 1| <= T(0) - 1, where T(0) = sqrt(v / 2 pi) times the integral over a period of f(u)^m, f(u) = sum_j
exp(-s (u - 2 pi j)^2 / 2); the trapezoidal rule gives it from above, since what it adds are probabilities of Z.

**Poisson sampling.** Let Q be the law of what is released from a sample, P with the unit in it as well, q the rate.
Expanding ((1-q) Q + q P)^a at an integer order a, with e(l) the mechanism's own bound,

    (a-1) D_a((1-q) Q + q P || Q) <= log((1-q)^(a-1) (a q - q + 1) + C(a,2) q^2 (1-q)^(a-2) exp(e(2))
                                         + c sum_{l=3..a} C(a,l) q^l (1-q)^(a-l) exp((l-1) e(l))),    c = 1,

and mixtures over samples diverge no more than the worst (joint quasi-convexity). The other direction, of Q from
(1-q) Q + q P, is no larger where an involution swaps P and Q (Mironov, Talwar and Zhang 2019, "Renyi Differential
Privacy of the Sampled Gaussian Mechanism", theorem 5): z -> d - z does for one vector with symmetric noise. For any
other mechanism c = 3 covers both directions (Zhu and Wang 2019, "Poisson Subsampled Renyi Differential Privacy",
theorem 5). Sampled or not, the divergence is at most e. Every floating number here is rounded up, by MPFR.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

import gmpy2

_BITS = 160
_UP = gmpy2.context(precision=_BITS, round=gmpy2.RoundUp)
_DOWN = gmpy2.context(precision=_BITS, round=gmpy2.RoundDown)
_STEP_BITS = 256
_LEAST = _DOWN.exp2(-_STEP_BITS)
_PEAK_VARIANCE = 3
"""From this share variance on the product bound alone is under 1e-12 and the integral is not worth its time."""


@dataclass(frozen=True, slots=True)
class SumDefect:
    """How far a sum of discrete Gaussians is from one.

    Args:
        log_range: tau of the module's text; 0 for a single share.
        imbalance: b of the module's text, between 0 and 2.

    """

    log_range: Fraction
    imbalance: Fraction

    def excess(self, order: Fraction) -> Fraction:
        """Return what a coordinate's divergence of `order` (> 1) exceeds a d^2 / 2v by at most, where d is not 0."""
        tau, above = self.log_range, order - 1
        second = (order * self.imbalance * tau + (2 * order - 1) ** 2 * tau**2 / 8) / above
        return min(tau, second)


def sum_defect(shares: int, share_variance: Fraction) -> SumDefect:
    """Return the defect of a sum of `shares` (1 to 1024) draws of N_Z(0, share_variance), at least 1/4."""
    if shares == 1:
        return SumDefect(Fraction(0), Fraction(0))
    tau = _product_log_range(shares, share_variance)
    if share_variance < _PEAK_VARIANCE:
        peak = _peak(shares, share_variance)
        if peak < 1:
            tau = min(tau, _log_ratio_up(peak))
    return SumDefect(_exact(tau), _imbalance(shares, share_variance))


def theta_log_range(variance: Fraction) -> Fraction:
    """Return log(theta_3(w) / theta_4(w)) for w = exp(-2 pi^2 variance), from above; variance at least 1/8.

    So far range the logarithms of sum_z exp(-(z-y)^2 / (2 variance)), z over the integers, as y varies.
    """
    return _exact(_theta_log_range(variance))


def poisson_sampled(
    divergences: Callable[[int], Fraction], rate: Fraction, orders: tuple[int, ...], *, symmetric: bool
) -> list[Fraction]:
    """Return bounds on the divergences of a mechanism on a Poisson sample, one for each of the integer `orders` (>= 2).

    Args:
        divergences: the mechanism's own bound at an integer order from 2 to the largest of `orders`.
        rate: 0 < q < 1.
        orders: which; rising.
        symmetric: whether an involution swaps the laws with and without the unit (c = 1 of the module's text, else 3).

    """
    factor = 1 if symmetric else 3
    own = {order: divergences(order) for order in range(2, orders[-1] + 1)}
    growth = {order: _UP.exp(_UP.mul(_up(bound), order - 1)) for order, bound in own.items()}
    q, stay, odds = _up(rate), _up(1 - rate), _up(rate / (1 - rate))
    bounds = []
    for order in orders:
        total = _UP.mul(_UP.pow(stay, order - 1), _up(order * rate - rate + 1))
        binomial = _UP.mul(_UP.mul(_UP.pow(stay, order - 2), _UP.mul(q, q)), order * (order - 1) // 2)
        total = _UP.add(total, _UP.mul(binomial, growth[2]))
        for term in range(3, order + 1):
            binomial = _UP.mul(binomial, _UP.div(_UP.mul(odds, order - term + 1), term))
            total = _UP.add(total, _UP.mul(factor, _UP.mul(binomial, growth[term])))
        bound = _UP.div(_UP.log(total), order - 1)
        bounds.append(min(own[order], _exact(bound)) if gmpy2.is_finite(bound) else own[order])
    return bounds


def conversion_constant(order: Fraction, delta: Fraction) -> Fraction:
    """Return log((a-1)/a) - log(delta a) / (a-1), from above: epsilon at delta less the divergence of `order` a.

    Source: Canonne, Kamath and Steinke 2020, "The Discrete Gaussian for Differential Privacy", proposition 12.
    """
    gain = _UP.log(_up((order - 1) / order))
    price = _DOWN.div(_DOWN.log(_down(delta * order)), _up(order - 1) if delta * order >= 1 else _down(order - 1))
    return _exact(_UP.sub(gain, price))


def _product_log_range(shares: int, share_variance: Fraction) -> "gmpy2.mpfr":
    total = _up(0)
    for earlier in range(1, shares):
        total = _UP.add(total, _theta_log_range(share_variance * Fraction(earlier, earlier + 1)))
    return total


def _theta_log_range(variance: Fraction) -> "gmpy2.mpfr":
    # theta_3(w) = 1 + 2 sum w^(j^2) <= 1 + 2w / (1 - w^3), as j^2 >= 1 + 3(j-1); theta_4(w) >= 1 - 2w, alternating.
    w = _gauss_up(variance)
    above = _UP.div(_UP.mul(2, w), _DOWN.sub(1, _UP.pow(w, 3)))
    return _UP.sub(_UP.log1p(above), _DOWN.log1p(_DOWN.mul(-2, w)))


def _gauss_up(variance: Fraction) -> "gmpy2.mpfr":
    """exp(-2 pi^2 variance), from above."""
    pi = _DOWN.const_pi()
    return _UP.exp(_UP.minus(_DOWN.mul(_DOWN.mul(_DOWN.mul(pi, pi), 2), _down(variance))))


def _peak(shares: int, share_variance: Fraction) -> "gmpy2.mpfr":
    """T(0) - 1 of the module's text, from above."""
    variance = shares * share_variance
    points = isqrt(int(100 * variance)) + 8
    total = _up(0)
    for point in range(points):
        turn = Fraction(min(point, points - point), points)
        total = _UP.add(total, _UP.pow(_period_sum(share_variance, turn), shares))
    # sqrt(v / 2 pi) (2 pi / points) = sqrt(2 pi v) / points
    scale = _UP.div(_UP.sqrt(_UP.mul(_UP.mul(2, _UP.const_pi()), _up(variance))), points)
    return _UP.sub(_UP.mul(scale, total), 1)


def _period_sum(share_variance: Fraction, turn: Fraction) -> "gmpy2.mpfr":
    """f(2 pi turn) for 0 <= turn <= 1/2, from above: exp(-2 pi^2 s (turn - j)^2) over all integers j."""
    near = (_gauss_up(share_variance * (turn - j) ** 2) for j in (0, 1, -1))
    # Beyond, |turn - j| is at least 3/2, 2, 5/2, 3, ...: less than twice a geometric sum from the first.
    first = _gauss_up(share_variance * Fraction(9, 4))
    far = _UP.div(_UP.mul(2, first), _DOWN.sub(1, first))
    total = far
    for term in near:
        total = _UP.add(total, term)
    return total


def _log_ratio_up(peak: "gmpy2.mpfr") -> "gmpy2.mpfr":
    return _UP.log(_UP.div(_UP.add(1, peak), _DOWN.sub(1, peak)))


def _imbalance(shares: int, share_variance: Fraction) -> Fraction:
    def tail(variance: Fraction) -> "gmpy2.mpfr":
        w = _gauss_up(variance)
        return _UP.div(_UP.mul(2, w), _DOWN.sub(1, _UP.pow(w, 3)))

    classes, whole = tail(share_variance / shares), tail(share_variance * shares)
    return min(Fraction(2), _exact(_UP.div(_UP.add(classes, whole), _DOWN.sub(1, whole))))


def _up(value: int | Fraction) -> "gmpy2.mpfr":
    return _UP.div(gmpy2.mpz(value.numerator), gmpy2.mpz(value.denominator))


def _down(value: int | Fraction) -> "gmpy2.mpfr":
    return _DOWN.div(gmpy2.mpz(value.numerator), gmpy2.mpz(value.denominator))


def _exact(value: "gmpy2.mpfr") -> Fraction:
    """Return the value rounded up to a multiple of 2^-256, so that fractions stay short however small they are."""
    if 0 < value < _LEAST:
        return Fraction(1, 1 << _STEP_BITS)
    numerator, denominator = map(int, value.as_integer_ratio())
    return Fraction(-(-(numerator << _STEP_BITS) // denominator), 1 << _STEP_BITS)
