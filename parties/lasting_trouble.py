"""Trouble that lasts: said when it begins and when it changes, then every few minutes, so that a log stays readable."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

TELL_AGAIN_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class _Told:
    kind: str
    monotonic: float


class LastingTrouble:
    """What is wrong with each of several things. Threads may share one; what is wrong with nothing takes no room."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._told: dict[str, _Told] = {}

    def is_news(self, what: str, kind: str) -> bool:
        """Note that there is such trouble with `what`; returns whether to say so now.

        `kind` is what of it is news when it changes. An error's own text is not: the network words one outage anew
        every time.
        """
        with self._lock:
            now, told = self._monotonic(), self._told.get(what)
            if told is not None and told.kind == kind and now - told.monotonic < TELL_AGAIN_SECONDS:
                return False
            self._told[what] = _Told(kind, now)
            return True

    def ended(self, what: str) -> bool:
        """Note that all is well with `what`; returns whether it was not before."""
        with self._lock:
            return self._told.pop(what, None) is not None
