"""One pass over a relation in a DuckDB that can reach nothing but the declared files.

Numbers are read exactly: text and integers through DECIMAL arithmetic, never binary floating point; a double stands for
the shortest decimal that round-trips, as if it had been written to CSV. Surplus decimals are rounded half away from
zero at the declared decimals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import duckdb
import pyarrow as pa

from sandbox.declaration_model import ColumnDeclaration
from sandbox.errors import SourceError
from sandbox.frame import ColumnType, format_scaled

BATCH_ROWS: Final = 1 << 15  # a batch's columns stay in the processor's cache
_CSV_LINE: Final = re.compile(r"CSV Error on Line: (\d+)")
_INTEGER_TEXT: Final = r"[+-]?[0-9]+(\.0*)?"
_NUMBER_TEXT: Final = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"


class Physical(Enum):
    """What a source's column holds, as far as reading differs."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "floating point"
    REAL = "single-precision floating point"
    BOOLEAN = "boolean"
    OTHER = "another type"


_NUMBERS: Final = frozenset({Physical.TEXT, Physical.INTEGER, Physical.DECIMAL, Physical.FLOAT, Physical.REAL})
READABLE: Final[Mapping[ColumnType, frozenset[Physical]]] = {
    ColumnType.INTEGER: _NUMBERS,
    ColumnType.DECIMAL: _NUMBERS,
    ColumnType.CATEGORY: frozenset({Physical.TEXT, Physical.INTEGER, Physical.BOOLEAN}),
}
"""Which columns of a source can be read as which declared type."""


class Parameters:
    """Values of one statement; no value is ever written into SQL text."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}

    def add(self, value: object) -> str:
        """Take a value and return its placeholder."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"${name}"

    def scaled(self, value: int, decimals: int) -> str:
        """A scaled integer as an exact DECIMAL expression."""
        return f"CAST({self.add(format_scaled(value, decimals))} AS DECIMAL(38, {decimals}))"


@dataclass(frozen=True, slots=True)
class Scan:
    """A relation to be read.

    `relation` is SQL for FROM, its values in `parameters`; `types` are the columns it has; `place` names it in
    messages. A row's position is its place in the order in which it comes; where that is not stable, `position` is SQL
    for the 64-bit number that rows are sorted by. `streamed` says that the rows can be read once only.
    """

    connection: duckdb.DuckDBPyConnection
    relation: str
    parameters: Mapping[str, object]
    types: Mapping[str, Physical]
    place: str
    position: str | None = None
    streamed: bool = False

    def fetch(self, sql: str, parameters: Parameters) -> list[tuple[object, ...]]:
        """Run one statement over the relation.

        Raises:
            SourceError: the data cannot be read; DuckDB's own text is dropped because it quotes rows.
        """
        try:
            return self.connection.execute(sql, {**self.parameters, **parameters.values}).fetchall()
        except duckdb.Error as error:
            raise unreadable(self.place, error) from None

    def batches(self, sql: str, parameters: Parameters) -> Iterator[pa.RecordBatch]:
        """The result in batches of at most `BATCH_ROWS` rows, in the order of the relation's rows, as they are read.

        Raises:
            SourceError: as `fetch`; it may come after batches that were good.
        """
        try:
            found = self.connection.sql(sql, params={**self.parameters, **parameters.values})
            yield from found.to_arrow_reader(BATCH_ROWS)
        except (duckdb.Error, pa.ArrowException, OSError) as error:  # the stream's own errors quote rows as well
            raise unreadable(self.place, error) from None


def hardened_connection(threads: int, files: Sequence[str] = ()) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that may read `files` and nothing else, spills nothing and loads no extension."""
    connection = duckdb.connect(":memory:", config={"threads": threads})
    connection.execute("SET enable_progress_bar = false")  # it would tell the log how long a scan takes
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    connection.execute("SET temp_directory = ''")
    connection.execute("SET enable_external_file_cache = false")  # no rows stay in memory between calls
    connection.execute("SET allowed_paths = $files", {"files": list(files)})
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def unreadable(place: str, error: Exception) -> SourceError:
    """The refusal of data that DuckDB cannot read: where, and never what stands there."""
    line = _CSV_LINE.search(str(error))
    where = f"{place}, line {line[1]}" if line else place
    return SourceError(
        f"{where}: the data cannot be read as declared ({type(error).__name__}); check that the file is whole, UTF-8, "
        "and that every line has as many fields as the header"
    )


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def read_expression(column: ColumnDeclaration, physical: Physical) -> str:
    """SQL for the column's value: DECIMAL(38, decimals) or VARCHAR; NULL where it is null or cannot be read."""
    raw = quoted(column.physical)
    target = f"DECIMAL(38, {column.decimals})"
    if column.type is ColumnType.CATEGORY:
        return raw if physical is Physical.TEXT else f"CAST({raw} AS VARCHAR)"
    if physical is Physical.TEXT:
        grammar = _INTEGER_TEXT if column.type is ColumnType.INTEGER else _NUMBER_TEXT
        return f"CASE WHEN regexp_full_match(trim({raw}), '{grammar}') THEN TRY_CAST(trim({raw}) AS {target}) END"
    if physical is Physical.INTEGER:
        return f"TRY_CAST({raw} AS {target})"
    if column.type is ColumnType.INTEGER:
        return f"CASE WHEN {raw} = trunc({raw}) THEN TRY_CAST({raw} AS {target}) END"
    if physical in (Physical.FLOAT, Physical.REAL):
        return f"TRY_CAST(CAST({raw} AS VARCHAR) AS {target})"
    return f"TRY_CAST({raw} AS {target})"


def check_readable(scan: Scan, column: ColumnDeclaration) -> None:
    """Raise `SourceError` unless the scan has the column in a type that can be read as declared."""
    physical = scan.types.get(column.physical)
    if physical is None:
        raise SourceError(
            f"{scan.place} has no column {column.physical!r} (declared as {column.name}); "
            "name the right one with physical"
        )
    if physical not in READABLE[column.type]:
        raise SourceError(
            f"{scan.place}: column {column.physical!r} holds {physical.value}, which cannot be read as "
            f"{column.type.value}; declare another type or convert it"
        )
