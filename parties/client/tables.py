"""Catalogue and contracts as data frames, for whoever browses."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from sandbox.column_description import ColumnDescription
from sandbox.contract_record import ContractRecord
from sandbox.description import DatasetDescription
from sandbox.frame import ColumnType, format_scaled

CATALOGUE_COLUMNS = (
    "provider",
    "dataset",
    "version",
    "title",
    "declared_rows",
    "column",
    "type",
    "unit",
    "levels",
    "bounds",
    "nullable",
    "grade",
    "uses",
    "identifies_provider",
)
CONTRACT_COLUMNS = ("contract", "state", "providers", "purpose", "not_after", "calls", "fee_cap", "currency")


def catalogue_table(descriptions: Iterable[DatasetDescription]) -> pd.DataFrame:
    """Return one row a column of each data set, in declared order."""
    rows = [
        (
            dataset.party,
            dataset.name,
            dataset.version,
            dataset.title,
            dataset.declared_rows,
            column.name,
            column.type.value,
            column.unit,
            levels_text(column),
            bounds_text(column),
            column.nullable,
            column.grade.value,
            ", ".join(sorted(use.value for use in column.uses)),
            column.identifies_provider,
        )
        for dataset in descriptions
        for column in dataset.columns
    ]
    return pd.DataFrame(rows, columns=list(CATALOGUE_COLUMNS))


def contracts_table(records: Iterable[ContractRecord], now_ms: int) -> pd.DataFrame:
    """Return one row a contract, as it stands at `now_ms`."""
    rows = [
        (
            record.contract_id,
            record.state_at(now_ms).value,
            ", ".join(record.contract.providers),
            record.contract.purpose.text,
            pd.Timestamp(record.contract.validity.not_after_ms, unit="ms", tz="UTC"),
            record.contract.quotas.calls,
            format_scaled(record.contract.fee_cap_micro, 6),
            record.contract.tariff.currency,
        )
        for record in records
    ]
    return pd.DataFrame(rows, columns=list(CONTRACT_COLUMNS))


def levels_text(column: ColumnDescription) -> str:
    """Return a category's values, or a number's declared edges."""
    if column.type is ColumnType.CATEGORY:
        return ", ".join(column.domain)
    return ", ".join(format_scaled(edge, column.decimals) for edge in column.edges)


def bounds_text(column: ColumnDescription) -> str:
    """Return a number's declared bounds, empty for a category."""
    if column.lo is None or column.hi is None:
        return ""
    return f"{format_scaled(column.lo, column.decimals)} to {format_scaled(column.hi, column.decimals)}"
