import os
import signal

import pytest

from parties.errors import WorkerError
from parties.executor_processes import ProcessExecutor


@pytest.fixture(scope="module")
def executor():
    running = ProcessExecutor(1)
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


def test_results_keep_the_order_of_the_items_and_progress_ends_at_all(executor):
    told = []
    assert executor.map(square, range(20), progress=lambda done, total: told.append((done, total))) == [
        value * value for value in range(20)
    ]
    assert told[-1] == (20, 20)


def test_work_runs_in_another_process(executor):
    assert executor.map(own_pid, [0]) != [os.getpid()]


def test_what_an_item_raises_is_raised_here(executor):
    with pytest.raises(ValueError, match="three"):
        executor.map(fail_on_three, range(6))


def test_a_killed_worker_fails_its_call_and_the_next_call_gets_a_fresh_one(executor):
    with pytest.raises(WorkerError, match="worker process"):
        executor.map(die, [0])
    assert executor.map(square, [4]) == [16]


def test_an_executor_without_workers_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        ProcessExecutor(0)
