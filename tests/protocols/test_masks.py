import hmac
import secrets
from hashlib import sha256
from itertools import combinations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import MaskError
from protocols.masks import add_party_stream, mask, new_pair_key, pair_secret, party_mask
from tests.vectors.check_paillier import x25519

# Points of small order on Curve25519 and its twist (Bernstein, "May the Fourth Be With You"; cr.yp.to/ecdh.html).
SMALL_ORDER_POINTS = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    2**255 - 20,
    2**255 - 19,
    2**255 - 18,
]


def roster_secrets(names, info=b"call"):
    """Secrets of every party of the roster, by running the key agreement between each pair."""
    keys = {name: new_pair_key() for name in names}
    return {
        own: {
            peer: pair_secret(keys[own][0], keys[peer][1], info + "|".join(sorted((own, peer))).encode())
            for peer in names
            if peer != own
        }
        for own in names
    }


def test_both_ends_of_a_pair_agree():
    (private_a, public_a), (private_b, public_b) = new_pair_key(), new_pair_key()
    assert pair_secret(private_a, public_b, b"x") == pair_secret(private_b, public_a, b"x")


def test_a_secret_is_bound_to_its_info_and_to_the_pair():
    (private_a, _), (_, public_b), (_, public_c) = new_pair_key(), new_pair_key(), new_pair_key()
    pair = [pair_secret(private_a, public_b, b"call 1"), pair_secret(private_a, public_b, b"call 2")]
    assert len({*pair, pair_secret(private_a, public_c, b"call 1")}) == 3


@given(st.integers(2, 6), st.integers(0, 2**64 - 1), st.integers(2, 2**3072))
def test_the_masks_of_a_roster_cancel(parties, index, modulus):
    names = [f"party-{number}" for number in range(parties)]
    shared = {name: {} for name in names}
    for number, (left, right) in enumerate(combinations(names, 2)):
        shared[left][right] = shared[right][left] = sha256(bytes([number])).digest()
    assert sum(party_mask(shared[name], name, index, modulus) for name in names) % modulus == 0


def test_masks_that_miss_a_party_do_not_cancel():
    shared = roster_secrets(["a", "b", "c"])
    modulus = 2**512 - 569
    assert sum(party_mask(shared[name], name, 0, modulus) for name in ("a", "b")) % modulus != 0


def test_each_ciphertext_has_its_own_mask():
    masks = {mask(b"s" * 32, index, 2**512 - 569) for index in range(200)}
    assert len(masks) == 200


def test_masks_are_uniform_modulo_n():
    modulus, draws = 7, 7000
    counts = [0] * modulus
    for index in range(draws):
        counts[mask(sha256(b"uniform").digest(), index, modulus)] += 1
    chi_square = sum((count - draws / modulus) ** 2 / (draws / modulus) for count in counts)
    assert chi_square < 22.5  # 6 degrees of freedom, p = 0.001; the secret is fixed, so this never flickers


def test_a_mask_is_expanded_to_128_bits_more_than_n():
    # Independent HKDF-Expand (RFC 5869, section 2.3) by the standard library, for a modulus of 200 bits.
    secret, modulus, width = bytes(range(32)), 2**200 - 75, (200 + 128) // 8
    info = b"unseen:mask:v1\x00" + (5).to_bytes(8, "big") + width.to_bytes(8, "big")
    block1 = hmac.digest(secret, info + b"\x01", "sha256")
    block2 = hmac.digest(secret, block1 + info + b"\x02", "sha256")
    assert mask(secret, 5, modulus) == int.from_bytes((block1 + block2)[:width], "big") % modulus


@pytest.mark.parametrize("high_bit", [0, 1 << 255])
@pytest.mark.parametrize("point", SMALL_ORDER_POINTS)
def test_a_point_of_small_order_is_refused(point, high_bit):
    private, _ = new_pair_key()
    with pytest.raises(MaskError):
        pair_secret(private, (point | high_bit).to_bytes(32, "little"), b"call")


def test_a_point_of_small_order_would_give_everyone_the_same_secret():
    for point in SMALL_ORDER_POINTS:
        assert x25519(secrets.token_bytes(32), point.to_bytes(32, "little")) == bytes(32)


def test_ones_own_key_sent_back_is_refused():
    private, public = new_pair_key()
    with pytest.raises(MaskError, match="own"):
        pair_secret(private, public, b"call")


@given(st.binary(max_size=64))
def test_any_public_bytes_give_a_secret_or_our_error(public):
    private, _ = new_pair_key()
    try:
        secret = pair_secret(private, public, b"call")
    except MaskError:
        return
    assert len(public) == len(secret) == 32


@pytest.mark.parametrize(
    ("secret", "index", "modulus"),
    [(b"short", 0, 15), (b"s" * 32, -1, 15), (b"s" * 32, 2**64, 15), (b"s" * 32, 0, 1), (b"s" * 32, 0, 1 << 65536)],
    ids=["secret", "negative-index", "huge-index", "no-modulus", "huge-modulus"],
)
def test_what_cannot_be_masked_is_refused(secret, index, modulus):
    with pytest.raises(MaskError):
        mask(secret, index, modulus)


def test_a_party_is_not_its_own_peer():
    with pytest.raises(MaskError, match="own peer"):
        party_mask({"a": b"s" * 32}, "a", 0, 15)


# Modulo 2^64.


def bound_to(own):
    return lambda peer: "|".join(sorted((own, peer))).encode()


@given(st.integers(2, 6), st.integers(1, 40_000))
@settings(max_examples=25)
def test_the_streams_of_a_roster_cancel_modulo_two_to_the_64(parties, length):
    names = [f"party-{number}" for number in range(parties)]
    shared = {name: {} for name in names}
    for number, (left, right) in enumerate(combinations(names, 2)):
        shared[left][right] = shared[right][left] = sha256(bytes([number])).digest()
    total = np.zeros(length, np.uint64)
    for name in names:
        before = total.copy()
        add_party_stream(total, shared[name], name, bound_to(name))
        assert np.count_nonzero(total == before) < 2 + length // 2**20
    assert not total.any()


def test_a_stream_is_aes_256_counter_mode_under_an_expanded_key():
    # Independent: HKDF-Expand (RFC 5869, section 2.3) by the standard library, AES by single blocks.
    secret, info = bytes(range(32)), b"step 7"
    key = hmac.digest(secret, b"unseen:mask-stream:v1\x00" + info + b"\x01", "sha256")
    block = Cipher(AES(key), ECB()).encryptor()
    blocks = b"".join(block.update(number.to_bytes(16, "big")) for number in range(5))
    vector = np.zeros(10, np.uint64)
    add_party_stream(vector, {"b": secret}, "a", lambda peer: info)
    assert vector.tolist() == [int.from_bytes(blocks[at : at + 8], "little") for at in range(0, 80, 8)]
    add_party_stream(vector, {"a": secret}, "b", lambda peer: info)
    assert not vector.any()


def test_the_streams_of_two_infos_differ():
    vector = np.zeros(1000, np.uint64)
    add_party_stream(vector, {"b": b"s" * 32}, "a", lambda peer: b"step 1")
    add_party_stream(vector, {"a": b"s" * 32}, "b", lambda peer: b"step 2")
    assert vector.all()


@pytest.mark.parametrize("shared", [{"a": b"s" * 32}, {"b": b"s" * 32, "c": b"short"}], ids=["itself", "short"])
def test_a_stream_that_cannot_be_had_leaves_the_vector_as_it_was(shared):
    vector = np.arange(10, dtype=np.uint64)
    with pytest.raises(MaskError):
        add_party_stream(vector, shared, "a", lambda peer: b"info")
    assert vector.tolist() == list(range(10))
