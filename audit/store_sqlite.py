"""The ledger's store in one SQLite file: WAL, synchronous=FULL, file mode 0600.

One connection does all writing and all WAL checkpointing; readers have connections of their own, opened read-only. A
committed transaction is on the disk before COMMIT returns (https://sqlite.org/pragma.html#pragma_synchronous).
"""

import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from audit.chain import CHAIN_START
from audit.checkpoint import MAX_SIZE
from audit.errors import LedgerDamagedError, LedgerUnavailableError
from audit.hashes import HashAlgorithm
from audit.sqlite_file import BUSY_SECONDS, create_private, own_errors
from audit.store import SCHEMA_VERSION, Batch, Head, StoredCheckpoint

FORMAT: Final = "unseen-ledger"

_CHUNK: Final = 256
_WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024
_SCHEMA: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE entries (idx INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT",
    "CREATE TABLE tiles (level INTEGER NOT NULL, idx INTEGER NOT NULL, hashes BLOB NOT NULL, PRIMARY KEY (level, idx))"
    " STRICT",
    "CREATE TABLE keys (key TEXT PRIMARY KEY, idx INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note BLOB NOT NULL) STRICT",
)


class SqliteReader:
    """Reads a ledger file; safe to share between threads.

    Args:
        path: an existing ledger file.
        immutable: read without locks and without touching the folder; right only while nobody writes.

    Raises:
        LedgerUnavailableError: the file cannot be opened.
        LedgerDamagedError: it is no SQLite file, or is corrupt.
    """

    def __init__(self, path: Path, *, immutable: bool = False) -> None:
        self._path = path
        self._lock = threading.RLock()
        uri = f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
        with self._wrapped("open"):
            self._connection = _connect(uri)
        try:
            self.head()
        except LedgerUnavailableError:
            self.close()
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside is of one moment, whatever a writer does meanwhile."""
        self._run("BEGIN")
        try:
            yield
        finally:
            with suppress(LedgerUnavailableError):
                self._run("ROLLBACK")

    def head(self) -> Head:
        """Size and chain as recorded by the last transaction."""
        meta = dict(self._run("SELECT name, value FROM meta"))
        if meta.get("format") != FORMAT or meta.get("schema_version") != str(SCHEMA_VERSION):
            raise LedgerUnavailableError(
                f"{self._path} is no ledger of schema version {SCHEMA_VERSION}: open it with the release that wrote it"
            )
        if meta.get("hash") != HashAlgorithm.SHA256.value:
            raise LedgerUnavailableError(f"{self._path} was hashed with {meta.get('hash')!r}, which this version lacks")
        try:
            return Head(int(meta["size"]), bytes.fromhex(meta["chain"]))
        except (KeyError, ValueError) as error:
            raise LedgerDamagedError(f"{self._path}: the recorded size or chain head is unreadable") from error

    def entries(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """(index, bytes) with start <= index < end, by index; read 256 at a time."""
        position = start
        while position < end:
            rows = self._run(
                "SELECT idx, CAST(bytes AS BLOB) FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx LIMIT ?",
                (position, end, _CHUNK),
            )
            for index, data in rows:
                yield index, data or b""
            if len(rows) < _CHUNK:
                return
            position = rows[-1][0] + 1

    def bounds(self) -> tuple[int, int] | None:
        """The smallest and the largest index stored, None without entries."""
        ((low, high),) = self._run("SELECT min(idx), max(idx) FROM entries")
        return None if low is None else (low, high)

    def tile(self, level: int, index: int) -> bytes:
        """A tile's hashes so far, empty where there is none."""
        rows = self._run("SELECT CAST(hashes AS BLOB) FROM tiles WHERE level = ? AND idx = ?", (level, index))
        return bytes(rows[0][0] or b"") if rows else b""

    def find(self, key: str) -> int | None:
        """The index of the entry that holds a unique key."""
        rows = self._run("SELECT idx FROM keys WHERE key = ?", (key,))
        return int(rows[0][0]) if rows else None

    def keys_under(self, prefix: str) -> list[tuple[str, int]]:
        """(unique key, index of its entry) of the keys that start with `prefix`, by index."""
        rows = self._run(
            "SELECT key, idx FROM keys WHERE key >= ? AND key < ? ORDER BY idx", (prefix, prefix + chr(sys.maxunicode))
        )
        return [(str(key), int(index)) for key, index in rows]

    def checkpoints(self) -> Iterator[StoredCheckpoint]:
        """All signed checkpoints, by size; read 256 at a time."""
        seen = 0
        while True:
            rows = self._run(
                "SELECT size, CAST(note AS BLOB) FROM checkpoints ORDER BY size LIMIT ? OFFSET ?", (_CHUNK, seen)
            )
            yield from (StoredCheckpoint(size, note or b"") for size, note in rows)
            seen += len(rows)
            if len(rows) < _CHUNK:
                return

    def checkpoints_backwards(self) -> Iterator[StoredCheckpoint]:
        """All signed checkpoints, the largest size first; read 256 at a time."""
        below = MAX_SIZE
        while True:
            rows = self._run(
                "SELECT size, CAST(note AS BLOB) FROM checkpoints WHERE size <= ? ORDER BY size DESC LIMIT ?",
                (below, _CHUNK),
            )
            yield from (StoredCheckpoint(size, note or b"") for size, note in rows)
            if len(rows) < _CHUNK:
                return
            below = rows[-1][0] - 1

    def checkpoint(self, size: int) -> StoredCheckpoint | None:
        """The signed checkpoint of exactly that size."""
        rows = self._run("SELECT CAST(note AS BLOB) FROM checkpoints WHERE size = ?", (size,))
        return StoredCheckpoint(size, rows[0][0] or b"") if rows else None

    def latest_checkpoint(self) -> StoredCheckpoint | None:
        """The signed checkpoint of the largest size."""
        rows = self._run("SELECT size, CAST(note AS BLOB) FROM checkpoints ORDER BY size DESC LIMIT 1")
        return StoredCheckpoint(rows[0][0], rows[0][1] or b"") if rows else None

    def close(self) -> None:
        """Closes the connection; a second time does nothing."""
        with self._lock, suppress(sqlite3.Error):
            self._connection.close()

    def _run(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._wrapped("read" if sql.startswith("SELECT") else "write"):
            return self._connection.execute(sql, parameters).fetchall()

    def _wrapped(self, doing: str) -> AbstractContextManager[None]:
        return own_errors(f"the ledger {self._path}", _PARTICIPLE[doing], "verify it, and restore it from a backup")


class SqliteStore(SqliteReader):
    """The one writer of a ledger file. Not for use by several threads at once.

    Args:
        path: the ledger file; made with mode 0600 when it is missing.

    Raises:
        LedgerUnavailableError: it cannot be made, opened or written.
        LedgerDamagedError: it is no SQLite file, or is corrupt.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        create_private(path, "the ledger")
        with self._wrapped("open"):
            self._connection = _connect(f"{path.resolve().as_uri()}?mode=rw")
        try:
            self._prepare()
            self.head()
        except LedgerUnavailableError:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Begins; commits at the end, on the disk; rolls back when the body or the commit raises."""
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            with suppress(LedgerUnavailableError):
                self._run("ROLLBACK")
            raise

    def add(self, batch: Batch) -> None:
        """Adds entries, keys, tiles and the new head."""
        with self._wrapped("write"):
            connection = self._connection
            rows = ((batch.first + offset, data) for offset, data in enumerate(batch.entries))
            connection.executemany("INSERT INTO entries (idx, bytes) VALUES (?, ?)", rows)
            connection.executemany("INSERT INTO keys (key, idx) VALUES (?, ?)", batch.keys)
            connection.executemany("INSERT OR REPLACE INTO tiles (level, idx, hashes) VALUES (?, ?, ?)", batch.tiles)
            connection.executemany("UPDATE meta SET value = ? WHERE name = ?", _head_rows(batch.head))

    def touch(self) -> None:
        """Has the transaction write a page; a version that nobody reads alternates: equal bytes are not written."""
        ((version,),) = self._run("PRAGMA user_version")
        self._run(f"PRAGMA user_version = {1 - version}")

    def add_checkpoint(self, checkpoint: StoredCheckpoint) -> None:
        """Adds a signed checkpoint; the table's unique size refuses a second one."""
        self._run("INSERT INTO checkpoints (size, note) VALUES (?, ?)", (checkpoint.size, checkpoint.note))

    def replace_checkpoint(self, checkpoint: StoredCheckpoint) -> None:
        """Stores the note in the place of the one of the same size."""
        self._run("UPDATE checkpoints SET note = ? WHERE size = ?", (checkpoint.note, checkpoint.size))

    def replace_tiles(self, tiles: Iterator[tuple[int, int, bytes]]) -> None:
        """Throws away every tile and stores these."""
        self._run("DELETE FROM tiles")
        with self._wrapped("write"):
            self._connection.executemany("INSERT OR REPLACE INTO tiles (level, idx, hashes) VALUES (?, ?, ?)", tiles)

    def _prepare(self) -> None:
        self._run("PRAGMA journal_mode = WAL")
        for pragma in ("synchronous = FULL", "fullfsync = ON", "checkpoint_fullfsync = ON", "trusted_schema = OFF"):
            self._run(f"PRAGMA {pragma}")
        self._run(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        if self._run("SELECT count(*) FROM sqlite_schema")[0][0]:
            return
        with self.transaction():
            for statement in _SCHEMA:
                self._run(statement)
            values = [("format", FORMAT), ("schema_version", str(SCHEMA_VERSION)), ("hash", HashAlgorithm.SHA256.value)]
            values += [(name, value) for value, name in _head_rows(Head(0, CHAIN_START))]
            for row in values:
                self._run("INSERT INTO meta (name, value) VALUES (?, ?)", row)


_PARTICIPLE: Final = {"open": "opened", "read": "read", "write": "written"}


def open_sqlite_reader(path: Path) -> SqliteReader:
    """A reader of a ledger that may have a live writer; leaves no file behind where there is none.

    Raises:
        LedgerUnavailableError: no such file, or it cannot be opened.
        LedgerDamagedError: it is no SQLite file, or is corrupt.
    """
    if not path.is_file():
        raise LedgerUnavailableError(f"no ledger at {path}: give a party's home folder, or its ledger.db")
    return SqliteReader(path, immutable=not has_live_files(path))


def has_live_files(path: Path) -> bool:
    """Whether a writer may be at work, or died at work: the WAL's files are there."""
    wal = path.with_name(f"{path.name}-wal")
    shared = path.with_name(f"{path.name}-shm")
    return shared.exists() or (wal.exists() and wal.stat().st_size > 0)


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _head_rows(head: Head) -> list[tuple[str, str]]:
    return [(str(head.size), "size"), (head.chain.hex(), "chain")]
