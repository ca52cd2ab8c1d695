from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sandbox.errors import VaultError
from sandbox.vault import Vault, VaultKind


def test_what_was_put_is_there_after_a_restart(tmp_path: Path) -> None:
    with Vault.open(tmp_path / "vault.db") as vault:
        vault.put(VaultKind.RECEIPT, "r1", b"first")
        vault.put(VaultKind.RECEIPT, "r1", b"second")
        vault.put(VaultKind.MESSAGE, "r1", b"another kind")
    with Vault.open(tmp_path / "vault.db") as vault:
        assert vault.get(VaultKind.RECEIPT, "r1") == b"second"
        assert vault.get(VaultKind.MESSAGE, "r1") == b"another kind"
        assert vault.get(VaultKind.MESSAGE, "r2") is None


def test_a_put_survives_the_death_of_its_process(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from sandbox.vault import Vault, VaultKind\n"
        "vault = Vault.open(Path(sys.argv[1])); vault.put(VaultKind.OPENINGS, 'a', b'kept')\n"
        "with vault.transaction():\n"
        "    vault.put(VaultKind.OPENINGS, 'b', b'not committed')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "vault.db"
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -9
    with Vault.open(path) as vault:
        assert vault.items(VaultKind.OPENINGS) == [("a", b"kept")]


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    path.touch(mode=0o644)
    with Vault.open(path) as vault:
        vault.put(VaultKind.OPENINGS, "a", b"secret")
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    with Vault.open(tmp_path / "vault.db") as vault:
        vault.put(VaultKind.CONTRACT, "a", b"before")

        def fail() -> None:
            with vault.transaction():
                vault.put(VaultKind.CONTRACT, "a", b"after")
                vault.delete(VaultKind.CONTRACT, "a")
                with vault.transaction():
                    vault.put(VaultKind.CONTRACT, "b", b"nested")
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert vault.items(VaultKind.CONTRACT) == [("a", b"before")]


def test_items_are_ordered_and_chosen_by_prefix(tmp_path: Path) -> None:
    with Vault.open(tmp_path / "vault.db") as vault:
        for name in ("call/2", "call/1", "calls", "other", "call%"):
            vault.put(VaultKind.MESSAGE, name, name.encode())
        assert [name for name, _ in vault.items(VaultKind.MESSAGE, "call/")] == ["call/1", "call/2"]
        assert [name for name, _ in vault.items(VaultKind.MESSAGE)] == ["call%", "call/1", "call/2", "calls", "other"]


def test_threads_share_one_vault(tmp_path: Path) -> None:
    with Vault.open(tmp_path / "vault.db") as vault:

        def write(number: int) -> None:
            for step in range(10):
                with vault.transaction():
                    vault.put(VaultKind.OUTBOX, f"{number}/{step}/a", b"1")
                    vault.put(VaultKind.OUTBOX, f"{number}/{step}/b", b"2")

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(vault.items(VaultKind.OUTBOX)) == 80


def test_a_file_that_is_no_vault_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    path.write_bytes(b"this is not SQLite" * 100)
    with pytest.raises(VaultError, match="not a vault"):
        Vault.open(path)


def test_a_vault_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    Vault.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=2")
    connection.close()
    with pytest.raises(VaultError, match="version 2"):
        Vault.open(path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(VaultError, match="missing"):
        Vault.open(tmp_path / "missing" / "vault.db")


def test_a_closed_vault_answers_with_our_error(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path / "vault.db")
    vault.close()
    vault.close()
    with pytest.raises(VaultError):
        vault.get(VaultKind.RECEIPT, "a")
    with pytest.raises(VaultError):
        vault.put(VaultKind.RECEIPT, "a", b"")
