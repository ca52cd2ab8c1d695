"""Compares bytes with a golden file; with UNSEEN_REGENERATE_GOLDEN=1 writes it instead (see tests/golden/README.md)."""

import os
from pathlib import Path

GOLDEN = Path(__file__).parent.parent / "golden"


def assert_golden(name: str, data: bytes) -> None:
    path = GOLDEN / f"{name}.json"
    if os.environ.get("UNSEEN_REGENERATE_GOLDEN") == "1":
        path.write_bytes(data)
    assert path.read_bytes() == data, f"{path.name} changed: formats are final, so a new one needs a new version"
