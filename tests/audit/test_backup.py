"""Copies of databases that are in use."""

import shutil
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from audit.backup import copy_database
from audit.errors import CopyFailedError
from audit.ledger import Draft, LedgerConfig, open_reader
from audit.verify import verify_database
from tests.audit.ledgers import append_many, entry, make, open_ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies" / "copy.db"


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_copy_of_a_closed_ledger_verifies_and_nothing_else_is_left(path: Path, target: Path) -> None:
    make(path, 300)
    before = (names(path.parent), path.read_bytes())
    copy_database(path, target)
    assert (names(path.parent), path.read_bytes()) == before
    assert names(target.parent) == ["copy.db"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert verify_database(target) == verify_database(path)
    with open_ledger(target) as ledger:
        append_many(ledger, range(300, 302))
        assert ledger.size == 303


def test_a_copy_of_a_live_ledger_has_the_entries_that_a_copy_of_the_file_loses(path: Path, target: Path) -> None:
    make(path, 5)
    with open_ledger(path) as ledger:
        append_many(ledger, range(5, 50))
        copy_database(path, target)
        plain = target.with_name("plain.db")
        shutil.copy(path, plain)
    with open_reader(plain) as reader:
        assert reader.size == 6
    with open_reader(target) as reader:
        assert reader.size == 51
    assert verify_database(target).verified


def test_a_copy_is_one_state_of_a_ledger_that_is_being_written(path: Path, target: Path) -> None:
    stop = threading.Event()
    config = LedgerConfig(checkpoint_entries=20, checkpoint_idle_ms=1, seal_entries=30, flush_ms=0)
    with open_ledger(path, config=config) as ledger:
        append_many(ledger, range(200))

        def write() -> None:
            number = 200
            while not stop.is_set():
                ledger.append(Draft(entry(number), (f"number:{number}",)))
                number += 1

        writing = threading.Thread(target=write)
        writing.start()
        try:
            sizes = []
            for number in range(5):
                copy = target.with_name(f"{number}.db")
                before = ledger.size
                copy_database(path, copy)
                with open_reader(copy) as reader:
                    assert before <= reader.size <= ledger.size
                    sizes.append(reader.size)
                assert verify_database(copy).verified
        finally:
            stop.set()
            writing.join()
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0]


def test_a_ledger_whose_writer_died_is_copied_with_what_it_had_recorded(path: Path, target: Path) -> None:
    with open_ledger(path) as ledger:
        append_many(ledger, range(9))
        dead = path.with_name("dead.db")
        for name in ("", "-wal"):
            shutil.copy(f"{path}{name}", f"{dead}{name}")
    copy_database(dead, target)
    with open_reader(target) as reader:
        assert reader.size == 10


def test_a_copy_overwrites_nothing(path: Path, target: Path) -> None:
    make(path, 1)
    target.write_bytes(b"kept")
    with pytest.raises(CopyFailedError, match="overwrites nothing"):
        copy_database(path, target)
    assert target.read_bytes() == b"kept"


def test_what_cannot_be_copied_leaves_no_file(path: Path, target: Path) -> None:
    with pytest.raises(CopyFailedError, match="no database"):
        copy_database(path, target)
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(CopyFailedError, match="verify the source"):
        copy_database(path, target)
    with pytest.raises(CopyFailedError, match="folder"):
        copy_database(path, target.parent / "nowhere" / "copy.db")
    assert names(target.parent) == []


def test_any_database_is_copied(path: Path, target: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE item (value)")
        connection.execute("INSERT INTO item VALUES (7)")
    connection.close()
    copy_database(path, target)
    copied = sqlite3.connect(target)
    assert copied.execute("SELECT value FROM item").fetchall() == [(7,)]
    copied.close()
