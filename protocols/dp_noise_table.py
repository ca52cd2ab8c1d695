"""Discrete Gaussian noise from a table of cumulative probabilities of 128 bits: fast, and provably close to exact.

The law N_Z(0, s^2) gives x the probability W(x) / Z with W(x) = exp(-x^2 / (2 s^2)) and Z the sum of all W (Canonne,
Kamath and Steinke 2020, definition 1). The table gives x in [-T, T] the probability c(x) / 2^128 with integers c; a
draw compares a uniform 128-bit word with the sums of the c. Integers and fractions throughout, no floats.

The distance. With h = 2^-256: exp(-1/(2 s^2)) and exp(-1/s^2) are taken from `decimal` at 120 digits, whose exp is
correctly rounded, and cut to multiples of h, so they err by at most 2h. W follows by w(x+1) = w(x) r(x) and r(x+1) =
r(x) exp(-1/s^2), r(0) = exp(-1/(2 s^2)), each product cut to a multiple of h. All these lie in [0, 1], so r(x) errs by
at most 2h + 3xh, and w(x) by the sum of these and of the cuts before x: at most E = 3 (T+1)^2 h for x up to T+1.
Beyond T the ratio of neighbouring W never exceeds r(T+1), hence the tail on one side is at most A =
(w(T+1) + E) / (1 - r(T+1) - E). Two measures whose difference has the absolute sum d differ, normalised, by at most
d / z in total variation, z being the larger one's mass. So with z = sum of w, the table's distance is at most

    1/2 sum |c(x) / 2^128 - w(x) / z|  +  (2 T E + 2 A) / z,

which `CumulativeTable.distance` states, rounded up to a multiple of h so that it fits a privacy cost; below 2^-112 for
every variance allowed here.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.errors import NoiseError
from protocols.keystream import RandomBytes

WORD_BITS: Final = 128
MIN_VARIANCE: Final = Fraction(1, 4)
MAX_TABLE_VARIANCE: Final = Fraction(1 << 20)
"""Above it a table of 27 standard deviations leaves the processor's caches."""
MAX_DENOMINATOR: Final = 1 << 64

_WORK_BITS: Final = 256
_DIGITS: Final = 120
_GUIDE_BITS: Final = 16
_OPEN: Final = -(1 << 15)
"""In the guide: the word's first 16 bits do not settle the value. No value: T is below 2^15."""
_CHUNK: Final = 1 << 16
_LOW_BITS: Final = WORD_BITS - 64
_LOW_BYTES: Final = (_LOW_BITS - _GUIDE_BITS) // 8


@dataclass(frozen=True, slots=True, eq=False)
class CumulativeTable:
    """The table of one variance; make it with `build_table`, keep it as long as that variance is in use.

    Attributes:
        variance: s^2, the law's parameter.
        largest: T, the largest absolute value that a draw can have.
        distance: a bound on the total variation distance of a draw from N_Z(0, s^2).
        cumulative: sums of c(-T), ..., c(x) for x = -T, ..., T - 1; increasing, below 2^128.

    """

    variance: Fraction
    largest: int
    distance: Fraction
    cumulative: tuple[int, ...]
    _high: NDArray[np.uint64]
    _guide: NDArray[np.int16]

    def draw(self, count: int, random: RandomBytes) -> NDArray[np.int16]:
        """Return `count` independent draws, shape (count,)."""
        values = np.empty(count, np.int16)
        for start in range(0, count, _CHUNK):
            part = values[start : start + _CHUNK]
            first = np.frombuffer(random(2 * part.size), "<u2")
            np.take(self._guide, first, out=part, mode="clip")
            unsettled = np.flatnonzero(part == _OPEN)
            if unsettled.size:
                part[unsettled] = self._settle(first[unsettled], random)
        return values

    def _settle(self, first: NDArray[np.uint16], random: RandomBytes) -> NDArray[np.int64]:
        """Draw the rest of the words that begin with `first`, as far as it takes to tell what the whole word gives."""
        more = np.frombuffer(random(8 * first.size), "<u8")
        high = first.astype(np.uint64) << np.uint64(48) | more >> np.uint64(16)
        index = np.searchsorted(self._high, high, side="left")
        tied = np.flatnonzero(self._high[np.minimum(index, self._high.size - 1)] == high)
        for position in tied.tolist():
            middle = int(more[position]) & 0xFFFF
            low = middle << 48 | int.from_bytes(random(_LOW_BYTES), "little")
            word = int(high[position]) << _LOW_BITS | low
            index[position] = bisect_right(self.cumulative, word)
        return index - self.largest


def build_table(variance: Fraction) -> CumulativeTable:
    """Return the table of N_Z(0, variance); takes up to 0.1 s.

    Raises:
        NoiseError: the variance is not in [1/4, 2^20], or its denominator is above 2^64.

    """
    if not MIN_VARIANCE <= variance <= MAX_TABLE_VARIANCE or variance.denominator > MAX_DENOMINATOR:
        raise NoiseError("a table's variance is a fraction in [1/4, 2^20] with a denominator of at most 2^64")
    weights, tail, error = _weights(variance)
    counts, rounding = _counts(weights)
    mass = Fraction(2 * sum(weights) - weights[0], 1 << _WORK_BITS)
    distance = rounding + (2 * (len(weights) - 1) * error + 2 * tail) / mass
    stated = Fraction(math.ceil(distance * (1 << _WORK_BITS)), 1 << _WORK_BITS)
    while not counts[-1]:  # the last ones may have been rounded to nothing
        counts.pop()
    largest = len(counts) - 1
    cumulative = tuple(accumulate(counts[:0:-1] + counts[:-1]))  # with the last, 2^128, which no word reaches
    high = np.array([entry >> _LOW_BITS for entry in cumulative], np.uint64)
    return CumulativeTable(variance, largest, stated, cumulative, high, _guide(cumulative, largest))


def _weights(variance: Fraction) -> tuple[list[int], Fraction, Fraction]:
    """Return w(0), ..., w(T) in units of 2^-256, then A and E as in the module's docstring."""
    unit = 1 << _WORK_BITS
    ratio, step = _exponential(1 / (2 * variance)), _exponential(1 / variance)
    weights = [unit]
    following = ratio  # w(1) = w(0) r(0)
    while following >> (_WORK_BITS - WORD_BITS):
        weights.append(following)
        ratio = ratio * step >> _WORK_BITS
        following = following * ratio >> _WORK_BITS
    ratio = ratio * step >> _WORK_BITS  # `following` is w(T+1), this is r(T+1)
    error = Fraction(3 * len(weights) ** 2, unit)
    tail = (Fraction(following, unit) + error) / (1 - Fraction(ratio, unit) - error)
    return weights, tail, error


def _exponential(exponent: Fraction) -> int:
    """Return exp(-exponent), for an exponent in (0, 4], in units of 2^-256; it errs by at most 2 units."""
    context = Context(prec=_DIGITS)
    power = context.divide(Decimal(-exponent.numerator), Decimal(exponent.denominator)).exp(context)
    return int(context.multiply(power, Decimal(1 << _WORK_BITS)))


def _counts(weights: list[int]) -> tuple[list[int], Fraction]:
    """Return c(0), ..., c(T) and the distance between c / 2^128 and the normalised weights."""
    scale = 1 << WORD_BITS
    mass = 2 * sum(weights) - weights[0]
    counts = [(2 * weight * scale + mass) // (2 * mass) for weight in weights]
    counts[0] = scale - 2 * sum(counts[1:])
    misses = [abs(count * mass - weight * scale) for count, weight in zip(counts, weights, strict=True)]
    return counts, Fraction(2 * sum(misses) - misses[0], 2 * scale * mass)


def _guide(cumulative: tuple[int, ...], largest: int) -> NDArray[np.int16]:
    """Return, for each first 16 bits of a word, the value where they settle it, else `_OPEN`."""
    bounds = np.array([entry >> (WORD_BITS - _GUIDE_BITS) for entry in cumulative], np.int64)
    prefixes = np.arange(1 << _GUIDE_BITS)
    below, up_to = (np.searchsorted(bounds, prefixes, side=side) for side in ("left", "right"))
    return np.where(below == up_to, below - largest, _OPEN).astype(np.int16)
