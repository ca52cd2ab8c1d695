from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dp_noise import EXACT_AT_MOST, NoiseShare, sampler_for
from protocols.dp_noise_sampler import MAX_VARIANCE, TableSampler
from protocols.errors import NoiseError
from tests.protocols.noise_laws import SIGNIFICANCE, chi_square_p, exact_law, law_of_sum, refutation, seeded

TOTAL = Fraction(400)
DRAWS = 400_000
EPSILON, SHIFT = 1.0, 20  # one unit moves the figure by the noise's standard deviation


def shares_drawn(share, shares, text="shares"):
    """The sum of so many shares' noise."""
    samplers = [TableSampler(share.variance, stream=seeded(f"{text} {number}")) for number in range(shares)]
    return sum(sampler.draw(DRAWS) for sampler in samplers)


@given(st.integers(2, 100), st.data(), st.fractions(100, 10**6, max_denominator=1000))
def test_the_shares_that_nobody_who_looks_knows_have_the_total_variance_exactly(providers, data, total):
    tolerated = data.draw(st.integers(1, providers - 1))
    share = NoiseShare(total, providers, tolerated)
    assert share.variance * (providers - tolerated) == total
    assert share.honest == providers - tolerated


def test_a_single_provider_adds_all_the_noise():
    assert NoiseShare(TOTAL, 1, 0).variance == TOTAL


def test_against_all_others_one_share_is_all_the_noise():
    assert NoiseShare(TOTAL, 4, 3).variance == TOTAL


@pytest.mark.parametrize(
    ("total", "providers", "tolerated"),
    [
        (TOTAL, 0, 0),
        (TOTAL, -1, 0),
        (TOTAL, 1, 1),
        (TOTAL, 4, 0),
        (TOTAL, 4, 4),
        (TOTAL, 4, -1),
        (Fraction(0), 4, 1),
        (Fraction(-1), 1, 0),
        (Fraction(1, 2), 4, 1),
        (MAX_VARIANCE + 1, 1, 0),
    ],
)
def test_shares_that_do_not_hide_anything_are_refused(total, providers, tolerated):
    with pytest.raises(NoiseError):
        NoiseShare(total, providers, tolerated)


def test_dropouts_use_up_what_is_tolerated():
    share = NoiseShare(TOTAL, 5, 2)
    assert [share.remaining_tolerance(contributors) for contributors in (5, 4, 3)] == [2, 1, 0]
    for contributors in (2, 6):
        with pytest.raises(NoiseError, match="contributed"):
            share.remaining_tolerance(contributors)


# What the noise of several is.


def test_the_sum_of_the_honest_shares_follows_its_law():
    share = NoiseShare(TOTAL, 4, 1)
    assert chi_square_p(shares_drawn(share, 3), law_of_sum(share.variance, 3)) > SIGNIFICANCE


def test_all_shares_together_vary_by_a_third_more_than_pooled_noise_for_four_providers():
    share = NoiseShare(TOTAL, 4, 1)
    ratio = shares_drawn(share, 4).var() / TOTAL
    assert abs(ratio - 4 / 3) < 6 * (4 / 3) * (2 / DRAWS) ** 0.5  # six deviations of a variance's estimate


def test_true_noise_is_as_private_as_claimed():
    share = NoiseShare(TOTAL, 4, 1)
    assert refutation(TableSampler(TOTAL, stream=seeded("one")).draw(DRAWS), exact_law(TOTAL), SHIFT, EPSILON) < 4
    assert refutation(shares_drawn(share, 3), law_of_sum(share.variance, 3), SHIFT, EPSILON) < 4


def test_halved_noise_is_caught():
    halved = TableSampler(TOTAL / 2, stream=seeded("half")).draw(DRAWS)
    assert refutation(halved, exact_law(TOTAL), SHIFT, EPSILON) > 20


def test_a_share_of_all_providers_instead_of_the_honest_ones_is_caught():
    share = NoiseShare(TOTAL, 4, 1)
    short = sum(TableSampler(TOTAL / 4, stream=seeded(f"k {number}")).draw(DRAWS) for number in range(3))
    assert refutation(short, law_of_sum(share.variance, 3), SHIFT, EPSILON) > 6


def test_three_colluders_of_four_leave_full_noise_where_three_are_tolerated_and_a_third_of_it_where_one_is():
    for tolerated, caught in ((3, False), (1, True)):
        left = shares_drawn(NoiseShare(TOTAL, 4, tolerated), 1)  # the colluders subtract theirs
        assert bool(refutation(left, exact_law(TOTAL), SHIFT, EPSILON) > 6) is caught


# Which sampler.


def test_few_values_are_drawn_exactly():
    exact = pytest.importorskip("protocols.dp_noise_exact", exc_type=ImportError)
    assert isinstance(sampler_for(TOTAL, EXACT_AT_MOST), exact.ExactSampler)


def test_many_values_are_drawn_by_tables():
    sampler = sampler_for(TOTAL / 3, EXACT_AT_MOST + 1)
    assert isinstance(sampler, TableSampler)
    assert sampler.variance == TOTAL / 3
    assert np.abs(sampler.draw(10)).max() <= sampler.largest
