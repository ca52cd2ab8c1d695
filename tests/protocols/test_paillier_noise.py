import math

import gmpy2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import BadKeyError
from protocols.paillier_key import PublicKey, Scheme
from protocols.paillier_noise import DjnNoise, FixedBaseTable, OwnerNoise, TextbookNoise, noise_source


def _sources(key):
    return [
        TextbookNoise(key.public_key),
        OwnerNoise(key),
        *(DjnNoise(key.public_key, window_bits=w) for w in (1, 4, 6)),
    ]


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
    source, n = DjnNoise(small_key.public_key, window_bits=3), small_key.public_key.n
    draws = [source.noise() % n for _ in range(64)]
    assert {gmpy2.jacobi(draw, n) for draw in draws} == {1}
    # h = -x^2 is no square, hence odd powers are none either: the noise is not confined to the squares.
    assert {gmpy2.legendre(draw, small_key.p) for draw in draws} == {1, -1}


def test_two_encryptors_derive_different_bases(small_key):
    table = [DjnNoise(small_key.public_key, window_bits=1)._powers.power(1) for _ in range(2)]
    assert table[0] != table[1]


@given(st.integers(0, 2**40 - 1), st.integers(1, 6))
def test_a_table_gives_the_same_power_as_plain_exponentiation(exponent, window_bits):
    modulus = 10**30 + 57
    table = FixedBaseTable(123456789, modulus, exponent_bits=40, window_bits=window_bits)
    assert table.power(exponent) == pow(123456789, exponent, modulus)


@pytest.mark.parametrize(
    ("count", "window_bits"), [(1, None), (2, None), (3, 2), (4, 2), (5, 3), (17, 4), (49, 5), (126, 6), (10**6, 6)]
)
def test_the_cheapest_source_is_chosen_by_the_documented_rule(full_key, monkeypatch, count, window_bits):
    built = []
    monkeypatch.setattr(
        "protocols.paillier_noise.FixedBaseTable", lambda *args, window_bits, **rest: built.append(window_bits)
    )
    source = noise_source(full_key.public_key, count)
    assert isinstance(source, TextbookNoise if window_bits is None else DjnNoise)
    assert built == ([] if window_bits is None else [window_bits])


def test_a_key_that_does_not_declare_djn_never_gets_it(small_textbook_key):
    key = small_textbook_key.public_key
    assert isinstance(noise_source(key, 10**6), TextbookNoise)
    with pytest.raises(BadKeyError, match="does not declare"):
        DjnNoise(key, window_bits=4)


@pytest.mark.parametrize("window_bits", [0, 7])
def test_a_window_out_of_range_is_refused(small_key, window_bits):
    with pytest.raises(BadKeyError):
        DjnNoise(small_key.public_key, window_bits=window_bits)


def test_owner_noise_reaches_residues_of_both_signs_modulo_each_prime(small_key):
    draws = [OwnerNoise(small_key).noise() for _ in range(64)]
    for prime in (small_key.p, small_key.q):
        assert {gmpy2.legendre(draw, prime) for draw in draws} == {1, -1}


def test_sources_name_their_key(small_key):
    assert {source.key for source in _sources(small_key)} == {small_key.public_key}
    assert TextbookNoise(PublicKey(small_key.public_key.n, Scheme.TEXTBOOK)).key != small_key.public_key
