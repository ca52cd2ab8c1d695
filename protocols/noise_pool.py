"""Noise computed ahead of time, for combinations of stored ciphertexts that are re-randomised when they are asked for.

A value used twice links two ciphertexts and, divided out, shows the difference of their plaintexts. So a pool lives in
one process' memory only: it cannot be pickled, a forked child finds it empty, and every value leaves it once.
"""

import os
import weakref
from collections import deque
from functools import partial
from typing import NoReturn

from protocols.executor import Advance, Cancelled, Executor
from protocols.paillier_key import PublicKey
from protocols.paillier_noise import NoiseSource, TextbookNoise, noise_plan


class NoisePool:
    """A NoiseSource over values of r^n (of h_s^a for a DJN key) made by `fill`; without any it computes r^n at once.

    Empty at first. Thread-safe: two calls never get one value. A value takes twice the modulus' length and a tenth
    more: 850 bytes at 3072 bits.
    """

    def __init__(self, key: PublicKey) -> None:
        self._key = key
        self._otherwise = TextbookNoise(key)
        # Its appends and pops are atomic: no lock, which a fork could leave locked for ever in the child.
        self._values: deque[int] = deque()
        os.register_at_fork(after_in_child=partial(_empty, weakref.ref(self)))

    @property
    def key(self) -> PublicKey:
        """The key that the noise is for."""
        return self._key

    def __len__(self) -> int:
        return len(self._values)

    def noise(self) -> int:
        """Return a fresh n-th residue in (0, n^2): from the pool, or computed now where the pool is empty."""
        try:
            return self._values.pop()
        except IndexError:
            return self._otherwise.noise()

    def fill(
        self, count: int, *, executor: Executor, progress: Advance | None = None, cancelled: Cancelled | None = None
    ) -> None:
        """Add `count` fresh values, computed through the executor; BatchCancelledError, and then none is added."""
        plan = noise_plan(self._key, count, executor.workers)
        values = executor.map_prepared(
            plan, _draw, range(count), share=plan.share, progress=progress, cancelled=cancelled
        )
        self._values.extend(values)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a pool of noise stays in its process: its values must not be used twice")

    def _forget(self) -> None:
        self._values = deque()


def _draw(source: NoiseSource, _: int) -> int:
    return source.noise()


def _empty(pool: "weakref.ref[NoisePool]") -> None:
    """Empty the pool, if it is there still; held weakly, since what runs after forks is kept for the process' life."""
    found = pool()
    if found is not None:
        found._forget()
