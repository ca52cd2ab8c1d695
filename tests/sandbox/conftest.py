from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sandbox.federation import Federation, Terms
from tests.sandbox.survey import survey

NAMES = ("east", "north", "south", "west")

MakeFederation = Callable[..., Federation]


@pytest.fixture
def federate(tmp_path: Path) -> Iterator[MakeFederation]:
    """Makes a federation of so many providers under such terms; it is closed after the test."""
    made: list[Federation] = []

    def make(providers: int = 2, **terms: int) -> Federation:
        data = {name: survey(seed, 60) for seed, name in enumerate(NAMES[:providers])}
        made.append(Federation(tmp_path, data, Terms(**terms)))
        return made[-1]

    yield make
    for federation in made:
        federation.close()
