"""`python -m tests.bench.aggregate --json`: a joint group-by over real processes, against one DuckDB query on the pool.

Four providers over Parquet, each a process of its own, mutual TLS, 3072-bit keys, fsync on; a fresh nonce a call, the
key made before, no cache. The baseline is one DuckDB query over all rows on the same machine. Ours and the baseline
alternate; figures are medians. Rows come from a seed.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from audit.clock import SystemClock
from parties import Merchant
from parties.client.result import AggregateResult
from parties.demo_data import BUREAUS
from parties.demo_federation import MERCHANT, DemoFederation, enrol_all, found_all
from parties.demo_processes import run_unseen

WIDE, NARROW = 1000, 10
SEED = 1988

DECLARATION = """[dataset]
name = "bench"
title = "Generated rows"
description = "Generated from a seed."
owner = "Bench"
office = "Bench"
registration = "BENCH-1"
sharing = "conditional"
declared_rows = {rows}
update_cycle = "never"

[dataset.release]
mode = "exact"
min_group_size = 10
min_contributors = 2

[source]
parquet = "../bench.parquet"
{columns}"""

COLUMN = """
[[column]]
name = "{name}"
type = "{type}"
grade = "general"
grade_basis = "generated"
grade_review = "2030-01-01"
{rest}
"""


def declaration(rows: int) -> str:
    """The catalogue file: one decimal to aggregate and two integers to group by."""
    amount = 'unit = "CNY"\ndecimals = 2\nlo = 0\nhi = 10000\nuses = ["aggregate"]'
    columns = COLUMN.format(name="amount", type="decimal", rest=amount)
    for name, groups in (("narrow", NARROW), ("wide", WIDE)):
        edges = ", ".join(map(str, range(groups + 1)))
        rest = f'lo = 0\nhi = {groups}\nedges = [{edges}]\nuses = ["group_by", "filter"]'
        columns += COLUMN.format(name=name, type="integer", rest=rest)
    return DECLARATION.format(rows=rows, columns=columns)


def application() -> str:
    """The merchant's application."""
    providers = "".join(f'[[provider]]\nname = "{bureau.name}"\ndataset = "bench"\n' for bureau in BUREAUS)
    columns = '[[column]]\nname = "amount"\nuses = ["aggregate"]\n' + "".join(
        f'[[column]]\nname = "{name}"\nuses = ["group_by"]\n' for name in ("narrow", "wide")
    )
    return f"""[application]
computing_party = "{BUREAUS[0].name}"
operations = ["aggregate"]
valid_days = 1
[application.purpose]
code = "bench"
text = "Measurement."
{providers}{columns}[release]
min_group_size = 10
min_contributors = 2
[quotas]
calls = 1000
ciphertexts = 1000000
[tariff]
currency = "CNY"
per_call = 1
per_1000_rows = 0
fee_cap = 1000000
"""


def generate(rows: int, seed: int) -> pd.DataFrame:
    """One provider's rows."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "amount": random.integers(0, 1_000_001, rows) / 100,
            "narrow": random.integers(0, NARROW, rows),
            "wide": random.integers(0, WIDE, rows),
        }
    )


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock seconds of one run."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def measure(folder: Path, rows: int, repeats: int) -> dict[str, object]:
    """Build the federation, alternate both ways, return the figures."""
    clock = SystemClock()
    found_all(folder, clock)
    enrol_all(folder, clock)
    for number, bureau in enumerate(BUREAUS):
        generate(rows, SEED + number).to_parquet(folder / bureau.name / "bench.parquet", index=False)
        (folder / bureau.name / "catalog" / "bench.toml").write_text(declaration(rows))
    (folder / "application.toml").write_text(application())
    federation = DemoFederation(folder, {}, {})
    pool = str(folder / "*" / "bench.parquet")
    result: dict[str, object] = {"rows_a_provider": rows, "repeats": repeats}
    with ExitStack() as running:
        running.enter_context(federation.serving())
        merchant = running.enter_context(Merchant.open(federation.path(MERCHANT)))
        contract = merchant.apply(folder / "application.toml")
        for bureau in BUREAUS:
            run_unseen("contract", "approve", contract, "--home", str(folder / bureau.name))
        merchant.refresh(contract)
        _ = merchant.paillier_key
        database = running.enter_context(duckdb.connect())
        exact = True
        for name, groups in (("narrow", NARROW), ("wide", WIDE)):
            ours, baseline, agree = _alternate(merchant, contract, database, name, pool, repeats)
            exact = exact and agree
            result[f"joint_{groups}_s"] = round(ours, 4)
            result[f"duckdb_{groups}_s"] = round(baseline, 4)
            result[f"ratio_{groups}"] = round(ours / baseline, 2)
        result["duckdb_threads"] = database.execute("SELECT current_setting('threads')").fetchone()[0]  # type: ignore[index]
    return {**result, "exact": exact}


def _alternate(
    merchant: Merchant, contract: str, database: duckdb.DuckDBPyConnection, name: str, pool: str, repeats: int
) -> tuple[float, float, bool]:
    """Median seconds of ours and of the baseline, and whether their figures are the same."""
    query = (
        f"SELECT {name}, count(*), sum(round(amount * 100)::BIGINT) FROM read_parquet('{pool}') "
        f"GROUP BY {name} ORDER BY {name}"
    )

    def joint() -> AggregateResult:
        return merchant.aggregate(contract, statistics=["count", "sum(amount)"], by=[name])

    def pooled() -> list[tuple[int, ...]]:
        return database.execute(query).fetchall()

    ours, baseline = [], []
    for _ in range(repeats):
        ours.append(seconds(joint))
        baseline.append(seconds(pooled))
    exact = joint().exact
    agree = [row[1:] for row in pooled()] == list(zip(exact["rows"], exact["sum(amount)"], strict=True))
    return statistics.median(ours), statistics.median(baseline), agree


def main() -> int:
    """Print the figures; exit 1 unless both ways agree to the last digit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each of the four providers")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.rows, options.repeats)
    if options.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        sys.stdout.write("".join(f"{name:18} {value}\n" for name, value in figures.items()))
    return 0 if figures["exact"] else 1


if __name__ == "__main__":
    sys.exit(main())
