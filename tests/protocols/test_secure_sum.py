import copy
import multiprocessing
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InconsistentTotalsError, LayoutError, MaskError, OverflowRefusedError
from protocols.secure_sum import LARGEST_SUM, SumMethod, SumParty, SumTerms, plan_sum, sum_masked
from tests.protocols.masked_sums import BOUND, masked_of, parties_of, secrets_of, terms_of, vectors_of

ROSTERS = st.sets(st.text(st.characters(exclude_categories=("Cs",)), max_size=8), min_size=2, max_size=6)


@given(ROSTERS, st.integers(1, 300), st.integers(0, 2**32 - 1), st.data())
def test_the_sum_is_exact_for_any_roster_length_and_bound(names, parameters, step, data):
    bound = data.draw(st.integers(1, LARGEST_SUM // len(names)))
    terms = terms_of(parameters, sorted(names), bound=bound)
    vectors = vectors_of(terms)
    total = sum_masked(masked_of(terms, vectors, step), terms)
    assert total.dtype == np.int64
    assert total.tolist() == [sum(column) for column in zip(*(v.tolist() for v in vectors.values()), strict=True)]


def test_sums_over_several_chunks_of_the_stream_are_exact():
    terms = terms_of(50_001)
    vectors = vectors_of(terms)
    assert np.array_equal(sum_masked(masked_of(terms, vectors), terms), sum(vectors.values()))


def test_extreme_values_do_not_wrap():
    terms = terms_of(2, bound=LARGEST_SUM // 3)
    extreme = np.array([terms.bound, -terms.bound])
    total = sum_masked(masked_of(terms, dict.fromkeys(terms.roster, extreme)), terms)
    assert total.tolist() == [terms.largest_sum, -terms.largest_sum]


def test_the_partys_own_vector_stays_as_it_was():
    terms = terms_of()
    vectors = vectors_of(terms)
    before = {name: vector.copy() for name, vector in vectors.items()}
    masked_of(terms, vectors)
    assert all(np.array_equal(vectors[name], before[name]) for name in vectors)


def test_vectors_that_are_views_with_strides_are_masked_the_same():
    terms = terms_of()
    vector = vectors_of(terms)["a"]
    wide = np.zeros(2 * vector.size, np.int64)
    wide[::2] = vector
    masked = [parties_of(terms)["a"].mask(0, values) for values in (vector, wide[::2])]
    assert np.array_equal(*masked)


@pytest.mark.parametrize(
    "other",
    [
        lambda terms: (SumTerms(bytes(32), 1, terms.roster, terms.parameters, BOUND), 0),
        lambda terms: (terms_of(attempt=2), 0),
        lambda terms: (terms_of(bound=BOUND + 1), 0),
        lambda terms: (terms, 1),
    ],
    ids=["call", "attempt", "bound", "step"],
)
def test_parties_that_disagree_on_any_term_get_no_sum(other):
    terms = terms_of()
    vectors = vectors_of(terms)
    masked = masked_of(terms, vectors)
    strayed, step = other(terms)
    masked["b"] = SumParty(strayed, "b", secrets_of()["b"]).mask(step, vectors["b"])
    with pytest.raises(InconsistentTotalsError, match="did not cancel"):
        sum_masked(masked, terms)


def test_two_pairs_of_a_roster_have_different_streams_even_with_one_secret():
    terms = terms_of()
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    assert len({terms.stream_info(step, pair) for pair in pairs for step in range(3)}) == 9
    assert terms.stream_info(0, ("b", "a")) == terms.stream_info(0, ("a", "b"))


def test_streams_are_bound_to_the_whole_roster():
    pair = ("a", "b")
    assert terms_of().stream_info(0, pair) != terms_of(names=["a", "b", "d"]).stream_info(0, pair)


def test_names_that_run_together_alike_are_told_apart():
    one = SumTerms(bytes(32), 1, ("a", "bc", "d"), 1, 1)
    other = SumTerms(bytes(32), 1, ("ab", "c", "d"), 1, 1)
    assert one.stream_info(0, ("a", "bc")) != other.stream_info(0, ("ab", "c"))


# One stream, one vector.


def test_a_step_is_masked_once():
    terms = terms_of()
    party, vector = parties_of(terms)["a"], vectors_of(terms)["a"]
    party.mask(5, vector)
    for step in (5, 4, 0):
        with pytest.raises(MaskError, match="spent"):
            party.mask(step, vector)
    party.mask(6, vector)


class SlowStep(int):
    """A step whose comparison takes so long that another thread compares meanwhile."""

    def __ge__(self, other):
        time.sleep(0.02)
        return int(self) >= other


def test_of_threads_that_mask_one_step_at_once_one_succeeds():
    terms = terms_of()
    party, vector = parties_of(terms)["a"], vectors_of(terms)["a"]
    made = []

    def attempt(step):
        with suppress(MaskError):
            made.append(party.mask(step, vector))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(attempt, [SlowStep(0)] * 4))
    assert len(made) == 1


@pytest.mark.parametrize("repeat", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_side_is_never_pickled_or_copied(repeat):
    with pytest.raises(TypeError, match="twice"):
        repeat(parties_of(terms_of())["a"])


def test_a_fork_cannot_mask():
    terms = terms_of()
    party, vector = parties_of(terms)["a"], vectors_of(terms)["a"]
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child():
        try:
            party.mask(0, vector)
        except MaskError as error:
            sender.send(str(error))
        else:
            sender.send("masked")

    process = context.Process(target=child)
    process.start()
    assert "another process" in receiver.recv()
    process.join()


# Bad input.


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"call": bytes(31)}, MaskError),
        ({"attempt": 0}, MaskError),
        ({"attempt": 2**16 + 1}, MaskError),
        ({"roster": ("a",)}, MaskError),
        ({"roster": ("b", "a")}, MaskError),
        ({"roster": ("a", "a")}, MaskError),
        ({"roster": tuple(f"{number:04}" for number in range(1025))}, MaskError),
        ({"parameters": 0}, LayoutError),
        ({"parameters": 2**28 + 1}, LayoutError),
        ({"bound": 0}, LayoutError),
        ({"bound": LARGEST_SUM // 3 + 1}, LayoutError),
    ],
)
def test_terms_out_of_their_limits_are_refused(change, error):
    fields = {"call": bytes(32), "attempt": 1, "roster": ("a", "b", "c"), "parameters": 3, "bound": BOUND}
    SumTerms(**fields)
    with pytest.raises(error):
        SumTerms(**fields | change)


def test_a_value_out_of_the_bound_is_refused_and_costs_no_step():
    terms = terms_of(3)
    party = parties_of(terms)["a"]
    for value in (BOUND + 1, -BOUND - 1, -(2**63)):
        with pytest.raises(OverflowRefusedError) as refused:
            party.mask(0, np.array([0, value, 0]))
        assert str(value).strip("-") not in str(refused.value)
    party.mask(0, np.array([0, BOUND, -BOUND]))


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(99, np.int64),
        np.zeros((100, 1), np.int64),
        np.zeros(100, np.int32),
        np.zeros(100, np.uint64),
        np.zeros(100),
        np.zeros(100, ">i8"),
    ],
    ids=["short", "matrix", "int32", "uint64", "float", "big-endian"],
)
def test_a_vector_of_another_shape_or_type_is_refused(vector):
    with pytest.raises(LayoutError, match="agreed"):
        parties_of(terms_of())["a"].mask(0, vector)


@pytest.mark.parametrize("step", [-1, 2**32])
def test_a_step_out_of_range_is_refused(step):
    terms = terms_of()
    with pytest.raises(MaskError, match="range"):
        parties_of(terms)["a"].mask(step, vectors_of(terms)["a"])


@pytest.mark.parametrize(
    ("own", "secrets"),
    [
        ("a", {"b": bytes(32)}),
        ("a", {"b": bytes(32), "c": bytes(32), "d": bytes(32)}),
        ("a", {"b": bytes(32), "d": bytes(32)}),
        ("a", {"a": bytes(32), "b": bytes(32), "c": bytes(32)}),
        ("d", {"a": bytes(32), "b": bytes(32), "c": bytes(32)}),
        ("a", {"b": bytes(32), "c": bytes(31)}),
    ],
    ids=["one-missing", "one-more", "a-stranger", "itself", "a-stranger-itself", "short-secret"],
)
def test_secrets_that_do_not_fit_the_roster_are_refused(own, secrets):
    with pytest.raises(MaskError):
        SumParty(terms_of(), own, secrets)


@pytest.mark.parametrize("change", [{"c": None}, {"d": "c"}], ids=["missing", "one-more"])
def test_a_sum_over_another_roster_is_refused(change):
    terms = terms_of()
    masked = masked_of(terms, vectors_of(terms))
    for name, like in change.items():
        if like is None:
            del masked[name]
        else:
            masked[name] = masked[like]
    with pytest.raises(MaskError, match="roster"):
        sum_masked(masked, terms)


def test_a_received_vector_of_another_length_is_refused():
    terms = terms_of()
    masked = masked_of(terms, vectors_of(terms))
    masked["a"] = masked["a"][:-1]
    with pytest.raises(LayoutError, match="agreed"):
        sum_masked(masked, terms)


@pytest.mark.parametrize("excess", [1, -1, 2**63 - 3 * BOUND, -(2**63) + 3 * BOUND])
def test_a_sum_out_of_the_bounds_is_refused_on_either_side(excess):
    terms = terms_of(1)
    most = terms.largest_sum if excess > 0 else -terms.largest_sum
    vectors = {"a": np.array([most]).view(np.uint64), "b": np.zeros(1, np.uint64), "c": np.zeros(1, np.uint64)}
    assert sum_masked(vectors, terms).tolist() == [most]
    with pytest.raises(InconsistentTotalsError):
        sum_masked(vectors | {"b": np.array([excess]).view(np.uint64)}, terms)


# Masks or Paillier.


@pytest.mark.parametrize(
    ("parameters", "stored", "method"),
    [
        (1, False, SumMethod.PAILLIER),
        (256 * 31, False, SumMethod.PAILLIER),
        (256 * 31 + 1, False, SumMethod.MASKS),
        (1_000_000, False, SumMethod.MASKS),
        (1_000_000, True, SumMethod.PAILLIER),
    ],
)
def test_long_vectors_take_masks_and_few_cells_or_stored_ones_take_paillier(parameters, stored, method):
    assert plan_sum(parameters, slots=31, stored=stored) is method


@pytest.mark.parametrize(("parameters", "slots"), [(0, 31), (1, 0)])
def test_a_plan_for_nothing_is_refused(parameters, slots):
    with pytest.raises(LayoutError):
        plan_sum(parameters, slots=slots, stored=False)
