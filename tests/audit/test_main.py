"""`python -m audit verify`: exit codes, output, and that audit's own dependencies are enough."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from audit.__main__ import main
from audit.directory import KeyStatus, sign_directory
from audit.entry import Side
from audit.names import KeyPurpose
from tests.audit.cosigned import AT_S, CosignedLedger, listing, record
from tests.audit.ledgers import append_many, calls, edit, make, make_with_receipts, open_ledger
from tests.audit.samples import AT_MS, directory, signing_key

REGULATOR_VKEY = signing_key("watch", KeyPurpose.MESSAGE).verifying_key.vkey()

ONLY_AUDITS_DEPENDENCIES = """
import runpy, sys
ALLOWED = {"audit", "nacl", "cryptography", "cffi", "_cffi_backend", "pycparser"}
class OnlyAudit:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and top not in sys.stdlib_module_names:
            raise ImportError(f"{name} is none of audit's dependencies")
for name in [each for each in sys.modules if each.partition(".")[0] not in sys.stdlib_module_names]:
    del sys.modules[name]
sys.meta_path.insert(0, OnlyAudit())
sys.argv = ["audit", *sys.argv[1:]]
try:
    runpy.run_module("audit", run_name="__main__")
finally:
    for heavy in ("grpc", "torch", "pandas", "duckdb", "pyarrow", "numpy", "phe", "gmpy2"):
        assert heavy not in sys.modules, heavy
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "east"
    home.mkdir()
    return home


def add_directory(home: Path, *, pinned: bool = True) -> Path:
    path = home / "directory.dsse"
    path.write_bytes(sign_directory(directory(), signing_key("watch")).encode())
    if pinned:
        (home / "party.toml").write_text(f'name = "east"\n[regulator]\nvkey = "{REGULATOR_VKEY}"\n')
    return path


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, object]]:
    code = main(["verify", *map(str, arguments), "--json"])
    report: dict[str, object] = json.loads(capsys.readouterr().out)
    return code, report


def test_a_home_verifies_with_its_own_directory_and_pinned_regulator(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_with_receipts(home / "ledger.db", 2)
    add_directory(home)
    code, report = run_json(capsys, home)
    assert (code, report["verified"], report["party"], report["entries"]) == (0, True, "east", 10)
    assert main(["verify", str(home)]) == 0
    assert "signatures checked" in capsys.readouterr().out


def test_a_database_alone_verifies_without_receipts_signatures(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_with_receipts(home / "ledger.db", 2)
    assert main(["verify", str(home / "ledger.db")]) == 0
    assert "signatures not checked" in capsys.readouterr().out


def test_a_given_directory_and_key_are_used(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_with_receipts(home / "ledger.db", 1)
    path = add_directory(home, pinned=False)
    code, _ = run_json(capsys, home / "ledger.db", "--directory", path, "--regulator-vkey", REGULATOR_VKEY)
    assert code == 0


def test_a_witness_checkpoint_anchors(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = home / "witnessed"
    note.write_bytes(make(home / "ledger.db", 5))
    make(home / "ledger.db", 5, first=5)
    code, report = run_json(capsys, home, "--witness-checkpoint", note)
    assert (code, report["anchored"]) == (0, True)


def test_the_text_tells_witnesses_and_what_is_not_counted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with CosignedLedger(home / "ledger.db") as east:
        east.write(*calls(Side.PROVIDER, 1)).seen(AT_S)
    stolen = ("east", record("east", KeyPurpose.MESSAGE, KeyStatus.REVOKED, until_ms=AT_MS))
    signed = sign_directory(listing(stolen), signing_key("watch"))
    (home / "directory.dsse").write_bytes(signed.encode())
    (home / "party.toml").write_text(f'name = "east"\n[regulator]\nvkey = "{REGULATOR_VKEY}"\n')
    assert main(["verify", str(home)]) == 0
    text = capsys.readouterr().out
    assert "cosigned     7 entries by watch at 2025-10-09 08:53:20 UTC\n" in text
    assert "not counted  1 entries that no witness had seen before: 5\n" in text


def test_damage_exits_5_with_kind_and_place(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(home / "ledger.db", 9)
    edit(home / "ledger.db", "DELETE FROM entries WHERE idx = 4")
    code, report = run_json(capsys, home)
    assert (code, report["verified"], report["damage"], report["index"]) == (5, False, "deleted", 4)
    assert main(["verify", str(home)]) == 5
    assert "NO: deleted, first bad entry 4" in capsys.readouterr().out


def test_a_corrupt_database_exits_5(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "ledger.db").write_bytes(b"\x00" * 5000)
    code, report = run_json(capsys, home)
    assert (code, report["damage"]) == (5, "unreadable")


def test_what_cannot_be_carried_out_exits_6(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_json(capsys, home)[0] == 6
    assert run_json(capsys, home / "nothing")[0] == 6
    make(home / "ledger.db", 2)
    path = add_directory(home, pinned=False)
    other = signing_key("north").verifying_key.vkey()
    for arguments in (
        ["--directory", path],
        ["--directory", home / "missing", "--regulator-vkey", REGULATOR_VKEY],
        ["--directory", path, "--regulator-vkey", other],
        ["--directory", path, "--regulator-vkey", "no key"],
        ["--directory", home / "ledger.db", "--regulator-vkey", REGULATOR_VKEY],
        ["--witness-checkpoint", home / "missing"],
        ["--witness-checkpoint", home / "ledger.db"],
    ):
        assert run_json(capsys, home, *arguments)[0] == 6
    (home / "party.toml").write_text("not toml")
    assert run_json(capsys, home)[0] == 6


def test_wrong_usage_exits_2() -> None:
    for arguments in ([], ["verify"], ["verify", "x", "--unknown"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2


def test_it_runs_with_audits_dependencies_alone_on_a_live_ledger(home: Path) -> None:
    add_directory(home)
    with open_ledger(home / "ledger.db") as ledger:
        append_many(ledger, range(300))
        before = sorted(each.name for each in home.iterdir())
        finished = subprocess.run(
            [sys.executable, "-c", ONLY_AUDITS_DEPENDENCIES, "verify", str(home), "--json"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert sorted(each.name for each in home.iterdir()) == before
        ledger.checkpoint()
    assert (finished.returncode, finished.stderr) == (0, "")
    assert json.loads(finished.stdout)["entries"] == 301


def test_the_blocker_of_the_test_above_blocks(tmp_path: Path) -> None:
    script = ONLY_AUDITS_DEPENDENCIES.replace('runpy.run_module("audit", run_name="__main__")', "import gmpy2")
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert finished.returncode != 0
    assert "none of audit's dependencies" in finished.stderr
