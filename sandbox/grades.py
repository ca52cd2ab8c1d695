"""Grades of data after GB/T 43697-2024: core 核心, important 重要, general 一般."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import total_ordering


@total_ordering
class Grade(Enum):
    """How strictly a column, a dataset or a contract is held; compares from the laxest to the strictest.

    Core data are refused always: no declaration that holds a core column is served (GB/T 43697-2024, section 6).
    """

    GENERAL = "general"
    IMPORTANT = "important"
    CORE = "core"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Grade):
            return NotImplemented
        return _ORDER.index(self) < _ORDER.index(other)


_ORDER = tuple(Grade)


def strictest(grades: Iterable[Grade]) -> Grade:
    """The strictest of `grades`; general when there is none."""
    return max(grades, default=Grade.GENERAL)
