"""`unseen aggregate`: one joint aggregate from the shell."""

from __future__ import annotations

from types import TracebackType
from typing import Annotated, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from parties.cli.output import HomeOption, JsonOption, PassphraseOption, emit_json, emit_table, open_home, say, talk
from parties.cli.result_output import as_object, emit_csv, emit_tables, find_table, tell
from parties.cli.statistic_options import (
    AnovaOption,
    AskedStatistics,
    CorrelationOption,
    CountOption,
    CovarianceOption,
    HistogramOption,
    MeanOption,
    QuantileOption,
    RegressionOption,
    StatisticOption,
    StdOption,
    SumOption,
    VarianceOption,
    WeightedMeanOption,
)
from parties.client.merchant import TIMEOUT_SECONDS, UNFINISHED, Merchant
from parties.client.query import read_query
from parties.client.quote import Quote
from parties.client.result_tables import table_names
from parties.errors import UsageError
from sandbox.statistic import StatisticKind


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
    count: CountOption = False,
    mean: MeanOption = None,
    total: SumOption = None,
    variance: VarianceOption = None,
    std: StdOption = None,
    covariance: CovarianceOption = None,
    correlation: CorrelationOption = None,
    weighted_mean: WeightedMeanOption = None,
    regression: RegressionOption = None,
    histogram: HistogramOption = None,
    quantile: QuantileOption = None,
    anova: AnovaOption = None,
    statistic: StatisticOption = None,
    by: Annotated[str, typer.Option("--by", help="Grouping columns, separated by commas; without them one cell.")] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            help="A filter on declared values or bin edges, such as 'education>=12' or 'smsa=yes,no'; repeatable.",
        ),
    ] = None,
    quote: Annotated[
        bool, typer.Option("--quote", help="Say what it would cost, from the contract alone, and ask nothing.")
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds until it is given up.")] = TIMEOUT_SECONDS,
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV to stdout: one table.")] = False,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            metavar="NAME",
            help="Show this table alone, by its name or a part of it, such as regression or fit; for CSV and pipes.",
        ),
    ] = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """At the merchant: obtain a joint aggregate over all providers of CONTRACT."""
    if json and (csv or table is not None):
        raise UsageError("--json writes all tables: leave out --csv and --table")
    asked = AskedStatistics(
        count,
        {
            StatisticKind.MEAN: mean,
            StatisticKind.SUM: total,
            StatisticKind.VARIANCE: variance,
            StatisticKind.STD: std,
            StatisticKind.COVARIANCE: covariance,
            StatisticKind.CORRELATION: correlation,
            StatisticKind.REGRESSION: regression,
            StatisticKind.HISTOGRAM: histogram,
            StatisticKind.ANOVA: anova,
        },
        weighted_mean or [],
        quantile or [],
        statistic or [],
    ).texts()
    names = [name.strip() for name in by.split(",") if name.strip()]
    opened = open_home(home, passphrase_file)
    try:
        with ProgressOnStderr() as progress, Merchant.open(opened, progress=progress, say=talk) as merchant:
            query = read_query(merchant.contract(contract).contract.frame, asked, names, where or [])
            # A table that is not there is told before the call is paid for.
            shown = None if table is None else find_table(table_names(query), table)
            if quote:
                _tell_quote(merchant.quote_for(contract, query), json=json)
                return
            result = merchant.ask(contract, query, timeout=timeout)
    except KeyboardInterrupt:
        talk("Interrupted. If the call was sent, it may have been paid for: unseen resume fetches its answer")
        raise
    tell(result)
    if json:
        emit_json(as_object(result))
    elif csv:
        emit_csv(result, shown)
    else:
        emit_tables(result, shown)


def _tell_quote(quoted: Quote, *, json: bool) -> None:
    if json:
        emit_json(
            {
                "price": str(quoted.price),
                "providers": {name: str(price) for name, price in quoted.providers.items()},
                "currency": quoted.currency,
                "cells": quoted.cells,
                "ciphertexts": quoted.ciphertexts,
            }
        )
        return
    rows = [*quoted.providers.items(), (say("in all", "合计"), quoted.price)]
    emit_table(["provider", quoted.currency], [[name, str(price)] for name, price in rows])
    talk(f"{quoted.cells} cells, {quoted.ciphertexts} ciphertexts from each provider; nothing was sent")


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
        tell(result)
        if not json:
            emit_tables(result, None)
    if json:
        emit_json({"results": [as_object(result) for result in results], "open": left})


def _talk_of_others(text: str) -> None:
    """Say nothing of unfinished calls to whoever is about to finish them."""
    if text != UNFINISHED:
        talk(text)
