from collections.abc import Iterator

import pytest

from .town import Town, build


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    running = build(tmp_path_factory.mktemp("town"))
    try:
        yield running
    finally:
        running.close()
