"""A joint aggregate's result on the command line: as JSON, as CSV, as tables."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

import pandas as pd

from parties.cli.chinese import table_title
from parties.cli.output import emit_table, emit_text, say, talk
from parties.client.result import SINGLE_PROVIDER, AggregateResult
from parties.client.result_cells import CONTRIBUTORS
from parties.client.result_html import CLOSED, UNDEFINED
from parties.errors import UsageError
from sandbox.statistic import StatisticKind

_PLAIN_FROM: Final = 1e-6
"""Numbers from here on are written without an exponent; smaller ones, such as p-values, would be zeros alone."""


def find_table(names: Sequence[str], wanted: str) -> str:
    """Return the table that `--table` means: of that name, else the first whose name has it in it.

    Raises:
        UsageError: there is none.
    """
    for name in (*(name for name in names if name == wanted), *(name for name in names if wanted in name)):
        return name
    known = ", ".join(f"'{name}'" for name in names) or "none beside the one that is shown anyway"
    raise UsageError(f"--table {wanted}: there is no such table; what is asked for gives {known}")


def emit_csv(result: AggregateResult, name: str | None) -> None:
    """Write one table as CSV: the named one, else the result's frame."""
    table = result.frame if name is None else result.tables[name]
    sys.stdout.write(table.to_csv(index=False))
    _tell_of_others(result, table)


def emit_tables(result: AggregateResult, name: str | None) -> None:
    """Write the named table; without a name all of them on a terminal, and into a pipe the result's frame alone."""
    table = result.frame if name is None else result.tables[name]
    _emit(table)
    if name is None and sys.stdout.isatty():
        for title, further in result.further.items():
            emit_text(f"\n{table_title(title)}")
            _emit(further)
    else:
        _tell_of_others(result, table)


def tell(result: AggregateResult) -> None:
    """Say on stderr what a result cost and what is missing in it."""
    alone = len(result.providers) == 1
    who = SINGLE_PROVIDER if alone else f"{len(result.providers)} providers"
    receipts = ", ".join(receipt.receipt_id[:12] for receipt in result.receipts)
    opened = f"{result.cells - result.withheld} of {result.cells} cells open"
    talk(f"{who}, {opened}, {result.price} {result.currency}, receipts {receipts}")
    for note in result.notes:
        talk(note)


def as_object(result: AggregateResult) -> dict[str, object]:
    """Return a result as one JSON object; figures that are closed or undefined are null, amounts decimal strings.

    `cells` are the rows of the result's frame; `tables` has every table by name, with its rows and units.
    """
    return {
        "contract": result.contract,
        "call": result.call,
        "providers": list(result.providers),
        "cells": _rows(result.frame),
        "units": dict(result.units),
        "tables": {
            name: {"rows": _rows(table), "units": dict(table.attrs["units"])} for name, table in result.tables.items()
        },
        "notes": list(result.notes),
        "withheld": result.withheld,
        "price": str(result.price),
        "currency": result.currency,
        "epsilon": str(result.epsilon),
        "receipts": [{"provider": receipt.provider, "receipt_id": receipt.receipt_id} for receipt in result.receipts],
    }


def texts(row: Mapping[str, object]) -> list[str]:
    """Return a row as a table shows it: sums with all their digits, other figures with six.

    A figure that is missing is closed where the row has no contributors, or no figure at all; else it is not defined.
    """
    figures = [value for name, value in row.items() if not isinstance(value, str) and name != CONTRIBUTORS]
    closed = row.get(CONTRIBUTORS) == 0 if CONTRIBUTORS in row else all(value is None for value in figures)
    return [_text(name, value, CLOSED if closed else UNDEFINED) for name, value in row.items()]


def _text(name: str, value: object, missing: str) -> str:
    if value is None:
        return missing
    if not isinstance(value, float):
        return str(value)
    shown = f"{value:.6g}"
    exact = name.startswith(f"{StatisticKind.SUM.value}(") or ("e" in shown and abs(value) >= _PLAIN_FROM)
    return f"{Decimal(repr(value)):f}" if exact else shown


def _emit(table: pd.DataFrame) -> None:
    emit_table(list(table.columns), [texts(row) for row in _rows(table)])


def _tell_of_others(result: AggregateResult, shown: pd.DataFrame) -> None:
    others = [f"'{name}'" for name, table in result.tables.items() if table is not shown]
    if others:
        names = ", ".join(others)
        talk(say(f"Further tables, which --table NAME picks: {names}", f"其他表（用 --table 名称 选取）：{names}"))


def _rows(frame: pd.DataFrame) -> list[dict[str, object]]:
    return [
        {str(name): _plain(value) for name, value in zip(frame.columns, row, strict=True)}
        for row in frame.itertuples(index=False, name=None)
    ]


def _plain(value: object) -> object:
    if isinstance(value, str):
        return value
    if pd.isna(value):  # type: ignore[call-overload]
        return None
    return float(value) if isinstance(value, float) else int(str(value))
