import math
import secrets

import gmpy2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import BadCiphertextError, BadKeyError, BadModulusError, ProtocolError
from protocols.paillier import encrypt, sum_ciphertexts
from protocols.paillier_checks import (
    check_ciphertexts,
    check_private_key,
    check_public_key,
    decode_ciphertexts,
    encode_ciphertexts,
)
from protocols.paillier_key import PrivateKey, PublicKey, Scheme
from protocols.paillier_noise import TextbookNoise


def _prime(bits: int, residue: int = 3) -> int:
    while True:
        candidate = int(gmpy2.next_prime(secrets.randbits(bits) | 3 << (bits - 2)))
        if candidate % 4 == residue and candidate.bit_length() == bits:
            return candidate


def _refused(n: int, scheme: Scheme = Scheme.TEXTBOOK, **limits: int) -> str:
    with pytest.raises(BadModulusError) as caught:
        check_public_key(PublicKey(n, scheme), **limits)
    return str(caught.value)


def _with_small_factor(factor: int) -> int:
    while True:
        n = factor * int(gmpy2.next_prime((3 << 2046) // factor + secrets.randbits(1000)))
        if n.bit_length() == 2048:
            return n


def test_a_key_under_2048_bits_is_refused(small_key):
    assert "length: the modulus has 512 bits, fewer than the 2048" in _refused(small_key.public_key.n)


def test_a_modulus_of_another_length_than_the_request_states_is_refused(small_key):
    assert "length" in _refused(small_key.public_key.n, minimum_bits=512, exact_bits=520)


def test_a_modulus_that_is_not_whole_bytes_is_refused():
    assert "not whole bytes" in _refused(_prime(1024) * _prime(1028))


def test_an_even_modulus_is_refused():
    assert _refused(2 * _prime(2047)).startswith("even")


def test_a_modulus_that_is_not_1_mod_4_cannot_claim_djn():
    n = _prime(1024, 3) * _prime(1024, 1)
    assert _refused(n, Scheme.DJN).startswith("not DJN")
    check_public_key(PublicKey(n, Scheme.TEXTBOOK))


@pytest.mark.parametrize("factor", [3, 65537, 1048573])
def test_a_modulus_with_a_factor_under_2_to_the_20_is_refused(factor):
    assert _refused(_with_small_factor(factor)).startswith("small factor")


def test_the_bound_on_small_factors_is_2_to_the_20():
    check_public_key(PublicKey(_with_small_factor(1048583), Scheme.TEXTBOOK))


@pytest.mark.parametrize("power", [2, 4])
def test_a_square_or_higher_power_is_refused(power):
    root = int(gmpy2.next_prime(2 ** (2048 // power) - 10**6))
    assert _refused(root**power).startswith("perfect power")


def test_a_prime_modulus_is_refused():
    assert _refused(_prime(2048)).startswith("prime")


def test_under_a_prime_modulus_anyone_could_decrypt():
    n = _prime(512)
    key = PublicKey(n, Scheme.TEXTBOOK)
    ciphertext = encrypt(4242, key, TextbookNoise(key))
    opened = pow(ciphertext, n - 1, n * n)  # n - 1 is Euler's function of n: no secret is needed
    assert (opened - 1) // n * pow(n - 1, -1, n) % n == 4242


def _smooth() -> tuple[int, list[int]]:
    """A modulus of 2048 bits that only has factors under 2^20, coprime to Euler's function of it; and the factors."""
    draw = secrets.SystemRandom()
    while True:
        primes: list[int] = []
        while (bits := math.prod(primes).bit_length()) < 2030:
            primes.append(int(gmpy2.next_prime(draw.randrange(2**18, 2**20 - 1000))))
        n = math.prod(primes)
        last = int(gmpy2.next_prime((3 << 2046) // n))
        if len(set(primes)) == len(primes) and 2 < last < 2**20 and (n * last).bit_length() == 2048:
            primes.append(last)
            if math.gcd(math.prod(primes), math.prod(prime - 1 for prime in primes)) == 1:
                return math.prod(primes), primes
        assert bits < 2060


def _opened(ciphertext: int, n: int, exponent: int) -> int:
    """Decrypt with any multiple of the order of r^n and nothing else: Paillier 1999, section 4."""
    raised = pow(ciphertext, exponent, n * n)
    return (raised - 1) // n * pow(exponent, -1, n) % n


def test_a_smooth_modulus_is_refused():
    assert _refused(_smooth()[0]).startswith("small factor")


def test_under_a_smooth_modulus_anyone_who_divides_by_small_primes_could_decrypt():
    n, primes = _smooth()
    key = PublicKey(n, Scheme.TEXTBOOK)
    ciphertext = encrypt(4242, key, TextbookNoise(key))
    found = [prime for prime in range(3, 1 << 20, 2) if n % prime == 0]  # that is all it takes
    assert set(found) == set(primes)
    assert _opened(ciphertext, n, math.prod(prime - 1 for prime in found)) == 4242


def test_under_an_even_modulus_anyone_could_decrypt():
    n = 2 * _prime(511)
    key = PublicKey(n, Scheme.TEXTBOOK)
    half = n // 2
    raised = pow(encrypt(4242, key, TextbookNoise(key)), half - 1, half * half)
    assert (raised - 1) // half * pow(2 * (half - 1), -1, half) % half == 4242


def test_under_a_square_modulus_anyone_could_decrypt():
    p = _prime(256)
    n = p * p
    key = PublicKey(n, Scheme.TEXTBOOK)
    root = math.isqrt(n)
    raised = pow(encrypt(4242, key, TextbookNoise(key)), root * (root - 1), n * n)
    assert (raised - 1) // root**3 * pow(root - 1, -1, root) % root == 4242


@given(st.binary(max_size=300), st.sampled_from(Scheme))
def test_any_modulus_bytes_are_accepted_or_refused_by_our_error(data, scheme):
    try:
        check_public_key(PublicKey.from_modulus_bytes(data, scheme), minimum_bits=512)
    except BadModulusError:
        return
    n = int.from_bytes(data, "big")
    assert n % 2 == 1
    assert not gmpy2.is_prime(n)


def test_a_private_key_with_a_composite_factor_is_refused(small_key):
    composite = _prime(128, 3) * _prime(128, 1)
    with pytest.raises(BadKeyError):
        check_private_key(PrivateKey(small_key.p, composite, Scheme.TEXTBOOK), minimum_bits=256)


def test_a_private_key_with_neighbouring_primes_is_refused():
    p = _prime(256)
    q = int(gmpy2.next_prime(p))
    with pytest.raises(BadKeyError, match="close together"):
        check_private_key(PrivateKey(p, q, Scheme.TEXTBOOK), minimum_bits=512)
    assert math.isqrt(p * q) in range(p, q)  # what Fermat's method finds at once


def test_a_short_private_key_is_refused(small_key):
    with pytest.raises(BadKeyError, match="512 bits"):
        check_private_key(small_key)


def _ciphertexts(key: PublicKey, count: int) -> list[int]:
    return [encrypt(number, key, TextbookNoise(key)) for number in range(count)]


@pytest.mark.parametrize("position", [0, 3, 7])
@pytest.mark.parametrize("bad", ["zero", "negative", "n", "multiple", "factor", "n_squared", "above"])
def test_a_bad_ciphertext_is_refused_and_its_position_named(small_key, position, bad):
    key = small_key.public_key
    values = _ciphertexts(key, 8)
    check_ciphertexts(values, key)
    values[position] = {
        "zero": 0,
        "negative": -values[position],
        "n": key.n,
        "multiple": 12345 * key.n,
        "factor": small_key.p,
        "n_squared": key.n_squared,
        "above": key.n_squared + values[position],
    }[bad]
    with pytest.raises(BadCiphertextError, match=f"ciphertext {position} "):
        check_ciphertexts(values, key)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (lambda key: 0, "range"),
        (lambda key: key.public_key.n_squared, "range"),
        (lambda key: key.public_key.n, "not coprime"),
        (lambda key: key.p, "not coprime"),
        (lambda key: key.q * 17, "not coprime"),
    ],
)
def test_a_bad_ciphertext_would_spoil_the_sum_of_everyone_and_is_refused_by_name(small_key, bad, named):
    key = small_key.public_key
    values = [*_ciphertexts(key, 3), bad(small_key)]
    spoiled = sum_ciphertexts(values, key)
    assert math.gcd(spoiled, key.n) > 1  # no plaintext comes back from what shares a factor with n
    with pytest.raises(BadCiphertextError):
        small_key.decrypt_raw(spoiled)
    with pytest.raises(BadCiphertextError, match=f"^{named}: ciphertext 3 "):
        check_ciphertexts(values, key)


def test_factors_spread_over_two_ciphertexts_are_found(small_key):
    key = small_key.public_key
    values = [small_key.q, *_ciphertexts(key, 2), small_key.p]
    with pytest.raises(BadCiphertextError, match="ciphertext 0 shares a factor"):
        check_ciphertexts(values, key)


def test_ciphertexts_survive_their_encoding(small_key):
    key = small_key.public_key
    values = [1, *_ciphertexts(key, 3), key.n_squared - 1]
    data = encode_ciphertexts(values, key)
    assert len(data) == 5 * key.ciphertext_width
    assert decode_ciphertexts(data, key.ciphertext_width, key, count=5) == values
    assert decode_ciphertexts(b"", key.ciphertext_width, key, count=0) == []


def test_what_is_out_of_range_is_not_encoded(small_key):
    for bad in (0, -1, small_key.public_key.n_squared):
        with pytest.raises(BadCiphertextError):
            encode_ciphertexts([bad], small_key.public_key)


@pytest.mark.parametrize(
    ("width_off", "data_off", "count", "named"),
    [
        (1, 0, 2, "width"),
        (-128, 0, 2, "width"),
        (0, 1, 2, "length"),
        (0, -1, 2, "length"),
        (0, 0, 3, "length"),
        (0, 0, -1, "count"),
        (0, 0, 1 << 21, "count"),
    ],
)
def test_another_width_length_or_count_than_agreed_is_refused(small_key, width_off, data_off, count, named):
    key = small_key.public_key
    data = (encode_ciphertexts(_ciphertexts(key, 2), key) + b"\x00")[: 2 * key.ciphertext_width + data_off]
    with pytest.raises(BadCiphertextError, match=named):
        decode_ciphertexts(data, key.ciphertext_width + width_off, key, count=count)


@given(data=st.binary(min_size=256, max_size=256))
def test_any_bytes_decode_to_checked_ciphertexts_or_our_error(small_key, data):
    key = small_key.public_key
    try:
        values = decode_ciphertexts(data, key.ciphertext_width, key, count=2)
    except ProtocolError:
        return
    assert encode_ciphertexts(values, key) == data
