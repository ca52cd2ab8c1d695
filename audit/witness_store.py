"""A witness's records in one SQLite file, `witness.db` of its home: WAL, synchronous=FULL, mode 0600.

They are no part of the party's ledger: two parties that witness each other would make each other's ledgers grow for
ever. One connection serves all threads of a process, one transaction at a time; other processes wait their turn.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from audit.checkpoint import Note
from audit.errors import LedgerDamagedError, LedgerUnavailableError
from audit.evidence import Evidence
from audit.hashes import sha256
from audit.sqlite_file import BUSY_SECONDS, create_private, own_errors
from audit.witness import WitnessedLog

FORMAT: Final = "unseen-witness"
SCHEMA_VERSION: Final = 1
KEPT_CHECKPOINTS: Final = 4096
"""For each log the newest cosigned checkpoints are remembered, this many."""
KEPT_EVIDENCE: Final = 32
"""Pieces of evidence kept for each log: the first half as they come, of the others the newest. When all places are
taken, further ones replace the newest half and are no longer reported: the log is convicted, and may not fill disks."""

_PAUSE_SECONDS: Final = 0.01
_SCHEMA: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE cosigned (origin TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL,"
    " cosigned_s INTEGER NOT NULL, PRIMARY KEY (origin, size)) STRICT",
    "CREATE TABLE evidence (number INTEGER PRIMARY KEY AUTOINCREMENT, origin TEXT NOT NULL, offered BLOB NOT NULL,"
    " bytes BLOB NOT NULL, reported INTEGER NOT NULL, UNIQUE (origin, offered)) STRICT",
)
_COLUMNS: Final = "origin, size, root, note, cosigned_s"


class WitnessStore:
    """What a witness cosigned, and what it refused as evidence. Make one with `open`; safe to share between threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path) -> "WitnessStore":
        """The records at `path`, made with mode 0600 when they are missing.

        Raises:
            LedgerUnavailableError: the file cannot be made, opened or written, or is of a later release.
            LedgerDamagedError: it is no SQLite file, or is corrupt.
        """
        create_private(path, "the witness's records")
        with _wrapped(path):
            connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=rw",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
        store = cls(path, connection)
        try:
            store._prepare()
        except BaseException:
            store.close()
            raise
        return store

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Nobody else writes inside; on the disk at the end, or rolled back when the body or the commit raises."""
        with self._lock:
            self._run("BEGIN IMMEDIATE")
            try:
                yield
                self._run("COMMIT")
            except BaseException:
                with suppress(LedgerUnavailableError):
                    self._run("ROLLBACK")
                raise

    def latest(self, origin: str) -> WitnessedLog | None:
        """The checkpoint of the largest size cosigned for a log."""
        return self._one(
            f"SELECT {_COLUMNS} FROM cosigned WHERE origin = ? ORDER BY size DESC LIMIT 1",  # noqa: S608  ours
            origin,
        )

    def cosigned(self, origin: str, size: int) -> WitnessedLog | None:
        """The checkpoint cosigned at that size, where it is still remembered."""
        return self._one(f"SELECT {_COLUMNS} FROM cosigned WHERE origin = ? AND size = ?", origin, size)  # noqa: S608

    def logs(self) -> tuple[WitnessedLog, ...]:
        """The latest of each log, by origin."""
        # Bare columns beside max() are those of its row: https://sqlite.org/lang_select.html#bareagg
        rows = self._run("SELECT origin, max(size), root, note, cosigned_s FROM cosigned GROUP BY origin ORDER BY 1")
        return tuple(WitnessedLog(*row) for row in rows)

    def put(self, log: WitnessedLog) -> None:
        """Remembers a cosigned checkpoint, in place of one of the same size; inside a transaction only."""
        self._run(
            f"INSERT OR REPLACE INTO cosigned ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608  ours
            (log.origin, log.size, log.root, log.note, log.cosigned_s),
        )
        self._run(
            "DELETE FROM cosigned WHERE origin = ?1 AND size <="
            " (SELECT size FROM cosigned WHERE origin = ?1 ORDER BY size DESC LIMIT 1 OFFSET ?2)",
            (log.origin, KEPT_CHECKPOINTS),
        )

    def keep(self, evidence: Evidence) -> bool:
        """Keeps evidence, once for each checkpoint offered; durable on return.

        Returns:
            Whether it is to be reported: it is new, and there was still room.
        """
        # The text alone is the log's; lines of others' keys could make any number of notes of it.
        offered = sha256(Note.decode(evidence.offered).text)
        with self.transaction():
            rows = self._run("SELECT offered FROM evidence WHERE origin = ? ORDER BY number", (evidence.origin,))
            if (offered,) in rows:
                return False
            room = len(rows) < KEPT_EVIDENCE
            if not room:
                self._run("DELETE FROM evidence WHERE origin = ? AND offered = ?", (evidence.origin, _oldest_new(rows)))
            self._run(
                "INSERT INTO evidence (origin, offered, bytes, reported) VALUES (?, ?, ?, ?)",
                (evidence.origin, offered, evidence.encode(), int(not room)),
            )
            return room

    def evidence(self, origin: str) -> tuple[Evidence, ...]:
        """What is kept of a log, in the order in which it came."""
        rows = self._run("SELECT bytes FROM evidence WHERE origin = ? ORDER BY number", (origin,))
        return tuple(Evidence.decode(data) for (data,) in rows)

    def unreported(self) -> tuple[Evidence, ...]:
        """Evidence to be reported that `mark_reported` has not seen."""
        rows = self._run("SELECT bytes FROM evidence WHERE reported = 0 ORDER BY number")
        return tuple(Evidence.decode(data) for (data,) in rows)

    def mark_reported(self, evidence: Evidence) -> None:
        """Notes that evidence was reported."""
        self._run(
            "UPDATE evidence SET reported = 1 WHERE origin = ? AND bytes = ?", (evidence.origin, evidence.encode())
        )

    def close(self) -> None:
        """Closes the file; a second time does nothing."""
        with self._lock, suppress(sqlite3.Error):
            self._connection.close()

    def _prepare(self) -> None:
        self._enter_wal()
        for pragma in ("synchronous = FULL", "fullfsync = ON", "checkpoint_fullfsync = ON", "trusted_schema = OFF"):
            self._run(f"PRAGMA {pragma}")
        with self.transaction():
            if not self._run("SELECT count(*) FROM sqlite_schema")[0][0]:
                for statement in _SCHEMA:
                    self._run(statement)
                for row in (("format", FORMAT), ("schema_version", str(SCHEMA_VERSION))):
                    self._run("INSERT INTO meta (name, value) VALUES (?, ?)", row)
        meta = dict(self._run("SELECT name, value FROM meta"))
        if meta != {"format": FORMAT, "schema_version": str(SCHEMA_VERSION)}:
            raise LedgerUnavailableError(
                f"{self._path} holds no witness's records of schema version {SCHEMA_VERSION}: open it with the release"
                " that wrote it"
            )

    def _enter_wal(self) -> None:
        """Enter WAL mode, waiting for another process that makes the file at this moment: SQLite itself does not."""
        until = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._run("PRAGMA journal_mode = WAL")
            except LedgerDamagedError:
                raise
            except LedgerUnavailableError:
                if time.monotonic() >= until:
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                return

    def _one(self, sql: str, *parameters: object) -> WitnessedLog | None:
        rows = self._run(sql, parameters)
        return WitnessedLog(*rows[0]) if rows else None

    def _run(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock, _wrapped(self._path):
            return self._connection.execute(sql, parameters).fetchall()


def _oldest_new(rows: list[tuple[Any, ...]]) -> bytes:
    """Of the evidence kept, the one that makes place: the oldest behind the first half."""
    return bytes(rows[KEPT_EVIDENCE // 2][0])


def _wrapped(path: Path) -> AbstractContextManager[None]:
    # An old copy would have forgotten what was cosigned since: what the replicas say is recalled instead.
    mend = "move it away and start again; do not put an older copy in its place"
    return own_errors(f"the witness's records {path}", "read or written", mend)
