import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass

import pytest

from parties.errors import WorkerError
from parties.executor_processes import ProcessExecutor
from protocols.errors import BatchCancelledError
from protocols.paillier import decrypt_batch, encrypt_batch
from protocols.paillier_key import generate_key


@pytest.fixture(scope="module")
def executor():
    running = ProcessExecutor(2)
    yield running
    running.close()


def square(value):
    return value * value


def fail_on_three(value):
    if value == 3:
        raise ValueError("three")
    return value


def die(value):
    os.kill(os.getpid(), signal.SIGKILL)


def own_pid(value):
    return os.getpid()


def doze(value):
    time.sleep(0.01)
    return os.getpid()


@dataclass(frozen=True)
class Prepared:
    """Tells each use which process prepared it, and when; another name is another preparation."""

    name: str

    def __call__(self):
        return os.getpid(), time.monotonic_ns()


def keep(prepared, item):
    time.sleep(0.001)
    return prepared, os.getpid(), item


def test_results_keep_the_order_of_the_items_and_progress_never_falls_and_ends_at_all(executor):
    told = []
    items = range(1000)
    squares = executor.map(square, items, progress=lambda done, total: told.append((done, total)))
    assert squares == [value * value for value in items]
    assert told == sorted(told)
    assert told[-1] == (1000, 1000)


def test_work_runs_in_all_workers_none_of_which_is_this_process(executor):
    ran = set(executor.map(doze, range(40)))
    assert len(ran) == executor.workers == 2
    assert os.getpid() not in ran


def test_no_items_are_no_work(executor):
    assert executor.map(square, []) == []
    assert executor.map_prepared(Prepared("none"), keep, []) == []


def test_what_an_item_raises_is_raised_here_and_the_next_call_works(executor):
    with pytest.raises(ValueError, match="three"):
        executor.map(fail_on_three, range(6))
    assert executor.map(square, [4]) == [16]


def test_each_worker_prepares_once_and_keeps_it_for_the_next_call(executor):
    first = executor.map_prepared(Prepared("kept"), keep, range(100))
    again = executor.map_prepared(Prepared("kept"), keep, range(100))
    assert [item for _, _, item in first] == list(range(100))
    assert all(prepared[0] == ran for prepared, ran, _ in first)
    assert len({prepared for prepared, _, _ in first + again}) == 2  # one a worker, over both calls


def test_a_batch_too_short_for_two_preparations_runs_in_one_worker_that_the_next_one_finds_again(executor):
    first = executor.map_prepared(Prepared("short"), keep, range(20), share=32)
    again = executor.map_prepared(Prepared("short"), keep, range(20), share=32)
    assert len({prepared for prepared, _, _ in first + again}) == 1
    longer = executor.map_prepared(Prepared("short"), keep, range(33), share=32)
    assert len({prepared for prepared, _, _ in longer}) == 2


def linger(prepared, item):
    time.sleep(0.02)


def test_a_short_batch_avoids_a_busy_worker_and_comes_back_to_where_it_was_prepared(executor):
    busy = threading.Thread(
        target=executor.map_prepared, args=(Prepared("busy"), linger, range(20)), kwargs={"share": 32}
    )
    busy.start()
    time.sleep(0.05)
    first = executor.map_prepared(Prepared("beside"), keep, range(20), share=32)
    assert busy.is_alive()
    busy.join()
    again = executor.map_prepared(Prepared("beside"), keep, range(20), share=32)  # both workers are idle now
    assert len({prepared for prepared, _, _ in first + again}) == 1


def test_a_batch_is_given_up_soon_after_it_is_asked_for(executor):
    asked = []

    def cancelled():
        return bool(asked) and time.monotonic() > asked[0]

    def told(done, total):
        if not asked:
            asked.append(time.monotonic() + 0.2)

    with pytest.raises(BatchCancelledError):
        executor.map(doze, range(100_000), progress=told, cancelled=cancelled)
    assert time.monotonic() - asked[0] < 0.5  # 0.1 s on a machine that does nothing else
    late = time.monotonic()
    assert executor.map(square, [4]) == [16]
    assert time.monotonic() - late < 0.5  # not behind what was given up


def test_calls_of_several_threads_share_the_workers(executor):
    results = {}

    def call(number):
        results[number] = executor.map(square, range(number, number + 200))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [value * value for value in range(number, number + 200)] for number in range(4)}


def test_a_killed_worker_fails_its_call_and_the_next_call_gets_a_fresh_one(executor):
    with pytest.raises(WorkerError, match="worker process"):
        executor.map(die, [0])
    assert executor.map(square, [4]) == [16]
    assert len(set(executor.map(doze, range(40)))) == 2


def test_batches_are_encrypted_and_decrypted_by_workers(executor):
    key = generate_key(512, minimum_bits=512)
    plaintexts = list(range(200))
    ciphertexts = encrypt_batch(plaintexts, key.public_key, executor=executor)
    assert len(set(ciphertexts)) == 200
    assert decrypt_batch(ciphertexts, key, executor=executor) == plaintexts


def test_an_executor_without_workers_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        ProcessExecutor(0)


def test_after_close_no_worker_and_no_thread_of_its_pool_is_left() -> None:
    before, others = set(threading.enumerate()), set(multiprocessing.active_children())
    executor = ProcessExecutor(2)
    assert executor.map(abs, [-1, -2, -3]) == [1, 2, 3]
    children = set(multiprocessing.active_children()) - others
    own = set(threading.enumerate()) - before
    executor.close()
    assert not own & set(threading.enumerate())
    assert len(children) == 2
    assert not any(child.is_alive() for child in children)
