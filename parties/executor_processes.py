"""CPU-heavy work goes to worker processes, which are started before gRPC is and inherit nothing from it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from parties.errors import WorkerError

_T = TypeVar("_T")
_R = TypeVar("_R")

IN_FLIGHT_PER_WORKER = 4


def default_workers() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


class ProcessExecutor:
    """An Executor over spawned processes of this party.

    Spawned, never forked: a fork would copy the parent's pools of Paillier randomness and gRPC's threads. Functions and
    items travel by pickle, between this party's own processes only. Workers start with the constructor, so that no
    later fork happens under gRPC's feet. A worker that dies (killed for memory, say) fails the calls it was part of;
    the next call gets a fresh pool.
    """

    def __init__(self, workers: int) -> None:
        """Start `workers` >= 1 processes and wait until each of them answers."""
        if workers < 1:
            message = f"a process executor needs at least one worker, not {workers}"
            raise ValueError(message)
        self._workers = workers
        self._lock = threading.Lock()
        self._closed = False
        self._pool = self._start()

    def map(
        self,
        function: Callable[[_T], _R],
        items: Sequence[_T],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[_R]:
        """Return `[function(item) for item in items]`, computed by the workers; the order is the items'.

        `progress(done, total)` is called in the caller's thread. What `function` raises is raised here, and the items
        not yet begun are dropped. Raises WorkerError if a worker process died.
        """
        pool = self._pool
        results: dict[int, _R] = {}
        running: dict[Future[_R], int] = {}
        position = 0
        try:
            while len(results) < len(items):
                while position < len(items) and len(running) < self._workers * IN_FLIGHT_PER_WORKER:
                    running[pool.submit(function, items[position])] = position
                    position += 1
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    results[running.pop(future)] = future.result()
                if progress is not None:
                    progress(len(results), len(items))
        except BrokenProcessPool as error:
            self._replace(pool)
            message = "a worker process of this party died during a computation (out of memory?); the call was given up"
            raise WorkerError(message) from error
        finally:
            for future in running:
                future.cancel()
        return [results[index] for index in range(len(items))]

    def close(self) -> None:
        """Stop the workers; running items finish first."""
        with self._lock:
            self._closed = True
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self._workers, mp_context=context, initializer=_begin)
        # A pool starts a process for each task that finds no idle one: as many unfinished tasks as workers start all.
        for future in [pool.submit(_settle) for _ in range(self._workers)]:
            future.result()
        return pool

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._pool is broken and not self._closed:
                broken.shutdown(wait=False, cancel_futures=True)
                self._pool = self._start()


def _begin() -> None:
    """Leave Ctrl-C to the parent, which finishes what runs and then stops its workers; end when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    # A killed parent closes nothing that its workers wait on: they would wait, and hold their memory, for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _settle() -> None:
    time.sleep(0.02)
