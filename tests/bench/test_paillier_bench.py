"""The bench against phe computes rightly and reports what it must; what it measures is for `make bench`."""

import json
import subprocess
import sys

OPERATIONS = {"encrypt", "encrypt_textbook", "decrypt", "sum", "weighted_sum"}


def test_the_bench_is_right_under_both_implementations_and_reports_every_figure():
    command = [sys.executable, "-m", "tests.bench.paillier", "--json", "--quick", "--repeats", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    figures = json.loads(done.stdout)
    assert figures["correct"] is True
    assert set(figures["phe"]) == OPERATIONS
    assert set(figures["ours"]) >= OPERATIONS
    assert set(figures["ratio"]) == OPERATIONS | {"two_processes"}
    assert all(ratio > 0 for ratio in figures["ratio"].values())
    assert figures["table_mb"] is None or figures["table_mb"] <= 64
