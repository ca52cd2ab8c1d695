"""A PostgreSQL table or view as a source, read through ADBC as Arrow and aggregated by the same SQL as files are.

Every call is one REPEATABLE READ READ ONLY transaction: one snapshot, nothing written. The address comes from the
environment or a file of mode 0600 and stands in no message, no log and no exception.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.canonical import canonicalise
from sandbox.cells import CellPlan, CellTotals
from sandbox.declaration_model import DatasetDeclaration, PostgresSource
from sandbox.errors import SourceError, SourceUnavailableError
from sandbox.scan import Physical, Scan, hardened_connection, quoted
from sandbox.source_cells import cell_totals
from sandbox.source_check import check_persons, check_rows, person_column
from sandbox.source_columns import plan_columns
from sandbox.source_rows import numbers, persons_of
from sandbox.violations import Severity, Violation, ViolationKind

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection, Cursor

MAX_DSN_BYTES: Final = 4096
CONNECT_TIMEOUT_S: Final = 10
_UNREACHABLE: Final = ("08", "28", "53", "57", "58")  # SQLSTATE classes: connection, login, resources, operator, system
_ROWS: Final = "rows_of_source"
_POSITION: Final = "position_on_server"

_COLUMNS_SQL: Final = """
SELECT a.attname::text, coalesce(b.typname, t.typname)::text, coalesce(b.typcategory, t.typcategory)::text
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""

_WRITES_SQL: Final = """
SELECT pg_catalog.has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2"""

_NUMBERS: Final = {
    **dict.fromkeys(("int2", "int4", "int8"), (Physical.INTEGER, "int8")),
    "float4": (Physical.REAL, None),
    "float8": (Physical.FLOAT, None),
    "numeric": (Physical.TEXT, "text"),  # as text it stays exact at any precision, and NaN stays recognisable
}
_CATEGORIES: Final = {"S": (Physical.TEXT, "text"), "E": (Physical.TEXT, "text"), "B": (Physical.BOOLEAN, None)}


class PostgresRelation:
    """One table or view.

    Args:
        declaration: whose columns are read; its source tells the relation and where the address is kept.
        base: folder that a relative `dsn_file` starts from.
        environ: where `dsn_env` is looked up.
        threads: DuckDB threads a call.

    Raises:
        SourceError: the address is missing, badly kept, or the driver is not installed.
    """

    def __init__(
        self,
        source: PostgresSource,
        declaration: DatasetDeclaration,
        base: Path,
        environ: Mapping[str, str],
        *,
        threads: int,
    ) -> None:
        self._source = source
        self._names = tuple(sorted({column.physical for column in declaration.columns}))
        person_id = declaration.person_id
        self._person = () if person_id is None else (person_column(declaration, person_id),)
        self._threads = threads
        self._place = f"PostgreSQL {source.schema}.{source.relation}"
        self._relation = f"{quoted(source.schema)}.{quoted(source.relation)}"
        self._dsn = _read_dsn(source, base, environ)
        self._pinned: tuple[object, ...] | None = None
        _driver()

    def __repr__(self) -> str:
        return f"PostgresRelation({self._source.schema}.{self._source.relation})"

    def content_hash(self) -> str:
        """Hex SHA-256 over the declared columns of all rows, as text, in sorted order.

        The server sorts those columns whole, and all of them are read once: minutes for hundreds of millions of rows.
        It is taken at the start only. From then on a call is refused once these rows are others (`_verify_unchanged`).

        Raises:
            SourceUnavailableError: the server cannot be reached.
            SourceError: the relation cannot be read.
        """
        with self._snapshot() as cursor:
            fields = ", ".join(f"CAST({quoted(name)} AS text)" for name in self._names)
            digest = hashlib.sha256(b"unseen:relation:v1")
            digest.update(canonicalise(list(self._names)))
            cursor.execute(
                f"SELECT line FROM (SELECT CAST(json_build_array({fields}) AS text) AS line "  # noqa: S608
                f'FROM {self._relation}) AS lines ORDER BY line COLLATE "C"'
            )
            for batch in cursor.fetch_record_batch():
                digest.update(_text_bytes(batch.column(0)))
            self._pinned = self._sums(cursor)
            return digest.hexdigest()

    def check(self, declaration: DatasetDeclaration) -> tuple[Violation, ...]:
        """Hold every row against the declaration, and warn of a role that may write.

        Raises:
            SourceUnavailableError: the server cannot be reached.
            SourceError: the relation cannot be read.
        """
        with self._snapshot() as cursor:
            types = self._types(cursor)
            with self._scan(cursor, types, [column.physical for column in declaration.columns]) as scan:
                found = check_rows(scan, declaration)
            if declaration.person_id is not None:
                with self._scan(cursor, types, [person_column(declaration, declaration.person_id)]) as scan:
                    found += check_persons(scan, declaration)
            cursor.execute(_WRITES_SQL, (self._source.schema, self._source.relation))
            if cursor.fetchall() != [(False,)]:
                message = f"the role that reads {self._place} may also write to it; give the provider a read-only role"
                found += (Violation("", ViolationKind.WRITE_PERMISSION, None, Severity.WARNS, message),)
        return found

    def totals(self, plan: CellPlan, declaration: DatasetDeclaration) -> CellTotals:
        """The plan's totals over one snapshot.

        Raises:
            SourceUnavailableError: the server cannot be reached.
            SourceError: the relation changed since `content_hash`, lacks a column, or cannot be read as declared.
            ContractError: the plan's frame does not fit the declaration.
        """
        columns = plan_columns(plan, declaration)
        names = [*(column.declared.physical for column in columns), *self._person]
        with self._snapshot() as cursor:
            self._verify_unchanged(cursor)
            types = self._types(cursor)
            with self._scan(cursor, types, names, positions=plan.rows) as scan:
                return cell_totals(scan, plan, declaration)

    def fingerprints(self, columns: tuple[str, ...]) -> npt.NDArray[np.uint64]:
        """For each row 64 bits over the named columns, taken by the server; see the port and `_position`.

        Raises:
            SourceUnavailableError: the server cannot be reached.
            SourceError: the relation changed since `content_hash`, lacks a column, or cannot be read.
        """
        with self._snapshot() as cursor:
            self._verify_unchanged(cursor)
            types = self._types(cursor)
            for name in (*columns, *self._person):
                if name not in types:
                    raise SourceError(f"{self._place} has no column {name!r}, by which its rows are to be told apart")
            cursor.execute(f"SELECT {_fingerprint(columns)}, {self._position()} FROM {self._relation}")  # noqa: S608
            found = cursor.fetch_arrow_table()
        fingerprints, positions = (numbers(column.combine_chunks()) for column in found.columns)
        # Rows of the same position are equal in all that cells and persons are made of: their order is free.
        return fingerprints[np.lexsort((fingerprints, positions))].astype(np.uint64)

    def persons(self, declaration: DatasetDeclaration) -> npt.NDArray[np.uint32] | None:
        """For each row a dense code of its person; see the port and `_position`.

        Raises:
            SourceUnavailableError: the server cannot be reached.
            SourceError: the relation changed since `content_hash`, lacks the person column, or cannot be read.
        """
        if declaration.person_id is None:
            return None
        with self._snapshot() as cursor:
            self._verify_unchanged(cursor)
            with self._scan(cursor, self._types(cursor), self._person, positions=True) as scan:
                return persons_of(scan, declaration)

    def close(self) -> None:
        """Nothing is held between calls."""

    @contextmanager
    def _snapshot(self) -> Iterator[Cursor]:
        """A cursor in one read-only snapshot; the driver's errors come out as ours, without its text."""
        driver = _driver()
        try:
            # Autocommit, so that the driver opens no transaction of its own before ours.
            connection: Connection = driver.connect(self._dsn, autocommit=True)
        except driver.Error as error:
            raise self._refusal(error) from None
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                yield cursor
        except driver.Error as error:
            raise self._refusal(error) from None

    def _verify_unchanged(self, cursor: Cursor) -> None:
        """Blocks the same question before and after a row came in: the difference of exact answers would be that row.

        One pass on the server, in the call's own snapshot. Without a `content_hash` there is no version to hold to.
        """
        if self._pinned is not None and self._sums(cursor) != self._pinned:
            raise SourceError(
                f"{self._place}: the dataset changed since start; its version is pinned, so offer a table or view that "
                "stays as it is, or restart the provider to publish a new version"
            )

    def _sums(self, cursor: Cursor) -> tuple[object, ...]:
        """The number of rows, and the sums of two 60-bit halves of each row's hash: the same in any order of rows.

        It tells changes that nobody meant to hide; the owner of the data is no adversary of its own version.
        """
        fields = ", ".join(f"CAST({quoted(name)} AS text)" for name in self._names)
        cursor.execute(
            "SELECT count(*)::text, sum(('x' || substr(h, 1, 15))::bit(60)::bigint)::text, "  # noqa: S608
            "sum(('x' || substr(h, 16, 15))::bit(60)::bigint)::text FROM "
            f"(SELECT md5(CAST(json_build_array({fields}) AS text)) AS h FROM {self._relation}) AS rows"
        )
        return tuple(cursor.fetchall()[0])

    def _types(self, cursor: Cursor) -> dict[str, tuple[Physical, str | None]]:
        """The relation's columns: how each is read, and the type that the server casts it to first."""
        cursor.execute(_COLUMNS_SQL, (self._source.schema, self._source.relation))
        types = {name: _reading(kind, category) for name, kind, category in cursor.fetchall()}
        if not types:
            raise SourceError(f"{self._place}: there is no such table or view; name it as schema.relation")
        return types

    @contextmanager
    def _scan(
        self,
        cursor: Cursor,
        types: Mapping[str, tuple[Physical, str | None]],
        names: Sequence[str],
        *,
        positions: bool = False,
    ) -> Iterator[Scan]:
        """A scan of those of the named columns that the relation has, with their positions if asked."""
        present = [name for name in dict.fromkeys(names) if name in types]
        if len({name.casefold() for name in present}) != len(present):
            raise SourceError(
                f"{self._place}: two columns differ in case only; offer them through a view that renames one"
            )
        fields = [_field(name, types[name][1]) for name in present] or ["1 AS one"]
        position = _POSITION
        while position in types:
            position += "_"
        if positions:
            fields.append(f"{self._position()} AS {position}")
        cursor.execute(f"SELECT {', '.join(fields)} FROM {self._relation}")  # noqa: S608  (quoted identifiers)
        connection = hardened_connection(self._threads)
        try:
            connection.register(_ROWS, cursor.fetch_record_batch())
            physical = {name: kind for name, (kind, _) in types.items()}
            yield Scan(connection, _ROWS, {}, physical, self._place, position if positions else None, streamed=True)
        finally:
            connection.close()

    def _position(self) -> str:
        """SQL for what rows are put in order by, since a SELECT gives them in any: a fingerprint of what is declared.

        Rows that share it are the same in every declared column and of the same person.
        """
        return _fingerprint(tuple(dict.fromkeys((*self._names, *self._person))))

    def _refusal(self, error: Exception) -> SourceError:
        state = getattr(error, "sqlstate", None) or ""
        if not state or state[:2] in _UNREACHABLE:
            return SourceUnavailableError(
                f"{self._place} cannot be reached now (SQLSTATE {state or 'none'}); check that the server runs and "
                f"that the address in {self._source.dsn_env or self._source.dsn_file} is right"
            )
        return SourceError(
            f"{self._place} cannot be read (SQLSTATE {state}); check that the role may select the declared columns"
        )


def _fingerprint(names: Sequence[str]) -> str:
    """SQL for the first 64 bits of MD5 over the columns' texts as a JSON array."""
    fields = ", ".join(f"CAST({quoted(name)} AS text)" for name in names)
    return f"('x' || substr(md5(CAST(json_build_array({fields}) AS text)), 1, 16))::bit(64)::bigint"


def _driver() -> ModuleType:
    try:
        return import_module("adbc_driver_postgresql.dbapi")
    except ImportError:
        raise SourceError(
            "[source] postgres needs the ADBC driver; install it with: pip install 'unseen[postgres]'"
        ) from None


def _read_dsn(source: PostgresSource, base: Path, environ: Mapping[str, str]) -> str:
    if source.dsn_env is not None:
        dsn = environ.get(source.dsn_env, "").strip()
        if not dsn:
            raise SourceError(
                f"[source] dsn_env: the environment variable {source.dsn_env} is not set; set it and restart"
            )
    else:
        dsn = _read_secret(base / (source.dsn_file or ""))
    if "connect_timeout" in dsn:
        return dsn
    if "://" in dsn:
        return f"{dsn}{'&' if '?' in dsn else '?'}connect_timeout={CONNECT_TIMEOUT_S}"
    return f"{dsn} connect_timeout={CONNECT_TIMEOUT_S}"


def _read_secret(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            found = os.fstat(stream.fileno())
            data = stream.read(MAX_DSN_BYTES + 1)
    except OSError as error:
        raise SourceError(f"[source] dsn_file {path.name} cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
        raise SourceError(
            f"[source] dsn_file {path.name} must be a file that its owner alone may read; run chmod 600 on it"
        )
    try:
        dsn = data.decode("utf-8").strip()
    except UnicodeDecodeError:
        dsn = ""
    if not dsn or len(data) > MAX_DSN_BYTES or "\n" in dsn or "\x00" in dsn:
        raise SourceError(f"[source] dsn_file {path.name} must hold one line, the address of the database")
    return dsn


def _reading(kind: str, category: str) -> tuple[Physical, str | None]:
    if kind in _NUMBERS:
        return _NUMBERS[kind]
    return _CATEGORIES.get(category, (Physical.OTHER, "text"))


def _field(name: str, cast_to: str | None) -> str:
    return quoted(name) if cast_to is None else f"CAST({quoted(name)} AS {cast_to}) AS {quoted(name)}"


def _text_bytes(column: pa.StringArray) -> memoryview:
    """The bytes of all texts of a column without nulls, one after the other."""
    _, offsets, data = column.buffers()
    if len(column) == 0 or data is None:
        return memoryview(b"")
    places = memoryview(offsets).cast("i")
    return memoryview(data)[places[column.offset] : places[column.offset + len(column)]]
