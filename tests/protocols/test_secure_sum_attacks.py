"""Attacks on secure sums, each seen to succeed where its defence is off."""

import numpy as np
import pytest

from protocols.errors import InconsistentTotalsError, MaskError
from protocols.masks import add_party_stream, mask_stream
from protocols.secure_sum import SumParty, sum_masked
from tests.protocols.masked_sums import masked_of, parties_of, secrets_of, terms_of, vectors_of


def unchecked_sum(masked):
    return sum(masked.values()).view(np.int64)


def stream_words(terms, pair, step=0):
    """The words that the first of a pair adds and the second subtracts."""
    secret = secrets_of(terms.roster)[pair[0]][pair[1]]
    return np.frombuffer(mask_stream(secret, terms.stream_info(step, pair))(8 * terms.parameters), "<u8")


# A mask left out.


def test_a_mask_left_out_leaves_garbage_that_the_sum_refuses():
    terms = terms_of()
    vectors = vectors_of(terms)
    masked = masked_of(terms, vectors)
    masked["a"] = masked["a"] - stream_words(terms, ("a", "b"))
    garbage = unchecked_sum(masked)
    assert not np.any(garbage == sum(vectors.values()))
    assert np.count_nonzero(np.abs(garbage.astype(float)) > 2**55) > 90  # spread over 64 bits, not near the sum
    with pytest.raises(InconsistentTotalsError):
        sum_masked(masked, terms)


def test_the_sum_without_one_party_is_garbage_so_nobody_can_drop_one_and_subtract():
    terms = terms_of()
    vectors = vectors_of(terms)
    masked = masked_of(terms, vectors)
    del masked["c"]
    assert not np.any(unchecked_sum(masked) == vectors["a"] + vectors["b"])
    with pytest.raises(MaskError, match="missing: c"):
        sum_masked(masked, terms)


def test_vectors_of_two_steps_do_not_add_up():
    terms = terms_of()
    vectors = vectors_of(terms)
    first, second = masked_of(terms, vectors, 0), masked_of(terms, vectors, 1)
    with pytest.raises(InconsistentTotalsError):
        sum_masked(first | {"c": second["c"]}, terms)


# What a coalition sees.


def test_whoever_sums_and_one_party_see_the_same_for_every_split_of_the_others_sum():
    # Party a and whoever sums hold a's secrets and all masked vectors. For any other vectors of b and c with the same
    # sum there is a stream of the pair (b, c), as likely as the true one, under which they would have seen just this.
    terms = terms_of()
    vectors = vectors_of(terms)
    seen = masked_of(terms, vectors)
    other_b = np.random.default_rng(2).integers(-terms.bound, terms.bound, terms.parameters)
    other_c = vectors["b"] + vectors["c"] - other_b
    stream = stream_words(terms, ("b", "c")) + (vectors["b"] - other_b).view(np.uint64)
    with_b = other_b.view(np.uint64) - stream_words(terms, ("a", "b")) + stream
    with_c = other_c.view(np.uint64) - stream_words(terms, ("a", "c")) - stream
    assert np.array_equal(with_b, seen["b"])
    assert np.array_equal(with_c, seen["c"])


def test_without_the_pairs_stream_the_coalition_reads_a_part():
    terms = terms_of()
    vectors = vectors_of(terms)
    lazy = vectors["b"].view(np.uint64).copy()  # b masks towards a only, whose secret the coalition has
    add_party_stream(lazy, {"a": secrets_of()["b"]["a"]}, "b", lambda peer: terms.stream_info(0, ("b", peer)))
    assert np.array_equal((lazy + stream_words(terms, ("a", "b"))).view(np.int64), vectors["b"])
    masked = masked_of(terms, vectors)["b"]
    assert not np.any((masked + stream_words(terms, ("a", "b"))).view(np.int64) == vectors["b"])
    with pytest.raises(MaskError, match="would stay"):
        SumParty(terms, "b", {"a": secrets_of()["b"]["a"]})


def test_two_of_three_parties_and_whoever_sums_learn_from_the_sum_alone_what_they_learn():
    # No mask can help here, which is why noise has to tolerate as many known shares.
    terms = terms_of()
    vectors = vectors_of(terms)
    masked = masked_of(terms, vectors)
    from_the_sum = sum_masked(masked, terms) - vectors["a"] - vectors["b"]
    from_the_masks = masked["c"] + stream_words(terms, ("a", "c")) + stream_words(terms, ("b", "c"))
    assert np.array_equal(from_the_masks.view(np.int64), from_the_sum)
    assert np.array_equal(from_the_sum, vectors["c"])


def test_a_masked_vector_looks_the_same_whatever_it_hides():
    terms = terms_of(100_000)
    for vector in (np.zeros(terms.parameters, np.int64), np.full(terms.parameters, terms.bound)):
        masked = parties_of(terms)["a"].mask(0, vector)
        counts = np.bincount(masked.view(np.uint8), minlength=256)
        expected = masked.nbytes / 256
        assert ((counts - expected) ** 2 / expected).sum() < 347  # 255 degrees of freedom, p = 1e-4; secrets are fixed


# A stream used twice.


def test_a_stream_over_two_vectors_shows_their_difference():
    terms = terms_of()
    first, second = vectors_of(terms)["a"], vectors_of(terms, seed=2)["a"]
    seen = []
    for vector in (first, second):  # what a party without SumParty's count of steps could do
        masked = vector.view(np.uint64).copy()
        add_party_stream(masked, secrets_of()["a"], "a", lambda peer: terms.stream_info(0, ("a", peer)))
        seen.append(masked)
    assert np.array_equal((seen[0] - seen[1]).view(np.int64), first - second)

    party = parties_of(terms)["a"]
    party.mask(0, first)
    with pytest.raises(MaskError, match="spent"):
        party.mask(0, second)


def test_two_steps_do_not_show_the_difference_of_two_vectors():
    terms = terms_of()
    first, second = vectors_of(terms)["a"], vectors_of(terms, seed=2)["a"]
    party = parties_of(terms)["a"]
    difference = (party.mask(0, first) - party.mask(1, second)).view(np.int64)
    assert not np.any(difference == first - second)
