"""Background work of a party: one thread a task, every so often, until told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable

from parties.errors import is_expected
from parties.lasting_trouble import LastingTrouble
from parties.telemetry import Logger

JOIN_SECONDS = 15.0


class Repeating:
    """Runs `task` every `seconds` in a thread of its own. What it raises is logged; the next turn comes anyway.

    What is expected, such as a peer that is away, is logged when it begins or changes and then every few minutes.
    """

    def __init__(self, name: str, seconds: float, task: Callable[[], None], logger: Logger) -> None:
        self._name = name
        self._seconds = seconds
        self._task = task
        self._logger = logger
        self._trouble = LastingTrouble()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the first turn is at once."""
        self._thread.start()

    def hurry(self) -> None:
        """Take the next turn now."""
        self._wake.set()

    def stop(self) -> None:
        """Take no further turn; waits for nothing."""
        self._stop.set()
        self._wake.set()

    def close(self) -> None:
        """Stop after the turn that is running, if any, and wait for it. Without `start` nothing happens."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._task()
            except Exception as error:
                if not is_expected(error):
                    self._logger.error("background work failed", task=self._name, exc_info=error)
                elif self._trouble.is_news(self._name, type(error).__name__):
                    self._logger.warning("background work failed", task=self._name, error=str(error))
            else:
                self._trouble.ended(self._name)
            self._wake.wait(self._seconds)
            self._wake.clear()
