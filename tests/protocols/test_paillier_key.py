import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import gmpy2
import pytest

from protocols.errors import BadCiphertextError, BadKeyError, BadModulusError
from protocols.paillier_checks import check_private_key, check_public_key
from protocols.paillier_key import (
    MAXIMUM_BITS,
    PrivateKey,
    PublicKey,
    Scheme,
    generate_key,
    is_prime,
    primes_are_apart,
)


def test_a_key_has_3072_bits_by_default_and_passes_every_check(full_key):
    assert full_key.public_key.bits == 3072
    check_private_key(full_key)
    check_public_key(full_key.public_key, exact_bits=3072)


def test_the_primes_are_those_that_djn_noise_needs():
    for _ in range(5):
        key = generate_key(512, minimum_bits=512)
        assert key.p % 4 == key.q % 4 == 3
        assert math.gcd(key.p - 1, key.q - 1) == 2
        assert key.p.bit_length() == key.q.bit_length() == 256
        assert key.q - key.p > 1 << 156
        assert key.public_key.bits == 512


@pytest.mark.parametrize("bits", [0, 1024, 2047, 2056, MAXIMUM_BITS + 16])
def test_a_length_that_is_short_huge_or_odd_is_refused(bits):
    with pytest.raises(BadKeyError):
        generate_key(bits)


def test_two_keys_share_nothing(small_key):
    other = generate_key(512, minimum_bits=512)
    assert math.gcd(other.public_key.n, small_key.public_key.n) == 1


def test_carmichael_numbers_and_strong_pseudoprimes_are_not_prime():
    # Chernick's Carmichael numbers pass Fermat's test for every base coprime to them; Mersenne numbers pass
    # Miller-Rabin for base 2; 3215031751 passes it for bases 2, 3, 5 and 7.
    triples = ((6 * k + 1, 12 * k + 1, 18 * k + 1) for k in range(10**15, 10**15 + 10**6))
    carmichael = math.prod(next(triple for triple in triples if all(map(gmpy2.is_prime, triple))))
    assert all(pow(base, carmichael - 1, carmichael) == 1 for base in (2, 3, 5, 7, 11))
    assert gmpy2.is_strong_prp(2**67 - 1, 2)
    for composite in (0, 1, 4, 561, 3215031751, 2**67 - 1, carmichael):
        assert not is_prime(composite)
    for prime in (2, 3, 65537, 2**127 - 1):
        assert is_prime(prime)


def test_primes_close_together_are_seen():
    assert not primes_are_apart(2**255 + 95, 2**255 + 95 + 2**150)
    assert not primes_are_apart(2**255 + 95, 2**254 + 79)
    assert primes_are_apart(2**255 + 95, 2**255 + 2**254)


def test_the_repr_of_a_private_key_shows_no_secret(small_key):
    text = repr(small_key)
    assert str(small_key.p) not in text
    assert str(small_key.q) not in text
    assert hex(small_key.p)[2:] not in text


def test_the_order_of_the_primes_does_not_matter(small_key):
    assert PrivateKey(small_key.q, small_key.p, small_key.scheme) == small_key


def test_a_private_key_survives_pickling_between_a_partys_own_processes(small_key):
    copy = pickle.loads(pickle.dumps(small_key))
    assert copy == small_key
    assert copy.decrypt_raw(1 + 5 * small_key.public_key.n) == 5


@pytest.mark.parametrize(
    ("p", "q", "scheme"),
    [
        (7, 7, Scheme.TEXTBOOK),
        (2, 7, Scheme.TEXTBOOK),
        (3, 7, Scheme.TEXTBOOK),  # 3 divides 7 - 1
        (13, 17, Scheme.DJN),  # 1 mod 4
        (7, 19, Scheme.DJN),  # gcd(6, 18) = 6
        (True, 7, Scheme.TEXTBOOK),
    ],
)
def test_primes_that_make_no_key_are_refused(p, q, scheme):
    with pytest.raises(BadKeyError):
        PrivateKey(p, q, scheme)


def test_the_fingerprint_binds_modulus_and_scheme(small_key):
    n = small_key.public_key.n
    prints = {PublicKey(n, scheme).fingerprint for scheme in Scheme} | {PublicKey(n + 4, Scheme.DJN).fingerprint}
    assert len(prints) == 3
    assert all(len(value) == 64 and int(value, 16) for value in prints)


def test_the_modulus_survives_its_encoding(small_key):
    key = small_key.public_key
    assert PublicKey.from_modulus_bytes(key.modulus_bytes, key.scheme) == key


@pytest.mark.parametrize("data", [b"", b"\x00" + b"\xff" * 64, b"\xff" * (MAXIMUM_BITS // 8 + 1), b"\x05"])
def test_a_padded_empty_or_huge_modulus_is_refused_before_it_is_used(data):
    with pytest.raises(BadModulusError):
        PublicKey.from_modulus_bytes(data, Scheme.DJN)


@pytest.mark.parametrize("n", [-15, 0, True, 1 << MAXIMUM_BITS])
def test_a_modulus_that_is_no_sensible_integer_is_refused(n):
    with pytest.raises(BadModulusError):
        PublicKey(n, Scheme.DJN)


def test_ciphertexts_that_cannot_be_decrypted_are_refused(small_key):
    key = small_key.public_key
    for bad in (0, -1, key.n, small_key.p, key.n_squared, key.n_squared + 1):
        with pytest.raises(BadCiphertextError):
            small_key.decrypt_raw(bad)


def test_no_exponentiation_of_a_decryption_meets_the_ciphertext_or_an_exponent_twice(small_key, monkeypatch):
    key = PrivateKey(small_key.p, small_key.q, small_key.scheme)
    ciphertext = 1 + 5 * key.public_key.n
    seen = []

    def watched(base, exponent, modulus, powmod=gmpy2.powmod):
        seen.append((int(base), int(exponent), int(modulus)))
        return powmod(base, exponent, modulus)

    monkeypatch.setattr(gmpy2, "powmod", watched)
    assert {key.decrypt_raw(ciphertext) for _ in range(30)} == {5}
    assert len({base for base, _, _ in seen}) == len({exponent for _, exponent, _ in seen}) == len(seen) == 60
    for base, exponent, modulus in seen:
        prime = math.isqrt(modulus)
        assert exponent % (prime - 1) == 0
        assert exponent > prime
        factor = base * pow(ciphertext, -1, modulus) % modulus
        assert factor != 1
        assert pow(factor, prime - 1, modulus) == 1


def test_a_copy_of_a_private_key_blinds_with_factors_of_its_own(small_key, monkeypatch):
    key = PrivateKey(small_key.p, small_key.q, small_key.scheme)
    key.decrypt_raw(7)
    bases = set()

    def watched(base, exponent, modulus, powmod=gmpy2.powmod):
        bases.add(int(base))
        return powmod(base, exponent, modulus)

    monkeypatch.setattr(gmpy2, "powmod", watched)
    plaintexts = {
        copy.decrypt_raw(7) for copy in (key, pickle.loads(pickle.dumps(key)), pickle.loads(pickle.dumps(key)))
    }
    assert len(plaintexts) == 1
    assert len(bases) == 6


def test_the_blindings_secret_is_drawn_anew_after_its_uses(small_key, monkeypatch):
    monkeypatch.setattr("protocols.paillier_key._BLINDED", 2)
    drawn = []

    def watched(base, exponent, modulus, powmod=gmpy2.powmod_sec):
        drawn.append(int(base))
        return powmod(base, exponent, modulus)

    monkeypatch.setattr(gmpy2, "powmod_sec", watched)
    key = PrivateKey(small_key.p, small_key.q, small_key.scheme)
    assert {key.decrypt_raw(1 + 5 * key.public_key.n) for _ in range(6)} == {5}
    assert len(set(drawn)) == 6  # three for each prime


def test_threads_decrypt_with_one_key_at_once(small_key):
    key = PrivateKey(small_key.p, small_key.q, small_key.scheme)
    ciphertexts = [1 + value * key.public_key.n for value in range(400)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(key.decrypt_raw, ciphertexts)) == list(range(400))
