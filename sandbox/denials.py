"""How many denials reach the ledger: a hundred a minute for one identity, the rest as one counted entry.

A flood of refused requests must neither fill the ledger nor go unrecorded. Memory is bounded by a fixed number of
identities; whoever comes beyond them shares one window.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field, replace
from typing import Final

from audit.entry import Denied

WINDOW_MS: Final = 60_000
ENTRIES_A_WINDOW: Final = 100
IDENTITIES: Final = 1_024
OTHERS: Final = ""
MAX_CLAUSE: Final = 200

_OF_A_COLUMN: Final = re.compile(r"(uses|frame|datasets\.[^.]*\.columns)\..*", re.DOTALL)


def recorded_clause(clause: str) -> str:
    """Return a denial's clause as a ledger may hold it: `uses.wage` is `uses` there.

    Columns are what the request's commitments hide; and an unknown column's name is any text that a merchant sends.
    The caller is told the whole clause.
    """
    found = _OF_A_COLUMN.fullmatch(clause)
    return (found[1] if found else clause)[:MAX_CLAUSE]


@dataclass(slots=True)
class _Window:
    started_ms: int
    written: int = 0
    collapsed: Denied | None = field(default=None)


class DenialWindows:
    """Decides, denial by denial, what is to be written now. Threads may share one."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}
        self._lock = threading.Lock()

    def admit(self, denied: Denied) -> tuple[Denied, ...]:
        """Return what to append because of this denial: finished minutes' collapsed entries, and itself or not."""
        with self._lock:
            due = self._ended(denied.at_ms)
            key = denied.identity
            if key not in self._windows and len(self._windows) >= IDENTITIES:
                key = OTHERS
            window = self._windows.setdefault(key, _Window(denied.at_ms))
            if window.written < ENTRIES_A_WINDOW:
                window.written += 1
                return (*due, denied)
            earlier = window.collapsed.count if window.collapsed is not None else 0
            # It stands for many requests: it names the identity, the last reason and how many, no single call.
            window.collapsed = replace(denied, identity=key, call="", contract="", count=denied.count + earlier)
            return due

    def ended(self, now_ms: int) -> tuple[Denied, ...]:
        """Return the collapsed entries of the minutes that have ended by `now_ms`."""
        with self._lock:
            return self._ended(now_ms)

    def close(self) -> tuple[Denied, ...]:
        """Return the collapsed entries of all minutes, ended or not."""
        with self._lock:
            due = tuple(window.collapsed for window in self._windows.values() if window.collapsed is not None)
            self._windows.clear()
            return due

    def _ended(self, now_ms: int) -> tuple[Denied, ...]:
        over = [key for key, window in self._windows.items() if now_ms - window.started_ms >= WINDOW_MS]
        windows = [self._windows.pop(key) for key in over]
        return tuple(window.collapsed for window in windows if window.collapsed is not None)
