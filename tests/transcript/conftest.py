from __future__ import annotations

from pathlib import Path

import pytest

from tests.transcript.people import people
from tests.transcript.recorder import Transcript
from tests.transcript.world import World, live


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.build(tmp_path_factory.mktemp("world") / "homes")


@pytest.fixture(scope="package")
def base(world: World, tmp_path_factory: pytest.TempPathFactory) -> Transcript:
    """The day over the base data."""
    return live(world, tmp_path_factory.mktemp("base") / "homes", people())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "homes"
