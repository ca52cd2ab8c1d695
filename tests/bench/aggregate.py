"""`python -m tests.bench.aggregate --json`: a joint group-by over real processes, against one DuckDB query on the pool.

Four providers over Parquet, each a process of its own, mutual TLS, 3072-bit keys, fsync on; a fresh nonce a call, the
key made before, no cache of results. Count, sum and variance of a double, an integer and a decimal column, by 10 and by
1,000 groups. The baseline is one DuckDB query over all files on the same machine. Ours with the overlap guard (k = 10),
ours without it and the baseline alternate; figures are medians. Rows come from a seed.

`provider_rss_mb` is the largest resident set that any provider's process reached during all calls (VmHWM, set back when
they begin), less that of a process that does nothing but the same scans. `--profile` runs each question once more with
clocks around what a provider does, and says where its seconds went.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from audit.clock import SystemClock
from parties import Merchant
from parties.client.result import AggregateResult
from parties.demo_data import BUREAUS
from parties.demo_federation import MERCHANT, REGULATOR, enrol_all, found_all
from parties.demo_processes import ServedParty, run_unseen

GROUPS = {"narrow": 10, "wide": 1_000}
GUARDED, FREE = "guarded", "free"
OVERLAP_K = 10
SEED = 1988
STATISTICS = ["count", *(f"{kind}({name})" for kind in ("sum", "variance") for name in "abc")]

DECLARATION = """[dataset]
name = "{name}"
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
min_group_size = {group_size}
min_contributors = 2
overlap_k = {overlap_k}

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


def declaration(name: str, rows: int, overlap_k: int) -> str:
    """The catalogue file: three columns to aggregate and two integers to group by."""
    columns = ""
    for column, kind, decimals, lo, hi in (
        ("a", "decimal", 2, 0, 10_000),
        ("b", "integer", 0, 0, 5_000),
        ("c", "decimal", 3, -5_000, 5_000),
    ):
        rest = f'decimals = {decimals}\nlo = {lo}\nhi = {hi}\nuses = ["aggregate"]'
        columns += COLUMN.format(name=column, type=kind, rest=rest)
    for column, groups in GROUPS.items():
        edges = ", ".join(map(str, range(groups + 1)))
        rest = f'lo = 0\nhi = {groups}\nedges = [{edges}]\nuses = ["group_by", "filter"]'
        columns += COLUMN.format(name=column, type="integer", rest=rest)
    size = 10 if rows >= 100_000 else 1
    return DECLARATION.format(name=name, rows=rows, group_size=size, overlap_k=overlap_k, columns=columns)


def application(dataset: str, overlap_k: int) -> str:
    """The merchant's application for one of the two datasets of every bureau."""
    providers = "".join(f'[[provider]]\nname = "{bureau.name}"\ndataset = "{dataset}"\n' for bureau in BUREAUS)
    columns = "".join(f'[[column]]\nname = "{name}"\nuses = ["aggregate"]\n' for name in "abc")
    columns += "".join(f'[[column]]\nname = "{name}"\nuses = ["group_by"]\n' for name in GROUPS)
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
overlap_k = {overlap_k}
[quotas]
calls = 1000
ciphertexts = 1000000
[tariff]
currency = "CNY"
per_call = 1
per_1000_rows = 0
fee_cap = 1000000
"""


def generate(rows: int, seed: int) -> pa.Table:
    """One provider's rows: amounts as doubles, counts as integers, balances as decimals."""
    random = np.random.default_rng(seed)
    balance = random.integers(-5_000_000, 5_000_001, rows)
    words = np.stack([balance, np.where(balance < 0, -1, 0)], axis=1)  # decimal128, little-endian
    return pa.table(
        {
            "a": random.integers(0, 1_000_001, rows) / 100,
            "b": random.integers(0, 5_001, rows),
            "c": pa.Array.from_buffers(pa.decimal128(12, 3), rows, [None, pa.py_buffer(words.tobytes())]),
            **{name: random.integers(0, groups, rows) for name, groups in GROUPS.items()},
        }
    )


class TimedParty(ServedParty):
    """A served party with clocks around what it does; they are read from `<home>.clocks.json` when it has ended."""

    command = (sys.executable, "-m", "tests.bench.timed_serve")


@dataclass(frozen=True)
class Bench:
    """A running federation with a contract over each dataset, and a connection for the baseline."""

    folder: Path
    rows: int
    repeats: int
    merchant: Merchant
    contracts: Mapping[str, str]
    database: duckdb.DuckDBPyConnection
    served: tuple[ServedParty, ...]

    @property
    def pool(self) -> str:
        """All providers' files."""
        return str(self.folder / "*" / "bench.parquet")

    def joint(self, dataset: str, by: str) -> AggregateResult:
        """Ask all providers."""
        return self.merchant.aggregate(self.contracts[dataset], statistics=STATISTICS, by=[by])

    def pooled(self, by: str) -> object:
        """Ask DuckDB over all rows."""
        figures = ", ".join(f"sum({name}), var_samp({name})" for name in "abc")
        return self.database.execute(
            f"SELECT {by}, count(*), {figures} FROM read_parquet('{self.pool}') GROUP BY {by} ORDER BY {by}"
        ).fetchall()

    def measure(self, by: str) -> dict[str, object]:
        """Alternate the ways and return medians and ratios."""
        ways: dict[str, Callable[[], object]] = {
            "guarded": lambda: self.joint(GUARDED, by),
            "unguarded": lambda: self.joint(FREE, by),
            "duckdb": lambda: self.pooled(by),
        }
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(self.repeats):
            for way, run in ways.items():
                started = time.perf_counter()
                run()
                taken[way].append(time.perf_counter() - started)
        medians = {way: statistics.median(seconds) for way, seconds in taken.items()}
        groups = GROUPS[by]
        return {
            f"ratio_{groups}": round(medians["guarded"] / medians["duckdb"], 2),
            f"ratio_{groups}_unguarded": round(medians["unguarded"] / medians["duckdb"], 2),
            **{f"{way}_{groups}_s": round(seconds, 3) for way, seconds in medians.items()},
        }

    def is_exact(self, by: str) -> bool:
        """Whether every sum and sum of squares is the pool's, in integers; a closed cell is not."""
        units = {"a": "round(a * 100)::BIGINT", "b": "b", "c": "(c * 1000)::BIGINT"}
        names = ["rows", *(f"{kind}" for name in "abc" for kind in (f"sum({name})", f"product({name},{name})"))]
        sums = ", ".join(f"sum({unit}), sum({unit}::HUGEINT * {unit})" for unit in units.values())
        wanted = self.database.execute(
            f"SELECT count(*), {sums} FROM read_parquet('{self.pool}') GROUP BY {by} ORDER BY {by}"
        ).fetchall()
        return all(
            [tuple(map(int, row)) for row in wanted]
            == list(zip(*(self.joint(dataset, by).exact[name] for name in names), strict=True))
            for dataset in self.contracts
        )

    def threads(self) -> int:
        """DuckDB threads of the baseline."""
        return int(self.database.execute("SELECT current_setting('threads')").fetchall()[0][0])


def reset_peak(pid: int) -> None:
    """Have the kernel count a process's largest resident set from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mb(pid: int) -> float:
    """The largest resident set of a process since its start or `reset_peak`, in MB of 10^6 bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def scan_alone(folder: Path) -> None:
    """What a provider's scans are, and nothing else: the figures' own process, which prints its peak in MB."""
    from sandbox.cells import CellPlan  # noqa: PLC0415 - a process that measures loads what it measures
    from sandbox.declaration import load_declaration  # noqa: PLC0415
    from sandbox.frame import Frame, FrameColumn  # noqa: PLC0415
    from sandbox.query import AggregateQuery  # noqa: PLC0415
    from sandbox.source import open_source  # noqa: PLC0415
    from sandbox.statistic import Statistic, StatisticKind  # noqa: PLC0415

    declared = load_declaration(folder / "catalog" / f"{GUARDED}.toml")
    source = open_source(declared, folder / "catalog", {})
    frame = Frame(
        tuple(
            FrameColumn(c.name, c.type, c.unit, c.decimals, c.lo, c.hi, c.domain, c.edges, c.nullable)
            for c in declared.columns
        )
    )
    for by in GROUPS:
        query = AggregateQuery(tuple(Statistic(StatisticKind.VARIANCE, name) for name in "abc"), (by,), ())
        source.totals(CellPlan(query.tables(frame), (), frame, {}, shares=False, rows=False), declared)
    sys.stdout.write(f"{peak_mb(os.getpid())}\n")


@contextmanager
def serving(folder: Path, kind: type[ServedParty]) -> Iterator[tuple[ServedParty, ...]]:
    """Run the regulator and the bureaus, each as a process, one after the other: each reads all its rows first."""
    with ExitStack() as running:
        parties = (REGULATOR, *(bureau.name for bureau in BUREAUS))
        yield tuple(running.enter_context(kind(folder / party)) for party in parties)


@contextmanager
def bench(folder: Path, options: argparse.Namespace) -> Iterator[Bench]:
    """Found, fill and serve a federation, and approve a contract over each dataset."""
    clock = SystemClock()
    found_all(folder, clock)
    enrol_all(folder, clock)
    datasets = {GUARDED: options.overlap_k, FREE: 0}
    for number, bureau in enumerate(BUREAUS):
        pq.write_table(generate(options.rows, SEED + number), folder / bureau.name / "bench.parquet")
        for dataset, overlap_k in datasets.items():
            path = folder / bureau.name / "catalog" / f"{dataset}.toml"
            path.write_text(declaration(dataset, options.rows, overlap_k))
    with ExitStack() as running:
        served = running.enter_context(serving(folder, TimedParty if options.profile else ServedParty))
        merchant = running.enter_context(Merchant.open(folder / MERCHANT))
        contracts = {}
        for dataset, overlap_k in datasets.items():
            (folder / f"{dataset}.toml").write_text(application(dataset, overlap_k))
            contracts[dataset] = merchant.apply(folder / f"{dataset}.toml")
            for bureau in BUREAUS:
                run_unseen("contract", "approve", contracts[dataset], "--home", str(folder / bureau.name))
            merchant.refresh(contracts[dataset])
        _ = merchant.paillier_key
        database = running.enter_context(duckdb.connect())
        yield Bench(folder, options.rows, options.repeats, merchant, contracts, database, served)


def clocks(folder: Path) -> dict[str, float]:
    """The mean seconds of each phase over the providers; those who combine have more."""
    totals: dict[str, float] = {}
    for bureau in BUREAUS:
        for phase, seconds in json.loads((folder / f"{bureau.name}.clocks.json").read_text()).items():
            totals[phase] = totals.get(phase, 0.0) + seconds / len(BUREAUS)
    return totals


def run(options: argparse.Namespace) -> dict[str, object]:
    """All figures."""
    result: dict[str, object] = {"rows_a_provider": options.rows, "repeats": options.repeats}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with bench(folder, options) as running:
            agree = {by: running.is_exact(by) for by in GROUPS}  # warms all up as well
            providers = [party.pid for party in running.served[1:]]
            for pid in providers:
                reset_peak(pid)
            for by in GROUPS:
                result |= running.measure(by)
            peak = max(map(peak_mb, providers))
            command = [sys.executable, "-m", "tests.bench.aggregate", "--scan-alone", str(folder / BUREAUS[0].name)]
            alone = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            result |= {
                "provider_rss_mb": round(peak - alone, 1),
                "provider_peak_mb": round(peak, 1),
                "scan_alone_peak_mb": round(alone, 1),
                "overlap_k": options.overlap_k,
                "duckdb_threads": running.threads(),
                "exact": all(agree.values()),
            }
        if options.profile:
            calls = 2 * len(GROUPS) * (options.repeats + 1)
            result["profile_ms_a_call"] = {
                phase: round(1000 * seconds / calls, 1) for phase, seconds in sorted(clocks(folder).items())
            }
    return result


def main() -> int:
    """Print the figures; exit 1 unless both ways agree to the last digit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows of each of the four providers")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--overlap-k", type=int, default=OVERLAP_K, help="of the guarded dataset")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--scan-alone", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.scan_alone is not None:
        scan_alone(options.scan_alone)
        return 0
    figures = run(options)
    if options.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        sys.stdout.write("".join(f"{name:24} {value}\n" for name, value in figures.items()))
    return 0 if figures["exact"] else 1


if __name__ == "__main__":
    sys.exit(main())
