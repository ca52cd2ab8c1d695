"""Copies a database of a home, also while its party is writing to it.

A ledger's newest entries are in its write-ahead log until SQLite moves them: a copy of the file alone is without them,
and one of both files may be torn. SQLite's backup API reads one committed state of the two
(https://sqlite.org/backup.html) and keeps no writer waiting.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from audit.errors import CopyFailedError
from audit.sqlite_file import BUSY_SECONDS
from audit.store_sqlite import has_live_files


def copy_database(source: Path, target: Path) -> None:
    """Copies a SQLite database as one committed transaction left it; on the disk, with mode 0600, on return.

    A copy that fails leaves no file; one that is killed may leave a file that SQLite finds to be empty.

    Args:
        source: a ledger, a vault or a witness's database; it and its folder stay as they are.
        target: does not exist yet.

    Raises:
        CopyFailedError: there is no source, the target exists, or one of them cannot be read or written.
    """
    if not source.is_file():
        raise CopyFailedError(f"there is no database {source} to copy")
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError as error:
        raise CopyFailedError(f"{target} exists, and a copy overwrites nothing: name another file") from error
    except OSError as error:
        raise CopyFailedError(f"the copy {target} cannot be made ({error.strerror}): make its folder") from error
    try:
        _copy(source, target)
        _sync(target)
        _sync(target.parent)
    except (sqlite3.Error, OSError) as error:
        target.unlink()
        raise CopyFailedError(
            f"{source} cannot be copied to {target} ({error}): see that the disk has room, and verify the source"
        ) from error
    except BaseException:
        target.unlink()
        raise


def _copy(source: Path, target: Path) -> None:
    live, before = has_live_files(source), source.stat()
    _copy_once(source, target, immutable=not live)
    after = source.stat()
    if not live and (
        has_live_files(source) or (before.st_mtime_ns, before.st_ino) != (after.st_mtime_ns, after.st_ino)
    ):
        _copy_once(source, target, immutable=False)  # its party has just started to write


def _copy_once(source: Path, target: Path, *, immutable: bool) -> None:
    """In one step, else a writer's next transaction has SQLite begin anew; immutable leaves the folder untouched."""
    origin = f"{source.resolve().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
    with (
        closing(sqlite3.connect(origin, uri=True, timeout=BUSY_SECONDS)) as reading,
        closing(sqlite3.connect(target, timeout=BUSY_SECONDS)) as writing,
    ):
        reading.backup(writing)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
