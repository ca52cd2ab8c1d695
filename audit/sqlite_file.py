"""What every SQLite file of this room has in common: how it is made, and whose words its errors are told in."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from audit.errors import LedgerDamagedError, LedgerUnavailableError

BUSY_SECONDS: Final = 5.0
"""How long a connection waits for another process's transaction."""

_DAMAGE_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_ERROR,  # our statements are right, so a table or column is missing
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_FORMAT,
    }
)


@contextmanager
def own_errors(file: str, doing: str, if_damaged: str) -> Iterator[None]:
    """SQLite's errors become ours here, and nowhere else.

    Args:
        file: what it is and where, such as `the ledger /home/ledger.db`.
        doing: what cannot be done, such as `read`.
        if_damaged: what mends a damaged file.

    Raises:
        LedgerDamagedError: it is no SQLite file, is corrupt, or lacks a table.
        LedgerUnavailableError: it cannot be opened, read or written.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGE_CODES or "decode" in str(error):  # text that is not UTF-8 has no code of its own
            raise LedgerDamagedError(f"{file}: damaged ({error}): {if_damaged}") from error
        raise LedgerUnavailableError(
            f"{file}: cannot be {doing} ({error}): see that the disk has room and the file and its folder belong to"
            " this user"
        ) from error


def create_private(path: Path, what: str) -> None:
    """Makes an empty file of mode 0600 and its directory entry durable, unless there is a file already.

    Raises:
        LedgerUnavailableError: it cannot be made; names `what` it is.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise LedgerUnavailableError(f"{what} {path} cannot be made ({error.strerror}): make its folder") from error
    os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
