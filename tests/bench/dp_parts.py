"""`python -m tests.bench.dp_parts --json`: noise and masks of private training, on one core.

`sampler_ratio`: discrete Gaussian draws a second by tables over those by OpenDP's sampler, which is given its best case
(one call for a long vector); the least over the standard deviations shown. Both alternate; figures are medians over the
repeats. `secure_sum_ms`: milliseconds a pair and provider for a vector of 1,000,000 parameters: the provider's whole
call (check of the bound, copy, streams, additions) over the number of its pairs, its worst over two and four providers.
Every sum is compared with the plain one; `all_correct` says so.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from itertools import combinations
from typing import TypeVar

import numpy as np

from protocols.dp_noise_sampler import TableSampler
from protocols.secure_sum import SumParty, SumTerms, sum_masked

R = TypeVar("R")

DEVIATIONS = (10, 1_000, 1_000_000)
TABLE_DRAWS, EXACT_DRAWS = 1_000_000, 50_000
PARAMETERS = 1_000_000
BOUND = 1 << 40


def timed(function: Callable[[], R]) -> tuple[float, R]:
    """Return the seconds that a call took, and what it returned."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def sampler_figures(repeats: int) -> dict[str, object]:
    """Draws a second, by standard deviation."""
    from protocols.dp_noise_exact import ExactSampler  # noqa: PLC0415 - masks are measured without OpenDP, too

    rows = []
    for deviation in DEVIATIONS:
        variance = Fraction(deviation**2)
        built, tables = timed(partial(TableSampler, variance))
        exact = ExactSampler(variance)
        fast, slow = [], []
        for _ in range(repeats):
            fast.append(TABLE_DRAWS / timed(partial(tables.draw, TABLE_DRAWS))[0])
            slow.append(EXACT_DRAWS / timed(partial(exact.draw, EXACT_DRAWS))[0])
        rows.append(
            {
                "standard_deviation": deviation,
                "table_draws_per_s": round(statistics.median(fast)),
                "opendp_draws_per_s": round(statistics.median(slow)),
                "ratio": round(statistics.median(fast) / statistics.median(slow), 1),
                "build_ms": round(built * 1e3, 1),
                "distance_log2": round(float(np.log2(float(tables.distance))), 1),
            }
        )
    return {"sampler_ratio": min(row["ratio"] for row in rows), "samplers": rows}


def sum_figures(repeats: int) -> dict[str, object]:
    """Milliseconds a pair and provider, and whether all sums are right."""
    rows, right = [], True
    for names in (("a", "b"), ("a", "b", "c", "d")):
        terms = SumTerms(os.urandom(32), 1, names, PARAMETERS, BOUND)
        secrets: dict[str, dict[str, bytes]] = {name: {} for name in names}
        for one, other in combinations(names, 2):
            secrets[one][other] = secrets[other][one] = os.urandom(32)
        parties = {name: SumParty(terms, name, secrets[name]) for name in names}
        vectors = {name: np.frombuffer(os.urandom(8 * PARAMETERS), np.int64) // (1 << 24) for name in names}
        pairs, sums = [], []
        for step in range(repeats):
            masked = {}
            for name, party in parties.items():
                seconds, masked[name] = timed(partial(party.mask, step, vectors[name]))
                pairs.append(seconds / (len(names) - 1))
            seconds, total = timed(partial(sum_masked, masked, terms))
            sums.append(seconds)
            right = right and bool(np.array_equal(total, sum(vectors.values())))
        rows.append(
            {
                "providers": len(names),
                "ms_per_pair": round(statistics.median(pairs) * 1e3, 2),
                "slowest_ms_per_pair": round(max(pairs) * 1e3, 2),
                "sum_ms": round(statistics.median(sums) * 1e3, 2),
            }
        )
    return {"secure_sum_ms": max(row["ms_per_pair"] for row in rows), "secure_sums": rows, "all_correct": right}


def main() -> int:
    """Print the figures; exit 1 where a sum is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    figures = sampler_figures(arguments.repeats) | sum_figures(arguments.repeats)
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name}: {value}")
    return 0 if figures["all_correct"] else 1


if __name__ == "__main__":
    sys.exit(main())
