"""What opening a ledger repairs, what it refuses, and that kill -9 loses nothing that was acknowledged."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from audit.entry import Denied, decode_entry
from audit.errors import LedgerDamagedError
from audit.ledger import LedgerConfig
from audit.verify import verify_database
from tests.audit.ledgers import Versions, append_many, edit, make, open_ledger

SEALING = LedgerConfig(seal_entries=100, checkpoint_entries=150, checkpoint_idle_ms=10**9)

# Appends from several threads for as long as it lives; each number is printed once its append has returned.
WRITER = """
import itertools, sys, threading
from tests.audit.ledgers import *
config = LedgerConfig(seal_entries=50, checkpoint_entries=40, checkpoint_idle_ms=3)
ledger = open_ledger(Path(sys.argv[1]), config=config)
def work(thread):
    for number in itertools.count(int(sys.argv[2]) + thread, 6):
        ledger.append(Draft(entry(number), (f"number:{number}",)))
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
for thread in range(6):
    threading.Thread(target=work, args=(thread,)).start()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def numbers_in(path: Path) -> Counter[int]:
    with open_ledger(path) as ledger:
        entries = [decode_entry(data) for data in ledger.read(0, ledger.size)]
        numbers = [entry.count - 1 for entry in entries if isinstance(entry, Denied)]
        for index, entry in enumerate(entries):
            if isinstance(entry, Denied):
                assert ledger.find(f"number:{entry.count - 1}") == index
    return Counter(numbers)


def test_kill_9_loses_nothing_acknowledged_and_doubles_nothing(path: Path) -> None:
    acknowledged: set[int] = set()
    chance = random.Random(20)
    for life in range(6):
        with (path.parent / "acknowledged").open("w+b") as output:
            first = str(life * 1_000_000)
            writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), first], stdout=output)
            deadline = time.monotonic() + 30
            while not os.fstat(output.fileno()).st_size and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.25))
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            output.seek(0)
            lines = output.read().splitlines(keepends=True)
        acknowledged |= {int(line) for line in lines if line.endswith(b"\n")}
        assert verify_database(path).verified, "verifies as the dead writer left it"
    assert len(acknowledged) > 20
    found = numbers_in(path)
    assert acknowledged <= set(found)
    assert set(found.values()) == {1}
    assert verify_database(path).verified


@pytest.mark.parametrize("with_folds", [True, False])
@pytest.mark.parametrize(
    "harm",
    ["DELETE FROM tiles", "DELETE FROM tiles WHERE level = 1", "UPDATE tiles SET hashes = zeroblob(length(hashes))",
     "UPDATE tiles SET hashes = zeroblob(32)", "UPDATE tiles SET hashes = zeroblob(length(hashes)) WHERE level = 1"],
)  # fmt: skip
def test_tiles_are_derived_and_are_built_anew(path: Path, harm: str, with_folds: bool) -> None:
    make(path, 600, config=SEALING)
    edit(path, harm)
    assert not verify_database(path).verified
    with open_ledger(path, folds=[Versions()] if with_folds else [], config=SEALING) as ledger:
        append_many(ledger, range(600, 610))
    report = verify_database(path)
    assert (report.verified, report.damage) == (True, None)


@pytest.mark.parametrize("with_folds", [True, False])
@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE entries SET bytes = (SELECT bytes FROM entries WHERE idx = 640) WHERE idx = 645",
        "UPDATE entries SET bytes = x'7b7d' WHERE idx = 645",
        "DELETE FROM entries WHERE idx = 645",
        "DELETE FROM entries WHERE idx > 640",
        "DELETE FROM entries",
        "INSERT INTO entries SELECT idx + 1000, bytes FROM entries WHERE idx = 3",
        "UPDATE meta SET value = '5' WHERE name = 'size'",
        "UPDATE meta SET value = 'x' WHERE name = 'size'",
        "UPDATE meta SET value = hex(zeroblob(32)) WHERE name = 'chain'",
        "UPDATE checkpoints SET note = (SELECT note FROM checkpoints LIMIT 1) WHERE size > 600",
        "UPDATE checkpoints SET note = x'00' WHERE size > 600",
    ],
)
def test_nothing_is_written_on_top_of_damage(path: Path, harm: str, with_folds: bool) -> None:
    make(path, 640, config=SEALING)
    before = verify_database(path)
    assert before.verified
    edit(path, harm)
    for _ in range(2):
        with pytest.raises(LedgerDamagedError):
            open_ledger(path, folds=[Versions()] if with_folds else [], config=SEALING)
    assert not verify_database(path).verified


def test_folds_catch_damage_from_before_the_last_seal(path: Path) -> None:
    make(path, 640, config=SEALING)
    edit(path, "UPDATE entries SET bytes = (SELECT bytes FROM entries WHERE idx = 6) WHERE idx = 5")
    with pytest.raises(LedgerDamagedError):
        open_ledger(path, folds=[Versions()], config=SEALING)


def test_an_older_backup_under_newer_checkpoints_is_refused(path: Path) -> None:
    """Else the log would sign a second root for a size that it has signed before."""
    make(path, 10)
    backup = path.read_bytes()
    make(path, 10, first=10)
    newer = path.with_name("newer.db")
    path.rename(newer)
    path.write_bytes(backup)
    edit(path, f"ATTACH '{newer}' AS newer", "INSERT OR IGNORE INTO checkpoints SELECT * FROM newer.checkpoints")
    with pytest.raises(LedgerDamagedError, match="older backup"):
        open_ledger(path)


def test_a_ledger_that_died_before_its_first_entry_begins_anew(path: Path) -> None:
    path.touch(mode=0o600)
    with open_ledger(path) as ledger:
        assert ledger.size == 1
    assert verify_database(path).verified
