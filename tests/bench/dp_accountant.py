"""The privacy accountant: its distance from brute force and from the analytic Gaussian mechanism, and its speed.

    python -m tests.bench.dp_accountant [--json]

`epsilon_error` is the largest of: bound less true Renyi divergence of sums of discrete Gaussians (share variances from
3/4 on, a coordinate), and epsilon of a fixed run of scaled values less that of the analytic Gaussian mechanism.
`lowest` is the least of those differences; below 0 the accountant would be wrong. Times are medians, in microseconds.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from fractions import Fraction

from protocols.dp_accountant import NOTHING, cost_of, micro_epsilon
from protocols.dp_divergence import sum_defect
from protocols.dp_events import NoisedBlock, NoisedVector, PoissonSampled, Repeated
from protocols.dp_filter import Budget, PrivacyFilter
from protocols.dp_gaussian import gaussian_micro_epsilon, run_micro_epsilon
from tests.protocols.dp_truth import cases, law_of_sum, renyi

DELTA = Fraction(1, 10**6)
ORDERS = (Fraction(5, 4), Fraction(3, 2), Fraction(2), Fraction(33, 8), Fraction(16))


def divergence_errors() -> list[float]:
    errors = []
    for shares, variance in cases():
        if variance < Fraction(3, 4):
            continue
        law, defect = law_of_sum(shares, variance, 80), sum_defect(shares, variance)
        for order in ORDERS:
            for shift in (1, 2, 3):
                bound = order * shift**2 / (2 * shares * variance) + defect.excess(order)
                errors.append(float(bound - renyi(law, shift, order)))
    return errors


def run_errors() -> tuple[list[float], list[float]]:
    """Epsilon above that of the analytic Gaussian mechanism: by the run's own bound, and by Renyi divergences alone."""
    tight, renyi_only = [], []
    for squared_mu in (Fraction(1, 10**4), Fraction(1, 25), Fraction(1), Fraction(9)):
        variance = Fraction(10**6) / squared_mu
        event = NoisedVector(3, (NoisedBlock(1, variance / 3, Fraction(10**6)),))
        analytic = gaussian_micro_epsilon(squared_mu, DELTA)
        tight.append((run_micro_epsilon(event, DELTA) - analytic) / 1e6)
        renyi_only.append((micro_epsilon(cost_of(event), DELTA) - analytic) / analytic)
    return tight, renyi_only


def median_microseconds(work: Callable[[], object], times: int) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return round(statistics.median(seconds) * 1e6, 1)


def measure() -> dict[str, float]:
    divergences, (tight, renyi_only) = divergence_errors(), run_errors()
    event = NoisedVector(3, (NoisedBlock(1, Fraction(2000), Fraction(1)),))
    privacy_filter, cost = PrivacyFilter.for_budget(Budget(1_000_000, DELTA)), cost_of(event)
    sampled = Repeated(PoissonSampled(event, Fraction(1, 100)), 1000)
    return {
        "epsilon_error": max(*divergences, *tight),
        "lowest": min(*divergences, *tight),
        "renyi_above_analytic_least": min(renyi_only),
        "renyi_above_analytic_most": max(renyi_only),
        "check_us": median_microseconds(lambda: privacy_filter.check(NOTHING, cost), 2000),
        "take_us": median_microseconds(lambda: privacy_filter.take(cost, cost), 2000),
        "cost_us": median_microseconds(lambda: cost_of(event), 20),
        "sampled_cost_us": median_microseconds(lambda: cost_of(sampled), 3),
        "run_epsilon_us": median_microseconds(lambda: run_micro_epsilon(event, DELTA), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    figures = measure()
    print(json.dumps(figures) if parser.parse_args().json else "\n".join(f"{k}: {v:.3g}" for k, v in figures.items()))


if __name__ == "__main__":
    main()
