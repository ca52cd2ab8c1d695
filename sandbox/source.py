"""The port to a provider's data, and the one place that picks the adapter behind it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from sandbox.cells import CellPlan, CellTotals
from sandbox.declaration_model import DatasetDeclaration, FileSource
from sandbox.errors import SourceError
from sandbox.source_duckdb import DuckDbFiles
from sandbox.source_postgres import PostgresRelation
from sandbox.violations import Severity, Violation, ViolationKind, refusals

__all__ = [
    "CellPlan",
    "CellTotals",
    "Severity",
    "Source",
    "Violation",
    "ViolationKind",
    "open_source",
    "refusals",
]

DEFAULT_THREADS: Final = 2


class Source(Protocol):
    """A dataset's rows. Methods may be called from several threads; none of them writes to the data."""

    def content_hash(self) -> str:
        """Hex SHA-256 over the data as they are now; what later calls are held against where that is affordable.

        Raises:
            SourceUnavailableError: the data cannot be reached now.
            SourceError: the data cannot be read.
        """
        ...

    def check(self, declaration: DatasetDeclaration) -> tuple[Violation, ...]:
        """Hold every row against the declaration, in the columns' order.

        Raises:
            SourceUnavailableError: the data cannot be reached now.
            SourceError: the data are not what the source says they are (another format, garbled).
        """
        ...

    def totals(self, plan: CellPlan, declaration: DatasetDeclaration) -> CellTotals:
        """The plan's measures over all cells, exact, from one consistent state of the data.

        Raises:
            SourceUnavailableError: the data cannot be reached now.
            SourceError: the data changed since the start, lack a column, or cannot be read as declared.
            ContractError: the plan's frame does not fit the declaration.
        """
        ...

    def close(self) -> None:
        """Let go of whatever is held; later calls may take it again."""
        ...


def open_source(
    declaration: DatasetDeclaration, base: Path, environ: Mapping[str, str], *, threads: int = DEFAULT_THREADS
) -> Source:
    """Make the declaration's source; no row is read yet.

    Args:
        declaration: whose `[source]` is opened.
        base: folder that relative files and patterns start from.
        environ: where `dsn_env` is looked up.
        threads: DuckDB threads a call, 1 or more.

    Raises:
        SourceError: no file matches, or the address is missing or badly kept.
    """
    try:
        if isinstance(declaration.source, FileSource):
            return DuckDbFiles(declaration.source, base, threads=threads)
        return PostgresRelation(declaration.source, declaration, base, environ, threads=threads)
    except SourceError as error:
        raise SourceError(f"{declaration.file}: {error}") from error
