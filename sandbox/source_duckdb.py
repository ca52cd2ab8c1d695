"""CSV and Parquet files as a source, read by DuckDB.

The files are pinned: their SHA-256 is taken once, and every call compares size, times and inode before and after it
reads, hashing again where they differ. CSV is UTF-8 with a header and commas; every field is read as text and then
strictly as declared; an empty field is null.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sandbox.cells import CellPlan, CellTotals
from sandbox.declaration_model import DatasetDeclaration, FileFormat, FileSource
from sandbox.errors import SourceError, SourceUnavailableError
from sandbox.scan import Physical, Scan, hardened_connection
from sandbox.source_cells import cell_totals
from sandbox.source_check import check_persons, check_rows
from sandbox.source_columns import plan_columns
from sandbox.source_rows import fingerprints_of, persons_of
from sandbox.violations import Violation

MAX_HEADER_CHARACTERS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _FileState:
    """What tells without reading that a file is probably the one it was."""

    path: Path
    size: int
    modified_ns: int
    changed_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class _Baseline:
    """The files as they were at the start."""

    files: tuple[_FileState, ...]
    digest: str
    types: dict[str, Physical]


@dataclass(frozen=True, slots=True)
class _Database:
    """A database that may read `paths` and holds nothing."""

    paths: list[str]
    connection: duckdb.DuckDBPyConnection


class DuckDbFiles:
    """One or more files of one format with the same columns.

    Args:
        source: format and pattern.
        base: folder that a relative pattern starts from.
        threads: DuckDB threads a call.

    Raises:
        SourceError: no file matches the pattern.
    """

    def __init__(self, source: FileSource, base: Path, *, threads: int) -> None:
        self._format = source.format
        self._pattern = source.pattern
        self._base = base
        self._threads = threads
        self._lock = Lock()
        self._baseline: _Baseline | None = None
        self._database: _Database | None = None
        self._matches()

    def content_hash(self) -> str:
        """Hex SHA-256 over the files' lengths and bytes in the order of their paths; the state that calls are held to.

        Raises:
            SourceError: a file is missing, or is not of the declared format.
        """
        with self._lock:
            self._baseline = self._take_baseline()
            return self._baseline.digest

    def check(self, declaration: DatasetDeclaration) -> tuple[Violation, ...]:
        """Hold every row against the declaration.

        Raises:
            SourceError: the files are not of the declared format, or changed since the start.
        """
        with self._scan() as scan:
            return (*check_rows(scan, declaration), *check_persons(scan, declaration))

    def totals(self, plan: CellPlan, declaration: DatasetDeclaration) -> CellTotals:
        """The plan's totals over all rows.

        Raises:
            SourceError: the files changed since the start, lack a column, or cannot be read as declared.
            ContractError: the plan's frame does not fit the declaration.
        """
        plan_columns(plan, declaration)  # a plan that does not fit costs no read
        with self._scan() as scan:
            return cell_totals(scan, plan, declaration)

    def fingerprints(self, columns: tuple[str, ...]) -> npt.NDArray[np.uint64]:
        """For each row 64 bits over the named columns, in the order of paths and of rows within; see the port.

        Raises:
            SourceError: the files changed since the start, lack a column, or cannot be read.
        """
        with self._scan() as scan:
            return fingerprints_of(scan, columns)

    def persons(self, declaration: DatasetDeclaration) -> npt.NDArray[np.uint32] | None:
        """For each row a dense code of its person, in the order of paths and of rows within; see the port.

        Raises:
            SourceError: the files changed since the start, lack the person column, or cannot be read.
        """
        with self._scan() as scan:
            return persons_of(scan, declaration)

    def close(self) -> None:
        """Let go of the empty database that calls share; a call that runs goes on."""
        with self._lock:
            if self._database is not None:
                self._database.connection.close()
                self._database = None

    @contextmanager
    def _scan(self) -> Iterator[Scan]:
        """A scan of the pinned files; what was read counts only if they were the same before and after."""
        baseline = self._unchanged()
        paths = [str(state.path) for state in baseline.files]
        connection = self._connection(paths)
        try:
            yield Scan(
                connection,
                self._relation(),
                self._parameters(paths, baseline.types),
                baseline.types,
                self._pattern,
            )
        finally:
            connection.close()
        self._unchanged()

    def _connection(self, paths: list[str]) -> duckdb.DuckDBPyConnection:
        """A connection of a call's own, with names of its own, to a database that is empty and may read these files.

        To make a database takes longer than to make a call ready.
        """
        with self._lock:
            if self._database is None or self._database.paths != paths:
                self._database = _Database(paths, hardened_connection(self._threads, paths))
            return self._database.connection.cursor()

    def _relation(self) -> str:
        if self._format is FileFormat.PARQUET:
            return "read_parquet($files, hive_partitioning = false, union_by_name = false)"
        return (
            "read_csv($files, auto_detect = false, header = true, columns = $columns, delim = ',', quote = '\"', "
            "escape = '\"', strict_mode = true, null_padding = false, hive_partitioning = false)"
        )

    def _parameters(self, paths: list[str], types: dict[str, Physical]) -> dict[str, object]:
        if self._format is FileFormat.PARQUET:
            return {"files": paths}
        return {"files": paths, "columns": dict.fromkeys(types, "VARCHAR")}

    def _unchanged(self) -> _Baseline:
        with self._lock:
            if self._baseline is None:
                self._baseline = self._take_baseline()
                return self._baseline
            if tuple(map(_state, self._matches())) == self._baseline.files:
                return self._baseline
            now = self._take_baseline()
            if now.digest != self._baseline.digest:
                raise SourceError(
                    f"{self._pattern}: the dataset changed since start; its version is pinned, so restore the files, "
                    "or restart the provider to publish a new version"
                )
            self._baseline = now
            return now

    def _take_baseline(self) -> _Baseline:
        paths = self._matches()
        states = tuple(map(_state, paths))
        digest = _digest(paths)
        types = [(_csv_types if self._format is FileFormat.CSV else _parquet_types)(path) for path in paths]
        for path, found in zip(paths[1:], types[1:], strict=True):
            if list(found.items()) != list(types[0].items()):
                raise SourceError(f"{path.name} has other columns or types than {paths[0].name}; make them the same")
        if tuple(map(_state, paths)) != states:
            raise SourceError(f"{self._pattern}: a file changed while it was read; let writers finish, then try again")
        return _Baseline(states, digest, types[0])

    def _matches(self) -> list[Path]:
        absolute = self._base.absolute() / self._pattern
        if absolute.is_file():  # a file's own name may hold the characters of a pattern
            return [absolute]
        root = Path(absolute.anchor)
        paths = sorted(path for path in root.glob(str(absolute.relative_to(root))) if path.is_file())
        if not paths:
            raise SourceError(f"[source] {self._format.value} = {self._pattern!r}: no file matches below {self._base}")
        return paths


def _state(path: Path) -> _FileState:
    try:
        found = path.stat()
    except OSError as error:
        raise SourceUnavailableError(f"{path.name} cannot be read ({error.strerror}); check that it is there") from None
    return _FileState(path, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _digest(paths: list[Path]) -> str:
    total = hashlib.sha256(b"unseen:files:v1")
    for path in paths:
        try:
            with path.open("rb") as stream:
                part = hashlib.file_digest(stream, "sha256")
                total.update(stream.tell().to_bytes(8) + part.digest())
        except OSError as error:
            raise SourceUnavailableError(f"{path.name} cannot be read ({error.strerror}); check permissions") from None
    return total.hexdigest()


def _csv_types(path: Path) -> dict[str, Physical]:
    """The header's names, each a text column."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            head = stream.readline(MAX_HEADER_CHARACTERS)
    except OSError as error:
        raise SourceUnavailableError(f"{path.name} cannot be read ({error.strerror}); check permissions") from None
    except UnicodeDecodeError:
        raise SourceError(f"{path.name} is not UTF-8 text, so no CSV; convert it, or name the right format") from None
    try:
        names = next(csv.reader([head.rstrip("\r\n")], strict=True), [])
    except csv.Error:
        raise SourceError(f"{path.name}, line 1: not a CSV header; the first line names the columns") from None
    if "\x00" in head or not all(names) or len({name.casefold() for name in names}) != len(names) or not names:
        raise SourceError(
            f"{path.name}, line 1: not a CSV header; the first line names each column once, without regard to case"
        )
    return dict.fromkeys(names, Physical.TEXT)


def _parquet_types(path: Path) -> dict[str, Physical]:
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        raise SourceError(f"{path.name} is not a Parquet file, or is cut off; name the right format") from None
    names = [field.name for field in schema]
    if len({name.casefold() for name in names}) != len(names):
        raise SourceError(f"{path.name}: two columns differ at most in case; rename one")
    return {field.name: _physical(field.type) for field in schema}


def _physical(kind: pa.DataType) -> Physical:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    for is_kind, physical in (
        (pa.types.is_boolean, Physical.BOOLEAN),
        (pa.types.is_integer, Physical.INTEGER),
        (pa.types.is_decimal, Physical.DECIMAL),
        (pa.types.is_float32, Physical.REAL),
        (pa.types.is_float64, Physical.FLOAT),
        (pa.types.is_string, Physical.TEXT),
        (pa.types.is_large_string, Physical.TEXT),
        (pa.types.is_string_view, Physical.TEXT),
    ):
        if is_kind(kind):
            return physical
    return Physical.OTHER
