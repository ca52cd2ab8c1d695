"""`unseen aggregate`: one joint aggregate from the shell."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from decimal import Decimal
from types import TracebackType
from typing import Annotated, Self

import pandas as pd
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from parties.cli.output import (
    HomeOption,
    JsonOption,
    PassphraseOption,
    emit_json,
    emit_table,
    open_home,
    talk,
)
from parties.client.merchant import TIMEOUT_SECONDS, UNFINISHED, Merchant
from parties.client.result import AggregateResult
from parties.errors import UsageError
from sandbox.request import StatisticKind

CLOSED = "closed"
"""What a table shows in a closed cell."""


class ProgressOnStderr:
    """The sandbox's progress port as bars on stderr; on no terminal it shows nothing."""

    def __init__(self) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        console = Console(stderr=True)
        self._bars = RichProgress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}

    def advance(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of `stage` are finished."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


def aggregate(  # noqa: PLR0913, PLR0917  (each is an option of the command)
    contract: Annotated[str, typer.Argument(help="A contract's id, or the beginning of it.", show_default=False)],
    count: Annotated[bool, typer.Option("--count", help="Number of rows in each cell.")] = False,
    mean: Annotated[list[str] | None, typer.Option("--mean", help="Mean of a column; repeatable.")] = None,
    total: Annotated[list[str] | None, typer.Option("--sum", help="Sum of a column; repeatable.")] = None,
    by: Annotated[str, typer.Option("--by", help="Grouping columns, separated by commas; without them one cell.")] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            help="A filter on declared values or bin edges, such as 'education>=12' or 'smsa=yes,no'; repeatable.",
        ),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds until it is given up.")] = TIMEOUT_SECONDS,
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV to stdout.")] = False,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """At the merchant: obtain a joint aggregate over all providers of CONTRACT."""
    if csv and json:
        raise UsageError("choose one of --csv and --json")
    statistics = [*(["count"] if count else []), *(f"mean({name})" for name in mean or [])]
    statistics += [f"sum({name})" for name in total or []]
    names = [name.strip() for name in by.split(",") if name.strip()]
    opened = open_home(home, passphrase_file)
    try:
        with ProgressOnStderr() as progress, Merchant.open(opened, progress=progress, say=talk) as merchant:
            result = merchant.aggregate(contract, statistics=statistics, by=names, where=where or [], timeout=timeout)
    except KeyboardInterrupt:
        talk("Interrupted. If the call was sent, it may have been paid for: unseen resume fetches its answer")
        raise
    _tell(result)
    if json:
        emit_json(as_object(result))
    elif csv:
        sys.stdout.write(result.frame.to_csv(index=False))
    else:
        _emit_cells(result)


def resume(home: HomeOption = None, passphrase_file: PassphraseOption = None, json: JsonOption = False) -> None:
    """At the merchant: fetch the answers of calls that were sent and never finished, say after a crash or Ctrl-C.

    A call without an answer ends here once its deadline has passed; until then it stays open.
    """
    opened = open_home(home, passphrase_file)
    with ProgressOnStderr() as progress, Merchant.open(opened, progress=progress, say=_talk_of_others) as merchant:
        results = merchant.resume()
        left = merchant.unfinished
    talk(f"{len(results)} answers fetched, {left} calls still open")
    for result in results:
        _tell(result)
        if not json:
            _emit_cells(result)
    if json:
        emit_json({"results": [as_object(result) for result in results], "open": left})


def _talk_of_others(text: str) -> None:
    """Say nothing of unfinished calls to whoever is about to finish them."""
    if text != UNFINISHED:
        talk(text)


def _emit_cells(result: AggregateResult) -> None:
    emit_table(list(result.frame.columns), [texts(row) for row in _rows(result.frame)])


def as_object(result: AggregateResult) -> dict[str, object]:
    """Return a result as one JSON object; a closed cell's statistics are null, amounts are decimal strings."""
    return {
        "contract": result.contract,
        "call": result.call,
        "providers": list(result.providers),
        "cells": _rows(result.frame),
        "units": dict(result.units),
        "withheld": result.withheld,
        "price": str(result.price),
        "currency": result.currency,
        "epsilon": str(result.epsilon),
        "receipts": [{"provider": receipt.provider, "receipt_id": receipt.receipt_id} for receipt in result.receipts],
    }


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


def texts(row: Mapping[str, object]) -> list[str]:
    """Return a row as a table shows it: sums with all their digits, means with six, never an exponent."""
    return [_text(name, value) for name, value in row.items()]


def _text(name: str, value: object) -> str:
    if value is None:
        return CLOSED
    if not isinstance(value, float):
        return str(value)
    shown = f"{value:.6g}"
    exact = name.startswith(f"{StatisticKind.SUM.value}(") or "e" in shown
    return f"{Decimal(repr(value)):f}" if exact else shown


def _tell(result: AggregateResult) -> None:
    cells = len(result.frame)
    alone = len(result.providers) == 1
    who = "single provider: nothing was combined" if alone else f"{len(result.providers)} providers"
    receipts = ", ".join(receipt.receipt_id[:12] for receipt in result.receipts)
    talk(
        f"{who}, {cells - result.withheld} of {cells} cells open, {result.price} {result.currency}, receipts {receipts}"
    )
