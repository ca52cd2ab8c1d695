"""`python -m tests.bench.reconcile --json`: two ledgers of 100,000 calls that differ in ten, read and compared.

Reading (entries off the disk into views) and comparing (trees, walk, findings) are timed apart, on one thread and as
`unseen ledger reconcile` does them. Figures are wall-clock seconds, medians over the repeats; `cpu_s` is this process's
own work, however busy the machine is. Which calls differ comes from a seed. Signatures are not checked: nobody made
them (see `tests.audit.many_receipts`).
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from audit.discrepancy import DiscrepancyKind
from audit.entry import Side
from audit.ledger import open_reader
from audit.ledger_view import LedgerView, read_view
from audit.reconcile import Reconciliation, reconcile
from parties.cli.ledger_reconcile import uncollected
from tests.audit.many_receipts import Writer, payload, write_ledger

SEED = 1988
KINDS = (
    DiscrepancyKind.MISSING,
    DiscrepancyKind.ALTERED,
    DiscrepancyKind.DIFFERENTLY_PRICED,
    DiscrepancyKind.DUPLICATED,
    DiscrepancyKind.MISSING,
)
"""What differs, in turn; the missing ones at either side by turns too."""

Seeded = dict[int, tuple[DiscrepancyKind, str]]
"""Call -> in what it differs, and in whose ledger."""


def differences(calls: int, count: int) -> Seeded:
    """The calls that differ."""
    chosen = random.Random(SEED).sample(range(calls), count)
    return {number: (KINDS[turn % len(KINDS)], ("east", "shop")[turn % 2]) for turn, number in enumerate(chosen)}


def entries(party: str, calls: int, seeded: Seeded) -> Iterator[bytes]:
    """OUTCOME and ACK of every call in one party's ledger, with what is seeded."""
    writer = Writer(Side.PROVIDER if party == "east" else Side.MERCHANT)
    for number in range(calls):
        kind, where = seeded.get(number, (None, ""))
        if where != party or kind is None:
            yield from writer.call(number)
        elif kind is DiscrepancyKind.ALTERED:
            yield from writer.changed(number, provider_clock_ms=1)
        elif kind is DiscrepancyKind.DIFFERENTLY_PRICED:
            yield from writer.changed(number, price_micro=9_000_000)
        elif kind is DiscrepancyKind.DUPLICATED:
            yield writer.call(number)[0]
            yield from writer.call(number)


def read(folder: Path) -> list[LedgerView]:
    """Both ledgers."""
    views = []
    for party in ("east", "shop"):
        reader = open_reader(folder / f"{party}.db")
        views.append(read_view(party, reader.read(0, reader.size)))
        reader.close()
    return views


def is_exact(result: Reconciliation, seeded: Seeded) -> bool:
    """Whether what was found is what was seeded, and nothing else."""
    found = sorted((finding.call, finding.kind.value) for finding in result.findings)
    return found == sorted((payload(number).call, kind.value) for number, (kind, _) in seeded.items())


def measure(folder: Path, calls: int, count: int, repeats: int) -> dict[str, object]:
    """Write the ledgers, then read and compare them again and again."""
    seeded = differences(calls, count)
    for party in ("east", "shop"):
        write_ledger(folder / f"{party}.db", party, entries(party, calls, seeded))
    reading, comparing, working, exact = [], [], [], True
    for _ in range(repeats):
        with uncollected():
            worked, started = time.process_time(), time.perf_counter()
            views = read(folder)
            between = time.perf_counter()
            result = reconcile(views)
            comparing.append(time.perf_counter() - between)
            working.append(time.process_time() - worked)
        reading.append(between - started)
        exact = exact and is_exact(result, seeded)
    both = [one + other for one, other in zip(reading, comparing, strict=True)]
    return {
        "calls": calls,
        "repeats": repeats,
        "read_s": round(statistics.median(reading), 3),
        "compare_s": round(statistics.median(comparing), 3),
        "total_s": round(statistics.median(both), 3),
        "cpu_s": round(statistics.median(working), 3),
        "slowest_s": round(max(both), 3),
        "comparisons": result.pairs[0].comparisons,
        "found": len(result.findings),
        "exact": exact,
    }


def main() -> int:
    """Print the figures; exit 1 unless exactly what was seeded was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--calls", type=int, default=100_000, help="in each of the two ledgers")
    parser.add_argument("--differences", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.calls, options.differences, options.repeats)
    if options.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        sys.stdout.write("".join(f"{name:14} {value}\n" for name, value in figures.items()))
    return 0 if figures["exact"] else 1


if __name__ == "__main__":
    sys.exit(main())
