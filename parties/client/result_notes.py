"""What a result says about itself in words: what is closed, and why a figure is missing."""

from __future__ import annotations

from typing import Final

_NAMED: Final = 3
"""Places that a note names; of the others it gives the number."""


class Notes:
    """Gathers notes: one text, the places that it holds of."""

    def __init__(self) -> None:
        self._places: dict[str, list[str]] = {}

    def add(self, text: str, place: str = "") -> None:
        """Note `text`, of `place` if it is not empty."""
        places = self._places.setdefault(text, [])
        if place:
            places.append(place)

    def texts(self) -> tuple[str, ...]:
        """The notes, in the order in which they were first made."""
        return tuple(f"{text}{_of(places)}" for text, places in self._places.items())


def _of(places: list[str]) -> str:
    if not places:
        return ""
    more = f"; and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    return f" (in {'; '.join(places[:_NAMED])}{more})"
