"""The statistics that a merchant may ask for, and the sums that the providers add up for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import combinations_with_replacement
from types import MappingProxyType
from typing import Final

from audit.canonical import Fields, Json
from sandbox.errors import ContractError
from sandbox.frame import Frame

MAX_JOINT_COLUMNS: Final = 24  # of one statistic
MAX_PREDICTORS: Final = 16  # of one regression; `protocols.regression` solves no more
MAX_PROBABILITIES: Final = 99
MILLION: Final = 1_000_000


class StatisticKind(Enum):
    """What a merchant may ask for."""

    COUNT = "count"
    SUM = "sum"
    MEAN = "mean"
    VARIANCE = "variance"
    STD = "std"
    COVARIANCE = "covariance"
    CORRELATION = "correlation"
    WEIGHTED_MEAN = "weighted_mean"
    REGRESSION = "regression"
    HISTOGRAM = "histogram"
    QUANTILE = "quantile"
    ANOVA = "anova"


REFINING: Final = frozenset({StatisticKind.HISTOGRAM, StatisticKind.QUANTILE, StatisticKind.ANOVA})
"""Statistics over cells of their own: those of the grouping columns, split further by the levels of one more."""

_OTHERS: Final[Mapping[StatisticKind, tuple[int, int]]] = MappingProxyType(
    {
        StatisticKind.COVARIANCE: (1, 1),
        StatisticKind.CORRELATION: (1, MAX_JOINT_COLUMNS - 1),
        StatisticKind.WEIGHTED_MEAN: (1, 1),
        StatisticKind.REGRESSION: (1, MAX_PREDICTORS),
        StatisticKind.ANOVA: (1, 1),
    }
)
"""Least and most further columns; none for the kinds that are not listed."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """One figure, or one table of figures, a cell.

    COUNT without a column counts rows; with one, its values that are not null. `column` is what the statistic is of;
    `others` are the second column of COVARIANCE, the further ones of CORRELATION, the weights of WEIGHTED_MEAN, the
    predictors of REGRESSION (`column` is the response), the factor of ANOVA. `probabilities` of QUANTILE are in
    millionths, 1 to 999,999. Statistics of several columns are over the rows in which none of them is null.

    Raises:
        ContractError: columns or probabilities that the kind does not have, or too many of them.
    """

    kind: StatisticKind
    column: str | None
    others: tuple[str, ...] = ()
    probabilities: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        kind = self.kind.value
        if self.column is None and self.kind is not StatisticKind.COUNT:
            raise ContractError(f"{kind} needs a column; only count may go without")
        least, most = _OTHERS.get(self.kind, (0, 0))
        if not least <= len(self.others) <= most:
            raise ContractError(f"{kind} takes {least} to {most} further columns, not {len(self.others)}")
        if len({self.column, *self.others}) != 1 + len(self.others):
            raise ContractError(f"{kind} names a column twice; name each once")
        if (self.kind is StatisticKind.QUANTILE) != bool(self.probabilities):
            raise ContractError("a quantile needs its probabilities, and nothing else has any")
        if len(self.probabilities) > MAX_PROBABILITIES or list(self.probabilities) != sorted(set(self.probabilities)):
            raise ContractError(f"at most {MAX_PROBABILITIES} probabilities are allowed, increasing, each once")
        if any(not 0 < probability < MILLION for probability in self.probabilities):
            raise ContractError("a probability lies between 0 and 1, ends excluded, at six decimals at most")

    @property
    def columns(self) -> tuple[str, ...]:
        """Every logical column that it touches."""
        return self.others if self.column is None else (self.column, *self.others)

    @property
    def refined_by(self) -> str | None:
        """The column whose levels split the cells further; None for a statistic over the query's own cells."""
        if self.kind is StatisticKind.ANOVA:
            return self.others[0]
        return self.column if self.kind in REFINING else None

    @property
    def aggregated(self) -> tuple[str, ...]:
        """The columns whose values are added up or counted."""
        return tuple(name for name in self.columns if name != self.refined_by)

    def measures(self, frame: Frame) -> tuple[Measure, ...]:
        """Its sufficient statistic in one cell, without the number of rows that every cell has.

        Raises:
            ContractError: a column is not in the frame.
        """
        present = tuple(sorted(name for name in self.aggregated if frame.column(name).nullable))
        count = Measure((), present)
        match self.kind:
            case StatisticKind.COUNT | StatisticKind.HISTOGRAM | StatisticKind.QUANTILE:
                return (count,)
            case StatisticKind.SUM | StatisticKind.MEAN:
                return (Measure(self.aggregated, present), count)
            case StatisticKind.COVARIANCE:
                return (*_sums(self.aggregated, present), Measure(tuple(sorted(self.aggregated)), present), count)
            case StatisticKind.WEIGHTED_MEAN:
                weights = Measure(self.others, present)
                return (Measure(tuple(sorted(self.aggregated)), present), weights, count)
            case _:
                pairs = combinations_with_replacement(sorted(self.aggregated), 2)
                return (*_sums(self.aggregated, present), *(Measure(pair, present) for pair in pairs), count)

    def to_json(self) -> dict[str, Json]:
        """The statistic as committed."""
        body: dict[str, Json] = {"kind": self.kind.value}
        if self.column is not None:
            body["column"] = self.column
        if self.others:
            body["others"] = list(self.others)
        if self.probabilities:
            body["millionths"] = [str(probability) for probability in self.probabilities]
        return body

    @classmethod
    def from_json(cls, fields: Fields) -> Statistic:
        """Read a statistic.

        Raises:
            MalformedError: a field is missing, unknown, of the wrong type or out of range.
            ContractError: as for the class.
        """
        kind = fields.choice("kind", StatisticKind)
        column = fields.optional_text("column", max_length=63)
        others: tuple[str, ...] = ()
        millionths: tuple[int, ...] = ()
        if "others" in fields:
            others = fields.texts("others", max_items=MAX_JOINT_COLUMNS, max_length=63)
        if "millionths" in fields:
            millionths = fields.bigs("millionths", lo=1, hi=MILLION, max_items=MAX_PROBABILITIES)
        fields.finish()
        return cls(kind, column, others, millionths)


@dataclass(frozen=True, slots=True)
class Measure:
    """A component of the sufficient statistic that the providers add up, in scaled integers.

    The sum, over the rows of a cell in which no column of `present` is null, of the product of `terms`: none (the rows
    are counted), one column, or two, which may be the same. Both are sorted; `present` has every term that may be null.
    """

    terms: tuple[str, ...]
    present: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Every logical column that it touches, sorted."""
        return tuple(sorted({*self.terms, *self.present}))

    @property
    def name(self) -> str:
        """How results name it: `rows`, `nonnull(wage)`, `sum(wage)`, `product(age,wage)`.

        Columns that are asked to be present beyond its own stand behind a bar: `sum(wage|age)`.
        """
        if not self.terms:
            return f"nonnull({','.join(self.present)})" if self.present else "rows"
        beyond = [name for name in self.present if name not in self.terms]
        what = "sum" if len(self.terms) == 1 else "product"
        return f"{what}({','.join(self.terms)}{'|' if beyond else ''}{','.join(beyond)})"

    def to_json(self) -> dict[str, Json]:
        """The measure as committed in receipts."""
        return {"terms": list(self.terms), "present": list(self.present)}


ROWS: Final = Measure((), ())
"""The number of rows; the first measure of every table."""


def _sums(columns: Sequence[str], present: tuple[str, ...]) -> tuple[Measure, ...]:
    return tuple(Measure((name,), present) for name in columns)
