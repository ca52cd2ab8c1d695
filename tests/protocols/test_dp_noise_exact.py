import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dp_noise_sampler import MAX_VARIANCE
from protocols.dp_noise_table import MIN_VARIANCE
from protocols.errors import NoiseError
from tests.protocols.noise_laws import chi_square_p, exact_law

pytest.importorskip("opendp")
from protocols.dp_noise_exact import ExactSampler

SIGNIFICANCE = 1e-9
"""Of tests on draws that differ at every run."""


@pytest.mark.parametrize("variance", [Fraction(1, 4), Fraction(1), Fraction(100, 3)], ids=str)
def test_draws_follow_the_law(variance):
    values = ExactSampler(variance).draw(60_000)
    assert values.dtype == np.int64
    assert chi_square_p(values, exact_law(variance)) > SIGNIFICANCE


def test_the_test_of_the_law_sees_a_tenth_less_variance():
    assert chi_square_p(ExactSampler(Fraction(90)).draw(60_000), exact_law(100)) < SIGNIFICANCE


@given(st.fractions(MIN_VARIANCE, MAX_VARIANCE, max_denominator=2**64))
@settings(deadline=None, max_examples=50)
def test_the_variance_is_never_below_what_was_asked_and_hardly_above(variance):
    drawn = ExactSampler(variance).variance
    assert variance <= drawn <= variance * (1 + Fraction(1, 2**50))


@pytest.mark.parametrize("root", [Fraction(1, 2), Fraction(10), Fraction(2**32), Fraction(2**20 + 1, 2**10)], ids=str)
def test_a_variance_whose_root_is_a_float_is_drawn_as_asked(root):
    assert ExactSampler(root**2).variance == root**2


def test_an_exact_draw_has_no_distance_and_as_many_values_as_asked():
    sampler = ExactSampler(MAX_VARIANCE)
    assert sampler.distance == 0
    assert [sampler.draw(count).shape for count in (0, 1, 16_385)] == [(0,), (1,), (16_385,)]
    assert not np.array_equal(sampler.draw(5), sampler.draw(5))


@pytest.mark.parametrize("variance", [Fraction(0), Fraction(-1), Fraction(1, 5), MAX_VARIANCE + 1, math.nan], ids=str)
def test_a_variance_out_of_range_is_refused(variance):
    with pytest.raises(NoiseError, match="variance"):
        ExactSampler(variance)


def test_a_negative_count_is_refused():
    with pytest.raises(NoiseError, match="draws"):
        ExactSampler(Fraction(1)).draw(-1)
