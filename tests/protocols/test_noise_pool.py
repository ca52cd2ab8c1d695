import copy
import gc
import os
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from protocols.errors import BatchCancelledError
from protocols.executor import InlineExecutor
from protocols.noise_pool import NoisePool
from protocols.paillier import decrypt, encrypt, rerandomise, sum_ciphertexts
from protocols.paillier_noise import TextbookNoise


@pytest.fixture
def filled(small_key):
    pool = NoisePool(small_key.public_key)
    pool.fill(40, executor=InlineExecutor())
    return pool


def test_a_pool_is_empty_at_first_and_computes_on_demand(small_key):
    pool = NoisePool(small_key.public_key)
    assert len(pool) == 0
    draws = {pool.noise() for _ in range(10)}
    assert len(draws) == 10
    assert {small_key.decrypt_raw(draw) for draw in draws} == {0}


def test_a_combination_of_stored_ciphertexts_is_rerandomised_from_the_pool(small_key, filled):
    key = small_key.public_key
    stored = [encrypt(value, key, TextbookNoise(key)) for value in (3, 4)]
    combined = sum_ciphertexts(stored, key)
    forwarded = rerandomise(combined, key, filled)
    assert forwarded != combined
    assert decrypt(forwarded, small_key) == 7
    assert len(filled) == 39


def test_every_value_is_handed_out_once_to_all_threads_together(filled, small_textbook_key):
    pool = NoisePool(small_textbook_key.public_key)
    pool.fill(300, executor=InlineExecutor())
    with ThreadPoolExecutor(8) as threads:
        draws = list(threads.map(lambda _: pool.noise(), range(310)))
    assert len(set(draws)) == 310
    assert len(pool) == 0


def test_filling_tells_progress_and_a_cancelled_filling_adds_nothing(small_key):
    pool, seen = NoisePool(small_key.public_key), []
    pool.fill(3, executor=InlineExecutor(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(BatchCancelledError):
        pool.fill(3, executor=InlineExecutor(), progress=lambda done, _: seen.append(done), cancelled=lambda: 2 in seen)
    assert len(pool) == 3


def test_a_forked_child_finds_the_pool_empty_and_shares_no_value_with_its_parent(filled):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, f"{len(filled)} {filled.noise()}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        length, drawn = told.read().split()
    os.waitpid(child, 0)
    assert length == "0"
    assert len(filled) == 40
    assert int(drawn) not in {filled.noise() for _ in range(40)}


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_pool_cannot_be_sent_or_copied(filled, duplicate):
    with pytest.raises(TypeError, match="stays in its process"):
        duplicate(filled)


def test_a_pool_that_is_dropped_is_freed_although_forks_know_it(small_key):
    pool = NoisePool(small_key.public_key)
    watched = weakref.ref(pool)
    del pool
    gc.collect()
    assert watched() is None
