"""CPU-heavy work goes to worker processes, which are started before gRPC is and inherit nothing from it."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Final, Generic, TypeVar

from parties.errors import WorkerError
from protocols.errors import BatchCancelledError
from protocols.executor import PREPARED_KEPT, Advance, Cancelled, workers_for

_P = TypeVar("_P")
_T = TypeVar("_T")
_R = TypeVar("_R")

CHUNKS_IN_FLIGHT: Final = 2
"""Chunks that a call has at one worker: one that runs, one that waits for it."""

FIRST_CHUNK: Final = 4
"""Items of a call's first chunks, when nothing is known of how long one takes."""

CHUNK_SECONDS: Final = 0.04
"""What a chunk should take: long against its 0.2 ms of travel, short against the 0.1 s of a cancellation."""

ASKING_SECONDS: Final = 0.05
"""How often a waiting call asks whether it was cancelled."""


def default_workers() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


class ProcessExecutor:
    """An Executor over spawned processes of this party.

    Spawned, never forked: a fork would copy the parent's pools of Paillier randomness and gRPC's threads. Functions and
    items travel by pickle, between this party's own processes only, in chunks sized by how long the last one took.
    Workers start with the constructor, so that no later fork happens under gRPC's feet. A worker that dies (killed for
    memory, say) fails the calls it was part of; the next call gets a fresh one.

    Several threads may call at once: their chunks alternate. What `map_prepared` prepares stays in its worker, and a
    later call with an equal `prepare` goes first to the workers that have it.
    """

    def __init__(self, workers: int) -> None:
        """Start `workers` >= 1 processes and wait until each of them answers."""
        if workers < 1:
            message = f"a process executor needs at least one worker, not {workers}"
            raise ValueError(message)
        self._lock = threading.Lock()
        self._closed = False
        self._workers = [_Worker() for _ in range(workers)]
        for started in [worker.pool.submit(os.getpid) for worker in self._workers]:
            started.result()

    @property
    def workers(self) -> int:
        """The number of processes."""
        return len(self._workers)

    def map(
        self,
        function: Callable[[_T], _R],
        items: Sequence[_T],
        *,
        progress: Advance | None = None,
        cancelled: Cancelled | None = None,
    ) -> list[_R]:
        """Return `[function(item) for item in items]`, computed by the workers; the order is the items'.

        `progress(done, total)` is called in the caller's thread after each chunk. What `function` raises is raised
        here, and the items not yet begun are dropped. Raises WorkerError if a worker process died, BatchCancelledError
        within about 0.1 s of `cancelled()` turning true.
        """
        with self._lock:
            chosen = sorted(self._workers, key=lambda worker: worker.chunks)
        return _Batch(functools.partial(_run, function), items, chosen, self._lock).run(
            self._replace, progress, cancelled
        )

    def map_prepared(
        self,
        prepare: Callable[[], _P],
        function: Callable[[_P, _T], _R],
        items: Sequence[_T],
        *,
        share: int = 1,
        progress: Advance | None = None,
        cancelled: Cancelled | None = None,
    ) -> list[_R]:
        """Return `[function(prepared, item) for item in items]`; each worker prepares once. See the port, and `map`."""
        with self._lock:
            holding = sum(worker.holds(prepare) for worker in self._workers)
            ranked = sorted(self._workers, key=lambda worker: (not worker.holds(prepare), worker.chunks))
            chosen = ranked[: max(holding, workers_for(len(items), len(ranked), share))]
            for worker in chosen:
                worker.remember(prepare)
        run = functools.partial(_run_prepared, prepare, function)
        return _Batch(run, items, chosen, self._lock).run(self._replace, progress, cancelled)

    def close(self) -> None:
        """Stop the workers; running chunks finish first."""
        with self._lock:
            self._closed = True
            workers = list(self._workers)
        for worker in workers:
            # One call that waits: after one that does not, a second waits for nothing, and the interpreter's end then
            # races with the pool's own thread, which can leave a process that never ends.
            worker.pool.shutdown(wait=True, cancel_futures=True)

    def _replace(self, broken: _Worker) -> None:
        with self._lock:
            if broken in self._workers and not self._closed:
                broken.pool.shutdown(wait=False, cancel_futures=True)
                self._workers[self._workers.index(broken)] = _Worker()


class _Worker:
    """One process, the chunks that all calls have there, and what it has prepared, in the order of its last use."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin)
        self.chunks = 0
        self._prepared: OrderedDict[Hashable, None] = OrderedDict()

    def holds(self, prepare: Hashable) -> bool:
        return prepare in self._prepared

    def remember(self, prepare: Hashable) -> None:
        self._prepared[prepare] = None
        self._prepared.move_to_end(prepare)
        while len(self._prepared) > PREPARED_KEPT:
            self._prepared.popitem(last=False)


class _Batch(Generic[_T, _R]):
    """One call: its items, handed out in chunks to the workers chosen for it."""

    def __init__(
        self,
        run: Callable[[Sequence[_T]], tuple[list[_R], float]],
        items: Sequence[_T],
        workers: Sequence[_Worker],
        lock: threading.Lock,
    ) -> None:
        self._run = run
        self._items = items
        self._workers = workers
        self._lock = lock
        self._begun = 0
        self._chunk = FIRST_CHUNK
        self._running: dict[Future[tuple[list[_R], float]], tuple[_Worker, int]] = {}
        self._results: dict[int, list[_R]] = {}

    def run(
        self, replace: Callable[[_Worker], None], progress: Advance | None, cancelled: Cancelled | None
    ) -> list[_R]:
        """Return all results in the items' order; `replace` is told of a worker that died."""
        done, total = 0, len(self._items)
        asking = None if cancelled is None else ASKING_SECONDS
        try:
            for _ in range(CHUNKS_IN_FLIGHT):
                for worker in self._workers:
                    self._hand(worker, replace)
            while self._running:
                if cancelled is not None and cancelled():
                    raise BatchCancelledError(done, total)
                for future in wait(self._running, timeout=asking, return_when=FIRST_COMPLETED).done:
                    worker, finished = self._take(future, replace)
                    done += finished
                    self._hand(worker, replace)
                    if progress is not None:
                        progress(done, total)
        finally:
            for future in list(self._running):
                future.cancel()
                self._forget(future)
        return [result for start in sorted(self._results) for result in self._results[start]]

    def _hand(self, worker: _Worker, replace: Callable[[_Worker], None]) -> None:
        """Give the worker the next chunk: at most its share of half of what is left, so that all end at once."""
        left = len(self._items) - self._begun
        if left == 0:
            return
        size = max(1, min(self._chunk, -(-left // (CHUNKS_IN_FLIGHT * len(self._workers)))))
        try:
            future = worker.pool.submit(self._run, self._items[self._begun : self._begun + size])
        except BrokenProcessPool as error:
            raise _died(worker, replace) from error
        self._running[future] = worker, self._begun
        self._begun += size
        with self._lock:
            worker.chunks += 1

    def _take(self, future: Future[tuple[list[_R], float]], replace: Callable[[_Worker], None]) -> tuple[_Worker, int]:
        worker, start = self._forget(future)
        try:
            results, seconds = future.result()
        except BrokenProcessPool as error:
            raise _died(worker, replace) from error
        self._results[start] = results
        self._chunk = max(1, int(CHUNK_SECONDS * len(results) / max(seconds, 1e-6)))
        return worker, len(results)

    def _forget(self, future: Future[tuple[list[_R], float]]) -> tuple[_Worker, int]:
        worker, start = self._running.pop(future)
        with self._lock:
            worker.chunks -= 1
        return worker, start


def _died(worker: _Worker, replace: Callable[[_Worker], None]) -> WorkerError:
    replace(worker)
    return WorkerError(
        "a worker process of this party died during a computation (out of memory?); the call was given up"
    )


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


def _run(function: Callable[[_T], _R], items: Sequence[_T]) -> tuple[list[_R], float]:
    """One chunk in a worker: its results and the seconds they took, from which the next chunk's size follows."""
    started = time.perf_counter()
    results = [function(item) for item in items]
    return results, time.perf_counter() - started


def _run_prepared(
    prepare: Callable[[], _P], function: Callable[[_P, _T], _R], items: Sequence[_T]
) -> tuple[list[_R], float]:
    return _run(functools.partial(function, _prepared(prepare)), items)


@functools.lru_cache(maxsize=PREPARED_KEPT)
def _prepared(prepare: Callable[[], _P]) -> _P:
    """What a worker process has prepared; only workers call it, hence each has its own."""
    return prepare()
