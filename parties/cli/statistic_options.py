"""The options by which a command asks for statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import typer

from parties.errors import UsageError
from sandbox.statistic import StatisticKind

CountOption: TypeAlias = Annotated[bool, typer.Option("--count", help="Number of rows in each cell.")]
MeanOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--mean", metavar="X", help="Mean of a column. This and all further statistics are repeatable."),
]
SumOption: TypeAlias = Annotated[list[str] | None, typer.Option("--sum", metavar="X", help="Sum of a column.")]
VarianceOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--variance", metavar="X", help="Sample variance of a column (divisor n - 1).")
]
StdOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--std", metavar="X", help="Sample standard deviation of a column.")
]
CovarianceOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--covariance", metavar="X,Y", help="Sample covariance of two columns.")
]
CorrelationOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--correlation", metavar="A,B,...", help="Pearson's correlation of two columns; a matrix of more."),
]
WeightedMeanOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--weighted-mean", metavar="X:W", help="Mean of column X, weighted by column W.")
]
RegressionOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--regression", metavar="'Y~X1+X2'", help="Least squares with an intercept: coefficients, errors, t, p, R2."
    ),
]
HistogramOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--histogram", metavar="X", help="Rows in each category, or in each bin between a number's declared edges."
    ),
]
QuantileOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--quantile",
        metavar="X:P,...",
        help="Quantiles by declared bins, such as wage:0.25,0.5, with their error.",
    ),
]
AnovaOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--anova", metavar="'Y~FACTOR'", help="One-way analysis of variance of Y over FACTOR's levels."),
]
StatisticOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--statistic", metavar="TEXT", help="Any statistic as Python takes it, such as 'median(wage)'."),
]


@dataclass(frozen=True, slots=True)
class AskedStatistics:
    """Statistics as the options give them: `listed` by kind, what stands in the brackets; `written` whole."""

    count: bool
    listed: Mapping[StatisticKind, Sequence[str] | None]
    weighted_means: Sequence[str]
    quantiles: Sequence[str]
    written: Sequence[str]

    def texts(self) -> list[str]:
        """Return them as `Merchant.aggregate` takes them.

        Raises:
            UsageError: a colon is missing.
        """
        return [
            *([StatisticKind.COUNT.value] if self.count else []),
            *(f"{kind.value}({inside})" for kind, given in self.listed.items() for inside in given or []),
            *(_after_colon(StatisticKind.WEIGHTED_MEAN, "--weighted-mean X:W", one) for one in self.weighted_means),
            *(_after_colon(StatisticKind.QUANTILE, "--quantile X:0.25,0.5", one) for one in self.quantiles),
            *self.written,
        ]


def _after_colon(kind: StatisticKind, form: str, value: str) -> str:
    column, colon, rest = value.partition(":")
    if not colon or not column.strip() or not rest.strip():
        raise UsageError(f"{value!r}: write {form}")
    return f"{kind.value}({column},{rest})"
