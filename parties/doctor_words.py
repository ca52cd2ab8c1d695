"""What a doctor says, in English and in Chinese: a sentence with places in it, and the values that fill them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

_UNITS: Final = (("day", "天", 86_400), ("hour", "小时", 3_600), ("minute", "分钟", 60))


@dataclass(frozen=True, slots=True)
class Words:
    """The same in both languages."""

    english: str
    chinese: str


class Sentence(Enum):
    """A member's value is its English and its Chinese, with the same places: `("{path} is missing", "缺少 {path}")`."""

    @property
    def english(self) -> str:
        """With its places."""
        return str(self.value[0])

    @property
    def chinese(self) -> str:
        """With its places."""
        return str(self.value[1])

    def of(self, **places: object) -> Words:
        """The sentence with its places filled, as `str.format` does; a value that is `Words` is told in its language.

        Raises KeyError where a place is left open.
        """
        english = {name: value.english if isinstance(value, Words) else value for name, value in places.items()}
        chinese = {name: value.chinese if isinstance(value, Words) else value for name, value in places.items()}
        return Words(self.english.format(**english), self.chinese.format(**chinese))


def span(milliseconds: int) -> Words:
    """A duration for people: `3 days`, `5 hours`, `90 seconds`."""
    seconds = max(0, milliseconds) // 1000
    for unit, chinese, size in _UNITS:
        if seconds >= 2 * size:
            return Words(f"{seconds // size} {unit}s", f"{seconds // size} {chinese}")
    return Words(many(seconds, "second").english, f"{seconds} 秒")


def many(count: int, noun: str) -> Words:
    """So many of a thing: `1 call`, `2 calls`; in Chinese the sentence has the measure word."""
    return Words(f"{count} {noun}{'' if count == 1 else 's'}", str(count))


def entries(count: int) -> Words:
    """So many entries of a ledger."""
    return Words(f"{count} {'entry' if count == 1 else 'entries'}", str(count))


def joined(words: Iterable[Words]) -> Words:
    """Several, separated by commas."""
    listed = list(words)
    return Words(", ".join(each.english for each in listed), "、".join(each.chinese for each in listed))
