"""How statistics are written: `mean(wage)`, `regression(wage~education+experience)`, `quantile(wage,0.5)`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Final, TypeAlias

from parties.errors import UsageError
from sandbox.errors import ContractError
from sandbox.frame import ColumnType, Frame, FrameColumn
from sandbox.statistic import MAX_JOINT_COLUMNS, MILLION, Statistic, StatisticKind

MEDIAN: Final = "median"
"""A short form: median(wage) is quantile(wage,0.5)."""

EXAMPLES: Final[Mapping[StatisticKind, str]] = MappingProxyType(
    {
        StatisticKind.COUNT: "count or count(wage)",
        StatisticKind.SUM: "sum(wage)",
        StatisticKind.MEAN: "mean(wage)",
        StatisticKind.VARIANCE: "variance(wage)",
        StatisticKind.STD: "std(wage)",
        StatisticKind.COVARIANCE: "covariance(wage,education)",
        StatisticKind.CORRELATION: "correlation(wage,education,experience)",
        StatisticKind.WEIGHTED_MEAN: "weighted_mean(wage,weight)",
        StatisticKind.REGRESSION: "regression(wage~education+experience)",
        StatisticKind.HISTOGRAM: "histogram(wage)",
        StatisticKind.QUANTILE: "quantile(wage,0.25,0.5,0.75)",
        StatisticKind.ANOVA: "anova(wage~education)",
    }
)
"""What a text of each kind looks like."""

_CALL: Final = re.compile(r"\s*([a-z_]+)\s*(?:\((.*)\))?\s*")
_NAMED: Final = frozenset({kind.value for kind in StatisticKind} | {MEDIAN})
_Read: TypeAlias = Callable[["_Text", str], Statistic]


def read_statistic(frame: Frame, text: str) -> Statistic:
    """Read one statistic over the columns of `frame`; `EXAMPLES` shows each form.

    Raises:
        UsageError: an unknown statistic, or columns that are missing, unknown or of the wrong kind.
    """
    match = _CALL.fullmatch(text)
    if match is None or match[1] not in _NAMED:
        known = ", ".join(kind.value for kind in StatisticKind)
        raise UsageError(f"{text!r} is no statistic: write one of {known}, with its column, such as mean(wage)")
    name, inside = match[1], match[2]
    kind = StatisticKind.QUANTILE if name == MEDIAN else StatisticKind(name)
    reading = _Text(frame, text, kind, name)
    if inside is None:
        if kind is not StatisticKind.COUNT:
            raise reading.error(f"{name} needs a column: write {reading.example}")
        return Statistic(kind, None)
    try:
        return _READERS.get(kind, _read_columns)(reading, inside)
    except ContractError as error:
        raise reading.error(str(error)) from error


def statistic_name(statistic: Statistic) -> str:
    """Return a statistic as it is written: the name of its column or table in a result, and readable again."""
    kind, column = statistic.kind, statistic.column
    if column is None:
        return kind.value
    if kind in {StatisticKind.REGRESSION, StatisticKind.ANOVA}:
        return f"{kind.value}({column}~{'+'.join(statistic.others)})"
    return f"{kind.value}({','.join([*statistic.columns, *map(probability_text, statistic.probabilities)])})"


def probability_text(millionths: int) -> str:
    """Write a probability as shortly as it can be: 500,000 millionths are `0.5`."""
    return f"{(Decimal(millionths) / MILLION).normalize():f}"


class _Text:
    """One text that is being read: its columns are looked up and held against what the statistic needs."""

    def __init__(self, frame: Frame, text: str, kind: StatisticKind, name: str) -> None:
        self.frame = frame
        self.text = text
        self.kind = kind
        self.name = name

    @property
    def example(self) -> str:
        return f"{MEDIAN}(wage)" if self.name == MEDIAN else EXAMPLES[self.kind]

    def error(self, detail: str) -> UsageError:
        return UsageError(f"{self.text.strip()!r}: {detail}")

    def columns(self, inside: str, separator: str = ",") -> tuple[str, ...]:
        names = tuple(name.strip() for name in inside.split(separator))
        if not all(names):
            raise self.error(f"a column is missing: write {self.example}")
        for name in names:
            self.column(name)
        return names

    def column(self, name: str) -> FrameColumn:
        try:
            return self.frame.column(name)
        except ContractError as error:
            raise self.error(f"{error}: `unseen contract show` lists the contract's columns") from error

    def numbers(self, names: Sequence[str]) -> None:
        for name in names:
            if self.column(name).type is ColumnType.CATEGORY:
                raise self.error(
                    f"{name} is a category, and {self.name} needs a number. A category can be counted (count({name}), "
                    f"histogram({name})), grouped by, or be the factor of an analysis of variance (anova(wage~{name}))"
                )

    def levels(self, name: str) -> None:
        if not self.column(name).level_count:
            raise self.error(
                f"{name} has no levels in this contract: {self.name} needs a category, or a number whose providers "
                "declare edges of bins"
            )


def _read_columns(reading: _Text, inside: str) -> Statistic:
    names = reading.columns(inside)
    if reading.kind is not StatisticKind.COUNT:
        reading.numbers(names)
    least, most = _HOW_MANY.get(reading.kind, (1, 1))
    if not least <= len(names) <= most:
        how_many = f"{least} column{'s' if least > 1 else ''}" if least == most else f"{least} to {most} columns"
        raise reading.error(f"{reading.name} takes {how_many}: write {reading.example}")
    return Statistic(reading.kind, names[0], names[1:])


def _read_formula(reading: _Text, inside: str) -> Statistic:
    sides = inside.split("~")
    if len(sides) != 2:
        raise reading.error(f"{reading.name} needs a formula: write {reading.example}")
    outcome, *more = reading.columns(sides[0], "+")
    explaining = reading.columns(sides[1], "+")
    if more:
        raise reading.error(f"{reading.name} explains one column: write {reading.example}")
    if reading.kind is StatisticKind.ANOVA:
        if len(explaining) > 1:
            raise reading.error(f"a one-way analysis of variance has one factor: write {reading.example}")
        reading.numbers([outcome])
        reading.levels(explaining[0])
    else:
        reading.numbers([outcome, *explaining])
    return Statistic(reading.kind, outcome, explaining)


def _read_histogram(reading: _Text, inside: str) -> Statistic:
    names = reading.columns(inside)
    if len(names) > 1:
        raise reading.error(f"a histogram is of one column: write {reading.example}")
    reading.levels(names[0])
    return Statistic(reading.kind, names[0])


def _read_quantile(reading: _Text, inside: str) -> Statistic:
    name, *written = (part.strip() for part in inside.split(","))
    reading.numbers(reading.columns(name))
    reading.levels(name)
    if reading.name == MEDIAN:
        if written:
            raise reading.error("a median has no further arguments; write quantile(wage,0.25) for other quantiles")
        written = ["0.5"]
    if not written:
        raise reading.error(f"which quantiles? Write {reading.example}, or median({name})")
    millionths = sorted(_millionths(reading, probability) for probability in written)
    if len(set(millionths)) < len(millionths):
        raise reading.error("a probability is given twice; give each once")
    return Statistic(reading.kind, name, (), tuple(millionths))


def _millionths(reading: _Text, written: str) -> int:
    complaint = f"{written!r} is no probability: write it between 0 and 1, with six decimals at most, such as 0.25"
    try:
        scaled = Decimal(written) * MILLION
        if 0 < scaled < MILLION and scaled == int(scaled):
            return int(scaled)
    except InvalidOperation:
        pass
    raise reading.error(complaint)


_HOW_MANY: Final[Mapping[StatisticKind, tuple[int, int]]] = MappingProxyType(
    {
        StatisticKind.COVARIANCE: (2, 2),
        StatisticKind.CORRELATION: (2, MAX_JOINT_COLUMNS),
        StatisticKind.WEIGHTED_MEAN: (2, 2),
    }
)
"""Least and most columns of the kinds that take several."""

_READERS: Final[Mapping[StatisticKind, _Read]] = MappingProxyType(
    {
        StatisticKind.REGRESSION: _read_formula,
        StatisticKind.ANOVA: _read_formula,
        StatisticKind.HISTOGRAM: _read_histogram,
        StatisticKind.QUANTILE: _read_quantile,
    }
)
"""The kinds that are written otherwise than as a list of columns."""
