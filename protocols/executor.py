"""Where batches run: a small port, so that a party chooses processes or the calling thread.

An executor may run the function in another process of the same party: functions handed to it are module-level callables
or `functools.partial`s of them over picklable values. Randomness is drawn from the operating system inside the
function, so that a fork never repeats it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias, TypeVar

from protocols.errors import BatchCancelledError

P = TypeVar("P")
T = TypeVar("T")
R = TypeVar("R")

Advance: TypeAlias = Callable[[int, int], None]
"""Called with (items done, items in all); done never falls, and ends at all."""

Cancelled: TypeAlias = Callable[[], bool]
"""Asked between items or chunks of them, in the caller's thread; once it is true the batch is given up."""

PREPARED_KEPT: Final = 2
"""Prepared values that a worker keeps, the latest used: two tables, since one party seldom serves more keys at once."""


class Executor(Protocol):
    """Maps a function over a batch and keeps its order."""

    @property
    def workers(self) -> int:
        """Items computed at the same time, at least 1."""
        ...

    def map(
        self,
        function: Callable[[T], R],
        items: Sequence[T],
        *,
        progress: Advance | None = None,
        cancelled: Cancelled | None = None,
    ) -> list[R]:
        """Return `[function(item) for item in items]`.

        The first exception that an item raises is raised here. Raises BatchCancelledError soon after `cancelled()`
        turns true.
        """
        ...

    def map_prepared(
        self,
        prepare: Callable[[], P],
        function: Callable[[P, T], R],
        items: Sequence[T],
        *,
        share: int = 1,
        progress: Advance | None = None,
        cancelled: Cancelled | None = None,
    ) -> list[R]:
        """Return `[function(prepared, item) for item in items]`, where every worker has `prepared = prepare()`.

        `prepare` is a small, frozen, hashable, picklable value that can be called and names all that it depends on.
        A worker calls it at most once while it is among the `PREPARED_KEPT` latest used there, also over several calls;
        what it returns never travels. `share` items pay for the preparation of one more worker: at most
        `workers_for(len(items), workers, share)` take part, or those that are prepared already. Raises as `map`.
        """
        ...


def workers_for(items: int, workers: int, share: int) -> int:
    """Return how many of `workers` prepare for a batch: one for each `share` items begun, at least one."""
    return max(1, min(workers, -(-items // share)))


class InlineExecutor:
    """Runs a batch in the calling thread, one item after the other."""

    def __init__(self) -> None:
        self._prepared = functools.lru_cache(maxsize=PREPARED_KEPT)(_call)

    @property
    def workers(self) -> int:
        """One."""
        return 1

    def map(
        self,
        function: Callable[[T], R],
        items: Sequence[T],
        *,
        progress: Advance | None = None,
        cancelled: Cancelled | None = None,
    ) -> list[R]:
        """Return `[function(item) for item in items]`, telling `progress` after each item; see the port."""
        results: list[R] = []
        for item in items:
            if cancelled is not None and cancelled():
                raise BatchCancelledError(len(results), len(items))
            results.append(function(item))
            if progress is not None:
                progress(len(results), len(items))
        return results

    def map_prepared(
        self,
        prepare: Callable[[], P],
        function: Callable[[P, T], R],
        items: Sequence[T],
        *,
        share: int = 1,  # noqa: ARG002 - the port's: here is one worker
        progress: Advance | None = None,
        cancelled: Cancelled | None = None,
    ) -> list[R]:
        """Return `[function(prepare(), item) for item in items]`, prepared once; see the port."""
        if not items:
            return []
        prepared: P = self._prepared(prepare)
        return self.map(functools.partial(function, prepared), items, progress=progress, cancelled=cancelled)


def _call(prepare: Callable[[], P]) -> P:
    return prepare()
