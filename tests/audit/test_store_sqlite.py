"""The SQLite store: what it promises to the sequencer."""

import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from audit.chain import CHAIN_START
from audit.errors import LedgerDamagedError, LedgerUnavailableError
from audit.store import Batch, Head, StoredCheckpoint
from audit.store_sqlite import SqliteReader, SqliteStore, has_live_files, open_sqlite_reader

HEAD = Head(2, b"\x05" * 32)
BATCH = Batch(0, [b"one", b"two"], [("k", 1)], [(0, 0, b"\x01" * 64)], HEAD)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    store.close()


def test_a_new_store_is_empty_private_and_in_wal_mode(store: SqliteStore, path: Path) -> None:
    assert store.head() == Head(0, CHAIN_START)
    assert store.bounds() is None
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        assert stat.S_IMODE((path.parent / name).stat().st_mode) == 0o600
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_batch_is_read_back_after_reopening(store: SqliteStore, path: Path) -> None:
    with store.transaction():
        store.add(BATCH)
        store.add_checkpoint(StoredCheckpoint(2, b"note"))
    store.close()
    again = SqliteStore(path)
    assert again.head() == HEAD
    assert list(again.entries(0, 9)) == [(0, b"one"), (1, b"two")]
    assert again.tile(0, 0) == b"\x01" * 64
    assert again.tile(0, 1) == b""
    assert (again.find("k"), again.find("other")) == (1, None)
    assert list(again.checkpoints()) == [again.latest_checkpoint()] == [StoredCheckpoint(2, b"note")]
    again.close()


def test_a_transaction_that_raises_leaves_nothing(store: SqliteStore) -> None:
    wrong_tile = [(0, 0, "text where bytes belong")]
    with pytest.raises(LedgerUnavailableError), store.transaction():
        store.add(replace(BATCH, tiles=wrong_tile))  # type: ignore[arg-type]
    assert store.head() == Head(0, CHAIN_START)
    assert list(store.entries(0, 9)) == []


def test_a_second_checkpoint_of_one_size_is_refused(store: SqliteStore) -> None:
    with store.transaction():
        store.add_checkpoint(StoredCheckpoint(2, b"note"))
    with pytest.raises(LedgerUnavailableError), store.transaction():
        store.add_checkpoint(StoredCheckpoint(2, b"other"))
    assert store.latest_checkpoint() == StoredCheckpoint(2, b"note")


def test_checkpoints_are_read_from_either_end_and_by_size(store: SqliteStore) -> None:
    notes = [StoredCheckpoint(size, f"note {size}".encode()) for size in range(1, 600)]
    with store.transaction():
        for note in notes:
            store.add_checkpoint(note)
    assert list(store.checkpoints()) == notes
    assert list(store.checkpoints_backwards()) == notes[::-1]
    assert (store.checkpoint(7), store.checkpoint(600)) == (notes[6], None)


def test_a_note_is_replaced_by_one_of_its_size(store: SqliteStore) -> None:
    with store.transaction():
        store.add_checkpoint(StoredCheckpoint(2, b"note"))
        store.add_checkpoint(StoredCheckpoint(3, b"other"))
    with store.transaction():
        store.replace_checkpoint(StoredCheckpoint(2, b"note with a line more"))
    assert list(store.checkpoints()) == [StoredCheckpoint(2, b"note with a line more"), StoredCheckpoint(3, b"other")]


def test_keys_are_found_by_their_beginning_in_the_order_of_their_entries(store: SqliteStore) -> None:
    keys = [("a:1", 5), ("a:2", 3), ("b:1", 1), ("a", 0), ("a;", 2)]
    with store.transaction():
        store.add(replace(BATCH, keys=keys))
    assert store.keys_under("a:") == [("a:2", 3), ("a:1", 5)]
    assert [key for key, _ in store.keys_under("")] == ["a", "b:1", "a;", "a:2", "a:1"]


def test_a_reader_sees_whole_transactions_of_a_live_writer(store: SqliteStore, path: Path) -> None:
    reader = open_sqlite_reader(path)
    with store.transaction():
        store.add(BATCH)
        assert reader.head().size == 0
    assert reader.head() == HEAD
    reader.close()


def test_a_snapshot_stands_still(store: SqliteStore, path: Path) -> None:
    reader = SqliteReader(path)
    with reader.snapshot():
        assert reader.head().size == 0
        with store.transaction():
            store.add(BATCH)
        assert reader.head().size == 0
    assert reader.head().size == 2
    reader.close()


def test_a_reader_cannot_write(store: SqliteStore, path: Path) -> None:
    reader = SqliteReader(path)
    with pytest.raises(LedgerUnavailableError):
        reader._run("DELETE FROM entries")
    reader.close()


def test_reading_a_closed_ledger_leaves_no_file_behind(store: SqliteStore, path: Path) -> None:
    store.close()
    assert not has_live_files(path)
    open_sqlite_reader(path).close()
    assert [each.name for each in path.parent.iterdir()] == ["ledger.db"]


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + bytes(4000)])
def test_a_file_that_is_no_ledger_is_damage(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(LedgerDamagedError):
        open_sqlite_reader(path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailableError, match="nowhere"):
        SqliteStore(tmp_path / "nowhere" / "ledger.db")
    with pytest.raises(LedgerUnavailableError, match="nowhere"):
        open_sqlite_reader(tmp_path / "nowhere" / "ledger.db")


@pytest.mark.parametrize(("name", "value"), [("schema_version", "2"), ("hash", "sm3"), ("format", "other")])
def test_another_format_is_refused_with_its_name(store: SqliteStore, path: Path, name: str, value: str) -> None:
    store._run("UPDATE meta SET value = ? WHERE name = ?", (value, name))
    with pytest.raises(LedgerUnavailableError):
        SqliteReader(path)
