"""Backups taken while real processes answer calls: each is of one moment, and its party goes on from there."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from audit.entry import Outcome, decode_entry
from audit.ledger import open_reader
from audit.spot_check import spot_check
from audit.verify import verify_database
from parties.demo_processes import COMMAND
from parties.home import Home
from parties.restore import restore
from sandbox.vault import Vault, VaultKind

from .town import BUREAUS, CLOCK, REGULATOR, Town, build, eventually, signal_process

EAST = BUREAUS[0]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A town of its own: one of its parties is lost and comes back from a backup."""
    running = build(tmp_path_factory.mktemp("backups"))
    try:
        yield running
    finally:
        running.close()


@contextmanager
def calling(town: Town) -> Iterator[list[int]]:
    """Calls one after the other in the background; yields how many receipts each brought."""
    contract, stop, answered = town.shared_contract, threading.Event(), list[int]()
    town.works()

    def call() -> None:
        while not stop.is_set():
            answered.append(len(town.merchant.aggregate(contract, statistics=["count"]).receipts))

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield answered
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def back_up(town: Town, party: str, target: Path) -> subprocess.Popen[str]:
    command = [*COMMAND, "backup", str(target), "--home", str(town.folder / party)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def is_prefix(old: Path, new: Path) -> bool:
    found, reader = spot_check(old), open_reader(new)
    try:
        return found.size <= reader.size and reader.root(found.size) == found.root
    finally:
        reader.close()


def receipts(ledger: Path) -> list[str]:
    reader = open_reader(ledger)
    try:
        entries = [decode_entry(data) for data in reader.read(0, reader.size)]
    finally:
        reader.close()
    return [entry.receipt_id for entry in entries if isinstance(entry, Outcome)]


def test_every_backup_of_a_working_party_is_a_prefix_with_all_that_it_mentions(town: Town, tmp_path: Path) -> None:
    sizes = set()
    with calling(town) as answered:
        for number in range(3):
            party = (EAST, REGULATOR, EAST)[number]
            before = len(answered)
            process = back_up(town, party, tmp_path / f"{number}.tar")
            _, told = process.communicate(timeout=60)
            assert process.returncode == 0, told
            eventually(lambda before=before: len(answered) > before)
            restored = tmp_path / str(number)
            restore(tmp_path / f"{number}.tar", restored, clock=CLOCK)
            assert verify_database(restored, directory=town.directory).verified
            assert is_prefix(restored / "ledger.db", town.folder / party / "ledger.db")
            with Vault.open(restored / "vault.db") as vault:
                for receipt in receipts(restored / "ledger.db"):
                    assert vault.get(VaultKind.RECEIPT, receipt) is not None
            sizes.add((party, spot_check(restored / "ledger.db").size))
    assert len(sizes) == 3
    assert all(count == len(BUREAUS) for count in answered), "no call was lost for a backup's sake"


def test_a_backup_that_is_killed_leaves_no_file_of_that_name(town: Town, tmp_path: Path) -> None:
    town.works()
    for _ in range(3):
        process = back_up(town, EAST, tmp_path / "b.tar")
        end = time.monotonic() + 30
        while not list(tmp_path.glob(".b.tar.*/home/ledger.db")) and time.monotonic() < end:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if not (tmp_path / "b.tar").exists():
            break
        (tmp_path / "b.tar").unlink()  # it was quicker
    assert not (tmp_path / "b.tar").exists()
    town.works()
    process = back_up(town, EAST, tmp_path / "b.tar")
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_lost_party_comes_back_from_its_backup_and_has_forgotten_no_entry(town: Town, tmp_path: Path) -> None:
    process = back_up(town, EAST, tmp_path / "b.tar")
    process.communicate(timeout=60)
    with calling(town) as answered:
        eventually(lambda: len(answered) > 3)
    home = town.folder / EAST
    size = spot_check(home / "ledger.db").size
    replica = town.folder / REGULATOR / "replicas" / EAST / "ledger.db"
    eventually(lambda: spot_check(replica).size >= size)
    signal_process(town.processes[EAST].pid, signal.SIGKILL)
    town.processes[EAST].stop()
    home.rename(town.folder / "lost")
    restore(tmp_path / "b.tar", home, clock=CLOCK)
    shutil.copytree(town.folder / "lost" / "data", home / "data")
    assert spot_check(home / "ledger.db").size < size

    with town.without(REGULATOR):
        town.processes[EAST].launch()
        process_of_east = town.processes[EAST]
        eventually(lambda: "restored from a backup" in home.with_suffix(".log").read_text())
        process_of_east.stop()
        assert Home.open(home).restored_path.exists()

    town.processes[EAST].start()
    assert not Home.open(home).restored_path.exists()
    assert is_prefix(town.folder / "lost" / "ledger.db", home / "ledger.db")
    town.works()
    town.verify()
