"""`python -m tests.bench.overlap --json`: one query checked against 10,000 earlier cells over 5 million rows.

Each query has 1,000 cells of about 5,000 rows, at random, so that all cells are of nearly the same size: the hardest
for what tells them apart. `check_s` is the check of one more such query, its bitmaps included (`build_s` of it);
`keep_s` is making it durable, `again_s` the check of one that has been answered before, `persons_s` that of `check_s`
where persons of two rows each are told apart. `store_mb` is what the vault holds for 10,000 cells and their sums.
Figures are wall-clock seconds, medians over the repeats, each of another query.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from sandbox.overlap import AskedTable, OverlapGuard, Question
from sandbox.release import ReleaseMode, ReleasePolicy
from sandbox.row_identity import RowIdentity
from sandbox.row_sets import RowSpace
from sandbox.vault import Vault

POLICY = ReleasePolicy(ReleaseMode.EXACT, 10, overlap_k=10)
PARTICIPANTS = ("east", "north")

T = TypeVar("T")


def query(seed: int, rows: int, cells: int) -> Question:
    """A query that puts every row in one of `cells` cells, at random."""
    found = np.random.default_rng(seed).integers(0, cells, rows, dtype=np.int32)
    return Question((AskedTable((cells,), found),), (False,) * cells, PARTICIPANTS, POLICY)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds and result."""
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def identity(rows: int, *, persons: bool) -> RowIdentity:
    """Rows that are their own ids; with persons, two neighbours are one."""
    codes = np.arange(rows, dtype=np.uint32) // 2 + 1 if persons else None
    return RowIdentity(rows, rows, None, codes, "who" if persons else None)


def measure(folder: Path, rows: int, cells: int, earlier: int, repeats: int, *, persons: bool) -> dict[str, float]:
    """All figures of one vault."""
    path = folder / f"vault-{persons}.db"
    times: dict[str, list[float]] = {name: [] for name in ("build_s", "check_s", "keep_s", "again_s")}
    rows_of = identity(rows, persons=persons)
    space = RowSpace(rows_of)
    with Vault.open(path) as vault:
        guard = OverlapGuard(vault, "bench", rows_of)
        for number in range(earlier // cells):
            guard.reserve(f"{number}", query(number, rows, cells))
            guard.settle(f"{number}", (False,) * cells)
            guard.remember(f"{number}")
        store_mb = sum(file.stat().st_size for file in folder.glob(f"{path.name}*")) / 1e6
        for repeat in range(repeats):
            asked = query(10_000 + repeat, rows, cells)
            times["build_s"].append(timed(lambda asked=asked: space.split(asked.tables[0].rows, cells))[0])
            seconds, verdict = timed(lambda asked=asked: guard.reserve("new", asked))
            times["check_s"].append(seconds)
            assert not any(verdict.refused)
            guard.settle("new", (False,) * cells)
            if repeat == repeats - 1:  # earlier ones are let go of, so that the number of earlier cells stays
                times["keep_s"].append(timed(lambda: guard.remember("new"))[0])
            guard.release("new")
            known = query(0, rows, cells)
            times["again_s"].append(timed(lambda known=known: guard.reserve("again", known))[0])
            guard.release("again")
        start_s, _ = timed(lambda: OverlapGuard(vault, "bench", rows_of))
    return {name: statistics.median(values) for name, values in times.items()} | {
        "store_mb": store_mb,
        "start_s": start_s,
    }


def main(arguments: list[str]) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--cells", type=int, default=1_000)
    parser.add_argument("--earlier", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        sizes = (given.rows, given.cells, given.earlier, given.repeats)
        found = measure(Path(folder), *sizes, persons=False)
        found["persons_s"] = measure(Path(folder), *sizes, persons=True)["check_s"]
    result = {"rows": given.rows, "cells": given.cells, "earlier": given.earlier}
    result |= {name: round(value, 3) for name, value in found.items()}
    print(json.dumps(result) if given.json else "\n".join(f"{name:>10} {value}" for name, value in result.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
