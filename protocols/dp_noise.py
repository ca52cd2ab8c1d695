"""Noise of differentially private releases: what a provider's share of it is, and which sampler draws it.

The rule: up to `EXACT_AT_MOST` values OpenDP's exact sampler (`dp_noise_exact`), above it tables (`dp_noise_sampler`),
some hundred times as fast and at most 2^-112 away from the law per value, which the accountant charges to delta.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from protocols.dp_noise_sampler import TableSampler, require_variance
from protocols.errors import NoiseError

EXACT_AT_MOST: Final = 1 << 16
"""Values for which half a second of OpenDP's sampler buys that nothing has to be charged for its distance."""


class NoiseSampler(Protocol):
    """Draws of N_Z(0, variance), the discrete Gaussian with P(x) proportional to exp(-x^2 / (2 variance))."""

    @property
    def variance(self) -> Fraction:
        """The law's parameter, exactly; never below what was asked for."""
        ...

    @property
    def distance(self) -> Fraction:
        """A bound on the total variation distance of one draw from the law."""
        ...

    def draw(self, count: int) -> NDArray[np.int64]:
        """Return `count` fresh independent draws, shape (count,); never the same ones twice."""
        ...


@dataclass(frozen=True, slots=True)
class NoiseShare:
    """One provider's share of the noise of a release, as agreed by all of them.

    Whoever looks at the total knows at most D shares of K - parties that dropped out or collude, an observing provider
    included - and K - D honest shares of variance S^2 / (K - D) have the variance S^2 together.

    Args:
        total_variance: S^2, in squared units of the integers that are released.
        providers: K, at least 1.
        tolerated: D, in 1 to K - 1; 0 for a single provider, which adds S^2 alone.

    Raises:
        NoiseError: another K or D, or a share that no sampler draws (its variance not in [1/4, 2^64], its
            denominator above 2^64).

    """

    total_variance: Fraction
    providers: int
    tolerated: int

    def __post_init__(self) -> None:
        if self.providers < 1:
            raise NoiseError(f"noise is shared among at least 1 provider, not {self.providers}")
        if self.providers == 1 and self.tolerated:
            raise NoiseError("a single provider adds all the noise itself: nobody else's share is there to be missed")
        if self.providers > 1 and not 1 <= self.tolerated < self.providers:
            raise NoiseError(
                f"{self.tolerated} shares may be missing or known of {self.providers}; it must be 1 to "
                f"{self.providers - 1}, since a provider always knows its own share"
            )
        require_variance(self.variance)

    @property
    def honest(self) -> int:
        """K - D, the number of shares whose sum has the variance S^2."""
        return self.providers - self.tolerated

    @property
    def variance(self) -> Fraction:
        """S^2 / (K - D), what each provider draws with."""
        return self.total_variance / self.honest

    def remaining_tolerance(self, contributors: int) -> int:
        """Return how many of the shares of `contributors` may still be known to whoever looks: D less the dropouts.

        Raises NoiseError where they are fewer than K - D, so that the release has to be given up, or more than K.
        """
        if not self.honest <= contributors <= self.providers:
            raise NoiseError(
                f"{contributors} of {self.providers} providers contributed, where the noise needs {self.honest}; "
                "give up this attempt and ask anew"
            )
        return contributors - self.honest


def sampler_for(variance: Fraction, count: int) -> NoiseSampler:
    """Return the sampler for `count` values in one release: exact for few, by tables for many.

    Raises NoiseError for a variance out of [1/4, 2^64] or with a denominator above 2^64.
    """
    if count > EXACT_AT_MOST:
        return TableSampler(variance)
    # Loading OpenDP takes time and memory that a party which only trains never needs to spend.
    from protocols.dp_noise_exact import ExactSampler  # noqa: PLC0415

    return ExactSampler(variance)
