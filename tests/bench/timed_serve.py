"""`unseen serve` with clocks around what a provider does in a joint aggregate, for the benchmark's profile.

Seconds are of the wall clock, summed over threads; an outer phase includes the inner ones that its name begins with.
"""

import functools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from parties.cli.app import run
from sandbox import part
from sandbox.overlap import OverlapGuard
from sandbox.scan import Scan
from sandbox.session_aggregate import AggregateSessions
from sandbox.session_computing import ComputingSessions
from sandbox.source_duckdb import DuckDbFiles
from sandbox.source_table import TableFold


class Clocks:
    """Seconds a phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def count(self, phase: str, started: float) -> None:
        """Add what has passed since `started`."""
        passed = time.perf_counter() - started
        with self._lock:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + passed

    def around(self, owner: object, name: str, phase: str) -> None:
        """Put a clock around a function."""
        inner: Callable[..., object] = getattr(owner, name)

        @functools.wraps(inner)
        def timed(*args: object, **kwargs: object) -> object:
            started = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.count(phase, started)

        setattr(owner, name, timed)

    def around_batches(self, phase: str) -> None:
        """Put a clock around the wait for each batch of a scan."""
        inner = Scan.batches

        def timed(scan: Scan, sql: str, parameters: object) -> Iterator[object]:
            batches = iter(inner(scan, sql, parameters))  # type: ignore[arg-type]
            while True:
                started = time.perf_counter()
                batch = next(batches, None)
                self.count(phase, started)
                if batch is None:
                    return
                yield batch

        Scan.batches = timed  # type: ignore[method-assign, assignment]


def serve() -> int:
    """Serve the home named on the command line until the process is ended; then write the clocks."""
    clocks = Clocks()
    clocks.around(ComputingSessions, "run", "run (computing party only)")
    clocks.around(AggregateSessions, "offer", "offer")
    clocks.around(DuckDbFiles, "totals", "offer: scan")
    clocks.around_batches("offer: scan: read and validate")
    clocks.around(TableFold, "_place", "offer: scan: fold: levels")
    clocks.around(TableFold, "add", "offer: scan: fold")
    clocks.around(TableFold, "finish", "offer: scan: finish")
    clocks.around(OverlapGuard, "reserve", "offer: guard")
    clocks.around(AggregateSessions, "prepare", "part")
    clocks.around(OverlapGuard, "settle", "part: guard settles")
    clocks.around(OverlapGuard, "remember", "part: guard remembers")
    clocks.around(part, "encrypt_part", "part: encrypt")
    home = Path(sys.argv[sys.argv.index("--home") + 1])
    try:
        return run(sys.argv[1:])
    finally:
        home.with_suffix(".clocks.json").write_text(json.dumps(clocks.seconds))


if __name__ == "__main__":
    sys.exit(serve())
