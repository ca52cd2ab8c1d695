"""`unseen demo --json`, as a process: what it prints, what it leaves, and that it fails when a claim does not hold."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from parties.demo import DemoReport

DENIED = {"column", "replay", "quota", "group_size", "identifying", "certificate", "swapped_key"}
BUREAUS = {"northeast", "midwest", "south", "west"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("demo") / "homes"
    done = subprocess.run(
        [sys.executable, "-m", "parties.cli", "demo", "--json", "--keep", str(folder)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return folder, done


@pytest.mark.timeout(200)
def test_stdout_is_one_json_object_and_everything_holds(
    demo: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    _, done = demo
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert (report["providers"], report["rows"], report["groups"]) == (4, 28155, 16)
    assert report["max_abs_error"] == 0
    assert report["closed"] >= 1
    assert report["withheld_by_some"] >= 1
    assert set(report["denied"]) == DENIED
    assert set(report["ledgers"]) == BUREAUS | {"merchant", "regulator"}
    assert all(ledger["verified"] for ledger in report["ledgers"].values())


@pytest.mark.timeout(200)
def test_each_refusal_has_its_reason_and_clause(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    denied = json.loads(demo[1].stdout)["denied"]
    assert denied == {
        "column": "COLUMN_NOT_PERMITTED uses.smsa",
        "replay": "REPLAYED nonce",
        "group_size": "GROUP_SIZE_TOO_SMALL release.min_group_size",
        "identifying": "IDENTIFYING_COLUMN uses.region",
        "certificate": "CERTIFICATE_REFUSED tls.ours",
        "swapped_key": "KEY_MISMATCH authorise.key",
        "quota": "QUOTA_EXHAUSTED quotas.calls",
    }


@pytest.mark.timeout(200)
def test_the_providers_amounts_add_up_to_the_merchants(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    statement = json.loads(demo[1].stdout)["statement"]
    micro = {name: int(amount.replace(".", "")) for name, amount in statement["providers"].items()}
    assert set(micro) == BUREAUS
    assert sum(micro.values()) == int(statement["merchant"].replace(".", "")) > 0


@pytest.mark.timeout(200)
def test_it_leaves_six_homes_whose_keys_are_private(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = demo
    for party in BUREAUS | {"merchant", "regulator"}:
        assert (folder / party / "ledger.db").is_file()
        for key in (folder / party / "keys").iterdir():
            assert key.stat().st_mode & 0o077 == 0


def test_the_demo_fails_when_a_figure_is_off() -> None:
    report = DemoReport(
        closed=1,
        partly_withheld=1,
        max_abs_error=0.01,
        denied=dict.fromkeys(DENIED, "X y"),
        ledgers={name: {"verified": True, "entries": 1} for name in BUREAUS | {"merchant", "regulator"}},
        merchant_total_micro=4,
        provider_totals_micro=dict.fromkeys(BUREAUS, 1),
    )
    assert report.failures() == ["every joint figure equals the pooled one"]
    report.max_abs_error = 0.0
    assert report.failures() == []
    report.ledgers["west"] = {"verified": False, "entries": 1}
    assert report.failures() == ["every ledger verifies"]
