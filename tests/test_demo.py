"""`unseen demo --json`, as a process: what it prints, what it leaves, and that it fails when a claim does not hold."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from parties.demo import TAMPERING, DemoReport
from parties.demo_audit import AuditResult
from parties.demo_tampering import Found

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
    assert {name for name, ledger in report["ledgers"].items() if ledger["anchored"]} == BUREAUS | {"merchant"}


@pytest.mark.timeout(200)
def test_each_tampering_is_named_with_its_first_index(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    report = json.loads(demo[1].stdout)
    found = report["tampering"]
    assert {name: each["damage"] for name, each in found.items()} == {
        "edit": "altered",
        "delete": "deleted",
        "insert": "inserted",
        "reorder": "reordered",
        "truncate": "truncated",
        "rewrite": "rewritten",
        "restore": "truncated",
        "fork": "forked",
    }
    assert {found[name]["index"] for name in ("edit", "delete", "insert", "reorder")} == {5}
    size = report["ledgers"]["midwest"]["entries"]
    assert 0 < found["restore"]["index"] < found["truncate"]["index"] < size
    assert 0 <= found["fork"]["index"] < size
    assert found["rewrite"]["index"] == 0


@pytest.mark.timeout(200)
def test_the_regulator_tells_and_proves(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    report = json.loads(demo[1].stdout)
    assert (report["reconciled"], report["proof_verifies"], report["restored_refuses"]) == (True, True, True)
    assert report["forks_recorded"] == 1
    assert re.fullmatch("[0-9a-f]{64}", report["omission_found"])


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
        ledgers={
            name: {"verified": True, "anchored": True, "entries": 1} for name in BUREAUS | {"merchant", "regulator"}
        },
        merchant_total_micro=4,
        provider_totals_micro=dict.fromkeys(BUREAUS, 1),
        audit=AuditResult(
            tampering={name: Found(damage, 0) for name, damage in TAMPERING.items()},
            reconciled=True,
            omission_found="ab" * 32,
            proof_verifies=True,
            restored_refuses=True,
            evidence=1,
        ),
    )
    assert report.failures() == ["every joint figure equals the pooled one"]
    report.max_abs_error = 0.0
    assert report.failures() == []
    report.ledgers["west"] = {"verified": False, "anchored": True, "entries": 1}
    assert report.failures() == ["every ledger verifies"]
    report.ledgers["west"] = {"verified": True, "anchored": False, "entries": 1}
    assert report.failures() == ["every ledger but the regulator's is anchored"]
    report.ledgers["west"] = {"verified": True, "anchored": True, "entries": 1}
    assert report.audit is not None
    report.audit.tampering["edit"] = Found("deleted", 0)
    assert report.failures() == ["the ledger after edit is found to be altered"]
