"""Discrete Gaussian noise of any variance up to 2^64 from small tables, at many millions a second.

Up to a variance of 2^20 one table serves. Above it (after Micciancio and Walter 2017, section 4) with k = 128

    X = X0 + k X1,   X0 from N_Z(0, s0^2),   X1 from N_Z(0, s1^2),   s0^2 + k^2 s1^2 = s^2,

s1^2 being the largest integer that leaves s0^2 >= 2^19; X1 is made in the same way where it needs to be. Then
P(X = z) is proportional to the sum over x1 of exp(-x1^2 / (2 s1^2) - (z - k x1)^2 / (2 s0^2)) = exp(-z^2 / (2 s^2))
times the sum over x1 of exp(-(x1 - c(z))^2 / (2 t^2)), with t^2 = s0^2 s1^2 / s^2 and some c(z). By Poisson's summation
formula the latter is proportional to 1 + 2 sum_{j>=1} exp(-2 pi^2 t^2 j^2) cos(2 pi j c(z)). Here t^2 = (s0^2 / k^2)
(1 - s0^2 / s^2) > 15, since s0^2 >= 2^19, and k^2 s1^2 > 2^19 - 2^14 where s^2 > 2^20; so that factor lies within
1 +- d for d = 2^-420, and X is within 2 d / (1 - d) < 2^-400 of N_Z(0, s^2) in total variation. The distances of the
tables add to that.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.dp_noise_table import MAX_DENOMINATOR, MAX_TABLE_VARIANCE, MIN_VARIANCE, build_table
from protocols.errors import NoiseError
from protocols.keystream import RandomBytes, fresh_keystream

MAX_VARIANCE: Final = Fraction(1 << 64)
MAX_COUNT: Final = 1 << 32

_FACTOR: Final = 128
_LEAST_INNER: Final = 1 << 19
_DECOMPOSITION_DISTANCE: Final = Fraction(1, 1 << 256)
"""Above the 2^-400 proven: the unit of the tables' distances, which dwarf both."""


class TableSampler:
    """Draws from N_Z(0, variance) by tables; the owner keeps it as long as it needs that variance.

    Every call draws from a stream of its own, keyed by the operating system, so nothing is inherited by a fork.
    """

    __slots__ = ("_distance", "_stream", "_terms", "_variance")

    def __init__(self, variance: Fraction, *, stream: Callable[[], RandomBytes] = fresh_keystream) -> None:
        """Build the tables, in up to 0.2 s.

        Args:
            variance: s^2 in [1/4, 2^64], its denominator at most 2^64.
            stream: where a call of `draw` gets its random bytes from.

        Raises:
            NoiseError: the variance is out of that range.

        """
        variances = _decompose(variance)
        self._variance = variance
        self._stream = stream
        self._terms = tuple((_FACTOR**level, build_table(part)) for level, part in enumerate(variances))
        self._distance = sum(
            (table.distance for _, table in self._terms), start=_DECOMPOSITION_DISTANCE * (len(self._terms) - 1)
        )

    @property
    def variance(self) -> Fraction:
        """The parameter s^2 of the law, exactly (its variance but for a factor that is nearly 1 from s^2 = 1 on)."""
        return self._variance

    @property
    def distance(self) -> Fraction:
        """A bound on the total variation distance between one draw and N_Z(0, s^2); below 2^-112."""
        return self._distance

    @property
    def largest(self) -> int:
        """The largest absolute value that a draw can have: below 20 standard deviations."""
        return sum(factor * table.largest for factor, table in self._terms)

    def draw(self, count: int) -> NDArray[np.int64]:
        """Return `count` (0 to 2^32) fresh independent draws, shape (count,); NoiseError for another count."""
        require_count(count)
        random = self._stream()
        values = self._terms[0][1].draw(count, random).astype(np.int64)
        for factor, table in self._terms[1:]:
            values += np.multiply(table.draw(count, random), factor, dtype=np.int64)
        return values


def require_count(count: int) -> None:
    """Raise NoiseError unless `count` is 0 to 2^32."""
    if not 0 <= count <= MAX_COUNT:
        raise NoiseError(f"{count} draws of noise at once are out of 0 to 2^32")


def require_variance(variance: Fraction) -> None:
    """Raise NoiseError unless `variance` is in [1/4, 2^64] with a denominator of at most 2^64."""
    if not MIN_VARIANCE <= variance <= MAX_VARIANCE or variance.denominator > MAX_DENOMINATOR:
        raise NoiseError("the variance of noise is a fraction in [1/4, 2^64] with a denominator of at most 2^64")


def _decompose(variance: Fraction) -> list[Fraction]:
    """Return the variances of the terms of 1, 128, 128^2, ... times a draw."""
    require_variance(variance)
    parts = []
    while variance > MAX_TABLE_VARIANCE:
        outer = (variance - _LEAST_INNER) // _FACTOR**2
        parts.append(variance - outer * _FACTOR**2)
        variance = Fraction(outer)
    return [*parts, variance]
