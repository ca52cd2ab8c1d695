"""The port to a provider's data, and the one place that picks the adapter behind it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

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

MOST_THREADS: Final = 4  # the thread that adds up keeps no more of them busy


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

    def fingerprints(self, columns: tuple[str, ...]) -> npt.NDArray[np.uint64]:
        """For each row, by position, 64 bits of a cryptographic hash over the columns' texts; nulls have their own.

        Positions are those of `totals` over the same data. Equal rows have equal fingerprints in every version of the
        data, however they are stored: 12.5 and 12.50 are one value. Texts that differ otherwise (1e2 and 100) are not.

        Args:
            columns: as the source calls them, one or more; declared or not.

        Raises:
            SourceUnavailableError: the data cannot be reached now.
            SourceError: the data changed since the start, lack a column, or cannot be read.
        """
        ...

    def persons(self, declaration: DatasetDeclaration) -> npt.NDArray[np.uint32] | None:
        """For each row, by position, a dense code of its person, 0 and up; None where persons are not told apart.

        A null is a person of its own. Codes are the same in every call over the same data, and only there.

        Raises:
            SourceUnavailableError: the data cannot be reached now.
            SourceError: the data changed since the start, lack the person column, or cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go of whatever is held; later calls may take it again."""
        ...


def open_source(
    declaration: DatasetDeclaration, base: Path, environ: Mapping[str, str], *, threads: int | None = None
) -> Source:
    """Make the declaration's source; no row is read yet.

    Args:
        declaration: whose `[source]` is opened.
        base: folder that relative files and patterns start from.
        environ: where `dsn_env` is looked up.
        threads: DuckDB threads a call, 1 or more; by default one fewer than there are processors, which is left to
            the thread that adds up, and at most `MOST_THREADS`.

    Raises:
        SourceError: no file matches, or the address is missing or badly kept.
    """
    if threads is None:
        threads = max(1, min(MOST_THREADS, (os.cpu_count() or 1) - 1))
    try:
        if isinstance(declaration.source, FileSource):
            return DuckDbFiles(declaration.source, base, threads=threads)
        return PostgresRelation(declaration.source, declaration, base, environ, threads=threads)
    except SourceError as error:
        raise SourceError(f"{declaration.file}: {error}") from error
