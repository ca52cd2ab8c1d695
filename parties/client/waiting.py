"""Saying what is being waited for, once it takes long enough to wonder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

SLOW_SECONDS: Final = 1.0


@contextmanager
def told_when_slow(say: Callable[[str], object], text: str) -> Iterator[None]:
    """Say `text`, from a thread, if what is done meanwhile takes longer than `SLOW_SECONDS`."""
    timer = threading.Timer(SLOW_SECONDS, say, (text,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
