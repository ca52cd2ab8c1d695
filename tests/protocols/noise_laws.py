"""The exact law of discrete Gaussian noise, and tests that tell other noise from it."""

import math
from hashlib import sha256

import numpy as np
from scipy.stats import chi2

from protocols.keystream import Keystream

SIGNIFICANCE = 1e-4
"""Of tests on fixed streams, which give the same result at every run."""


def seeded(text):
    """A stream for every call of `draw`, the same ones at every run."""
    calls = iter(range(1 << 30))
    return lambda: Keystream(sha256(f"{text} {next(calls)}".encode()).digest())


def exact_law(variance, largest=None):
    """Probabilities of N_Z(0, variance) at -largest, ..., largest; to double precision."""
    largest = largest or math.ceil(14 * math.sqrt(variance)) + 2
    weights = np.exp(-(np.arange(-largest, largest + 1.0) ** 2) / (2 * float(variance)))
    return weights / weights.sum()


def law_of_sum(variance, terms):
    """Probabilities of the sum of independent draws, which is no discrete Gaussian."""
    law = exact_law(variance)
    total = law
    for _ in range(terms - 1):
        total = np.convolve(total, law)
    return total


def chi_square_p(values, law, fewest=20):
    """The chance of counts at least as far from the law (centred at 0), by Pearson's test over cells of one value.

    Values of small expected count share one cell at each end.
    """
    centre = law.size // 2
    assert np.abs(values).max() <= centre
    counts = np.bincount(values + centre, minlength=law.size)
    expected = law * values.size
    kept = np.flatnonzero(expected >= fewest)
    first, last = kept[0], kept[-1]
    observed, wanted = (
        np.concatenate([[cells[: first + 1].sum()], cells[first + 1 : last], [cells[last:].sum()]])
        for cells in (counts, expected)
    )
    return chi2.sf(((observed - wanted) ** 2 / wanted).sum(), observed.size - 1)


def uniform_p(values, cells):
    counts = np.bincount(values, minlength=cells)
    wanted = values.size / cells
    return chi2.sf(((counts - wanted) ** 2 / wanted).sum(), cells - 1)


def refutation(values, law, shift, epsilon):
    """By how many standard deviations draws contradict that noise of this law is (epsilon, delta(epsilon))-private.

    `shift` is what one unit adds to the figure. The best test for the law (Neyman and Pearson) says "without the unit"
    where the likelihood ratio is above e^epsilon. With true noise it is right in a share p of the first half of the
    draws and wrong in q of the second with p - e^epsilon q = delta, the exact law's; less noise gives more.
    """
    margin = np.zeros(shift)
    without, with_unit = np.concatenate([law, margin]), np.concatenate([margin, law])
    guessed = without > math.exp(epsilon) * with_unit
    delta = without[guessed].sum() - math.exp(epsilon) * with_unit[guessed].sum()
    centre = law.size // 2
    half = values.size // 2
    p = guessed[values[:half] + centre].mean()
    q = guessed[values[half:] + centre + shift].mean()
    deviation = math.sqrt((p * (1 - p) + math.exp(2 * epsilon) * q * (1 - q)) / half)
    return (p - math.exp(epsilon) * q - delta) / deviation
