"""How far a merchant's call is, for whoever watches, and the executor that tells it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from parties.config import ComputeSection
from parties.executor_processes import ProcessExecutor, default_workers
from protocols.executor import Advance, Cancelled, Executor, InlineExecutor
from sandbox.ports import Progress

LONG_BATCH: Final = 256
"""Items from which on worker processes are worth their start."""

_P = TypeVar("_P")
_T = TypeVar("_T")
_R = TypeVar("_R")


class NoProgress:
    """Nobody watches."""

    def advance(self, stage: str, done: int, total: int) -> None:
        """Do nothing."""


class ReportingExecutor:
    """Runs batches in the calling thread, and long ones in worker processes, which start with the first long one."""

    def __init__(self, settings: ComputeSection, progress: Progress, stage: str) -> None:
        self._workers = default_workers() if settings.workers == 0 else settings.workers
        self._progress = progress
        self._stage = stage
        self._inline = InlineExecutor()
        self._processes: ProcessExecutor | None = None

    @property
    def workers(self) -> int:
        """Items of a long batch that are computed at the same time."""
        return max(1, self._workers)

    def map(
        self,
        function: Callable[[_T], _R],
        items: Sequence[_T],
        *,
        progress: Advance | None = None,
        cancelled: Cancelled | None = None,
    ) -> list[_R]:
        """Return `[function(item) for item in items]`; see the port."""
        told = self._telling(progress)
        return self._executor(len(items)).map(function, items, progress=told, cancelled=cancelled)

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
        """Return `[function(prepared, item) for item in items]`; see the port."""
        told = self._telling(progress)
        executor = self._executor(len(items))
        return executor.map_prepared(prepare, function, items, share=share, progress=told, cancelled=cancelled)

    def close(self) -> None:
        """Stop the worker processes, if any."""
        if self._processes is not None:
            self._processes.close()

    def _telling(self, progress: Advance | None) -> Advance:
        def told(done: int, total: int) -> None:
            self._progress.advance(self._stage, done, total)
            if progress is not None:
                progress(done, total)

        return told

    def _executor(self, items: int) -> Executor:
        if items < LONG_BATCH or self._workers < 1:
            return self._inline
        if self._processes is None:
            self._processes = ProcessExecutor(self._workers)
        return self._processes
