"""What tells a source's rows apart: fingerprints and persons, in the order of the rows' positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sandbox.declaration_model import DatasetDeclaration
from sandbox.errors import SourceError
from sandbox.scan import Parameters, Scan, quoted
from sandbox.source_check import person_column
from sandbox.source_persons import PersonOfRow, person_codes

PERSON: Final = "person_of_row"
POSITION: Final = "position_of_row"


def fingerprints_of(scan: Scan, columns: Sequence[str]) -> npt.NDArray[np.uint64]:
    """For each row the first 8 bytes, little-endian, of MD5 over the columns' texts.

    The text is, a column, `-` for null, else its length in bytes, a colon, and the value as DuckDB writes it, without
    zeros that end it behind a point: an export that writes 12.50 for 12.5 makes no new rows.

    Raises:
        SourceError: a column is missing, or the data cannot be read.
    """
    for name in columns:
        if name not in scan.types:
            raise SourceError(f"{scan.place} has no column {name!r}, by which its rows are to be told apart")
    whole = (f"CAST({quoted(name)} AS VARCHAR)" for name in columns)
    texts = [f"CASE WHEN contains({text}, '.') THEN rtrim(rtrim({text}, '0'), '.') ELSE {text} END" for text in whole]
    # Written in a step of its own: what is asked for three times is computed once.
    written = ", ".join(f"{text} AS t{number}" for number, text in enumerate(texts))
    parts = (f"CASE WHEN t{n} IS NULL THEN '-' ELSE strlen(t{n}) || ':' || t{n} END" for n in range(len(texts)))
    sql = (
        f"SELECT md5_number_upper({' || '.join(parts)}) AS fingerprint "  # noqa: S608  (identifiers are quoted)
        f"FROM (SELECT {written} FROM {scan.relation}) AS written"
    )
    return _joined([numbers(found.column(0)) for found in scan.batches(sql, Parameters())], np.uint64)


def persons_of(scan: Scan, declaration: DatasetDeclaration) -> PersonOfRow | None:
    """The person of each row; None where persons are not told apart.

    Raises:
        SourceError: the person column is missing, or the data cannot be read.
    """
    if declaration.person_id is None:
        return None
    selected = person_hash(scan, declaration.person_id, declaration)
    if scan.position is not None:
        selected += f", {scan.position} AS {POSITION}"
    found = list(scan.batches(f"SELECT {selected} FROM {scan.relation}", Parameters()))  # noqa: S608
    codes = person_codes([batch.column(PERSON) for batch in found])
    order = order_of([numbers(batch.column(POSITION)) for batch in found] if scan.position is not None else [])
    return codes if order is None else codes[order]


def person_hash(scan: Scan, person_id: str, declaration: DatasetDeclaration) -> str:
    """SQL for SELECT: a 64-bit hash of the person column, null where that is null.

    Raises:
        SourceError: there is no such column.
    """
    physical = person_column(declaration, person_id)
    if physical not in scan.types:
        raise SourceError(f"{scan.place} has no column {physical!r}, which person_id names; name the right one")
    return f"CASE WHEN {quoted(physical)} IS NOT NULL THEN hash({quoted(physical)}) END AS {PERSON}"


def order_of(positions: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.intp] | None:
    """Which row, as it came, is at each position; None where rows come in that order."""
    return np.argsort(np.concatenate(positions), kind="stable") if positions else None


def numbers(column: pa.Array) -> npt.NDArray[np.int64]:
    """A column of integers without nulls, of any width, without a copy."""
    found: npt.NDArray[np.int64] = column.to_numpy(zero_copy_only=True)
    return found


def _joined(chunks: Sequence[npt.NDArray[np.int64]], kind: type[np.uint64]) -> npt.NDArray[np.uint64]:
    return np.concatenate(chunks).astype(kind) if chunks else np.zeros(0, kind)
