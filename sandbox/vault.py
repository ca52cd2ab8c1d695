"""The vault: what a party keeps private and durable beside its ledger.

Openings of commitments, contracts with their signatures, heard statuses, receipts with both signatures, stored
messages (so that the same request gets the byte-identical answer), dataset versions, the rows that exact answers were
over, and the outbox. One SQLite file, mode 0600, WAL with synchronous=FULL: what `put` has returned from survives a
crash. It is backed up with the ledger.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from sandbox.errors import VaultError

_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS item (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID
"""


class VaultKind(StrEnum):
    """What an item is. The value is stored and never changes its meaning."""

    OPENINGS = "openings"
    CONTRACT = "contract"
    STATUS = "status"
    RECEIPT = "receipt"
    MESSAGE = "message"
    DATASET_VERSION = "dataset_version"
    OUTBOX = "outbox"
    ROW_IDENTITY = "row_identity"
    OVERLAP = "overlap"


class Vault:
    """A durable map (kind, key) -> bytes. Threads may share one; one process has it open for writing.

    Every method raises `VaultError` when the file cannot be read or written; nothing is half written.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._depth = 0
        self._closed = False

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the vault at `path`, creating it with mode 0600.

        Raises:
            VaultError: the file is no vault, is of a later version, or cannot be opened.
        """
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            path.chmod(0o600)
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
        except (OSError, sqlite3.Error) as error:
            raise VaultError(f"cannot open the vault {path}: {error}; check the home's owner and free space") from error
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA fullfsync=ON")  # macOS: a plain fsync does not reach the disk
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _SCHEMA_VERSION):
                raise VaultError(
                    f"{path} is a vault of version {version}; this release reads {_SCHEMA_VERSION}: update unseen"
                )
            connection.execute(_SCHEMA)
            if version == 0:
                connection.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
        except sqlite3.Error as error:
            connection.close()
            raise VaultError(f"{path} is not a vault: {error}; restore it from the backup") from error
        except VaultError:
            connection.close()
            raise
        return cls(path, connection)

    @contextmanager
    def transaction(self) -> Iterator[Self]:
        """All writes inside happen, or none; durable when the block has ended. Nested blocks join the outermost."""
        with self._lock:
            if self._depth:
                self._depth += 1
                try:
                    yield self
                finally:
                    self._depth -= 1
                return
            self._execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield self
                self._execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    def put(self, kind: VaultKind, key: str, value: bytes) -> None:
        """Store `value`, replacing an earlier one; durable on return, or at the end of the enclosing transaction."""
        with self.transaction():
            self._execute("INSERT OR REPLACE INTO item (kind, key, value) VALUES (?, ?, ?)", (kind.value, key, value))

    def get(self, kind: VaultKind, key: str) -> bytes | None:
        """The stored bytes, or None."""
        rows = self._query("SELECT key, value FROM item WHERE kind = ? AND key = ?", (kind.value, key))
        return rows[0][1] if rows else None

    def delete(self, kind: VaultKind, key: str) -> None:
        """Forget an item; nothing happens if there is none."""
        with self.transaction():
            self._execute("DELETE FROM item WHERE kind = ? AND key = ?", (kind.value, key))

    def items(self, kind: VaultKind, prefix: str = "") -> list[tuple[str, bytes]]:
        """All items of a kind whose key starts with `prefix`, ordered by key."""
        return self._query(
            "SELECT key, value FROM item WHERE kind = ? AND key >= ? AND key < ? ORDER BY key",
            (kind.value, prefix, prefix + chr(sys.maxunicode)),
        )

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Vault({str(self._path)!r})"

    def _execute(self, statement: str, arguments: tuple[object, ...] = ()) -> None:
        try:
            self._connection.execute(statement, arguments)
        except sqlite3.Error as error:
            raise VaultError(f"cannot write the vault {self._path}: {error}; check its free space") from error

    def _query(self, statement: str, arguments: tuple[str, ...]) -> list[tuple[str, bytes]]:
        with self._lock:
            try:
                return self._connection.execute(statement, arguments).fetchall()
            except sqlite3.Error as error:
                raise VaultError(f"cannot read the vault {self._path}: {error}; restore it from the backup") from error
