"""`python -m tests.bench.dp_budget --json`: a privacy budget after 100,000 earlier spends.

`budget_ms`: milliseconds of the slower of two steps, at the 99th percentile: the check that the ledger's guard makes,
and the take, which folds the INTENT in. `prepare_ms` is what is done before the transaction for a release that was
never asked for before, `replay_s` the fold over all earlier spends at a start, their decoding excluded. The spends are
of 50 legal entities and 4 datasets, each of another release than the one before.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from fractions import Fraction

from audit.entry import Intent
from protocols.dp_accountant import cost_of
from protocols.dp_events import NoisedBlock, NoisedVector
from sandbox.budget import PrivacyBudgets, Spend
from sandbox.privacy_terms import PrivacyTerms
from tests.audit.samples import private_intent

EARLIER, MEASURED, RELEASES = 100_000, 2_000, 500
TERMS = PrivacyTerms(micro_epsilon=100_000_000, micro_epsilon_total=100_000_000, delta=Fraction(1, 10**6))


def release(number: int) -> NoisedVector:
    """One of many releases, with noise so large that all of them fit."""
    return NoisedVector(3, (NoisedBlock(1 + number % 5, Fraction(10**9 + number), Fraction(1)),))


def spend(number: int) -> Spend:
    """Of one of 50 entities, about one of 4 datasets."""
    return Spend.of(f"LEGAL-{number % 50}", f"east/wages{number % 4}@00", release(number % RELEASES), TERMS)


def taken(number: int, made: Spend) -> Intent:
    """The INTENT of a spend."""
    dataset = f"east/{made.dataset}@0011223344556677"
    return replace(private_intent(), call=f"{number:064x}", dataset=dataset, privacy=made.taken)


def figures() -> dict[str, object]:
    """Fold the earlier spends, then check and take more of them, one by one."""
    budgets = PrivacyBudgets()
    kinds = [spend(number) for number in range(RELEASES)]
    earlier = [taken(number, kinds[number % RELEASES]) for number in range(EARLIER)]
    start = time.perf_counter()
    for index, entry in enumerate(earlier):
        budgets.apply(index, entry)
    replay_s = time.perf_counter() - start
    checks, takes = [], []
    for number in range(EARLIER, EARLIER + MEASURED):
        made = kinds[number % RELEASES]
        entry = taken(number, made)
        start = time.perf_counter()
        budgets.verify(made)
        checked = time.perf_counter()
        budgets.apply(number, entry)
        takes.append((time.perf_counter() - checked) * 1e3)
        checks.append((checked - start) * 1e3)
    prepared = []
    for number in range(100):
        event = NoisedVector(3, (NoisedBlock(1, Fraction(2 * 10**9 + number), Fraction(1)),))
        start = time.perf_counter()
        Spend.of("LEGAL-1", "east/wages0@00", event, TERMS)
        prepared.append((time.perf_counter() - start) * 1e3)
    one = [cost_of(release(number)) for number in range(RELEASES)]
    expected = sum(one[number % RELEASES].units[0] for number in range(0, EARLIER + MEASURED, 4))
    return {
        "budget_ms": round(max(_p99(checks), _p99(takes)), 4),
        "check_ms": round(statistics.median(checks), 4),
        "take_ms": round(statistics.median(takes), 4),
        "prepare_ms": round(statistics.median(prepared), 3),
        "replay_s": round(replay_s, 2),
        "earlier_spends": EARLIER,
        "all_correct": budgets.spent_by_all("wages0").units[0] == expected,
    }


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def main() -> int:
    """Print the figures; exit 1 where the fold is not the sum of the spends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    arguments = parser.parse_args()
    found = figures()
    if arguments.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name}: {value}")
    return 0 if found["all_correct"] else 1


if __name__ == "__main__":
    sys.exit(main())
