import math
import pickle

import gmpy2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import BadKeyError
from protocols.fixed_base import TABLE_BYTES, CombShape
from protocols.paillier_key import PublicKey, Scheme
from protocols.paillier_noise import SHARE, DjnNoise, NoisePlan, OwnerNoise, TextbookNoise, noise_plan, noise_source


def _sources(key):
    combs = [CombShape(teeth, -(-256 // teeth // 3), 4) for teeth in (1, 4, 6)]
    return [TextbookNoise(key.public_key), OwnerNoise(key), *(DjnNoise(key.public_key, comb) for comb in combs)]


def test_every_source_makes_nth_residues_and_never_the_same_twice(small_key):
    seen = set()
    for source in _sources(small_key):
        for _ in range(20):
            noise = source.noise()
            assert small_key.decrypt_raw(noise) == 0  # the n-th residues are exactly the encryptions of 0
            assert math.gcd(noise, small_key.public_key.n) == 1
            seen.add(noise)
    assert len(seen) == 100


def test_djn_noise_has_jacobi_symbol_one_and_both_signs(small_key):
    n = small_key.public_key.n
    source = DjnNoise(small_key.public_key, CombShape(4, 8, 8))
    draws = [source.noise() % n for _ in range(64)]
    assert {gmpy2.jacobi(draw, n) for draw in draws} == {1}
    # h = -x^2 is no square, hence odd powers are none either: the noise is not confined to the squares.
    assert {gmpy2.legendre(draw, small_key.p) for draw in draws} == {1, -1}


def test_two_encryptors_derive_different_bases(small_key):
    one = [0] * 63 + [1]
    bases = {DjnNoise(small_key.public_key, CombShape(4, 8, 8))._powers.power(one) for _ in range(2)}
    assert len(bases) == 2


def test_one_ciphertext_gets_textbook_noise_and_many_a_table(full_key):
    key = full_key.public_key
    assert noise_plan(key, 1).comb is None
    tables = [noise_plan(key, count).comb for count in (2, 16, 256, 4096, 65_536, 10**9)]
    entries = [comb.entries for comb in tables]
    assert entries == sorted(entries)
    assert all(comb.table_bytes(key.bits) <= TABLE_BYTES for comb in tables)
    assert tables[-1].table_bytes(key.bits) > 0.9 * TABLE_BYTES  # the budget is used, not only kept
    assert all(1536 <= comb.teeth * comb.columns < 1536 + 256 for comb in tables)


@given(st.integers(1, 10**6), st.sampled_from([512, 2048, 3072, 4096]))
def test_no_other_shape_that_was_tried_is_cheaper(count, bits):
    key = PublicKey((1 << bits) - 1, Scheme.DJN)
    chosen = noise_plan(key, count).comb
    if chosen is None:
        return
    rounded = 1 << (count - 1).bit_length()

    def cost(comb):
        return comb.build_cost(bits) + rounded * comb.use_cost

    for teeth in (4, 8, 12):
        for steps in (1, 4, 16):
            other = CombShape(teeth, -(-bits // 2 // teeth // steps), steps)
            assert cost(chosen) <= cost(other) or other.table_bytes(bits) > TABLE_BYTES


def test_neighbouring_counts_share_a_table_that_a_worker_has(full_key):
    key = full_key.public_key
    assert len({noise_plan(key, count) for count in range(513, 1025)}) == 1


def test_a_plan_counts_what_one_worker_makes(full_key):
    key = full_key.public_key
    assert noise_plan(key, 40_000, workers=40) == noise_plan(key, 1000)
    assert noise_plan(key, SHARE, workers=40) == noise_plan(key, SHARE)


def test_a_plan_crosses_to_a_worker_as_a_small_equal_value_and_builds_there(small_key):
    plan = noise_plan(small_key.public_key, 4096)
    sent = pickle.dumps(plan)
    assert len(sent) < 1000
    assert pickle.loads(sent) == plan
    assert hash(pickle.loads(sent)) == hash(plan)
    assert small_key.decrypt_raw(pickle.loads(sent)().noise()) == 0


def test_a_key_that_does_not_declare_djn_never_gets_it(small_textbook_key):
    key = small_textbook_key.public_key
    assert isinstance(noise_source(key, 10**6), TextbookNoise)
    with pytest.raises(BadKeyError, match="does not declare"):
        DjnNoise(key, CombShape(4, 8, 8))


def test_a_comb_for_shorter_exponents_than_half_the_key_is_refused(small_key):
    with pytest.raises(BadKeyError, match="too short"):
        NoisePlan(small_key.public_key, CombShape(4, 8, 7))()


def test_owner_noise_reaches_residues_of_both_signs_modulo_each_prime(small_key):
    draws = [OwnerNoise(small_key).noise() for _ in range(64)]
    for prime in (small_key.p, small_key.q):
        assert {gmpy2.legendre(draw, prime) for draw in draws} == {1, -1}


def test_sources_name_their_key(small_key):
    assert {source.key for source in _sources(small_key)} == {small_key.public_key}
    assert TextbookNoise(PublicKey(small_key.public_key.n, Scheme.TEXTBOOK)).key != small_key.public_key
