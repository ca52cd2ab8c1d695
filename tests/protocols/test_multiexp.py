import secrets

import gmpy2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import BadCiphertextError, LayoutError
from protocols.multiexp import weighted_product
from protocols.paillier import decrypt, encrypt
from protocols.paillier_noise import TextbookNoise


def _one_by_one(ciphertexts, weights, key):
    product = 1
    for ciphertext, weight in zip(ciphertexts, weights, strict=True):
        product = product * pow(ciphertext, weight, key.n_squared) % key.n_squared
    return product


def _units(key, count):
    return [int(gmpy2.powmod(3 + index, 2 * key.n + index, key.n_squared)) for index in range(count)]


weights_of_any_size = st.lists(
    st.integers(-(2**32), 2**32)
    | st.integers(-3, 3)
    | st.integers(-(2**700), 2**700)
    | st.sampled_from([2**i for i in range(64)]),
    max_size=40,
)


@given(weights=weights_of_any_size)
def test_it_is_the_product_of_the_single_powers(small_key, weights):
    key = small_key.public_key
    ciphertexts = _units(key, len(weights))
    assert weighted_product(ciphertexts, weights, key) == _one_by_one(ciphertexts, weights, key)


@given(start=st.integers(1, 2**20), factors=st.lists(st.integers(1, 2**9), max_size=12))
def test_exponents_far_apart_and_multiples_of_each_other_are_right(small_key, start, factors):
    key = small_key.public_key
    weights = [start]
    for factor in factors:
        weights.append(weights[-1] * factor + factor % 2)
    ciphertexts = _units(key, len(weights))
    assert weighted_product(ciphertexts, weights, key) == _one_by_one(ciphertexts, weights, key)


def test_many_terms_are_right_and_equal_weights_or_bases_do_no_harm(small_key):
    key = small_key.public_key
    ciphertexts = _units(key, 600)
    for weights in ([secrets.randbits(32) for _ in ciphertexts], [7] * 600, [index % 3 for index in range(600)]):
        assert weighted_product(ciphertexts, weights, key) == _one_by_one(ciphertexts, weights, key)
    assert weighted_product([ciphertexts[0]] * 3, [1, 2, -3], key) == 1


def test_it_decrypts_to_the_signed_weighted_sum(small_key):
    key = small_key.public_key
    values, weights = [5, 700, 11, 3, 900], [1000, -2, 0, 2**40, 1]
    ciphertexts = [encrypt(value, key, TextbookNoise(key)) for value in values]
    expected = sum(value * weight for value, weight in zip(values, weights, strict=True))
    assert decrypt(weighted_product(ciphertexts, weights, key), small_key) == expected % key.n
    negated = weighted_product(ciphertexts, [-weight for weight in weights], key)
    assert decrypt(negated, small_key) == -expected % key.n


def test_no_terms_and_weights_of_nought_give_one(small_key):
    key = small_key.public_key
    assert weighted_product([], [], key) == 1
    assert weighted_product(_units(key, 3), [0, 0, 0], key) == 1


def test_another_number_of_weights_is_refused(small_key):
    with pytest.raises(LayoutError, match="2 weights for 3"):
        weighted_product([1, 1, 1], [1, 1], small_key.public_key)


def test_a_ciphertext_without_inverse_is_refused_by_our_error(small_key):
    with pytest.raises(BadCiphertextError, match=r"^not coprime"):
        weighted_product([small_key.p, 4], [-1, 2], small_key.public_key)
