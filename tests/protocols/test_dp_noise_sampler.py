import math
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstwobign

from protocols.dp_noise_sampler import MAX_VARIANCE, TableSampler, _decompose
from protocols.dp_noise_table import MAX_TABLE_VARIANCE, MIN_VARIANCE
from protocols.errors import NoiseError
from protocols.keystream import Keystream
from tests.protocols.noise_laws import SIGNIFICANCE, chi_square_p, exact_law, seeded, uniform_p

WIDE = [MAX_TABLE_VARIANCE + Fraction(1, 3), Fraction(1 << 27), Fraction(10**12, 7), MAX_VARIANCE]


@given(st.fractions(MAX_TABLE_VARIANCE, MAX_VARIANCE, max_denominator=2**64))
def test_a_wide_variance_is_made_of_parts_that_sum_up_exactly_and_smooth_each_other(variance):
    parts = _decompose(variance)
    assert sum(part * 128 ** (2 * level) for level, part in enumerate(parts)) == variance
    assert all(MIN_VARIANCE <= part <= MAX_TABLE_VARIANCE for part in parts)
    for inner in parts[:-1]:
        outer = (variance - inner) / 128**2
        assert inner * outer / variance > 15  # t^2 of the proof
        variance = outer


def test_the_distance_of_the_decomposition_is_as_proven():
    context = Context(prec=60)
    pi = Decimal("3.141592653589793238462643383279502884197")  # cut, so that the bound below is above the true one
    terms = [(-2 * pi * pi * 15 * j * j).exp(context) for j in range(1, 5)]
    d = 2 * sum(terms)
    assert d < Decimal(2) ** -420
    assert 2 * d / (1 - d) < Decimal(2) ** -400


@pytest.mark.parametrize("variance", [MAX_TABLE_VARIANCE + Fraction(1, 3), Fraction(1 << 22)], ids=str)
def test_the_law_of_a_decomposed_draw_is_the_discrete_gaussian(variance):
    inner, outer = _decompose(variance)
    spread = exact_law(outer)
    spaced = np.zeros(128 * (spread.size - 1) + 1)
    spaced[::128] = spread
    law = np.convolve(exact_law(inner), spaced)
    assert np.abs(law - exact_law(variance, law.size // 2)).sum() < 1e-11


def test_a_decomposition_that_smooths_too_little_would_be_seen():
    # The inner part's standard deviation is a quarter of the factor: the draws crowd around multiples of it.
    inner, outer = Fraction(32**2), Fraction(64**2)
    spread = exact_law(outer)
    spaced = np.zeros(128 * (spread.size - 1) + 1)
    spaced[::128] = spread
    law = np.convolve(exact_law(inner), spaced)
    assert np.abs(law - exact_law(inner + outer * 128**2, law.size // 2)).sum() > 0.1


@pytest.mark.parametrize("variance", WIDE, ids=str)
def test_wide_draws_follow_the_law(variance):
    values = TableSampler(variance, stream=seeded("wide")).draw(500_000)
    # Kolmogorov and Smirnov; at this width the law's distribution function is the normal one, half a step on.
    ordered = (np.sort(values) + 0.5) / math.sqrt(variance)
    expected = np.array([math.erfc(-x / math.sqrt(2)) / 2 for x in ordered[::100].tolist()])
    worst = np.abs(expected - np.arange(1, values.size + 1)[::100] / values.size).max()
    assert kstwobign.sf(worst * math.sqrt(values.size)) > SIGNIFICANCE
    # What is left of the values by each factor is all but uniform.
    levels = len(_decompose(variance)) - 1
    assert all(uniform_p((values // 128**level) % 128, 128) > SIGNIFICANCE for level in range(levels))


@pytest.mark.parametrize("variance", [Fraction(1, 4), Fraction(5, 2), Fraction(1000)], ids=str)
def test_draws_follow_the_law(variance):
    values = TableSampler(variance, stream=seeded("narrow")).draw(300_000)
    assert values.dtype == np.int64
    assert chi_square_p(values, exact_law(variance)) > SIGNIFICANCE


@given(st.fractions(MIN_VARIANCE, MAX_VARIANCE, max_denominator=2**64))
@settings(max_examples=25, deadline=None)
def test_for_every_variance_the_distance_and_the_largest_value_are_as_stated(variance):
    sampler = TableSampler(variance)
    assert sampler.variance == variance
    assert sampler.distance < Fraction(1, 1 << 112)
    assert (1 << 256) % sampler.distance.denominator == 0
    assert sampler.largest**2 < 400 * variance


@pytest.mark.parametrize("variance", [Fraction(1), *WIDE], ids=str)
def test_no_draw_is_beyond_the_largest_value(variance):
    for byte, sign in ((b"\x00", -1), (b"\xff", 1)):
        sampler = TableSampler(variance, stream=lambda byte=byte: lambda count: byte * count)
        assert sampler.draw(3).tolist() == [sign * sampler.largest] * 3


def test_every_call_draws_from_a_stream_of_its_own():
    made = []

    def stream():
        made.append(Keystream(len(made).to_bytes(32, "big")))
        return made[-1]

    sampler = TableSampler(Fraction(1 << 30), stream=stream)
    draws = [sampler.draw(100) for _ in range(3)]
    assert len(made) == 3
    assert not np.array_equal(draws[0], draws[1])


def test_unseeded_draws_differ_from_call_to_call_and_from_sampler_to_sampler():
    sampler = TableSampler(Fraction(100))
    draws = [sampler.draw(100), sampler.draw(100), TableSampler(Fraction(100)).draw(100)]
    assert len({draw.tobytes() for draw in draws}) == 3


@pytest.mark.parametrize("variance", [Fraction(0), Fraction(-4), Fraction(1, 5), MAX_VARIANCE + 1], ids=str)
def test_a_variance_out_of_range_is_refused(variance):
    with pytest.raises(NoiseError, match="variance"):
        TableSampler(variance)


@pytest.mark.parametrize("variance", [math.nan, math.inf])
def test_a_variance_that_is_no_number_is_refused(variance):
    with pytest.raises(NoiseError, match="variance"):
        TableSampler(variance)


@pytest.mark.parametrize("count", [-1, 2**32 + 1])
def test_a_count_out_of_range_is_refused(count):
    with pytest.raises(NoiseError, match="draws"):
        TableSampler(Fraction(1)).draw(count)
