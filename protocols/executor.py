"""Where batches run: a small port, so that a party chooses threads, processes or the calling thread.

An executor may run the function in another process of the same party: functions handed to it are module-level callables
or `functools.partial`s of them over picklable values. Randomness is drawn from the operating system inside the
function, so that a fork never repeats it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, TypeVar

T = TypeVar("T")
R = TypeVar("R")

Advance: TypeAlias = Callable[[int, int], None]
"""Called with (items done, items in all); done never falls, and ends at all."""


class Executor(Protocol):
    """Maps a function over a batch and keeps its order."""

    def map(self, function: Callable[[T], R], items: Sequence[T], *, progress: Advance | None = None) -> list[R]:
        """Return `[function(item) for item in items]`; the first exception that an item raises is raised here."""
        ...


class InlineExecutor:
    """Runs a batch in the calling thread, one item after the other."""

    def map(self, function: Callable[[T], R], items: Sequence[T], *, progress: Advance | None = None) -> list[R]:
        """Return `[function(item) for item in items]`, telling `progress` after each item."""
        results: list[R] = []
        for item in items:
            results.append(function(item))
            if progress is not None:
                progress(len(results), len(items))
        return results
