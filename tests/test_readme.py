"""The README's section "A federation by hand", run as written: six homes, six processes, shell, Python, notebook."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "examples" / "joint_wages.ipynb"
FIRST_PORT = 7440
PORTS = 5
EXECUTE = f"""
import os, sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read({str(NOTEBOOK)!r}, as_version=4)
NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
nbformat.write(notebook, "executed.ipynb")
"""


def blocks(readme: Path) -> list[tuple[str, str]]:
    """The fenced blocks of a README, as (language, text)."""
    return re.findall(r"^```(bash|python)\n(.*?)^```", readme.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def free_ports(count: int) -> int:
    """The first of `count` consecutive free ports of the loopback interface."""
    for first in range(20_000 + os.getpid() % 10_000, 60_000, count):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for offset, probe in enumerate(sockets):
                probe.bind(("127.0.0.1", first + offset))
        except OSError:
            continue
        else:
            return first
        finally:
            for probe in sockets:
                probe.close()
    raise AssertionError("no free ports")


def script(readme: Path, first_port: int) -> str:
    """One shell script of all blocks, in order, the notebook executed after the Python one."""
    lines = ["set -euo pipefail", "set -m", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for language, text in blocks(readme):
        if language == "python":
            lines.append(f"python - <<'PYTHON'\n{text}PYTHON")
            lines.append(f"UNSEEN_HOME=merchant python - <<'PYTHON'\n{EXECUTE}PYTHON")
        else:
            lines.append(re.sub(r"\b74[0-9]{2}\b", lambda port: str(int(port[0]) - FIRST_PORT + first_port), text))
    return "\n".join(lines).replace("\nwait\n", "\nwait || true\n")


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("by-hand")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    unwanted = ("UNSEEN_", "MPL", "LC_", "LANG")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "-c", script(ROOT / "README.md", free_ports(PORTS))],
        cwd=folder,
        env={**environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return folder, done


@pytest.mark.timeout(300)
def test_every_command_of_the_readme_succeeds(by_hand: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    _, done = by_hand
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.timeout(300)
def test_shell_and_python_show_joint_wages(by_hand: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    _, done = by_hand
    assert "[8, 12)\tcauc\tno\t2711\t489.97\t4" in done.stdout
    assert "[0, 8)\tafam\tyes\tclosed\tclosed\t0" in done.stdout
    assert "mean(wage)" in done.stdout
    assert "CNY" in done.stdout


@pytest.mark.timeout(300)
def test_every_ledger_verifies_at_the_end(by_hand: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = by_hand
    assert done.stdout.count("verified     yes") == 7
    assert done.stdout.count("anchored     yes") == 1
    for party in ("regulator", "northeast", "midwest", "south", "west", "merchant"):
        verify = subprocess.run(
            [sys.executable, "-m", "audit", "verify", str(folder / party), "--json"], capture_output=True, check=False
        )
        assert verify.returncode == 0, verify.stdout


@pytest.mark.timeout(300)
def test_the_notebook_runs_and_shows_a_picture(by_hand: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = by_hand
    executed = nbformat.read(folder / "executed.ipynb", as_version=4)
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("4 providers" in str(output.get("data", {}).get("text/html", "")) for output in outputs)


def test_the_committed_notebook_is_executed() -> None:
    committed = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.execution_count is not None for cell in code)


def test_both_readmes_have_the_same_commands() -> None:
    english, chinese = (
        [re.sub(r'--reason "[^"]*"', "--reason", text) for _, text in blocks(ROOT / name)]
        for name in ("README.md", "README.zh-CN.md")
    )
    assert english == chinese
