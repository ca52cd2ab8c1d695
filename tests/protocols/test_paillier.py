import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import BadKeyError, BatchCancelledError, OverflowRefusedError
from protocols.executor import InlineExecutor
from protocols.paillier import (
    add,
    add_plain,
    decrypt,
    decrypt_batch,
    encrypt,
    encrypt_batch,
    mul_plain,
    rerandomise,
    sum_ciphertexts,
)
from protocols.paillier_checks import check_ciphertexts
from protocols.paillier_noise import OwnerNoise, TextbookNoise

numbers = st.integers(0, 1 << 600)


@given(left=numbers, right=numbers, factor=st.integers(-(1 << 600), 1 << 600))
def test_arithmetic_under_encryption_is_arithmetic_modulo_n(small_key, left, right, factor):
    key, n = small_key.public_key, small_key.public_key.n
    left, right = left % n, right % n
    noise = OwnerNoise(small_key)
    a, b = encrypt(left, key, noise), encrypt(right, key, noise)
    assert decrypt(a, small_key) == left
    assert decrypt(add(a, b, key), small_key) == (left + right) % n
    assert decrypt(add_plain(a, factor, key), small_key) == (left + factor) % n
    assert decrypt(mul_plain(a, factor, key), small_key) == left * factor % n
    assert decrypt(sum_ciphertexts([a, b, a], key), small_key) == (2 * left + right) % n
    check_ciphertexts([a, b, add(a, b, key), add_plain(a, factor, key), mul_plain(a, factor, key)], key)


def test_the_largest_plaintext_survives(small_key):
    key = small_key.public_key
    assert decrypt(encrypt(key.n - 1, key, TextbookNoise(key)), small_key) == key.n - 1


def test_a_key_of_full_length_encrypts_and_decrypts(full_key):
    key = full_key.public_key
    for noise in (TextbookNoise(key), OwnerNoise(full_key)):
        assert decrypt(encrypt(2**3000 + 1, key, noise), full_key) == 2**3000 + 1


def test_the_sum_of_nothing_is_zero(small_key):
    assert decrypt(sum_ciphertexts([], small_key.public_key), small_key) == 0


def test_equal_plaintexts_have_different_ciphertexts(small_key):
    key = small_key.public_key
    assert len({encrypt(7, key, TextbookNoise(key)) for _ in range(20)}) == 20


def test_rerandomising_keeps_the_plaintext_and_hides_where_it_came_from(small_key):
    key = small_key.public_key
    stored = encrypt(99, key, TextbookNoise(key))
    forwarded = rerandomise(stored, key, TextbookNoise(key))
    assert forwarded != stored
    assert decrypt(forwarded, small_key) == 99


@pytest.mark.parametrize("offset", [0, 1, 1 << 600])
def test_a_plaintext_out_of_range_is_refused(small_key, offset):
    key = small_key.public_key
    for bad in (key.n + offset, -1 - offset):
        with pytest.raises(OverflowRefusedError):
            encrypt(bad, key, TextbookNoise(key))


def test_noise_for_another_key_is_refused(small_key, small_textbook_key):
    with pytest.raises(BadKeyError, match="another key"):
        encrypt(1, small_key.public_key, TextbookNoise(small_textbook_key.public_key))


class PicklingExecutor(InlineExecutor):
    """Sends each item through pickle, as an executor over processes does."""

    def map(self, function, items, *, progress=None, cancelled=None):
        function, items = pickle.loads(pickle.dumps((function, items)))
        return super().map(function, items, progress=progress, cancelled=cancelled)

    def map_prepared(self, prepare, function, items, *, share=1, progress=None, cancelled=None):
        prepare, function, items = pickle.loads(pickle.dumps((prepare, function, items)))
        return super().map_prepared(prepare, function, items, share=share, progress=progress, cancelled=cancelled)


@pytest.mark.parametrize("count", [1, 3, 100])
def test_batches_can_cross_to_other_processes_of_the_party(small_key, small_textbook_key, count):
    for private_key in (small_key, small_textbook_key):
        plaintexts = [5] * count
        batch = encrypt_batch(plaintexts, private_key.public_key, executor=PicklingExecutor())
        assert len(set(batch)) == count
        assert decrypt_batch(batch, private_key, executor=PicklingExecutor()) == plaintexts


def test_batches_keep_order_and_tell_progress(small_key):
    key, seen = small_key.public_key, []
    batch = encrypt_batch([5, 6, 7], key, executor=InlineExecutor(), progress=lambda done, _: seen.append(done))
    assert decrypt_batch(batch, small_key, executor=InlineExecutor()) == [5, 6, 7]
    assert seen == [1, 2, 3]


def test_an_empty_batch_is_empty(small_key):
    assert encrypt_batch([], small_key.public_key, executor=InlineExecutor()) == []
    assert decrypt_batch([], small_key, executor=InlineExecutor()) == []


def test_one_plaintext_out_of_range_refuses_its_batch_before_any_work(small_key):
    key = small_key.public_key
    with pytest.raises(OverflowRefusedError):
        encrypt_batch([1, 2, key.n], key, executor=InlineExecutor(), progress=lambda done, total: pytest.fail("began"))


def test_a_batch_is_given_up_when_asked(small_key):
    key, seen = small_key.public_key, []
    tell, asked = (lambda done, _: seen.append(done)), (lambda: len(seen) == 2)
    with pytest.raises(BatchCancelledError, match="2 of 5"):
        encrypt_batch([1] * 5, key, executor=InlineExecutor(), progress=tell, cancelled=asked)
    with pytest.raises(BatchCancelledError, match="0 of 5"):
        decrypt_batch([1] * 5, small_key, executor=InlineExecutor(), cancelled=asked)
